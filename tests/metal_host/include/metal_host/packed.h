// packed_float3 and its like: vectors without padding, aligned as their elements are. MSL, 2.2.3 "Packed Vector Types".
//
// They are for memory: whatever is done with them is done with the vectors to which they convert.
#pragma once

#include "vector.h"

namespace metal {
namespace detail {

// Vector is a parameter so that argument-dependent lookup finds its operators.
template <typename Vector>
class packed {
public:
    using element = element_t<Vector>;
    static constexpr int size = operand<Vector>::size;

    packed() = default;

    template <vector A>
        requires same<value_t<A>, Vector>
    packed(const A& other) {
        const Vector value(other);
        for (int i = 0; i < size; i++) {
            elements_[i] = value.elements[i];
        }
    }

    template <scalar... S>
        requires(sizeof...(S) == size)
    constexpr packed(S... values) : elements_{static_cast<element>(values)...} {}

    operator Vector() const {
        Vector result;
        for (int i = 0; i < size; i++) {
            result.elements[i] = elements_[i];
        }
        return result;
    }

    element& operator[](int component) { return elements_[component]; }
    const element& operator[](int component) const { return elements_[component]; }

    packed& operator+=(const Vector& other) { return *this = Vector(*this) + other; }
    packed& operator-=(const Vector& other) { return *this = Vector(*this) - other; }
    packed& operator*=(const Vector& other) { return *this = Vector(*this) * other; }
    packed& operator/=(const Vector& other) { return *this = Vector(*this) / other; }

private:
    element elements_[size];
};

template <typename Vector>
struct operand<packed<Vector>> : operand<Vector> {};

} // namespace detail

template <typename T, int N>
using packed_vec = detail::packed<vec<T, N>>;

} // namespace metal

#define METAL_HOST_PACKED_TYPES(T)                 \
    typedef metal::packed_vec<T, 2> packed_##T##2; \
    typedef metal::packed_vec<T, 3> packed_##T##3; \
    typedef metal::packed_vec<T, 4> packed_##T##4;
METAL_HOST_PACKED_TYPES(char)
METAL_HOST_PACKED_TYPES(uchar)
METAL_HOST_PACKED_TYPES(short)
METAL_HOST_PACKED_TYPES(ushort)
METAL_HOST_PACKED_TYPES(int)
METAL_HOST_PACKED_TYPES(uint)
METAL_HOST_PACKED_TYPES(long)
METAL_HOST_PACKED_TYPES(ulong)
METAL_HOST_PACKED_TYPES(half)
METAL_HOST_PACKED_TYPES(bfloat)
METAL_HOST_PACKED_TYPES(float)
#undef METAL_HOST_PACKED_TYPES
