// The second sampling launch, for rows with a filter: a key below which no token can be chosen.
//
// It need not be the exact boundary, only never above it: sample_gather collects what is not below, and sample_draw
// decides among those. It is found from the groups' highest keys alone:
// - top_k: the k-th highest of them. There are k groups with a token of at least that key, so the k-th most likely
// token
//   has at least that key, too. Most groups' second token is far below it: about k tokens are gathered.
// - top_p: where the groups' highest weights, the largest first, reach top_p of the whole. The few tokens that make up
//   most of a distribution lie in different groups, so this is close. If they do not reach it, the tail is heavy; then
//   tokens of less than (1 - top_p) / V of the whole are left out, which have less than 1 - top_p together.
// - min_p: a weight is a logit.
// Top_k alone decides where it is in use, because top_p is a share of what top_k keeps, all of which must be gathered.
//
// One threadgroup for each row, of 1,024 threads where the pipeline allows it: 6,284 groups are 7 a thread.
#include <metal_stdlib>

#include "arguments.h"
#include "sample_keys.h"
#include "sample_select.h"
#include "sample_sums.h"

using namespace metal;
using namespace gptoss_metal;

// Groups by how far below the highest key theirs is; counted, or measured by the weight of their most likely token.
struct RankedGroups {
    device const uint2* groups;
    uint highest;
    float temperature;
    bool weighted;
    uint count;

    Element get(uint index) const {
        const uint key = groups[index].x;
        Element element;
        element.distance = highest - key;
        element.measure = weighted ? fixed_weight(key, highest, temperature) : (key == forbidden_key ? 0ul : 1ul);
        return element;
    }
};

// A key that leaves out less than 1 - top_p of the whole.
inline uint cut_of_top_p(thread RankedGroups& ranked,
                         float top_p,
                         ulong total,
                         uint vocabulary_size,
                         threadgroup SelectMemory& memory,
                         ThreadPlace here) {
    // A little more than is wanted: this kernel and sample_draw may be compiled to round a total differently.
    const ulong wanted = share_of(total, top_p);
    ranked.weighted = true;
    const Selection reached = select(ranked, ranked.highest - 1, wanted + (wanted >> 20), memory, here);
    if (reached.found) {
        return ranked.highest - reached.distance;
    }
    // Half of that share, and a little less again where temperatures are small: roundings must not lift the cut.
    const float share = 0.5f * (1.0f - top_p) * (float(total) / weight_unit) / float(vocabulary_size);
    const uint key = key_at_weight(ranked.highest, share, ranked.temperature);
    if (key == forbidden_key) {
        return key;
    }
    const float logit = key_logit(key);
    return sortable_bits(logit - 1e-6f * fabs(logit));
}

// Dispatch threadgroups [1, rows] of a multiple of 32 threads.
kernel void sample_cut(constant SamplingArguments& arguments [[buffer(0)]],
                       constant SamplingOptions* options [[buffer(1)]],  // [rows]
                       device const SamplingState* states [[buffer(2)]], // [rows]
                       device const uint2* groups [[buffer(10)]],        // [rows, G]
                       device uint* cuts [[buffer(12)]],                 // [rows]
                       device uint* num_candidates [[buffer(13)]],       // [rows] set to 0, for sample_gather to count
                       uint3 threadgroup_position [[threadgroup_position_in_grid]],
                       uint thread_index [[thread_index_in_threadgroup]],
                       uint lane [[thread_index_in_simdgroup]],
                       uint simdgroup [[simdgroup_index_in_threadgroup]],
                       uint num_simdgroups [[simdgroups_per_threadgroup]]) {
    threadgroup SelectMemory select_memory;
    threadgroup uint highest_keys[32];
    threadgroup ulong sums[32];

    const uint row = threadgroup_position.y;
    const uint vocabulary_size = arguments.vocabulary_size;
    constant SamplingOptions& row_options = options[row];
    if (states[row].status != sampling_goes_on || !needs_candidates(row_options, vocabulary_size)) {
        return;
    }
    const ThreadPlace here = thread_place(thread_index, lane, simdgroup, num_simdgroups);
    const float temperature = row_options.temperature;

    RankedGroups ranked;
    ranked.count = (vocabulary_size + group_size - 1) / group_size;
    ranked.groups = groups + ulong(row) * ranked.count;
    uint highest = forbidden_key;
    for (uint group = here.index; group < ranked.count; group += here.num_threads) {
        highest = max(highest, ranked.groups[group].x);
    }
    deposit_max(highest, highest_keys, here);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    highest = collect_max(highest_keys, here);
    ranked.highest = highest;
    ranked.temperature = temperature;
    ranked.weighted = false;

    uint cut = 1; // above forbidden_key: every token that may be drawn
    if (highest == forbidden_key || highest >= infinite_key) {
        cut = no_token; // sample_draw reports an error
    } else if (row_options.top_k != 0 && row_options.top_k < vocabulary_size) {
        const Selection kth = select(ranked, highest - 1, row_options.top_k, select_memory, here);
        cut = kth.found ? highest - kth.distance : cut; // else there are fewer groups than that
    } else {
        if (row_options.top_p < 1.0f) {
            ulong sum = 0;
            for (uint group = here.index; group < ranked.count; group += here.num_threads) {
                sum += rescaled_weight(ranked.groups[group], highest, temperature);
            }
            deposit_sum_64(sum, sums, here);
            threadgroup_barrier(mem_flags::mem_threadgroup);
            const ulong total = collect_sum_64(sums, here);
            cut = max(cut, cut_of_top_p(ranked, row_options.top_p, total, vocabulary_size, select_memory, here));
        }
        if (row_options.min_p > 0.0f) {
            cut = max(cut, key_at_weight(highest, row_options.min_p, temperature));
        }
    }
    if (here.index == 0) {
        cuts[row] = cut;
        num_candidates[row] = 0;
    }
}
