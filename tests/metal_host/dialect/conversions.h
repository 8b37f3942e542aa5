// What a kernel writes as float4(...), vec<T, 4>(...) or static_cast<float4>(...): the check's rewriting turns each
// into metal_dialect::make. Extended vectors have no constructors of their own.
#pragma once

#include "types.h"

namespace metal_dialect {

template <class A, class B>
struct same {
    enum { value = 0 };
};
template <class A>
struct same<A, A> {
    enum { value = 1 };
};

// Whether one argument may be part of a vector of T: a scalar is converted, a vector must have T's elements.
template <class T, class Part>
struct fits {
    enum {
        value = !metal::vector_traits<Part>::is_vector ||
                same<typename metal::vector_traits<Part>::element, typename metal::vector_traits<T>::element>::value
    };
};

template <class T, class... Parts>
T make(Parts... parts) {
    if constexpr (sizeof...(Parts) == 1) {
        static_assert(((int(metal::vector_traits<Parts>::length) == int(metal::vector_traits<T>::length) ||
                        !metal::vector_traits<Parts>::is_vector) &&
                       ...),
                      "a vector is made of a vector of as many components, or of one scalar");
    } else if constexpr (sizeof...(Parts) > 1) {
        static_assert((int(metal::vector_traits<Parts>::length) + ...) == int(metal::vector_traits<T>::length),
                      "the components do not add up to the vector's");
        static_assert((fits<T, Parts>::value && ...),
                      "vectors that become part of a vector must have its element type: convert them first");
    }
    return T();
}

} // namespace metal_dialect

// Reinterprets bits.
template <class To, class From>
To as_type(From from) {
    static_assert(sizeof(To) == sizeof(From), "as_type needs types of one size");
    return *(__private To*)&from;
}
