// Experts with quantized activations: products, biases and SwiGLU of 64 outputs at a time.

namespace gptoss::cpu {
namespace {

GPTOSS_INLINE Floats swiglu_lanes(Floats gate, Floats up, float limit) {
    const Floats highest = broadcast(limit);
    gate = select(gate > highest, highest, gate);
    up = select(up > highest, highest, up);
    up = select(up < -highest, -highest, up);
    return gate / (exponential(gate * -1.702f) + 1.0f) * (up + 1.0f);
}

// Calls use(output, num_outputs, row, sums) for every row and [first, last) cut into panels; sums have their biases.
template <class Use>
GPTOSS_INLINE void for_each_panel(const Mxfp4Matrix& matrix,
                                  const QuantizedBlock* const* inputs,
                                  size_t num_inputs,
                                  size_t first,
                                  size_t last,
                                  const Use& use) {
    alignas(64) float sums[kPanelRows * kPanelOutputs];
    for (size_t output = first; output < last; output += kPanelOutputs) {
        const size_t num_outputs = last - output < kPanelOutputs ? last - output : kPanelOutputs;
        for (size_t input = 0; input < num_inputs; input += kPanelRows) {
            const size_t left = num_inputs - input;
            const size_t num_rows = left < kPanelRows ? left : kPanelRows;
            multiply_panel(matrix, output, num_outputs, inputs + input, num_rows, sums);
            for (size_t row = 0; row < num_rows; row++) {
                float* const row_sums = sums + row * kPanelOutputs;
                for (size_t i = 0; i < num_outputs; i += kLanes) {
                    store(row_sums + i, load<Floats>(row_sums + i) + load_bf16(matrix.bias + output + i));
                }
                use(output, num_outputs, input + row, row_sums);
            }
        }
    }
}

void integer_gate_up(const IntegerGateUpArguments& arguments) {
    for_each_panel(arguments.matrix, arguments.inputs, arguments.num_rows, 2 * arguments.first, 2 * arguments.last,
                   [&](size_t output, size_t, size_t row, const float* sums) {
                       // 32 gates and ups in turn become a block of hidden elements.
                       float gates[32];
                       float ups[32];
                       for (size_t i = 0; i < 32; i++) {
                           gates[i] = sums[2 * i];
                           ups[i] = sums[2 * i + 1];
                       }
                       float hidden[32];
                       for (size_t i = 0; i < 32; i += kLanes) {
                           store(hidden + i,
                                 swiglu_lanes(load<Floats>(gates + i), load<Floats>(ups + i), arguments.swiglu_limit));
                       }
                       quantize_block(hidden, arguments.hidden[row * arguments.hidden_stride + output / 64]);
                   });
}

void integer_down(const IntegerDownArguments& arguments) {
    for_each_panel(arguments.matrix, arguments.inputs, arguments.num_rows, arguments.first, arguments.last,
                   [&](size_t output, size_t num_outputs, size_t row, const float* sums) {
                       memcpy(arguments.output + row * arguments.output_stride + output, sums,
                              num_outputs * sizeof(float));
                   });
}

void add_weighted_rows(const AddWeightedRowsArguments& arguments) {
    for (size_t i = 0; i < arguments.size; i += kLanes) {
        Floats sum = load<Floats>(arguments.output + i);
        for (size_t k = 0; k < arguments.num_rows; k++) {
            sum += load<Floats>(arguments.rows + arguments.indices[k] * arguments.size + i) * arguments.weights[k];
        }
        store(arguments.output + i, sum);
    }
}

} // namespace
} // namespace gptoss::cpu
