// Dense projection of one row: output = weight * input + bias, or output += that (the residual add).
//
// Dispatch ceil(num_outputs / 32) threadgroups of 256. The loop and the reasons for its shape are in matvec.h.
#include <metal_stdlib>

#include "arguments.h"
#include "function_constants.h"
#include "matvec.h"

using namespace metal;
using namespace gptoss_metal;

constant uint constant_num_inputs [[function_constant(kProjectionInputs)]];

// Adds the bias to a simdgroup's 4 outputs and stores them.
template <bool kAddToOutput>
inline void finish(
    float4 sums, uint first_output, uint num_outputs, const device ushort* bias, device float* output, uint lane) {
    const uint i = first_output + lane;
    if (lane < kMatvecOutputsPerSimdgroup && i < num_outputs) {
        const float value = lane_sum(sums, lane) + bf16_to_float(bias[i]);
        output[i] = kAddToOutput ? output[i] + value : value;
    }
}

template <bool kAddToOutput>
[[max_total_threads_per_threadgroup(kMatvecThreads)]] kernel void projection_matvec_bf16(
    constant ProjectionArguments& arguments [[buffer(0)]],
    const device uint4* weight [[buffer(1)]], // bf16 [num_outputs, num_inputs]
    const device ushort* bias [[buffer(3)]],  // bf16 [num_outputs]
    const device float4* input [[buffer(4)]], // [num_inputs / 4]
    device float* output [[buffer(5)]],       // [num_outputs]
    uint threadgroup_index [[threadgroup_position_in_grid]],
    uint index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float4 tile[kMatvecTileColumns / 4];
    const uint num_inputs =
        is_function_constant_defined(constant_num_inputs) ? constant_num_inputs : arguments.num_inputs;
    const uint first_output = threadgroup_index * kMatvecOutputs + simdgroup * kMatvecOutputsPerSimdgroup;
    const Bf16Matrix matrix = {weight, num_inputs};
    const float4 sums = matvec<false>(matrix, arguments.num_outputs, first_output, input, nullptr, 0.0f,
                                      {tile, nullptr}, {index, lane, simdgroup});
    finish<kAddToOutput>(sums, first_output, arguments.num_outputs, bias, output, lane);
}

template <bool kAddToOutput>
[[max_total_threads_per_threadgroup(kMatvecThreads)]] kernel void projection_matvec_int8(
    constant ProjectionArguments& arguments [[buffer(0)]],
    const device uint4* weight [[buffer(1)]], // int8 [num_outputs, num_inputs]
    const device half* scales [[buffer(2)]],  // [num_outputs, num_inputs / 32]
    const device ushort* bias [[buffer(3)]],  // bf16 [num_outputs]
    const device float4* input [[buffer(4)]], // [num_inputs / 4]
    device float* output [[buffer(5)]],       // [num_outputs]
    uint threadgroup_index [[threadgroup_position_in_grid]],
    uint index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float4 tile[kMatvecTileColumns / 4];
    const uint num_inputs =
        is_function_constant_defined(constant_num_inputs) ? constant_num_inputs : arguments.num_inputs;
    const uint first_output = threadgroup_index * kMatvecOutputs + simdgroup * kMatvecOutputsPerSimdgroup;
    const Int8Matrix matrix = {weight, scales, num_inputs};
    const float4 sums = matvec<false>(matrix, arguments.num_outputs, first_output, input, nullptr, 0.0f,
                                      {tile, nullptr}, {index, lane, simdgroup});
    finish<kAddToOutput>(sums, first_output, arguments.num_outputs, bias, output, lane);
}

template [[host_name(
    "projection_matvec_bf16")]] kernel decltype(projection_matvec_bf16<false>) projection_matvec_bf16<false>;
template [[host_name(
    "projection_matvec_add_bf16")]] kernel decltype(projection_matvec_bf16<true>) projection_matvec_bf16<true>;
template [[host_name(
    "projection_matvec_int8")]] kernel decltype(projection_matvec_int8<false>) projection_matvec_int8<false>;
template [[host_name(
    "projection_matvec_add_int8")]] kernel decltype(projection_matvec_int8<true>) projection_matvec_int8<true>;
