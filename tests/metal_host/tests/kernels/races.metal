// Kernels with one race each, and after each its twin `..._fixed`, which has none.
//
// `// race` marks the accesses of which the tracer must name two (or one, where it races with itself in other threads).
// All are launched with threadgroups of 96 threads, three simdgroups.
#include <metal_stdlib>
using namespace metal;

// ---- Threadgroup memory, across simdgroups ------------------------------------------------------------------------

kernel void write_and_write_across_simdgroups(device uint* output [[buffer(0)]], // [threads]
                                              uint thread_index [[thread_index_in_threadgroup]],
                                              uint lane [[thread_index_in_simdgroup]]) {
    threadgroup uint winner;
    if (lane == 0) {
        winner = thread_index; // race
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    output[thread_index] = winner;
}

kernel void write_and_write_across_simdgroups_fixed(device uint* output [[buffer(0)]], // [threads]
                                                    uint thread_index [[thread_index_in_threadgroup]]) {
    threadgroup uint winner;
    if (thread_index == 0) {
        winner = thread_index;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    output[thread_index] = winner;
}

kernel void write_then_read_without_barrier(device uint* output [[buffer(0)]], // [threads]
                                            uint thread_index [[thread_index_in_threadgroup]],
                                            uint num_threads [[threads_per_threadgroup]]) {
    threadgroup uint values[96];
    values[thread_index] = thread_index;                                           // race
    output[thread_index] = values[(thread_index + num_threads / 2) % num_threads]; // race
}

kernel void write_then_read_without_barrier_fixed(device uint* output [[buffer(0)]], // [threads]
                                                  uint thread_index [[thread_index_in_threadgroup]],
                                                  uint num_threads [[threads_per_threadgroup]]) {
    threadgroup uint values[96];
    values[thread_index] = thread_index;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    output[thread_index] = values[(thread_index + num_threads / 2) % num_threads];
}

kernel void barrier_of_other_memory(device uint* output [[buffer(0)]], // [threads]
                                    uint thread_index [[thread_index_in_threadgroup]],
                                    uint num_threads [[threads_per_threadgroup]]) {
    threadgroup uint values[96];
    values[thread_index] = thread_index; // race
    threadgroup_barrier(mem_flags::mem_device);
    output[thread_index] = values[(thread_index + num_threads / 2) % num_threads]; // race
}

kernel void barrier_of_other_memory_fixed(device uint* output [[buffer(0)]], // [threads]
                                          uint thread_index [[thread_index_in_threadgroup]],
                                          uint num_threads [[threads_per_threadgroup]]) {
    threadgroup uint values[96];
    values[thread_index] = thread_index;
    threadgroup_barrier(mem_flags::mem_device | mem_flags::mem_threadgroup);
    output[thread_index] = values[(thread_index + num_threads / 2) % num_threads];
}

kernel void barrier_of_no_memory(device uint* output [[buffer(0)]], // [threads]
                                 uint thread_index [[thread_index_in_threadgroup]],
                                 uint num_threads [[threads_per_threadgroup]]) {
    threadgroup uint values[96];
    values[thread_index] = thread_index; // race
    threadgroup_barrier(mem_flags::mem_none);
    output[thread_index] = values[(thread_index + num_threads / 2) % num_threads]; // race
}

kernel void barrier_of_simdgroup_only(device uint* output [[buffer(0)]], // [threads]
                                      uint thread_index [[thread_index_in_threadgroup]],
                                      uint num_threads [[threads_per_threadgroup]]) {
    threadgroup uint values[96];
    values[thread_index] = thread_index; // race
    simdgroup_barrier(mem_flags::mem_threadgroup);
    output[thread_index] = values[(thread_index + 32) % num_threads]; // race
}

// Thread 0 reads what all have written, while the next round's values are written already.
kernel void loop_without_barrier_at_its_end(device uint* output [[buffer(0)]], // [threads]
                                            uint thread_index [[thread_index_in_threadgroup]],
                                            uint num_threads [[threads_per_threadgroup]]) {
    threadgroup uint values[96];
    uint sum = 0;
    for (uint round = 0; round < 3; round++) {
        values[thread_index] = thread_index * round; // race
        threadgroup_barrier(mem_flags::mem_threadgroup);
        sum += values[num_threads - 1 - thread_index]; // race
    }
    output[thread_index] = sum;
}

kernel void loop_without_barrier_at_its_end_fixed(device uint* output [[buffer(0)]], // [threads]
                                                  uint thread_index [[thread_index_in_threadgroup]],
                                                  uint num_threads [[threads_per_threadgroup]]) {
    threadgroup uint values[96];
    uint sum = 0;
    for (uint round = 0; round < 3; round++) {
        values[thread_index] = thread_index * round;
        threadgroup_barrier(mem_flags::mem_threadgroup);
        sum += values[num_threads - 1 - thread_index];
        threadgroup_barrier(mem_flags::mem_threadgroup);
    }
    output[thread_index] = sum;
}

// The partial sums' memory is used again for the partial maxima.
kernel void memory_used_again(device uint* output [[buffer(0)]], // [2]
                              uint thread_index [[thread_index_in_threadgroup]],
                              uint lane [[thread_index_in_simdgroup]],
                              uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup uint partial[3];
    const uint sum = simd_sum(thread_index);
    if (lane == 0) {
        partial[simdgroup] = sum;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (thread_index == 0) {
        output[0] = partial[0] + partial[1] + partial[2]; // race
    }
    const uint maximum = simd_max(thread_index);
    if (lane == 0) {
        partial[simdgroup] = maximum; // race
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (thread_index == 0) {
        output[1] = max(max(partial[0], partial[1]), partial[2]);
    }
}

kernel void memory_used_again_fixed(device uint* output [[buffer(0)]], // [2]
                                    uint thread_index [[thread_index_in_threadgroup]],
                                    uint lane [[thread_index_in_simdgroup]],
                                    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup uint partial[3];
    const uint sum = simd_sum(thread_index);
    if (lane == 0) {
        partial[simdgroup] = sum;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (thread_index == 0) {
        output[0] = partial[0] + partial[1] + partial[2];
    }
    const uint maximum = simd_max(thread_index);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (lane == 0) {
        partial[simdgroup] = maximum;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (thread_index == 0) {
        output[1] = max(max(partial[0], partial[1]), partial[2]);
    }
}

// Every thread reads, the writer too: the last reader of all may be the writer itself.
kernel void many_read_before_one_writes(device uint* output [[buffer(0)]], // [threads]
                                        uint thread_index [[thread_index_in_threadgroup]]) {
    threadgroup uint shared;
    if (thread_index == 0) {
        shared = 7;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    output[thread_index] = shared; // race
    if (thread_index == 95) {
        shared = 8; // race
    }
}

kernel void many_read_before_one_writes_fixed(device uint* output [[buffer(0)]], // [threads]
                                              uint thread_index [[thread_index_in_threadgroup]]) {
    threadgroup uint shared;
    if (thread_index == 0) {
        shared = 7;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    output[thread_index] = shared;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (thread_index == 95) {
        shared = 8;
    }
}

// Two threads' halves overlap in one byte pair.
kernel void parts_of_a_word(device uint* output [[buffer(0)]], // [1]
                            uint thread_index [[thread_index_in_threadgroup]]) {
    threadgroup half values[100];
    values[thread_index + (thread_index == 40 ? 1 : 0)] = half(thread_index); // race
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (thread_index == 0) {
        output[0] = uint(values[1]);
    }
}

kernel void parts_of_a_word_fixed(device uint* output [[buffer(0)]], // [1]
                                  uint thread_index [[thread_index_in_threadgroup]]) {
    threadgroup half values[100];
    values[thread_index] = half(thread_index);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (thread_index == 0) {
        output[0] = uint(values[1]);
    }
}

// A vector's write covers the scalars of three other threads.
kernel void vector_over_scalars(device uint* output [[buffer(0)]], // [1]
                                uint thread_index [[thread_index_in_threadgroup]]) {
    threadgroup float values[100];
    if (thread_index == 64) {
        *reinterpret_cast<threadgroup float4*>(values) = float4(1.0f); // race
    } else if (thread_index < 32) {
        values[thread_index + 3] = 2.0f; // race
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (thread_index == 0) {
        output[0] = uint(values[3]);
    }
}

kernel void vector_over_scalars_fixed(device uint* output [[buffer(0)]], // [1]
                                      uint thread_index [[thread_index_in_threadgroup]]) {
    threadgroup float values[100];
    if (thread_index == 64) {
        *reinterpret_cast<threadgroup float4*>(values) = float4(1.0f);
    } else if (thread_index < 32) {
        values[thread_index + 4] = 2.0f;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (thread_index == 0) {
        output[0] = uint(values[3]);
    }
}

// The accesses are in the standard library; the lines are the kernel's.
kernel void matrix_over_matrix(device float* output [[buffer(0)]], // [64]
                               uint thread_index [[thread_index_in_threadgroup]],
                               uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float tile[64];
    const simdgroup_float8x8 matrix = make_filled_simdgroup_matrix<float, 8, 8>(float(simdgroup));
    simdgroup_store(matrix, tile, 8); // race
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (thread_index < 64) {
        output[thread_index] = tile[thread_index];
    }
}

kernel void matrix_over_matrix_fixed(device float* output [[buffer(0)]], // [64]
                                     uint thread_index [[thread_index_in_threadgroup]],
                                     uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float tile[192];
    const simdgroup_float8x8 matrix = make_filled_simdgroup_matrix<float, 8, 8>(float(simdgroup));
    simdgroup_store(matrix, tile + 64 * simdgroup, 8);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (thread_index < 64) {
        output[thread_index] = tile[thread_index];
    }
}

// ---- Threadgroup memory, within a simdgroup -----------------------------------------------------------------------

kernel void write_and_write_in_simdgroup(device uint* output [[buffer(0)]], // [1]
                                         uint thread_index [[thread_index_in_threadgroup]]) {
    threadgroup uint pairs[48];
    pairs[thread_index / 2] = thread_index; // race
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (thread_index == 0) {
        output[0] = pairs[0];
    }
}

kernel void write_and_write_in_simdgroup_fixed(device uint* output [[buffer(0)]], // [1]
                                               uint thread_index [[thread_index_in_threadgroup]]) {
    threadgroup uint pairs[48];
    if (thread_index % 2 == 0) {
        pairs[thread_index / 2] = thread_index;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (thread_index == 0) {
        output[0] = pairs[0];
    }
}

kernel void write_then_read_in_simdgroup(device uint* output [[buffer(0)]], // [threads]
                                         uint thread_index [[thread_index_in_threadgroup]]) {
    threadgroup uint values[96];
    values[thread_index] = thread_index;             // race
    output[thread_index] = values[thread_index ^ 1]; // race
}

kernel void write_then_read_in_simdgroup_fixed(device uint* output [[buffer(0)]], // [threads]
                                               uint thread_index [[thread_index_in_threadgroup]]) {
    threadgroup uint values[96];
    values[thread_index] = thread_index;
    simdgroup_barrier(mem_flags::mem_threadgroup);
    output[thread_index] = values[thread_index ^ 1];
}

// The lanes meet in simd_sum, but that orders no memory.
kernel void meeting_is_no_barrier(device uint* output [[buffer(0)]], // [threads]
                                  uint thread_index [[thread_index_in_threadgroup]]) {
    threadgroup uint values[96];
    values[thread_index] = thread_index; // race
    const uint sum = simd_sum(thread_index);
    output[thread_index] = values[thread_index ^ 1] + sum; // race
}

kernel void read_then_write_in_simdgroup(device uint* output [[buffer(0)]], // [threads]
                                         uint thread_index [[thread_index_in_threadgroup]]) {
    threadgroup uint values[96];
    values[thread_index] = thread_index;
    simdgroup_barrier(mem_flags::mem_threadgroup);
    output[thread_index] = values[thread_index ^ 1]; // race
    values[thread_index] = 1;                        // race
}

kernel void read_then_write_in_simdgroup_fixed(device uint* output [[buffer(0)]], // [threads]
                                               uint thread_index [[thread_index_in_threadgroup]]) {
    threadgroup uint values[96];
    values[thread_index] = thread_index;
    simdgroup_barrier(mem_flags::mem_threadgroup);
    output[thread_index] = values[thread_index ^ 1];
    simdgroup_barrier(mem_flags::mem_threadgroup);
    values[thread_index] = 1;
}

// ---- Atomics ------------------------------------------------------------------------------------------------------

kernel void plain_beside_atomic(device uint* output [[buffer(0)]], // [1]
                                uint thread_index [[thread_index_in_threadgroup]]) {
    threadgroup atomic_uint counter;
    if (thread_index == 0) {
        *reinterpret_cast<threadgroup uint*>(&counter) = 0; // race
    }
    atomic_fetch_add_explicit(&counter, 1u, memory_order_relaxed); // race
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (thread_index == 0) {
        output[0] = atomic_load_explicit(&counter, memory_order_relaxed);
    }
}

kernel void plain_beside_atomic_fixed(device uint* output [[buffer(0)]], // [1]
                                      uint thread_index [[thread_index_in_threadgroup]]) {
    threadgroup atomic_uint counter;
    if (thread_index == 0) {
        *reinterpret_cast<threadgroup uint*>(&counter) = 0;
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    atomic_fetch_add_explicit(&counter, 1u, memory_order_relaxed);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (thread_index == 0) {
        output[0] = atomic_load_explicit(&counter, memory_order_relaxed);
    }
}

// Atomics of other threads lie between the two accesses in time, but do not order them.
kernel void plain_read_after_atomics(device atomic_uint* counter [[buffer(0)]], // [1]
                                     device uint* output [[buffer(1)]],         // [threads]
                                     uint thread_index [[thread_index_in_threadgroup]]) {
    atomic_fetch_add_explicit(counter, 1u, memory_order_relaxed); // race
    if (thread_index == 50) {
        output[0] = *reinterpret_cast<device uint*>(counter); // race
    }
}

kernel void plain_read_after_atomics_fixed(device atomic_uint* counter [[buffer(0)]], // [1]
                                           device uint* output [[buffer(1)]],         // [threads]
                                           uint thread_index [[thread_index_in_threadgroup]]) {
    atomic_fetch_add_explicit(counter, 1u, memory_order_relaxed);
    threadgroup_barrier(mem_flags::mem_device);
    if (thread_index == 50) {
        output[0] = *reinterpret_cast<device uint*>(counter);
    }
}

kernel void compare_and_exchange_beside_plain(device atomic_uint* lock [[buffer(0)]], // [1]
                                              uint thread_index [[thread_index_in_threadgroup]]) {
    uint expected = 0;
    while (!atomic_compare_exchange_weak_explicit(lock, &expected, 1u, memory_order_relaxed, // race
                                                  memory_order_relaxed)) {
        expected = 0;
    }
    *reinterpret_cast<device uint*>(lock) = 0; // race
}

// ---- Device memory ------------------------------------------------------------------------------------------------

kernel void device_write_and_write_across_threadgroups(device uint* output [[buffer(0)]], // [1]
                                                       uint thread_index [[thread_index_in_threadgroup]],
                                                       uint threadgroup_index [[threadgroup_position_in_grid]]) {
    if (thread_index == 0) {
        output[0] = threadgroup_index; // race
    }
}

kernel void device_write_and_write_across_threadgroups_fixed(device uint* output [[buffer(0)]], // [threadgroups]
                                                             uint thread_index [[thread_index_in_threadgroup]],
                                                             uint threadgroup_index [[threadgroup_position_in_grid]]) {
    if (thread_index == 0) {
        output[threadgroup_index] = threadgroup_index;
    }
}

// Both have a barrier behind them, but it is each threadgroup's own.
kernel void device_write_then_read_across_threadgroups(device uint* values [[buffer(0)]], // [threads of the grid]
                                                       device uint* output [[buffer(1)]], // [threads of the grid]
                                                       uint position [[thread_position_in_grid]],
                                                       uint num_threads [[threads_per_grid]]) {
    values[position] = position; // race
    threadgroup_barrier(mem_flags::mem_device);
    output[position] = values[num_threads - 1 - position]; // race
}

kernel void device_write_then_read_across_threadgroups_fixed(device uint* values [[buffer(0)]], // [threads of the grid]
                                                             device uint* output [[buffer(1)]], // [threads of the grid]
                                                             uint position [[thread_position_in_grid]],
                                                             uint thread_index [[thread_index_in_threadgroup]],
                                                             uint num_threads [[threads_per_threadgroup]]) {
    values[position] = position;
    threadgroup_barrier(mem_flags::mem_device);
    output[position] = values[position - thread_index + num_threads - 1 - thread_index];
}

kernel void device_barrier_of_other_memory(device uint* values [[buffer(0)]], // [threads of the grid]
                                           device uint* output [[buffer(1)]], // [threads of the grid]
                                           uint position [[thread_position_in_grid]],
                                           uint thread_index [[thread_index_in_threadgroup]],
                                           uint num_threads [[threads_per_threadgroup]]) {
    values[position] = position; // race
    threadgroup_barrier(mem_flags::mem_threadgroup);
    output[position] = values[position - thread_index + num_threads - 1 - thread_index]; // race
}

kernel void device_write_then_read_in_simdgroup(device uint* values [[buffer(0)]], // [threads of the grid]
                                                device uint* output [[buffer(1)]], // [threads of the grid]
                                                uint position [[thread_position_in_grid]]) {
    values[position] = position; // race
    simdgroup_barrier(mem_flags::mem_threadgroup);
    output[position] = values[position ^ 1]; // race
}

kernel void device_write_then_read_in_simdgroup_fixed(device uint* values [[buffer(0)]], // [threads of the grid]
                                                      device uint* output [[buffer(1)]], // [threads of the grid]
                                                      uint position [[thread_position_in_grid]]) {
    values[position] = position;
    simdgroup_barrier(mem_flags::mem_device);
    output[position] = values[position ^ 1];
}

// The threadgroup that writes has read before, after the other threadgroups' reads or before them.
kernel void device_read_by_all_and_written_by_one(device uint* values [[buffer(0)]], // [1]
                                                  device uint* output [[buffer(1)]], // [threads of the grid]
                                                  uint position [[thread_position_in_grid]],
                                                  uint threadgroup_index [[threadgroup_position_in_grid]]) {
    output[position] = values[0]; // race
    threadgroup_barrier(mem_flags::mem_device);
    if (position == 96) {
        values[0] = 5; // race
    }
}

kernel void device_read_by_all_and_written_by_one_fixed(const device uint* values [[buffer(0)]], // [1]
                                                        device uint* output [[buffer(1)]], // [threads of the grid]
                                                        uint position [[thread_position_in_grid]]) {
    output[position] = values[0];
}

// ---- No race, although it may look like one -----------------------------------------------------------------------

// Neighbouring bytes, halves and words of one cache line belong to different threads of different threadgroups.
kernel void neighbours_fixed(device uchar* bytes [[buffer(0)]],           // [threads of the grid]
                             device half* halves [[buffer(1)]],           // [threads of the grid]
                             device packed_float3* vectors [[buffer(2)]], // [threads of the grid]
                             uint position [[thread_position_in_grid]]) {
    bytes[position] = uchar(position);
    halves[position] = half(position);
    vectors[position] = packed_float3(1.0f, 2.0f, 3.0f);
}

kernel void atomics_fixed(device atomic_uint* counters [[buffer(0)]], // [8]
                          uint position [[thread_position_in_grid]]) {
    uint expected = 0;
    atomic_compare_exchange_weak_explicit(&counters[0], &expected, 1u, memory_order_relaxed, memory_order_relaxed);
    atomic_fetch_add_explicit(&counters[1], 1u, memory_order_relaxed);
    atomic_fetch_sub_explicit(&counters[2], 1u, memory_order_relaxed);
    atomic_fetch_max_explicit(&counters[3], position, memory_order_relaxed);
    atomic_fetch_min_explicit(&counters[3], position, memory_order_relaxed);
    atomic_fetch_or_explicit(&counters[4], position, memory_order_relaxed);
    atomic_fetch_and_explicit(&counters[5], position, memory_order_relaxed);
    atomic_exchange_explicit(&counters[6], position, memory_order_relaxed);
    atomic_store_explicit(&counters[7], atomic_load_explicit(&counters[6], memory_order_relaxed), memory_order_relaxed);
}

// A threadgroup finds the memory of the one before it undefined, but no race with it.
kernel void threadgroup_memory_of_the_next_threadgroup_fixed(device uint* output [[buffer(0)]], // [threads of the grid]
                                                             uint position [[thread_position_in_grid]],
                                                             uint thread_index [[thread_index_in_threadgroup]]) {
    threadgroup uint values[96];
    values[95 - thread_index] = thread_index;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    output[position] = values[thread_index];
}
