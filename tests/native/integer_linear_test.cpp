// Dense layers with quantized activations, in every format, with every instruction set that this processor runs,
// against their definition, and against themselves with the work cut in other ways.
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "check.h"
#include "cpu/instruction_set.h"
#include "cpu/kernels.h"
#include "dense_test_data.h"
#include "integer_test_data.h"

using namespace gptoss::cpu;

namespace {

// Weights of all sizes: a group's others are from as large as its largest down to nothing beside it.
DenseWeights spread_bf16_weights(size_t num_outputs, size_t num_inputs) {
    DenseWeights weights = bf16_weights(num_outputs, num_inputs);
    for (uint16_t& value : weights.values) {
        const int exponent = static_cast<int>(random_bits() % 16) - 12;
        value = to_bf16(std::ldexp(static_cast<float>(bf16(value)), exponent));
    }
    return weights;
}

// Scales of any sign and size, subnormal ones and zeros too.
DenseWeights spread_coded_weights(size_t num_outputs, size_t num_inputs) {
    DenseWeights weights = coded_weights(num_outputs, num_inputs);
    for (uint16_t& scale : weights.scales) {
        const uint32_t bits = random_bits();
        scale = static_cast<uint16_t>((bits & 0x3FFFu) >> (bits >> 16) % 15 | (bits & 0x8000u));
    }
    return weights;
}

const auto kFormats = {bf16_weights, coded_weights, spread_bf16_weights, spread_coded_weights};

double power_of_two_below(double value) {
    return std::ldexp(1.0, std::ilogb(value));
}

// The largest weight of a group becomes 4,096 to 8,160, and the others are rounded to nearest even in its unit.
void bf16_integers(const DenseWeights& weights, size_t output, size_t first, size_t last, IntegerWeights& result) {
    double highest = 0;
    for (size_t input = first; input < last; input++) {
        const double magnitude = std::fabs(weights.weight(output, input));
        highest = magnitude > highest ? magnitude : highest;
    }
    if (highest < 0x1.0p-114) {
        return;
    }
    const double unit = power_of_two_below(highest) / 4096;
    result.scales[output * num_groups(weights.num_inputs) + first / kGroupInputs] = static_cast<float>(unit);
    for (size_t input = first; input < last; input++) {
        result.integers[output * weights.num_inputs + input] =
            static_cast<int32_t>(std::nearbyint(weights.weight(output, input) / unit));
    }
}

// Codes are multiplied by 32 to 64 in the block with the highest scale, by a factor that has 14 bits after the point.
void coded_integers(const DenseWeights& weights, size_t output, size_t first, size_t last, IntegerWeights& result) {
    const auto scale = [&](size_t input) {
        return gptoss::half_to_float(weights.scales[(output * weights.num_inputs + input) / 32]);
    };
    float highest = 0;
    for (size_t input = first; input < last; input += 32) {
        highest = std::max(highest, std::fabs(scale(input)));
    }
    if (highest == 0.0f) {
        return;
    }
    const double power = power_of_two_below(highest);
    result.scales[output * num_groups(weights.num_inputs) + first / kGroupInputs] = static_cast<float>(power / 32);
    for (size_t input = first; input < last; input++) {
        const size_t index = output * weights.num_inputs + input;
        const auto factor = static_cast<int32_t>(std::nearbyint(scale(input) / power * 0x1.0p14));
        result.integers[index] = (weights.codes[index] * 64 * factor + (1 << 14)) >> 15;
    }
}

IntegerWeights integers_of(const DenseWeights& weights) {
    IntegerWeights result(weights.num_outputs, weights.num_inputs);
    for (size_t output = 0; output < weights.num_outputs; output++) {
        for (size_t first = 0; first < weights.num_inputs; first += kGroupInputs) {
            const size_t last = std::min(first + kGroupInputs, weights.num_inputs);
            (weights.values.empty() ? coded_integers : bf16_integers)(weights, output, first, last, result);
        }
    }
    return result;
}

Activations quantized_rows(const std::vector<float>& values, size_t num_inputs) {
    return quantized(kKernelsBaseline, values, num_inputs, CodeOrder::natural);
}

void call_linear(const Kernels& kernels,
                 const DenseMatrix& matrix,
                 const Activations& rows,
                 size_t num_rows,
                 size_t first,
                 size_t last,
                 bool add,
                 size_t num_outputs,
                 std::vector<float>& output) {
    std::vector<float> scratch = integer_scratch();
    kernels.integer_linear({.matrix = matrix,
                            .inputs = rows.view(),
                            .output = output.data(),
                            .num_rows = num_rows,
                            .output_stride = num_outputs,
                            .first = first,
                            .last = last,
                            .add_to_output = add,
                            .scratch = scratch.data()});
}

// [num_rows, outputs] of all rows, without a bias.
std::vector<float> linear(const Kernels& kernels, const DenseWeights& weights, const Activations& rows) {
    std::vector<float> output(rows.num_rows * weights.num_outputs, kUntouched);
    call_linear(kernels, weights.view(false), rows, rows.num_rows, 0, weights.num_outputs, false, weights.num_outputs,
                output);
    return output;
}

} // namespace

TEST(a_product_over_half_a_group_is_exact) {
    for (const auto format : kFormats) {
        for (const size_t num_inputs : {32, 64}) {
            for (const size_t num_outputs : {1, 3, 17, 65, 100}) {
                const DenseWeights weights = format(num_outputs, num_inputs);
                const IntegerWeights integers = integers_of(weights);
                for (const size_t num_rows : {1, 2, 3, 4, 5, 6, 7, 13}) {
                    const Activations rows = quantized_rows(random_activations(num_rows * num_inputs), num_inputs);
                    for (const Kernels* const kernels : available_kernels()) {
                        const std::vector<float> output = linear(*kernels, weights, rows);
                        for (size_t i = 0; i < output.size(); i++) {
                            const Sum expected = integer_product(integers, i % num_outputs, rows, i / num_outputs);
                            CHECK_EQUAL(output[i], static_cast<float>(expected.value));
                        }
                    }
                }
            }
        }
    }
}

TEST(codes_of_every_scale_are_scaled_exactly) {
    // One block per output, of every finite scale, with every code at the place of every eighth one.
    std::vector<uint16_t> scales;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        if ((bits & 0x7C00) != 0x7C00) {
            scales.push_back(static_cast<uint16_t>(bits));
        }
    }
    DenseWeights weights = {scales.size(), 32, {}, std::vector<int8_t>(scales.size() * 32), scales, {}};
    for (size_t i = 0; i < weights.codes.size(); i++) {
        weights.codes[i] = static_cast<int8_t>(i);
    }
    const IntegerWeights integers = integers_of(weights);
    for (const size_t num_rows : {1, 6}) {
        const Activations rows = quantized_rows(random_floats(num_rows * 32), 32);
        for (const Kernels* const kernels : available_kernels()) {
            const std::vector<float> output = linear(*kernels, weights, rows);
            for (size_t i = 0; i < output.size(); i++) {
                const Sum expected = integer_product(integers, i % scales.size(), rows, i / scales.size());
                CHECK_EQUAL(output[i], static_cast<float>(expected.value));
            }
        }
    }
}

TEST(integer_linear_is_a_matrix_product_with_bias) {
    for (const auto format : kFormats) {
        for (const size_t num_inputs : kInputSizes) {
            for (const size_t num_outputs : {1, 3, 17, 65, 100}) {
                const DenseWeights weights = format(num_outputs, num_inputs);
                const IntegerWeights integers = integers_of(weights);
                for (const size_t num_rows : {1, 2, 3, 4, 5, 9}) {
                    const bool with_bias = num_rows % 2 == 1;
                    const bool add = num_rows % 3 == 1;
                    const size_t first = std::min(num_rows % 3, num_outputs - 1);
                    const size_t last = num_outputs - (num_rows == 9 && num_outputs > 1);
                    const Activations rows = quantized_rows(random_activations(num_rows * num_inputs), num_inputs);
                    std::vector<Sum> expected(num_rows * num_outputs);
                    for (size_t i = 0; i < expected.size(); i++) {
                        const size_t output = i % num_outputs;
                        const double before =
                            (with_bias ? bf16(weights.bias[output]) : 0.0) + (add ? double{kUntouched} : 0.0);
                        expected[i] = integer_product(integers, output, rows, i / num_outputs);
                        expected[i].value += before;
                        expected[i].magnitude += std::fabs(before);
                    }
                    for (const Kernels* const kernels : available_kernels()) {
                        std::vector<float> output(expected.size(), kUntouched);
                        call_linear(*kernels, weights.view(with_bias), rows, num_rows, first, last, add, num_outputs,
                                    output);
                        for (size_t i = 0; i < output.size(); i++) {
                            if (i % num_outputs < first || i % num_outputs >= last) {
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
}

TEST(the_error_of_a_product_is_that_of_rounding_its_factors) {
    constexpr size_t kNumOutputs = 17;
    for (const auto format : kFormats) {
        for (const size_t num_inputs : {96, 160, 2880}) {
            const DenseWeights weights = format(kNumOutputs, num_inputs);
            const IntegerWeights integers = integers_of(weights);
            // A factor of 14 bits moves an integer by as much as 128 * 64 / 2^16.
            const double weight_steps = weights.values.empty() ? 0.5 + 1.0 / 8 : 0.5;
            for (const size_t num_rows : {3, 8}) {
                const std::vector<float> input = random_activations(num_rows * num_inputs);
                const Activations rows = quantized_rows(input, num_inputs);
                for (const Kernels* const kernels : available_kernels()) {
                    const std::vector<float> output = linear(*kernels, weights, rows);
                    for (size_t i = 0; i < output.size(); i++) {
                        const size_t row = i / kNumOutputs;
                        double expected = 0;
                        double magnitude = 0;
                        double allowed = 0;
                        for (size_t k = 0; k < num_inputs; k++) {
                            const double weight = weights.weight(i % kNumOutputs, k);
                            const double value = input[row * num_inputs + k];
                            const double unit =
                                integers.scales[i % kNumOutputs * num_groups(num_inputs) + k / kGroupInputs];
                            expected += weight * value;
                            magnitude += std::fabs(weight * value);
                            allowed += std::fabs(weight) * 0.5 * rows.scale(row, k) +
                                       weight_steps * unit * std::fabs(rows.value(row, k));
                        }
                        CHECK_CLOSE(output[i], expected, 1.001 * allowed + rounding(magnitude));
                    }
                }
            }
        }
    }
}

TEST(the_largest_sums_of_a_dense_layer_do_not_overflow) {
    // Integers of 8160 and -8160; of 8124 and -8188, which only the largest mantissa of a scale gives.
    std::vector<DenseWeights> largest;
    for (const float sign : {1.0f, -1.0f}) {
        largest.push_back(bf16_weights(17, 256));
        std::ranges::fill(largest.back().values, to_bf16(sign * 1.9921875f));
        largest.push_back(coded_weights(17, 256));
        std::ranges::fill(largest.back().codes, static_cast<int8_t>(sign > 0 ? 127 : -128));
        std::ranges::fill(largest.back().scales, gptoss::float_to_half(1.9990234375f));
    }
    for (const DenseWeights& weights : largest) {
        const IntegerWeights integers = integers_of(weights);
        CHECK(std::abs(integers.integers[0]) > 8120);
        for (size_t extreme = 0; extreme < kNumExtremes; extreme++) {
            for (const size_t num_rows : {1, 2, 3, 4, 5, 6}) {
                const Activations rows = quantized_rows(extreme_activations(extreme, num_rows * 256), 256);
                for (const Kernels* const kernels : available_kernels()) {
                    const std::vector<float> output = linear(*kernels, weights, rows);
                    for (size_t i = 0; i < output.size(); i++) {
                        const Sum expected = integer_product(integers, i % 17, rows, i / 17);
                        CHECK_CLOSE(output[i], expected.value, rounding(expected.magnitude));
                    }
                }
            }
        }
    }
}

TEST(groups_of_zeros_and_of_almost_nothing_add_nothing) {
    for (const float tiny : {0.0f, -0.0f, 0x1.0p-133f, 0x1.0p-127f, 0x1.FEp-115f, 0x1.0p-114f}) {
        DenseWeights weights = bf16_weights(17, 256);
        for (size_t output = 0; output < 17; output++) { // the second group of each
            std::fill_n(weights.values.begin() + static_cast<ptrdiff_t>(output * 256 + 128), 128, to_bf16(tiny));
        }
        for (const size_t num_rows : {1, 6}) {
            std::vector<float> values(num_rows * 256, 0.0f);
            for (size_t row = 0; row < num_rows; row++) { // so large that the group would show
                std::fill_n(values.begin() + static_cast<ptrdiff_t>(row * 256 + 128), 128, 0x1.0p100f);
            }
            const Activations rows = quantized_rows(values, 256);
            for (const Kernels* const kernels : available_kernels()) {
                for (const float actual : linear(*kernels, weights, rows)) {
                    const double expected = tiny < 0x1.0p-114f ? 0.0 : 0x1.0p-7;
                    CHECK_CLOSE(actual, expected, 3e-4 * expected); // activations that are all alike have 13 bits
                }
            }
        }
    }
    for (const uint16_t zero : {0x0000, 0x8000}) {
        DenseWeights weights = coded_weights(17, 160);
        for (size_t output = 0; output < 17; output++) { // the whole second group, and a block of the first
            weights.scales[output * 5 + 2] = zero;
            weights.scales[output * 5 + 4] = zero;
        }
        for (const size_t num_rows : {1, 6}) {
            std::vector<float> values(num_rows * 160, 0.0f);
            for (size_t row = 0; row < num_rows; row++) {
                std::fill_n(values.begin() + static_cast<ptrdiff_t>(row * 160 + 64), 32, 1.0f);
                std::fill_n(values.begin() + static_cast<ptrdiff_t>(row * 160 + 128), 32, 1.0f);
            }
            const Activations rows = quantized_rows(values, 160);
            for (const Kernels* const kernels : available_kernels()) {
                for (const float actual : linear(*kernels, weights, rows)) {
                    CHECK_EQUAL(actual, 0.0f);
                }
            }
        }
    }
}

TEST(a_weight_that_is_not_finite_makes_its_output_no_number) {
    constexpr uint16_t kInfinity = 0x7F80;
    for (const uint16_t value : {kInfinity, uint16_t{0xFF80}, uint16_t{0x7FC0}, uint16_t{0xFFFF}, uint16_t{0x7F81}}) {
        for (const size_t input : {0, 100, 127, 128, 159}) {
            DenseWeights weights = bf16_weights(17, 160);
            weights.values[11 * 160 + input] = value;
            for (const size_t num_rows : {1, 4, 6}) {
                std::vector<float> values = random_floats(num_rows * 160);
                std::fill_n(values.begin(), 160, 0.0f); // not even a row of zeros hides it
                const Activations rows = quantized_rows(values, 160);
                for (const Kernels* const kernels : available_kernels()) {
                    const std::vector<float> output = linear(*kernels, weights, rows);
                    for (size_t i = 0; i < output.size(); i++) {
                        CHECK_EQUAL(std::isnan(output[i]), i % 17 == 11);
                    }
                }
            }
        }
    }
}

TEST(integer_linear_gives_the_same_bits_however_the_work_is_cut) {
    constexpr size_t kNumOutputs = 83;
    constexpr size_t kNumRows = 200;
    for (const auto format : kFormats) {
        for (const size_t num_inputs : kInputSizes) {
            const DenseWeights weights = format(kNumOutputs, num_inputs);
            const Activations rows = quantized_rows(random_activations(kNumRows * num_inputs), num_inputs);
            for (const Kernels* const kernels : available_kernels()) {
                std::vector<float> together(kNumRows * kNumOutputs);
                call_linear(*kernels, weights.view(), rows, kNumRows, 0, kNumOutputs, false, kNumOutputs, together);
                for (const size_t num_rows : kRowCounts) {
                    const Activations some = rows.gathered(consecutive_rows(kNumRows - num_rows, kNumRows));
                    std::vector<float> output(num_rows * kNumOutputs, kUntouched);
                    const size_t cut = random_bits() % (kNumOutputs + 1);
                    call_linear(*kernels, weights.view(), some, num_rows, 0, cut, false, kNumOutputs, output);
                    call_linear(*kernels, weights.view(), some, num_rows, cut, kNumOutputs, false, kNumOutputs, output);
                    CHECK(std::equal(output.rbegin(), output.rend(), together.rbegin()));
                }
                for (uint32_t row = kNumRows - 3; row < kNumRows; row++) { // one output after the other
                    std::vector<float> output(kNumOutputs);
                    for (size_t i = 0; i < kNumOutputs; i++) {
                        call_linear(*kernels, weights.view(), rows.gathered({row}), 1, i, i + 1, false, kNumOutputs,
                                    output);
                    }
                    CHECK(std::equal(output.begin(), output.end(),
                                     together.begin() + static_cast<ptrdiff_t>(row * kNumOutputs)));
                }
            }
        }
    }
}

TEST(integer_linear_takes_more_rows_than_the_scratch_holds) {
    constexpr size_t kNumOutputs = 65;
    for (const auto format : kFormats) {
        const DenseWeights weights = format(kNumOutputs, 64);
        const Activations rows = quantized_rows(random_activations(515 * 64), 64); // the last three are by themselves
        for (const Kernels* const kernels : available_kernels()) {
            const std::vector<float> together = linear(*kernels, weights, rows);
            const std::vector<float> last = linear(*kernels, weights, rows.gathered(consecutive_rows(500, 515)));
            CHECK(std::equal(last.rbegin(), last.rend(), together.rbegin()));
        }
    }
}

TEST(integer_linear_agrees_across_instruction_sets) {
    const std::vector<const Kernels*> available = available_kernels();
    for (const auto format : kFormats) {
        const DenseWeights weights = format(100, 2880);
        const IntegerWeights integers = integers_of(weights);
        for (const size_t num_rows : {1, 4, 9}) {
            const Activations rows = quantized_rows(random_activations(num_rows * 2880), 2880);
            const std::vector<float> expected = linear(*available.front(), weights, rows);
            for (const Kernels* const kernels : available) {
                const std::vector<float> actual = linear(*kernels, weights, rows);
                for (size_t i = 0; i < expected.size(); i++) {
                    // Fused multiply-adds at most.
                    const Sum sum = integer_product(integers, i % 100, rows, i / 100);
                    CHECK_CLOSE(actual[i], expected[i], rounding(sum.magnitude));
                }
            }
        }
    }
}
