// From logits to a token.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "gptoss.h"

namespace gptoss {

// What the penalties look at.
struct TokenHistory {
    std::span<const uint32_t> context;                       // every token of the context
    const std::unordered_map<uint32_t, uint32_t>& generated; // token -> times it was sampled since the last append
};

struct SampledToken {
    uint32_t token;
    float log_probability; // under the model's own distribution: log_softmax(logits)[token]
};

// Samples by one set of options (gptoss.h gives the order of the steps). Keeps its scratch memory between tokens.
class Sampler {
public:
    // Throws Error(invalid_argument) if an option is out of range or names a token outside the vocabulary. `options`
    // must stay alive.
    Sampler(const gptoss_sampling_options& options, uint32_t vocabulary_size);

    // `position`: of the token that is drawn, which keys the random number.
    SampledToken sample(std::span<const float> logits, const TokenHistory& history, uint64_t position);

    bool is_stop_token(uint32_t token) const;

private:
    struct Candidate {
        uint32_t token;
        float logit;
        double weight; // proportional to the probability
    };

    bool adjusts() const;
    void adjust(const TokenHistory& history);
    double weigh(std::span<const float> logits, float highest, double temperature);
    uint32_t draw(std::span<const float> logits, uint64_t position);
    uint32_t draw_filtered(std::span<const float> logits, uint64_t position);

    const gptoss_sampling_options& options_;
    std::vector<float> logits_;   // [V] after bias and penalties, if there are any
    std::vector<double> weights_; // [V] proportional to the probabilities
    std::vector<Candidate> candidates_;
};

// Why no token can be sampled, the same sentences wherever it is done: they throw Error.
[[noreturn]] void fail_not_finite();       // internal_error: of the model's own logits
[[noreturn]] void fail_all_forbidden();    // invalid_argument: the biases leave no token
[[noreturn]] void fail_infinite_penalty(); // invalid_argument: a bias or penalty made a logit infinite

// A number in [0, 1) with 53 random bits that depends on the key and the counter only.
double uniform_random(uint64_t key, uint64_t counter);

} // namespace gptoss
