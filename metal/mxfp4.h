// MXFP4, the format of the experts' weights (OCP Microscaling Formats 1.0), as a model file stores it: a block of 32
// weights of one row is 16 bytes of codes, the even weight in a byte's low nibble, and a scale byte apart from them.
//
// A code has a sign (bit 3), two bits of exponent and one of mantissa. Moved to the same places of a half it is worth
// code * 2^-14, exactly: 0.5 becomes 2^-15, which is a subnormal half. Nothing here computes with it before it is
// widened to float or doubled, so no half is rounded, and only a GPU that flushes subnormal halves could lose it.
// Apple's keep them, with fast-math, too: several engines decode like this. A first run on a Mac has to confirm it. The
// file's scale byte b is 14 too large for the code and so right for the half:
//
//     weight = code * 2^(b - 14 - 127) = (half * 2) * 2^(b - 128)
//
// The factor 2 moves the scale's range by one, which makes it finite for all 256 bytes: mxfp4_scale is 2^127 at most.
// Bytes 0 and 1 give subnormal floats. Where a GPU flushes those (Apple's do), the weights of such a block, all below
// 2^-137, count as zero; with every other byte a sum of products is right as long as it is itself a normal float.
// Checkpoints have bytes around 14 + 120.
#pragma once

#include <metal_stdlib>

namespace gptoss_metal {

using namespace metal;

// Eight codes as halves, each code * 2^-14: component i holds code i in its low half and code i + 4 in its high half.
inline uint4 mxfp4_codes_to_halves(uint codes) {
    // Two codes at a time: three bits of magnitude land in bits 9 to 11 of each half, the sign in bit 12. Adding 7
    // there carries the sign, and nothing else, to bit 15.
    const uint4 placed = uint4(codes << 9, codes << 5, codes << 1, codes >> 3) & uint4(0x1E001E00u);
    return (placed + uint4(0x70007000u)) & uint4(0x8E008E00u);
}

// 2^(byte - 128). What it multiplies must be twice the halves, or twice their sum of products.
inline float mxfp4_scale(uint byte) {
    return as_type<float>(byte >= 2 ? (byte - 1) << 23 : (byte + 1) << 21);
}

// The products of eight weights with activations 0 to 3 (`low`) and 4 to 7 (`high`), added to four sums.
inline float4 mxfp4_multiply_add(uint4 halves, float4 low, float4 high, float4 sums) {
    const half2 weights04 = as_type<half2>(halves.x);
    const half2 weights15 = as_type<half2>(halves.y);
    const half2 weights26 = as_type<half2>(halves.z);
    const half2 weights37 = as_type<half2>(halves.w);
    sums = fma(float4(weights04.x, weights15.x, weights26.x, weights37.x), low, sums);
    return fma(float4(weights04.y, weights15.y, weights26.y, weights37.y), high, sums);
}

// A block of 32 weights times as many activations.
inline float mxfp4_dot(uint4 codes, uint scale_byte, const thread float4* activations) { // [8]
    float4 sums = float4(0.0f);
#pragma unroll
    for (uint i = 0; i < 4; i++) {
        sums = mxfp4_multiply_add(mxfp4_codes_to_halves(codes[i]), activations[2 * i], activations[2 * i + 1], sums);
    }
    const float sum = (sums.x + sums.y) + (sums.z + sums.w);
    return (sum + sum) * mxfp4_scale(scale_byte);
}

// The same for the activations of two tokens.
inline float2 mxfp4_dot(uint4 codes,
                        uint scale_byte,
                        const thread float4* activations_0,   // [8]
                        const thread float4* activations_1) { // [8]
    float4 sums_0 = float4(0.0f);
    float4 sums_1 = float4(0.0f);
#pragma unroll
    for (uint i = 0; i < 4; i++) {
        const uint4 halves = mxfp4_codes_to_halves(codes[i]);
        sums_0 = mxfp4_multiply_add(halves, activations_0[2 * i], activations_0[2 * i + 1], sums_0);
        sums_1 = mxfp4_multiply_add(halves, activations_1[2 * i], activations_1[2 * i + 1], sums_1);
    }
    const float2 sum =
        float2((sums_0.x + sums_0.y) + (sums_0.z + sums_0.w), (sums_1.x + sums_1.y) + (sums_1.z + sums_1.w));
    return (sum + sum) * mxfp4_scale(scale_byte);
}

} // namespace gptoss_metal
