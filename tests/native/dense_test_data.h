// Dense layers for the tests of the kernels: random matrices in both formats, and what their weights are.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/kernels.h"
#include "kernel_test_data.h"
#include "number_formats.h"

struct DenseWeights {
    size_t num_outputs;
    size_t num_inputs;
    std::vector<uint16_t> values; // bf16; empty: codes and scales
    std::vector<int8_t> codes;
    std::vector<uint16_t> scales;
    std::vector<uint16_t> bias;

    gptoss::cpu::DenseMatrix view(bool with_bias = true) const {
        return {.values = values.empty() ? nullptr : values.data(),
                .codes = codes.data(),
                .scales = scales.data(),
                .bias = with_bias ? bias.data() : nullptr,
                .num_inputs = num_inputs};
    }

    double weight(size_t output, size_t input) const {
        const size_t index = output * num_inputs + input;
        return values.empty() ? codes[index] * double{gptoss::half_to_float(scales[index / 32])} : bf16(values[index]);
    }
};

inline DenseWeights bf16_weights(size_t num_outputs, size_t num_inputs) {
    return {num_outputs, num_inputs, random_bf16(num_outputs * num_inputs), {}, {}, random_bf16(num_outputs)};
}

inline DenseWeights coded_weights(size_t num_outputs, size_t num_inputs) {
    DenseWeights weights = {num_outputs, num_inputs, {}, {}, {}, random_bf16(num_outputs)};
    weights.codes.resize(num_outputs * num_inputs);
    weights.scales.resize(num_outputs * num_inputs / 32);
    std::ranges::generate(weights.codes, [] { return static_cast<int8_t>(random_bits()); });
    std::ranges::generate(weights.scales, [] { return gptoss::float_to_half(std::fabs(normal(0.02f))); });
    return weights;
}
