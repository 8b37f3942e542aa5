// Activations and weights as integers, for the tests of the integer products: what they stand for, and what the
// products are by their definition in cpu/kernels.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "check.h"
#include "cpu/kernels.h"
#include "kernel_test_data.h"

constexpr int32_t kHighestCode = 32639;
constexpr int16_t kUntouchedCode = -32768; // what codes hold before a call: no code

// Inputs whose products are summed as integers: half a group, or all of it where weights are MXFP4.
constexpr size_t sum_inputs(gptoss::cpu::CodeOrder order) {
    return order == gptoss::cpu::CodeOrder::natural ? gptoss::cpu::kGroupInputs / 2 : gptoss::cpu::kGroupInputs;
}

// What their codes may add up to: times the largest weight, 8,192 or, of MXFP4, 12 * 128, it is less than 2^31.
inline int64_t highest_sum_of_codes(gptoss::cpu::CodeOrder order) {
    return (int64_t{1} << 31) / (order == gptoss::cpu::CodeOrder::natural ? 8192 : 12 * 128);
}

inline size_t num_groups(size_t num_inputs) {
    return (num_inputs + gptoss::cpu::kGroupInputs - 1) / gptoss::cpu::kGroupInputs;
}

// Where an input is in the codes of its group.
inline size_t place_of_code(gptoss::cpu::CodeOrder order, size_t input) {
    constexpr size_t kClassOfInput[4] = {0, 2, 1, 3};
    const size_t place = input % gptoss::cpu::kGroupInputs;
    if (order == gptoss::cpu::CodeOrder::natural) {
        return place;
    }
    return kClassOfInput[place % 4] * (gptoss::cpu::kGroupInputs / 4) + place / 8 * 2 + place % 8 / 4;
}

// Rows of quantized activations, in memory that ends where the kernels may not read on.
struct Activations {
    gptoss::cpu::CodeOrder order;
    size_t num_rows;
    size_t num_inputs;
    std::vector<int16_t> codes;
    std::vector<float> scales;

    Activations(gptoss::cpu::CodeOrder order, size_t num_rows, size_t num_inputs)
        : order(order),
          num_rows(num_rows),
          num_inputs(num_inputs),
          codes(num_groups(num_inputs) * num_rows * gptoss::cpu::kGroupInputs, kUntouchedCode),
          scales(num_groups(num_inputs) * num_rows, kUntouched) {}

    // Products only read them, but their arguments have the type of what quantize() writes.
    gptoss::cpu::QuantizedRows view() const {
        return {const_cast<int16_t*>(codes.data()), const_cast<float*>(scales.data()), num_rows};
    }

    size_t group(size_t row, size_t input) const { return input / gptoss::cpu::kGroupInputs * num_rows + row; }

    float scale(size_t row, size_t input) const { return scales[group(row, input)]; }

    int32_t code(size_t row, size_t input) const {
        return codes[group(row, input) * gptoss::cpu::kGroupInputs + place_of_code(order, input)];
    }

    // What an input was rounded to.
    double value(size_t row, size_t input) const { return double{scale(row, input)} * code(row, input); }

    // Some of the rows, in this order.
    Activations gathered(const std::vector<uint32_t>& rows) const {
        Activations result(order, rows.size(), num_inputs);
        for (size_t first = 0; first < num_inputs; first += gptoss::cpu::kGroupInputs) {
            for (size_t row = 0; row < rows.size(); row++) {
                const size_t to = result.group(row, first);
                const size_t from = group(rows[row], first);
                result.scales[to] = scales[from];
                std::copy_n(codes.begin() + static_cast<ptrdiff_t>(from * gptoss::cpu::kGroupInputs),
                            gptoss::cpu::kGroupInputs,
                            result.codes.begin() + static_cast<ptrdiff_t>(to * gptoss::cpu::kGroupInputs));
            }
        }
        return result;
    }
};

inline bool same_bits(const Activations& left, const Activations& right) {
    return left.codes == right.codes && left.scales.size() == right.scales.size() &&
           std::memcmp(left.scales.data(), right.scales.data(), left.scales.size() * sizeof(float)) == 0;
}

inline std::vector<uint32_t> consecutive_rows(size_t first, size_t last) {
    std::vector<uint32_t> rows;
    for (size_t row = first; row < last; row++) {
        rows.push_back(static_cast<uint32_t>(row));
    }
    return rows;
}

inline Activations quantized(const gptoss::cpu::Kernels& kernels,
                             const std::vector<float>& values,
                             size_t num_inputs,
                             gptoss::cpu::CodeOrder order) {
    Activations result(order, values.size() / num_inputs, num_inputs);
    for (size_t row = 0; row < result.num_rows; row++) {
        kernels.quantize({.input = values.data() + row * num_inputs,
                          .output = result.view(),
                          .row = row,
                          .size = num_inputs,
                          .order = order});
    }
    return result;
}

// Activations as they come: a few are much larger than the rest.
inline std::vector<float> random_activations(size_t size) {
    std::vector<float> values = random_floats(size);
    for (size_t i = 0; i < size; i += 1 + random_bits() % 100) {
        values[i] *= 30.0f;
    }
    return values;
}

// Activations whose products are as large as any: all alike; all in one block of a group; all rounded up by almost
// half.
constexpr size_t kNumExtremes = 4;

inline std::vector<float> extreme_activations(size_t extreme, size_t size) {
    std::vector<float> values(size);
    for (size_t i = 0; i < size; i++) {
        switch (extreme) {
            case 0:
                values[i] = 2.0f;
                break;
            case 1:
                values[i] = i / 32 % 4 == 0 ? 2.0f : 0.0f;
                break;
            case 2:
                values[i] = i / 32 % 4 == 3 ? -2.0f : 0.0f;
                break;
            default:
                // 128 of these codes, rounded, are as much as codes in MXFP4's order may add up to.
                values[i] = i % 128 < 85 ? 10922.52f : 10921.52f;
                break;
        }
    }
    return values;
}

// Of exactly the size that the kernels ask for, and without a number in it.
inline std::vector<float> integer_scratch() {
    return std::vector<float>(gptoss::cpu::kIntegerScratchFloats, std::numeric_limits<float>::quiet_NaN());
}

// Weights, value = integer * scale of the group.
struct IntegerWeights {
    size_t num_inputs;
    std::vector<int32_t> integers; // [outputs, num_inputs]
    std::vector<float> scales;     // [outputs, groups]

    IntegerWeights(size_t num_outputs, size_t num_inputs)
        : num_inputs(num_inputs), integers(num_outputs * num_inputs), scales(num_outputs * num_groups(num_inputs)) {}
};

struct Sum {
    double value;
    double magnitude; // of its terms together
};

// The sum of what each sum of integers adds in fp32, so that a product of which there is but one is exact.
inline Sum integer_product(const IntegerWeights& weights, size_t output, const Activations& rows, size_t row) {
    Sum sum = {0.0, 0.0};
    for (size_t first = 0; first < weights.num_inputs; first += sum_inputs(rows.order)) {
        const size_t last = std::min(first + sum_inputs(rows.order), weights.num_inputs);
        int64_t dot = 0;
        for (size_t input = first; input < last; input++) {
            dot += int64_t{weights.integers[output * weights.num_inputs + input]} * rows.code(row, input);
        }
        CHECK(dot == static_cast<int32_t>(dot));
        const float weight_scale =
            weights.scales[output * num_groups(weights.num_inputs) + first / gptoss::cpu::kGroupInputs];
        const float scale = weight_scale * rows.scale(row, first);
        const double term = double{static_cast<float>(dot)} * double{scale};
        sum.value += term;
        sum.magnitude += std::fabs(term);
    }
    return sum;
}

// Inputs that are less than, exactly and more than a group and the four groups whose scale bytes are loaded together,
// and a real width.
constexpr size_t kInputSizes[] = {32, 64, 96, 128, 160, 480, 544, 2880};
// Up to four rows have a form of their own; more fill tiles in every way.
constexpr size_t kRowCounts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 31, 200};
