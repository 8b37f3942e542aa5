#include "dense_twins.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace gptoss::metal {

std::vector<double> rms_norm(const std::vector<double>& x, const std::vector<double>& gain, double epsilon) {
    const size_t num_columns = gain.size();
    std::vector<double> normalized(x.size());
    for (size_t first = 0; first < x.size(); first += num_columns) {
        double squares = 0;
        for (size_t i = 0; i < num_columns; i++) {
            squares += x[first + i] * x[first + i];
        }
        const double scale = 1 / std::sqrt(squares / static_cast<double>(num_columns) + epsilon);
        for (size_t i = 0; i < num_columns; i++) {
            normalized[first + i] = x[first + i] * scale * gain[i];
        }
    }
    return normalized;
}

std::vector<double> linear(const std::vector<double>& input,
                           const std::vector<double>& weight,
                           const std::vector<double>& bias,
                           size_t num_inputs) {
    const size_t num_rows = input.size() / num_inputs;
    const size_t num_outputs = weight.size() / num_inputs;
    std::vector<double> output(num_rows * num_outputs);
    for (size_t row = 0; row < num_rows; row++) {
        for (size_t o = 0; o < num_outputs; o++) {
            double sum = bias.empty() ? 0 : bias[o];
            for (size_t i = 0; i < num_inputs; i++) {
                sum += input[row * num_inputs + i] * weight[o * num_inputs + i];
            }
            output[row * num_outputs + o] = sum;
        }
    }
    return output;
}

std::vector<double> sum_of(const std::vector<double>& a, const std::vector<double>& b) {
    std::vector<double> sum(a.size());
    std::transform(a.begin(), a.end(), b.begin(), sum.begin(), std::plus<>());
    return sum;
}

RoutingTwin route(const std::vector<double>& logits, size_t num_experts, size_t num_active) {
    RoutingTwin routing;
    for (size_t first = 0; first < logits.size(); first += num_experts) {
        std::vector<uint32_t> order(num_experts);
        std::iota(order.begin(), order.end(), 0u);
        std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
            return std::pair(-logits[first + a], a) < std::pair(-logits[first + b], b);
        });
        double sum = 0;
        for (size_t slot = 0; slot < num_active; slot++) {
            sum += std::exp(logits[first + order[slot]] - logits[first + order[0]]);
        }
        for (size_t slot = 0; slot < num_active; slot++) {
            routing.experts.push_back(order[slot]);
            routing.weights.push_back(std::exp(logits[first + order[slot]] - logits[first + order[0]]) / sum);
        }
    }
    return routing;
}

} // namespace gptoss::metal
