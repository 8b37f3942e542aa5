// metal/numbers.h for tests: a thread a number.
#include <metal_stdlib>

#include "../../metal/numbers.h"

using namespace metal;
using namespace gptoss_metal;

kernel void sortable(device const float* values [[buffer(0)]], // [n]
                     device uint* sorted [[buffer(1)]],        // [n]
                     uint thread_position [[thread_position_in_grid]]) {
    sorted[thread_position] = sortable_bits(values[thread_position]);
}

kernel void to_half(device const float4* values [[buffer(0)]], // [n]
                    device half4* singly [[buffer(1)]],        // [n], by float_to_half
                    device half4* at_once [[buffer(2)]],       // [n], by float4_to_half4
                    uint thread_position [[thread_position_in_grid]]) {
    const float4 four = values[thread_position];
    singly[thread_position] =
        half4(float_to_half(four.x), float_to_half(four.y), float_to_half(four.z), float_to_half(four.w));
    at_once[thread_position] = float4_to_half4(four);
}

kernel void from_bf16(device const uint2* words [[buffer(0)]], // bf16 [4 n]
                      device float4* singly [[buffer(1)]],     // [n], by bf16_to_float
                      device float4* at_once [[buffer(2)]],    // [n], by bf16x4_to_float
                      uint thread_position [[thread_position_in_grid]]) {
    const uint2 four = words[thread_position];
    const ushort4 bits = as_type<ushort4>(four);
    singly[thread_position] =
        float4(bf16_to_float(bits.x), bf16_to_float(bits.y), bf16_to_float(bits.z), bf16_to_float(bits.w));
    at_once[thread_position] = bf16x4_to_float(four);
}

kernel void from_int8(device const uint* words [[buffer(0)]], // int8 [4 n]
                      device float4* values [[buffer(1)]],    // [n]
                      uint thread_position [[thread_position_in_grid]]) {
    values[thread_position] = int8x4_to_float(words[thread_position]);
}
