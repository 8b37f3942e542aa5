// Dense layers: bf16 weights.

namespace gptoss::cpu {
namespace {

void linear(const LinearArguments& arguments) {
    const Bf16Weights weights = {arguments.weight, arguments.num_inputs};
    multiply(weights, arguments.first, arguments.last, arguments.inputs, arguments.num_rows, arguments.scratch,
             [&](size_t row, size_t input, float dot) {
                 float* const output = arguments.output + input * arguments.output_stride + row;
                 const float value = arguments.bias == nullptr ? dot : dot + bf16_value(arguments.bias[row]);
                 *output = arguments.add_to_output ? *output + value : value;
             });
}

} // namespace
} // namespace gptoss::cpu
