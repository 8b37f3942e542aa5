// Random data for the tests of the kernels, and how far a result in fp32 may be from its value.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "number_formats.h"

constexpr float kUntouched = 12345.0f; // what outputs hold before a call

inline std::mt19937 random_bits(1);

inline float normal(float deviation = 1.0f) {
    return std::normal_distribution<float>(0.0f, deviation)(random_bits);
}

inline std::vector<float> random_floats(size_t size, float deviation = 1.0f) {
    std::vector<float> values(size);
    std::ranges::generate(values, [&] { return normal(deviation); });
    return values;
}

inline uint16_t to_bf16(float value) {
    return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
}

inline std::vector<uint16_t> random_bf16(size_t size, float deviation = 1.0f) {
    std::vector<uint16_t> values(size);
    std::ranges::generate(values, [&] { return to_bf16(normal(deviation)); });
    return values;
}

inline double bf16(uint16_t bits) {
    return gptoss::bf16_to_float(bits);
}

inline std::vector<const float*> row_pointers(const std::vector<float>& values, size_t row_size) {
    std::vector<const float*> rows;
    for (size_t row = 0; row < values.size() / row_size; row++) {
        rows.push_back(values.data() + row * row_size);
    }
    return rows;
}

// A few fp32 roundings of a sum whose terms' magnitudes add up to `magnitude`.
inline double rounding(double magnitude) {
    return 2e-6 * magnitude + 1e-30;
}
