// What top_k, top_p and min_p leave of the candidates, and which of them a random number falls on. One threadgroup.
#pragma once

#include <metal_stdlib>

#include "arguments.h"
#include "random.h"
#include "sample_keys.h"
#include "sample_select.h"
#include "sample_sums.h"

namespace gptoss_metal {

using namespace metal;

// The list that sample_gather made, as selections look at it: those of its tokens that are still kept.
struct Candidates {
    device const uint2* list; // [count] key, token; in no particular order
    uint count;
    uint highest; // key
    float temperature;
    // Kept: from lowest_key to highest_key, and of those at lowest_key, up to last_token.
    uint lowest_key;
    uint last_token;
    uint highest_key;
    // How a selection orders and measures them.
    bool by_token; // else by likelihood
    bool weighted; // else counted

    ulong kept_weight(uint index) const {
        const uint2 candidate = list[index];
        return is_kept(candidate) ? fixed_weight(candidate.x, highest, temperature) : 0ul;
    }

    Element get(uint index) const {
        const uint2 candidate = list[index];
        Element element;
        element.distance = by_token ? candidate.y : highest - candidate.x;
        element.measure = weighted ? kept_weight(index) : (is_kept(candidate) ? 1ul : 0ul);
        return element;
    }

    bool is_kept(uint2 candidate) const {
        return candidate.x <= highest_key &&
               (candidate.x > lowest_key || (candidate.x == lowest_key && candidate.y <= last_token));
    }
};

// Threadgroup memory for the sums: one array for each use, so that none needs a barrier before it.
struct CandidateSums {
    ulong after_top_k[32];
    ulong after_all[32];
};

inline ulong sum_of_weights(thread const Candidates& candidates, threadgroup ulong* partials, ThreadPlace here) {
    ulong sum = 0;
    for (uint i = here.index; i < candidates.count; i += here.num_threads) {
        sum += candidates.kept_weight(i);
    }
    deposit_sum_64(sum, partials, here);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    return collect_sum_64(partials, here);
}

// Keeps what is more likely than where `boundary` lies, and of the equally likely there the first `num_ties` by id.
// all_ties: whether that is all of them.
inline void keep_down_to(thread Candidates& candidates,
                         Selection boundary,
                         ulong num_ties,
                         bool all_ties,
                         uint vocabulary_size,
                         threadgroup SelectMemory& memory,
                         ThreadPlace here) {
    const uint key = candidates.highest - boundary.distance;
    if (key != candidates.lowest_key) { // else the limit among these ties stays, unless there is a lower one
        candidates.lowest_key = key;
        candidates.last_token = no_token;
    }
    if (all_ties) {
        return;
    }
    Candidates ties = candidates;
    ties.highest_key = ties.lowest_key;
    ties.by_token = true;
    ties.weighted = false;
    candidates.last_token = select(ties, vocabulary_size - 1, num_ties, memory, here).distance;
}

// total: the weights of the whole vocabulary. random: in units of 2^-64.
inline uint draw_candidate(thread Candidates& candidates,
                           constant SamplingOptions& options,
                           uint vocabulary_size,
                           ulong total,
                           ulong random,
                           threadgroup SelectMemory& memory,
                           threadgroup CandidateSums& sums,
                           ThreadPlace here) {
    candidates.lowest_key = 0;
    candidates.last_token = no_token;
    candidates.highest_key = no_token;
    candidates.by_token = false;

    const bool has_top_k = options.top_k != 0 && options.top_k < vocabulary_size;
    if (has_top_k) {
        candidates.weighted = false;
        const Selection kth = select(candidates, candidates.highest - 1, options.top_k, memory, here);
        if (kth.found) { // else there are fewer than top_k
            const ulong num_ties = options.top_k - kth.before;
            keep_down_to(candidates, kth, num_ties, num_ties == kth.at, vocabulary_size, memory, here);
        }
    }
    candidates.weighted = true;
    if (options.top_p < 1.0f) {
        if (has_top_k) {
            total = sum_of_weights(candidates, sums.after_top_k, here);
        }
        const ulong wanted = share_of(total, options.top_p);
        const Selection reached = select(candidates, candidates.highest - 1, wanted, memory, here);
        if (reached.found) { // else min_p has left out tokens that top_p would keep
            const ulong each =
                fixed_weight(candidates.highest - reached.distance, candidates.highest, candidates.temperature);
            const ulong num_ties = (wanted - reached.before + each - 1) / each;
            keep_down_to(candidates, reached, num_ties, num_ties * each == reached.at, vocabulary_size, memory, here);
        }
    }
    if (options.min_p > 0.0f) {
        const uint key = key_at_weight(candidates.highest, options.min_p, candidates.temperature);
        if (key > candidates.lowest_key) {
            candidates.lowest_key = key;
            candidates.last_token = no_token;
        }
    }
    total = sum_of_weights(candidates, sums.after_all, here);
    candidates.by_token = true;
    return select(candidates, vocabulary_size - 1, multiply_high(random, total) + 1, memory, here).distance;
}

} // namespace gptoss_metal
