// <metal_math>, <metal_common>, <metal_integer>, <metal_relational> and <metal_geometric>: one overload for every type,
// as Metal declares them, so that min(float, int), min(uint, int) and sqrt(uint) are ambiguous here as they are there.
#pragma once

#include "types.h"

namespace metal {

// A macro for scalars and for every vector of them.
#define METAL_DIALECT_ALL(macro, T) macro(T) macro(T##2) macro(T##3) macro(T##4)

#define METAL_DIALECT_UNARY(T) \
    T acos(T);                 \
    T acosh(T);                \
    T asin(T);                 \
    T asinh(T);                \
    T atan(T);                 \
    T atanh(T);                \
    T ceil(T);                 \
    T cos(T);                  \
    T cosh(T);                 \
    T cospi(T);                \
    T exp(T);                  \
    T exp10(T);                \
    T exp2(T);                 \
    T fabs(T);                 \
    T abs(T);                  \
    T floor(T);                \
    T fract(T);                \
    T log(T);                  \
    T log10(T);                \
    T log2(T);                 \
    T rint(T);                 \
    T round(T);                \
    T rsqrt(T);                \
    T saturate(T);             \
    T sign(T);                 \
    T sin(T);                  \
    T sinh(T);                 \
    T sinpi(T);                \
    T sqrt(T);                 \
    T tan(T);                  \
    T tanh(T);                 \
    T tanpi(T);                \
    T trunc(T);                \
    T sincos(T, __private T&); \
    T modf(T, __private T&);

#define METAL_DIALECT_BINARY(T) \
    T atan2(T, T);              \
    T copysign(T, T);           \
    T divide(T, T);             \
    T fdim(T, T);               \
    T fmax(T, T);               \
    T fmin(T, T);               \
    T fmod(T, T);               \
    T max(T, T);                \
    T min(T, T);                \
    T pow(T, T);                \
    T powr(T, T);               \
    T step(T, T);

#define METAL_DIALECT_TERNARY(T) \
    T clamp(T, T, T);            \
    T fma(T, T, T);              \
    T fmax3(T, T, T);            \
    T fmedian3(T, T, T);         \
    T fmin3(T, T, T);            \
    T max3(T, T, T);             \
    T median3(T, T, T);          \
    T min3(T, T, T);             \
    T mix(T, T, T);              \
    T smoothstep(T, T, T);

#define METAL_DIALECT_FLOAT(T) METAL_DIALECT_UNARY(T) METAL_DIALECT_BINARY(T) METAL_DIALECT_TERNARY(T)
#define METAL_DIALECT_FLOATS(T) METAL_DIALECT_ALL(METAL_DIALECT_FLOAT, T)
METAL_DIALECT_FOR_FLOATS(METAL_DIALECT_FLOATS)

// Both modes offer single precision only: an argument of half is widened.
namespace precise {
METAL_DIALECT_FLOATS(float)
} // namespace precise
namespace fast {
METAL_DIALECT_FLOATS(float)
} // namespace fast

#define METAL_DIALECT_EXPONENTS(F, I) \
    F ldexp(F, I);                    \
    F frexp(F, __private I&);         \
    I ilogb(F);
METAL_DIALECT_EXPONENTS(float, int)
METAL_DIALECT_EXPONENTS(float2, int2)
METAL_DIALECT_EXPONENTS(float3, int3)
METAL_DIALECT_EXPONENTS(float4, int4)
METAL_DIALECT_EXPONENTS(half, int)
METAL_DIALECT_EXPONENTS(half2, int2)
METAL_DIALECT_EXPONENTS(half3, int3)
METAL_DIALECT_EXPONENTS(half4, int4)

#define METAL_DIALECT_INTEGER(T)     \
    T abs(T);                        \
    T absdiff(T, T);                 \
    T addsat(T, T);                  \
    T clamp(T, T, T);                \
    T clz(T);                        \
    T ctz(T);                        \
    T extract_bits(T, uint, uint);   \
    T hadd(T, T);                    \
    T insert_bits(T, T, uint, uint); \
    T madhi(T, T, T);                \
    T madsat(T, T, T);               \
    T max(T, T);                     \
    T max3(T, T, T);                 \
    T median3(T, T, T);              \
    T min(T, T);                     \
    T min3(T, T, T);                 \
    T mulhi(T, T);                   \
    T popcount(T);                   \
    T reverse_bits(T);               \
    T rhadd(T, T);                   \
    T rotate(T, T);                  \
    T subsat(T, T);
#define METAL_DIALECT_INTEGERS(T) METAL_DIALECT_ALL(METAL_DIALECT_INTEGER, T)
METAL_DIALECT_FOR_INTEGERS(METAL_DIALECT_INTEGERS)

#define METAL_DIALECT_24_BIT(T) \
    T mul24(T, T);              \
    T mad24(T, T, T);
METAL_DIALECT_ALL(METAL_DIALECT_24_BIT, int)
METAL_DIALECT_ALL(METAL_DIALECT_24_BIT, uint)

#define METAL_DIALECT_CLASSIFY(F) \
    bool isfinite(F);             \
    bool isinf(F);                \
    bool isnan(F);                \
    bool isnormal(F);             \
    bool isordered(F, F);         \
    bool isunordered(F, F);       \
    bool signbit(F);
METAL_DIALECT_FOR_FLOATS(METAL_DIALECT_CLASSIFY)

#define METAL_DIALECT_CLASSIFY_VECTOR(F, B) \
    B isfinite(F);                          \
    B isinf(F);                             \
    B isnan(F);                             \
    B isnormal(F);                          \
    B isordered(F, F);                      \
    B isunordered(F, F);                    \
    B signbit(F);
#define METAL_DIALECT_CLASSIFY_VECTORS(T)      \
    METAL_DIALECT_CLASSIFY_VECTOR(T##2, bool2) \
    METAL_DIALECT_CLASSIFY_VECTOR(T##3, bool3) \
    METAL_DIALECT_CLASSIFY_VECTOR(T##4, bool4)
METAL_DIALECT_FOR_FLOATS(METAL_DIALECT_CLASSIFY_VECTORS)

// The condition of a vector's select is what a comparison of such vectors gives: here an integer vector of its width.
#define METAL_DIALECT_SELECT(T) T select(T, T, bool);
#define METAL_DIALECT_SELECT_VECTOR(T, N) \
    template <class Condition>            \
    T##N select(T##N, T##N, vec<Condition, N>);
#define METAL_DIALECT_SELECTS(T)      \
    METAL_DIALECT_SELECT(T)           \
    METAL_DIALECT_SELECT_VECTOR(T, 2) \
    METAL_DIALECT_SELECT_VECTOR(T, 3) \
    METAL_DIALECT_SELECT_VECTOR(T, 4)
METAL_DIALECT_FOR_INTEGERS(METAL_DIALECT_SELECTS)
METAL_DIALECT_FOR_FLOATS(METAL_DIALECT_SELECTS)
METAL_DIALECT_SELECT(bool)

template <class T, int N>
bool any(vec<T, N>);
template <class T, int N>
bool all(vec<T, N>);

#define METAL_DIALECT_GEOMETRY(T, V) \
    T dot(V, V);                     \
    T distance(V, V);                \
    T distance_squared(V, V);        \
    T length(V);                     \
    T length_squared(V);             \
    V normalize(V);                  \
    V faceforward(V, V, V);          \
    V reflect(V, V);                 \
    V refract(V, V, T);
#define METAL_DIALECT_GEOMETRIES(T) \
    METAL_DIALECT_GEOMETRY(T, T##2) \
    METAL_DIALECT_GEOMETRY(T, T##3) \
    METAL_DIALECT_GEOMETRY(T, T##4) \
    T##3 cross(T##3, T##3);
METAL_DIALECT_FOR_FLOATS(METAL_DIALECT_GEOMETRIES)

} // namespace metal

#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define HUGE_VALF __builtin_inff()
#define MAXFLOAT 0x1.fffffep127f
#define FLT_MAX 0x1.fffffep127f
#define FLT_MIN 0x1.0p-126f
#define FLT_EPSILON 0x1.0p-23f
#define FLT_DIG 6
#define FLT_MANT_DIG 24
#define HALF_MAX 0x1.ffcp15h
#define HALF_MIN 0x1.0p-14h
#define HALF_EPSILON 0x1.0p-10h
#define CHAR_BIT 8
#define CHAR_MAX 127
#define CHAR_MIN (-128)
#define UCHAR_MAX 255
#define SHRT_MAX 32767
#define SHRT_MIN (-32768)
#define USHRT_MAX 65535
#define INT_MAX 2147483647
#define INT_MIN (-2147483647 - 1)
#define UINT_MAX 4294967295u
#define LONG_MAX 9223372036854775807L
#define LONG_MIN (-9223372036854775807L - 1)
#define ULONG_MAX 18446744073709551615uL
#define M_E_F 2.71828182845904523536f
#define M_LOG2E_F 1.44269504088896340736f
#define M_LOG10E_F 0.434294481903251827651f
#define M_LN2_F 0.693147180559945309417f
#define M_LN10_F 2.30258509299404568402f
#define M_PI_F 3.14159265358979323846f
#define M_PI_2_F 1.57079632679489661923f
#define M_PI_4_F 0.785398163397448309616f
#define M_1_PI_F 0.318309886183790671538f
#define M_2_PI_F 0.636619772367581343076f
#define M_SQRT2_F 1.41421356237309504880f
#define M_SQRT1_2_F 0.707106781186547524401f
