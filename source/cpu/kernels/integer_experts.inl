// Experts with quantized activations: products, biases and SwiGLU.

namespace gptoss::cpu {
namespace {

GPTOSS_INLINE RegisterFloats swiglu_lanes(RegisterFloats gate, RegisterFloats up, float limit) {
    const RegisterFloats highest = broadcast_register(limit);
    gate = gate > highest ? highest : gate;
    up = up > highest ? highest : up;
    up = up < -highest ? -highest : up;
    return gate / (exponential(gate * -1.702f) + 1.0f) * (up + 1.0f);
}

// Of two registers, the lanes that come first and second in each pair.
GPTOSS_INLINE void part_pairs(RegisterFloats low, RegisterFloats high, RegisterFloats& first, RegisterFloats& second) {
#if defined(__AVX512F__)
    first = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    second = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif defined(__AVX2__)
    first = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
    second = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15);
#else
    first = __builtin_shufflevector(low, high, 0, 2, 4, 6);
    second = __builtin_shufflevector(low, high, 1, 3, 5, 7);
#endif
}

// A group of a row's hidden elements.
GPTOSS_INLINE void quantize_hidden(const float* hidden, size_t num_blocks, const QuantizedRows& to, size_t place) {
    to.scales[place] = quantize_group(hidden, num_blocks, CodeOrder::mxfp4, to.codes + place * kGroupInputs);
}

GPTOSS_INLINE void quantize_hidden(const float* hidden, size_t num_blocks, const Int8Rows& to, size_t place) {
    quantize_int8_group(hidden, num_blocks, to.groups[place]);
}

template <class Weights, class RowsOfPart, class Rows>
GPTOSS_INLINE void quantized_gate_up(const QuantizedGateUpArguments<Rows>& arguments) {
    const Weights weights = {{arguments.matrix, arguments.matrix.num_inputs}};
    const uint16_t* const bias = arguments.matrix.bias;
    float* const scratch_hidden = arguments.scratch;
    float* const scratch_sums = scratch_hidden + kIntegerExpertRows * kGroupInputs;
    for_each_part(arguments.num_rows, kIntegerExpertRows, [&](size_t first_row, size_t num_rows) {
        const RowsOfPart rows = {arguments.inputs, arguments.first_row + first_row};
        for (size_t first = arguments.first; first < arguments.last; first += kGroupInputs) {
            const size_t left = arguments.last - first;
            const size_t count = left < kGroupInputs ? left : kGroupInputs;
            for_each_panel(weights, rows, num_rows, 2 * first, 2 * (first + count), scratch_sums,
                           [&](size_t output, size_t num_outputs, size_t row, const float* sums) {
                               float* const hidden = scratch_hidden + row * kGroupInputs + output / 2 - first;
                               for (size_t i = 0; i < num_outputs; i += 2 * kRegisterLanes) {
                                   const RegisterFloats low =
                                       load<RegisterFloats>(sums + i) + load_bf16_register(bias + output + i);
                                   const RegisterFloats high = load<RegisterFloats>(sums + i + kRegisterLanes) +
                                                               load_bf16_register(bias + output + i + kRegisterLanes);
                                   RegisterFloats gate; // gates and ups come in turn
                                   RegisterFloats up;
                                   part_pairs(low, high, gate, up);
                                   store(hidden + i / 2, swiglu_lanes(gate, up, arguments.swiglu_limit));
                               }
                           });
            for (size_t row = 0; row < num_rows; row++) {
                quantize_hidden(
                    scratch_hidden + row * kGroupInputs, count / 32, arguments.hidden,
                    first / kGroupInputs * arguments.hidden.num_rows + arguments.first_row + first_row + row);
            }
        }
    });
}

template <class Weights, class RowsOfPart, class Rows>
GPTOSS_INLINE void quantized_down(const QuantizedDownArguments<Rows>& arguments) {
    const Weights weights = {{arguments.matrix, arguments.matrix.num_inputs}};
    const uint16_t* const bias = arguments.matrix.bias;
    for_each_part(arguments.num_rows, kIntegerExpertRows, [&](size_t first_row, size_t num_rows) {
        const RowsOfPart rows = {arguments.inputs, arguments.first_row + first_row};
        for_each_panel(weights, rows, num_rows, arguments.first, arguments.last, arguments.scratch,
                       [&](size_t output, size_t num_outputs, size_t row, const float* sums) {
                           float* const to = arguments.output + (first_row + row) * arguments.output_stride + output;
                           prefetch_output(to, arguments.output_stride, num_outputs, num_rows - row);
                           for (size_t i = 0; i < num_outputs; i += kRegisterLanes) {
                               store(to + i, load<RegisterFloats>(sums + i) + load_bf16_register(bias + output + i));
                           }
                       });
    });
}

void integer_gate_up(const QuantizedGateUpArguments<QuantizedRows>& arguments) {
    quantized_gate_up<Mxfp4Integers, RowsOfGroups>(arguments);
}

void integer_down(const QuantizedDownArguments<QuantizedRows>& arguments) {
    quantized_down<Mxfp4Integers, RowsOfGroups>(arguments);
}

} // namespace
} // namespace gptoss::cpu
