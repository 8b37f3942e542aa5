// <metal_limits>: numeric_limits of every scalar type.
#pragma once

#include "types.h"

namespace metal {

template <class T>
struct numeric_limits;

#define METAL_DIALECT_INTEGER_LIMITS(T)                                             \
    template <>                                                                     \
    struct numeric_limits<T> {                                                      \
        static constexpr T max() {                                                  \
            return T(-1) > T(0) ? T(-1) : T((ulong(1) << (8 * sizeof(T) - 1)) - 1); \
        }                                                                           \
        static constexpr T min() {                                                  \
            return T(-1) > T(0) ? T(0) : T(-max() - 1);                             \
        }                                                                           \
        static constexpr T lowest() {                                               \
            return min();                                                           \
        }                                                                           \
    };
METAL_DIALECT_FOR_INTEGERS(METAL_DIALECT_INTEGER_LIMITS)
METAL_DIALECT_INTEGER_LIMITS(int8_t)

#define METAL_DIALECT_FLOAT_LIMITS(T, largest, smallest, step) \
    template <>                                                \
    struct numeric_limits<T> {                                 \
        static constexpr T max() {                             \
            return largest;                                    \
        }                                                      \
        static constexpr T min() {                             \
            return smallest;                                   \
        }                                                      \
        static constexpr T lowest() {                          \
            return -largest;                                   \
        }                                                      \
        static constexpr T epsilon() {                         \
            return step;                                       \
        }                                                      \
        static constexpr T infinity() {                        \
            return T(__builtin_inff());                        \
        }                                                      \
        static constexpr T quiet_NaN() {                       \
            return T(__builtin_nanf(""));                      \
        }                                                      \
    };
METAL_DIALECT_FLOAT_LIMITS(half, half(0x1.ffcp15f), half(0x1.0p-14f), half(0x1.0p-10f))
METAL_DIALECT_FLOAT_LIMITS(float, 0x1.fffffep127f, 0x1.0p-126f, 0x1.0p-23f)
#if __METAL_VERSION__ >= 310
METAL_DIALECT_FLOAT_LIMITS(bfloat, bfloat(0x1.fep127f), bfloat(0x1.0p-126f), bfloat(0x1.0p-7f))
#endif

} // namespace metal
