// Integer functions. MSL, 6.4 "Integer Functions". (abs is in math.h; min, max, clamp and their like are in common.h.)
#pragma once

#include "elementwise.h"

namespace metal {
namespace detail {

// Integer types that hold any sum or difference of two T, and any x * y + z.
template <typename T>
using wider_t = typename choice<(sizeof(T) < 8), long, __int128>::type;
template <typename T>
using product_t = typename choice<same<T, ulong>, unsigned __int128, __int128>::type;

template <typename T>
inline constexpr int bits_of = 8 * sizeof(T);

template <typename T>
inline constexpr T largest_of =
    signed_integer<T> ? static_cast<T>(static_cast<unsigned_t<T>>(~unsigned_t<T>(0)) >> 1) : static_cast<T>(~T(0));
template <typename T>
inline constexpr T smallest_of = static_cast<T>(~largest_of<T>);

template <integer T, typename Wide>
inline T saturated(Wide value) {
    if (value > static_cast<Wide>(largest_of<T>)) {
        return largest_of<T>;
    }
    return value < static_cast<Wide>(smallest_of<T>) ? smallest_of<T> : static_cast<T>(value);
}

template <integer T>
inline T count_leading_zeros(T value) {
    const ulong bits = static_cast<unsigned_t<T>>(value);
    return static_cast<T>(bits == 0 ? bits_of<T> : __builtin_clzl(bits) - (64 - bits_of<T>));
}

template <integer T>
inline T count_trailing_zeros(T value) {
    const ulong bits = static_cast<unsigned_t<T>>(value);
    return static_cast<T>(bits == 0 ? bits_of<T> : __builtin_ctzl(bits));
}

template <integer T>
inline T rotated_left(T value, T count) {
    const unsigned_t<T> bits = static_cast<unsigned_t<T>>(value);
    const int left = static_cast<int>(static_cast<unsigned_t<T>>(count) % bits_of<T>);
    return left == 0 ? value : static_cast<T>(bits << left | bits >> (bits_of<T> - left));
}

template <integer T>
inline T with_bits_reversed(T value) {
    unsigned_t<T> bits = static_cast<unsigned_t<T>>(value);
    unsigned_t<T> result = 0;
    for (int i = 0; i < bits_of<T>; i++) {
        result = static_cast<unsigned_t<T>>(result << 1 | (bits & 1u));
        bits = static_cast<unsigned_t<T>>(bits >> 1);
    }
    return static_cast<T>(result);
}

// The low `count` bits set. Shifts by the type's full width are undefined, in Metal and here.
template <integer T>
inline unsigned_t<T> low_bits(uint count) {
    return count >= bits_of<T> ? static_cast<unsigned_t<T>>(~unsigned_t<T>(0))
                               : static_cast<unsigned_t<T>>((unsigned_t<T>(1) << count) - 1);
}

template <integer T>
inline T extracted_bits(T value, uint offset, uint count) {
    if (count == 0) {
        return 0;
    }
    // To the top, and back down: for signed types the upper bit of the field is its sign.
    const unsigned_t<T> at_top =
        static_cast<unsigned_t<T>>(static_cast<unsigned_t<T>>(value) << (bits_of<T> - offset - count));
    return static_cast<T>(static_cast<T>(at_top) >> (bits_of<T> - count));
}

template <integer T>
inline T with_bits_inserted(T base, T inserted, uint offset, uint count) {
    if (count == 0) {
        return base;
    }
    const unsigned_t<T> mask = static_cast<unsigned_t<T>>(low_bits<T>(count) << offset);
    const unsigned_t<T> field = static_cast<unsigned_t<T>>(static_cast<unsigned_t<T>>(inserted) << offset);
    return static_cast<T>((static_cast<unsigned_t<T>>(base) & ~mask) | (field & mask));
}

template <integer T>
inline T high_product(T x, T y) {
    if constexpr (unsigned_integer<T>) {
        return static_cast<T>(static_cast<unsigned __int128>(x) * y >> bits_of<T>);
    } else {
        return static_cast<T>(static_cast<__int128>(x) * y >> bits_of<T>);
    }
}

template <typename T>
concept int_or_uint = same<T, int> || same<T, uint>;

// The low 24 bits of x, sign-extended for int.
template <int_or_uint T>
inline T low_24_bits(T x) {
    return extracted_bits(x, 0, 24);
}

} // namespace detail

METAL_HOST_FUNCTION_1(clz, detail::integer, detail::count_leading_zeros(x))
METAL_HOST_FUNCTION_1(ctz, detail::integer, detail::count_trailing_zeros(x))
METAL_HOST_FUNCTION_1(popcount, detail::integer, __builtin_popcountl(static_cast<detail::unsigned_t<T>>(x)))
METAL_HOST_FUNCTION_1(reverse_bits, detail::integer, detail::with_bits_reversed(x))
METAL_HOST_FUNCTION_2(rotate, detail::integer, detail::rotated_left(x, y))

METAL_HOST_FUNCTION_2(addsat, detail::integer, detail::saturated<T>(detail::wider_t<T>(x) + y))
METAL_HOST_FUNCTION_2(subsat, detail::integer, detail::saturated<T>(detail::wider_t<T>(x) - y))
METAL_HOST_FUNCTION_2(hadd, detail::integer, (detail::wider_t<T>(x) + y) >> 1)
METAL_HOST_FUNCTION_2(rhadd, detail::integer, (detail::wider_t<T>(x) + y + 1) >> 1)
METAL_HOST_FUNCTION_2(mulhi, detail::integer, detail::high_product(x, y))
METAL_HOST_FUNCTION_3(madhi,
                      detail::integer,
                      static_cast<detail::unsigned_t<T>>(detail::high_product(x, y)) +
                          static_cast<detail::unsigned_t<T>>(z))
METAL_HOST_FUNCTION_3(madsat, detail::integer, detail::saturated<T>(detail::product_t<T>(x) * y + z))
METAL_HOST_FUNCTION_2(mul24,
                      detail::int_or_uint,
                      static_cast<uint>(detail::low_24_bits(x)) * static_cast<uint>(detail::low_24_bits(y)))
METAL_HOST_FUNCTION_3(mad24,
                      detail::int_or_uint,
                      static_cast<uint>(detail::low_24_bits(x)) * static_cast<uint>(detail::low_24_bits(y)) +
                          static_cast<uint>(z))

// |x - y|, as unsigned integers.
template <typename A, typename B, typename V = detail::shared_t<A, B>, typename T = detail::element_t<V>>
    requires detail::integer<T>
inline auto absdiff(const A& first, const B& second) {
    using U = detail::unsigned_t<T>;
    return detail::elementwise(
        [](T x, T y) {
            return static_cast<U>(x < y ? static_cast<U>(y) - static_cast<U>(x)
                                        : static_cast<U>(x) - static_cast<U>(y));
        },
        static_cast<V>(first), static_cast<V>(second));
}

// `bits` bits of x from bit `offset` on; offset + bits may not exceed the type's width.
template <typename A, typename T = detail::element_t<A>>
    requires detail::integer<T>
inline detail::value_t<A> extract_bits(const A& x, uint offset, uint bits) {
    return detail::elementwise([=](T element) { return detail::extracted_bits(element, offset, bits); },
                               detail::value_t<A>(x));
}

// `base` with `bits` bits from bit `offset` on replaced by the low bits of `inserted`.
template <typename A, typename B, typename V = detail::shared_t<A, B>, typename T = detail::element_t<V>>
    requires detail::integer<T>
inline V insert_bits(const A& base, const B& inserted, uint offset, uint bits) {
    return detail::elementwise([=](T x, T y) { return detail::with_bits_inserted(x, y, offset, bits); },
                               static_cast<V>(base), static_cast<V>(inserted));
}

} // namespace metal
