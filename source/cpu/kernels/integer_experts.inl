// Experts with quantized activations: products, biases and SwiGLU.

namespace gptoss::cpu {
namespace {

GPTOSS_INLINE Floats swiglu_lanes(Floats gate, Floats up, float limit) {
    const Floats highest = broadcast(limit);
    gate = select(gate > highest, highest, gate);
    up = select(up > highest, highest, up);
    up = select(up < -highest, -highest, up);
    return gate / (exponential(gate * -1.702f) + 1.0f) * (up + 1.0f);
}

// Rows that go through together: their sums, and the hidden elements that wait for the rest of their group, share the
// scratch.
constexpr size_t kIntegerExpertRows = kIntegerScratchFloats / (kIntegerPanel + kGroupInputs);

void integer_gate_up(const IntegerGateUpArguments& arguments) {
    const Mxfp4Integers weights = {arguments.matrix, arguments.matrix.num_inputs};
    const uint16_t* const bias = arguments.matrix.bias;
    float* const scratch_hidden = arguments.scratch;
    float* const scratch_sums = scratch_hidden + kIntegerExpertRows * kGroupInputs;
    for_each_part(arguments.num_rows, kIntegerExpertRows, [&](size_t first_row, size_t num_rows) {
        const RowsOfGroups rows = {arguments.inputs, arguments.first_row + first_row};
        for (size_t first = arguments.first; first < arguments.last; first += kGroupInputs) {
            const size_t left = arguments.last - first;
            const size_t count = left < kGroupInputs ? left : kGroupInputs;
            for_each_panel(weights, rows, num_rows, 2 * first, 2 * (first + count), scratch_sums,
                           [&](size_t output, size_t num_outputs, size_t row, const float* sums) {
                               float* const hidden = scratch_hidden + row * kGroupInputs + output / 2 - first;
                               for (size_t i = 0; i < num_outputs; i += 2 * kLanes) {
                                   const Floats low = load<Floats>(sums + i) + load_bf16(bias + output + i);
                                   const Floats high =
                                       load<Floats>(sums + i + kLanes) + load_bf16(bias + output + i + kLanes);
                                   // Gates and ups come in turn.
                                   const Floats gate = __builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16,
                                                                               18, 20, 22, 24, 26, 28, 30);
                                   const Floats up = __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15, 17,
                                                                             19, 21, 23, 25, 27, 29, 31);
                                   store(hidden + i / 2, swiglu_lanes(gate, up, arguments.swiglu_limit));
                               }
                           });
            const QuantizedRows& to = arguments.hidden;
            for (size_t row = 0; row < num_rows; row++) {
                const size_t place = first / kGroupInputs * to.num_rows + arguments.first_row + first_row + row;
                to.scales[place] = quantize_group(scratch_hidden + row * kGroupInputs, count / 32, CodeOrder::mxfp4,
                                                  to.codes + place * kGroupInputs);
            }
        }
    });
}

void integer_down(const IntegerDownArguments& arguments) {
    const Mxfp4Integers weights = {arguments.matrix, arguments.matrix.num_inputs};
    const uint16_t* const bias = arguments.matrix.bias;
    for_each_part(arguments.num_rows, kIntegerExpertRows, [&](size_t first_row, size_t num_rows) {
        const RowsOfGroups rows = {arguments.inputs, arguments.first_row + first_row};
        for_each_panel(weights, rows, num_rows, arguments.first, arguments.last, arguments.scratch,
                       [&](size_t output, size_t num_outputs, size_t row, const float* sums) {
                           float* const to = arguments.output + (first_row + row) * arguments.output_stride + output;
                           prefetch_output(to, arguments.output_stride, num_outputs, num_rows - row);
                           for (size_t i = 0; i < num_outputs; i += kLanes) {
                               store(to + i, load<Floats>(sums + i) + load_bf16(bias + output + i));
                           }
                       });
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
