// Dense projection of 2 to 31 rows that reads the weights once for all of them: output = input * weight^T + bias, or
// output += that. Operands and sums are fp32, as in the one-row form, so that a short prompt or several sequences give
// the numbers that one token at a time gives.
//
// Dispatch ceil(num_outputs / 64) threadgroups of 256 of the smallest form (8, 16 or 32 rows) that holds all rows.
// Vector products would do for 2 or 3 rows, but for more they run out of registers or read the activations from
// threadgroup memory over and over. An 8x8 matrix wastes most of its work on 2 rows and is still faster than the
// weights arrive: 400 GB/s over 32 cores at 1.3 GHz are 5 bf16 weights a clock for each core, times 8 rows 40 of its
// 128 multiply-adds. Every simdgroup has 8 outputs and all rows, so that many simdgroups ask for weights at once, and
// 64 outputs in a threadgroup keep the activations' share of the bytes asked for at 25 % for 8 rows.
#include <metal_stdlib>

#include "arguments.h"
#include "dense_geometry.h"
#include "function_constants.h"
#include "matmul_tile.h"

using namespace metal;
using namespace gptoss_metal;

constant uint constant_num_inputs [[function_constant(kProjectionInputs)]];

template <uint RowTiles>
using FewRowsShape = TileShape<1, kFewRowsThreads / 32, RowTiles, kFewRowsOutputs / (kFewRowsThreads / 4)>;

template <uint RowTiles, class Store>
kernel void projection_few_rows_bf16(constant ProjectionArguments& arguments [[buffer(0)]],
                                     const device uint4* weight
                                     [[buffer(1)]], // bf16 [num_outputs, num_inputs / 8], 8 each
                                     const device ushort* bias [[buffer(3)]], // bf16 [num_outputs]
                                     const device uint4* input [[buffer(4)]], // fp32 [num_rows, num_inputs / 4], 4 each
                                     device float* output [[buffer(5)]],      // [num_rows, num_outputs]
                                     uint2 tile [[threadgroup_position_in_grid]],
                                     uint index [[thread_index_in_threadgroup]],
                                     uint lane [[thread_index_in_simdgroup]],
                                     uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    typedef FewRowsShape<RowTiles> Shape;
    typedef TileMemory<FloatOperand, Shape> Memory;
    threadgroup float4 memory[Memory::kQuads];
    const uint num_inputs =
        is_function_constant_defined(constant_num_inputs) ? constant_num_inputs : arguments.num_inputs;
    const Bf16Matrix matrix = {weight, num_inputs};
    matmul_tile<FloatOperand, Shape>(matrix, input, arguments.num_rows, arguments.num_outputs, Bf16Bias{bias},
                                     Store{output}, memory, {tile, index, lane, simdgroup});
}

template <uint RowTiles, class Store>
kernel void projection_few_rows_int8(constant ProjectionArguments& arguments [[buffer(0)]],
                                     const device uint4* weight
                                     [[buffer(1)]], // int8 [num_outputs, num_inputs / 16], 16 each
                                     const device half* scales [[buffer(2)]], // [num_outputs, num_inputs / 32]
                                     const device ushort* bias [[buffer(3)]], // bf16 [num_outputs]
                                     const device uint4* input [[buffer(4)]], // fp32 [num_rows, num_inputs / 4], 4 each
                                     device float* output [[buffer(5)]],      // [num_rows, num_outputs]
                                     uint2 tile [[threadgroup_position_in_grid]],
                                     uint index [[thread_index_in_threadgroup]],
                                     uint lane [[thread_index_in_simdgroup]],
                                     uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    typedef FewRowsShape<RowTiles> Shape;
    typedef TileMemory<FloatOperand, Shape> Memory;
    threadgroup float4 memory[Memory::kQuads];
    const uint num_inputs =
        is_function_constant_defined(constant_num_inputs) ? constant_num_inputs : arguments.num_inputs;
    const Int8Matrix matrix = {weight, scales, num_inputs};
    matmul_tile<FloatOperand, Shape>(matrix, input, arguments.num_rows, arguments.num_outputs, Bf16Bias{bias},
                                     Store{output}, memory, {tile, index, lane, simdgroup});
}

template [[host_name("projection_few_rows_8_bf16")]] kernel decltype(projection_few_rows_bf16<1, StoreFloat>)
    projection_few_rows_bf16<1, StoreFloat>;
template [[host_name("projection_few_rows_16_bf16")]] kernel decltype(projection_few_rows_bf16<2, StoreFloat>)
    projection_few_rows_bf16<2, StoreFloat>;
template [[host_name("projection_few_rows_32_bf16")]] kernel decltype(projection_few_rows_bf16<4, StoreFloat>)
    projection_few_rows_bf16<4, StoreFloat>;
template [[host_name("projection_few_rows_8_add_bf16")]] kernel decltype(projection_few_rows_bf16<1, AddFloat>)
    projection_few_rows_bf16<1, AddFloat>;
template [[host_name("projection_few_rows_16_add_bf16")]] kernel decltype(projection_few_rows_bf16<2, AddFloat>)
    projection_few_rows_bf16<2, AddFloat>;
template [[host_name("projection_few_rows_32_add_bf16")]] kernel decltype(projection_few_rows_bf16<4, AddFloat>)
    projection_few_rows_bf16<4, AddFloat>;
template [[host_name("projection_few_rows_8_int8")]] kernel decltype(projection_few_rows_int8<1, StoreFloat>)
    projection_few_rows_int8<1, StoreFloat>;
template [[host_name("projection_few_rows_16_int8")]] kernel decltype(projection_few_rows_int8<2, StoreFloat>)
    projection_few_rows_int8<2, StoreFloat>;
template [[host_name("projection_few_rows_32_int8")]] kernel decltype(projection_few_rows_int8<4, StoreFloat>)
    projection_few_rows_int8<4, StoreFloat>;
template [[host_name("projection_few_rows_8_add_int8")]] kernel decltype(projection_few_rows_int8<1, AddFloat>)
    projection_few_rows_int8<1, AddFloat>;
template [[host_name("projection_few_rows_16_add_int8")]] kernel decltype(projection_few_rows_int8<2, AddFloat>)
    projection_few_rows_int8<2, AddFloat>;
template [[host_name("projection_few_rows_32_add_int8")]] kernel decltype(projection_few_rows_int8<4, AddFloat>)
    projection_few_rows_int8<4, AddFloat>;
