// The last of the sampling launches: the token, its log-probability, and everything that the next token's work reads.
//
// The draw inverts the cumulative distribution in the order of token ids, with the uniform number of the CPU backend,
// so a seed gives the same token on both, save where the roundings of fp32 decide. Of the whole vocabulary, the group
// is selected first and then the token within it, so no logit outside its line is read; with filters, the token is
// selected among the candidates that were gathered.
//
// The next token's kernels can be encoded before this token is known, because nothing of it passes through the host:
// the embedding reads next_tokens, the next sampling reads the history and the position. A row that has ended keeps
// all of it. Bind `results` at another offset for each token in flight, and the host finds every one of them.
//
// One threadgroup for each row, of 1,024 threads where the pipeline allows it, or any multiple of 32.
#include <metal_stdlib>

#include "arguments.h"
#include "random.h"
#include "sample_adjust.h"
#include "sample_candidates.h"
#include "sample_keys.h"
#include "sample_select.h"
#include "sample_sums.h"

using namespace metal;
using namespace gptoss_metal;

// Groups by position, with their weights.
struct WeightedGroups {
    device const uint2* groups;
    uint highest;
    float temperature;
    uint count;

    Element get(uint index) const { return {index, rescaled_weight(groups[index], highest, temperature)}; }
};

// The token on which a number falls that selected this group: 0 <= number < group_weight, in units of the whole.
inline uint draw_in_group(uint key, uint group, uint lane, float temperature, ulong number, ulong group_weight) {
    const uint weight = fixed_group_weight(key, simd_max(key), temperature);
    const uint sum_before = simd_prefix_exclusive_sum(weight);
    const uint sum = simd_sum(weight);
    // The same share of the group's own sum: number * sum / group_weight, with as many bits of both as 64 have room
    // for.
    const uint surplus = 32 - clz(uint(group_weight >> 32)); // bits beyond 32
    const ulong scaled = (number >> surplus) * sum / (group_weight >> surplus);
    const uint target = min(uint(scaled), sum - 1);
    return group * group_size + simd_min(target < sum_before + weight ? lane : 31u);
}

inline uint status_of(uint model_highest, uint highest) {
    if (model_highest == forbidden_key || model_highest >= infinite_key) {
        return sampling_not_finite;
    }
    if (highest == forbidden_key) {
        return sampling_all_forbidden;
    }
    return highest >= infinite_key ? sampling_infinite_penalty : sampling_goes_on;
}

inline SamplingResult no_result(uint status) {
    SamplingResult result;
    result.token = no_token;
    result.status = status;
    result.log_probability = 0.0f;
    result.log_sum = 0.0f;
    return result;
}

// Dispatch threadgroups [1, rows] of a multiple of 32 threads.
kernel void sample_draw(constant SamplingArguments& arguments [[buffer(0)]],
                        constant SamplingOptions* options [[buffer(1)]],  // [rows]
                        device SamplingState* states [[buffer(2)]],       // [rows]
                        device const uint* logits [[buffer(3)]],          // [rows, V] bits of fp32
                        device const uint* allowed [[buffer(4)]],         // [rows, G] Adjustments says what
                        device const uint* biased [[buffer(5)]],          // [rows, G]
                        device const float* biases [[buffer(6)]],         // [rows, V]
                        device uint* seen [[buffer(7)]],                  // [rows, G]
                        device uint* generated [[buffer(8)]],             // [rows, G]
                        device uint* counts [[buffer(9)]],                // [rows, V]
                        device const uint2* groups [[buffer(10)]],        // [rows, G]
                        device const uint2* model_groups [[buffer(11)]],  // [rows, G]
                        device const uint* num_candidates [[buffer(13)]], // [rows]
                        device const uint2* candidates [[buffer(14)]],    // [rows, V] key, token
                        device const uint* stop_tokens [[buffer(15)]],    // [rows, max_stop_tokens]
                        device uint* next_tokens [[buffer(16)]],          // [rows] for the embedding
                        device SamplingResult* results [[buffer(17)]],    // [rows]
                        uint3 threadgroup_position [[threadgroup_position_in_grid]],
                        uint thread_index [[thread_index_in_threadgroup]],
                        uint lane [[thread_index_in_simdgroup]],
                        uint simdgroup [[simdgroup_index_in_threadgroup]],
                        uint num_simdgroups [[simdgroups_per_threadgroup]]) {
    threadgroup SelectMemory select_memory;
    threadgroup CandidateSums candidate_sums;
    threadgroup ulong sums[32];
    threadgroup ulong model_sums[32];
    threadgroup uint highest_keys[32];
    threadgroup uint model_highest_keys[32];
    threadgroup uint first_groups[32];

    const uint row = threadgroup_position.y;
    const uint vocabulary_size = arguments.vocabulary_size;
    constant SamplingOptions& row_options = options[row];
    const ThreadPlace here = thread_place(thread_index, lane, simdgroup, num_simdgroups);
    const SamplingState state = states[row];
    if (state.status != sampling_goes_on) {
        if (here.index == 0) {
            results[row] = no_result(sampling_had_ended);
        }
        return;
    }

    // The highest logits, before and after the adjustments.
    const uint num_groups = (vocabulary_size + group_size - 1) / group_size;
    device const uint2* const row_groups = groups + ulong(row) * num_groups;
    device const uint2* const row_model_groups = model_groups + ulong(row) * num_groups;
    uint highest = forbidden_key;
    uint model_highest = forbidden_key;
    for (uint group = here.index; group < num_groups; group += here.num_threads) {
        highest = max(highest, row_groups[group].x);
        model_highest = max(model_highest, row_model_groups[group].x);
    }
    deposit_max(highest, highest_keys, here);
    deposit_max(model_highest, model_highest_keys, here);
    // Of device memory, too: from here on the state may be written, and all have to have read it.
    threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
    highest = collect_max(highest_keys, here);
    model_highest = collect_max(model_highest_keys, here);

    const uint failure = status_of(model_highest, highest);
    if (failure != sampling_goes_on) {
        if (here.index == 0) {
            results[row] = no_result(failure);
            states[row].status = failure;
        }
        return;
    }

    // The sums of all weights, and the first group in which the highest key is.
    const float temperature = row_options.temperature;
    ulong sum = 0;
    ulong model_sum = 0;
    uint first_group = no_token;
    for (uint group = here.index; group < num_groups; group += here.num_threads) {
        const uint2 summary = row_groups[group];
        if (temperature > 0.0f) {
            sum += rescaled_weight(summary, highest, temperature);
        }
        if (summary.x == highest) {
            first_group = min(first_group, group);
        }
        model_sum += rescaled_weight(row_model_groups[group], model_highest, 1.0f);
    }
    deposit_sum_64(sum, sums, here);
    deposit_sum_64(model_sum, model_sums, here);
    deposit_min(first_group, first_groups, here);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    sum = collect_sum_64(sums, here);
    model_sum = collect_sum_64(model_sums, here);
    first_group = collect_min(first_groups, here);

    // Where the token is: itself, among candidates, or else its group.
    const ulong random = uniform_random(row_options.seed, state.position);
    const bool among_candidates = needs_candidates(row_options, vocabulary_size);
    uint token = no_token;
    Selection drawn_group = {true, first_group, 0, 0};
    ulong number = 0;
    if (among_candidates) {
        Candidates kept;
        kept.list = candidates + ulong(row) * vocabulary_size;
        kept.count = num_candidates[row];
        kept.highest = highest;
        kept.temperature = temperature;
        token = draw_candidate(kept, row_options, vocabulary_size, sum, random, select_memory, candidate_sums, here);
    } else if (temperature > 0.0f) {
        WeightedGroups weighted;
        weighted.groups = row_groups;
        weighted.highest = highest;
        weighted.temperature = temperature;
        weighted.count = num_groups;
        number = multiply_high(random, sum);
        drawn_group = select(weighted, num_groups - 1, number + 1, select_memory, here);
    }
    if (here.simdgroup != 0) {
        return;
    }

    device const uint* const row_logits = logits + ulong(row) * vocabulary_size;
    if (!among_candidates) {
        const Adjustments adjustments =
            adjustments_of_row(row_options, allowed, biased, biases, seen, generated, counts, row, vocabulary_size);
        const uint group = drawn_group.distance;
        const uint bits = logit_bits(row_logits, group, lane, vocabulary_size);
        const uint key = adjusted_key(adjustments, bits, group, lane);
        if (temperature > 0.0f) {
            token = draw_in_group(key, group, lane, temperature, number - drawn_group.before, drawn_group.at);
        } else {
            token = group * group_size + simd_min(key == highest ? lane : 31u);
        }
    }

    bool is_stop_token = false;
    for (uint i = lane; i < row_options.num_stop_tokens; i += 32) {
        is_stop_token |= stop_tokens[ulong(row) * arguments.max_stop_tokens + i] == token;
    }
    is_stop_token = simd_any(is_stop_token);

    // Every lane has read the history by now; one changes it.
    simdgroup_barrier(mem_flags::mem_device);
    if (lane == 0) {
        SamplingResult result;
        result.token = token;
        result.status = is_stop_token ? sampling_stopped : sampling_goes_on;
        result.log_sum = precise::log(float(model_sum) / weight_unit);
        const float logit = as_type<float>(row_logits[token]);
        result.log_probability = (logit - key_logit(model_highest)) - result.log_sum;
        results[row] = result;

        next_tokens[row] = token;
        const ulong word = ulong(row) * num_groups + token / group_size;
        seen[word] |= 1u << (token % group_size);
        generated[word] |= 1u << (token % group_size);
        counts[ulong(row) * vocabulary_size + token] += 1;
        states[row].position = state.position + 1;
        states[row].status = result.status;
    }
}
