// Logits as integers: keys that sort as the logits do, and weights (unnormalised probabilities) in fixed point.
//
// Why integers: their sums are the same in every order, so a token does not depend on how many threads looked for it,
// and they mean the same under fast-math, which may take infinities and NaN for impossible.
#pragma once

#include <metal_stdlib>

#include "arguments.h"
#include "numbers.h"
#include "random.h"

namespace gptoss_metal {

using namespace metal;

// A simdgroup's worth of neighbouring tokens: one word of a bit mask, one 128-byte line of logits.
constant constexpr uint group_size = 32;

constant constexpr uint no_token = 0xFFFFFFFFu;

// Keys: forbidden < every finite logit < infinite <= not a number.
constant constexpr uint forbidden_key = 0;
constant constexpr uint infinite_key = 0xFF800000u;
constant constexpr uint not_a_number_key = 0xFFFFFFFFu;

constant constexpr uint negative_infinity_bits = 0xFF800000u;

// The key of a logit that is given by its bits. Minus infinity is a token that cannot be drawn.
inline uint logit_key(uint bits) {
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) {
        return not_a_number_key;
    }
    return bits == negative_infinity_bits ? forbidden_key : sortable_bits(as_type<float>(bits));
}

// The logit of a key of a finite one.
inline float key_logit(uint key) {
    return as_type<float>((key & 0x80000000u) != 0 ? key ^ 0x80000000u : ~key);
}

// Weights are counted in units of 2^-40 of the highest one, so 2^23 tokens fit into 64 bits, and what is lost of the
// smallest is at most 2^-41 each: 1e-7 of the whole, were it all 201,088 tokens of the vocabulary. Within a group they
// are counted in units of 2^-26 of the group's highest: 32 of them fit into 32 bits.
constant constexpr float weight_unit = 1099511627776.0f;  // 2^40
constant constexpr float group_weight_unit = 67108864.0f; // 2^26
constant constexpr float lowest_exponent = -28.0f;        // exp(-28) < 2^-40

// exp((logit - highest) / temperature) in [0, 1], for temperatures above 0. Halves of the logits are subtracted,
// because those of +-3e38 are finite as well.
inline float weight(uint key, uint highest, float temperature) {
    if (key == forbidden_key || highest >= infinite_key) {
        return 0.0f;
    }
    if (key == highest) {
        return 1.0f; // also at temperatures so small that the GPU takes them for 0
    }
    const float half_difference = 0.5f * key_logit(key) - 0.5f * key_logit(highest);
    if (temperature < 1e37f && half_difference < 0.5f * lowest_exponent * temperature) {
        return 0.0f;
    }
    return precise::exp(2.0f * (half_difference / temperature));
}

inline ulong fixed_weight(uint key, uint highest, float temperature) {
    return ulong(weight(key, highest, temperature) * weight_unit + 0.5f);
}

inline uint fixed_group_weight(uint key, uint highest_of_group, float temperature) {
    return uint(weight(key, highest_of_group, temperature) * group_weight_unit + 0.5f);
}

// A group's weights, summed in units of the group, in units of the whole. group: its highest key, its sum.
inline ulong rescaled_weight(uint2 group, uint highest, float temperature) {
    constexpr float unit = weight_unit / group_weight_unit;
    return ulong(float(group.y) * (weight(group.x, highest, temperature) * unit) + 0.5f);
}

// That share (below 1) of a total of weights; at least 1.
inline ulong share_of(ulong total, float share) {
    const ulong fraction = ulong(share * 18446744073709551616.0f); // of 2^64; exact unless the share is below 2^-40
    return max(multiply_high(total, fraction), 1ul);
}

// The key of the lowest logit whose weight is at least `share` (above 0) of the highest; forbidden_key if all are.
inline uint key_at_weight(uint highest, float share, float temperature) {
    // In 128ths, because temperature * log(share) can be 69 times as large as the largest float.
    constexpr float scale = 1.0f / 128.0f;
    const float logarithm = precise::log(max(share, 1e-30f)); // weights below 2^-41 are 0 anyway
    const float logit = scale * key_logit(highest) + (scale * temperature) * logarithm;
    return logit < -scale * FLT_MAX ? forbidden_key : min(sortable_bits(logit / scale), highest);
}

// Whether a token is chosen among candidates that were gathered, rather than among the whole vocabulary.
inline bool needs_candidates(constant SamplingOptions& options, uint vocabulary_size) {
    const bool filters =
        (options.top_k != 0 && options.top_k < vocabulary_size) || options.top_p < 1.0f || options.min_p > 0.0f;
    return options.temperature > 0.0f && filters;
}

} // namespace gptoss_metal
