// metal::numeric_limits and the constants of the scalar types. MSL, 6.2 "Numeric Limits" of the standard library
// and 6.5's constants.
#pragma once

#include <float.h>
#include <limits.h>
#include <limits>

#include "scalars.h"

namespace metal {

template <typename T>
struct numeric_limits : std::numeric_limits<T> {};

namespace detail {

// What half and bfloat, both binary formats of 16 bits with infinities, have in common.
struct float16_limits {
    static constexpr bool is_specialized = true;
    static constexpr bool is_signed = true;
    static constexpr bool is_integer = false;
    static constexpr bool is_exact = false;
    static constexpr bool has_infinity = true;
    static constexpr bool has_quiet_NaN = true;
    static constexpr bool has_signaling_NaN = true;
    static constexpr bool is_iec559 = true;
    static constexpr bool is_bounded = true;
    static constexpr bool is_modulo = false;
    static constexpr int radix = 2;
};

} // namespace detail

template <>
struct numeric_limits<half> : detail::float16_limits {
    static constexpr int digits = 11;
    static constexpr int digits10 = 3;
    static constexpr int max_digits10 = 5;
    static constexpr int min_exponent = -13;
    static constexpr int max_exponent = 16;
    static constexpr half min() { return static_cast<half>(0x1p-14f); }
    static constexpr half max() { return static_cast<half>(65504.0f); }
    static constexpr half lowest() { return static_cast<half>(-65504.0f); }
    static constexpr half epsilon() { return static_cast<half>(0x1p-10f); }
    static constexpr half round_error() { return static_cast<half>(0.5f); }
    static constexpr half denorm_min() { return static_cast<half>(0x1p-24f); }
    static constexpr half infinity() { return static_cast<half>(__builtin_inff()); }
    static constexpr half quiet_NaN() { return static_cast<half>(__builtin_nanf("")); }
};

template <>
struct numeric_limits<bfloat> : detail::float16_limits {
    static constexpr int digits = 8;
    static constexpr int digits10 = 2;
    static constexpr int max_digits10 = 4;
    static constexpr int min_exponent = -125;
    static constexpr int max_exponent = 128;
    static constexpr bfloat min() { return bfloat(0x1p-126f); }
    static constexpr bfloat max() { return bfloat(0x1.fep127f); }
    static constexpr bfloat lowest() { return bfloat(-0x1.fep127f); }
    static constexpr bfloat epsilon() { return bfloat(0x1p-7f); }
    static constexpr bfloat round_error() { return bfloat(0.5f); }
    static constexpr bfloat denorm_min() { return bfloat(0x1p-133f); }
    static constexpr bfloat infinity() { return bfloat(__builtin_inff()); }
    static constexpr bfloat quiet_NaN() { return bfloat(__builtin_nanf("")); }
};

} // namespace metal

#undef INFINITY
#undef NAN
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define HUGE_VALF __builtin_inff()
#define MAXFLOAT FLT_MAX
#define HALF_MAX 65504.0h
#define HALF_MIN 0x1p-14h
#define HALF_EPSILON 0x1p-10h
#define MAXHALF HALF_MAX
#define HUGE_VALH static_cast<half>(__builtin_inff())

#define M_E_F 2.71828182845904523536f
#define M_LOG2E_F 1.44269504088896340736f
#define M_LOG10E_F 0.43429448190325182765f
#define M_LN2_F 0.69314718055994530942f
#define M_LN10_F 2.30258509299404568402f
#define M_PI_F 3.14159265358979323846f
#define M_PI_2_F 1.57079632679489661923f
#define M_PI_4_F 0.78539816339744830962f
#define M_1_PI_F 0.31830988618379067154f
#define M_2_PI_F 0.63661977236758134308f
#define M_2_SQRTPI_F 1.12837916709551257390f
#define M_SQRT2_F 1.41421356237309504880f
#define M_SQRT1_2_F 0.70710678118654752440f
