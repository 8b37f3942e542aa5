// Experts: MXFP4 weights.

namespace gptoss::cpu {
namespace {

// 2^(byte - 14 - 127) for every stored scale byte. Bytes up to 14 give fp32 subnormals.
struct StoredScales {
    float values[256];
    constexpr StoredScales() : values() {
        for (int byte = 0; byte < 256; byte++) {
            double value = 1;
            for (int exponent = byte - 14 - 127; exponent > 0; exponent--) {
                value *= 2;
            }
            for (int exponent = byte - 14 - 127; exponent < 0; exponent++) {
                value *= 0.5;
            }
            values[byte] = (float)value;
        }
    }
};
constexpr StoredScales kStoredScales;

alignas(64) constexpr float kMxfp4Values[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                                -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

// The values of sixteen 4-bit codes, one in each lane.
GPTOSS_INLINE Floats mxfp4_values(Words codes) {
#if defined(__AVX512F__)
    return (Floats)_mm512_maskz_permutexvar_ps(kAllLanes, (__m512i)codes, _mm512_load_ps(kMxfp4Values));
#elif defined(__AVX2__)
    const __m256 table = _mm256_load_ps(kMxfp4Values);
    const Words signs = (codes & 8u) << 28;
    __m256i halves[2];
    memcpy(halves, &codes, sizeof(halves));
    // The permutation looks at the three low bits of an index: the magnitude.
    const Floats magnitudes = join({(RegisterFloats)_mm256_permutevar8x32_ps(table, halves[0]),
                                    (RegisterFloats)_mm256_permutevar8x32_ps(table, halves[1])});
    return (Floats)((Words)magnitudes | signs);
#else
    Floats values;
    for (size_t lane = 0; lane < kLanes; lane++) {
        values[lane] = kMxfp4Values[codes[lane]];
    }
    return values;
#endif
}

struct Mxfp4Weights {
    const uint8_t* blocks; // [outputs, num_inputs / 32, 16]
    const uint8_t* scales; // [outputs, num_inputs / 32]
    size_t num_inputs;

    GPTOSS_INLINE void load_pair(const Mxfp4Weights& weights, size_t row, size_t k, Floats& first, Floats& second) {
        const size_t block = row * (weights.num_inputs / kMxfp4Block) + k / kMxfp4Block;
        const Words bytes = __builtin_convertvector(load<Bytes>(weights.blocks + block * 16), Words);
        const float scale = kStoredScales.values[weights.scales[block]];
        first = mxfp4_values(bytes & 15u) * scale;
        second = mxfp4_values(bytes >> 4) * scale;
    }
};

GPTOSS_INLINE size_t block_order(size_t index) {
    return index / 32 * 32 + index % 2 * 16 + index % 32 / 2;
}

GPTOSS_INLINE float swiglu(float gate, float up, float limit) {
    gate = gate > limit ? limit : gate;
    up = up > limit ? limit : up < -limit ? -limit : up;
    const float sigmoid = 1.0f / (1.0f + exponential(broadcast_register(-1.702f * gate))[0]);
    return gate * sigmoid * (up + 1.0f);
}

void expert_gate_up(const ExpertGateUpArguments& arguments) {
    const Mxfp4Matrix& matrix = arguments.matrix;
    const Mxfp4Weights weights = {matrix.blocks, matrix.scales, matrix.num_inputs};
    // Rows 2i and 2i + 1 are the gate and up of one element. The gate waits in the element's place for its up: rows
    // come in ascending order for every input.
    multiply(weights, 2 * arguments.first, 2 * arguments.last, arguments.inputs, arguments.num_rows, arguments.scratch,
             [&](size_t row, size_t input, float dot) {
                 float* const hidden = arguments.hidden + input * arguments.hidden_stride + block_order(row / 2);
                 const float value = dot + bf16_value(matrix.bias[row]);
                 *hidden = row % 2 == 0 ? value : swiglu(*hidden, value, arguments.swiglu_limit);
             });
}

void expert_down(const ExpertDownArguments& arguments) {
    const Mxfp4Matrix& matrix = arguments.matrix;
    const Mxfp4Weights weights = {matrix.blocks, matrix.scales, matrix.num_inputs};
    multiply(weights, arguments.first, arguments.last, arguments.inputs, arguments.num_rows, arguments.scratch,
             [&](size_t row, size_t input, float dot) {
                 arguments.output[input * arguments.output_stride + row] = dot + bf16_value(matrix.bias[row]);
             });
}

} // namespace
} // namespace gptoss::cpu
