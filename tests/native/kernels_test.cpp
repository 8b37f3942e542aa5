// Every kernel of every instruction set that this processor runs, against its definition in double precision.
#include "cpu/kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "cpu/instruction_set.h"
#include "expert_test_data.h"
#include "kernel_test_data.h"
#include "number_formats.h"

using namespace gptoss::cpu;

namespace {

// Element i of a row is at this place in block order.
size_t block_order(size_t i) {
    const size_t in_block = i % 32;
    return i - in_block + (in_block % 2 == 0 ? in_block / 2 : 16 + in_block / 2);
}

std::vector<float> in_block_order(const std::vector<float>& values) {
    std::vector<float> result(values.size());
    for (size_t i = 0; i < values.size(); i++) {
        result[block_order(i)] = values[i];
    }
    return result;
}

std::vector<float> gate_up(const Kernels& kernels,
                           const ExpertMatrix& matrix,
                           const std::vector<float>& inputs, // in block order
                           size_t first,
                           size_t last,
                           float limit) {
    const std::vector<const float*> rows = row_pointers(inputs, matrix.num_inputs);
    const size_t mlp_dim = matrix.num_outputs / 2;
    std::vector<float> hidden(rows.size() * mlp_dim, kUntouched);
    std::vector<float> scratch(kLinearScratchRows * matrix.num_inputs);
    kernels.expert_gate_up({.matrix = matrix.view(),
                            .inputs = rows.data(),
                            .hidden = hidden.data(),
                            .num_rows = rows.size(),
                            .hidden_stride = mlp_dim,
                            .first = first,
                            .last = last,
                            .swiglu_limit = limit,
                            .scratch = scratch.data()});
    return hidden;
}

std::vector<float> down(const Kernels& kernels,
                        const ExpertMatrix& matrix,
                        const std::vector<float>& inputs, // in block order
                        size_t first,
                        size_t last) {
    const std::vector<const float*> rows = row_pointers(inputs, matrix.num_inputs);
    std::vector<float> output(rows.size() * matrix.num_outputs, kUntouched);
    std::vector<float> scratch(kLinearScratchRows * matrix.num_inputs);
    kernels.expert_down({.matrix = matrix.view(),
                         .inputs = rows.data(),
                         .output = output.data(),
                         .num_rows = rows.size(),
                         .output_stride = matrix.num_outputs,
                         .first = first,
                         .last = last,
                         .scratch = scratch.data()});
    return output;
}

} // namespace

TEST(the_baseline_comes_first_and_names_are_distinct) {
    const std::vector<const Kernels*> available = available_kernels();
    CHECK_EQUAL(std::string(available.front()->name), "baseline");
    for (size_t i = 1; i < available.size(); i++) {
        CHECK(std::string(available[i]->name) != available[i - 1]->name);
    }
}

TEST(sets_that_add_to_another_have_all_of_its_kernels) {
    for (const Kernels* const kernels : available_kernels()) {
        // Behind the name and the peak loops there is nothing but pointers to functions.
        const size_t num_kernels = (sizeof(Kernels) - offsetof(Kernels, rms_norm)) / sizeof(void (*)());
        for (size_t i = 0; i < num_kernels; i++) {
            void (*kernel)();
            std::memcpy(&kernel, reinterpret_cast<const std::byte*>(&kernels->rms_norm) + i * sizeof(kernel),
                        sizeof(kernel));
            if (kernel == nullptr) {
                check::report_failure(
                    __FILE__, __LINE__,
                    std::string(kernels->name) + " lacks kernel " + std::to_string(i) + " of Kernels");
            }
        }
    }
}

TEST(block_order_puts_even_elements_before_odd_ones) {
    const std::vector<float> input = random_floats(96);
    for (const Kernels* const kernels : available_kernels()) {
        std::vector<float> output(input.size());
        kernels->to_block_order(input.data(), output.data(), input.size());
        CHECK(output == in_block_order(input));
        CHECK_EQUAL(output[1], input[2]);
        CHECK_EQUAL(output[16], input[1]);
        CHECK_EQUAL(output[32], input[32]);
    }
}

TEST(rms_norm_divides_by_the_root_mean_square) {
    for (const Kernels* const kernels : available_kernels()) {
        for (const size_t size : {32, 96, 2880}) {
            const std::vector<float> input = random_floats(size, 3.0f);
            const std::vector<uint16_t> gain = random_bf16(size);
            std::vector<float> output(size);
            kernels->rms_norm(input.data(), gain.data(), output.data(), size, 1e-5f);
            double squares = 0;
            for (const float value : input) {
                squares += static_cast<double>(value) * value;
            }
            const double scale = 1.0 / std::sqrt(squares / static_cast<double>(size) + 1e-5);
            for (size_t i = 0; i < size; i++) {
                const double expected = input[i] * scale * bf16(gain[i]);
                CHECK_CLOSE(output[i], expected, rounding(std::fabs(expected)));
            }
        }
    }
}

TEST(rms_norm_of_zeros_is_zero) {
    const std::vector<float> input(32, 0.0f);
    const std::vector<uint16_t> gain = random_bf16(32);
    for (const Kernels* const kernels : available_kernels()) {
        std::vector<float> output(32, kUntouched);
        kernels->rms_norm(input.data(), gain.data(), output.data(), 32, 1e-5f);
        CHECK(std::ranges::all_of(output, [](float value) { return value == 0.0f; }));
    }
}

TEST(expert_weights_are_exact_for_every_scale_and_code) {
    // One block of 32 inputs per output; an input of 1 at one place and 0 elsewhere picks one weight.
    ExpertMatrix matrix = {256, 32, std::vector<uint8_t>(256 * 16), std::vector<uint8_t>(256),
                           std::vector<uint16_t>(256, 0)};
    for (size_t output = 0; output < 256; output++) {
        matrix.scales[output] = static_cast<uint8_t>(output);
        for (size_t j = 0; j < 16; j++) { // all 16 codes in the low nibbles, and in the high ones
            matrix.blocks[output * 16 + j] = static_cast<uint8_t>(j | (15 - j) << 4);
        }
    }
    for (const Kernels* const kernels : available_kernels()) {
        for (size_t input = 0; input < 32; input++) {
            // 1 row, and enough rows that the kernels unpack the weights first.
            for (const size_t num_rows : {1, 9}) {
                std::vector<float> one_hot(num_rows * 32, 0.0f);
                one_hot[(num_rows - 1) * 32 + block_order(input)] = 1.0f;
                const std::vector<float> output = down(*kernels, matrix, one_hot, 0, 256);
                for (size_t row = 0; row < 256; row++) {
                    CHECK_EQUAL(static_cast<double>(output[(num_rows - 1) * 256 + row]), matrix.weight(row, input));
                }
            }
        }
    }
}

TEST(expert_down_is_a_matrix_product_with_bias) {
    for (const Kernels* const kernels : available_kernels()) {
        for (const size_t num_inputs : {32, 96, 2880}) {
            const ExpertMatrix matrix = random_matrix(21, num_inputs);
            for (const size_t num_rows : {1, 3, 4, 5, 9}) {
                const std::vector<float> input = random_floats(num_rows * num_inputs);
                const std::vector<float> output = down(*kernels, matrix, in_block_order(input), 2, 20);
                for (size_t row = 0; row < num_rows; row++) {
                    for (size_t i = 0; i < 21; i++) {
                        const float actual = output[row * 21 + i];
                        if (i < 2 || i >= 20) {
                            CHECK_EQUAL(actual, kUntouched);
                            continue;
                        }
                        double expected = bf16(matrix.bias[i]);
                        double magnitude = std::fabs(expected);
                        for (size_t k = 0; k < num_inputs; k++) {
                            const double term = matrix.weight(i, k) * input[row * num_inputs + k];
                            expected += term;
                            magnitude += std::fabs(term);
                        }
                        CHECK_CLOSE(actual, expected, rounding(magnitude));
                    }
                }
            }
        }
    }
}

TEST(expert_gate_up_is_a_matrix_product_and_swiglu) {
    constexpr size_t kMlpDim = 64;
    constexpr float kLimit = 7.0f;
    for (const Kernels* const kernels : available_kernels()) {
        for (const size_t num_inputs : {32, 96}) {
            const ExpertMatrix matrix = random_matrix(2 * kMlpDim, num_inputs);
            for (const size_t num_rows : {1, 2, 5, 9}) {
                const std::vector<float> input = random_floats(num_rows * num_inputs);
                const std::vector<float> hidden =
                    gate_up(*kernels, matrix, in_block_order(input), 2, kMlpDim - 4, kLimit);
                for (size_t row = 0; row < num_rows; row++) {
                    for (size_t i = 0; i < kMlpDim; i++) {
                        const float actual = hidden[row * kMlpDim + block_order(i)];
                        if (i < 2 || i >= kMlpDim - 4) {
                            CHECK_EQUAL(actual, kUntouched);
                            continue;
                        }
                        double dots[2] = {bf16(matrix.bias[2 * i]), bf16(matrix.bias[2 * i + 1])};
                        for (size_t k = 0; k < num_inputs; k++) {
                            dots[0] += matrix.weight(2 * i, k) * input[row * num_inputs + k];
                            dots[1] += matrix.weight(2 * i + 1, k) * input[row * num_inputs + k];
                        }
                        CHECK_CLOSE(actual, swiglu(dots[0], dots[1], kLimit), 1e-4);
                    }
                }
            }
        }
    }
}

TEST(swiglu_is_right_for_gates_and_ups_of_any_size) {
    // Weights of zero, so that the biases are the gate and the up.
    ExpertMatrix matrix = {64, 32, std::vector<uint8_t>(64 * 16, 0), std::vector<uint8_t>(64, 141),
                           std::vector<uint16_t>(64, 0)};
    const std::vector<float> input(32, 1.0f);
    const float values[] = {0.0f,   0.5f,   -0.5f,  6.9375f, 7.0f,   7.0625f, 20.0f, -20.0f, -50.0f, -51.5f,
                            -52.0f, -60.0f, -80.0f, -100.0f, 100.0f, -1e3f,   1e3f,  -1e10f, 1e10f};
    for (const Kernels* const kernels : available_kernels()) {
        for (const float limit : {7.0f, 1e30f}) {
            for (const float gate : values) {
                for (const float up : values) {
                    matrix.bias[0] = to_bf16(gate);
                    matrix.bias[1] = to_bf16(up);
                    const double expected = swiglu(bf16(matrix.bias[0]), bf16(matrix.bias[1]), limit);
                    const float actual = gate_up(*kernels, matrix, input, 0, 32, limit)[0];
                    // e^88 stands for everything above it, so that what should be 0 is gate / e^88 * (up + 1).
                    const double underflow = std::fabs(bf16(matrix.bias[0])) * 1e-38 * (std::fabs(up) + 1);
                    CHECK_CLOSE(actual, expected, 1e-6 * std::fabs(expected) + underflow);
                }
            }
        }
    }
}

TEST(kernels_agree_across_instruction_sets) {
    // The slow twin comparison on the sizes of gpt-oss-20b: the same sums in another order of additions at most.
    const std::vector<const Kernels*> available = available_kernels();
    const ExpertMatrix matrix = random_matrix(64, 2880);
    const std::vector<float> input = random_floats(5 * 2880);
    const std::vector<float> expected = gate_up(*available.front(), matrix, input, 0, 32, 7.0f);
    for (const Kernels* const kernels : available) {
        const std::vector<float> actual = gate_up(*kernels, matrix, input, 0, 32, 7.0f);
        for (size_t i = 0; i < expected.size(); i++) {
            CHECK_CLOSE(actual[i], expected[i], 1e-3 * (1.0 + std::fabs(expected[i])));
        }
    }
}
