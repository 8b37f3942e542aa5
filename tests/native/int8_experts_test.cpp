// The experts of fast precision, with every instruction set that this processor runs: activations as bytes, against
// their definition, and against themselves with the work cut in other ways.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "check.h"
#include "cpu/instruction_set.h"
#include "cpu/kernels.h"
#include "expert_test_data.h"
#include "integer_test_data.h"

using namespace gptoss::cpu;

namespace {

constexpr size_t kBlock = 32;

// What a group holds before a call.
Int8Group untouched_group() {
    Int8Group group;
    std::memset(&group, 0x5A, sizeof(group));
    return group;
}

bool same_bits(const Int8Group& left, const Int8Group& right) {
    return std::memcmp(&left, &right, offsetof(Int8Group, starts) + sizeof(left.starts)) == 0;
}

// Rows of activations, in memory that ends where the kernels may not read on.
struct Int8Activations {
    size_t num_rows;
    size_t num_inputs;
    std::vector<Int8Group> groups;

    Int8Activations(size_t num_rows, size_t num_inputs)
        : num_rows(num_rows), num_inputs(num_inputs), groups(num_groups(num_inputs) * num_rows, untouched_group()) {}

    // Products only read them, but their arguments have the type of what quantize_int8() writes.
    Int8Rows view() const { return {const_cast<Int8Group*>(groups.data()), num_rows}; }

    const Int8Group& group(size_t row, size_t input) const { return groups[input / kGroupInputs * num_rows + row]; }

    float scale(size_t row, size_t input) const { return group(row, input).scales[input % kGroupInputs / kBlock]; }
    int32_t code(size_t row, size_t input) const {
        return group(row, input).codes[input % 2][input % kGroupInputs / kBlock][input % kBlock / 2];
    }
    double value(size_t row, size_t input) const { return double{scale(row, input)} * code(row, input); }

    // Some of the rows, in this order.
    Int8Activations gathered(const std::vector<uint32_t>& rows) const {
        Int8Activations result(rows.size(), num_inputs);
        for (size_t i = 0; i < result.groups.size(); i++) {
            result.groups[i] = groups[i / rows.size() * num_rows + rows[i % rows.size()]];
        }
        return result;
    }
};

bool same_bits(const Int8Activations& left, const Int8Activations& right) {
    return std::equal(left.groups.begin(), left.groups.end(), right.groups.begin(), right.groups.end(),
                      [](const Int8Group& a, const Int8Group& b) { return same_bits(a, b); });
}

Int8Activations quantized_int8(const Kernels& kernels, const std::vector<float>& values, size_t num_inputs) {
    Int8Activations result(values.size() / num_inputs, num_inputs);
    for (size_t row = 0; row < result.num_rows; row++) {
        kernels.quantize_int8(
            {.input = values.data() + row * num_inputs, .output = result.view(), .row = row, .size = num_inputs});
    }
    return result;
}

// Every scale byte that there is, but those of weights beyond fp32; far from each other in a row.
ExpertMatrix matrix_of_any_scales(size_t num_outputs, size_t num_inputs) {
    ExpertMatrix matrix = random_matrix(num_outputs, num_inputs);
    for (uint8_t& scale : matrix.scales) {
        scale = static_cast<uint8_t>(random_bits() % 2 == 0 ? random_bits() % 200 : 130 + random_bits() % 12);
    }
    return matrix;
}

ExpertMatrix constant_matrix(size_t num_outputs, size_t num_inputs, uint8_t byte, uint8_t scale) {
    return {num_outputs, num_inputs, std::vector<uint8_t>(num_outputs * num_inputs / 2, byte),
            std::vector<uint8_t>(num_outputs * num_inputs / kBlock, scale), std::vector<uint16_t>(num_outputs, 0)};
}

// What a product of the file's weights with the codes is; nothing else is rounded but sums.
Sum product(const ExpertMatrix& matrix, size_t output, const Int8Activations& rows, size_t row) {
    Sum sum = {0.0, 0.0};
    for (size_t input = 0; input < matrix.num_inputs; input++) {
        const double term = matrix.weight(output, input) * rows.value(row, input);
        sum.value += term;
        sum.magnitude += std::fabs(term);
    }
    return sum;
}

// [num_rows, outputs], for the rows from first_row on.
std::vector<float> down(const Kernels& kernels,
                        const ExpertMatrix& matrix,
                        const Int8Activations& rows,
                        size_t first_row,
                        size_t first,
                        size_t last) {
    const size_t num_rows = rows.num_rows - first_row;
    std::vector<float> output(num_rows * matrix.num_outputs, kUntouched);
    std::vector<float> scratch = integer_scratch();
    kernels.int8_down({.matrix = matrix.view(),
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

std::vector<float> down(const Kernels& kernels, const ExpertMatrix& matrix, const Int8Activations& rows) {
    return down(kernels, matrix, rows, 0, 0, matrix.num_outputs);
}

// The hidden elements of some rows, put next to one another between others, whose hidden elements stay as they are.
Int8Activations gate_up(const Kernels& kernels,
                        const ExpertMatrix& matrix,
                        const Int8Activations& rows,
                        const std::vector<uint32_t>& some,
                        size_t first,
                        size_t last,
                        float limit = 7.0f) {
    const size_t num_rows = some.size();
    Int8Activations hidden(num_rows + 3, matrix.num_outputs / 2);
    std::vector<float> scratch = integer_scratch();
    std::vector<uint32_t> between = {0, 0};
    between.insert(between.end(), some.begin(), some.end());
    between.push_back(0);
    const Int8Activations inputs = rows.gathered(between);
    kernels.int8_gate_up({.matrix = matrix.view(),
                          .inputs = inputs.view(),
                          .hidden = hidden.view(),
                          .first_row = 2,
                          .num_rows = num_rows,
                          .first = first,
                          .last = last,
                          .swiglu_limit = limit,
                          .scratch = scratch.data()});
    const std::vector<uint32_t> others = {0, 1, static_cast<uint32_t>(num_rows + 2)};
    CHECK(same_bits(hidden.gathered(others), Int8Activations(3, hidden.num_inputs)));
    return hidden.gathered(consecutive_rows(2, num_rows + 2));
}

Int8Activations gate_up(const Kernels& kernels, const ExpertMatrix& matrix, const Int8Activations& rows) {
    return gate_up(kernels, matrix, rows, consecutive_rows(0, rows.num_rows), 0, matrix.num_outputs / 2);
}

} // namespace

TEST(int8_values_are_within_half_a_step_of_their_block) {
    for (const Kernels* const kernels : available_kernels()) {
        for (const size_t size : kInputSizes) {
            for (const float deviation : {1e-20f, 1.0f, 1e20f}) {
                const std::vector<float> values = random_floats(size, deviation);
                const Int8Activations row = quantized_int8(*kernels, values, size);
                for (size_t first = 0; first < size; first += kBlock) {
                    float highest = 0.0f;
                    int32_t highest_code = 0;
                    int32_t sum = 0;
                    for (size_t i = first; i < first + kBlock; i++) {
                        highest = std::max(highest, std::fabs(values[i]));
                        highest_code = std::max(highest_code, std::abs(row.code(0, i)));
                        sum += row.code(0, i);
                        CHECK_CLOSE(row.value(0, i), values[i], 0.50001 * row.scale(0, i));
                    }
                    CHECK_EQUAL(highest_code, 127);
                    CHECK_CLOSE(row.scale(0, first), highest / 127, 1e-6 * highest / 127);
                    CHECK_EQUAL(row.group(0, first).sums[first % kGroupInputs / kBlock], sum);
                }
                for (size_t i = size; i < num_groups(size) * kGroupInputs; i++) {
                    CHECK_EQUAL(row.code(0, i), 0);
                    CHECK_EQUAL(row.scale(0, i), 0.0f);
                }
            }
        }
    }
}

TEST(int8_codes_agree_across_instruction_sets) {
    // A fused multiply-add may move a value over the edge between two codes.
    const std::vector<float> values = random_activations(3 * 2880);
    const Int8Activations expected = quantized_int8(kKernelsBaseline, values, 2880);
    for (const Kernels* const kernels : available_kernels()) {
        const Int8Activations actual = quantized_int8(*kernels, values, 2880);
        for (size_t i = 0; i < 2880; i++) {
            CHECK_EQUAL(actual.scale(0, i), expected.scale(0, i));
            CHECK(std::abs(actual.code(0, i) - expected.code(0, i)) <= 1);
        }
    }
}

TEST(an_int8_block_of_zeros_stays_zero) {
    for (const Kernels* const kernels : available_kernels()) {
        for (const float value : {0.0f, -0.0f, 1e-40f, 1e-31f}) {
            std::vector<float> values = random_floats(128);
            std::fill(values.begin() + 64, values.begin() + 96, value);
            const Int8Activations row = quantized_int8(*kernels, values, 128);
            for (size_t i = 0; i < 128; i++) {
                CHECK_EQUAL(row.scale(0, i) == 0.0f, i / kBlock == 2);
                CHECK(i / kBlock != 2 || row.code(0, i) == 0);
            }
        }
    }
}

TEST(int8_expert_weights_are_exact_for_every_scale_and_code) {
    // One block of 32 inputs per output; an input of 1 at one place and 0 elsewhere picks one weight.
    ExpertMatrix matrix = constant_matrix(256, 32, 0, 0);
    for (size_t output = 0; output < 256; output++) {
        matrix.scales[output] = static_cast<uint8_t>(output);
        for (size_t j = 0; j < 16; j++) { // all 16 codes in the low nibbles, and in the high ones
            matrix.blocks[output * 16 + j] = static_cast<uint8_t>(j | (15 - j) << 4);
        }
    }
    for (const size_t num_rows : {1, 9}) {
        for (size_t input = 0; input < 32; input++) {
            std::vector<float> one_hot(num_rows * 32, 0.0f);
            one_hot[(num_rows - 1) * 32 + input] = 1.0f;
            for (const Kernels* const kernels : available_kernels()) {
                const std::vector<float> output = down(*kernels, matrix, quantized_int8(*kernels, one_hot, 32));
                for (size_t i = 0; i < 256; i++) {
                    const double expected = matrix.weight(i, input);
                    // 1 / 127 is rounded, and so is its product with a scale below 2^-126.
                    CHECK_CLOSE(output[(num_rows - 1) * 256 + i], expected, 2e-7 * std::fabs(expected) + 1e-37);
                }
            }
        }
    }
}

TEST(int8_down_is_a_matrix_product_with_bias) {
    constexpr size_t kNumOutputs = 160; // two panels and a half
    for (const auto matrix_of : {random_matrix, matrix_of_any_scales}) {
        for (const size_t num_inputs : kInputSizes) {
            const ExpertMatrix matrix = matrix_of(kNumOutputs, num_inputs);
            for (const size_t num_rows : {1, 2, 3, 4, 5, 9}) {
                const std::vector<float> values = random_activations(num_rows * num_inputs);
                for (const Kernels* const kernels : available_kernels()) {
                    const Int8Activations rows = quantized_int8(*kernels, values, num_inputs);
                    const std::vector<float> output = down(*kernels, matrix, rows, 0, 32, kNumOutputs);
                    for (size_t i = 0; i < output.size(); i++) {
                        const size_t row_output = i % kNumOutputs;
                        if (row_output < 32) {
                            CHECK_EQUAL(output[i], kUntouched);
                            continue;
                        }
                        const double bias = bf16(matrix.bias[row_output]);
                        const Sum expected = product(matrix, row_output, rows, i / kNumOutputs);
                        CHECK_CLOSE(output[i], expected.value + bias, rounding(expected.magnitude + std::fabs(bias)));
                    }
                }
            }
        }
    }
}

TEST(the_largest_sums_of_an_int8_block_do_not_overflow) {
    // 6 and -6 everywhere times 127 and -127: all of one sign, and those of even, odd, or every other pair of inputs of
    // the other one.
    for (const uint8_t byte : {0x77, 0xFF, 0x7F, 0xF7}) {
        const ExpertMatrix matrix = constant_matrix(64, 160, byte, 141);
        for (const size_t period : {1, 2, 4, 8, 64}) {
            for (const size_t num_rows : {1, 2, 3, 4, 5, 9}) {
                std::vector<float> values(num_rows * 160);
                for (size_t i = 0; i < values.size(); i++) {
                    values[i] = i % period < (period + 1) / 2 ? 127.0f : -127.0f;
                }
                for (const Kernels* const kernels : available_kernels()) {
                    const Int8Activations rows = quantized_int8(*kernels, values, 160);
                    const std::vector<float> output = down(*kernels, matrix, rows);
                    for (size_t i = 0; i < output.size(); i++) {
                        CHECK_EQUAL(output[i], static_cast<float>(product(matrix, i % 64, rows, i / 64).value));
                    }
                }
            }
        }
    }
}

TEST(int8_gate_up_is_a_matrix_product_and_swiglu) {
    constexpr size_t kMlpDim = 288; // two groups and a block
    constexpr float kLimit = 7.0f;
    for (const size_t num_inputs : {32, 160, 544}) {
        const ExpertMatrix matrix = random_matrix(2 * kMlpDim, num_inputs);
        const std::vector<float> values = random_floats(9 * num_inputs, 0.2f);
        for (const std::vector<uint32_t>& indices :
             {std::vector<uint32_t>{3}, {7, 0}, {8, 2, 2}, {1, 0, 5, 4}, {6, 8, 0, 1, 3, 2, 4, 7, 5}}) {
            for (const Kernels* const kernels : available_kernels()) {
                const Int8Activations rows = quantized_int8(*kernels, values, num_inputs);
                const Int8Activations hidden = gate_up(*kernels, matrix, rows, indices, 128, kMlpDim, kLimit);
                for (size_t row = 0; row < indices.size(); row++) {
                    CHECK(same_bits(hidden.group(row, 0), untouched_group()));
                    for (size_t i = 128; i < kMlpDim; i++) {
                        const double gate = product(matrix, 2 * i, rows, indices[row]).value;
                        const double up = product(matrix, 2 * i + 1, rows, indices[row]).value;
                        const double expected =
                            swiglu(gate + bf16(matrix.bias[2 * i]), up + bf16(matrix.bias[2 * i + 1]), kLimit);
                        CHECK_CLOSE(hidden.value(row, i), expected, 0.5001 * hidden.scale(row, i) + 1e-3);
                    }
                    for (size_t i = kMlpDim; i < 3 * kGroupInputs; i++) {
                        CHECK_EQUAL(hidden.code(row, i), 0);
                    }
                }
            }
        }
    }
}

TEST(an_int8_activation_that_is_not_finite_shows_in_every_output_of_its_row) {
    const ExpertMatrix matrix = random_matrix(64, 160);
    for (const float value : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                              std::numeric_limits<float>::quiet_NaN()}) {
        for (const size_t num_rows : {1, 4, 9}) {
            std::vector<float> input = random_floats(num_rows * 160);
            input[140] = value; // of row 0
            for (const Kernels* const kernels : available_kernels()) {
                const Int8Activations rows = quantized_int8(*kernels, input, 160);
                const std::vector<float> output = down(*kernels, matrix, rows);
                for (size_t i = 0; i < output.size(); i++) {
                    CHECK_EQUAL(std::isfinite(output[i]), i >= 64);
                }
                const Int8Activations hidden = gate_up(*kernels, matrix, rows);
                for (size_t row = 0; row < num_rows; row++) {
                    CHECK_EQUAL(std::isfinite(hidden.scale(row, 0)), row > 0);
                }
            }
        }
    }
}

TEST(int8_experts_do_not_depend_on_the_rows_beside_them) {
    // Bit for bit: any number of rows together, and each row of the last few alone.
    constexpr size_t kNumRows = 200; // more than have room in the scratch at a time
    constexpr size_t kNumOutputs = 128;
    std::vector<uint32_t> shuffled = consecutive_rows(0, kNumRows);
    std::shuffle(shuffled.begin(), shuffled.end(), random_bits);
    for (const size_t num_inputs : kInputSizes) {
        const ExpertMatrix matrix = random_matrix(kNumOutputs, num_inputs);
        const std::vector<float> values = random_activations(kNumRows * num_inputs);
        for (const Kernels* const kernels : available_kernels()) {
            const Int8Activations rows = quantized_int8(*kernels, values, num_inputs);
            const std::vector<float> output = down(*kernels, matrix, rows);
            const Int8Activations hidden = gate_up(*kernels, matrix, rows);
            for (const size_t num_rows : kRowCounts) {
                const size_t first = kNumRows - num_rows;
                const std::vector<float> part = down(*kernels, matrix, rows, first, 0, kNumOutputs);
                CHECK(
                    std::equal(part.begin(), part.end(), output.begin() + static_cast<ptrdiff_t>(first * kNumOutputs)));
                const std::vector<uint32_t> some(shuffled.begin() + static_cast<ptrdiff_t>(first), shuffled.end());
                CHECK(same_bits(gate_up(*kernels, matrix, rows, some, 0, kNumOutputs / 2), hidden.gathered(some)));
            }
            for (uint32_t row = kNumRows - 7; row < kNumRows; row++) {
                const std::vector<float> alone = down(*kernels, matrix, rows.gathered({row}));
                CHECK(
                    std::equal(alone.begin(), alone.end(), output.begin() + static_cast<ptrdiff_t>(row * kNumOutputs)));
            }
        }
    }
}

TEST(int8_experts_do_not_depend_on_how_outputs_are_cut) {
    constexpr size_t kNumOutputs = 576; // hidden elements are two groups and a block
    const ExpertMatrix matrix = random_matrix(kNumOutputs, 544);
    for (const size_t num_rows : {1, 3, 9}) {
        const std::vector<float> values = random_activations(num_rows * 544);
        const std::vector<uint32_t> all = consecutive_rows(0, num_rows);
        for (const Kernels* const kernels : available_kernels()) {
            const Int8Activations rows = quantized_int8(*kernels, values, 544);
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
            const Int8Activations hidden = gate_up(*kernels, matrix, rows);
            for (size_t first = 0; first < kNumOutputs / 2; first += kGroupInputs) {
                const size_t last = std::min(first + kGroupInputs, kNumOutputs / 2);
                const Int8Activations part = gate_up(*kernels, matrix, rows, all, first, last);
                for (size_t row = 0; row < num_rows; row++) {
                    for (size_t i = 0; i < kNumOutputs / 2; i += kGroupInputs) {
                        CHECK(same_bits(part.group(row, i),
                                        i >= first && i < last ? hidden.group(row, i) : untouched_group()));
                    }
                }
            }
        }
    }
}
