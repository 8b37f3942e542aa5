// The integer form of the experts, with every instruction set that this processor runs, against its definition, and
// against itself with the work cut in other ways.
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "cpu/instruction_set.h"
#include "cpu/kernels.h"
#include "expert_test_data.h"
#include "integer_test_data.h"

using namespace gptoss::cpu;

namespace {

// Scales as the model has them: they differ by 7 at most in a group.
ExpertMatrix near_scales(size_t num_outputs, size_t num_inputs) {
    return random_matrix(num_outputs, num_inputs);
}

// Scales that differ by up to 20. One output in eight has them near each other, so that both kinds share a register.
ExpertMatrix far_scales(size_t num_outputs, size_t num_inputs) {
    ExpertMatrix matrix = random_matrix(num_outputs, num_inputs);
    for (size_t i = 0; i < matrix.scales.size(); i++) {
        if (i / (num_inputs / 32) % 8 != 3) {
            matrix.scales[i] = static_cast<uint8_t>(120 + random_bits() % 21);
        }
    }
    return matrix;
}

const auto kScales = {near_scales, far_scales};

// All blocks alike.
ExpertMatrix constant_matrix(size_t num_outputs, size_t num_inputs, uint8_t byte, uint8_t scale) {
    return {num_outputs, num_inputs, std::vector<uint8_t>(num_outputs * num_inputs / 2, byte),
            std::vector<uint8_t>(num_outputs * num_inputs / 32, scale), std::vector<uint16_t>(num_outputs, 0)};
}

// The group's block with the highest scale has integers that are 128 times its codes in units of one half. A weight of
// another block is rounded to a multiple of the same unit, halves up.
IntegerWeights integers_of(const ExpertMatrix& matrix) {
    IntegerWeights result(matrix.num_outputs, matrix.num_inputs);
    const size_t num_blocks = matrix.num_inputs / 32;
    for (size_t output = 0; output < matrix.num_outputs; output++) {
        for (size_t first = 0; first < matrix.num_inputs; first += kGroupInputs) {
            const size_t last = std::min(first + kGroupInputs, matrix.num_inputs);
            const uint8_t* const scales = matrix.scales.data() + output * num_blocks;
            const int highest = *std::max_element(scales + first / 32, scales + last / 32);
            const int unit = highest - 14 - 127 - 1 - 7; // a power of two
            result.scales[output * num_groups(matrix.num_inputs) + first / kGroupInputs] = std::ldexp(1.0f, unit);
            for (size_t input = first; input < last; input++) {
                const double weight = matrix.weight(output, input);
                result.integers[output * matrix.num_inputs + input] =
                    static_cast<int32_t>(std::floor(std::ldexp(weight, -unit) + 0.5));
            }
        }
    }
    return result;
}

Activations random_rows(size_t num_rows, size_t num_inputs) {
    return quantized(kKernelsBaseline, random_activations(num_rows * num_inputs), num_inputs, CodeOrder::mxfp4);
}

// [num_rows, outputs], for the rows from first_row on.
std::vector<float> down(const Kernels& kernels,
                        const ExpertMatrix& matrix,
                        const Activations& rows,
                        size_t first_row,
                        size_t first,
                        size_t last) {
    const size_t num_rows = rows.num_rows - first_row;
    std::vector<float> output(num_rows * matrix.num_outputs, kUntouched);
    std::vector<float> scratch = integer_scratch();
    kernels.integer_down({.matrix = matrix.view(),
                          .inputs = rows.view(),
                          .first_row = first_row,
                          .output = output.data(),
                          .num_rows = num_rows,
                          .output_stride = matrix.num_outputs,
                          .first = first,
                          .last = last,
                          .scratch = scratch.data()});
    return output;
}

std::vector<float> down(const Kernels& kernels, const ExpertMatrix& matrix, const Activations& rows) {
    return down(kernels, matrix, rows, 0, 0, matrix.num_outputs);
}

// The hidden elements of some rows, put next to one another between others, whose hidden elements stay as they are.
Activations gate_up(const Kernels& kernels,
                    const ExpertMatrix& matrix,
                    const Activations& rows,
                    const std::vector<uint32_t>& some,
                    size_t first,
                    size_t last,
                    float limit = 7.0f) {
    const size_t num_rows = some.size();
    Activations hidden(CodeOrder::mxfp4, num_rows + 3, matrix.num_outputs / 2);
    std::vector<float> scratch = integer_scratch();
    std::vector<uint32_t> between = {0, 0};
    between.insert(between.end(), some.begin(), some.end());
    between.push_back(0);
    const Activations inputs = rows.gathered(between);
    kernels.integer_gate_up({.matrix = matrix.view(),
                             .inputs = inputs.view(),
                             .hidden = hidden.view(),
                             .first_row = 2,
                             .num_rows = num_rows,
                             .first = first,
                             .last = last,
                             .swiglu_limit = limit,
                             .scratch = scratch.data()});
    const std::vector<uint32_t> others = {0, 1, static_cast<uint32_t>(num_rows + 2)};
    CHECK(same_bits(hidden.gathered(others), Activations(CodeOrder::mxfp4, 3, hidden.num_inputs)));
    return hidden.gathered(consecutive_rows(2, num_rows + 2));
}

Activations gate_up(const Kernels& kernels, const ExpertMatrix& matrix, const Activations& rows) {
    return gate_up(kernels, matrix, rows, consecutive_rows(0, rows.num_rows), 0, matrix.num_outputs / 2);
}

} // namespace

TEST(expert_weights_are_exact_for_every_scale_and_code) {
    // One block of 32 inputs per output; an input of 1 at one place and 0 elsewhere picks one weight.
    ExpertMatrix matrix = constant_matrix(256, 32, 0, 0);
    for (size_t output = 0; output < 256; output++) {
        matrix.scales[output] = static_cast<uint8_t>(output);
        for (size_t j = 0; j < 16; j++) { // all 16 codes in the low nibbles, and in the high ones
            matrix.blocks[output * 16 + j] = static_cast<uint8_t>(j | (15 - j) << 4);
        }
    }
    const IntegerWeights integers = integers_of(matrix);
    for (const size_t num_rows : {1, 9}) {
        for (size_t input = 0; input < 32; input++) {
            std::vector<float> one_hot(num_rows * 32, 0.0f);
            one_hot[(num_rows - 1) * 32 + input] = 1.0f;
            const Activations rows = quantized(kKernelsBaseline, one_hot, 32, CodeOrder::mxfp4);
            for (const Kernels* const kernels : available_kernels()) {
                const std::vector<float> output = down(*kernels, matrix, rows);
                for (size_t i = 0; i < 256; i++) {
                    const float actual = output[(num_rows - 1) * 256 + i];
                    const double expected = matrix.weight(i, input);
                    // The scale of an activation is rounded, and so is its product with that of a group below 2^-126.
                    CHECK_CLOSE(actual, expected, 2e-7 * std::fabs(expected) + 4e-38);
                    CHECK_EQUAL(actual, static_cast<float>(integer_product(integers, i, rows, num_rows - 1).value));
                }
            }
        }
    }
}

TEST(a_weight_far_below_its_group_is_rounded) {
    // Output i has a block whose scale is i smaller than that of the group's highest, with every code.
    constexpr size_t kNumOutputs = 32;
    for (const size_t low_block : {0, 1, 2, 3}) {
        ExpertMatrix matrix = constant_matrix(kNumOutputs, 128, 0x77, 140);
        for (size_t output = 0; output < kNumOutputs; output++) {
            const size_t block = output * 4 + low_block;
            matrix.scales[block] = static_cast<uint8_t>(140 - output);
            for (size_t j = 0; j < 16; j++) {
                matrix.blocks[block * 16 + j] = static_cast<uint8_t>(j | (15 - j) << 4);
            }
        }
        const IntegerWeights integers = integers_of(matrix);
        for (const size_t num_rows : {1, 5}) {
            for (size_t input = low_block * 32; input < low_block * 32 + 32; input++) {
                std::vector<float> one_hot(num_rows * 128, 0.0f);
                one_hot[(num_rows - 1) * 128 + input] = -1.0f;
                const Activations rows = quantized(kKernelsBaseline, one_hot, 128, CodeOrder::mxfp4);
                for (const Kernels* const kernels : available_kernels()) {
                    const std::vector<float> output = down(*kernels, matrix, rows);
                    for (size_t i = 0; i < kNumOutputs; i++) {
                        const float actual = output[(num_rows - 1) * kNumOutputs + i];
                        const double weight = matrix.weight(i, input);
                        const double unit = integers.scales[i];
                        CHECK_CLOSE(-actual, weight, (i <= 7 ? 0.0 : unit / 2) + 2e-7 * std::fabs(weight));
                        CHECK_EQUAL(actual, static_cast<float>(integer_product(integers, i, rows, num_rows - 1).value));
                    }
                }
            }
        }
    }
}

TEST(integer_down_is_a_matrix_product_with_bias) {
    constexpr size_t kNumOutputs = 160; // two panels and a half
    for (const auto scales : kScales) {
        for (const size_t num_inputs : kInputSizes) {
            const ExpertMatrix matrix = scales(kNumOutputs, num_inputs);
            const IntegerWeights integers = integers_of(matrix);
            for (const size_t num_rows : {1, 2, 3, 4, 5, 9}) {
                const Activations rows = random_rows(num_rows, num_inputs);
                std::vector<Sum> expected(num_rows * kNumOutputs);
                for (size_t i = 0; i < expected.size(); i++) {
                    const size_t output = i % kNumOutputs;
                    expected[i] = integer_product(integers, output, rows, i / kNumOutputs);
                    expected[i].value += bf16(matrix.bias[output]);
                    expected[i].magnitude += std::fabs(bf16(matrix.bias[output]));
                }
                for (const Kernels* const kernels : available_kernels()) {
                    const std::vector<float> output = down(*kernels, matrix, rows, 0, 32, kNumOutputs);
                    for (size_t i = 0; i < output.size(); i++) {
                        if (i % kNumOutputs < 32) {
                            CHECK_EQUAL(output[i], kUntouched);
                        } else {
                            CHECK_CLOSE(output[i], expected[i].value, rounding(expected[i].magnitude));
                        }
                    }
                }
            }
        }
    }
}

TEST(integer_down_is_exact_where_scales_are_near) {
    // The only rounding is that of activations and of sums: in double precision, with the file's weights.
    std::vector<size_t> sizes = {96, 2880, 5376}; // the last more than go through as bytes
    for (size_t num_blocks = 17; num_blocks < 32; num_blocks++) {
        sizes.push_back(num_blocks * 32); // scales are taken sixteen at a time, and then those that are left
    }
    for (const size_t num_inputs : sizes) {
        const ExpertMatrix matrix = near_scales(64, num_inputs);
        for (const size_t num_rows : {1, 2, 7}) {
            const Activations rows = random_rows(num_rows, num_inputs);
            for (const Kernels* const kernels : available_kernels()) {
                const std::vector<float> output = down(*kernels, matrix, rows);
                for (size_t i = 0; i < output.size(); i++) {
                    Sum expected = {bf16(matrix.bias[i % 64]), std::fabs(bf16(matrix.bias[i % 64]))};
                    for (size_t input = 0; input < num_inputs; input++) {
                        const double term = matrix.weight(i % 64, input) * rows.value(i / 64, input);
                        expected.value += term;
                        expected.magnitude += std::fabs(term);
                    }
                    CHECK_CLOSE(output[i], expected.value, rounding(expected.magnitude));
                }
            }
        }
    }
}

TEST(the_largest_sums_of_an_expert_do_not_overflow) {
    for (const uint8_t byte : {0x77, 0xFF}) { // 6 and -6 everywhere
        for (size_t num_far = 0; num_far < 2; num_far++) {
            ExpertMatrix matrix = constant_matrix(64, 128, byte, 141);
            if (num_far != 0) { // a weight that is rounded: the form for scales that are far from each other
                matrix.scales[9 * 4 + 1] = 132;
            }
            const IntegerWeights integers = integers_of(matrix);
            for (size_t extreme = 0; extreme < kNumExtremes; extreme++) {
                for (const size_t num_rows : {1, 2, 3, 4, 5, 9}) {
                    const Activations rows = quantized(kKernelsBaseline, extreme_activations(extreme, num_rows * 128),
                                                       128, CodeOrder::mxfp4);
                    for (const Kernels* const kernels : available_kernels()) {
                        const std::vector<float> output = down(*kernels, matrix, rows);
                        for (size_t i = 0; i < output.size(); i++) {
                            const Sum expected = integer_product(integers, i % 64, rows, i / 64);
                            CHECK_EQUAL(output[i], static_cast<float>(expected.value));
                        }
                    }
                }
            }
        }
    }
}

TEST(integer_gate_up_is_a_matrix_product_and_swiglu) {
    constexpr size_t kMlpDim = 288; // two groups and a block
    constexpr float kLimit = 7.0f;
    for (const auto scales : kScales) {
        for (const size_t num_inputs : {32, 160, 544}) {
            const ExpertMatrix matrix = scales(2 * kMlpDim, num_inputs);
            const IntegerWeights integers = integers_of(matrix);
            const Activations rows =
                quantized(kKernelsBaseline, random_floats(9 * num_inputs, 0.2f), num_inputs, CodeOrder::mxfp4);
            for (const std::vector<uint32_t>& indices :
                 {std::vector<uint32_t>{3}, {7, 0}, {8, 2, 2}, {1, 0, 5, 4}, {6, 8, 0, 1, 3, 2, 4, 7, 5}}) {
                for (const Kernels* const kernels : available_kernels()) {
                    const Activations hidden = gate_up(*kernels, matrix, rows, indices, 128, kMlpDim, kLimit);
                    for (size_t row = 0; row < indices.size(); row++) {
                        CHECK_EQUAL(hidden.scale(row, 0), kUntouched);
                        CHECK_EQUAL(hidden.code(row, 127), kUntouchedCode);
                        for (size_t i = 128; i < kMlpDim; i++) {
                            const double gate = integer_product(integers, 2 * i, rows, indices[row]).value;
                            const double up = integer_product(integers, 2 * i + 1, rows, indices[row]).value;
                            const double expected =
                                swiglu(gate + bf16(matrix.bias[2 * i]), up + bf16(matrix.bias[2 * i + 1]), kLimit);
                            CHECK_CLOSE(hidden.value(row, i), expected, 0.5 * hidden.scale(row, i) + 1e-3);
                        }
                        for (size_t i = kMlpDim; i < 3 * kGroupInputs; i++) {
                            CHECK_EQUAL(hidden.code(row, i), 0);
                        }
                    }
                }
            }
        }
    }
}

TEST(integer_swiglu_is_right_for_gates_and_ups_of_any_size) {
    // Weights of zero, so that the biases are the gate and the up.
    ExpertMatrix matrix = constant_matrix(64, 32, 0, 141);
    const float values[] = {0.0f,   0.5f,   -0.5f,  6.9375f, 7.0f,   7.0625f, 20.0f, -20.0f, -50.0f, -51.5f,
                            -52.0f, -60.0f, -80.0f, -100.0f, 100.0f, -1e3f,   1e3f,  -1e10f, 1e10f};
    const Activations rows = quantized(kKernelsBaseline, std::vector<float>(32, 1.0f), 32, CodeOrder::mxfp4);
    for (const Kernels* const kernels : available_kernels()) {
        for (const float limit : {7.0f, 1e30f}) {
            for (const float gate : values) {
                for (const float up : values) {
                    matrix.bias[62] = to_bf16(gate);
                    matrix.bias[63] = to_bf16(up);
                    const double expected = swiglu(bf16(matrix.bias[62]), bf16(matrix.bias[63]), limit);
                    const double actual = gate_up(*kernels, matrix, rows, {0}, 0, 32, limit).value(0, 31);
                    // e^88 stands for everything above it, and a group below 1e-30 for zero.
                    const double underflow = std::fabs(bf16(matrix.bias[62])) * 1e-38 * (std::fabs(up) + 1) + 1e-30;
                    CHECK_CLOSE(actual, expected, 1e-6 * std::fabs(expected) + underflow);
                }
            }
        }
    }
}

TEST(an_activation_that_is_not_finite_shows_in_every_output_of_its_row) {
    const ExpertMatrix matrix = near_scales(64, 160);
    for (const float value : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                              std::numeric_limits<float>::quiet_NaN()}) {
        for (const size_t num_rows : {1, 4, 9}) {
            std::vector<float> input = random_floats(num_rows * 160);
            input[140] = value; // of row 0
            const Activations rows = quantized(kKernelsBaseline, input, 160, CodeOrder::mxfp4);
            for (const Kernels* const kernels : available_kernels()) {
                const std::vector<float> output = down(*kernels, matrix, rows);
                for (size_t i = 0; i < output.size(); i++) {
                    CHECK_EQUAL(std::isfinite(output[i]), i >= 64);
                }
                const Activations hidden = gate_up(*kernels, matrix, rows);
                for (size_t row = 0; row < num_rows; row++) {
                    CHECK_EQUAL(std::isfinite(hidden.scale(row, 0)), row > 0);
                }
            }
        }
    }
}

TEST(integer_experts_do_not_depend_on_the_rows_beside_them) {
    // Bit for bit: any number of rows together, and each row of the last few alone.
    constexpr size_t kNumRows = 200; // more than have room in the scratch at a time
    constexpr size_t kNumOutputs = 128;
    std::vector<uint32_t> shuffled = consecutive_rows(0, kNumRows);
    std::shuffle(shuffled.begin(), shuffled.end(), random_bits);
    for (const auto scales : kScales) {
        for (const size_t num_inputs : kInputSizes) {
            const ExpertMatrix matrix = scales(kNumOutputs, num_inputs);
            const Activations rows = random_rows(kNumRows, num_inputs);
            for (const Kernels* const kernels : available_kernels()) {
                const std::vector<float> output = down(*kernels, matrix, rows);
                const Activations hidden = gate_up(*kernels, matrix, rows);
                for (const size_t num_rows : kRowCounts) {
                    const size_t first = kNumRows - num_rows;
                    const std::vector<float> part = down(*kernels, matrix, rows, first, 0, kNumOutputs);
                    CHECK(std::equal(part.begin(), part.end(),
                                     output.begin() + static_cast<ptrdiff_t>(first * kNumOutputs)));
                    const std::vector<uint32_t> some(shuffled.begin() + static_cast<ptrdiff_t>(first), shuffled.end());
                    CHECK(same_bits(gate_up(*kernels, matrix, rows, some, 0, kNumOutputs / 2), hidden.gathered(some)));
                }
                for (uint32_t row = kNumRows - 7; row < kNumRows; row++) {
                    const std::vector<float> alone = down(*kernels, matrix, rows.gathered({row}));
                    CHECK(std::equal(alone.begin(), alone.end(),
                                     output.begin() + static_cast<ptrdiff_t>(row * kNumOutputs)));
                    CHECK(
                        same_bits(gate_up(*kernels, matrix, rows, {row}, 0, kNumOutputs / 2), hidden.gathered({row})));
                }
            }
        }
    }
}

TEST(integer_experts_do_not_depend_on_how_outputs_are_cut) {
    constexpr size_t kNumOutputs = 576; // hidden elements are two groups and a block
    for (const auto scales : kScales) {
        const ExpertMatrix matrix = scales(kNumOutputs, 544);
        for (const size_t num_rows : {1, 3, 9, 172}) { // the last two of 172 are by themselves
            const Activations rows = random_rows(num_rows, 544);
            const std::vector<uint32_t> all = consecutive_rows(0, num_rows);
            for (const Kernels* const kernels : available_kernels()) {
                const std::vector<float> output = down(*kernels, matrix, rows);
                for (const size_t step : {32, 96, 160}) {
                    for (size_t first = 0; first < kNumOutputs; first += step) {
                        const size_t last = std::min(first + step, kNumOutputs);
                        const std::vector<float> part = down(*kernels, matrix, rows, 0, first, last);
                        for (size_t i = 0; i < part.size(); i++) {
                            const bool inside = i % kNumOutputs >= first && i % kNumOutputs < last;
                            CHECK_EQUAL(part[i], inside ? output[i] : kUntouched);
                        }
                    }
                }
                const Activations hidden = gate_up(*kernels, matrix, rows);
                for (size_t first = 0; first < kNumOutputs / 2; first += kGroupInputs) {
                    const size_t last = std::min(first + kGroupInputs, kNumOutputs / 2);
                    const Activations part = gate_up(*kernels, matrix, rows, all, first, last);
                    for (size_t row = 0; row < num_rows; row++) {
                        for (size_t i = 0; i < kNumOutputs / 2; i++) {
                            const bool inside = i >= first && i < last;
                            CHECK_EQUAL(part.code(row, i), inside ? hidden.code(row, i) : kUntouchedCode);
                            CHECK_EQUAL(part.scale(row, i), inside ? hidden.scale(row, i) : kUntouched);
                        }
                    }
                }
            }
        }
    }
}

TEST(integer_experts_agree_across_instruction_sets) {
    // The slow twin comparison on the width of gpt-oss-20b: fused multiply-adds at most, and what they move over the
    // edge between two codes.
    const std::vector<const Kernels*> available = available_kernels();
    for (const auto scales : kScales) {
        const ExpertMatrix matrix = scales(128, 2880);
        for (const size_t num_rows : {1, 4, 9}) {
            const Activations rows = random_rows(num_rows, 2880);
            const std::vector<float> expected = down(*available.front(), matrix, rows);
            const Activations expected_hidden = gate_up(*available.front(), matrix, rows);
            for (const Kernels* const kernels : available) {
                const std::vector<float> actual = down(*kernels, matrix, rows);
                for (size_t i = 0; i < expected.size(); i++) {
                    CHECK_CLOSE(actual[i], expected[i], 1e-4 * (1.0 + std::fabs(expected[i])));
                }
                const Activations hidden = gate_up(*kernels, matrix, rows);
                for (size_t row = 0; row < num_rows; row++) {
                    for (size_t i = 0; i < 64; i++) {
                        CHECK_CLOSE(hidden.value(row, i), expected_hidden.value(row, i),
                                    1.1 * hidden.scale(row, i) + 1e-3);
                    }
                }
            }
        }
    }
}

TEST(weighted_rows_are_added) {
    const std::vector<float> rows = random_floats(5 * 96);
    const std::vector<uint32_t> indices = {4, 0, 2};
    const std::vector<float> weights = {0.5f, 0.3f, 0.2f};
    const std::vector<float> before = random_floats(96);
    for (const Kernels* const kernels : available_kernels()) {
        std::vector<float> output = before;
        kernels->add_weighted_rows({.rows = rows.data(),
                                    .indices = indices.data(),
                                    .weights = weights.data(),
                                    .output = output.data(),
                                    .num_rows = 3,
                                    .size = 96});
        for (size_t i = 0; i < 96; i++) {
            double expected = before[i];
            for (size_t k = 0; k < 3; k++) {
                expected += double{weights[k]} * rows[indices[k] * 96 + i];
            }
            CHECK_CLOSE(output[i], expected, 1e-6);
        }
    }
}
