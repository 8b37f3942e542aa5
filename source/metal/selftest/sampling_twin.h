// Sampling of one token in float64, step by step as include/gptoss.h gives the order.
#pragma once

#include <cstdint>
#include <vector>

#include "../../../metal/arguments.h"

namespace gptoss::metal {

// A row of logits, and all that one token is sampled by. V vocabulary.
struct SamplingCase {
    gptoss_metal::SamplingOptions options;
    std::vector<float> logits;    // [V]
    std::vector<uint8_t> biased;  // [V] whether the bias counts; with the feature allowed_mask: whether it may be drawn
    std::vector<float> biases;    // [V]
    std::vector<uint8_t> seen;    // [V]
    std::vector<uint32_t> counts; // [V] how often each token was generated
    std::vector<uint32_t> stop_tokens;
    uint32_t position;
};

// [V] after mask, biases and penalties; -infinity: never drawn.
std::vector<double> adjusted_logits(const SamplingCase& c);

struct DrawnToken {
    uint32_t token;
    double margin; // of the random number from where another token begins, as a share of the whole
};
DrawnToken draw_token(const SamplingCase& c);

// [V] of the model's own distribution: log_softmax of the logits.
std::vector<double> model_log_probabilities(const SamplingCase& c);

// Tokens by likelihood, the lowest of equally likely ones first.
std::vector<uint32_t> by_likelihood(const std::vector<double>& logits);

} // namespace gptoss::metal
