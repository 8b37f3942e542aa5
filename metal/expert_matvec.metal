// The experts of one row: gate-up with SwiGLU, then down with the weighted sum over experts and the residual add. One
// dispatch each; further rows are independent threadgroups (expert_few_rows.metal shares the weights among rows).
//
// What bounds these is the bytes of the weights: 17 for 32. At 2,880 inputs a row is 1,530 bytes of MXFP4, but its
// activations are 11.5 KB of fp32, so activations have to be read once for many rows. Here they stay in registers: a
// lane owns one block of 32 inputs (32 registers), a simdgroup 1,024, and the 32 rows of the threadgroup stream by,
// four at a time: each lane has four 16-byte loads in flight, a simdgroup 2 KB, and a row's 32 blocks are 512
// contiguous bytes. Asked for in all: 32 * 1,530 bytes of weights and 11.5 KB of activations, 1.24 times the weights. A
// lane needs about 80 registers, so a core of 208 KB holds 20 simdgroups, 40 KB of loads in flight; no threadgroup
// memory is read inside the loop, and the decoding of a weight (2 integer operations) and its multiply-add stay below
// the 6 to 10 operations that a lane can spend on it while memory delivers the next, on M1 to M5.
//
// 2,880 inputs are 90 blocks: 3 simdgroups of which the last has 26 lanes at work. Gate-up of 20b has 4 experts * 180
// threadgroups of 3 simdgroups; down has 90 threadgroups of 12, three for each expert, because the experts are summed
// here: 1,080 simdgroups, 27 for each of 40 cores.
#include <metal_stdlib>

#include "arguments.h"
#include "expert_geometry.h"
#include "expert_weights.h"
#include "mxfp4.h"
#include "numbers.h"
#include "swiglu.h"

using namespace metal;
using namespace gptoss_metal;

// This simdgroup's inputs times 32 rows of weights from `first_output` on: lane r gets the sum of row r. Lanes whose
// block is past the end hold zeros and read the last block, which another lane reads as well.
inline float multiply_rows(const thread ExpertMatrix& matrix,
                           uint first_output,
                           uint block,
                           const thread float4* activations, // [8]
                           uint lane) {
    const uint first = first_output * matrix.num_blocks + min(block, matrix.num_blocks - 1);
    float sum_of_lane = 0.0f;
    for (uint row = 0; row < kExpertMatvecOutputs; row += 4) {
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
            const float sum = simd_sum(mxfp4_dot(codes[r], scale_bytes[r], activations));
            sum_of_lane = lane == row + r ? sum : sum_of_lane;
        }
    }
    return sum_of_lane;
}

// The sums of all simdgroups, in their order: lane r gets that of row r.
inline float sum_simdgroups(const threadgroup float* partials, uint num_simdgroups, uint lane) {
    float sum = 0.0f;
    for (uint s = 0; s < num_simdgroups; s++) {
        sum += partials[s * kExpertMatvecOutputs + lane];
    }
    return sum;
}

// Dispatch {num_outputs / 32, num_active, rows} threadgroups.
[[max_total_threads_per_threadgroup(32 * kExpertMatvecMaxSimdgroups)]] kernel void expert_gate_up_matvec(
    constant ExpertArguments& arguments [[buffer(0)]],
    const device uchar* experts [[buffer(1)]],   // bytes [num_experts, expert_stride]
    const device uint* expert_ids [[buffer(2)]], // [rows, num_active]
    const device float4* input [[buffer(3)]],    // [rows, num_inputs / 4]
    device float* hidden [[buffer(4)]],          // [rows, num_active, num_outputs / 2]
    uint3 position [[threadgroup_position_in_grid]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint num_simdgroups [[simdgroups_per_threadgroup]]) {
    threadgroup float partials[kExpertMatvecMaxSimdgroups * kExpertMatvecOutputs]; // [simdgroups, outputs]
    const ExpertShape shape = expert_shape(arguments);
    const uint first_output = position.x * kExpertMatvecOutputs;
    const uint row = position.z;
    const uint pair = row * shape.num_active + position.y;
    const ExpertMatrix matrix = expert_matrix(experts, arguments, expert_ids[pair], shape.num_inputs);
    input += row * (shape.num_inputs / 4);

    float sum = 0.0f;
    for (uint block = simdgroup * 32; block < matrix.num_blocks; block += num_simdgroups * 32) {
        float4 activations[8];
        const uint own_block = load_activation_block(input, block, matrix.num_blocks, 32, lane, activations);
        sum += multiply_rows(matrix, first_output, own_block, activations, lane);
    }
    partials[simdgroup * kExpertMatvecOutputs + lane] = sum;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (simdgroup != 0) {
        return;
    }

    // Rows alternate: the even lanes have the gates, their neighbours the ups.
    sum = sum_simdgroups(partials, num_simdgroups, lane) + bf16_to_float(matrix.bias[first_output + lane]);
    const float up = simd_shuffle_xor(sum, ushort(1));
    if (lane % 2 == 0) {
        const uint output = (first_output + lane) / 2;
        hidden[pair * (shape.num_outputs / 2) + output] = swiglu(sum, up, arguments.swiglu_limit);
    }
}

// Dispatch {num_outputs / 32, rows} threadgroups.
[[max_total_threads_per_threadgroup(32 * kExpertMatvecMaxSimdgroups)]] kernel void expert_down_matvec(
    constant ExpertArguments& arguments [[buffer(0)]],
    const device uchar* experts [[buffer(1)]],         // bytes [num_experts, expert_stride]
    const device uint* expert_ids [[buffer(2)]],       // [rows, num_active]
    const device float* routing_weights [[buffer(3)]], // [rows, num_active]
    const device float4* hidden [[buffer(4)]],         // [rows, num_active, num_inputs / 4]
    device float* residual [[buffer(5)]],              // [rows, num_outputs], added to
    uint2 position [[threadgroup_position_in_grid]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint num_simdgroups [[simdgroups_per_threadgroup]]) {
    threadgroup float partials[kExpertMatvecMaxSimdgroups * kExpertMatvecOutputs]; // [simdgroups, outputs]
    const ExpertShape shape = expert_shape(arguments);
    const uint first_output = position.x * kExpertMatvecOutputs;
    const uint row = position.y;
    const uint chunks_per_expert =
        (shape.num_inputs + kExpertMatvecInputsPerSimdgroup - 1) / kExpertMatvecInputsPerSimdgroup;
    expert_ids += row * shape.num_active;
    routing_weights += row * shape.num_active;
    hidden += row * shape.num_active * (shape.num_inputs / 4);

    float sum = 0.0f;
    for (uint i = simdgroup; i < shape.num_active * chunks_per_expert; i += num_simdgroups) {
        const uint slot = i / chunks_per_expert;
        const uint first_block = i % chunks_per_expert * 32;
        const ExpertMatrix matrix = expert_matrix(experts, arguments, expert_ids[slot], shape.num_inputs);
        float4 activations[8];
        const uint block = load_activation_block(hidden + slot * (shape.num_inputs / 4), first_block, matrix.num_blocks,
                                                 32, lane, activations);
        sum += routing_weights[slot] * multiply_rows(matrix, first_output, block, activations, lane);
    }
    partials[simdgroup * kExpertMatvecOutputs + lane] = sum;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (simdgroup != 0) {
        return;
    }

    sum = sum_simdgroups(partials, num_simdgroups, lane);
    for (uint slot = 0; slot < shape.num_active; slot++) {
        const ExpertMatrix matrix = expert_matrix(experts, arguments, expert_ids[slot], shape.num_inputs);
        sum += routing_weights[slot] * bf16_to_float(matrix.bias[first_output + lane]);
    }
    residual[row * shape.num_outputs + first_output + lane] += sum;
}
