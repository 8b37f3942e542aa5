// <metal_atomic>: relaxed order only (others came with Metal 3.2); atomic_float in device memory only.
#pragma once

#include "types.h"

namespace metal {

enum memory_order { memory_order_relaxed };

template <class T>
struct atomic {
    atomic() = default;
    T value;
};
// Other names, because OpenCL has types of Metal's built in.
typedef atomic<int> dialect_atomic_int;
typedef atomic<uint> dialect_atomic_uint;
typedef atomic<bool> dialect_atomic_bool;
typedef atomic<float> dialect_atomic_float;
#define atomic_int dialect_atomic_int
#define atomic_uint dialect_atomic_uint
#define atomic_bool dialect_atomic_bool
#define atomic_float dialect_atomic_float

#define METAL_DIALECT_ATOMIC_ACCESS(space, T)                                                               \
    void atomic_store_explicit(volatile space atomic<T>*, T, memory_order);                                 \
    T atomic_load_explicit(const volatile space atomic<T>*, memory_order);                                  \
    T atomic_exchange_explicit(volatile space atomic<T>*, T, memory_order);                                 \
    bool atomic_compare_exchange_weak_explicit(volatile space atomic<T>*, __private T* expected, T desired, \
                                               memory_order, memory_order);
#define METAL_DIALECT_ATOMIC_SUM(space, T)                                   \
    T atomic_fetch_add_explicit(volatile space atomic<T>*, T, memory_order); \
    T atomic_fetch_sub_explicit(volatile space atomic<T>*, T, memory_order);
#define METAL_DIALECT_ATOMIC_INTEGER(space, T)                               \
    METAL_DIALECT_ATOMIC_ACCESS(space, T)                                    \
    METAL_DIALECT_ATOMIC_SUM(space, T)                                       \
    T atomic_fetch_and_explicit(volatile space atomic<T>*, T, memory_order); \
    T atomic_fetch_max_explicit(volatile space atomic<T>*, T, memory_order); \
    T atomic_fetch_min_explicit(volatile space atomic<T>*, T, memory_order); \
    T atomic_fetch_or_explicit(volatile space atomic<T>*, T, memory_order);  \
    T atomic_fetch_xor_explicit(volatile space atomic<T>*, T, memory_order);

METAL_DIALECT_ATOMIC_INTEGER(__global, int)
METAL_DIALECT_ATOMIC_INTEGER(__global, uint)
METAL_DIALECT_ATOMIC_INTEGER(__local, int)
METAL_DIALECT_ATOMIC_INTEGER(__local, uint)
METAL_DIALECT_ATOMIC_ACCESS(__global, bool)
METAL_DIALECT_ATOMIC_ACCESS(__local, bool)
METAL_DIALECT_ATOMIC_ACCESS(__global, float)
METAL_DIALECT_ATOMIC_SUM(__global, float)

} // namespace metal
