// How the library's functions take their arguments: scalars that agree in type, or vectors that agree in type, with
// which scalars are converted and spread. Anything else has no overload in Metal either: max(float, int), clamp(half4,
// float4, float4).
#pragma once

#include "vector.h"

namespace metal::detail {

// The one type that arguments A... are taken as; no member `type` where there is none.
template <typename... A>
struct shared_operand {};

template <scalar A>
struct shared_operand<A> {
    using type = A;
};
template <vector A>
struct shared_operand<A> {
    using type = value_t<A>;
};
template <typename A, typename B>
    requires(scalar<A> && same<A, B>)
struct shared_operand<A, B> {
    using type = A;
};
template <vector A, vector B>
    requires(same<value_t<A>, value_t<B>>)
struct shared_operand<A, B> {
    using type = value_t<A>;
};
template <vector A, scalar B>
    requires(converts_implicitly<B, element_t<A>>)
struct shared_operand<A, B> {
    using type = value_t<A>;
};
template <scalar A, vector B>
    requires(converts_implicitly<A, element_t<B>>)
struct shared_operand<A, B> {
    using type = value_t<B>;
};
// Of three: the vector among the first two, or the scalar that they agree on, meets the third. Two scalars that differ
// may still both spread over a vector that comes third.
template <typename A, typename B, typename C>
    requires requires { typename shared_operand<typename shared_operand<A, B>::type, C>::type; }
struct shared_operand<A, B, C> : shared_operand<typename shared_operand<A, B>::type, C> {};
template <scalar A, scalar B, vector C>
    requires(!same<A, B> && converts_implicitly<A, element_t<C>> && converts_implicitly<B, element_t<C>>)
struct shared_operand<A, B, C> {
    using type = value_t<C>;
};

template <typename... A>
using shared_t = typename shared_operand<A...>::type;

template <typename T, typename Scalar>
struct with_element {
    using type = Scalar;
};
template <typename T, int N, typename Scalar>
struct with_element<vec<T, N>, Scalar> {
    using type = vec<Scalar, N>;
};
// Vector of Scalar with as many elements as T; Scalar if T is a scalar.
template <typename T, typename Scalar>
using with_element_t = typename with_element<T, Scalar>::type;

// function(arguments' i-th elements...) for each i; all arguments are of one type, or vectors of equal size.
template <typename Function, typename T, typename... More>
inline auto elementwise(Function function, T first, More... more) {
    if constexpr (vector<T>) {
        constexpr int size = operand<T>::size;
        vec<decltype(function(first.elements[0], more.elements[0]...)), size> result;
        for (int i = 0; i < size; i++) {
            result.elements[i] = function(first.elements[i], more.elements[i]...);
        }
        return result;
    } else {
        return function(first, more...);
    }
}

} // namespace metal::detail

// Defines name(x), name(x, y) or name(x, y, z) for scalars and vectors whose elements meet `constraint`. `result` is an
// expression of the elements x, y, z of type T; it is converted to T.
#define METAL_HOST_FUNCTION_1(name, constraint, result)                                    \
    template <typename A>                                                                  \
        requires constraint<metal::detail::element_t<metal::detail::shared_t<A>>>          \
    inline metal::detail::shared_t<A> name(const A& first) {                               \
        using T = metal::detail::element_t<A>;                                             \
        return metal::detail::elementwise([](T x) { return static_cast<T>(result); },      \
                                          static_cast<metal::detail::shared_t<A>>(first)); \
    }
#define METAL_HOST_FUNCTION_2(name, constraint, result)                                               \
    template <typename A, typename B>                                                                 \
        requires constraint<metal::detail::element_t<metal::detail::shared_t<A, B>>>                  \
    inline metal::detail::shared_t<A, B> name(const A& first, const B& second) {                      \
        using Operand = metal::detail::shared_t<A, B>;                                                \
        using T = metal::detail::element_t<Operand>;                                                  \
        return metal::detail::elementwise([](T x, T y) { return static_cast<T>(result); },            \
                                          static_cast<Operand>(first), static_cast<Operand>(second)); \
    }
#define METAL_HOST_FUNCTION_3(name, constraint, result)                                              \
    template <typename A, typename B, typename C>                                                    \
        requires constraint<metal::detail::element_t<metal::detail::shared_t<A, B, C>>>              \
    inline metal::detail::shared_t<A, B, C> name(const A& first, const B& second, const C& third) {  \
        using Operand = metal::detail::shared_t<A, B, C>;                                            \
        using T = metal::detail::element_t<Operand>;                                                 \
        return metal::detail::elementwise([](T x, T y, T z) { return static_cast<T>(result); },      \
                                          static_cast<Operand>(first), static_cast<Operand>(second), \
                                          static_cast<Operand>(third));                              \
    }
