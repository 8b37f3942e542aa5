// Sums over a threadgroup: one simdgroup operation, one barrier, one more simdgroup operation.
//
// `partials` is threadgroup memory for one float of every simdgroup (at most 32 of them). Deposit and collect are apart
// where a kernel has a barrier anyway that can stand between them. The order of additions depends on nothing but the
// number of threads, so results are the same in every run.
#pragma once

#include <metal_stdlib>

namespace gptoss_metal {

using namespace metal;

// Every simdgroup leaves its sum. A threadgroup barrier must follow before anyone collects.
inline void deposit_sum(float value, threadgroup float* partials, uint lane, uint simdgroup) {
    const float sum = simd_sum(value);
    if (lane == 0) {
        partials[simdgroup] = sum;
    }
}

// The sum of what was deposited, in every thread.
inline float collect_sum(const threadgroup float* partials, uint lane, uint num_simdgroups) {
    return simd_sum(lane < num_simdgroups ? partials[lane] : 0.0f);
}

// The sum over all threads, in every thread. A barrier must stand before the next use of `partials`.
inline float threadgroup_sum(float value, threadgroup float* partials, uint lane, uint simdgroup, uint num_simdgroups) {
    deposit_sum(value, partials, lane, simdgroup);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    return collect_sum(partials, lane, num_simdgroups);
}

} // namespace gptoss_metal
