// The kernels' number formats, for inputs that are made up and outputs that are read.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "../../number_formats.h"

namespace gptoss::metal {

struct Bf16 {
    uint16_t bits;
};

struct Half {
    uint16_t bits;
};

inline double to_double(float value) {
    return value;
}
inline double to_double(Bf16 value) {
    return bf16_to_float(value.bits);
}
inline double to_double(Half value) {
    return half_to_float(value.bits);
}

template <class T>
T from_double(double value);

template <>
inline float from_double<float>(double value) {
    return static_cast<float>(value);
}
template <>
inline Half from_double<Half>(double value) {
    return {float_to_half(static_cast<float>(value))};
}
// Cut off, not rounded: made-up weights need not be near anything.
template <>
inline Bf16 from_double<Bf16>(double value) {
    return {static_cast<uint16_t>(std::bit_cast<uint32_t>(static_cast<float>(value)) >> 16)};
}

template <class T>
std::vector<double> to_doubles(const std::vector<T>& values) {
    std::vector<double> doubles;
    doubles.reserve(values.size());
    for (const T& value : values) {
        doubles.push_back(to_double(value));
    }
    return doubles;
}

} // namespace gptoss::metal
