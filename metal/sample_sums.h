// Sums and maxima of unsigned integers over a simdgroup and a threadgroup: 64 bits wide, and the same in every order.
#pragma once

#include <metal_stdlib>

namespace gptoss_metal {

using namespace metal;

// A thread's place in a threadgroup of any multiple of 32 threads.
struct ThreadPlace {
    uint index; // in the threadgroup
    uint lane;
    uint simdgroup;
    uint num_simdgroups;
    uint num_threads;
};

inline ThreadPlace thread_place(uint index, uint lane, uint simdgroup, uint num_simdgroups) {
    ThreadPlace here;
    here.index = index;
    here.lane = lane;
    here.simdgroup = simdgroup;
    here.num_simdgroups = num_simdgroups;
    here.num_threads = num_simdgroups * 32;
    return here;
}

// Simdgroup operations take at most 32 bits. A 64-bit value goes in three pieces, and 32 pieces of 20 bits make a sum
// of 25: nothing is lost of sums below 2^64.
constant constexpr uint piece_bits = 20;
constant constexpr uint piece_mask = (1u << piece_bits) - 1;

inline ulong join_pieces(uint low, uint middle, uint high) {
    return ulong(low) + (ulong(middle) << piece_bits) + (ulong(high) << (2 * piece_bits));
}

inline ulong simd_sum_64(ulong value) {
    return join_pieces(simd_sum(uint(value) & piece_mask), simd_sum(uint(value >> piece_bits) & piece_mask),
                       simd_sum(uint(value >> (2 * piece_bits))));
}

// The sum over the lanes before this one.
inline ulong simd_prefix_sum_64(ulong value) {
    return join_pieces(simd_prefix_exclusive_sum(uint(value) & piece_mask),
                       simd_prefix_exclusive_sum(uint(value >> piece_bits) & piece_mask),
                       simd_prefix_exclusive_sum(uint(value >> (2 * piece_bits))));
}

// Over a threadgroup: deposit, a threadgroup barrier, collect. `partials` has an element for each of at most 32
// simdgroups, and must not be written again before a barrier.
inline void deposit_max(uint value, threadgroup uint* partials, ThreadPlace here) {
    const uint largest = simd_max(value);
    if (here.lane == 0) {
        partials[here.simdgroup] = largest;
    }
}

inline uint collect_max(const threadgroup uint* partials, ThreadPlace here) {
    return simd_max(here.lane < here.num_simdgroups ? partials[here.lane] : 0u);
}

inline void deposit_min(uint value, threadgroup uint* partials, ThreadPlace here) {
    const uint smallest = simd_min(value);
    if (here.lane == 0) {
        partials[here.simdgroup] = smallest;
    }
}

inline uint collect_min(const threadgroup uint* partials, ThreadPlace here) {
    return simd_min(here.lane < here.num_simdgroups ? partials[here.lane] : 0xFFFFFFFFu);
}

inline void deposit_sum_64(ulong value, threadgroup ulong* partials, ThreadPlace here) {
    const ulong sum = simd_sum_64(value);
    if (here.lane == 0) {
        partials[here.simdgroup] = sum;
    }
}

inline ulong collect_sum_64(const threadgroup ulong* partials, ThreadPlace here) {
    return simd_sum_64(here.lane < here.num_simdgroups ? partials[here.lane] : 0ul);
}

} // namespace gptoss_metal
