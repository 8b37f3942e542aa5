#include "sampling_twin.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "../../sampler.h"

namespace gptoss::metal {

using namespace gptoss_metal;

std::vector<double> adjusted_logits(const SamplingCase& c) {
    const SamplingOptions& options = c.options;
    std::vector<double> logits(c.logits.begin(), c.logits.end());
    for (size_t token = 0; token < logits.size(); token++) {
        double& logit = logits[token];
        if ((options.features & sampling_uses_allowed_mask) != 0 && c.biased[token] == 0) {
            logit = -std::numeric_limits<double>::infinity();
            continue;
        }
        if ((options.features & sampling_uses_bias) != 0 && c.biased[token] != 0) {
            logit += c.biases[token];
        }
        if (c.seen[token] != 0) {
            logit = logit > 0 ? logit / options.repetition_penalty : logit * options.repetition_penalty;
        }
        if (c.counts[token] != 0) {
            logit -= options.presence_penalty + static_cast<double>(options.frequency_penalty) * c.counts[token];
        }
    }
    return logits;
}

std::vector<uint32_t> by_likelihood(const std::vector<double>& logits) {
    std::vector<uint32_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0u);
    std::sort(order.begin(), order.end(),
              [&](uint32_t a, uint32_t b) { return std::pair(-logits[a], a) < std::pair(-logits[b], b); });
    return order;
}

DrawnToken draw_token(const SamplingCase& c) {
    const SamplingOptions& options = c.options;
    const std::vector<double> logits = adjusted_logits(c);
    std::vector<uint32_t> kept = by_likelihood(logits);
    if (options.temperature == 0) {
        return {kept[0], 1};
    }
    std::vector<double> weights(logits.size());
    double total = 0;
    for (size_t token = 0; token < logits.size(); token++) {
        weights[token] = std::exp((logits[token] - logits[kept[0]]) / options.temperature);
        total += weights[token];
    }
    const auto sum = [&] {
        double result = 0;
        for (const uint32_t token : kept) {
            result += weights[token];
        }
        return result;
    };
    if (options.top_k != 0 && options.top_k < kept.size()) {
        kept.resize(options.top_k);
        total = sum();
    }
    if (options.top_p < 1) {
        double reached = 0;
        size_t count = 0;
        while (count < kept.size() && reached < options.top_p * total) {
            reached += weights[kept[count++]];
        }
        kept.resize(count);
    }
    if (options.min_p > 0) {
        std::erase_if(kept, [&](uint32_t token) { return weights[token] < options.min_p; });
    }
    std::sort(kept.begin(), kept.end());
    total = sum();
    const double number = uniform_random(options.seed, c.position) * total;
    double begin = 0;
    for (const uint32_t token : kept) {
        const double end = begin + weights[token];
        if (number < end) {
            return {token, std::min(number - begin, end - number) / total};
        }
        begin = end;
    }
    return {kept.back(), 0};
}

std::vector<double> model_log_probabilities(const SamplingCase& c) {
    const double highest = *std::max_element(c.logits.begin(), c.logits.end());
    double sum = 0;
    for (const float logit : c.logits) {
        sum += std::exp(logit - highest);
    }
    std::vector<double> result;
    for (const float logit : c.logits) {
        result.push_back(logit - highest - std::log(sum));
    }
    return result;
}

} // namespace gptoss::metal
