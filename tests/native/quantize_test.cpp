// Activations as integers, with every instruction set that this processor runs.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "check.h"
#include "cpu/instruction_set.h"
#include "cpu/kernels.h"
#include "integer_test_data.h"

using namespace gptoss::cpu;

namespace {

constexpr CodeOrder kOrders[] = {CodeOrder::natural, CodeOrder::mxfp4};

// Of what is summed as integers from `first` on.
int64_t sum_of_codes(const Activations& row, size_t first) {
    int64_t sum = 0;
    for (size_t i = first; i < std::min(first + sum_inputs(row.order), row.num_inputs); i++) {
        sum += std::abs(row.code(0, i));
    }
    return sum;
}

} // namespace

TEST(mxfp4_order_is_that_of_the_header) {
    // "Of the inputs 8i and 8i + 4, 8i + 2 and 8i + 6, 8i + 1 and 8i + 5, 8i + 3 and 8i + 7."
    std::vector<size_t> inputs;
    for (const size_t first : {0, 2, 1, 3}) {
        for (size_t eight = 0; eight < kGroupInputs; eight += 8) {
            inputs.push_back(eight + first);
            inputs.push_back(eight + first + 4);
        }
    }
    for (size_t place = 0; place < kGroupInputs; place++) {
        CHECK_EQUAL(place_of_code(CodeOrder::mxfp4, inputs[place]), place);
    }
}

TEST(quantized_values_are_within_half_a_step) {
    for (const Kernels* const kernels : available_kernels()) {
        for (const CodeOrder order : kOrders) {
            for (const size_t size : kInputSizes) {
                for (const float deviation : {1e-20f, 1.0f, 1e20f}) {
                    std::vector<float> values = random_floats(size, deviation);
                    values[0] = 0.0f;
                    const Activations row = quantized(*kernels, values, size, order);
                    for (size_t i = 0; i < size; i++) {
                        // The scale and its inverse are rounded to fp32.
                        CHECK_CLOSE(row.value(0, i), values[i], 0.5001 * row.scale(0, i) + 2e-7 * std::fabs(values[i]));
                    }
                }
            }
        }
    }
}

TEST(a_groups_codes_are_as_large_as_its_products_allow) {
    for (const Kernels* const kernels : available_kernels()) {
        for (const CodeOrder order : kOrders) {
            for (size_t trial = 0; trial < 100 + kNumExtremes; trial++) {
                std::vector<float> values =
                    trial < kNumExtremes ? extreme_activations(trial, 160) : random_activations(160);
                if (trial % 3 == 2) {
                    values[random_bits() % 160] = 300.0f;
                }
                const Activations row = quantized(*kernels, values, 160, order);
                for (size_t first = 0; first < 160; first += kGroupInputs) {
                    int32_t highest = 0;
                    for (size_t i = first; i < std::min(first + kGroupInputs, row.num_inputs); i++) {
                        highest = std::max(highest, std::abs(row.code(0, i)));
                    }
                    int64_t highest_sum = 0;
                    for (size_t i = first; i < first + kGroupInputs; i += sum_inputs(order)) {
                        highest_sum = std::max(highest_sum, sum_of_codes(row, i));
                    }
                    CHECK(highest_sum <= highest_sum_of_codes(order));
                    // Half of every code is kept for rounding, and the codes may be rounded down by as much.
                    const bool enough = highest_sum > highest_sum_of_codes(order) - 64 - 64 - 4;
                    CHECK(enough || highest == 0 || highest == kHighestCode);
                }
            }
        }
    }
}

TEST(a_value_far_above_its_group_has_the_highest_code) {
    for (const Kernels* const kernels : available_kernels()) {
        for (const CodeOrder order : kOrders) {
            for (const size_t highest : {0, 31, 32, 69, 96, 127}) { // anywhere in the group
                for (const float sign : {1.0f, -1.0f}) {
                    std::vector<float> values = random_floats(kGroupInputs);
                    values[highest] = sign * 100.0f;
                    const Activations row = quantized(*kernels, values, values.size(), order);
                    CHECK_EQUAL(row.code(0, highest), static_cast<int32_t>(sign) * kHighestCode);
                }
            }
        }
    }
}

TEST(codes_are_rounded_to_nearest_even) {
    // The scale is 1 for a highest value of 32639.
    std::vector<float> values = {0.5f,  1.5f,   2.5f,    -0.5f,    -1.5f,    -2.5f,   0.49f,
                                 0.51f, -0.51f, 8190.5f, -8189.5f, 32638.5f, 32639.0f};
    const std::vector<int32_t> codes = {0, 2, 2, 0, -2, -2, 0, 1, -1, 8190, -8190, 32638, 32639};
    values.resize(32);
    for (const Kernels* const kernels : available_kernels()) {
        for (const CodeOrder order : kOrders) {
            const Activations row = quantized(*kernels, values, 32, order);
            CHECK_EQUAL(row.scale(0, 0), 1.0f);
            for (size_t i = 0; i < codes.size(); i++) {
                CHECK_EQUAL(row.code(0, i), codes[i]);
            }
        }
    }
}

TEST(there_are_zeros_behind_the_last_input) {
    for (const Kernels* const kernels : available_kernels()) {
        for (const CodeOrder order : kOrders) {
            for (const size_t size : {32, 64, 96, 160, 2880}) {
                const Activations row = quantized(*kernels, random_floats(size), size, order);
                for (size_t i = size; i < num_groups(size) * kGroupInputs; i++) {
                    CHECK_EQUAL(row.code(0, i), 0);
                }
            }
        }
    }
}

TEST(one_row_is_written) {
    for (const Kernels* const kernels : available_kernels()) {
        for (const CodeOrder order : kOrders) {
            const std::vector<float> values = random_floats(544);
            const Activations alone = quantized(*kernels, values, 544, order);
            const Activations untouched(order, 1, 544);
            for (uint32_t row = 0; row < 3; row++) {
                Activations rows(order, 3, 544);
                kernels->quantize(
                    {.input = values.data(), .output = rows.view(), .row = row, .size = 544, .order = order});
                for (uint32_t i = 0; i < 3; i++) {
                    CHECK(same_bits(rows.gathered({i}), i == row ? alone : untouched));
                }
            }
        }
    }
}

TEST(a_group_of_zeros_stays_zero) {
    for (const Kernels* const kernels : available_kernels()) {
        for (const CodeOrder order : kOrders) {
            for (const float value : {0.0f, -0.0f, 1e-40f, 1e-31f}) {
                std::vector<float> values = random_floats(256);
                std::fill(values.begin() + 128, values.end(), value);
                const Activations row = quantized(*kernels, values, 256, order);
                CHECK(row.scale(0, 127) > 0.0f);
                CHECK_EQUAL(row.scale(0, 128), 0.0f);
                for (size_t i = 128; i < 256; i++) {
                    CHECK_EQUAL(row.code(0, i), 0);
                }
            }
        }
    }
}

TEST(a_value_that_is_not_finite_is_in_the_scale) {
    // The codes beside it are zeros: an infinity takes no number's place.
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    for (const Kernels* const kernels : available_kernels()) {
        for (const CodeOrder order : kOrders) {
            for (const float value : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
                for (const size_t place : {0, 100, 127, 200, 287}) {
                    std::vector<float> values = random_floats(288);
                    values[place] = value;
                    const Activations row = quantized(*kernels, values, 288, order);
                    for (size_t i = 0; i < 288; i++) {
                        const bool same_group = i / kGroupInputs == place / kGroupInputs;
                        CHECK_EQUAL(std::isfinite(row.scale(0, i)), !same_group);
                        CHECK(!same_group || row.code(0, i) == 0);
                    }
                }
            }
        }
    }
}
