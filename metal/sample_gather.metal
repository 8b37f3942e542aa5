// The third sampling launch, for rows with a filter: the tokens at and above sample_cut's key, in a list.
//
// Only groups whose highest key reaches the cut are read again: for top_k = 50 about 50 of 6,284 lines. A simdgroup
// takes a group at a time, as in sample_survey. Where its candidates go is decided by one atomic addition for the whole
// group; the list's order depends on who came first, and nothing that is made of the list depends on its order.
#include <metal_stdlib>

#include "arguments.h"
#include "sample_adjust.h"
#include "sample_keys.h"

using namespace metal;
using namespace gptoss_metal;

// Dispatch threadgroups [any number, rows] of a multiple of 32 threads.
kernel void sample_gather(constant SamplingArguments& arguments [[buffer(0)]],
                          constant SamplingOptions* options [[buffer(1)]],   // [rows]
                          device const SamplingState* states [[buffer(2)]],  // [rows]
                          device const uint* logits [[buffer(3)]],           // [rows, V] bits of fp32
                          device const uint* allowed [[buffer(4)]],          // [rows, G] Adjustments says what
                          device const uint* biased [[buffer(5)]],           // [rows, G]
                          device const float* biases [[buffer(6)]],          // [rows, V]
                          device const uint* seen [[buffer(7)]],             // [rows, G]
                          device const uint* generated [[buffer(8)]],        // [rows, G]
                          device const uint* counts [[buffer(9)]],           // [rows, V]
                          device const uint2* groups [[buffer(10)]],         // [rows, G]
                          device const uint* cuts [[buffer(12)]],            // [rows]
                          device atomic_uint* num_candidates [[buffer(13)]], // [rows]
                          device uint2* candidates [[buffer(14)]],           // [rows, V] key, token
                          uint3 threadgroup_position [[threadgroup_position_in_grid]],
                          uint3 num_threadgroups [[threadgroups_per_grid]],
                          uint lane [[thread_index_in_simdgroup]],
                          uint simdgroup [[simdgroup_index_in_threadgroup]],
                          uint num_simdgroups [[simdgroups_per_threadgroup]]) {
    const uint row = threadgroup_position.y;
    const uint vocabulary_size = arguments.vocabulary_size;
    if (states[row].status != sampling_goes_on || !needs_candidates(options[row], vocabulary_size)) {
        return;
    }
    const uint num_groups = (vocabulary_size + group_size - 1) / group_size;
    const uint cut = cuts[row];
    const Adjustments adjustments =
        adjustments_of_row(options[row], allowed, biased, biases, seen, generated, counts, row, vocabulary_size);
    device const uint* const row_logits = logits + ulong(row) * vocabulary_size;
    device const uint2* const row_groups = groups + ulong(row) * num_groups;
    device uint2* const row_candidates = candidates + ulong(row) * vocabulary_size;

    const uint stride = num_threadgroups.x * num_simdgroups;
    for (uint group = threadgroup_position.x * num_simdgroups + simdgroup; group < num_groups; group += stride) {
        if (row_groups[group].x < cut) {
            continue;
        }
        const uint bits = logit_bits(row_logits, group, lane, vocabulary_size);
        const uint key = adjusted_key(adjustments, bits, group, lane);
        const uint is_candidate = key >= cut ? 1 : 0;
        const uint offset = simd_prefix_exclusive_sum(is_candidate);
        const uint count = simd_sum(is_candidate);
        uint first = 0;
        if (lane == 0) {
            first = atomic_fetch_add_explicit(&num_candidates[row], count, memory_order_relaxed);
        }
        first = simd_broadcast(first, 0);
        if (is_candidate != 0) {
            row_candidates[first + offset] = uint2(key, group * group_size + lane);
        }
    }
}
