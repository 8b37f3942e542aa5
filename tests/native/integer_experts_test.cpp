// The integer form of the experts, with every instruction set that this processor runs, against its definition in
// double precision, and against itself with the work cut in other ways.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "check.h"
#include "cpu/instruction_set.h"
#include "cpu/kernels.h"
#include "expert_test_data.h"
#include "kernel_test_data.h"

using namespace gptoss::cpu;

namespace {

// Where an input is in a block's codes.
constexpr size_t kPairOrder[8] = {0, 4, 2, 6, 1, 5, 3, 7};

struct Rows {
    size_t num_blocks;
    std::vector<QuantizedBlock> blocks;

    size_t num_rows() const { return blocks.size() / num_blocks; }

    std::vector<const QuantizedBlock*> pointers() const {
        std::vector<const QuantizedBlock*> result;
        for (size_t row = 0; row < num_rows(); row++) {
            result.push_back(blocks.data() + row * num_blocks);
        }
        return result;
    }

    // The value that an input was rounded to.
    double value(size_t row, size_t input) const {
        const QuantizedBlock& block = blocks[row * num_blocks + input / 32];
        for (size_t place = 0; place < 8; place++) {
            if (kPairOrder[place] == input % 8) {
                return double{block.scale} * block.codes[input % 32 / 8 * 8 + place];
            }
        }
        return 0;
    }
};

Rows quantized(const Kernels& kernels, const std::vector<float>& values, size_t num_inputs) {
    Rows rows = {num_inputs / 32, std::vector<QuantizedBlock>(values.size() / 32)};
    for (size_t row = 0; row < values.size() / num_inputs; row++) {
        kernels.quantize(values.data() + row * num_inputs, rows.blocks.data() + row * rows.num_blocks, num_inputs);
    }
    return rows;
}

// Activations as they come: a few are much larger than the rest.
std::vector<float> random_activations(size_t size) {
    std::vector<float> values = random_floats(size);
    for (size_t i = 0; i < size; i += 1 + random_bits() % 100) {
        values[i] *= 30.0f;
    }
    return values;
}

std::vector<float> down(
    const Kernels& kernels, const ExpertMatrix& matrix, const Rows& rows, size_t first, size_t last) {
    std::vector<float> output(rows.num_rows() * matrix.num_outputs, kUntouched);
    const std::vector<const QuantizedBlock*> inputs = rows.pointers();
    kernels.integer_down({.matrix = matrix.view(),
                          .inputs = inputs.data(),
                          .output = output.data(),
                          .num_rows = rows.num_rows(),
                          .output_stride = matrix.num_outputs,
                          .first = first,
                          .last = last});
    return output;
}

std::vector<float> down(const Kernels& kernels, const ExpertMatrix& matrix, const Rows& rows) {
    return down(kernels, matrix, rows, 0, matrix.num_outputs);
}

Rows gate_up(const Kernels& kernels,
             const ExpertMatrix& matrix,
             const Rows& rows,
             size_t first,
             size_t last,
             float limit = 7.0f) {
    const size_t num_blocks = matrix.num_outputs / 64;
    Rows hidden = {num_blocks, std::vector<QuantizedBlock>(rows.num_rows() * num_blocks)};
    std::ranges::for_each(hidden.blocks, [](QuantizedBlock& block) { block.scale = kUntouched; });
    const std::vector<const QuantizedBlock*> inputs = rows.pointers();
    kernels.integer_gate_up({.matrix = matrix.view(),
                             .inputs = inputs.data(),
                             .hidden = hidden.blocks.data(),
                             .num_rows = rows.num_rows(),
                             .hidden_stride = num_blocks,
                             .first = first,
                             .last = last,
                             .swiglu_limit = limit});
    return hidden;
}

Rows gate_up(const Kernels& kernels, const ExpertMatrix& matrix, const Rows& rows) {
    return gate_up(kernels, matrix, rows, 0, matrix.num_outputs / 2);
}

bool same_bits(const std::vector<QuantizedBlock>& left, const std::vector<QuantizedBlock>& right) {
    return left.size() == right.size() && std::memcmp(left.data(), right.data(), left.size() * sizeof(left[0])) == 0;
}

struct Sum {
    double value;
    double magnitude; // of its terms together
};

Sum dot_with_bias(const ExpertMatrix& matrix, size_t output, const Rows& rows, size_t row) {
    Sum sum = {bf16(matrix.bias[output]), std::fabs(bf16(matrix.bias[output]))};
    for (size_t input = 0; input < matrix.num_inputs; input++) {
        const double term = matrix.weight(output, input) * rows.value(row, input);
        sum.value += term;
        sum.magnitude += std::fabs(term);
    }
    return sum;
}

// Inputs that are one block, less than, exactly and more than the sixteen blocks whose scales are unpacked at a time,
// and a real width.
constexpr size_t kInputSizes[] = {32, 96, 128, 480, 512, 544, 1056, 2880};
// One row, every number of rows that keeps unpacked weights in registers, and what fills the tiles in every way.
constexpr size_t kRowCounts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 31};

} // namespace

TEST(quantized_values_are_within_half_a_step) {
    for (const Kernels* const kernels : available_kernels()) {
        for (const float deviation : {1e-20f, 1.0f, 1e20f}) {
            std::vector<float> values = random_floats(320, deviation);
            values[0] = 0.0f;
            const Rows rows = quantized(*kernels, values, values.size());
            for (size_t i = 0; i < values.size(); i++) {
                float highest = 0;
                for (size_t j = i / 32 * 32; j < i / 32 * 32 + 32; j++) {
                    highest = std::max(highest, std::fabs(values[j]));
                }
                // The scale itself is rounded to fp32.
                CHECK_CLOSE(rows.value(0, i), values[i], 0.51 * highest / 32767 + 1e-6 * std::fabs(values[i]));
            }
            for (const QuantizedBlock& block : rows.blocks) {
                int32_t sum = 0;
                int32_t highest = 0;
                for (const int16_t code : block.codes) {
                    sum += code;
                    highest = std::max(highest, std::abs(int32_t{code}));
                }
                CHECK_EQUAL(block.offset, -12 * sum);
                CHECK_EQUAL(highest, 32767);
            }
        }
    }
}

TEST(a_block_of_zeros_stays_zero) {
    for (const Kernels* const kernels : available_kernels()) {
        for (const float value : {0.0f, -0.0f, 1e-40f}) {
            const Rows rows = quantized(*kernels, std::vector<float>(32, value), 32);
            CHECK_EQUAL(rows.blocks[0].scale, 0.0f);
            CHECK_EQUAL(rows.blocks[0].offset, 0);
            CHECK_EQUAL(rows.value(0, 5), 0.0);
        }
    }
}

TEST(an_activation_that_is_not_finite_shows_in_every_output) {
    for (const Kernels* const kernels : available_kernels()) {
        const ExpertMatrix matrix = random_matrix(64, 96);
        for (const float value : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                                  std::numeric_limits<float>::quiet_NaN()}) {
            for (const size_t num_rows : {1, 9}) {
                std::vector<float> input = random_floats(num_rows * 96);
                input[40] = value; // of row 0
                const std::vector<float> output = down(*kernels, matrix, quantized(*kernels, input, 96));
                for (size_t i = 0; i < output.size(); i++) {
                    CHECK_EQUAL(std::isfinite(output[i]), i >= 64);
                }
            }
        }
    }
}

TEST(weights_are_exact_for_every_scale_and_code) {
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
            for (const size_t num_rows : {1, 9}) {
                std::vector<float> one_hot(num_rows * 32, 0.0f);
                one_hot[(num_rows - 1) * 32 + input] = 1.0f;
                const std::vector<float> output = down(*kernels, matrix, quantized(*kernels, one_hot, 32));
                for (size_t i = 0; i < 256; i++) {
                    const double expected = matrix.weight(i, input);
                    // The scale of an activation is rounded, and so is its product with a scale below 2^-126.
                    CHECK_CLOSE(output[(num_rows - 1) * 256 + i], expected, 2e-7 * std::fabs(expected) + 1e-39);
                }
            }
        }
    }
}

TEST(integer_down_is_a_matrix_product_with_bias) {
    constexpr size_t kNumOutputs = 160; // two panels and a half
    for (const Kernels* const kernels : available_kernels()) {
        for (const size_t num_inputs : kInputSizes) {
            const ExpertMatrix matrix = random_matrix(kNumOutputs, num_inputs);
            for (const size_t num_rows : {1, 2, 5, 9}) {
                const Rows rows = quantized(*kernels, random_activations(num_rows * num_inputs), num_inputs);
                const std::vector<float> output = down(*kernels, matrix, rows, 32, 128);
                for (size_t row = 0; row < num_rows; row++) {
                    for (size_t i = 0; i < kNumOutputs; i++) {
                        const float actual = output[row * kNumOutputs + i];
                        if (i < 32 || i >= 128) {
                            CHECK_EQUAL(actual, kUntouched);
                            continue;
                        }
                        const Sum expected = dot_with_bias(matrix, i, rows, row);
                        CHECK_CLOSE(actual, expected.value, rounding(expected.magnitude));
                    }
                }
            }
        }
    }
}

TEST(integer_gate_up_is_a_matrix_product_and_swiglu) {
    constexpr size_t kMlpDim = 128;
    constexpr float kLimit = 7.0f;
    for (const Kernels* const kernels : available_kernels()) {
        for (const size_t num_inputs : {32, 96, 544}) {
            const ExpertMatrix matrix = random_matrix(2 * kMlpDim, num_inputs);
            for (const size_t num_rows : {1, 2, 5, 9}) {
                const Rows rows = quantized(*kernels, random_floats(num_rows * num_inputs, 0.2f), num_inputs);
                const Rows hidden = gate_up(*kernels, matrix, rows, 32, 96, kLimit);
                for (size_t row = 0; row < num_rows; row++) {
                    CHECK_EQUAL(hidden.blocks[row * 4].scale, kUntouched);
                    CHECK_EQUAL(hidden.blocks[row * 4 + 3].scale, kUntouched);
                    for (size_t i = 32; i < 96; i++) {
                        const double gate = dot_with_bias(matrix, 2 * i, rows, row).value;
                        const double up = dot_with_bias(matrix, 2 * i + 1, rows, row).value;
                        // Rounded to half a step of the block, whose highest is 56 at most.
                        CHECK_CLOSE(hidden.value(row, i), swiglu(gate, up, kLimit), 1e-3);
                    }
                }
            }
        }
    }
}

TEST(integer_swiglu_is_right_for_gates_and_ups_of_any_size) {
    // Weights of zero, so that the biases are the gate and the up.
    ExpertMatrix matrix = {64, 32, std::vector<uint8_t>(64 * 16, 0), std::vector<uint8_t>(64, 141),
                           std::vector<uint16_t>(64, 0)};
    const float values[] = {0.0f,   0.5f,   -0.5f,  6.9375f, 7.0f,   7.0625f, 20.0f, -20.0f, -50.0f, -51.5f,
                            -52.0f, -60.0f, -80.0f, -100.0f, 100.0f, -1e3f,   1e3f,  -1e10f, 1e10f};
    for (const Kernels* const kernels : available_kernels()) {
        const Rows rows = quantized(*kernels, std::vector<float>(32, 1.0f), 32);
        for (const float limit : {7.0f, 1e30f}) {
            for (const float gate : values) {
                for (const float up : values) {
                    matrix.bias[62] = to_bf16(gate);
                    matrix.bias[63] = to_bf16(up);
                    const double expected = swiglu(bf16(matrix.bias[62]), bf16(matrix.bias[63]), limit);
                    const double actual = gate_up(*kernels, matrix, rows, 0, 32, limit).value(0, 31);
                    // e^88 stands for everything above it, and a block below 1e-30 for zero.
                    const double underflow = std::fabs(bf16(matrix.bias[62])) * 1e-38 * (std::fabs(up) + 1) + 1e-30;
                    CHECK_CLOSE(actual, expected, 1e-6 * std::fabs(expected) + underflow);
                }
            }
        }
    }
}

TEST(integer_products_do_not_depend_on_the_rows_beside_them) {
    // Bit for bit: each row alone, and any number of rows together.
    for (const Kernels* const kernels : available_kernels()) {
        for (const size_t num_inputs : kInputSizes) {
            const ExpertMatrix matrix = random_matrix(128, num_inputs);
            const Rows rows = quantized(*kernels, random_activations(31 * num_inputs), num_inputs);
            const std::vector<float> output = down(*kernels, matrix, rows);
            const Rows hidden = gate_up(*kernels, matrix, rows);
            for (const size_t num_rows : kRowCounts) {
                const size_t first = 31 - num_rows;
                const auto begin = rows.blocks.begin() + static_cast<ptrdiff_t>(first * rows.num_blocks);
                const Rows part = {rows.num_blocks, {begin, rows.blocks.end()}};
                const std::vector<float> part_output = down(*kernels, matrix, part);
                CHECK(std::equal(part_output.begin(), part_output.end(),
                                 output.begin() + static_cast<ptrdiff_t>(first * 128)));
                const auto hidden_begin = hidden.blocks.begin() + static_cast<ptrdiff_t>(first * hidden.num_blocks);
                CHECK(same_bits(gate_up(*kernels, matrix, part).blocks, {hidden_begin, hidden.blocks.end()}));
            }
        }
    }
}

TEST(integer_products_do_not_depend_on_how_outputs_are_cut) {
    for (const Kernels* const kernels : available_kernels()) {
        const ExpertMatrix matrix = random_matrix(256, 544);
        for (const size_t num_rows : {1, 3, 9, 131}) { // more than share an unpacked panel
            const Rows rows = quantized(*kernels, random_activations(num_rows * 544), 544);
            const std::vector<float> output = down(*kernels, matrix, rows);
            const Rows hidden = gate_up(*kernels, matrix, rows);
            for (size_t first = 0; first < 256; first += 32) {
                const std::vector<float> part = down(*kernels, matrix, rows, first, first + 32);
                for (size_t row = 0; row < num_rows; row++) {
                    CHECK(std::equal(&part[row * 256 + first], &part[row * 256 + first] + 32,
                                     &output[row * 256 + first]));
                }
            }
            for (size_t first = 0; first < 128; first += 32) {
                const Rows part = gate_up(*kernels, matrix, rows, first, first + 32);
                for (size_t row = 0; row < num_rows; row++) {
                    const size_t block = row * 4 + first / 32;
                    CHECK(std::memcmp(&part.blocks[block], &hidden.blocks[block], sizeof(QuantizedBlock)) == 0);
                }
            }
        }
    }
}

TEST(integer_products_agree_across_instruction_sets) {
    // The slow twin comparison on the width of gpt-oss-20b: fused multiply-adds at most, and what they move over the
    // edge between two codes.
    const std::vector<const Kernels*> available = available_kernels();
    const ExpertMatrix matrix = random_matrix(128, 2880);
    for (const size_t num_rows : {1, 4, 9}) {
        const Rows rows = quantized(*available.front(), random_activations(num_rows * 2880), 2880);
        const std::vector<float> expected = down(*available.front(), matrix, rows);
        const Rows expected_hidden = gate_up(*available.front(), matrix, rows);
        for (const Kernels* const kernels : available) {
            const std::vector<float> actual = down(*kernels, matrix, rows);
            for (size_t i = 0; i < expected.size(); i++) {
                CHECK_CLOSE(actual[i], expected[i], 1e-4 * (1.0 + std::fabs(expected[i])));
            }
            const Rows hidden = gate_up(*kernels, matrix, rows);
            for (size_t row = 0; row < num_rows; row++) {
                for (size_t i = 0; i < 64; i++) {
                    CHECK_CLOSE(hidden.value(row, i), expected_hidden.value(row, i), 3e-3);
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
