// Selection by one threadgroup: where, in order of distance, do the measures of a list's elements add up to a target?
//
// It finds the k-th most likely token (distance: below the highest key; measure: 1), where probabilities reach top_p
// (measure: the weight), and the token that a random number falls on (distance: the token). No sorting: a histogram of
// the distances' leading digits tells the digit in which the target lies, and the next histogram counts only what
// starts with it. Of N elements, 3 passes over the list find the answer for keys (the distances in a real list of
// candidates have about 24 bits), 2 for tokens. Measures are integers, so the order of the additions is of no account.
#pragma once

#include <metal_stdlib>

#include "sample_sums.h"

namespace gptoss_metal {

using namespace metal;

// 512 bins, because 18 bits (the vocabulary) then take 2 passes. Threads meet in a bin only if their elements are
// alike, which is rare where it matters: distances start at 0 and the first digit spreads the range that is in use.
constant constexpr uint largest_digit_bits = 9;
constant constexpr uint num_digit_bins = 1u << largest_digit_bits;

struct SelectMemory {
    atomic_uint low[num_digit_bins];  // of the measures' sums
    atomic_uint high[num_digit_bins]; // with the carries
    ulong before;
    ulong at;
    uint digit;
    uint found;
};

struct Element {
    uint distance;
    ulong measure; // 0: not in the list
};

struct Selection {
    bool found;    // false: all measures together are less than the target
    uint distance; // the lowest at which the measures up to and including it reach the target
    ulong before;  // measures at lower distances
    ulong at;      // measures at this distance
};

// There are no 64-bit atomic additions: the carry of the lower half is added to the upper one, which comes to the same
// sum whoever adds first.
inline void add_measure(threadgroup SelectMemory& memory, uint bin, ulong measure) {
    const uint low = uint(measure);
    const uint old = atomic_fetch_add_explicit(&memory.low[bin], low, memory_order_relaxed);
    const uint high = uint(measure >> 32) + (old + low < old ? 1u : 0u);
    if (high != 0) {
        atomic_fetch_add_explicit(&memory.high[bin], high, memory_order_relaxed);
    }
}

inline ulong bin_measure(threadgroup SelectMemory& memory, uint bin) {
    return (ulong(atomic_load_explicit(&memory.high[bin], memory_order_relaxed)) << 32) +
           atomic_load_explicit(&memory.low[bin], memory_order_relaxed);
}

// One simdgroup looks for the bin in which the running sum reaches `target`.
inline void find_bin(threadgroup SelectMemory& memory, uint num_bins, ulong target, ThreadPlace here) {
    const uint bins_per_lane = max(num_bins / 32, 1u);
    const uint first = min(here.lane * bins_per_lane, num_bins);
    const uint end = min(first + bins_per_lane, num_bins);
    ulong sum = 0;
    for (uint bin = first; bin < end; bin++) {
        sum += bin_measure(memory, bin);
    }
    ulong before = simd_prefix_sum_64(sum);
    const bool mine = before < target && target <= before + sum;
    if (mine) {
        uint bin = first;
        for (ulong measure = bin_measure(memory, bin); before + measure < target; measure = bin_measure(memory, bin)) {
            before += measure;
            bin++;
        }
        memory.digit = bin;
        memory.before = before;
        memory.at = bin_measure(memory, bin);
    }
    const bool found = simd_any(mine);
    if (here.lane == 0) {
        memory.found = found ? 1 : 0;
    }
}

// Elements: a type with `uint count` and `Element get(uint index) const`. Elements beyond `largest_distance` do not
// count. target: at least 1. Every thread of the threadgroup gets the answer; its last act is a read of `memory`, so
// another selection may follow without a barrier.
template <typename Elements>
inline Selection select(thread const Elements& elements,
                        uint largest_distance,
                        ulong target,
                        threadgroup SelectMemory& memory,
                        ThreadPlace here) {
    Selection result = {false, 0, 0, 0};
    uint bits = max(32 - uint(clz(largest_distance)), 1u); // that are still open
    for (uint passes = (bits + largest_digit_bits - 1) / largest_digit_bits; passes != 0; passes--) {
        const uint digit_bits = (bits + passes - 1) / passes;
        const uint num_bins = 1u << digit_bits;
        bits -= digit_bits;

        for (uint bin = here.index; bin < num_bins; bin += here.num_threads) {
            atomic_store_explicit(&memory.low[bin], 0u, memory_order_relaxed);
            atomic_store_explicit(&memory.high[bin], 0u, memory_order_relaxed);
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
        for (uint i = here.index; i < elements.count; i += here.num_threads) {
            const Element element = elements.get(i);
            const uint digits = element.distance >> bits;
            if (element.measure != 0 && (digits >> digit_bits) == result.distance) {
                add_measure(memory, digits & (num_bins - 1), element.measure);
            }
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (here.simdgroup == 0) {
            find_bin(memory, num_bins, target - result.before, here);
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);

        if (memory.found == 0) {
            return result;
        }
        result.found = true;
        result.distance = (result.distance << digit_bits) | memory.digit;
        result.before += memory.before;
        result.at = memory.at;
    }
    return result;
}

} // namespace gptoss_metal
