// Experts for the tests of the kernels: random MXFP4 matrices, and what their weights are.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/kernels.h"
#include "kernel_test_data.h"
#include "number_formats.h"

struct ExpertMatrix {
    size_t num_outputs;
    size_t num_inputs;
    std::vector<uint8_t> blocks;
    std::vector<uint8_t> scales;
    std::vector<uint16_t> bias;

    gptoss::cpu::Mxfp4Matrix view() const {
        return {.blocks = blocks.data(), .scales = scales.data(), .bias = bias.data(), .num_inputs = num_inputs};
    }

    double weight(size_t output, size_t input) const {
        const uint8_t byte = blocks[(output * num_inputs + input) / 2];
        const uint32_t code = input % 2 == 0 ? byte & 15u : byte >> 4;
        const uint8_t scale = scales[(output * num_inputs + input) / 32];
        return std::ldexp(static_cast<double>(gptoss::mxfp4_code_to_float(code)), scale - 14 - 127);
    }
};

inline ExpertMatrix random_matrix(size_t num_outputs, size_t num_inputs) {
    ExpertMatrix matrix = {num_outputs, num_inputs, {}, {}, random_bf16(num_outputs)};
    matrix.blocks.resize(num_outputs * num_inputs / 2);
    matrix.scales.resize(num_outputs * num_inputs / 32);
    std::ranges::generate(matrix.blocks, [] { return static_cast<uint8_t>(random_bits()); });
    std::ranges::generate(matrix.scales, [] { return static_cast<uint8_t>(133 + random_bits() % 8); });
    return matrix;
}

inline double swiglu(double gate, double up, double limit) {
    gate = std::min(gate, limit);
    up = std::clamp(up, -limit, limit);
    return gate / (1.0 + std::exp(-1.702 * gate)) * (up + 1.0);
}
