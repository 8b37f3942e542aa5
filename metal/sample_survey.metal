// The first of the sampling launches, and the only one that reads every logit: what the others need to know about each
// group of 32 tokens, a sixteenth of the size.
//
// A simdgroup takes a group at a time, a lane a token: one line of logits, whatever the alignment of the row (V need
// not be a multiple of 4, so wider loads could not be used on every row), and one word of each mask for all lanes. Sums
// are relative to the group's own highest logit, so nothing has to be known in advance, no lane keeps more than its
// token, and groups may be spread over any number of threadgroups: there are no barriers and no threadgroup memory. On
// a GPU of 8 to 40 cores, 256 threads and 8 groups for each simdgroup (98 threadgroups at V = 201,088) keep all of them
// busy.
#include <metal_stdlib>

#include "arguments.h"
#include "sample_adjust.h"
#include "sample_keys.h"

using namespace metal;
using namespace gptoss_metal;

// Dispatch threadgroups [any number, rows] of a multiple of 32 threads. G = ceil(V / 32).
kernel void sample_survey(constant SamplingArguments& arguments [[buffer(0)]],
                          constant SamplingOptions* options [[buffer(1)]],  // [rows]
                          device const SamplingState* states [[buffer(2)]], // [rows]
                          device const uint* logits [[buffer(3)]],          // [rows, V] bits of fp32
                          device const uint* allowed [[buffer(4)]],         // [rows, G] Adjustments says what
                          device const uint* biased [[buffer(5)]],          // [rows, G]
                          device const float* biases [[buffer(6)]],         // [rows, V]
                          device const uint* seen [[buffer(7)]],            // [rows, G]
                          device const uint* generated [[buffer(8)]],       // [rows, G]
                          device const uint* counts [[buffer(9)]],          // [rows, V]
                          device uint2* groups [[buffer(10)]],              // [rows, G] highest key, sum of weights
                          device uint2* model_groups [[buffer(11)]],        // [rows, G] the same before adjustments
                          uint3 threadgroup_position [[threadgroup_position_in_grid]],
                          uint3 num_threadgroups [[threadgroups_per_grid]],
                          uint lane [[thread_index_in_simdgroup]],
                          uint simdgroup [[simdgroup_index_in_threadgroup]],
                          uint num_simdgroups [[simdgroups_per_threadgroup]]) {
    const uint row = threadgroup_position.y;
    if (states[row].status != sampling_goes_on) {
        return;
    }
    const uint vocabulary_size = arguments.vocabulary_size;
    const uint num_groups = (vocabulary_size + group_size - 1) / group_size;
    const float temperature = options[row].temperature;
    const Adjustments adjustments =
        adjustments_of_row(options[row], allowed, biased, biases, seen, generated, counts, row, vocabulary_size);
    device const uint* const row_logits = logits + ulong(row) * vocabulary_size;

    const uint stride = num_threadgroups.x * num_simdgroups;
    for (uint group = threadgroup_position.x * num_simdgroups + simdgroup; group < num_groups; group += stride) {
        const uint bits = logit_bits(row_logits, group, lane, vocabulary_size);

        const uint model_key = logit_key(bits);
        const uint model_highest = simd_max(model_key);
        const uint model_sum = simd_sum(fixed_group_weight(model_key, model_highest, 1.0f));

        const uint key = adjusted_key(adjustments, bits, group, lane);
        const uint highest = simd_max(key);
        uint sum = 0;
        if (temperature > 0.0f) {
            sum = simd_sum(fixed_group_weight(key, highest, temperature));
        }
        if (lane == 0) {
            const ulong index = ulong(row) * num_groups + group;
            groups[index] = uint2(highest, sum);
            model_groups[index] = uint2(model_highest, model_sum);
        }
    }
}
