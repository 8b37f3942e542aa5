// The functions that -fsanitize=thread makes the kernels call: every load and store ends in access().
//
// The names and types are the compilers' (clang 19 and gcc 12), which the linker would otherwise find in their own run
// time, libtsan. Threads here are fibers of which one runs at a time, so atomics need no more than plain code.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "trace_access.h"
#include "trace_traffic.h"

namespace {

using metal_host::trace::access;
using metal_host::trace::access_kind;
using metal_host::trace::reads;
using metal_host::trace::writes;

// The call that the compiler put before the access: the line of its last byte is the access's.
const void* caller(void* return_address) {
    return static_cast<const char*>(return_address) - 1;
}

} // namespace

#define METAL_HOST_PC caller(__builtin_return_address(0))

extern "C" {

#define METAL_HOST_PLAIN(SIZE)                                           \
    void __tsan_read##SIZE(void* memory) {                               \
        access(memory, SIZE, access_kind::read, reads, METAL_HOST_PC);   \
    }                                                                    \
    void __tsan_write##SIZE(void* memory) {                              \
        access(memory, SIZE, access_kind::write, writes, METAL_HOST_PC); \
    }                                                                    \
    void __tsan_unaligned_read##SIZE(void* memory) {                     \
        access(memory, SIZE, access_kind::read, reads, METAL_HOST_PC);   \
    }                                                                    \
    void __tsan_unaligned_write##SIZE(void* memory) {                    \
        access(memory, SIZE, access_kind::write, writes, METAL_HOST_PC); \
    }

METAL_HOST_PLAIN(1)
METAL_HOST_PLAIN(2)
METAL_HOST_PLAIN(4)
METAL_HOST_PLAIN(8)
METAL_HOST_PLAIN(16)

void __tsan_read_range(void* memory, std::size_t size) {
    access(memory, size, access_kind::read, reads, METAL_HOST_PC);
}

void __tsan_write_range(void* memory, std::size_t size) {
    access(memory, size, access_kind::write, writes, METAL_HOST_PC);
}

void* __tsan_memcpy(void* destination, const void* source, std::size_t size) {
    access(source, size, access_kind::read, reads, METAL_HOST_PC);
    access(destination, size, access_kind::write, writes, METAL_HOST_PC);
    return std::memcpy(destination, source, size);
}

void* __tsan_memmove(void* destination, const void* source, std::size_t size) {
    access(source, size, access_kind::read, reads, METAL_HOST_PC);
    access(destination, size, access_kind::write, writes, METAL_HOST_PC);
    return std::memmove(destination, source, size);
}

void* __tsan_memset(void* destination, int value, std::size_t size) {
    access(destination, size, access_kind::write, writes, METAL_HOST_PC);
    return std::memset(destination, value, size);
}

// Called by constructors and around functions; nothing here depends on them.
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

#define METAL_HOST_FETCH(BITS, NAME, EXPRESSION)                                                           \
    uint##BITS##_t __tsan_atomic##BITS##_fetch_##NAME(uint##BITS##_t* memory, uint##BITS##_t value, int) { \
        access(memory, sizeof *memory, access_kind::atomic_write, reads | writes, METAL_HOST_PC);          \
        const uint##BITS##_t old = *memory;                                                                \
        *memory = static_cast<uint##BITS##_t>(EXPRESSION);                                                 \
        return old;                                                                                        \
    }

#define METAL_HOST_ATOMIC(BITS)                                                                                \
    uint##BITS##_t __tsan_atomic##BITS##_load(const uint##BITS##_t* memory, int) {                             \
        access(memory, sizeof *memory, access_kind::atomic_read, reads, METAL_HOST_PC);                        \
        return *memory;                                                                                        \
    }                                                                                                          \
    void __tsan_atomic##BITS##_store(uint##BITS##_t* memory, uint##BITS##_t value, int) {                      \
        access(memory, sizeof *memory, access_kind::atomic_write, writes, METAL_HOST_PC);                      \
        *memory = value;                                                                                       \
    }                                                                                                          \
    uint##BITS##_t __tsan_atomic##BITS##_exchange(uint##BITS##_t* memory, uint##BITS##_t value, int) {         \
        access(memory, sizeof *memory, access_kind::atomic_write, reads | writes, METAL_HOST_PC);              \
        const uint##BITS##_t old = *memory;                                                                    \
        *memory = value;                                                                                       \
        return old;                                                                                            \
    }                                                                                                          \
    METAL_HOST_FETCH(BITS, add, old + value)                                                                   \
    METAL_HOST_FETCH(BITS, sub, old - value)                                                                   \
    METAL_HOST_FETCH(BITS, and, old& value)                                                                    \
    METAL_HOST_FETCH(BITS, or, old | value)                                                                    \
    METAL_HOST_FETCH(BITS, xor, old ^ value)                                                                   \
    METAL_HOST_FETCH(BITS, nand, ~(old & value))                                                               \
    uint##BITS##_t __tsan_atomic##BITS##_compare_exchange_val(uint##BITS##_t* memory, uint##BITS##_t expected, \
                                                              uint##BITS##_t value, int, int) {                \
        access(memory, sizeof *memory, access_kind::atomic_write, reads | writes, METAL_HOST_PC);              \
        const uint##BITS##_t old = *memory;                                                                    \
        *memory = old == expected ? value : old;                                                               \
        return old;                                                                                            \
    }                                                                                                          \
    int __tsan_atomic##BITS##_compare_exchange_strong(uint##BITS##_t* memory, uint##BITS##_t* expected,        \
                                                      uint##BITS##_t value, int, int) {                        \
        access(memory, sizeof *memory, access_kind::atomic_write, reads | writes, METAL_HOST_PC);              \
        const uint##BITS##_t old = *memory;                                                                    \
        const bool equal = old == *expected;                                                                   \
        *memory = equal ? value : old;                                                                         \
        *expected = old;                                                                                       \
        return equal;                                                                                          \
    }                                                                                                          \
    int __tsan_atomic##BITS##_compare_exchange_weak(uint##BITS##_t* memory, uint##BITS##_t* expected,          \
                                                    uint##BITS##_t value, int, int) {                          \
        access(memory, sizeof *memory, access_kind::atomic_write, reads | writes, METAL_HOST_PC);              \
        const uint##BITS##_t old = *memory;                                                                    \
        const bool equal = old == *expected;                                                                   \
        *memory = equal ? value : old;                                                                         \
        *expected = old;                                                                                       \
        return equal;                                                                                          \
    }

METAL_HOST_ATOMIC(8)
METAL_HOST_ATOMIC(16)
METAL_HOST_ATOMIC(32)
METAL_HOST_ATOMIC(64)

void __tsan_atomic_thread_fence(int) {}
void __tsan_atomic_signal_fence(int) {}

} // extern "C"
