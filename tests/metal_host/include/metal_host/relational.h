// Relational functions. MSL, 6.6 "Relational Functions". Kernels compiled with fast-math must not rely on isnan and
// isinf.
#pragma once

#include "elementwise.h"

namespace metal {

template <detail::vector A>
    requires detail::same<detail::element_t<A>, bool>
inline bool any(const A& condition) {
    const detail::value_t<A> value(condition);
    bool result = false;
    for (bool element : value.elements) {
        result = result || element;
    }
    return result;
}

template <detail::vector A>
    requires detail::same<detail::element_t<A>, bool>
inline bool all(const A& condition) {
    const detail::value_t<A> value(condition);
    bool result = true;
    for (bool element : value.elements) {
        result = result && element;
    }
    return result;
}

// condition ? if_true : if_false, element by element. Mind the order: the value for true comes second.
template <typename A, typename B, typename C, typename V = detail::shared_t<A, B>>
    requires detail::same<detail::value_t<C>, detail::with_element_t<V, bool>>
inline V select(const A& if_false, const B& if_true, const C& condition) {
    using T = detail::element_t<V>;
    return detail::elementwise([](T no, T yes, bool choice) { return choice ? yes : no; }, static_cast<V>(if_false),
                               static_cast<V>(if_true), static_cast<detail::value_t<C>>(condition));
}

#define METAL_HOST_PREDICATE(name, result)                                                            \
    template <typename A, typename T = detail::element_t<A>>                                          \
        requires detail::floating<T>                                                                  \
    inline detail::with_element_t<detail::value_t<A>, bool> name(const A& argument) {                 \
        return detail::elementwise([](T x) -> bool { return result; }, detail::value_t<A>(argument)); \
    }
METAL_HOST_PREDICATE(isfinite, __builtin_isfinite(static_cast<float>(x)))
METAL_HOST_PREDICATE(isinf, __builtin_isinf(static_cast<float>(x)))
METAL_HOST_PREDICATE(isnan, x != x)
METAL_HOST_PREDICATE(isnormal,
                     __builtin_isnormal(static_cast<float>(x)) &&
                         (!(detail::same<T, half>) || __builtin_fabsf(x) >= 0x1p-14f))
METAL_HOST_PREDICATE(signbit, __builtin_signbit(static_cast<float>(x)))
#undef METAL_HOST_PREDICATE

template <typename A, typename B, typename V = detail::shared_t<A, B>>
    requires detail::floating<detail::element_t<V>>
inline detail::with_element_t<V, bool> isunordered(const A& first, const B& second) {
    using T = detail::element_t<V>;
    return detail::elementwise([](T x, T y) { return x != x || y != y; }, static_cast<V>(first),
                               static_cast<V>(second));
}

template <typename A, typename B, typename V = detail::shared_t<A, B>>
    requires detail::floating<detail::element_t<V>>
inline detail::with_element_t<V, bool> isordered(const A& first, const B& second) {
    return !isunordered(first, second);
}

} // namespace metal
