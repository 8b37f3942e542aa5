// Math functions of float and half. MSL, 6.5 "Math Functions".
//
// A half's result is the float's, rounded. Metal's own results differ from these within the errors that its
// specification allows (7.4, "ULPs and Relative Error"): compare with tolerances. precise:: and fast:: are the same
// here.
//
// The compilers' __builtin functions stand for <cmath>, whose functions of double in the global namespace would make
// calls compile that Metal rejects, such as exp(1).
#pragma once

#include "common.h"

namespace metal {

#define METAL_HOST_MATH_1(name, result) METAL_HOST_FUNCTION_1(name, detail::floating, result)
#define METAL_HOST_MATH_2(name, result) METAL_HOST_FUNCTION_2(name, detail::floating, result)

METAL_HOST_MATH_1(acos, __builtin_acosf(x))
METAL_HOST_MATH_1(acosh, __builtin_acoshf(x))
METAL_HOST_MATH_1(asin, __builtin_asinf(x))
METAL_HOST_MATH_1(asinh, __builtin_asinhf(x))
METAL_HOST_MATH_1(atan, __builtin_atanf(x))
METAL_HOST_MATH_2(atan2, __builtin_atan2f(x, y))
METAL_HOST_MATH_1(atanh, __builtin_atanhf(x))
METAL_HOST_MATH_1(ceil, __builtin_ceilf(x))
METAL_HOST_MATH_2(copysign, __builtin_copysignf(x, y))
METAL_HOST_MATH_1(cos, __builtin_cosf(x))
METAL_HOST_MATH_1(cosh, __builtin_coshf(x))
METAL_HOST_MATH_1(cospi, __builtin_cosf(0x1.921fb6p+1f * __builtin_remainderf(x, 2.0f)))
METAL_HOST_MATH_2(divide, x / y)
METAL_HOST_MATH_1(exp, __builtin_expf(x))
METAL_HOST_MATH_1(exp10, __builtin_powf(10.0f, x))
METAL_HOST_MATH_1(exp2, __builtin_exp2f(x))
METAL_HOST_MATH_1(fabs, __builtin_fabsf(x))
METAL_HOST_MATH_2(fdim, __builtin_fdimf(x, y))
METAL_HOST_MATH_1(floor, __builtin_floorf(x))
METAL_HOST_FUNCTION_3(fma, detail::floating, __builtin_fmaf(x, y, z)) // half: one rounding more than Metal's
METAL_HOST_MATH_2(fmax, x < y || x != x ? y : x)                      // the number if one argument is NaN
METAL_HOST_MATH_2(fmin, y < x || x != x ? y : x)
METAL_HOST_FUNCTION_3(fmax3, detail::floating, metal::fmax(metal::fmax(x, y), z))
METAL_HOST_FUNCTION_3(fmin3, detail::floating, metal::fmin(metal::fmin(x, y), z))
METAL_HOST_FUNCTION_3(fmedian3, detail::floating, metal::fmax(metal::fmin(x, y), metal::fmin(metal::fmax(x, y), z)))
METAL_HOST_MATH_2(fmod, __builtin_fmodf(x, y))
METAL_HOST_MATH_1(fract, __builtin_fminf(x - __builtin_floorf(x), 0x1.fffffep-1f))
METAL_HOST_MATH_1(log, __builtin_logf(x))
METAL_HOST_MATH_1(log10, __builtin_log10f(x))
METAL_HOST_MATH_1(log2, __builtin_log2f(x))
METAL_HOST_MATH_2(nextafter, __builtin_nextafterf(x, y))
METAL_HOST_MATH_2(pow, __builtin_powf(x, y))
METAL_HOST_MATH_2(powr, __builtin_powf(x, y))
METAL_HOST_MATH_1(rint, __builtin_rintf(x))
METAL_HOST_MATH_1(round, __builtin_roundf(x))
METAL_HOST_MATH_1(rsqrt, 1.0f / __builtin_sqrtf(x))
METAL_HOST_MATH_1(sin, __builtin_sinf(x))
METAL_HOST_MATH_1(sinh, __builtin_sinhf(x))
METAL_HOST_MATH_1(sinpi, __builtin_sinf(0x1.921fb6p+1f * __builtin_remainderf(x, 2.0f)))
METAL_HOST_MATH_1(sqrt, __builtin_sqrtf(x))
METAL_HOST_MATH_1(tan, __builtin_tanf(x))
METAL_HOST_MATH_1(tanh, __builtin_tanhf(x))
METAL_HOST_MATH_1(trunc, __builtin_truncf(x))

// Functions that return a second value through a reference. V: float, half or a vector of them.
template <typename V>
    requires detail::floating<detail::element_t<V>>
inline V sincos(V x, V& cosine) {
    cosine = metal::cos(x);
    return metal::sin(x);
}

template <typename V>
    requires detail::floating<detail::element_t<V>>
inline V modf(V x, V& integral) {
    integral = metal::trunc(x);
    return x - integral;
}

template <typename A, typename T = detail::element_t<A>>
    requires detail::floating<T>
inline auto frexp(const A& x, detail::with_element_t<detail::value_t<A>, int>& exponent) {
    using V = detail::value_t<A>;
    const V value(x);
    exponent = detail::elementwise(
        [](T element) {
            int result;
            (void)__builtin_frexpf(element, &result);
            return result;
        },
        value);
    return detail::elementwise(
        [](T element) {
            int ignored;
            return static_cast<T>(__builtin_frexpf(element, &ignored));
        },
        value);
}

template <typename A, typename T = detail::element_t<A>>
    requires detail::floating<T>
inline auto ldexp(const A& x, detail::with_element_t<detail::value_t<A>, int> exponent) {
    return detail::elementwise([](T element, int power) { return static_cast<T>(__builtin_ldexpf(element, power)); },
                               detail::value_t<A>(x), exponent);
}

template <typename A, typename T = detail::element_t<A>>
    requires detail::floating<T>
inline auto ilogb(const A& x) {
    return detail::elementwise([](T element) { return __builtin_ilogbf(element); }, detail::value_t<A>(x));
}

// For integers and for floats.
METAL_HOST_FUNCTION_1(abs, detail::ordered, x < T(0) ? -x : detail::floating<T> ? x + T(0) : x) // -0 becomes 0

#undef METAL_HOST_MATH_1
#undef METAL_HOST_MATH_2

#define METAL_HOST_MATH_OF_BOTH_PRECISIONS \
    using metal::acos;                     \
    using metal::acosh;                    \
    using metal::asin;                     \
    using metal::asinh;                    \
    using metal::atan;                     \
    using metal::atan2;                    \
    using metal::atanh;                    \
    using metal::ceil;                     \
    using metal::copysign;                 \
    using metal::cos;                      \
    using metal::cosh;                     \
    using metal::cospi;                    \
    using metal::divide;                   \
    using metal::exp;                      \
    using metal::exp10;                    \
    using metal::exp2;                     \
    using metal::fabs;                     \
    using metal::fdim;                     \
    using metal::floor;                    \
    using metal::fma;                      \
    using metal::fmax;                     \
    using metal::fmax3;                    \
    using metal::fmedian3;                 \
    using metal::fmin;                     \
    using metal::fmin3;                    \
    using metal::fmod;                     \
    using metal::fract;                    \
    using metal::frexp;                    \
    using metal::ilogb;                    \
    using metal::ldexp;                    \
    using metal::log;                      \
    using metal::log10;                    \
    using metal::log2;                     \
    using metal::modf;                     \
    using metal::pow;                      \
    using metal::powr;                     \
    using metal::rint;                     \
    using metal::round;                    \
    using metal::rsqrt;                    \
    using metal::sin;                      \
    using metal::sincos;                   \
    using metal::sinh;                     \
    using metal::sinpi;                    \
    using metal::sqrt;                     \
    using metal::tan;                      \
    using metal::tanh;                     \
    using metal::trunc;
namespace precise {
METAL_HOST_MATH_OF_BOTH_PRECISIONS
}
namespace fast {
METAL_HOST_MATH_OF_BOTH_PRECISIONS
}
#undef METAL_HOST_MATH_OF_BOTH_PRECISIONS

} // namespace metal
