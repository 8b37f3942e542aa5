// The experts of 2 to 32 rows: each expert's weights are read once for all rows that chose it.
//
// expert_sort, with tiles of 32, lists the experts that are in use and their rows ("tokens" below, because a weight
// matrix has rows, too). A threadgroup takes 64 outputs of one expert. As in expert_matvec.metal the activations stay
// in registers and the weights stream by, but each lane holds its block of 32 inputs for two tokens (64 registers), and
// a weight is decoded once for both. More tokens share the simdgroup: with 3 or 4 tokens its lanes are 2 groups of 16,
// each with two tokens and the same 16 blocks, and so on to 16 groups of 2 lanes. The groups ask for the same weights
// in the same load, so these leave memory once, whatever the number of tokens up to 32.
//
// Why two: among few rows an expert is mostly chosen by one or two (8 rows with 4 of 32 experts: one row each, on
// average), and then a weight costs 2 operations to decode and 2 to multiply, which keeps up with memory; every further
// pair costs as much again, which up to 31 tokens is less than the padding of 8x8 matrices at the small counts that
// matter here. Registers: 64 of activations, 4 rows of codes, about 110 in all: 14 simdgroups a core.
//
// Sums of products are gathered in threadgroup memory, since how many a lane would hold depends on the token count.
// Down writes one weighted output for each (row, slot), which expert_combine adds up in slot order: the experts of a
// row are in different threadgroups.
#include <metal_stdlib>

#include "arguments.h"
#include "expert_geometry.h"
#include "expert_weights.h"
#include "mxfp4.h"
#include "numbers.h"
#include "swiglu.h"

using namespace metal;
using namespace gptoss_metal;

// How the simdgroups share a tile's tokens and the inputs.
struct TokenGroups {
    uint num_tokens; // rounded up to a power of two from 2 on
    uint num_lanes;  // of a group
    uint first;      // this lane's group holds tokens `first` and `first` + 1
    uint num_chunks; // of the inputs, of one block a lane of a group
};

inline TokenGroups token_groups(uint count, uint num_blocks, uint lane) {
    uint num_tokens = 2;
    while (num_tokens < count) {
        num_tokens *= 2;
    }
    const uint num_lanes = 64 / num_tokens;
    return {num_tokens, num_lanes, lane / num_lanes * 2, (num_blocks + num_lanes - 1) / num_lanes};
}

// One simdgroup's share of the inputs times `num_rows` rows of weights, for the two tokens of each lane group.
inline void multiply_few_rows(const thread ExpertMatrix& matrix,
                              const thread TokenGroups& groups,
                              uint first_output,
                              uint num_rows,                // a multiple of 4
                              const device float4* input_0, // [num_blocks * 8], of the group's first token
                              const device float4* input_1, // [num_blocks * 8], of its second
                              threadgroup float2* sums,     // [num_rows, num_tokens / 2], this simdgroup's
                              uint lane,
                              uint simdgroup,
                              uint num_simdgroups) {
    for (uint chunk = simdgroup; chunk < groups.num_chunks; chunk += num_simdgroups) {
        float4 activations_0[8];
        float4 activations_1[8];
        const uint first_block = chunk * groups.num_lanes;
        load_activation_block(input_0, first_block, matrix.num_blocks, groups.num_lanes, lane, activations_0);
        const uint block =
            load_activation_block(input_1, first_block, matrix.num_blocks, groups.num_lanes, lane, activations_1);
        // Lanes past the end hold zeros, and read the last block as another lane does.
        const uint first = first_output * matrix.num_blocks + min(block, matrix.num_blocks - 1);

        for (uint row = 0; row < num_rows; row += 4) {
            uint4 codes[4];
            uint scale_bytes[4];
#pragma unroll
            for (uint r = 0; r < 4; r++) {
                const uint i = first + (row + r) * matrix.num_blocks;
                codes[r] = matrix.blocks[i];
                scale_bytes[r] = matrix.scales[i];
            }
#pragma unroll
            for (uint r = 0; r < 4; r++) {
                float2 sum = mxfp4_dot(codes[r], scale_bytes[r], activations_0, activations_1);
                for (uint distance = groups.num_lanes / 2; distance > 0; distance /= 2) {
                    sum += simd_shuffle_xor(sum, ushort(distance));
                }
                if (lane % groups.num_lanes == 0) {
                    const uint i = ((row + r) * groups.num_tokens + groups.first) / 2;
                    sums[i] = chunk == simdgroup ? sum : sums[i] + sum;
                }
            }
        }
    }
}

// The sums of all simdgroups that had inputs, in their order.
inline float sum_of_token(const threadgroup float* partials, // [simdgroups, num_rows, num_tokens]
                          const thread TokenGroups& groups,
                          uint num_rows,
                          uint row,
                          uint token,
                          uint num_simdgroups) {
    float sum = 0.0f;
    for (uint s = 0; s < min(num_simdgroups, groups.num_chunks); s++) {
        sum += partials[(s * num_rows + row) * groups.num_tokens + token];
    }
    return sum;
}

// Dispatch {ceil(num_outputs / 64), num_tiles} threadgroups.
[[max_total_threads_per_threadgroup(32 * kExpertFewRowsMaxSimdgroups)]] kernel void expert_gate_up_few_rows(
    constant ExpertArguments& arguments [[buffer(0)]],
    const device uchar* experts [[buffer(1)]],      // bytes [num_experts, expert_stride]
    const device ExpertTile* tiles [[buffer(2)]],   // [num_tiles], of 32 rows at most
    const device uint* permutation [[buffer(3)]],   // [rows * num_active], sorted pairs
    const device float4* input [[buffer(4)]],       // [rows, num_inputs / 4]
    device float* hidden [[buffer(5)]],             // [rows * num_active, num_outputs / 2], sorted
    threadgroup float* partials [[threadgroup(0)]], // [simdgroups, 64, tokens]
    uint2 position [[threadgroup_position_in_grid]],
    uint index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint num_simdgroups [[simdgroups_per_threadgroup]]) {
    const ExpertTile tile = tiles[position.y];
    if (tile.count == 0) {
        return;
    }
    const ExpertShape shape = expert_shape(arguments);
    const ExpertMatrix matrix = expert_matrix(experts, arguments, tile.expert, shape.num_inputs);
    const uint first_output = position.x * kExpertFewRowsOutputs;
    const uint num_rows = min(uint(kExpertFewRowsOutputs), shape.num_outputs - first_output);
    const TokenGroups groups = token_groups(tile.count, matrix.num_blocks, lane);

    // Where the count is not a power of two, the last token stands in for those that are missing.
    const uint row_0 = permutation[tile.first + min(groups.first, tile.count - 1)] / shape.num_active;
    const uint row_1 = permutation[tile.first + min(groups.first + 1, tile.count - 1)] / shape.num_active;
    multiply_few_rows(matrix, groups, first_output, num_rows, input + row_0 * (shape.num_inputs / 4),
                      input + row_1 * (shape.num_inputs / 4),
                      (threadgroup float2*)(partials + simdgroup * num_rows * groups.num_tokens), lane, simdgroup,
                      num_simdgroups);
    threadgroup_barrier(mem_flags::mem_threadgroup);

    // Rows alternate: gate, up.
    for (uint i = index; i < tile.count * num_rows / 2; i += num_simdgroups * 32) {
        const uint token = i / (num_rows / 2);
        const uint row = i % (num_rows / 2) * 2;
        const float gate = sum_of_token(partials, groups, num_rows, row, token, num_simdgroups) +
                           bf16_to_float(matrix.bias[first_output + row]);
        const float up = sum_of_token(partials, groups, num_rows, row + 1, token, num_simdgroups) +
                         bf16_to_float(matrix.bias[first_output + row + 1]);
        hidden[(tile.first + token) * (shape.num_outputs / 2) + (first_output + row) / 2] =
            swiglu(gate, up, arguments.swiglu_limit);
    }
}

// Dispatch {ceil(num_outputs / 64), num_tiles} threadgroups.
[[max_total_threads_per_threadgroup(32 * kExpertFewRowsMaxSimdgroups)]] kernel void expert_down_few_rows(
    constant ExpertArguments& arguments [[buffer(0)]],
    const device uchar* experts [[buffer(1)]],         // bytes [num_experts, expert_stride]
    const device ExpertTile* tiles [[buffer(2)]],      // [num_tiles], of 32 rows at most
    const device uint* permutation [[buffer(3)]],      // [rows * num_active], sorted pairs
    const device float* routing_weights [[buffer(4)]], // [rows, num_active]
    const device float4* hidden [[buffer(5)]],         // [rows * num_active, num_inputs / 4], sorted
    device float* outputs [[buffer(6)]],               // [rows, num_active, num_outputs], weighted
    threadgroup float* partials [[threadgroup(0)]],    // [simdgroups, 64, tokens]
    uint2 position [[threadgroup_position_in_grid]],
    uint index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint num_simdgroups [[simdgroups_per_threadgroup]]) {
    const ExpertTile tile = tiles[position.y];
    if (tile.count == 0) {
        return;
    }
    const ExpertShape shape = expert_shape(arguments);
    const ExpertMatrix matrix = expert_matrix(experts, arguments, tile.expert, shape.num_inputs);
    const uint first_output = position.x * kExpertFewRowsOutputs;
    const uint num_rows = min(uint(kExpertFewRowsOutputs), shape.num_outputs - first_output);
    const TokenGroups groups = token_groups(tile.count, matrix.num_blocks, lane);

    const uint pair_0 = tile.first + min(groups.first, tile.count - 1);
    const uint pair_1 = tile.first + min(groups.first + 1, tile.count - 1);
    multiply_few_rows(matrix, groups, first_output, num_rows, hidden + pair_0 * (shape.num_inputs / 4),
                      hidden + pair_1 * (shape.num_inputs / 4),
                      (threadgroup float2*)(partials + simdgroup * num_rows * groups.num_tokens), lane, simdgroup,
                      num_simdgroups);
    threadgroup_barrier(mem_flags::mem_threadgroup);

    for (uint i = index; i < tile.count * num_rows; i += num_simdgroups * 32) {
        const uint token = i / num_rows;
        const uint row = i % num_rows;
        const uint pair = permutation[tile.first + token];
        const float sum = sum_of_token(partials, groups, num_rows, row, token, num_simdgroups) +
                          bf16_to_float(matrix.bias[first_output + row]);
        outputs[pair * shape.num_outputs + first_output + row] = routing_weights[pair] * sum;
    }
}
