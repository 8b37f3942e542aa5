// Dense projection of many rows (prefill): output = input * weight^T + bias, or output += that. Weights become half
// while they are staged (bf16 and 8-bit ones alike); input and sums are fp32.
//
// Dispatch ceil(num_outputs / 64) by ceil(num_rows / 64) threadgroups of 128. Why 64 by 64 by 4 simdgroups: each
// simdgroup has 32 by 32 outputs in 16 accumulators, 32 registers of a lane, which leaves room for two or three
// threadgroups in a core's registers; for each 8 columns it loads 4 matrices of 256 bytes and 4 of 128 from threadgroup
// memory and multiplies 16 times, 5.3 multiply-adds a byte, so that this memory (64 bytes a clock or more) keeps up
// with the 128 multiply-adds. The tile takes 14 KB. A row of weights is read once for 64 rows; with 512 rows in a
// chunk, neighbouring threadgroups share it in the system's cache.
#include <metal_stdlib>

#include "arguments.h"
#include "dense_geometry.h"
#include "function_constants.h"
#include "matmul_tile.h"

using namespace metal;
using namespace gptoss_metal;

constant uint constant_num_inputs [[function_constant(kProjectionInputs)]];

typedef TileShape<2, 2, kMatmulRows / 16, kMatmulOutputs / 16> MatmulShape;
typedef TileMemory<HalfOperand, MatmulShape> MatmulMemory;
// Codes times their scales have up to 18 bits: rounded to half they would move the logits by more than a hundredth.
typedef TileMemory<FloatOperand, MatmulShape> Int8MatmulMemory;

template <class Store>
[[max_total_threads_per_threadgroup(kMatmulThreads)]] kernel void projection_matmul_bf16(
    constant ProjectionArguments& arguments [[buffer(0)]],
    const device uint4* weight [[buffer(1)]], // bf16 [num_outputs, num_inputs]
    const device ushort* bias [[buffer(3)]],  // bf16 [num_outputs]
    const device float4* input [[buffer(4)]], // [num_rows, num_inputs / 4]
    device float* output [[buffer(5)]],       // [num_rows, num_outputs]
    uint2 tile [[threadgroup_position_in_grid]],
    uint index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float4 memory[MatmulMemory::kWords];
    const uint num_inputs =
        is_function_constant_defined(constant_num_inputs) ? constant_num_inputs : arguments.num_inputs;
    const Bf16Matrix matrix = {weight, num_inputs};
    matmul_tile<HalfOperand, MatmulShape>(matrix, input, arguments.num_rows, arguments.num_outputs, Bf16Bias{bias},
                                          Store{output}, memory, {tile, index, lane, simdgroup});
}

template <class Store>
[[max_total_threads_per_threadgroup(kMatmulThreads)]] kernel void projection_matmul_int8(
    constant ProjectionArguments& arguments [[buffer(0)]],
    const device uint4* weight [[buffer(1)]], // int8 [num_outputs, num_inputs]
    const device half* scales [[buffer(2)]],  // [num_outputs, num_inputs / 32]
    const device ushort* bias [[buffer(3)]],  // bf16 [num_outputs]
    const device float4* input [[buffer(4)]], // [num_rows, num_inputs / 4]
    device float* output [[buffer(5)]],       // [num_rows, num_outputs]
    uint2 tile [[threadgroup_position_in_grid]],
    uint index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float4 memory[Int8MatmulMemory::kWords];
    const uint num_inputs =
        is_function_constant_defined(constant_num_inputs) ? constant_num_inputs : arguments.num_inputs;
    const Int8Matrix matrix = {weight, scales, num_inputs};
    matmul_tile<FloatOperand, MatmulShape>(matrix, input, arguments.num_rows, arguments.num_outputs, Bf16Bias{bias},
                                           Store{output}, memory, {tile, index, lane, simdgroup});
}

template [[host_name(
    "projection_matmul_bf16")]] kernel decltype(projection_matmul_bf16<StoreFloat>) projection_matmul_bf16<StoreFloat>;
template [[host_name(
    "projection_matmul_add_bf16")]] kernel decltype(projection_matmul_bf16<AddFloat>) projection_matmul_bf16<AddFloat>;
template [[host_name(
    "projection_matmul_int8")]] kernel decltype(projection_matmul_int8<StoreFloat>) projection_matmul_int8<StoreFloat>;
template [[host_name(
    "projection_matmul_add_int8")]] kernel decltype(projection_matmul_int8<AddFloat>) projection_matmul_int8<AddFloat>;
