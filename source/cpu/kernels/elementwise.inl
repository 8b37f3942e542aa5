// Element by element, and a row at a time.

namespace gptoss::cpu {
namespace {

void rms_norm(const float* input, const uint16_t* gain, float* output, size_t size, float epsilon) {
    Floats squares = {};
    for (size_t i = 0; i < size; i += kLanes) {
        const Floats value = load<Floats>(input + i);
        squares += value * value;
    }
    const float scale = 1.0f / __builtin_sqrtf(sum_of_lanes(squares) / (float)size + epsilon);
    for (size_t i = 0; i < size; i += kLanes) {
        store(output + i, load<Floats>(input + i) * scale * load_bf16(gain + i));
    }
}

void to_block_order(const float* input, float* output, size_t size) {
    for (size_t i = 0; i < size; i++) {
        output[block_order(i)] = input[i];
    }
}

void add_weighted_rows(const AddWeightedRowsArguments& arguments) {
    for (size_t i = 0; i < arguments.size; i += kRegisterLanes) {
        RegisterFloats sum = load<RegisterFloats>(arguments.output + i);
        for (size_t k = 0; k < arguments.num_rows; k++) {
            sum +=
                load<RegisterFloats>(arguments.rows + arguments.indices[k] * arguments.size + i) * arguments.weights[k];
        }
        store(arguments.output + i, sum);
    }
}

} // namespace
} // namespace gptoss::cpu
