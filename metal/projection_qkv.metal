// Decode's first dispatch of a block: norm, the q, k and v projections of one row with bias, rotary embedding, and the
// write of key and value into the cache's slot.
//
// Dispatch (num_query_rows + 2 * num_key_value_rows) / 32 threadgroups of 256. The loop is matvec.h's; a simdgroup's 4
// outputs are two pairs of one head, since heads have 64 rows and the model file stores the members of a pair as
// neighbours. Queries are left in fp32; they carry the factor 1 / sqrt(64) together with the keys, from the weights.
#include <metal_stdlib>

#include "arguments.h"
#include "function_constants.h"
#include "kv_cache.h"
#include "matvec.h"
#include "rope.h"

using namespace metal;
using namespace gptoss_metal;

constant uint constant_num_inputs [[function_constant(kProjectionInputs)]];

// Where a row's results go.
struct QkvOutputs {
    device float2* queries; // [num_query_rows / 2]
    device half2* keys;     // [capacity, num_key_value_rows / 2]
    device half2* values;   // [capacity, num_key_value_rows / 2]
};

// Lanes 0 and 1 finish a pair of outputs each.
inline void finish(float4 sums,
                   uint first_output,
                   constant QkvArguments& arguments,
                   const device ushort* bias,
                   const device float* inverse_frequencies,
                   QkvOutputs outputs,
                   uint lane) {
    const uint first_key = arguments.num_query_rows;
    const uint first_value = first_key + arguments.num_key_value_rows;
    const uint output = first_output + 2 * lane;
    if (lane >= 2 || output >= first_value + arguments.num_key_value_rows) {
        return;
    }
    const float2 projected = lane == 0 ? float2(sums.xy) : float2(sums.zw);
    float2 pair = projected + float2(bf16_to_float(bias[output]), bf16_to_float(bias[output + 1]));
    if (output < first_value) {
        const float frequency = inverse_frequencies[output % head_size / 2];
        pair = rotate_pair(pair, rotation(arguments.position, frequency, arguments.concentration));
    }

    if (output < first_key) {
        outputs.queries[output / 2] = pair;
        return;
    }
    const uint num_kv_heads = arguments.num_key_value_rows / head_size;
    const ulong slot = cache_offset(arguments.cache_slot, num_kv_heads, 0) / 2;
    const half2 rounded = half2(float_to_half(pair.x), float_to_half(pair.y));
    if (output < first_value) {
        outputs.keys[slot + (output - first_key) / 2] = rounded;
    } else {
        outputs.values[slot + (output - first_value) / 2] = rounded;
    }
}

[[max_total_threads_per_threadgroup(kMatvecThreads)]] kernel void projection_qkv_bf16(
    constant QkvArguments& arguments [[buffer(0)]],
    const device uint4* weight [[buffer(1)]],              // bf16 [num_outputs, num_inputs]
    const device ushort* bias [[buffer(3)]],               // bf16 [num_outputs]
    const device float4* input [[buffer(4)]],              // the residual, [num_inputs / 4]
    const device uint2* gain [[buffer(5)]],                // bf16 [num_inputs]
    const device float* inverse_frequencies [[buffer(6)]], // [32]
    device float2* queries [[buffer(7)]],                  // [num_query_rows / 2]
    device half2* keys [[buffer(8)]],                      // [capacity, num_key_value_rows / 2]
    device half2* values [[buffer(9)]],                    // [capacity, num_key_value_rows / 2]
    uint threadgroup_index [[threadgroup_position_in_grid]],
    uint index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float4 tile[kMatvecTileColumns / 4];
    threadgroup float partials[kMatvecThreads / 32];
    const uint num_inputs =
        is_function_constant_defined(constant_num_inputs) ? constant_num_inputs : arguments.num_inputs;
    const uint num_outputs = arguments.num_query_rows + 2 * arguments.num_key_value_rows;
    const uint first_output = threadgroup_index * kMatvecOutputs + simdgroup * kMatvecOutputsPerSimdgroup;
    const Bf16Matrix matrix = {weight, num_inputs};
    const float4 sums = matvec<true>(matrix, num_outputs, first_output, input, gain, arguments.epsilon,
                                     {tile, partials}, {index, lane, simdgroup});
    finish(sums, first_output, arguments, bias, inverse_frequencies, {queries, keys, values}, lane);
}

[[max_total_threads_per_threadgroup(kMatvecThreads)]] kernel void projection_qkv_int8(
    constant QkvArguments& arguments [[buffer(0)]],
    const device uint4* weight [[buffer(1)]],              // int8 [num_outputs, num_inputs]
    const device half* scales [[buffer(2)]],               // [num_outputs, num_inputs / 32]
    const device ushort* bias [[buffer(3)]],               // bf16 [num_outputs]
    const device float4* input [[buffer(4)]],              // the residual, [num_inputs / 4]
    const device uint2* gain [[buffer(5)]],                // bf16 [num_inputs]
    const device float* inverse_frequencies [[buffer(6)]], // [32]
    device float2* queries [[buffer(7)]],                  // [num_query_rows / 2]
    device half2* keys [[buffer(8)]],                      // [capacity, num_key_value_rows / 2]
    device half2* values [[buffer(9)]],                    // [capacity, num_key_value_rows / 2]
    uint threadgroup_index [[threadgroup_position_in_grid]],
    uint index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float4 tile[kMatvecTileColumns / 4];
    threadgroup float partials[kMatvecThreads / 32];
    const uint num_inputs =
        is_function_constant_defined(constant_num_inputs) ? constant_num_inputs : arguments.num_inputs;
    const uint num_outputs = arguments.num_query_rows + 2 * arguments.num_key_value_rows;
    const uint first_output = threadgroup_index * kMatvecOutputs + simdgroup * kMatvecOutputsPerSimdgroup;
    const Int8Matrix matrix = {weight, scales, num_inputs};
    const float4 sums = matvec<true>(matrix, num_outputs, first_output, input, gain, arguments.epsilon,
                                     {tile, partials}, {index, lane, simdgroup});
    finish(sums, first_output, arguments, bias, inverse_frequencies, {queries, keys, values}, lane);
}
