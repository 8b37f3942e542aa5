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

// Some rows whose scales have been made fp32: as a broadcast out of memory a scale then costs nothing.
struct CodedRows {
    const int8_t* codes; // [rows, num_inputs]
    const float* scales; // [rows, num_inputs / 32]
    size_t num_inputs;

    GPTOSS_INLINE void load_pair(const CodedRows& weights, size_t row, size_t k, Floats& first, Floats& second) {
        const size_t index = row * weights.num_inputs + k;
        // The rows of the next tile: a row of codes is too short for the processor to see where it goes on.
        __builtin_prefetch(weights.codes + index + kTileRows * weights.num_inputs);
        const Floats scale = broadcast(weights.scales[index / kCodeBlock]);
        first = load_codes(weights.codes + index) * scale;
        second = load_codes(weights.codes + index + kLanes) * scale;
    }
};

GPTOSS_INLINE void unpack_halves(const uint16_t* input, float* output, size_t size) {
    size_t i = 0;
    for (; i + kLanes <= size; i += kLanes) {
        store(output + i, load_half(input + i));
    }
    for (; i < size; i++) {
        output[i] = half_value(input[i]);
    }
}

template <class Use>
GPTOSS_INLINE void multiply_few(const Bf16Weights& weights, const LinearArguments& arguments, const Use& use) {
    multiply(weights, arguments.first, arguments.last, arguments.inputs, arguments.num_rows, arguments.scratch, use);
}

template <class Use>
GPTOSS_INLINE void multiply_few(const CodedWeights& weights, const LinearArguments& arguments, const Use& use) {
    constexpr size_t kRows = kLinearScratchRows / 2;
    const size_t num_inputs = weights.num_inputs;
    float* const scales = arguments.scratch + kRows * num_inputs; // multiply() needs the first rows of the scratch
    for (size_t row = arguments.first; row < arguments.last; row += kRows) {
        const size_t num_rows = arguments.last - row < kRows ? arguments.last - row : kRows;
        unpack_halves(weights.scales + row * num_inputs / kCodeBlock, scales, num_rows * num_inputs / kCodeBlock);
        const CodedRows rows = {weights.codes + row * num_inputs, scales, num_inputs};
        multiply(rows, 0, num_rows, arguments.inputs, arguments.num_rows, arguments.scratch,
                 [&](size_t r, size_t input, float dot) { use(row + r, input, dot); });
    }
}

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
            multiply_few(weights, arguments, use);
        }
    });
}

} // namespace
} // namespace gptoss::cpu
