// The scalar types of the Metal Shading Language and what the shim asks about types.
// Metal Shading Language Specification (MSL), 2.1 "Scalar Data Types".
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "bfloat.h"

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;

static_assert(sizeof(long) == 8 && sizeof(int) == 4 && sizeof(short) == 2, "Metal's long has 64 bits: LP64 needed");
static_assert(static_cast<char>(-1) < 0, "Metal's char is signed: compile with -fsigned-char");

// Both compilers have the type, round it after every operation (clang: with -Xclang -ffloat16-excess-precision=none)
// and convert it with the processor's instructions (F16C).
typedef _Float16 half;

// 1.0h. (Metal has 1.0H too; clang keeps that suffix to itself.) MSL, 2.1.
#pragma GCC diagnostic push
#if defined(__clang__)
#pragma GCC diagnostic ignored "-Wuser-defined-literals"
#else
#pragma GCC diagnostic ignored "-Wliteral-suffix"
#endif
consteval half operator""h(long double value) {
    return static_cast<half>(value);
}
#pragma GCC diagnostic pop

namespace metal::detail {

template <typename A, typename B>
inline constexpr bool same = false;
template <typename A>
inline constexpr bool same<A, A> = true;

template <typename T, typename... Options>
inline constexpr bool one_of = (same<T, Options> || ...);

template <typename T>
concept signed_integer = one_of<T, char, short, int, long>;
template <typename T>
concept unsigned_integer = one_of<T, uchar, ushort, uint, ulong>;
template <typename T>
concept other_integer = one_of<T, bool, signed char, long long, unsigned long long>; // not Metal's, but the host's
template <typename T>
concept integer = signed_integer<T> || unsigned_integer<T>;
template <typename T>
concept floating = one_of<T, half, bfloat, float>;
template <typename T>
concept scalar = integer<T> || floating<T> || other_integer<T>;

template <bool Condition, typename Yes, typename No>
struct choice {
    using type = Yes;
};
template <typename Yes, typename No>
struct choice<false, Yes, No> {
    using type = No;
};

// uint for int, and so on.
template <typename T>
using unsigned_t = typename choice<
    sizeof(T) == 1,
    uchar,
    typename choice<sizeof(T) == 2, ushort, typename choice<sizeof(T) == 4, uint, ulong>::type>::type>::type;

} // namespace metal::detail
