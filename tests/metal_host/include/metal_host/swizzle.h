// Swizzles: v.xy, v.bgr, v.wwww, read and written. MSL, 2.2.1 "Accessing Vector Components".
//
// A swizzle is a member of the union that is a vector's storage, so its elements are the vector's own elements. It
// stands for a vector in all operators and functions. Where C++ needs a type to be the vector's, as in `c ? v.xy :
// v.zw` and in calls of a kernel's own templates, it has to be converted: float2(v.xy).
#pragma once

#include "scalars.h"

namespace metal {

template <typename T, int N>
struct vec;

namespace detail {

template <int...>
inline constexpr bool are_neighbours = false;
template <int I, int J>
inline constexpr bool are_neighbours<I, J> = J == I + 1;

template <int I, int...>
inline constexpr int first_of = I;

// Components i, j, ... of a vector with N elements. Vector is vec<T, number of indices>; it is a parameter of its own
// so that argument-dependent lookup finds that vector's operators.
template <typename Vector, typename T, int N, int... Indices>
class swizzle_of {
public:
    swizzle_of() = default;
    swizzle_of(const swizzle_of&) = default;

    operator Vector() const {
        if constexpr (are_neighbours<Indices...>) { // one access to memory
            Vector result;
            __builtin_memcpy(result.elements, elements_ + first_of<Indices...>, sizeof(result.elements));
            return result;
        } else {
            return Vector(elements_[Indices]...);
        }
    }

    // Of the same components of another vector: not a copy of all N elements, as the implicit assignment would be.
    swizzle_of& operator=(const swizzle_of& other) { return *this = Vector(other); }

    swizzle_of& operator=(Vector value) {
        static_assert(!has_duplicate(), "a swizzle that is assigned to must not name a component twice");
        if constexpr (are_neighbours<Indices...>) {
            __builtin_memcpy(elements_ + first_of<Indices...>, value.elements, sizeof(value.elements));
        } else {
            int next = 0;
            ((elements_[Indices] = value.elements[next++]), ...);
        }
        return *this;
    }

    T operator[](int component) const { return Vector(*this).elements[component]; }

private:
    static constexpr bool has_duplicate() {
        unsigned seen = 0;
        bool duplicate = false;
        ((duplicate = duplicate || (seen >> Indices & 1u) != 0, seen |= 1u << Indices), ...);
        return duplicate;
    }

    T elements_[N];
};

template <typename T, int N, int... Indices>
using swizzle = swizzle_of<vec<T, sizeof...(Indices)>, T, N, Indices...>;

#define METAL_HOST_SWIZZLE_ASSIGNMENT(op)                                                            \
    template <typename Vector, typename T, int N, int... Indices>                                    \
    swizzle_of<Vector, T, N, Indices...>& operator op##=(swizzle_of<Vector, T, N, Indices...>& left, \
                                                         decltype(Vector()) right) {                 \
        return left = Vector(left) op right;                                                         \
    }
METAL_HOST_SWIZZLE_ASSIGNMENT(+)
METAL_HOST_SWIZZLE_ASSIGNMENT(-)
METAL_HOST_SWIZZLE_ASSIGNMENT(*)
METAL_HOST_SWIZZLE_ASSIGNMENT(/)
METAL_HOST_SWIZZLE_ASSIGNMENT(%)
METAL_HOST_SWIZZLE_ASSIGNMENT(&)
METAL_HOST_SWIZZLE_ASSIGNMENT(|)
METAL_HOST_SWIZZLE_ASSIGNMENT(^)
METAL_HOST_SWIZZLE_ASSIGNMENT(<<)
METAL_HOST_SWIZZLE_ASSIGNMENT(>>)
#undef METAL_HOST_SWIZZLE_ASSIGNMENT

} // namespace detail
} // namespace metal

// METAL_HOST_SWIZZLES_<N>: declares all swizzles of a vector of N elements T, by both alphabets: `swizzle<T, 4, 0, 1>
// xy, rg;` and so on.
//
// A component is three macro arguments: its name as a position, its name as a colour, and its index. A loop over the
// components appends each of them to those chosen so far (and to N, in front) and hands the list on. A macro does not
// expand within itself, so the loops of every depth have names of their own.
#define METAL_HOST_SWIZZLES_2 METAL_HOST_FIRST_OF_2(METAL_HOST_CHOSEN_1, 2)
#define METAL_HOST_SWIZZLES_3 METAL_HOST_FIRST_OF_3(METAL_HOST_CHOSEN_1, 3)
#define METAL_HOST_SWIZZLES_4 METAL_HOST_FIRST_OF_4(METAL_HOST_CHOSEN_1, 4)

// What happens with a list of 1, 2, 3 and 4 components: it is a swizzle, and the beginning of longer ones.
#define METAL_HOST_CHOSEN_1(N, ...) METAL_HOST_SECOND_OF_##N(METAL_HOST_CHOSEN_2, N, __VA_ARGS__)
#define METAL_HOST_CHOSEN_2(N, a, p, i, b, q, j)   \
    metal::detail::swizzle<T, N, i, j> a##b, p##q; \
    METAL_HOST_THIRD_OF_##N(METAL_HOST_CHOSEN_3, N, a, p, i, b, q, j)
#define METAL_HOST_CHOSEN_3(N, a, p, i, b, q, j, c, r, k)   \
    metal::detail::swizzle<T, N, i, j, k> a##b##c, p##q##r; \
    METAL_HOST_FOURTH_OF_##N(METAL_HOST_CHOSEN_4, N, a, p, i, b, q, j, c, r, k)
#define METAL_HOST_CHOSEN_4(N, a, p, i, b, q, j, c, r, k, d, s, l) \
    metal::detail::swizzle<T, N, i, j, k, l> a##b##c##d, p##q##r##s;

#define METAL_HOST_FIRST_OF_2(then, ...) then(__VA_ARGS__, x, r, 0) then(__VA_ARGS__, y, g, 1)
#define METAL_HOST_FIRST_OF_3(then, ...) METAL_HOST_FIRST_OF_2(then, __VA_ARGS__) then(__VA_ARGS__, z, b, 2)
#define METAL_HOST_FIRST_OF_4(then, ...) METAL_HOST_FIRST_OF_3(then, __VA_ARGS__) then(__VA_ARGS__, w, a, 3)

#define METAL_HOST_SECOND_OF_2(then, ...) then(__VA_ARGS__, x, r, 0) then(__VA_ARGS__, y, g, 1)
#define METAL_HOST_SECOND_OF_3(then, ...) METAL_HOST_SECOND_OF_2(then, __VA_ARGS__) then(__VA_ARGS__, z, b, 2)
#define METAL_HOST_SECOND_OF_4(then, ...) METAL_HOST_SECOND_OF_3(then, __VA_ARGS__) then(__VA_ARGS__, w, a, 3)

#define METAL_HOST_THIRD_OF_2(then, ...) then(__VA_ARGS__, x, r, 0) then(__VA_ARGS__, y, g, 1)
#define METAL_HOST_THIRD_OF_3(then, ...) METAL_HOST_THIRD_OF_2(then, __VA_ARGS__) then(__VA_ARGS__, z, b, 2)
#define METAL_HOST_THIRD_OF_4(then, ...) METAL_HOST_THIRD_OF_3(then, __VA_ARGS__) then(__VA_ARGS__, w, a, 3)

#define METAL_HOST_FOURTH_OF_2(then, ...) then(__VA_ARGS__, x, r, 0) then(__VA_ARGS__, y, g, 1)
#define METAL_HOST_FOURTH_OF_3(then, ...) METAL_HOST_FOURTH_OF_2(then, __VA_ARGS__) then(__VA_ARGS__, z, b, 2)
#define METAL_HOST_FOURTH_OF_4(then, ...) METAL_HOST_FOURTH_OF_3(then, __VA_ARGS__) then(__VA_ARGS__, w, a, 3)
