// Dot products in fp32 of weights in any format with rows of activations.

namespace gptoss::cpu {
namespace {

// ---- Weights: how sixteen values at a time are made of what the file holds. Element k of a row is in lane k % 16 of
// group k / 16, where k counts in block order for MXFP4.

struct Bf16Weights {
    const uint16_t* weight; // [outputs, num_inputs]
    size_t num_inputs;

    GPTOSS_INLINE void load_pair(const Bf16Weights& weights, size_t row, size_t k, Floats& first, Floats& second) {
        const uint16_t* const address = weights.weight + row * weights.num_inputs + k;
        first = load_bf16(address);
        second = load_bf16(address + kLanes);
    }
};

struct UnpackedWeights {
    const float* weight; // [rows, num_inputs]
    size_t num_inputs;

    GPTOSS_INLINE void load_pair(const UnpackedWeights& weights, size_t row, size_t k, Floats& first, Floats& second) {
        const float* const address = weights.weight + row * weights.num_inputs + k;
        first = load<Floats>(address);
        second = load<Floats>(address + kLanes);
    }
};

// ---- Dot products

#if defined(__AVX512F__)
constexpr size_t kTileRows = 4; // weight rows: 4 x 4 accumulators, 8 weights and an input in 32 registers
constexpr size_t kTileInputs = 4;
#else
constexpr size_t kTileRows = 2; // 2 x 2 accumulators of two registers each leave room for the rest in 16
constexpr size_t kTileInputs = 2;
#endif
static_assert(kTileRows <= kLinearScratchRows);

// Calls use(row, input, dot) for kRows weight rows from `row` on and kInputs inputs from `input` on.
template <size_t kRows, size_t kInputs, class Weights, class Use>
GPTOSS_INLINE void dot_products(
    const Weights& weights, size_t row, const float* const* inputs, size_t input, const Use& use) {
    Floats sums[kRows][kInputs] = {};
    for (size_t k = 0; k < weights.num_inputs; k += 2 * kLanes) {
        Floats first[kRows];
        Floats second[kRows];
        for (size_t r = 0; r < kRows; r++) {
            Weights::load_pair(weights, row + r, k, first[r], second[r]);
        }
        for (size_t i = 0; i < kInputs; i++) {
            const Floats values = load<Floats>(inputs[input + i] + k);
            for (size_t r = 0; r < kRows; r++) {
                sums[r][i] += first[r] * values;
            }
        }
        for (size_t i = 0; i < kInputs; i++) {
            const Floats values = load<Floats>(inputs[input + i] + k + kLanes);
            for (size_t r = 0; r < kRows; r++) {
                sums[r][i] += second[r] * values;
            }
        }
    }
    for (size_t i = 0; i < kInputs; i++) {
        for (size_t r = 0; r < kRows; r++) {
            use(row + r, input + i, sum_of_lanes(sums[r][i]));
        }
    }
}

// Calls use(row, input, dot) for kRows weight rows from `row` on and every input.
template <size_t kRows, class Weights, class Use>
GPTOSS_INLINE void dot_products_of_inputs(
    const Weights& weights, size_t row, const float* const* inputs, size_t num_inputs, const Use& use) {
    size_t input = 0;
    for (; input + kTileInputs <= num_inputs; input += kTileInputs) {
        dot_products<kRows, kTileInputs>(weights, row, inputs, input, use);
    }
    const size_t left = num_inputs - input;
    if (kTileInputs == 4 && left == 3) {
        dot_products<kRows, 3>(weights, row, inputs, input, use);
    } else if (kTileInputs == 4 && left == 2) {
        dot_products<kRows, 2>(weights, row, inputs, input, use);
    } else if (left == 1) {
        dot_products<kRows, 1>(weights, row, inputs, input, use);
    }
}
static_assert(kTileInputs == 4 || kTileInputs == 2, "all of what can be left over is handled");

template <size_t kRows, class Weights, class Use>
GPTOSS_INLINE void multiply_rows(
    const Weights& weights, size_t row, const float* const* inputs, size_t num_rows, float* scratch, const Use& use) {
    // Unpacking pays once several tiles of inputs share the rows.
    if (num_rows > kTileInputs) {
        for (size_t r = 0; r < kRows; r++) {
            for (size_t k = 0; k < weights.num_inputs; k += 2 * kLanes) {
                Floats first;
                Floats second;
                Weights::load_pair(weights, row + r, k, first, second);
                store(scratch + r * weights.num_inputs + k, first);
                store(scratch + r * weights.num_inputs + k + kLanes, second);
            }
        }
        const UnpackedWeights unpacked = {scratch, weights.num_inputs};
        dot_products_of_inputs<kRows>(unpacked, 0, inputs, num_rows,
                                      [&](size_t r, size_t input, float dot) { use(row + r, input, dot); });
    } else {
        dot_products_of_inputs<kRows>(weights, row, inputs, num_rows, use);
    }
}

// Calls use(row, input, dot) for every weight row in [first, last) and every input.
template <class Weights, class Use>
GPTOSS_INLINE void multiply(const Weights& weights,
                            size_t first,
                            size_t last,
                            const float* const* inputs,
                            size_t num_rows,
                            float* scratch,
                            const Use& use) {
    size_t row = first;
    for (; row + kTileRows <= last; row += kTileRows) {
        multiply_rows<kTileRows>(weights, row, inputs, num_rows, scratch, use);
    }
    for (; row < last; row++) {
        multiply_rows<1>(weights, row, inputs, num_rows, scratch, use);
    }
}

} // namespace
} // namespace gptoss::cpu
