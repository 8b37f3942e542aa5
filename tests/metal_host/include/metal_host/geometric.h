// Geometric functions of vectors of float and half. MSL, 6.9 "Geometric Functions".
#pragma once

#include "math.h"

namespace metal {
namespace detail {

template <typename... A>
concept float_vectors = vector<shared_t<A...>> && floating<element_t<shared_t<A...>>>;

// In pairs, which keeps the chain of dependent additions short.
template <typename T, int N>
inline T sum_of_elements(vec<T, N> value) {
    if constexpr (N == 2) {
        return value.elements[0] + value.elements[1];
    } else if constexpr (N == 3) {
        return (value.elements[0] + value.elements[1]) + value.elements[2];
    } else {
        return (value.elements[0] + value.elements[1]) + (value.elements[2] + value.elements[3]);
    }
}

} // namespace detail

template <typename A, typename B>
    requires detail::float_vectors<A, B>
inline auto dot(const A& x, const B& y) {
    using V = detail::shared_t<A, B>;
    return detail::sum_of_elements(static_cast<V>(x) * static_cast<V>(y));
}

template <typename A, typename B>
    requires(detail::float_vectors<A, B> && detail::operand<A>::size == 3)
inline auto cross(const A& x, const B& y) {
    using V = detail::shared_t<A, B>;
    const V a(x);
    const V b(y);
    return V(a.yzx) * V(b.zxy) - V(a.zxy) * V(b.yzx);
}

template <typename A>
    requires detail::float_vectors<A>
inline auto length_squared(const A& x) {
    return metal::dot(x, x);
}

template <typename A>
    requires detail::float_vectors<A>
inline auto length(const A& x) {
    return metal::sqrt(metal::dot(x, x));
}

template <typename A>
    requires detail::float_vectors<A>
inline auto normalize(const A& x) {
    return detail::value_t<A>(x) * metal::rsqrt(metal::dot(x, x));
}

template <typename A, typename B>
    requires detail::float_vectors<A, B>
inline auto distance_squared(const A& x, const B& y) {
    using V = detail::shared_t<A, B>;
    return metal::length_squared(static_cast<V>(x) - static_cast<V>(y));
}

template <typename A, typename B>
    requires detail::float_vectors<A, B>
inline auto distance(const A& x, const B& y) {
    return metal::sqrt(metal::distance_squared(x, y));
}

namespace precise {
using metal::distance;
using metal::length;
using metal::normalize;
} // namespace precise
namespace fast {
using metal::distance;
using metal::length;
using metal::normalize;
} // namespace fast

} // namespace metal
