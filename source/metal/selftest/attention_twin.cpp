#include "attention_twin.h"

#include <algorithm>
#include <cmath>

namespace gptoss::metal {

namespace {

constexpr size_t kHeadSize = 64;

} // namespace

std::vector<double> attend(const AttentionCase& c,
                           const std::vector<double>& queries,
                           const std::vector<double>& keys,
                           const std::vector<double>& values,
                           const std::vector<double>& sinks) {
    std::vector<double> output(queries.size(), 0.0);
    for (size_t vector = 0; vector < size_t{c.num_rows} * c.num_heads; vector++) {
        const size_t head = vector % c.num_heads;
        const size_t kv_head = head / (c.num_heads / c.num_kv_heads);
        const size_t position = c.first_position + vector / c.num_heads;
        const size_t first = c.window == 0 || position < c.window ? 0 : position + 1 - c.window;

        std::vector<double> scores;
        double greatest = sinks[head];
        for (size_t p = first; p <= position; p++) {
            const double* const key = &keys[(p % c.capacity * c.num_kv_heads + kv_head) * kHeadSize];
            double score = 0;
            for (size_t i = 0; i < kHeadSize; i++) {
                score += queries[vector * kHeadSize + i] * key[i];
            }
            scores.push_back(score);
            greatest = std::max(greatest, score);
        }
        double sum = std::exp(sinks[head] - greatest);
        for (size_t p = first; p <= position; p++) {
            const double* const value = &values[(p % c.capacity * c.num_kv_heads + kv_head) * kHeadSize];
            const double weight = std::exp(scores[p - first] - greatest);
            sum += weight;
            for (size_t i = 0; i < kHeadSize; i++) {
                output[vector * kHeadSize + i] += weight * value[i];
            }
        }
        for (size_t i = 0; i < kHeadSize; i++) {
            output[vector * kHeadSize + i] /= sum;
        }
    }
    return output;
}

std::vector<double> combine(size_t num_heads,
                            size_t num_splits,
                            const std::vector<double>& split_values,
                            const std::vector<double>& split_maxima_and_sums,
                            const std::vector<double>& sinks) {
    const size_t num_vectors = split_maxima_and_sums.size() / 2 / num_splits;
    std::vector<double> output(num_vectors * kHeadSize, 0.0);
    for (size_t vector = 0; vector < num_vectors; vector++) {
        double sum = std::exp(sinks[vector % num_heads]);
        for (size_t split = vector * num_splits; split < (vector + 1) * num_splits; split++) {
            const double weight = std::exp(split_maxima_and_sums[2 * split]);
            sum += weight * split_maxima_and_sums[2 * split + 1];
            for (size_t i = 0; i < kHeadSize; i++) {
                output[vector * kHeadSize + i] += weight * split_values[split * kHeadSize + i];
            }
        }
        for (size_t i = 0; i < kHeadSize; i++) {
            output[vector * kHeadSize + i] /= sum;
        }
    }
    return output;
}

} // namespace gptoss::metal
