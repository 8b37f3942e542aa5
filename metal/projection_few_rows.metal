// Dense projection of 2 to 31 rows that reads the weights once for all of them: output = input * weight^T + bias, or
// output += that. Operands and sums are fp32, as in the one-row form, so that a short prompt or several sequences give
// the numbers that one token at a time gives.
//
// Dispatch ceil(num_outputs / 64) threadgroups of 256 of the smallest form (8, 16 or 32 rows) that holds all rows. The
// loop is in matmul_tile.h, the reasons for the tiles in few_rows.h.
#include <metal_stdlib>

#include "arguments.h"
#include "few_rows.h"
#include "function_constants.h"

using namespace metal;
using namespace gptoss_metal;

constant uint constant_num_inputs [[function_constant(kProjectionInputs)]];

template <uint Rows, class Store>
[[max_total_threads_per_threadgroup(kFewRowsThreads)]] kernel void projection_few_rows_bf16(
    constant ProjectionArguments& arguments [[buffer(0)]],
    const device uint4* weight [[buffer(1)]], // bf16 [num_outputs, num_inputs]
    const device ushort* bias [[buffer(3)]],  // bf16 [num_outputs]
    const device float4* input [[buffer(4)]], // [num_rows, num_inputs / 4]
    device float* output [[buffer(5)]],       // [num_rows, num_outputs]
    uint2 tile [[threadgroup_position_in_grid]],
    uint index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    typedef FewRowsShape<Rows> Shape;
    threadgroup float4 memory[FewRowsMemory<Rows>::kWords];
    const uint num_inputs =
        is_function_constant_defined(constant_num_inputs) ? constant_num_inputs : arguments.num_inputs;
    const Bf16Matrix matrix = {weight, num_inputs};
    matmul_tile<FloatOperand, Shape>(matrix, input, arguments.num_rows, arguments.num_outputs, Bf16Bias{bias},
                                     Store{output}, memory, {tile, index, lane, simdgroup});
}

template <uint Rows, class Store>
[[max_total_threads_per_threadgroup(kFewRowsThreads)]] kernel void projection_few_rows_int8(
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
    typedef FewRowsShape<Rows> Shape;
    threadgroup float4 memory[FewRowsMemory<Rows>::kWords];
    const uint num_inputs =
        is_function_constant_defined(constant_num_inputs) ? constant_num_inputs : arguments.num_inputs;
    const Int8Matrix matrix = {weight, scales, num_inputs};
    matmul_tile<FloatOperand, Shape>(matrix, input, arguments.num_rows, arguments.num_outputs, Bf16Bias{bias},
                                     Store{output}, memory, {tile, index, lane, simdgroup});
}

template [[host_name("projection_few_rows_8_bf16")]] kernel decltype(projection_few_rows_bf16<8, StoreFloat>)
    projection_few_rows_bf16<8, StoreFloat>;
template [[host_name("projection_few_rows_16_bf16")]] kernel decltype(projection_few_rows_bf16<16, StoreFloat>)
    projection_few_rows_bf16<16, StoreFloat>;
template [[host_name("projection_few_rows_32_bf16")]] kernel decltype(projection_few_rows_bf16<32, StoreFloat>)
    projection_few_rows_bf16<32, StoreFloat>;
template [[host_name("projection_few_rows_8_add_bf16")]] kernel decltype(projection_few_rows_bf16<8, AddFloat>)
    projection_few_rows_bf16<8, AddFloat>;
template [[host_name("projection_few_rows_16_add_bf16")]] kernel decltype(projection_few_rows_bf16<16, AddFloat>)
    projection_few_rows_bf16<16, AddFloat>;
template [[host_name("projection_few_rows_32_add_bf16")]] kernel decltype(projection_few_rows_bf16<32, AddFloat>)
    projection_few_rows_bf16<32, AddFloat>;
template [[host_name("projection_few_rows_8_int8")]] kernel decltype(projection_few_rows_int8<8, StoreFloat>)
    projection_few_rows_int8<8, StoreFloat>;
template [[host_name("projection_few_rows_16_int8")]] kernel decltype(projection_few_rows_int8<16, StoreFloat>)
    projection_few_rows_int8<16, StoreFloat>;
template [[host_name("projection_few_rows_32_int8")]] kernel decltype(projection_few_rows_int8<32, StoreFloat>)
    projection_few_rows_int8<32, StoreFloat>;
template [[host_name("projection_few_rows_8_add_int8")]] kernel decltype(projection_few_rows_int8<8, AddFloat>)
    projection_few_rows_int8<8, AddFloat>;
template [[host_name("projection_few_rows_16_add_int8")]] kernel decltype(projection_few_rows_int8<16, AddFloat>)
    projection_few_rows_int8<16, AddFloat>;
template [[host_name("projection_few_rows_32_add_int8")]] kernel decltype(projection_few_rows_int8<32, AddFloat>)
    projection_few_rows_int8<32, AddFloat>;
