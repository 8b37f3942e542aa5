// On request: the most likely tokens of the model's own distribution and their log-probabilities, the likeliest first.
//
// After sample_draw, with what sample_survey left: each round takes the best of the groups' highest keys and reads that
// group's line of logits, for the token and for the group's next best. Every thread keeps the best of its own groups in
// registers, so a round costs a barrier, a line and a few groups. Exact, ties to the lowest id, without a list that
// many ties could overflow; and few rounds (an API allows 20) cost less than a selection's passes.
//
// One threadgroup for each row, of 1,024 threads where the pipeline allows it, or any multiple of 32.
#include <metal_stdlib>

#include "arguments.h"
#include "sample_adjust.h"
#include "sample_keys.h"
#include "sample_sums.h"

using namespace metal;
using namespace gptoss_metal;

struct BestGroup {
    uint key;
    uint group;
};

// Of the groups that a thread has: every num_threads-th.
inline BestGroup best_of_own_groups(device const uint2* groups, uint num_groups, ThreadPlace here) {
    BestGroup best = {forbidden_key, no_token};
    for (uint group = here.index; group < num_groups; group += here.num_threads) {
        const uint key = groups[group].x;
        if (key > best.key) {
            best.key = key;
            best.group = group;
        }
    }
    return best;
}

// Dispatch threadgroups [1, rows] of a multiple of 32 threads.
kernel void sample_top_tokens(constant SamplingArguments& arguments [[buffer(0)]],
                              constant SamplingOptions* options [[buffer(1)]],     // [rows]
                              device const uint* logits [[buffer(3)]],             // [rows, V] bits of fp32
                              device uint2* model_groups [[buffer(11)]],           // [rows, G] used up
                              device const SamplingResult* results [[buffer(17)]], // [rows]
                              device TopToken* top_tokens [[buffer(18)]],          // [rows, max_top_tokens]
                              uint3 threadgroup_position [[threadgroup_position_in_grid]],
                              uint thread_index [[thread_index_in_threadgroup]],
                              uint lane [[thread_index_in_simdgroup]],
                              uint simdgroup [[simdgroup_index_in_threadgroup]],
                              uint num_simdgroups [[simdgroups_per_threadgroup]]) {
    // Two of each: while some still read one round's, others are a round ahead.
    threadgroup uint best_keys[2][32];
    threadgroup uint best_groups[2][32];
    threadgroup uint last_tokens[2];

    const uint row = threadgroup_position.y;
    const uint vocabulary_size = arguments.vocabulary_size;
    const uint status = results[row].status;
    if (status != sampling_goes_on && status != sampling_stopped) {
        return;
    }
    const ThreadPlace here = thread_place(thread_index, lane, simdgroup, num_simdgroups);
    const uint num_groups = (vocabulary_size + group_size - 1) / group_size;
    device const uint* const row_logits = logits + ulong(row) * vocabulary_size;
    device uint2* const row_groups = model_groups + ulong(row) * num_groups;
    device TopToken* const row_top_tokens = top_tokens + ulong(row) * arguments.max_top_tokens;

    BestGroup best = best_of_own_groups(row_groups, num_groups, here);
    uint first_key = forbidden_key; // of round 0: the highest
    uint last_key = not_a_number_key;
    for (uint round = 0; round < options[row].num_top_tokens; round++) {
        const uint now = round % 2;
        const uint best_key = simd_max(best.key);
        const uint best_group = simd_min(best.key == best_key ? best.group : no_token);
        if (lane == 0) {
            best_keys[now][simdgroup] = best_key;
            best_groups[now][simdgroup] = best_group;
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
        const bool has_entry = lane < num_simdgroups;
        const uint entry_key = has_entry ? best_keys[now][lane] : forbidden_key;
        const uint key = simd_max(entry_key);
        const uint group = simd_min(has_entry && entry_key == key ? best_groups[now][lane] : no_token);
        first_key = round == 0 ? key : first_key;

        if (key == forbidden_key) { // no token is left
            if (here.index == 0) {
                row_top_tokens[round].token = no_token;
                row_top_tokens[round].log_probability = 0.0f;
            }
            continue;
        }
        const uint last_token = round == 0 ? 0 : last_tokens[1 - now];
        if ((group % here.num_threads) / 32 == simdgroup) { // the simdgroup of the thread that has the group
            const uint token = group * group_size + lane;
            const uint own_key = logit_key(logit_bits(row_logits, group, lane, vocabulary_size));
            // Those that were taken are all that rank before the last one taken, and itself.
            const bool is_left = own_key < last_key || (own_key == last_key && token > last_token);
            const uint taken = simd_min(is_left && own_key == key ? token : no_token);
            const uint next_key = simd_max(is_left && token != taken ? own_key : forbidden_key);
            if (lane == group % 32) {
                row_top_tokens[round].token = taken;
                row_top_tokens[round].log_probability = (key_logit(key) - key_logit(first_key)) - results[row].log_sum;
                last_tokens[now] = taken;
                row_groups[group].x = next_key;
                best = best_of_own_groups(row_groups, num_groups, here);
            }
        }
        last_key = key;
    }
}
