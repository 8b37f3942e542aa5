// Dense layers: weights in bf16, or in 8-bit codes with scales.

namespace gptoss::cpu {
namespace {

struct CodedWeights {
    const int8_t* codes;    // [outputs, num_inputs]
    const uint16_t* scales; // fp16 [outputs, num_inputs / 32]
    size_t num_inputs;

    GPTOSS_INLINE void load_pair(const CodedWeights& weights, size_t row, size_t k, Floats& first, Floats& second) {
        const size_t index = row * weights.num_inputs + k;
        const float scale = half_value(weights.scales[index / kCodeBlock]);
        first = load_codes(weights.codes + index) * scale;
        second = load_codes(weights.codes + index + kLanes) * scale;
    }
};

// Calls use(weights) with the matrix in its format.
template <class Use>
GPTOSS_INLINE void with_weights(const DenseMatrix& matrix, const Use& use) {
    if (matrix.values != nullptr) {
        use(Bf16Weights{matrix.values, matrix.num_inputs});
    } else {
        use(CodedWeights{matrix.codes, matrix.scales, matrix.num_inputs});
    }
}

template <class Weights>
GPTOSS_INLINE void unpack_row(const Weights& weights, size_t row, float* output) {
    for (size_t k = 0; k < weights.num_inputs; k += 2 * kLanes) {
        Floats first;
        Floats second;
        Weights::load_pair(weights, row, k, first, second);
        store(output + k, first);
        store(output + k + kLanes, second);
    }
}

void dense_row(const DenseMatrix& matrix, size_t row, float* output) {
    with_weights(matrix, [&](const auto& weights) { unpack_row(weights, row, output); });
}

void linear(const LinearArguments& arguments) {
    const uint16_t* const bias = arguments.matrix.bias;
    const auto use = [&](size_t row, size_t input, float dot) {
        float* const output = arguments.output + input * arguments.output_stride + row;
        const float value = bias == nullptr ? dot : dot + bf16_value(bias[row]);
        *output = arguments.add_to_output ? *output + value : value;
    };
    with_weights(arguments.matrix, [&](const auto& weights) {
        if (arguments.packed_inputs != nullptr) {
            multiply_packed(weights, arguments.first, arguments.last, arguments.packed_inputs, arguments.num_rows,
                            arguments.scratch, use);
        } else {
            multiply(weights, arguments.first, arguments.last, arguments.inputs, arguments.num_rows, arguments.scratch,
                     use);
        }
    });
}

} // namespace
} // namespace gptoss::cpu
