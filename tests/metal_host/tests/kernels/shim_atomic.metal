// Atomic functions: many threads, one object each.
#include <metal_stdlib>

using namespace metal;

struct Counters {
    atomic_uint sum;
    atomic_uint difference;
    atomic_uint smallest;
    atomic_uint largest;
    atomic_uint ored;
    atomic_uint anded;
    atomic_uint xored;
    atomic_uint tickets;
    atomic_int signed_smallest;
    atomic_int signed_largest;
    atomic_float real;
    atomic_uint exchanged;
};

kernel void read_modify_write(device Counters& counters [[buffer(0)]],
                              device const uint* input [[buffer(1)]],
                              device uint* tickets [[buffer(2)]], // [threads]
                              uint i [[thread_position_in_grid]]) {
    const uint value = input[i];
    atomic_fetch_add_explicit(&counters.sum, value, memory_order_relaxed);
    atomic_fetch_sub_explicit(&counters.difference, value, memory_order_relaxed);
    atomic_fetch_min_explicit(&counters.smallest, value, memory_order_relaxed);
    atomic_fetch_max_explicit(&counters.largest, value, memory_order_relaxed);
    atomic_fetch_or_explicit(&counters.ored, value, memory_order_relaxed);
    atomic_fetch_and_explicit(&counters.anded, value, memory_order_relaxed);
    atomic_fetch_xor_explicit(&counters.xored, value, memory_order_relaxed);
    tickets[i] = atomic_fetch_add_explicit(&counters.tickets, 1, memory_order_relaxed);
    atomic_fetch_min_explicit(&counters.signed_smallest, as_type<int>(value), memory_order_relaxed);
    atomic_fetch_max_explicit(&counters.signed_largest, as_type<int>(value), memory_order_relaxed);
    atomic_fetch_add_explicit(&counters.real, 0.5f, memory_order_relaxed);
    uint expected = atomic_load_explicit(&counters.exchanged, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&counters.exchanged, &expected, expected + value,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

// The smallest key wins, with its payload in the low bits.
kernel void smallest_and_largest(device atomic_ulong* output [[buffer(0)]], // [2]
                                 device const ulong* input [[buffer(1)]],
                                 uint i [[thread_position_in_grid]]) {
    atomic_min_explicit(&output[0], input[i], memory_order_relaxed);
    atomic_max_explicit(&output[1], input[i], memory_order_relaxed);
}

// A histogram in threadgroup memory, added to the one in device memory.
kernel void histogram(device const uint* input [[buffer(0)]],
                      device atomic_uint* counts [[buffer(1)]], // [16]
                      uint i [[thread_position_in_grid]],
                      uint index [[thread_index_in_threadgroup]]) {
    threadgroup atomic_uint local_counts[16];
    if (index < 16) {
        atomic_store_explicit(&local_counts[index], 0, memory_order_relaxed);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    atomic_fetch_add_explicit(&local_counts[input[i] % 16], 1, memory_order_relaxed);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (index < 16) {
        const uint count = atomic_load_explicit(&local_counts[index], memory_order_relaxed);
        atomic_fetch_add_explicit(&counts[index], count, memory_order_relaxed);
    }
}

kernel void single_thread(device atomic_int* object [[buffer(0)]],
                          device atomic_float* real [[buffer(1)]],
                          device int* output [[buffer(2)]], // [6]
                          uint thread_index [[thread_position_in_grid]]) {
    atomic_store_explicit(object + thread_index, -5, memory_order_relaxed);
    output[0] = atomic_exchange_explicit(object, 7, memory_order_relaxed);
    int expected = 8;
    output[1] = atomic_compare_exchange_weak_explicit(object, &expected, 9, memory_order_relaxed, memory_order_relaxed);
    output[2] = expected;
    atomic_store_explicit(real, 1.5f, memory_order_relaxed);
    output[3] = int(2 * atomic_exchange_explicit(real, 2.5f, memory_order_relaxed));
    output[4] = int(2 * atomic_fetch_sub_explicit(real, 1, memory_order_relaxed));
    output[5] = int(2 * atomic_load_explicit(real, memory_order_relaxed));
}
