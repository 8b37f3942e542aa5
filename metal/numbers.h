// Number formats of weights and caches, as kernels read and write them.
//
// Weights are bf16, or 8-bit codes with one half scale for each 32 of a row: value = code * scale. M1 and M2 have no
// bfloat arithmetic, so bf16 is read as bits and widened by a shift, which is exact and as cheap.
#pragma once

#include <metal_stdlib>

namespace gptoss_metal {

using namespace metal;

inline float bf16_to_float(ushort bits) {
    return as_type<float>(uint(bits) << 16);
}

// Four neighbours: the low 16 bits of a word are the even element.
inline float4 bf16x4_to_float(uint2 words) {
    return as_type<float4>(uint4(words.x << 16, words.x & 0xFFFF0000u, words.y << 16, words.y & 0xFFFF0000u));
}

// Four 8-bit codes. Their block's scale is the caller's to multiply, once for many codes.
inline float4 int8x4_to_float(uint word) {
    return float4(as_type<char4>(word));
}

// Rounds to nearest even. Values beyond the range saturate at 65504 instead of becoming infinite, because one infinite
// key or value would turn every later attention output of its head into NaN.
inline half float_to_half(float value) {
    return half(clamp(value, -65504.0f, 65504.0f));
}

inline half4 float4_to_half4(float4 values) {
    return half4(clamp(values, float4(-65504.0f), float4(65504.0f)));
}

// Orders floats by unsigned integers: a < b exactly when sortable_bits(a) < sortable_bits(b), and both zeros are equal.
// Integer comparisons mean the same under fast-math, where those of NaN may be dropped; here NaN has a place, too:
// beyond the infinity of its sign. Never 0, so that 0 is free to mean "none".
inline uint sortable_bits(float value) {
    const uint bits = as_type<uint>(value);
    if ((bits & 0x7FFFFFFFu) == 0u) {
        return 0x80000000u;
    }
    return (bits & 0x80000000u) != 0u ? max(~bits, 1u) : bits | 0x80000000u;
}

} // namespace gptoss_metal
