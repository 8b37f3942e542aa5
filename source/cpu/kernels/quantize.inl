// Activations as integers, for the integer products.

namespace gptoss::cpu {
namespace {

constexpr float kHighestCode = 32767.0f;
// What a group's magnitudes may add up to before they are rounded, each by half, and their sum in fp32 by 2: then no
// sum of products overflows, whose other factors are weights of up to 8,192 or MXFP4 integers of up to 12 * 128.
constexpr float kHighestSum = 262144.0f - 66.0f;
constexpr float kHighestMxfp4Sum = 1398101.0f - 66.0f;

GPTOSS_INLINE int32_t highest_lane(Ints values) {
    typedef int32_t HalfOfInts __attribute__((vector_size(32)));
    typedef int32_t QuarterOfInts __attribute__((vector_size(16)));
    const HalfOfInts low_half = __builtin_shufflevector(values, values, 0, 1, 2, 3, 4, 5, 6, 7);
    const HalfOfInts high_half = __builtin_shufflevector(values, values, 8, 9, 10, 11, 12, 13, 14, 15);
    const HalfOfInts half = low_half > high_half ? low_half : high_half;
    const QuarterOfInts low = __builtin_shufflevector(half, half, 0, 1, 2, 3);
    const QuarterOfInts high = __builtin_shufflevector(half, half, 4, 5, 6, 7);
    const QuarterOfInts quarter = low > high ? low : high;
    const int32_t even = quarter[0] > quarter[2] ? quarter[0] : quarter[2];
    const int32_t odd = quarter[1] > quarter[3] ? quarter[1] : quarter[3];
    return even > odd ? even : odd;
}

// The integers of a block, and where CodeOrder::mxfp4 puts them: each eight inputs are four pairs, one of each class.
GPTOSS_INLINE void store_mxfp4_order(Words low, Words high, size_t block, int16_t* codes) {
    // Pairs (0, 4), (1, 5), (2, 6) and (3, 7) of each eight, as words.
    const Words even = __builtin_shufflevector(low, high, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    const Words odd = __builtin_shufflevector(low, high, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    const Words pairs = (even & 0xFFFFu) | (odd << 16);
    // Of each four words the first, third, second and fourth class.
    const Words classes = __builtin_shufflevector(pairs, pairs, 0, 4, 8, 12, 2, 6, 10, 14, 1, 5, 9, 13, 3, 7, 11, 15);
    uint32_t words[16];
    store(words, classes);
    for (size_t c = 0; c < 4; c++) {
        memcpy(codes + c * kClassInputs + block * 8, words + 4 * c, 16);
    }
}

// Up to 128 values -> codes, zeros behind the last one; returns the scale. A value that is not finite makes the scale
// so: it shows in every output.
GPTOSS_INLINE float quantize_group(const float* input, size_t num_blocks, CodeOrder order, int16_t* codes) {
    // As integers the bits of magnitudes are in the order of the magnitudes, with NaN above infinity.
    Ints highest_lanes = {};
    Floats sums = {};
    float highest_sum = 0; // of what is summed as integers
    const size_t sum_blocks = order == CodeOrder::natural ? kSumClasses<CodeOrder::natural> : kGroupBlocks;
    for (size_t block = 0; block < num_blocks; block++) {
        for (size_t half = 0; half < 2; half++) {
            const Ints bits = load<Ints>(input + block * 32 + half * kLanes) & 0x7FFFFFFF;
            highest_lanes = bits > highest_lanes ? bits : highest_lanes;
            sums += (Floats)bits * 0.0078125f; // 1 / 128: the sum of 128 times the highest float is one
        }
        if ((block + 1) % sum_blocks == 0 || block + 1 == num_blocks) {
            const float sum = sum_of_lanes(sums);
            highest_sum = sum > highest_sum ? sum : highest_sum;
            sums = Floats{};
        }
    }
    const int32_t highest_bits = highest_lane(highest_lanes);
    float highest;
    memcpy(&highest, &highest_bits, sizeof(highest));

    if (num_blocks < kGroupBlocks || !(highest <= __FLT_MAX__)) {
        memset(codes, 0, kGroupInputs * sizeof(int16_t));
    }
    if (!(highest <= __FLT_MAX__)) {
        return highest; // a sum of zeros times such a scale is not a number
    }
    // 1 / 0 times 0 would not be a number; nor are the smallest magnitudes worth a subnormal scale.
    const bool zero = highest < 1e-30f;
    const float by_highest = highest * (1.0f / kHighestCode);
    const float by_sum = highest_sum * (128.0f / (order == CodeOrder::natural ? kHighestSum : kHighestMxfp4Sum));
    const float scale = by_highest > by_sum ? by_highest : by_sum;
    const float inverse = zero ? 0.0f : 1.0f / scale;
    for (size_t block = 0; block < num_blocks; block++) {
        const Words low = (Words)(load<Floats>(input + block * 32) * inverse + kRoundToInteger);
        const Words high = (Words)(load<Floats>(input + block * 32 + kLanes) * inverse + kRoundToInteger);
        if (order == CodeOrder::natural) {
            store(codes + block * 32, __builtin_convertvector(low, Shorts));
            store(codes + block * 32 + kLanes, __builtin_convertvector(high, Shorts));
        } else {
            store_mxfp4_order(low, high, block, codes);
        }
    }
    return zero ? 0.0f : scale;
}

void quantize(const QuantizeArguments& arguments) {
    const QuantizedRows& rows = arguments.output;
    for (size_t first = 0; first < arguments.size; first += kGroupInputs) {
        const size_t left = arguments.size - first;
        const size_t num_blocks = (left < kGroupInputs ? left : kGroupInputs) / 32;
        const size_t place = first / kGroupInputs * rows.num_rows + arguments.row;
        rows.scales[place] =
            quantize_group(arguments.input + first, num_blocks, arguments.order, rows.codes + place * kGroupInputs);
    }
}

} // namespace
} // namespace gptoss::cpu
