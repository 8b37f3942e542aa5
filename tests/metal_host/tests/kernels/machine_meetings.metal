// Threads that meet: at barriers, at simdgroup operations, in any order, and those that do not come.
#include <metal_stdlib>

using namespace metal;

// ---- As it should be -----------------------------------------------------------------------------------------

// Reverses each threadgroup's values, many times over.
kernel void reverse(device uint* values [[buffer(0)]], // [threads]
                    constant uint& repetitions [[buffer(1)]],
                    uint i [[thread_position_in_grid]],
                    uint t [[thread_index_in_threadgroup]],
                    uint n [[threads_per_threadgroup]]) {
    threadgroup uint shared[1024];
    for (uint repetition = 0; repetition < repetitions; ++repetition) {
        shared[t] = values[i];
        threadgroup_barrier(mem_flags::mem_threadgroup); // reverse, written
        values[i] = shared[n - 1 - t];
        threadgroup_barrier(mem_flags::mem_threadgroup); // reverse, read
    }
}

// The sum over the lanes that are left: lane l returns after l rounds.
kernel void leave_one_by_one(device uint* sums [[buffer(0)]], // [32 rounds, threads]
                             uint i [[thread_position_in_grid]],
                             uint n [[threads_per_grid]],
                             uint lane [[thread_index_in_simdgroup]]) {
    for (uint round = 0; round < 32; ++round) {
        if (round > lane) {
            return;
        }
        sums[round * n + i] = simd_sum(1u);
    }
}

// Lanes run ahead of each other between two exchanges: nothing that was deposited may be lost.
kernel void exchange_in_a_row(device uint* output [[buffer(0)]], // [threads, 4]
                              uint i [[thread_position_in_grid]],
                              uint lane [[thread_index_in_simdgroup]]) {
    const uint a = simd_shuffle_xor(lane, 1);
    const uint b = simd_shuffle_xor(a, 2);
    const uint c = simd_shuffle_xor(b, 4);
    simdgroup_barrier(mem_flags::mem_none);
    output[i * 4] = a;
    output[i * 4 + 1] = b;
    output[i * 4 + 2] = c;
    output[i * 4 + 3] = simd_broadcast(c, 0);
}

// In which order threads come by.
kernel void arrivals(device atomic_uint* counter [[buffer(0)]], // [1]
                     device uint* order [[buffer(1)]],          // [threads]
                     uint i [[thread_position_in_grid]],
                     uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup_barrier(mem_flags::mem_none);
    order[i] = atomic_fetch_add_explicit(counter, 1u, memory_order_relaxed);
    if (simdgroup % 2 == 0) { // the same in a whole simdgroup: allowed
        simdgroup_barrier(mem_flags::mem_none);
    }
}

// ---- Divergence ----------------------------------------------------------------------------------------------

kernel void half_of_the_lanes_sum(device uint* output [[buffer(0)]], uint i [[thread_position_in_grid]]) {
    output[i] = 0;
    if (i % 2 == 0) {
        output[i] = simd_sum(i); // sum of even lanes
    }
    threadgroup_barrier(mem_flags::mem_none); // after the sum of even lanes
}

kernel void lanes_at_two_sums(device uint* output [[buffer(0)]], uint i [[thread_position_in_grid]]) {
    if (i % 2 == 0) {
        output[i] = simd_sum(i); // sum here
    } else {
        output[i] = simd_sum(i); // sum there
    }
}

kernel void lanes_at_different_operations(device uint* output [[buffer(0)]], uint i [[thread_position_in_grid]]) {
    output[i] = i == 3 ? simd_max(i) : simd_min(i); // max or min
}

kernel void threads_at_two_barriers(device uint* output [[buffer(0)]], uint i [[thread_position_in_grid]]) {
    if (i < 32) {
        threadgroup_barrier(mem_flags::mem_none); // first simdgroup
    } else {
        threadgroup_barrier(mem_flags::mem_none); // other simdgroups
    }
    output[i] = i;
}

kernel void one_thread_returns_before_a_barrier(device uint* output [[buffer(0)]], uint i [[thread_position_in_grid]]) {
    if (i == 37) {
        return;
    }
    threadgroup_barrier(mem_flags::mem_none); // without thread 37
    output[i] = i;
}

kernel void one_simdgroup_skips_a_barrier(device uint* output [[buffer(0)]], uint i [[thread_position_in_grid]]) {
    if (i >= 32) {
        threadgroup_barrier(mem_flags::mem_none); // without simdgroup 0
    }
    output[i] = i;
}

kernel void a_barrier_where_others_sum(device uint* output [[buffer(0)]], uint i [[thread_position_in_grid]]) {
    if (i % 32 < 16) {
        threadgroup_barrier(mem_flags::mem_none); // lower lanes
    }
    output[i] = simd_sum(i); // upper lanes
}

kernel void lanes_at_simdgroup_barriers(device uint* output [[buffer(0)]], uint i [[thread_position_in_grid]]) {
    if (i < 7) {
        simdgroup_barrier(mem_flags::mem_none); // seven lanes
    } else {
        simdgroup_barrier(mem_flags::mem_none); // the others
    }
    output[i] = i;
}

// Metal wants whole simdgroups for matrices.
kernel void uneven_loops(device uint* output [[buffer(0)]], uint i [[thread_position_in_grid]]) {
    uint sum = 0;
    for (uint round = 0; round < i; ++round) {
        sum += simd_sum(1u); // in the loop
    }
    threadgroup_barrier(mem_flags::mem_none); // after the loop
    output[i] = sum;
}
