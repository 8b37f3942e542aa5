// Logits after mask, bias and penalties: what tokens are drawn by.
//
// Nothing adjusted is stored. Each kernel adjusts what it looks at, because that costs 1 bit a token for each thing in
// use (words of masks, one for each line of logits), and only tokens with a bit set read a bias or a count.
//
// The history: `seen` has a bit for each token of the context, `generated` for each that was sampled since the last
// append, `counts` how often. sample_draw adds the token that it draws. The host writes what else changes them (an
// append, a truncation) while none of the context's work is in flight.
#pragma once

#include <metal_stdlib>

#include "arguments.h"
#include "sample_keys.h"

namespace gptoss_metal {

using namespace metal;

// Of one row; G = ceil(V / 32).
struct Adjustments {
    float repetition_penalty;
    float presence_penalty;
    float frequency_penalty;
    uint features;
    device const uint* allowed;   // [G] words; bit i of word g: token 32 g + i may be drawn
    device const uint* biased;    // [G] words: whose bias counts
    device const float* biases;   // [V] -infinity forbids
    device const uint* seen;      // [G] words
    device const uint* generated; // [G] words
    device const uint* counts;    // [V]
};

inline Adjustments adjustments_of_row(constant SamplingOptions& options,
                                      device const uint* allowed,
                                      device const uint* biased,
                                      device const float* biases,
                                      device const uint* seen,
                                      device const uint* generated,
                                      device const uint* counts,
                                      uint row,
                                      uint vocabulary_size) {
    const ulong first_word = ulong(row) * ((vocabulary_size + group_size - 1) / group_size);
    const ulong first_token = ulong(row) * vocabulary_size;
    Adjustments result;
    result.repetition_penalty = options.repetition_penalty;
    result.presence_penalty = options.presence_penalty;
    result.frequency_penalty = options.frequency_penalty;
    result.features = options.features;
    result.allowed = allowed + first_word;
    result.biased = biased + first_word;
    result.biases = biases + first_token;
    result.seen = seen + first_word;
    result.generated = generated + first_word;
    result.counts = counts + first_token;
    return result;
}

// Below, an operation that would overflow is found before it happens, by comparisons of finite numbers. Then the key is
// decided: the sign of the infinity says which.
inline uint overflow_key(bool positive) {
    return positive ? infinite_key : forbidden_key;
}

inline bool sum_overflows(float a, float b) {
    return fabs(0.5f * a + 0.5f * b) > 0.5f * FLT_MAX;
}

// The key by which token 32 group + lane is drawn; `bits` are those of its logit.
inline uint adjusted_key(thread const Adjustments& adjustments, uint bits, uint group, uint lane) {
    const uint token = group * group_size + lane;
    const uint mask = 1u << lane;
    const uint key = logit_key(bits);
    if (key == forbidden_key || key >= infinite_key) {
        return key; // beyond the vocabulary's end, too: nothing is read there
    }
    if ((adjustments.features & sampling_uses_allowed_mask) != 0 && (adjustments.allowed[group] & mask) == 0) {
        return forbidden_key;
    }
    float logit = as_type<float>(bits);

    if ((adjustments.features & sampling_uses_bias) != 0 && (adjustments.biased[group] & mask) != 0) {
        const float bias = adjustments.biases[token];
        if (as_type<uint>(bias) == negative_infinity_bits) {
            return forbidden_key;
        }
        if (sum_overflows(logit, bias)) {
            return overflow_key(bias > 0.0f);
        }
        logit += bias;
    }

    // Keskar et al.: CTRL, 2019, section 4.1, with the sign rule that made it work for negative logits.
    const float repetition = adjustments.repetition_penalty;
    if (repetition != 1.0f && (adjustments.seen[group] & mask) != 0) {
        if (logit > 0.0f) {
            if (repetition < 1.0f && logit > FLT_MAX * repetition) {
                return overflow_key(true);
            }
            logit = logit / repetition;
        } else {
            if (repetition > 1.0f && -logit > FLT_MAX / repetition) {
                return overflow_key(false);
            }
            logit = logit * repetition;
        }
    }

    const float presence = adjustments.presence_penalty;
    const float frequency = adjustments.frequency_penalty;
    if ((presence != 0.0f || frequency != 0.0f) && (adjustments.generated[group] & mask) != 0) {
        const float count = float(adjustments.counts[token]); // at least 1
        if (fabs(frequency) > FLT_MAX / count || sum_overflows(presence, frequency * count)) {
            return overflow_key(frequency < 0.0f);
        }
        const float penalty = presence + frequency * count;
        if (sum_overflows(logit, -penalty)) {
            return overflow_key(penalty < 0.0f);
        }
        logit -= penalty;
    }
    return sortable_bits(logit);
}

// The bits of the logit of token 32 group + lane; minus infinity beyond the vocabulary's end.
inline uint logit_bits(device const uint* logits, uint group, uint lane, uint vocabulary_size) {
    const uint token = group * group_size + lane;
    return token < vocabulary_size ? logits[token] : negative_infinity_bits;
}

} // namespace gptoss_metal
