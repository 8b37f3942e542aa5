// Activations as integers, for the integer products.

namespace gptoss::cpu {
namespace {

constexpr float kHighestInt8Code = 127.0f;
constexpr float kHighestCode = 32639.0f; // 127 * 257: its upper and lower byte are both signed (mxfp4_bytes.inl)
// What a group's magnitudes may add up to before they are rounded, each by half, and their sum in fp32 by 2: then no
// sum of products overflows, whose other factors are weights of up to 8,192 or MXFP4 integers of up to 12 * 128.
constexpr float kHighestSum = 262144.0f - 66.0f;
constexpr float kHighestMxfp4Sum = 1398101.0f - 66.0f;

// Lanes are not negative.
GPTOSS_INLINE uint32_t highest_lane(RegisterWords values) {
    const LaneWords quarters = combine_all_quarters((LaneWords)values, HigherLanes{});
    const LaneWords pairs = HigherLanes{}(quarters, quarter_shuffle<2, 3, 0, 1>(quarters));
    return pairs[0] > pairs[1] ? pairs[0] : pairs[1];
}

// 32 integers, one in the low half of each word, to sixteen bits each.
GPTOSS_INLINE void store_natural_order(const uint32_t* words, int16_t* codes) {
#if defined(__AVX512F__)
    for (size_t i = 0; i < 32; i += 16) {
        _mm256_storeu_si256((__m256i*)(codes + i), _mm512_maskz_cvtepi32_epi16(kAllLanes, load<__m512i>(words + i)));
    }
#elif defined(__AVX2__)
    for (size_t i = 0; i < 32; i += 16) {
        const __m256i low = _mm256_and_si256(load<__m256i>(words + i), _mm256_set1_epi32(0xFFFF));
        const __m256i high = _mm256_and_si256(load<__m256i>(words + i + 8), _mm256_set1_epi32(0xFFFF));
        store(codes + i, _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xD8));
    }
#else
    for (size_t i = 0; i < 32; i++) {
        codes[i] = (int16_t)words[i];
    }
#endif
}

// As store_natural_order, to where CodeOrder::mxfp4 puts the integers of a block: each eight inputs are four pairs, one
// of each class.
GPTOSS_INLINE void store_mxfp4_order(const uint32_t* words, size_t block, int16_t* codes) {
    typedef uint32_t FourWords __attribute__((vector_size(16)));
    FourWords pairs[4]; // (0, 4), (1, 5), (2, 6) and (3, 7) of each eight
    for (size_t i = 0; i < 4; i++) {
        pairs[i] = (load<FourWords>(words + 8 * i) & 0xFFFFu) | (load<FourWords>(words + 8 * i + 4) << 16);
    }
    const FourWords low01 = __builtin_shufflevector(pairs[0], pairs[1], 0, 4, 1, 5);
    const FourWords high01 = __builtin_shufflevector(pairs[0], pairs[1], 2, 6, 3, 7);
    const FourWords low23 = __builtin_shufflevector(pairs[2], pairs[3], 0, 4, 1, 5);
    const FourWords high23 = __builtin_shufflevector(pairs[2], pairs[3], 2, 6, 3, 7);
    // Of each four pairs the first, third, second and fourth class.
    int16_t* const to = codes + block * 8;
    store(to, __builtin_shufflevector(low01, low23, 0, 1, 4, 5));
    store(to + 2 * kClassInputs, __builtin_shufflevector(low01, low23, 2, 3, 6, 7));
    store(to + kClassInputs, __builtin_shufflevector(high01, high23, 0, 1, 4, 5));
    store(to + 3 * kClassInputs, __builtin_shufflevector(high01, high23, 2, 3, 6, 7));
}

// Up to 128 values -> codes, zeros behind the last one; returns the scale. A value that is not finite makes the scale
// so: it shows in every output.
GPTOSS_INLINE float quantize_group(const float* input, size_t num_blocks, CodeOrder order, int16_t* codes) {
    // As integers the bits of magnitudes are in the order of the magnitudes, with NaN above infinity.
    RegisterWords highest_lanes = {};
    RegisterFloats sums[kRegisters] = {};
    float highest_sum = 0; // of what is summed as integers
    const size_t sum_blocks = order == CodeOrder::natural ? kSumClasses<CodeOrder::natural> : kGroupBlocks;
    for (size_t block = 0; block < num_blocks; block++) {
        for (size_t i = 0; i < 32; i += kRegisterLanes) {
            const RegisterWords bits = load<RegisterWords>(input + block * 32 + i) & 0x7FFFFFFFu;
            highest_lanes = bits > highest_lanes ? bits : highest_lanes;
            // 1 / 128: the sum of 128 times the highest float is one
            sums[i / kRegisterLanes % kRegisters] += (RegisterFloats)bits * 0.0078125f;
        }
        if ((block + 1) % sum_blocks == 0 || block + 1 == num_blocks) {
            const float sum = sum_of_lanes(sums);
            highest_sum = sum > highest_sum ? sum : highest_sum;
            for (RegisterFloats& lanes : sums) {
                lanes = RegisterFloats{};
            }
        }
    }
    const uint32_t highest_bits = highest_lane(highest_lanes);
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
        alignas(64) uint32_t words[32];
        for (size_t i = 0; i < 32; i += kRegisterLanes) {
            store(words + i, (RegisterWords)(load<RegisterFloats>(input + block * 32 + i) * inverse + kRoundToInteger));
        }
        if (order == CodeOrder::natural) {
            store_natural_order(words, codes + block * 32);
        } else {
            store_mxfp4_order(words, block, codes);
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

// Up to 128 values, as quantize_group() but for blocks of 32 that have a scale each.
GPTOSS_INLINE void quantize_int8_group(const float* input, size_t num_blocks, Int8Group& result) {
    if (num_blocks < kGroupBlocks) {
        memset(&result, 0, sizeof(result));
    }
    for (size_t block = 0; block < num_blocks; block++) {
        RegisterWords highest_lanes = {};
        for (size_t i = 0; i < 32; i += kRegisterLanes) {
            const RegisterWords bits = load<RegisterWords>(input + block * 32 + i) & 0x7FFFFFFFu;
            highest_lanes = bits > highest_lanes ? bits : highest_lanes;
        }
        const uint32_t highest_bits = highest_lane(highest_lanes);
        float highest;
        memcpy(&highest, &highest_bits, sizeof(highest));
        const bool finite = highest <= __FLT_MAX__;
        const bool zero = highest < 1e-30f;
        const float inverse = finite && !zero ? kHighestInt8Code / highest : 0.0f;

        int8_t(&even)[16] = result.codes[0][block];
        int8_t(&odd)[16] = result.codes[1][block];
        alignas(64) uint32_t words[32];
        for (size_t i = 0; i < 32; i += kRegisterLanes) {
            const RegisterFloats values = load<RegisterFloats>(input + block * 32 + i);
            store(words + i, (RegisterWords)(values * inverse + kRoundToInteger));
        }
        int32_t sum = 0;
        for (size_t i = 0; i < 16; i++) {
            even[i] = finite ? (int8_t)words[2 * i] : (int8_t)0;
            odd[i] = finite ? (int8_t)words[2 * i + 1] : (int8_t)0;
            sum += even[i] + odd[i];
        }
        result.scales[block] = !finite ? highest : zero ? 0.0f : highest * (1.0f / kHighestInt8Code);
        result.sums[block] = sum;
        result.starts[block] = start_of_block(even, odd);
    }
}

void quantize_int8(const QuantizeInt8Arguments& arguments) {
    for (size_t first = 0; first < arguments.size; first += kGroupInputs) {
        const size_t left = arguments.size - first;
        const size_t num_blocks = (left < kGroupInputs ? left : kGroupInputs) / 32;
        quantize_int8_group(arguments.input + first, num_blocks,
                            arguments.output.groups[first / kGroupInputs * arguments.output.num_rows + arguments.row]);
    }
}

} // namespace
} // namespace gptoss::cpu
