// Dense layers, in every format, with every instruction set that this processor runs, against their definition in
// double precision.
#include <cmath>
#include <span>
#include <string>

#include "check.h"
#include "cpu/kernels.h"
#include "dense_test_data.h"
#include "kernel_sets.h"

using namespace gptoss::cpu;

namespace {

const auto kFormats = {bf16_weights, coded_weights};

void call_linear(const Kernels& kernels,
                 const DenseMatrix& matrix,
                 const std::vector<const float*>& inputs,
                 size_t first,
                 size_t last,
                 bool add,
                 size_t num_outputs,
                 std::vector<float>& output) {
    std::vector<float> scratch(kLinearScratchRows * matrix.num_inputs);
    std::vector<float> packed;
    if (inputs.size() >= kMinPackedRows) {
        const size_t num_groups = (inputs.size() + kPackedRows - 1) / kPackedRows;
        packed.resize(num_groups * kPackedRows * matrix.num_inputs, kUntouched);
        for (size_t group = 0; group < num_groups; group++) {
            kernels.pack_inputs({.inputs = inputs.data(),
                                 .packed = packed.data(),
                                 .num_rows = inputs.size(),
                                 .num_inputs = matrix.num_inputs,
                                 .first_group = group,
                                 .last_group = group + 1});
        }
    }
    kernels.linear({.matrix = matrix,
                    .inputs = inputs.data(),
                    .packed_inputs = packed.empty() ? nullptr : packed.data(),
                    .output = output.data(),
                    .num_rows = inputs.size(),
                    .output_stride = num_outputs,
                    .first = first,
                    .last = last,
                    .add_to_output = add,
                    .scratch = scratch.data()});
}

} // namespace

TEST(a_row_of_bf16_is_exact) {
    DenseWeights weights = {2048, 32, std::vector<uint16_t>(65536), {}, {}, std::vector<uint16_t>(2048)};
    for (size_t i = 0; i < weights.values.size(); i++) {
        weights.values[i] = static_cast<uint16_t>(i);
    }
    for (const Kernels* const kernels : sets_with_own(&Kernels::dense_row)) {
        for (size_t row = 0; row < weights.num_outputs; row++) {
            std::vector<float> output(32);
            kernels->dense_row(weights.view(), row, output.data());
            for (size_t i = 0; i < output.size(); i++) {
                CHECK_EQUAL(std::bit_cast<uint32_t>(output[i]), static_cast<uint32_t>(row * 32 + i) << 16);
            }
        }
    }
}

TEST(a_row_of_codes_is_exact_for_every_code_and_scale) {
    // Every finite scale, subnormal and negative ones too, with a block of codes; every code comes with every 8th.
    std::vector<uint16_t> scales;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        if ((bits & 0x7C00) != 0x7C00) {
            scales.push_back(static_cast<uint16_t>(bits));
        }
    }
    DenseWeights weights = {scales.size(), 32, {}, std::vector<int8_t>(scales.size() * 32), scales, {}};
    weights.bias.resize(weights.num_outputs);
    for (size_t i = 0; i < weights.codes.size(); i++) {
        weights.codes[i] = static_cast<int8_t>(i);
    }
    for (const Kernels* const kernels : sets_with_own(&Kernels::dense_row)) {
        for (size_t row = 0; row < weights.num_outputs; row++) {
            std::vector<float> output(32);
            kernels->dense_row(weights.view(), row, output.data());
            for (size_t k = 0; k < output.size(); k++) {
                CHECK_EQUAL(double{output[k]}, weights.weight(row, k));
            }
        }
    }
}

TEST(linear_is_a_matrix_product_with_bias) {
    constexpr size_t kNumOutputs = 37;
    for (const Kernels* const kernels : sets_with_own(&Kernels::linear)) {
        for (const auto format : kFormats) {
            for (const size_t num_inputs : {32, 96, 2880}) {
                const DenseWeights weights = format(kNumOutputs, num_inputs);
                for (const size_t num_rows : {1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 17, 48, 50}) {
                    const std::vector<float> input = random_floats(num_rows * num_inputs);
                    const bool with_bias = num_rows % 2 == 1;
                    const bool add = num_rows % 3 == 1;
                    const size_t first = num_rows % 4;
                    const size_t last = kNumOutputs - num_rows % 5;
                    std::vector<float> output(num_rows * kNumOutputs, kUntouched);
                    call_linear(*kernels, weights.view(with_bias), row_pointers(input, num_inputs), first, last, add,
                                kNumOutputs, output);
                    for (size_t row = 0; row < num_rows; row++) {
                        for (size_t i = 0; i < kNumOutputs; i++) {
                            const float actual = output[row * kNumOutputs + i];
                            if (i < first || i >= last) {
                                CHECK_EQUAL(actual, kUntouched);
                                continue;
                            }
                            double expected = (with_bias ? bf16(weights.bias[i]) : 0.0) + (add ? kUntouched : 0.0);
                            double magnitude = std::fabs(expected);
                            for (size_t k = 0; k < num_inputs; k++) {
                                const double term = weights.weight(i, k) * input[row * num_inputs + k];
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
}

TEST(linear_gives_the_same_bits_however_the_work_is_cut) {
    constexpr size_t kNumOutputs = 83;
    for (const auto format : kFormats) {
        for (const size_t num_inputs : {32, 160, 4096}) {
            const DenseWeights weights = format(kNumOutputs, num_inputs);
            const std::vector<float> input = random_floats(85 * num_inputs);
            const std::vector<const float*> rows = row_pointers(input, num_inputs);
            for (const Kernels* const kernels : sets_with_own(&Kernels::linear)) {
                std::vector<float> alone(rows.size() * kNumOutputs);
                for (size_t row = 0; row < rows.size(); row++) {
                    std::vector<float> output(kNumOutputs);
                    for (size_t i = 0; i < kNumOutputs; i++) {
                        call_linear(*kernels, weights.view(), {rows[row]}, i, i + 1, false, kNumOutputs, output);
                    }
                    std::ranges::copy(output, alone.begin() + static_cast<ptrdiff_t>(row * kNumOutputs));
                }
                for (const size_t num_rows : {2, 3, 4, 5, 6, 7, 9, 13, 16, 31, 32, 47, 48, 49, 64, 85}) {
                    const std::vector<const float*> some(rows.begin(), rows.begin() + static_cast<ptrdiff_t>(num_rows));
                    std::vector<float> output(num_rows * kNumOutputs);
                    const size_t cut = num_rows % kNumOutputs;
                    call_linear(*kernels, weights.view(), some, 0, cut, false, kNumOutputs, output);
                    call_linear(*kernels, weights.view(), some, cut, kNumOutputs, false, kNumOutputs, output);
                    CHECK(std::ranges::equal(output, std::span(alone).first(output.size())));
                }
            }
        }
    }
}
