// <metal_type_traits> and <metal_limits>: what kernels select types and masks by.
#pragma once

#include "types.h"

namespace metal {

template <class T, T v>
struct integral_constant {
    static constexpr __constant T value = v;
    typedef T value_type;
};
template <bool v>
using bool_constant = integral_constant<bool, v>;
using true_type = bool_constant<true>;
using false_type = bool_constant<false>;

template <class T>
struct remove_const {
    typedef T type;
};
template <class T>
struct remove_const<const T> {
    typedef T type;
};
template <class T>
struct remove_volatile {
    typedef T type;
};
template <class T>
struct remove_volatile<volatile T> {
    typedef T type;
};
template <class T>
struct remove_cv {
    typedef typename remove_volatile<typename remove_const<T>::type>::type type;
};
template <class T>
using remove_cv_t = typename remove_cv<T>::type;
template <class T>
using remove_const_t = typename remove_const<T>::type;

template <class T>
struct remove_reference {
    typedef T type;
};
template <class T>
struct remove_reference<T&> {
    typedef T type;
};
template <class T>
struct remove_reference<__global T&> {
    typedef T type;
};
template <class T>
struct remove_reference<__local T&> {
    typedef T type;
};
template <class T>
struct remove_reference<__constant T&> {
    typedef T type;
};
template <class T>
using remove_reference_t = typename remove_reference<T>::type;

template <class T>
struct remove_addrspace {
    typedef T type;
};
template <class T>
struct remove_addrspace<__private T> {
    typedef T type;
};
template <class T>
struct remove_addrspace<__global T> {
    typedef T type;
};
template <class T>
struct remove_addrspace<__local T> {
    typedef T type;
};
template <class T>
struct remove_addrspace<__constant T> {
    typedef T type;
};
template <class T>
using remove_addrspace_t = typename remove_addrspace<T>::type;

template <class A, class B>
struct is_same : false_type {};
template <class A>
struct is_same<A, A> : true_type {};

template <class T>
struct is_integral : false_type {};
#define METAL_DIALECT_IS_INTEGRAL(T) \
    template <>                      \
    struct is_integral<T> : true_type {};
METAL_DIALECT_FOR_INTEGERS(METAL_DIALECT_IS_INTEGRAL)
METAL_DIALECT_IS_INTEGRAL(bool)
#undef METAL_DIALECT_IS_INTEGRAL

template <class T>
struct is_floating_point : false_type {};
#define METAL_DIALECT_IS_FLOATING_POINT(T) \
    template <>                            \
    struct is_floating_point<T> : true_type {};
METAL_DIALECT_FOR_FLOATS(METAL_DIALECT_IS_FLOATING_POINT)
#undef METAL_DIALECT_IS_FLOATING_POINT

template <class T>
struct is_arithmetic : bool_constant<is_integral<T>::value || is_floating_point<T>::value> {};
template <class T>
struct is_unsigned : bool_constant<is_integral<T>::value && T(-1) >= T(0)> {};
template <class T>
struct is_signed : bool_constant<is_arithmetic<T>::value && T(-1) < T(0)> {};

template <class A, class B>
constexpr __constant bool is_same_v = is_same<A, B>::value;
template <class T>
constexpr __constant bool is_integral_v = is_integral<T>::value;
template <class T>
constexpr __constant bool is_floating_point_v = is_floating_point<T>::value;
template <class T>
constexpr __constant bool is_arithmetic_v = is_arithmetic<T>::value;
template <class T>
constexpr __constant bool is_unsigned_v = is_unsigned<T>::value;
template <class T>
constexpr __constant bool is_signed_v = is_signed<T>::value;

template <bool condition, class T = void>
struct enable_if {};
template <class T>
struct enable_if<true, T> {
    typedef T type;
};
template <bool condition, class T = void>
using enable_if_t = typename enable_if<condition, T>::type;

template <bool condition, class A, class B>
struct conditional {
    typedef A type;
};
template <class A, class B>
struct conditional<false, A, B> {
    typedef B type;
};
template <bool condition, class A, class B>
using conditional_t = typename conditional<condition, A, B>::type;

template <class T>
T&& declval();

} // namespace metal
