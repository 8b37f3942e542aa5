// Experts with activations of 8 bits, for fast precision.

namespace gptoss::cpu {
namespace {

void int8_gate_up(const QuantizedGateUpArguments<Int8Rows>& arguments) {
    quantized_gate_up<Mxfp4Int8, RowsOfInt8>(arguments);
}

void int8_down(const QuantizedDownArguments<Int8Rows>& arguments) {
    quantized_down<Mxfp4Int8, RowsOfInt8>(arguments);
}

} // namespace
} // namespace gptoss::cpu
