// Conversions between fp32 and the formats of weights and caches. Scalar: the vectorised forms are in cpu/kernels/.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace gptoss {

inline float bf16_to_float(uint16_t bits) {
    return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

inline float half_to_float(uint16_t bits) {
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
    const uint32_t magnitude = static_cast<uint32_t>(bits & 0x7FFFu) << 13;
    if ((bits & 0x7C00u) == 0x7C00u) {
        return std::bit_cast<float>(sign | 0x7F800000u | magnitude);
    }
    // Re-biasing the exponent by a multiplication with 2^112 also normalises subnormals, exactly.
    const float value = std::bit_cast<float>(magnitude) * std::bit_cast<float>(0x77800000u);
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
}

// Rounds to nearest even; finite values beyond the range saturate at 65504 instead of becoming infinite, because one
// infinite key or value would turn every later attention output of its head into NaN. NaN stays NaN.
inline uint16_t float_to_half(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
    const uint32_t magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) {
        return static_cast<uint16_t>(sign | 0x7E00u);
    }
    if (magnitude >= 0x477FE000u) { // 65504, the largest half
        return static_cast<uint16_t>(sign | 0x7BFFu);
    }
    if (magnitude < 0x38800000u) { // below 2^-14: a subnormal half, in units of 2^-24
        const float units = std::bit_cast<float>(magnitude) * 0x1.0p24f;
        return static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(units)));
    }
    const uint32_t rounded = magnitude + 0xFFFu + ((magnitude >> 13) & 1u);
    return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

// The value of a 4-bit MXFP4 code (OCP Microscaling Formats 1.0, FP4 E2M1).
inline float mxfp4_code_to_float(uint32_t code) {
    constexpr float kMagnitudes[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
    const float magnitude = kMagnitudes[code & 7u];
    return (code & 8u) != 0 ? -magnitude : magnitude;
}

// What the writer of a model file adds to every MXFP4 scale byte (docs/model-format.md).
constexpr int kMxfp4StoredScaleOffset = 14;

// The value of a scale byte as the file stores it: 2^(byte - 14 - 127). Exact for all 256 bytes; the smallest are
// fp32 subnormals.
inline float mxfp4_stored_scale_to_float(uint8_t byte) {
    return std::ldexp(1.0f, static_cast<int>(byte) - kMxfp4StoredScaleOffset - 127);
}

} // namespace gptoss
