// Experts with made-up weights, and what their kernels compute of them in float64.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "../../model_file.h"
#include "random.h"

namespace gptoss::metal {

// The scale byte of a block in this row of a matrix.
using ScaleByte = std::function<uint8_t(size_t row)>;

struct ExpertMatrix {
    size_t num_outputs;
    size_t num_inputs;
    std::vector<double> weights; // [experts, num_outputs, num_inputs]
    std::vector<double> bias;    // [experts, num_outputs]
};

// All experts of one block, as a model file stores them. E hidden size, I their width.
struct Experts {
    ExpertPlaces place;
    std::vector<std::byte> bytes; // [experts, stride], of the last only num_bytes
    ExpertMatrix gate_up;         // [2I, E], rows alternate
    ExpertMatrix down;            // [E, I]
};

// Weights make products about as large as the activations. Here and there a gate-up scale byte is 0 or 1, which is
// nothing beside the others. With `down_scale`, down has these scales and no bias.
Experts random_experts(Random& random, const ModelConfig& config, const ScaleByte& down_scale = nullptr);

struct RoutingCase {
    size_t num_active;
    std::vector<uint32_t> experts; // [num_rows, num_active], distinct in a row
    std::vector<float> weights;    // [num_rows, num_active], positive with sum 1
};

RoutingCase random_routing(Random& random, size_t num_rows, size_t num_experts, size_t num_active);

// (row, slot) pairs by expert, those of an expert in their old order.
struct SortedPairs {
    std::vector<uint32_t> offsets;     // [experts + 1]
    std::vector<uint32_t> permutation; // [pairs]
    std::vector<uint32_t> tiles;       // [tiles, 3]: expert, first, count
};

SortedPairs sort_pairs(const std::vector<uint32_t>& experts, size_t num_experts, size_t tile_rows, size_t num_tiles);

// [pairs, I]: SwiGLU of the gate-up product of each pair. input [num_rows, E]
std::vector<double> gate_up(const Experts& experts,
                            const RoutingCase& routing,
                            const std::vector<double>& input,
                            double limit);

// [pairs, E]: each pair's down product with bias, times its routing weight. hidden [pairs, I]
std::vector<double> down(const Experts& experts, const RoutingCase& routing, const std::vector<double>& hidden);

// [num_rows, E]: residual and the outputs [num_rows, num_active, E] of each row.
std::vector<double> add_outputs(const std::vector<double>& residual,
                                const std::vector<double>& outputs,
                                size_t num_active,
                                size_t num_columns);

} // namespace gptoss::metal
