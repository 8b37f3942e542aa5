// Included by barriers.metal, whose barriers here count as well.
#pragma once

inline uint sum_over_threadgroup(uint value, threadgroup uint* partial, uint thread_index, uint num_simdgroups) {
    const uint of_simdgroup = metal::simd_sum(value);
    if (thread_index % 32 == 0) {
        partial[thread_index / 32] = of_simdgroup;
    }
    threadgroup_barrier(metal::mem_flags::mem_threadgroup); // needed
    uint sum = 0;
    for (uint i = 0; i < num_simdgroups; i++) {
        sum += partial[i];
    }
    return sum;
}
