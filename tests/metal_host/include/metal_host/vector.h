// vec<T, N>: the vector types of 2, 3 and 4 elements. MSL, 2.2 "Vector Data Types" and 3.1 "Scalar and Vector
// Operators".
//
// As strict as Metal: a vector converts to one of another element type only explicitly, both vectors of an operation
// have the same type, a scalar converts to the vector's element type (but not a floating-point scalar to an integer
// vector).
#pragma once

#include "swizzle.h"

namespace metal {
namespace detail {

// The compiler's own vectors do the arithmetic where they have the vector's size and meaning. Not those of 3 elements,
// which occupy 4: what the fourth holds must not be divided by, nor read from memory.
template <typename T, int N>
inline constexpr bool has_native_vector = (N == 2 || N == 4) && !one_of<T, bool, bfloat>;

template <typename T, int N, bool = has_native_vector<T, N>>
struct native_vector {
    struct type {};
};
template <typename T, int N>
struct native_vector<T, N, true> {
    typedef T type __attribute__((vector_size(N * sizeof(T))));
};

// g++ 12 cannot convert vectors of half at once.
template <typename To, typename From, int N>
inline constexpr bool converts_natively = has_native_vector<To, N> && has_native_vector<From, N>
#if !defined(__clang__)
                                          && !same<To, half> && !same<From, half>
#endif
    ;

// The elements, under all their names. (Unions of arrays, vectors and structs that share their bytes, and structs
// without a name, are extensions that both compilers have.)
template <typename T, int N>
struct vector_storage;

template <typename T>
struct alignas(2 * sizeof(T)) vector_storage<T, 2> {
    static constexpr int size = 2;
    union {
        T elements[2];
        typename native_vector<T, 2>::type native;
        struct {
            T x, y;
        };
        struct {
            T r, g;
        };
        METAL_HOST_SWIZZLES_2
    };
    vector_storage() = default;
    constexpr vector_storage(T first, T second) : elements{first, second} {}
    vector_storage(const vector_storage&) = default;
};

template <typename T>
struct alignas(4 * sizeof(T)) vector_storage<T, 3> {
    static constexpr int size = 3;
    union {
        T elements[3];
        struct {
            T x, y, z;
        };
        struct {
            T r, g, b;
        };
        METAL_HOST_SWIZZLES_3
    };
    vector_storage() = default;
    constexpr vector_storage(T first, T second, T third) : elements{first, second, third} {}
    vector_storage(const vector_storage&) = default;
};

template <typename T>
struct alignas(4 * sizeof(T)) vector_storage<T, 4> {
    static constexpr int size = 4;
    union {
        T elements[4];
        typename native_vector<T, 4>::type native;
        struct {
            T x, y, z, w;
        };
        struct {
            T r, g, b, a;
        };
        METAL_HOST_SWIZZLES_4
    };
    vector_storage() = default;
    constexpr vector_storage(T first, T second, T third, T fourth) : elements{first, second, third, fourth} {}
    vector_storage(const vector_storage&) = default;
};

// What an argument is: `size` is its number of elements, 0 for a scalar; `type` is the vector or scalar that it stands
// for (a swizzle stands for a vector).
template <typename A>
struct operand {
    static constexpr int size = 0;
    using element = A;
    using type = A;
};
template <typename T, int N>
struct operand<vec<T, N>> {
    static constexpr int size = N;
    using element = T;
    using type = vec<T, N>;
};
template <typename Vector, typename T, int N, int... Indices>
struct operand<swizzle_of<Vector, T, N, Indices...>> : operand<Vector> {};

template <typename A>
using value_t = typename operand<A>::type;
template <typename A>
using element_t = typename operand<A>::element;
template <typename A>
concept vector = operand<A>::size > 0;
template <typename A>
concept scalar_or_vector = scalar<A> || vector<A>;

// Scalars that convert to elements of type T without being asked to.
template <typename From, typename To>
concept converts_implicitly = scalar<From> && (floating<To> || !floating<From>);

} // namespace detail

template <typename T, int N>
struct vec : detail::vector_storage<T, N> {
    using detail::vector_storage<T, N>::elements;

    vec() = default;
    // Not by default: compilers split a default copy into accesses of single elements where these are used one by one,
    // and a vector in memory is one access on the GPU.
    vec(const vec& other) : detail::vector_storage<T, N>() { *this = other; }

    vec& operator=(const vec& other) {
        if constexpr (detail::has_native_vector<T, N>) {
            this->native = other.native;
        } else {
            for (int i = 0; i < N; i++) {
                elements[i] = other.elements[i];
            }
        }
        return *this;
    }

    // All elements from one scalar.
    template <detail::scalar S>
    constexpr explicit(!detail::converts_implicitly<S, T>) vec(S value) : vec(static_cast<T>(value), filled()) {}

    // One element each.
    template <detail::scalar... S>
        requires(sizeof...(S) == N)
    constexpr vec(S... values) : detail::vector_storage<T, N>(static_cast<T>(values)...) {}

    // From vectors of fewer elements, of this element type, and scalars.
    template <detail::scalar_or_vector A, detail::scalar_or_vector B, detail::scalar_or_vector... More>
        requires(detail::vector<A> || detail::vector<B> || (detail::vector<More> || ...))
    vec(const A& first, const B& second, const More&... more) {
        static_assert(length<A> + length<B> + (0 + ... + length<More>) == N, "wrong number of vector components");
        int next = 0;
        append(next, first);
        append(next, second);
        (append(next, more), ...);
    }

    // From a vector of another element type, element by element.
    template <detail::vector A>
        requires(detail::operand<A>::size == N && !detail::same<detail::element_t<A>, T>)
    explicit vec(const A& other) {
        const detail::value_t<A> from(other);
        if constexpr (detail::converts_natively<T, detail::element_t<A>, N>) {
            this->native = __builtin_convertvector(from.native, decltype(this->native));
        } else {
            for (int i = 0; i < N; i++) {
                elements[i] = static_cast<T>(from.elements[i]);
            }
        }
    }

    constexpr T& operator[](int component) { return elements[component]; }
    constexpr const T& operator[](int component) const { return elements[component]; }

#define METAL_HOST_OPERATOR(op, constraint)                                                 \
    friend vec operator op(vec left, vec right)                                             \
        requires constraint                                                                 \
    {                                                                                       \
        vec result;                                                                         \
        if constexpr (detail::has_native_vector<T, N>) {                                    \
            result.native = left.native op right.native;                                    \
        } else {                                                                            \
            for (int i = 0; i < N; i++) {                                                   \
                result.elements[i] = static_cast<T>(left.elements[i] op right.elements[i]); \
            }                                                                               \
        }                                                                                   \
        return result;                                                                      \
    }                                                                                       \
    friend vec& operator op##=(vec & left, vec right)                                       \
        requires constraint                                                                 \
    {                                                                                       \
        return left = left op right;                                                        \
    }
    METAL_HOST_OPERATOR(+, (!detail::same<T, bool>))
    METAL_HOST_OPERATOR(-, (!detail::same<T, bool>))
    METAL_HOST_OPERATOR(*, (!detail::same<T, bool>))
    METAL_HOST_OPERATOR(/, (!detail::same<T, bool>))
    METAL_HOST_OPERATOR(%, (detail::integer<T>))
    METAL_HOST_OPERATOR(&, (!detail::floating<T>))
    METAL_HOST_OPERATOR(|, (!detail::floating<T>))
    METAL_HOST_OPERATOR(^, (!detail::floating<T>))
    METAL_HOST_OPERATOR(<<, (detail::integer<T>))
    METAL_HOST_OPERATOR(>>, (detail::integer<T>))
#undef METAL_HOST_OPERATOR

#define METAL_HOST_COMPARISON(op, constraint)                           \
    friend vec<bool, N> operator op(vec left, vec right)                \
        requires constraint                                             \
    {                                                                   \
        vec<bool, N> result;                                            \
        for (int i = 0; i < N; i++) {                                   \
            result.elements[i] = left.elements[i] op right.elements[i]; \
        }                                                               \
        return result;                                                  \
    }
    METAL_HOST_COMPARISON(==, true)
    METAL_HOST_COMPARISON(!=, true)
    METAL_HOST_COMPARISON(<, (!detail::same<T, bool>))
    METAL_HOST_COMPARISON(<=, (!detail::same<T, bool>))
    METAL_HOST_COMPARISON(>, (!detail::same<T, bool>))
    METAL_HOST_COMPARISON(>=, (!detail::same<T, bool>))
    METAL_HOST_COMPARISON(&&, (detail::same<T, bool>))
    METAL_HOST_COMPARISON(||, (detail::same<T, bool>))
#undef METAL_HOST_COMPARISON

    friend vec operator+(vec value) { return value; }

    friend vec operator-(vec value)
        requires(!detail::same<T, bool>)
    {
        vec result;
        if constexpr (detail::has_native_vector<T, N>) {
            result.native = -value.native;
        } else {
            for (int i = 0; i < N; i++) {
                result.elements[i] = static_cast<T>(-value.elements[i]);
            }
        }
        return result;
    }

    friend vec operator~(vec value)
        requires(detail::integer<T>)
    {
        vec result;
        for (int i = 0; i < N; i++) {
            result.elements[i] = static_cast<T>(~value.elements[i]);
        }
        return result;
    }

    friend vec<bool, N> operator!(vec value) {
        vec<bool, N> result;
        for (int i = 0; i < N; i++) {
            result.elements[i] = !value.elements[i];
        }
        return result;
    }

    friend vec& operator++(vec& value) { return value = value + vec(static_cast<T>(1)); }
    friend vec& operator--(vec& value) { return value = value - vec(static_cast<T>(1)); }

private:
    struct filled {};
    constexpr vec(T value, filled)
        requires(N == 2)
        : detail::vector_storage<T, N>(value, value) {}
    constexpr vec(T value, filled)
        requires(N == 3)
        : detail::vector_storage<T, N>(value, value, value) {}
    constexpr vec(T value, filled)
        requires(N == 4)
        : detail::vector_storage<T, N>(value, value, value, value) {}

    template <typename A>
    static constexpr int length = detail::vector<A> ? detail::operand<A>::size : 1;

    template <typename A>
    void append(int& next, const A& part) {
        if constexpr (detail::vector<A>) {
            static_assert(detail::same<detail::element_t<A>, T>,
                          "a vector is made of vectors of its own element type: convert them explicitly");
            const detail::value_t<A> from(part);
            for (int i = 0; i < detail::operand<A>::size; i++) {
                elements[next++] = from.elements[i];
            }
        } else {
            elements[next++] = static_cast<T>(part);
        }
    }
};

} // namespace metal

#define METAL_HOST_VECTOR_TYPES(T) \
    typedef metal::vec<T, 2> T##2; \
    typedef metal::vec<T, 3> T##3; \
    typedef metal::vec<T, 4> T##4;
METAL_HOST_VECTOR_TYPES(bool)
METAL_HOST_VECTOR_TYPES(char)
METAL_HOST_VECTOR_TYPES(uchar)
METAL_HOST_VECTOR_TYPES(short)
METAL_HOST_VECTOR_TYPES(ushort)
METAL_HOST_VECTOR_TYPES(int)
METAL_HOST_VECTOR_TYPES(uint)
METAL_HOST_VECTOR_TYPES(long)
METAL_HOST_VECTOR_TYPES(ulong)
METAL_HOST_VECTOR_TYPES(half)
METAL_HOST_VECTOR_TYPES(bfloat)
METAL_HOST_VECTOR_TYPES(float)
#undef METAL_HOST_VECTOR_TYPES
