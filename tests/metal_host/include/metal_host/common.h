// Common functions: minima, maxima, clamping, interpolation. MSL, 6.3 "Common Functions", and what integers have of
// them, 6.4 "Integer Functions".
#pragma once

#include "elementwise.h"

namespace metal {
namespace detail {

template <typename T>
concept ordered = integer<T> || floating<T>;

} // namespace detail

METAL_HOST_FUNCTION_2(min, detail::ordered, y < x ? y : x)
METAL_HOST_FUNCTION_2(max, detail::ordered, x < y ? y : x)
METAL_HOST_FUNCTION_3(min3, detail::ordered, metal::min(metal::min(x, y), z))
METAL_HOST_FUNCTION_3(max3, detail::ordered, metal::max(metal::max(x, y), z))
METAL_HOST_FUNCTION_3(median3, detail::ordered, metal::max(metal::min(x, y), metal::min(metal::max(x, y), z)))
METAL_HOST_FUNCTION_3(clamp, detail::ordered, metal::min(metal::max(x, y), z))

METAL_HOST_FUNCTION_1(saturate, detail::floating, metal::min(metal::max(x, T(0)), T(1)))
METAL_HOST_FUNCTION_1(sign, detail::floating, T(x > T(0)) - T(x < T(0))) // 0 for NaN
METAL_HOST_FUNCTION_2(step, detail::floating, y < x ? T(0) : T(1))
METAL_HOST_FUNCTION_3(mix, detail::floating, x + (y - x) * z)

namespace detail {

template <typename T>
inline T hermite(T t) {
    return t * t * (T(3) - T(2) * t);
}

} // namespace detail

METAL_HOST_FUNCTION_3(smoothstep, detail::floating, detail::hermite(metal::saturate((z - x) / (y - x))))

} // namespace metal
