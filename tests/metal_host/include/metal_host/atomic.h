// Atomic functions, relaxed as in Metal 3. MSL, 2.6 "Atomic Data Types" and 6.15 "Atomic Functions".
//
// On the compilers' __atomic functions, by which the tracer knows them from plain accesses.
#pragma once

#include "scalars.h"

namespace metal {

enum memory_order { memory_order_relaxed };

// Only atomic functions can read or write it.
template <typename T>
struct atomic {
    static_assert(detail::one_of<T, int, uint, bool, ulong, float>, "Metal has no atomics of this type");
    atomic() = default;
    atomic(const atomic&) = delete;
    atomic& operator=(const atomic&) = delete;

    T value; // not to be touched by kernels
};

typedef atomic<int> atomic_int;
typedef atomic<uint> atomic_uint;
typedef atomic<bool> atomic_bool;
typedef atomic<ulong> atomic_ulong;
typedef atomic<float> atomic_float;

namespace detail {

// ulong has minimum and maximum only.
template <typename T>
concept loadable_atomic = one_of<T, int, uint, bool, float>;
template <typename T>
concept adding_atomic = one_of<T, int, uint, float>;
template <typename T>
concept integer_atomic = one_of<T, int, uint>;

template <typename T>
struct identity {
    using type = T;
};
// As a parameter: T without being a source of deduction, so that other arithmetic types convert to it.
template <typename T>
using as = typename identity<T>::type;

// What the compilers' functions take: floats and booleans are exchanged by their bits.
template <typename T>
struct atomic_bits {
    using type = T;
};
template <>
struct atomic_bits<float> {
    using type = uint;
};
template <>
struct atomic_bits<bool> {
    using type = uchar;
};
template <typename T>
using atomic_bits_t = typename atomic_bits<T>::type;

template <typename T>
inline volatile atomic_bits_t<T>* bits_of_atomic(volatile atomic<T>* object) {
    return reinterpret_cast<volatile atomic_bits_t<T>*>(&object->value);
}
template <typename T>
inline const volatile atomic_bits_t<T>* bits_of_atomic(const volatile atomic<T>* object) {
    return reinterpret_cast<const volatile atomic_bits_t<T>*>(&object->value);
}

// Replaces the value by function(value) and returns what it was.
template <typename T, typename Function>
inline T atomically(volatile atomic<T>* object, Function function) {
    using Bits = atomic_bits_t<T>;
    Bits old = __atomic_load_n(bits_of_atomic(object), __ATOMIC_RELAXED);
    Bits replacement;
    do {
        replacement = __builtin_bit_cast(Bits, static_cast<T>(function(__builtin_bit_cast(T, old))));
    } while (!__atomic_compare_exchange_n(bits_of_atomic(object), &old, replacement, false, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    return __builtin_bit_cast(T, old);
}

} // namespace detail

template <detail::loadable_atomic T>
inline void atomic_store_explicit(volatile atomic<T>* object, detail::as<T> desired, memory_order) {
    __atomic_store_n(detail::bits_of_atomic(object), __builtin_bit_cast(detail::atomic_bits_t<T>, desired),
                     __ATOMIC_RELAXED);
}

template <detail::loadable_atomic T>
inline T atomic_load_explicit(const volatile atomic<T>* object, memory_order) {
    return __builtin_bit_cast(T, __atomic_load_n(detail::bits_of_atomic(object), __ATOMIC_RELAXED));
}

template <detail::loadable_atomic T>
inline T atomic_exchange_explicit(volatile atomic<T>* object, detail::as<T> desired, memory_order) {
    return __builtin_bit_cast(
        T, __atomic_exchange_n(detail::bits_of_atomic(object), __builtin_bit_cast(detail::atomic_bits_t<T>, desired),
                               __ATOMIC_RELAXED));
}

// May fail although the value is the expected one, on the GPU; here it does not. Where it fails, *expected becomes the
// value.
template <detail::loadable_atomic T>
inline bool atomic_compare_exchange_weak_explicit(
    volatile atomic<T>* object, detail::as<T>* expected, detail::as<T> desired, memory_order, memory_order) {
    using Bits = detail::atomic_bits_t<T>;
    Bits old = __builtin_bit_cast(Bits, *expected);
    const bool exchanged =
        __atomic_compare_exchange_n(detail::bits_of_atomic(object), &old, __builtin_bit_cast(Bits, desired), true,
                                    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    if (!exchanged) {
        *expected = __builtin_bit_cast(T, old);
    }
    return exchanged;
}

// Each returns the value before the operation.
template <detail::adding_atomic T>
inline T atomic_fetch_add_explicit(volatile atomic<T>* object, detail::as<T> operand, memory_order) {
    if constexpr (detail::integer_atomic<T>) {
        return __atomic_fetch_add(&object->value, operand, __ATOMIC_RELAXED);
    } else {
        return detail::atomically(object, [=](T value) { return value + operand; });
    }
}
template <detail::adding_atomic T>
inline T atomic_fetch_sub_explicit(volatile atomic<T>* object, detail::as<T> operand, memory_order) {
    if constexpr (detail::integer_atomic<T>) {
        return __atomic_fetch_sub(&object->value, operand, __ATOMIC_RELAXED);
    } else {
        return detail::atomically(object, [=](T value) { return value - operand; });
    }
}
template <detail::integer_atomic T>
inline T atomic_fetch_and_explicit(volatile atomic<T>* object, detail::as<T> operand, memory_order) {
    return __atomic_fetch_and(&object->value, operand, __ATOMIC_RELAXED);
}
template <detail::integer_atomic T>
inline T atomic_fetch_or_explicit(volatile atomic<T>* object, detail::as<T> operand, memory_order) {
    return __atomic_fetch_or(&object->value, operand, __ATOMIC_RELAXED);
}
template <detail::integer_atomic T>
inline T atomic_fetch_xor_explicit(volatile atomic<T>* object, detail::as<T> operand, memory_order) {
    return __atomic_fetch_xor(&object->value, operand, __ATOMIC_RELAXED);
}
template <detail::integer_atomic T>
inline T atomic_fetch_min_explicit(volatile atomic<T>* object, detail::as<T> operand, memory_order) {
    return detail::atomically(object, [=](T value) { return operand < value ? operand : value; });
}
template <detail::integer_atomic T>
inline T atomic_fetch_max_explicit(volatile atomic<T>* object, detail::as<T> operand, memory_order) {
    return detail::atomically(object, [=](T value) { return value < operand ? operand : value; });
}

// All that there is for ulong, on Apple8 GPUs (M2) and later.
inline void atomic_min_explicit(volatile atomic<ulong>* object, ulong operand, memory_order) {
    detail::atomically(object, [=](ulong value) { return operand < value ? operand : value; });
}
inline void atomic_max_explicit(volatile atomic<ulong>* object, ulong operand, memory_order) {
    detail::atomically(object, [=](ulong value) { return value < operand ? operand : value; });
}

} // namespace metal
