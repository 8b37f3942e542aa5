// Unembedding: logits = weight * norm(residual), fp32, no bias.
//
// One row (decode): unembed_bf16 and _int8, with the final norm fused; dispatch ceil(vocabulary_size / 32) threadgroups
// of 256 (matvec.h). Several rows of logits: unembed_few_rows_*, on rows that norm.metal normalised; dispatch
// ceil(vocabulary_size / 64) threadgroups of 256 of the smallest form that holds all rows (few_rows.h),
// by as many in y as rows remain.
#include <metal_stdlib>

#include "arguments.h"
#include "few_rows.h"
#include "function_constants.h"
#include "matvec.h"

using namespace metal;
using namespace gptoss_metal;

constant uint constant_num_inputs [[function_constant(kProjectionInputs)]];

inline void store_logits(float4 sums, uint first_token, uint vocabulary_size, device float* logits, uint lane) {
    if (lane < kMatvecOutputsPerSimdgroup && first_token + lane < vocabulary_size) {
        logits[first_token + lane] = lane_sum(sums, lane);
    }
}

[[max_total_threads_per_threadgroup(kMatvecThreads)]] kernel void unembed_bf16(
    constant UnembedArguments& arguments [[buffer(0)]],
    const device uint4* weight [[buffer(1)]], // bf16 [vocabulary_size, num_inputs]
    const device float4* input [[buffer(4)]], // the residual, [num_inputs / 4]
    const device uint2* gain [[buffer(5)]],   // bf16 [num_inputs]
    device float* logits [[buffer(6)]],       // [vocabulary_size]
    uint threadgroup_index [[threadgroup_position_in_grid]],
    uint index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float4 tile[kMatvecTileColumns / 4];
    threadgroup float partials[kMatvecThreads / 32];
    const uint num_inputs =
        is_function_constant_defined(constant_num_inputs) ? constant_num_inputs : arguments.num_inputs;
    const uint first_token = threadgroup_index * kMatvecOutputs + simdgroup * kMatvecOutputsPerSimdgroup;
    const Bf16Matrix matrix = {weight, num_inputs};
    const float4 sums = matvec<true>(matrix, arguments.vocabulary_size, first_token, input, gain, arguments.epsilon,
                                     {tile, partials}, {index, lane, simdgroup});
    store_logits(sums, first_token, arguments.vocabulary_size, logits, lane);
}

[[max_total_threads_per_threadgroup(kMatvecThreads)]] kernel void unembed_int8(
    constant UnembedArguments& arguments [[buffer(0)]],
    const device uint4* weight [[buffer(1)]], // int8 [vocabulary_size, num_inputs]
    const device half* scales [[buffer(2)]],  // [vocabulary_size, num_inputs / 32]
    const device float4* input [[buffer(4)]], // the residual, [num_inputs / 4]
    const device uint2* gain [[buffer(5)]],   // bf16 [num_inputs]
    device float* logits [[buffer(6)]],       // [vocabulary_size]
    uint threadgroup_index [[threadgroup_position_in_grid]],
    uint index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float4 tile[kMatvecTileColumns / 4];
    threadgroup float partials[kMatvecThreads / 32];
    const uint num_inputs =
        is_function_constant_defined(constant_num_inputs) ? constant_num_inputs : arguments.num_inputs;
    const uint first_token = threadgroup_index * kMatvecOutputs + simdgroup * kMatvecOutputsPerSimdgroup;
    const Int8Matrix matrix = {weight, scales, num_inputs};
    const float4 sums = matvec<true>(matrix, arguments.vocabulary_size, first_token, input, gain, arguments.epsilon,
                                     {tile, partials}, {index, lane, simdgroup});
    store_logits(sums, first_token, arguments.vocabulary_size, logits, lane);
}

template <uint Rows>
[[max_total_threads_per_threadgroup(kFewRowsThreads)]] kernel void unembed_few_rows_bf16(
    constant ProjectionArguments& arguments [[buffer(0)]],
    const device uint4* weight [[buffer(1)]], // bf16 [num_outputs, num_inputs]
    const device float4* input [[buffer(4)]], // [num_rows, num_inputs / 4], normalised
    device float* logits [[buffer(5)]],       // [num_rows, num_outputs]
    uint2 tile [[threadgroup_position_in_grid]],
    uint index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    typedef FewRowsShape<Rows> Shape;
    threadgroup float4 memory[FewRowsMemory<Rows>::kWords];
    const uint num_inputs =
        is_function_constant_defined(constant_num_inputs) ? constant_num_inputs : arguments.num_inputs;
    const Bf16Matrix matrix = {weight, num_inputs};
    matmul_tile<FloatOperand, Shape>(matrix, input, arguments.num_rows, arguments.num_outputs, NoBias{},
                                     StoreFloat{logits}, memory, {tile, index, lane, simdgroup});
}

template <uint Rows>
[[max_total_threads_per_threadgroup(kFewRowsThreads)]] kernel void unembed_few_rows_int8(
    constant ProjectionArguments& arguments [[buffer(0)]],
    const device uint4* weight [[buffer(1)]], // int8 [num_outputs, num_inputs]
    const device half* scales [[buffer(2)]],  // [num_outputs, num_inputs / 32]
    const device float4* input [[buffer(4)]], // [num_rows, num_inputs / 4], normalised
    device float* logits [[buffer(5)]],       // [num_rows, num_outputs]
    uint2 tile [[threadgroup_position_in_grid]],
    uint index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    typedef FewRowsShape<Rows> Shape;
    threadgroup float4 memory[FewRowsMemory<Rows>::kWords];
    const uint num_inputs =
        is_function_constant_defined(constant_num_inputs) ? constant_num_inputs : arguments.num_inputs;
    const Int8Matrix matrix = {weight, scales, num_inputs};
    matmul_tile<FloatOperand, Shape>(matrix, input, arguments.num_rows, arguments.num_outputs, NoBias{},
                                     StoreFloat{logits}, memory, {tile, index, lane, simdgroup});
}

template [[host_name("unembed_few_rows_8_bf16")]] kernel decltype(unembed_few_rows_bf16<8>) unembed_few_rows_bf16<8>;
template [[host_name("unembed_few_rows_32_bf16")]] kernel decltype(unembed_few_rows_bf16<32>) unembed_few_rows_bf16<32>;
template [[host_name("unembed_few_rows_8_int8")]] kernel decltype(unembed_few_rows_int8<8>) unembed_few_rows_int8<8>;
template [[host_name("unembed_few_rows_32_int8")]] kernel decltype(unembed_few_rows_int8<32>) unembed_few_rows_int8<32>;
