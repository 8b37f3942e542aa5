// The experts of many rows, for prefill: tiles of an expert's sorted rows times its weights with simdgroup matrices.
// Weights are halves, activations and sums are floats (Metal multiplies matrices of the two): rounded to half, the
// activations of either product move the logits by several thousandths.
//
// Tile: 32 rows and 128 outputs in a threadgroup of 4 simdgroups, each with all 32 rows and 32 outputs of its own.
// - 32 rows because experts are ragged: a chunk of 512 rows with 4 of 32 experts gives an expert 64 rows, with 128
//   experts 16. Larger tiles would multiply padding. In steps of 8 even a tile's own padding is skipped.
// - 128 outputs because each staged activation is then used 128 times, and a decoded weight 32 times: decoding costs 2
//   integer operations for 32 multiply-adds.
// - 32 x 32 for each simdgroup is 16 accumulators (32 registers) and 8 operands for 16 products: 5.3 multiply-adds for
//   each byte read from threadgroup memory, 5.2 with the scales; a core's 128 a clock then ask for 25 bytes. With the
//   operands (32 registers of activations) and the loads in flight a lane needs about 106 registers, so that 15
//   simdgroups fit in the 208 KB of an M1 core; at 15.4 KB of threadgroup memory, 3 threadgroups of 4 simdgroups, as
//   many as the registers allow.
// - 32 inputs a step because that is one MXFP4 block. What is staged of a weight is its code times 2^-13, exact and
//   normal in a half; the products of one block are then scaled as floats while they are added to the sums, one
//   multiply-add for every 32 of the products. So any scale byte is right, as it is in the other forms, and there is no
//   range of halves for weights to leave: mxfp4.h says what the two smallest bytes give.
//
// Weights are loaded for four steps at once: one block is but an eighth of a line of memory, and between steps the
// first-level cache (8 KB on M1) could not keep the 128 lines. Four lanes load the four blocks of a row, 64 contiguous
// bytes, of four rows in turn, and trade them for the four blocks of one row each. Threadgroups that follow each other
// in the grid share outputs, not rows: weights then leave memory once for all of an expert's tiles, while the
// activations of a chunk (5.9 MB for 512 rows) stay in the second-level cache.
#include <metal_simdgroup_matrix>
#include <metal_stdlib>

#include "arguments.h"
#include "expert_geometry.h"
#include "expert_weights.h"
#include "mxfp4.h"
#include "numbers.h"
#include "swiglu.h"

using namespace metal;
using namespace gptoss_metal;

// Fragments of 8 x 8 along a tile's rows, a simdgroup's outputs and a step's inputs.
constant constexpr uint kRowFragments = kExpertMatmulRows / 8;
constant constexpr uint kOutputFragments = kExpertMatmulOutputs / kExpertMatmulThreads * 32 / 8;
constant constexpr uint kInputFragments = 32 / 8;
// Halves from one row of a tile to the next: 32 and a gap, so that eight rows at 16 bytes each meet all banks.
constant constexpr uint kTileStride = 40;
// Floats from one row of the activations to the next, for the same reason.
constant constexpr uint kActivationStride = 36;
// Floats from one row to the next where a simdgroup's 8 x 32 results pass through threadgroup memory.
constant constexpr uint kResultStride = 36;

// Threadgroup memory of one tile, in 16-byte words.
struct MatmulMemory {
    threadgroup float4* activations; // [kExpertMatmulRows, kActivationStride / 4]
    threadgroup uint4* weights;      // halves [kExpertMatmulOutputs, kTileStride]
    threadgroup float* scales;       // [kExpertMatmulOutputs]
};

// Eight codes as halves, each code * 2^-13, in the order 0, 4, 1, 5, 2, 6, 3, 7.
inline uint4 decode(uint codes) {
    const uint4 halves = mxfp4_codes_to_halves(codes);
    const half4 low = as_type<half4>(halves.xy);
    const half4 high = as_type<half4>(halves.zw);
    return uint4(as_type<uint2>(low + low), as_type<uint2>(high + high));
}

// A tile's activations times this simdgroup's 32 outputs. All threads of the threadgroup must come here.
inline void multiply_tile(const thread ExpertMatrix& matrix,
                          uint first_output, // of this simdgroup; past the end, the last row stands in
                          uint num_outputs,
                          const device float4* input_row, // [num_blocks * 8]: the one that this thread stages
                          uint count,                     // rows of the tile
                          MatmulMemory memory,
                          thread simdgroup_float8x8* sums, // [kRowFragments, kOutputFragments]
                          uint index,
                          uint lane,
                          uint simdgroup) {
    const threadgroup float* activations = (const threadgroup float*)memory.activations;
    const threadgroup half* weights = (const threadgroup half*)memory.weights + simdgroup * 32 * kTileStride;
    const uint part = index % 4; // of the 32 inputs, 8 each

    for (uint first_block = 0; first_block < matrix.num_blocks; first_block += 4) {
        uint4 codes[4];
        uint scale_bytes[4];
        const uint own_block = min(first_block + lane % 4, matrix.num_blocks - 1);
#pragma unroll
        for (uint i = 0; i < 4; i++) {
            const uint row = min(first_output + lane / 4 * 4 + i, num_outputs - 1);
            codes[i] = matrix.blocks[row * matrix.num_blocks + own_block];
            scale_bytes[i] = matrix.scales[row * matrix.num_blocks + own_block];
        }
        // Now of the row that this thread stages, first_output + lane, the four blocks.
        transpose_among_lanes<4>(codes, lane);
        transpose_among_lanes<4>(scale_bytes, lane);
#pragma unroll
        for (uint i = 0; i < 4; i++) {
            const uint block = first_block + i;
            if (block >= matrix.num_blocks) {
                break;
            }
            const float4 low = input_row[block * 8 + part * 2];
            const float4 high = input_row[block * 8 + part * 2 + 1];
            if (block > 0) {
                threadgroup_barrier(mem_flags::mem_threadgroup);
            }
            // In the order in which codes are decoded.
            threadgroup float4* staged = memory.activations + (index / 4 * kActivationStride + part * 8) / 4;
            staged[0] = float4(low.x, high.x, low.y, high.y);
            staged[1] = float4(low.z, high.z, low.w, high.w);
#pragma unroll
            for (uint k = 0; k < 4; k++) {
                memory.weights[(index * kTileStride + k * 8) / 8] = decode(codes[i][k]);
            }
            memory.scales[index] = mxfp4_scale(scale_bytes[i]);
            threadgroup_barrier(mem_flags::mem_threadgroup);

            simdgroup_float8x8 a[kRowFragments * kInputFragments];
#pragma unroll
            for (uint m = 0; m < kRowFragments; m++) {
                if (m * 8 < count) {
#pragma unroll
                    for (uint k = 0; k < kInputFragments; k++) {
                        simdgroup_load(a[m * kInputFragments + k], activations + m * 8 * kActivationStride + k * 8,
                                       kActivationStride);
                    }
                }
            }
#pragma unroll
            for (uint n = 0; n < kOutputFragments; n++) {
                simdgroup_half8x8 b[kInputFragments]; // [inputs, outputs]
#pragma unroll
                for (uint k = 0; k < kInputFragments; k++) {
                    simdgroup_load(b[k], weights + n * 8 * kTileStride + k * 8, kTileStride, ulong2(0, 0), true);
                }
                // A matrix whose rows are all the same, for its elements to be where those of the products are.
                simdgroup_float8x8 scales;
                simdgroup_load(scales, memory.scales + simdgroup * 32 + n * 8, 0);
#pragma unroll
                for (uint m = 0; m < kRowFragments; m++) {
                    if (m * 8 < count) {
                        simdgroup_float8x8 products = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
#pragma unroll
                        for (uint k = 0; k < kInputFragments; k++) {
                            simdgroup_multiply_accumulate(products, a[m * kInputFragments + k], b[k], products);
                        }
                        thread simdgroup_float8x8& sum = sums[m * kOutputFragments + n];
#pragma unroll
                        for (uint e = 0; e < 2; e++) {
                            sum.thread_elements()[e] += products.thread_elements()[e] * scales.thread_elements()[e];
                        }
                    }
                }
            }
        }
    }
}

// Moves rows 8m to 8m + 7 of a simdgroup's sums to threadgroup memory, for lanes to read them by row and column: into
// the simdgroup's own rows of the weights' tile, which no other simdgroup reads.
inline threadgroup float* share_sums(const thread simdgroup_float8x8* sums,
                                     uint m,
                                     MatmulMemory memory,
                                     uint simdgroup) {
    threadgroup float* results = (threadgroup float*)(memory.weights + simdgroup * 32 * kTileStride / 8);
    simdgroup_barrier(mem_flags::mem_threadgroup); // lanes may still read the weights, or the results of before
#pragma unroll
    for (uint n = 0; n < kOutputFragments; n++) {
        simdgroup_store(sums[m * kOutputFragments + n], results + n * 8, kResultStride);
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
    return results;
}

// Dispatch {num_tiles, ceil(num_outputs / 128)} threadgroups of 128 threads.
[[max_total_threads_per_threadgroup(kExpertMatmulThreads)]] kernel void expert_gate_up_matmul(
    constant ExpertArguments& arguments [[buffer(0)]],
    const device uchar* experts [[buffer(1)]],    // bytes [num_experts, expert_stride]
    const device ExpertTile* tiles [[buffer(2)]], // [num_tiles], of 32 rows at most
    const device uint* permutation [[buffer(3)]], // [rows * num_active], sorted pairs
    const device float4* input [[buffer(4)]],     // [rows, num_inputs / 4]
    device float4* hidden [[buffer(5)]],          // [rows * num_active, num_outputs / 8], sorted
    uint2 position [[threadgroup_position_in_grid]],
    uint index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float4 activations[kExpertMatmulRows * kActivationStride / 4];
    threadgroup uint4 weights[kExpertMatmulOutputs * kTileStride / 8];
    threadgroup float scales[kExpertMatmulOutputs];
    const MatmulMemory memory = {activations, weights, scales};
    const ExpertTile tile = tiles[position.x];
    if (tile.count == 0) {
        return;
    }
    const ExpertShape shape = expert_shape(arguments);
    const ExpertMatrix matrix = expert_matrix(experts, arguments, tile.expert, shape.num_inputs);
    const uint own_output = position.y * kExpertMatmulOutputs + simdgroup * 32;
    // Past the tile's end the last row stands in; what becomes of it is not stored.
    const uint row = permutation[tile.first + min(index / 4, tile.count - 1)] / shape.num_active;

    simdgroup_float8x8 sums[kRowFragments * kOutputFragments];
#pragma unroll
    for (uint i = 0; i < kRowFragments * kOutputFragments; i++) {
        sums[i] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
    }
    multiply_tile(matrix, own_output, shape.num_outputs, input + row * (shape.num_inputs / 4), tile.count, memory, sums,
                  index, lane, simdgroup);

    // Outputs are a multiple of 32, so a simdgroup has all of its 32 or none.
    if (own_output >= shape.num_outputs) {
        return;
    }
    // Rows of weights alternate between gate and up: a lane takes four of the 16 pairs, in one row of the tile.
    const uint column = lane % 4 * 8;
    const uint4 bias = *(const device uint4*)(matrix.bias + own_output + column);
#pragma unroll
    for (uint m = 0; m < kRowFragments; m++) {
        if (m * 8 < tile.count) {
            const threadgroup float* results = share_sums(sums, m, memory, simdgroup);
            const threadgroup float* pairs = results + lane / 4 * kResultStride + column;
            float4 values;
#pragma unroll
            for (uint i = 0; i < 4; i++) {
                const float gate = pairs[2 * i] + bf16_to_float(ushort(bias[i] & 0xFFFFu));
                const float up = pairs[2 * i + 1] + bf16_to_float(ushort(bias[i] >> 16));
                values[i] = swiglu(gate, up, arguments.swiglu_limit);
            }
            const uint tile_row = m * 8 + lane / 4;
            if (tile_row < tile.count) {
                hidden[((tile.first + tile_row) * (shape.num_outputs / 2) + (own_output + column) / 2) / 4] = values;
            }
        }
    }
}

// Dispatch {num_tiles, ceil(num_outputs / 128)} threadgroups of 128 threads.
[[max_total_threads_per_threadgroup(kExpertMatmulThreads)]] kernel void expert_down_matmul(
    constant ExpertArguments& arguments [[buffer(0)]],
    const device uchar* experts [[buffer(1)]],         // bytes [num_experts, expert_stride]
    const device ExpertTile* tiles [[buffer(2)]],      // [num_tiles], of 32 rows at most
    const device uint* permutation [[buffer(3)]],      // [rows * num_active], sorted pairs
    const device float* routing_weights [[buffer(4)]], // [rows, num_active]
    const device float4* hidden [[buffer(5)]],         // [rows * num_active, num_inputs / 4], sorted
    device float4* outputs [[buffer(6)]],              // [rows, num_active, num_outputs / 4], weighted
    uint2 position [[threadgroup_position_in_grid]],
    uint index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float4 activations[kExpertMatmulRows * kActivationStride / 4];
    threadgroup uint4 weights[kExpertMatmulOutputs * kTileStride / 8];
    threadgroup float scales[kExpertMatmulOutputs];
    const MatmulMemory memory = {activations, weights, scales};
    const ExpertTile tile = tiles[position.x];
    if (tile.count == 0) {
        return;
    }
    const ExpertShape shape = expert_shape(arguments);
    const ExpertMatrix matrix = expert_matrix(experts, arguments, tile.expert, shape.num_inputs);
    const uint own_output = position.y * kExpertMatmulOutputs + simdgroup * 32;
    const uint row = tile.first + min(index / 4, tile.count - 1);

    simdgroup_float8x8 sums[kRowFragments * kOutputFragments];
#pragma unroll
    for (uint i = 0; i < kRowFragments * kOutputFragments; i++) {
        sums[i] = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
    }
    multiply_tile(matrix, own_output, shape.num_outputs, hidden + row * (shape.num_inputs / 4), tile.count, memory,
                  sums, index, lane, simdgroup);

    if (own_output >= shape.num_outputs) {
        return;
    }
    // Eight lanes write one row's 32 outputs, a line of memory. The routing weight goes on here, where it is one
    // multiplication for each output, and the sum over experts stays a plain sum in slot order (expert_combine).
    const uint column = lane % 8 * 4;
    const float4 bias = bf16x4_to_float(*(const device uint2*)(matrix.bias + own_output + column));
#pragma unroll
    for (uint m = 0; m < kRowFragments; m++) {
        if (m * 8 < tile.count) {
            const threadgroup float* results = share_sums(sums, m, memory, simdgroup);
#pragma unroll
            for (uint i = 0; i < 8; i += 4) {
                const uint tile_row = m * 8 + i + lane / 8;
                if (tile_row < tile.count) {
                    const uint pair = permutation[tile.first + tile_row];
                    const threadgroup float* sum = results + (i + lane / 8) * kResultStride + column;
                    outputs[(pair * shape.num_outputs + own_output + column) / 4] =
                        routing_weights[pair] * (*(const threadgroup float4*)sum + bias);
                }
            }
        }
    }
}
