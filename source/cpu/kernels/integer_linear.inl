// Dense layers with quantized activations.

namespace gptoss::cpu {
namespace {

template <class Source>
GPTOSS_INLINE void integer_linear(const IntegerLinearArguments& arguments, const Source& source) {
    const DenseIntegers<Source> weights = {source, arguments.matrix.num_inputs, arguments.last};
    const uint16_t* const bias = arguments.matrix.bias;
    for_each_part(arguments.num_rows, kIntegerLinearRows, [&](size_t first_row, size_t num_rows) {
        const RowsOfGroups rows = {arguments.inputs, first_row};
        for_each_panel(weights, rows, num_rows, arguments.first, arguments.last, arguments.scratch,
                       [&](size_t output, size_t num_outputs, size_t row, const float* sums) {
                           float* const to = arguments.output + (first_row + row) * arguments.output_stride + output;
                           prefetch_output(to, arguments.output_stride, num_outputs, num_rows - row);
                           size_t i = 0;
                           for (; i + kRegisterLanes <= num_outputs; i += kRegisterLanes) {
                               RegisterFloats value = load<RegisterFloats>(sums + i);
                               if (bias != nullptr) {
                                   value += load_bf16_register(bias + output + i);
                               }
                               store(to + i, arguments.add_to_output ? load<RegisterFloats>(to + i) + value : value);
                           }
                           for (; i < num_outputs; i++) {
                               const float value = bias == nullptr ? sums[i] : sums[i] + bf16_value(bias[output + i]);
                               to[i] = arguments.add_to_output ? to[i] + value : value;
                           }
                       });
    });
}

void integer_linear(const IntegerLinearArguments& arguments) {
    const DenseMatrix& matrix = arguments.matrix;
    if (matrix.values != nullptr) {
        integer_linear(arguments, Bf16Integers{matrix.values});
    } else {
        integer_linear(arguments, CodedIntegers{matrix.codes, matrix.scales});
    }
}

} // namespace
} // namespace gptoss::cpu
