// Launches of the experts' kernels: residual += sum of routing weight * expert(input) over the experts of each row.
//
// One row, few and many rows (RowForm) go through different kernels. The barriers between the launches of a function
// are its own; none comes before its first launch or after its last one, because the caller knows what runs there.
// E embedding size, I an expert's width, A active experts; a pair is a row and one of its A experts.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../model_file.h"
#include "dense_launches.h"
#include "encoder.h"

namespace gptoss::metal {

// Memory that the launches pass on to each other. Nobody else reads it.
struct ExpertWorkspace {
    Slice hidden;      // fp32 [pairs, I], by row if there is one, else by expert
    Slice permutation; // u32 [pairs]: the pairs, by expert
    Slice offsets;     // u32 [experts + 1]: each expert's first place in that order
    Slice tiles;       // ExpertTile [expert_tiles()]
    Slice outputs;     // fp32 [pairs, E], weighted
};

// Bytes of each of its members that suffice for any number of rows up to max_rows. One row alone takes hidden only;
// the others are 0 then.
struct ExpertWorkspaceBytes {
    size_t hidden;
    size_t permutation;
    size_t offsets;
    size_t tiles;
    size_t outputs;

    size_t total() const { return hidden + permutation + offsets + tiles + outputs; }
};
ExpertWorkspaceBytes expert_workspace_bytes(const ModelConfig& config, size_t max_rows);

// The most tiles that the pairs of so many rows can fall into: each expert's last one may be short, and none is empty.
uint32_t expert_tiles(const ModelConfig& config, size_t num_rows);

// What the experts read and write.
struct ExpertBuffers {
    Slice experts;         // bytes [experts, stride] of one block, of the last one only place.num_bytes
    Slice expert_ids;      // u32 [num_rows, A], those of a row distinct
    Slice routing_weights; // fp32 [num_rows, A]
    Slice input;           // fp32 [num_rows, E]
    Slice residual;        // fp32 [num_rows, E], added to
};

// One row: 2 launches. Others: 4. `workspace` may be longer than these rows need.
void launch_experts(Encoder& encoder,
                    const ModelConfig& config,
                    const ExpertPlaces& place, // in each expert
                    uint32_t num_rows,
                    const ExpertBuffers& buffers,
                    const ExpertWorkspace& workspace);

} // namespace gptoss::metal
