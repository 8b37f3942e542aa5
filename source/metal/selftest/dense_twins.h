// What the dense kernels compute, plainly and in float64. Matrices are by rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace gptoss::metal {

// x * rsqrt(mean(x^2) + epsilon) * gain, for each row. x [num_rows, columns], gain [columns].
std::vector<double> rms_norm(const std::vector<double>& x, const std::vector<double>& gain, double epsilon);

// input . weight^T + bias. input [num_rows, num_inputs], weight [num_outputs, num_inputs], bias [num_outputs] or empty
// -> [num_rows, num_outputs]
std::vector<double> linear(const std::vector<double>& input,
                           const std::vector<double>& weight,
                           const std::vector<double>& bias,
                           size_t num_inputs);

std::vector<double> sum_of(const std::vector<double>& a, const std::vector<double>& b);

struct RoutingTwin {
    std::vector<uint32_t> experts; // [num_rows, num_active], the best one first
    std::vector<double> weights;   // [num_rows, num_active]
};

// The best of each row's logits [num_rows, num_experts], and the softmax of these alone. The lowest wins a tie.
RoutingTwin route(const std::vector<double>& logits, size_t num_experts, size_t num_active);

} // namespace gptoss::metal
