#include "sampler.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "errors.h"

namespace gptoss {

namespace {

void check_range(const char* name, float value, bool valid, const char* expected) {
    if (!valid) { // the conditions are written so that NaN is not valid
        fail(gptoss_status_invalid_argument, name, " must be ", expected, ", found ", value, ".");
    }
}

// The finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
uint64_t mix(uint64_t value) {
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
    return value ^ (value >> 31);
}

// std::max_element takes its time over a vocabulary, because each comparison waits for the one before.
float highest_of(std::span<const float> values) {
    constexpr size_t kLanes = 16;
    float highest[kLanes];
    std::fill_n(highest, kLanes, -INFINITY);
    size_t i = 0;
    for (; i + kLanes <= values.size(); i += kLanes) {
        for (size_t lane = 0; lane < kLanes; lane++) {
            highest[lane] = values[i + lane] > highest[lane] ? values[i + lane] : highest[lane];
        }
    }
    for (; i < values.size(); i++) {
        highest[0] = std::max(highest[0], values[i]);
    }
    return *std::max_element(highest, highest + kLanes);
}

} // namespace

void fail_not_finite() {
    fail(gptoss_status_internal_error,
         "The model's logits are not finite numbers: the weights in its file are damaged. Check the file with "
         "'gptoss inspect --verify'.");
}

void fail_all_forbidden() {
    fail(gptoss_status_invalid_argument, "The logit biases forbid every token.");
}

void fail_infinite_penalty() {
    fail(gptoss_status_invalid_argument, "The penalties make a logit infinite: use smaller ones.");
}

double uniform_random(uint64_t key, uint64_t counter) {
    constexpr uint64_t kGoldenGamma = 0x9E3779B97F4A7C15u;
    // The key is mixed on its own first, so that neighbouring seeds do not give shifted copies of one sequence.
    const uint64_t bits = mix(mix(key + kGoldenGamma) + (counter + 1) * kGoldenGamma);
    return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

Sampler::Sampler(const gptoss_sampling_options& options, uint32_t vocabulary_size) : options_(options) {
    check_range("temperature", options.temperature, options.temperature >= 0 && std::isfinite(options.temperature),
                "a finite number of at least 0");
    check_range("top_p", options.top_p, options.top_p > 0 && options.top_p <= 1, "above 0 and at most 1");
    check_range("min_p", options.min_p, options.min_p >= 0 && options.min_p <= 1, "from 0 to 1");
    check_range("repetition_penalty", options.repetition_penalty,
                options.repetition_penalty > 0 && std::isfinite(options.repetition_penalty), "a finite number above 0");
    check_range("presence_penalty", options.presence_penalty, std::isfinite(options.presence_penalty), "finite");
    check_range("frequency_penalty", options.frequency_penalty, std::isfinite(options.frequency_penalty), "finite");
    if ((options.num_stop_tokens != 0 && options.stop_tokens == nullptr) ||
        (options.num_logit_biases != 0 && options.logit_biases == nullptr)) {
        fail(gptoss_status_invalid_argument, "stop_tokens and logit_biases must not be null if their number is not 0.");
    }
    for (size_t i = 0; i < options.num_stop_tokens; i++) {
        if (options.stop_tokens[i] >= vocabulary_size) {
            fail(gptoss_status_invalid_argument, "The stop token ", options.stop_tokens[i],
                 " is outside the vocabulary of ", vocabulary_size, " tokens.");
        }
    }
    for (size_t i = 0; i < options.num_logit_biases; i++) {
        const gptoss_logit_bias& bias = options.logit_biases[i];
        if (bias.token >= vocabulary_size) {
            fail(gptoss_status_invalid_argument, "The logit bias for token ", bias.token,
                 " is outside the vocabulary of ", vocabulary_size, " tokens.");
        }
        if (std::isnan(bias.bias) || bias.bias == INFINITY) {
            fail(gptoss_status_invalid_argument, "The logit bias of token ", bias.token,
                 " must be a number below infinity (-infinity forbids the token), found ", bias.bias, ".");
        }
    }
}

bool Sampler::is_stop_token(uint32_t token) const {
    const uint32_t* const end = options_.stop_tokens + options_.num_stop_tokens;
    return std::find(options_.stop_tokens, end, token) != end;
}

bool Sampler::adjusts() const {
    return options_.num_logit_biases != 0 || options_.repetition_penalty != 1.0f || options_.presence_penalty != 0.0f ||
           options_.frequency_penalty != 0.0f;
}

void Sampler::adjust(const TokenHistory& history) {
    for (size_t i = 0; i < options_.num_logit_biases; i++) {
        logits_[options_.logit_biases[i].token] += options_.logit_biases[i].bias;
    }
    if (options_.repetition_penalty != 1.0f) {
        // Keskar et al.: CTRL, 2019, section 4.1, with the sign rule that made it work for negative logits.
        const std::unordered_set<uint32_t> seen(history.context.begin(), history.context.end());
        for (const uint32_t token : seen) {
            float& logit = logits_[token];
            logit = logit > 0 ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
        }
    }
    if (options_.presence_penalty != 0.0f || options_.frequency_penalty != 0.0f) {
        for (const auto& [token, count] : history.generated) {
            logits_[token] -= options_.presence_penalty + options_.frequency_penalty * static_cast<float>(count);
        }
    }
}

// Sets the weights and returns their sum. A token more than 745 (in units of the temperature) below the highest gets 0.
double Sampler::weigh(std::span<const float> logits, float highest, double temperature) {
    weights_.resize(logits.size());
    double total = 0;
    for (size_t token = 0; token < logits.size(); token++) {
        weights_[token] = std::exp((static_cast<double>(logits[token]) - highest) / temperature);
        total += weights_[token];
    }
    return total;
}

// One draw by the weights, from what min_p leaves.
uint32_t Sampler::draw(std::span<const float> logits, uint64_t position) {
    if (options_.top_k != 0 || options_.top_p < 1.0f) {
        return draw_filtered(logits, position);
    }
    // In the order of ids, and without a list of candidates, which of the whole vocabulary takes longer than the rest.
    // The highest weight is exp(0) = 1, and its token survives. A weight of 0 never ends the search.
    const double lowest = options_.min_p;
    double total = 0;
    for (const double weight : weights_) {
        total += weight >= lowest ? weight : 0;
    }
    double remaining = uniform_random(options_.seed, position) * total;
    uint32_t last = 0;
    for (size_t token = 0; token < weights_.size(); token++) {
        if (weights_[token] > 0 && weights_[token] >= lowest) {
            remaining -= weights_[token];
            last = static_cast<uint32_t>(token);
            if (remaining < 0) {
                break;
            }
        }
    }
    return last; // of all, if rounding made the sum of the weights fall short of the total
}

// top_k, top_p, min_p, and one draw from what is left.
uint32_t Sampler::draw_filtered(std::span<const float> logits, uint64_t position) {
    candidates_.clear();
    double total = 0;
    for (size_t token = 0; token < logits.size(); token++) {
        if (weights_[token] > 0) {
            candidates_.push_back({static_cast<uint32_t>(token), logits[token], weights_[token]});
            total += weights_[token];
        }
    }
    const auto more_likely = [](const Candidate& a, const Candidate& b) {
        return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
    };
    if (options_.top_k != 0 && options_.top_k < candidates_.size()) {
        const auto end = candidates_.begin() + options_.top_k;
        std::nth_element(candidates_.begin(), end - 1, candidates_.end(), more_likely);
        candidates_.erase(end, candidates_.end());
        total = 0;
        for (const Candidate& candidate : candidates_) {
            total += candidate.weight;
        }
    }
    if (options_.top_p < 1.0f) {
        // Sorts no more than it takes to reach top_p: a prefix that doubles.
        const double wanted = static_cast<double>(options_.top_p) * total;
        double reached = 0;
        size_t kept = 0;
        size_t sorted = 0;
        while (reached < wanted && kept < candidates_.size()) {
            if (kept == sorted) {
                sorted = std::min(candidates_.size(), std::max<size_t>(64, sorted * 2));
                std::partial_sort(candidates_.begin() + static_cast<std::ptrdiff_t>(kept),
                                  candidates_.begin() + static_cast<std::ptrdiff_t>(sorted), candidates_.end(),
                                  more_likely);
            }
            reached += candidates_[kept++].weight;
        }
        candidates_.resize(kept);
    }
    if (options_.min_p > 0.0f) {
        // The highest weight is exp(0) = 1, and its token survives all filters.
        const double lowest = options_.min_p;
        std::erase_if(candidates_, [lowest](const Candidate& candidate) { return candidate.weight < lowest; });
    }
    // In the order of ids, so that the draw depends on which candidates there are and not on how they were found.
    std::sort(candidates_.begin(), candidates_.end(),
              [](const Candidate& a, const Candidate& b) { return a.token < b.token; });
    total = 0;
    for (const Candidate& candidate : candidates_) {
        total += candidate.weight;
    }
    double remaining = uniform_random(options_.seed, position) * total;
    for (const Candidate& candidate : candidates_) {
        remaining -= candidate.weight;
        if (remaining < 0) {
            return candidate.token;
        }
    }
    return candidates_.back().token; // rounding: the sum of the weights fell short of the total
}

SampledToken Sampler::sample(std::span<const float> logits, const TokenHistory& history, uint64_t position) {
    const float model_highest = highest_of(logits);
    const double sum = weigh(logits, model_highest, 1.0);
    if (!std::isfinite(sum)) {
        fail_not_finite();
    }
    const double log_sum = model_highest + std::log(sum);

    std::span<const float> adjusted = logits;
    float highest = model_highest;
    if (adjusts()) {
        logits_.assign(logits.begin(), logits.end());
        adjust(history);
        adjusted = logits_;
        highest = highest_of(adjusted);
    }
    if (highest == -INFINITY) {
        fail_all_forbidden();
    }
    if (!std::isfinite(highest)) { // a finite logit divided by almost 0, or minus a huge negative penalty
        fail_infinite_penalty();
    }
    uint32_t token;
    if (options_.temperature == 0.0f) {
        token = static_cast<uint32_t>(std::find(adjusted.begin(), adjusted.end(), highest) - adjusted.begin());
    } else {
        if (adjusts() || options_.temperature != 1.0f) { // otherwise the weights are those of above
            weigh(adjusted, highest, static_cast<double>(options_.temperature));
        }
        token = draw(adjusted, position);
    }
    return {token, static_cast<float>(logits[token] - log_sum)};
}

} // namespace gptoss
