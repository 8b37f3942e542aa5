// Activations as integers, for the integer products.

namespace gptoss::cpu {
namespace {

constexpr float kHighestCode = 32767.0f;

// 32 values -> their block. A value that is not finite makes the whole block so: it shows in every output.
GPTOSS_INLINE void quantize_block(const float* input, QuantizedBlock& block) {
    const Floats first = load<Floats>(input);
    const Floats second = load<Floats>(input + kLanes);
    // As integers the bits of magnitudes are in the order of the magnitudes, with NaN above infinity.
    const Ints first_bits = (Ints)first & 0x7FFFFFFF;
    const Ints second_bits = (Ints)second & 0x7FFFFFFF;
    const Ints highest_lanes = (Ints)select(first_bits > second_bits, (Floats)first_bits, (Floats)second_bits);
    int32_t highest_bits = highest_lanes[0];
    for (size_t lane = 1; lane < kLanes; lane++) {
        highest_bits = highest_lanes[lane] > highest_bits ? highest_lanes[lane] : highest_bits;
    }
    float highest;
    memcpy(&highest, &highest_bits, sizeof(highest));

    if (!(highest <= __FLT_MAX__)) {
        memset(&block, 0, sizeof(block)); // a sum of zeros times such a scale is not a number
        block.scale = highest;
        return;
    }
    // 1 / 0 times 0 would not be a number; nor are the smallest magnitudes worth a subnormal scale.
    const bool zero = highest < 1e-30f;
    const float inverse = zero ? 0.0f : kHighestCode / highest;
    block.scale = zero ? 0.0f : highest * (1.0f / kHighestCode);
    // Adding 1.5 * 2^23 rounds to an integer, to the nearest even one on a tie, that is in the low bits.
    Ints codes[2];
    codes[0] = (Ints)(first * inverse + 12582912.0f) - 0x4B400000;
    codes[1] = (Ints)(second * inverse + 12582912.0f) - 0x4B400000;
    block.offset = -12 * sum_of_lanes(codes[0] + codes[1]);
    int16_t shorts[32];
    store(shorts, __builtin_convertvector(codes[0], SignedShorts));
    store(shorts + kLanes, __builtin_convertvector(codes[1], SignedShorts));
    for (size_t i = 0; i < 32; i += 8) {
        typedef int16_t EightShorts __attribute__((vector_size(16)));
        const EightShorts eight = load<EightShorts>(shorts + i);
        store(block.codes + i, __builtin_shufflevector(eight, eight, 0, 4, 2, 6, 1, 5, 3, 7));
    }
}

void quantize(const float* input, QuantizedBlock* output, size_t size) {
    for (size_t i = 0; i < size; i += kMxfp4Block) {
        quantize_block(input + i, output[i / kMxfp4Block]);
    }
}

} // namespace
} // namespace gptoss::cpu
