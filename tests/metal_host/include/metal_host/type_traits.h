// Type traits and utilities of the standard library that Metal has too. MSL, 6.1 "Namespace and Header Files"
// (metal_type_traits, metal_utility) and 2.12 "Array" (metal_array).
#pragma once

#include <type_traits>
#include <utility>

#include "elementwise.h"

namespace metal {

using std::add_const_t;
using std::bool_constant;
using std::conditional;
using std::conditional_t;
using std::declval;
using std::enable_if;
using std::enable_if_t;
using std::false_type;
using std::integral_constant;
using std::is_const_v;
using std::is_convertible_v;
using std::is_pointer_v;
using std::is_reference_v;
using std::is_same;
using std::is_same_v;
using std::is_void_v;
using std::remove_const_t;
using std::remove_cv_t;
using std::remove_reference_t;
using std::true_type;

template <typename T>
inline constexpr bool is_floating_point_v = detail::floating<T>;
template <typename T>
struct is_floating_point : bool_constant<is_floating_point_v<T>> {};
template <typename T>
inline constexpr bool is_integral_v = detail::integer<T> || detail::same<T, bool>;
template <typename T>
struct is_integral : bool_constant<is_integral_v<T>> {};
template <typename T>
inline constexpr bool is_arithmetic_v = is_integral_v<T> || is_floating_point_v<T>;
template <typename T>
struct is_arithmetic : bool_constant<is_arithmetic_v<T>> {};
template <typename T>
inline constexpr bool is_signed_v = detail::signed_integer<T> || detail::floating<T>;
template <typename T>
struct is_signed : bool_constant<is_signed_v<T>> {};
template <typename T>
inline constexpr bool is_unsigned_v = detail::unsigned_integer<T> || detail::same<T, bool>;
template <typename T>
struct is_unsigned : bool_constant<is_unsigned_v<T>> {};

// float for float4, and the other way round.
template <typename T>
struct make_scalar {
    using type = detail::element_t<T>;
};
template <typename T>
using make_scalar_t = typename make_scalar<T>::type;
template <typename T, int N>
struct make_vector {
    using type = vec<T, N>;
};
template <typename T, int N>
using make_vector_t = typename make_vector<T, N>::type;

// An array that can be copied, passed and returned.
template <typename T, size_t N>
struct array {
    T elements[N];

    constexpr T& operator[](size_t index) { return elements[index]; }
    constexpr const T& operator[](size_t index) const { return elements[index]; }
    static constexpr size_t size() { return N; }
};

} // namespace metal
