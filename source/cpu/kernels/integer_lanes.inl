// Registers of integers, for the integer products: sixteen, eight or four outputs with a pair of inputs each.

namespace gptoss::cpu {
namespace {

constexpr size_t kOutputLanes = kRegisterLanes; // outputs in a register

typedef RegisterFloats LaneFloats;
typedef RegisterInts LaneInts;
typedef RegisterWords LaneWords;
typedef uint16_t LaneShorts __attribute__((vector_size(4 * kOutputLanes))); // two inputs of each output
typedef int16_t SignedLaneShorts __attribute__((vector_size(4 * kOutputLanes)));

constexpr size_t kGroupBlocks = kGroupInputs / 32;
constexpr size_t kClassInputs = kGroupInputs / 4;
// Classes of a group whose products make one sum of integers (kernels.h).
template <CodeOrder kOrder>
constexpr size_t kSumClasses = kOrder == CodeOrder::mxfp4 ? 4 : 2;
constexpr size_t kRegisterInputs = 2 * kOutputLanes; // 16-bit integers in a register
constexpr size_t kClassRegisters = kClassInputs / kRegisterInputs;
// Outputs whose weights are unpacked together: 16 KB of a group, which stay in the first-level cache for all rows.
constexpr size_t kIntegerPanel = 64;
constexpr size_t kCacheLine = 64;
// How far ahead of their use rows of weights are prefetched, and behind a row's last group those of the next outputs.
constexpr size_t kGroupsAhead = 6;

// columns[i] has bytes 4i to 4i + 3 of sixteen bytes of each row; rows are `stride` bytes apart.
GPTOSS_INLINE void load_columns(const uint8_t* address, size_t stride, LaneWords (&columns)[4]) {
#if defined(__AVX512F__)
    LaneWords rows[4]; // rows[j] holds rows j, j + 4, j + 8 and j + 12
    for (size_t j = 0; j < 4; j++) {
        const uint8_t* const row = address + j * stride;
        __m512i four = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i*)row));
        four = _mm512_maskz_inserti32x4(kAllLanes, four, _mm_loadu_si128((const __m128i*)(row + 4 * stride)), 1);
        four = _mm512_maskz_inserti32x4(kAllLanes, four, _mm_loadu_si128((const __m128i*)(row + 8 * stride)), 2);
        four = _mm512_maskz_inserti32x4(kAllLanes, four, _mm_loadu_si128((const __m128i*)(row + 12 * stride)), 3);
        rows[j] = (LaneWords)four;
    }
    const __m512i low01 = _mm512_maskz_unpacklo_epi32(kAllLanes, (__m512i)rows[0], (__m512i)rows[1]);
    const __m512i high01 = _mm512_maskz_unpackhi_epi32(kAllLanes, (__m512i)rows[0], (__m512i)rows[1]);
    const __m512i low23 = _mm512_maskz_unpacklo_epi32(kAllLanes, (__m512i)rows[2], (__m512i)rows[3]);
    const __m512i high23 = _mm512_maskz_unpackhi_epi32(kAllLanes, (__m512i)rows[2], (__m512i)rows[3]);
    constexpr __mmask8 kAllHalves = 0xFF;
    columns[0] = (LaneWords)_mm512_maskz_unpacklo_epi64(kAllHalves, low01, low23);
    columns[1] = (LaneWords)_mm512_maskz_unpackhi_epi64(kAllHalves, low01, low23);
    columns[2] = (LaneWords)_mm512_maskz_unpacklo_epi64(kAllHalves, high01, high23);
    columns[3] = (LaneWords)_mm512_maskz_unpackhi_epi64(kAllHalves, high01, high23);
#elif defined(__AVX2__)
    __m256i rows[4]; // rows[j] holds rows j and j + 4
    for (size_t j = 0; j < 4; j++) {
        rows[j] =
            _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)(address + j * stride))),
                                    _mm_loadu_si128((const __m128i*)(address + (j + 4) * stride)), 1);
    }
    const __m256i low01 = _mm256_unpacklo_epi32(rows[0], rows[1]);
    const __m256i high01 = _mm256_unpackhi_epi32(rows[0], rows[1]);
    const __m256i low23 = _mm256_unpacklo_epi32(rows[2], rows[3]);
    const __m256i high23 = _mm256_unpackhi_epi32(rows[2], rows[3]);
    columns[0] = (LaneWords)_mm256_unpacklo_epi64(low01, low23);
    columns[1] = (LaneWords)_mm256_unpackhi_epi64(low01, low23);
    columns[2] = (LaneWords)_mm256_unpacklo_epi64(high01, high23);
    columns[3] = (LaneWords)_mm256_unpackhi_epi64(high01, high23);
#else
    uint32_t words[4][kOutputLanes];
    for (size_t lane = 0; lane < kOutputLanes; lane++) {
        for (size_t i = 0; i < 4; i++) {
            memcpy(&words[i][lane], address + lane * stride + 4 * i, sizeof(uint32_t));
        }
    }
    for (size_t i = 0; i < 4; i++) {
        columns[i] = load<LaneWords>(words[i]);
    }
#endif
}

GPTOSS_INLINE bool any_lane(LaneWords values) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)values, (__m512i)values) != 0;
#elif defined(__AVX2__)
    return _mm256_testz_si256((__m256i)values, (__m256i)values) == 0;
#else
    uint32_t any = 0;
    for (size_t lane = 0; lane < kOutputLanes; lane++) {
        any |= values[lane];
    }
    return any != 0;
#endif
}

// (codes * factors + 2^14) / 2^15, rounded down; as signed numbers, of which not both are -2^15.
GPTOSS_INLINE LaneShorts scale_codes(LaneShorts codes, LaneShorts factors) {
#if defined(__AVX512F__)
    return (LaneShorts)_mm512_mulhrs_epi16((__m512i)codes, (__m512i)factors);
#elif defined(__AVX2__)
    return (LaneShorts)_mm256_mulhrs_epi16((__m256i)codes, (__m256i)factors);
#elif defined(GPTOSS_NEON)
    return (LaneShorts)vqrdmulhq_s16((int16x8_t)codes, (int16x8_t)factors);
#else
    int16_t left[2 * kOutputLanes];
    int16_t right[2 * kOutputLanes];
    store(left, codes);
    store(right, factors);
    for (size_t i = 0; i < 2 * kOutputLanes; i++) {
        left[i] = (int16_t)((left[i] * right[i] + 0x4000) >> 15);
    }
    return load<LaneShorts>(left);
#endif
}

// The even (kOdd = 0) or odd bytes of codes, as signed numbers, times factors of up to 128, of which both products fit.
template <int kOdd>
GPTOSS_INLINE LaneShorts multiply_bytes(LaneWords codes, LaneShorts factors) {
#if defined(__AVX512F__)
    return (LaneShorts)_mm512_maddubs_epi16((__m512i)(kOdd ? factors << 8 : factors), (__m512i)codes);
#elif defined(__AVX2__)
    return (LaneShorts)_mm256_maddubs_epi16((__m256i)(kOdd ? factors << 8 : factors), (__m256i)codes);
#else
    const SignedLaneShorts high = kOdd ? (SignedLaneShorts)codes : (SignedLaneShorts)((LaneShorts)codes << 8);
    return (LaneShorts)(high >> 8) * factors;
#endif
}

// Sums of products of pairs of lanes. NEON has no instruction that adds two products to a sum: it has a sum for each
// product, of which sum_of_pairs() makes one.
#if defined(GPTOSS_NEON)
struct PairSums {
    int32x4_t low;
    int32x4_t high;
};
#else
typedef LaneInts PairSums;
#endif

// sums[lane] += weights[2 lane] * inputs[2 lane] + weights[2 lane + 1] * inputs[2 lane + 1], as signed numbers
GPTOSS_INLINE PairSums add_pair_products(PairSums sums, LaneShorts weights, LaneShorts inputs) {
#if defined(__AVX512VNNI__)
    return (LaneInts)_mm512_dpwssd_epi32((__m512i)sums, (__m512i)weights, (__m512i)inputs);
#elif defined(__AVX512F__)
    return sums + (LaneInts)_mm512_madd_epi16((__m512i)weights, (__m512i)inputs);
#elif defined(__AVX2__)
    return sums + (LaneInts)_mm256_madd_epi16((__m256i)weights, (__m256i)inputs);
#elif defined(__SSE2__)
    return sums + (LaneInts)_mm_madd_epi16((__m128i)weights, (__m128i)inputs);
#elif defined(GPTOSS_NEON)
    return {vmlal_s16(sums.low, vget_low_s16((int16x8_t)weights), vget_low_s16((int16x8_t)inputs)),
            vmlal_high_s16(sums.high, (int16x8_t)weights, (int16x8_t)inputs)};
#else
    int16_t left[2 * kOutputLanes];
    int16_t right[2 * kOutputLanes];
    store(left, weights);
    store(right, inputs);
    for (size_t lane = 0; lane < kOutputLanes; lane++) {
        sums[lane] += left[2 * lane] * right[2 * lane] + left[2 * lane + 1] * right[2 * lane + 1];
    }
    return sums;
#endif
}

// GCC adds up sums of many products in another order, for which the products wait, and so leave the registers.
template <class Sums>
GPTOSS_INLINE void add_now([[maybe_unused]] Sums& sums) {
#if defined(__AVX2__)
    asm("" : "+v"(sums));
#endif
}

// Nothing waits for what is prefetched, and compilers gather prefetches: so many at once wait for one another, and the
// processor for all of them. Those from `address` on stay behind the values that were made before.
template <class Values, class Address>
GPTOSS_INLINE void keep_in_turn([[maybe_unused]] Values& values, [[maybe_unused]] Address& address) {
#if defined(__AVX512F__)
    asm("" : "+v"(values), "+r"(address));
#endif
}

GPTOSS_INLINE LaneInts sum_of_pairs(PairSums sums) {
#if defined(GPTOSS_NEON)
    return (LaneInts)vpaddq_s32(sums.low, sums.high);
#else
    return sums;
#endif
}

// sums + dots * scales. Rounded once wherever the instruction set can, and by name: left to themselves compilers fuse
// some of these and not others, and a value is to have the same bits whichever form it goes through.
GPTOSS_INLINE LaneFloats add_scaled(LaneFloats sums, LaneInts dots, LaneFloats scales) {
    const LaneFloats values = __builtin_convertvector(dots, LaneFloats);
#if defined(__AVX512F__)
    return (LaneFloats)_mm512_fmadd_ps((__m512)values, (__m512)scales, (__m512)sums);
#elif defined(__AVX2__)
    return (LaneFloats)_mm256_fmadd_ps((__m256)values, (__m256)scales, (__m256)sums);
#elif defined(GPTOSS_NEON)
    return (LaneFloats)vfmaq_f32((float32x4_t)sums, (float32x4_t)values, (float32x4_t)scales);
#elif defined(__ARM_FEATURE_FMA)
    for (size_t lane = 0; lane < kOutputLanes; lane++) {
        sums[lane] = __builtin_fmaf(values[lane], scales[lane], sums[lane]);
    }
    return sums;
#else
    return sums + values * scales;
#endif
}

// ---- Sums, and highest values, of the lanes of several registers. A quarter is four lanes, 16 bytes, of which a
// register has four, two or one.

constexpr size_t kQuarters = kOutputLanes / 4;

template <int kA, int kB, int kC, int kD>
GPTOSS_INLINE LaneWords quarter_shuffle(LaneWords values) {
#if defined(__AVX512F__)
    return (LaneWords)_mm512_maskz_shuffle_epi32(kAllLanes, (__m512i)values,
                                                 (_MM_PERM_ENUM)(kA | kB << 2 | kC << 4 | kD << 6));
#elif defined(__AVX2__)
    return (LaneWords)_mm256_shuffle_epi32((__m256i)values, kA | kB << 2 | kC << 4 | kD << 6);
#else
    return (LaneWords)__builtin_shufflevector(values, values, kA, kB, kC, kD);
#endif
}

struct AddLanes {
    GPTOSS_INLINE_MEMBER LaneWords operator()(LaneWords a, LaneWords b) const { return a + b; }
};
struct AddAndHalveLanes {
    GPTOSS_INLINE_MEMBER LaneWords operator()(LaneWords a, LaneWords b) const {
        return (LaneWords)((LaneInts)(a + b) >> 1);
    }
};
struct HigherLanes {
    GPTOSS_INLINE_MEMBER LaneWords operator()(LaneWords a, LaneWords b) const { return a > b ? a : b; }
};

// The first of two steps that combine the lanes of quarters: the four of a and of b become two of each, where
// combine_pairs() expects them.
template <class Combine>
GPTOSS_INLINE LaneWords combine_pair(LaneWords a, LaneWords b, const Combine& combine) {
#if defined(__AVX512F__)
    return combine((LaneWords)_mm512_maskz_unpacklo_epi32(kAllLanes, (__m512i)a, (__m512i)b),
                   (LaneWords)_mm512_maskz_unpackhi_epi32(kAllLanes, (__m512i)a, (__m512i)b));
#elif defined(__AVX2__)
    return combine((LaneWords)_mm256_unpacklo_epi32((__m256i)a, (__m256i)b),
                   (LaneWords)_mm256_unpackhi_epi32((__m256i)a, (__m256i)b));
#else
    return combine((LaneWords)__builtin_shufflevector(a, b, 0, 2, 4, 6),
                   (LaneWords)__builtin_shufflevector(a, b, 1, 3, 5, 7));
#endif
}

// In each quarter, lane i = the quarter's lanes of register i combined. first: combine_pair() of registers 0 and 1;
// second: of 2 and 3.
template <class Combine>
GPTOSS_INLINE LaneWords combine_pairs(LaneWords first, LaneWords second, const Combine& combine) {
#if defined(__AVX512F__)
    constexpr __mmask8 kAllHalves = 0xFF;
    return combine((LaneWords)_mm512_maskz_unpacklo_epi64(kAllHalves, (__m512i)first, (__m512i)second),
                   (LaneWords)_mm512_maskz_unpackhi_epi64(kAllHalves, (__m512i)first, (__m512i)second));
#elif defined(__AVX2__)
    return combine((LaneWords)_mm256_unpacklo_epi64((__m256i)first, (__m256i)second),
                   (LaneWords)_mm256_unpackhi_epi64((__m256i)first, (__m256i)second));
#else
    return combine_pair(first, second, combine);
#endif
}

// In each quarter, lane i = the quarter's lanes of rows[i] combined: `pairs` combines two and two, `combine` what they
// give.
template <class Pairs, class Combine>
GPTOSS_INLINE LaneWords combine_within_quarters(const LaneWords (&rows)[4],
                                                const Pairs& pairs,
                                                const Combine& combine) {
    return combine_pairs(combine_pair(rows[0], rows[1], pairs), combine_pair(rows[2], rows[3], pairs), combine);
}

template <class Combine>
GPTOSS_INLINE LaneWords combine_within_quarters(const LaneWords (&rows)[4], const Combine& combine) {
    return combine_within_quarters(rows, combine, combine);
}

// result[4 q + i] = lanes i of all quarters of registers[q] combined
template <class Combine>
GPTOSS_INLINE LaneWords combine_quarters(const LaneWords (&registers)[kQuarters], const Combine& combine) {
#if defined(__AVX512F__)
    const auto combine_two = [&](LaneWords a, LaneWords b) {
        return combine((LaneWords)_mm512_maskz_shuffle_i32x4(kAllLanes, (__m512i)a, (__m512i)b, 0x88),
                       (LaneWords)_mm512_maskz_shuffle_i32x4(kAllLanes, (__m512i)a, (__m512i)b, 0xDD));
    };
    return combine_two(combine_two(registers[0], registers[1]), combine_two(registers[2], registers[3]));
#elif defined(__AVX2__)
    return combine((LaneWords)_mm256_permute2x128_si256((__m256i)registers[0], (__m256i)registers[1], 0x20),
                   (LaneWords)_mm256_permute2x128_si256((__m256i)registers[0], (__m256i)registers[1], 0x31));
#else
    (void)combine;
    return registers[0];
#endif
}

// In each quarter, lane i = lanes i of all quarters combined.
template <class Combine>
GPTOSS_INLINE LaneWords combine_all_quarters(LaneWords values, const Combine& combine) {
#if defined(__AVX512F__)
    const LaneWords halves =
        combine(values, (LaneWords)_mm512_maskz_shuffle_i32x4(kAllLanes, (__m512i)values, (__m512i)values, 0x4E));
    return combine(halves, (LaneWords)_mm512_maskz_shuffle_i32x4(kAllLanes, (__m512i)halves, (__m512i)halves, 0xB1));
#elif defined(__AVX2__)
    return combine(values, (LaneWords)_mm256_permute2x128_si256((__m256i)values, (__m256i)values, 0x01));
#else
    (void)combine;
    return values;
#endif
}

// In each quarter, all lanes = lane i.
GPTOSS_INLINE LaneFloats spread_lane(LaneFloats values, size_t i) {
    LaneWords result = (LaneWords)values;
    switch (i) {
        case 0:
            result = quarter_shuffle<0, 0, 0, 0>(result);
            break;
        case 1:
            result = quarter_shuffle<1, 1, 1, 1>(result);
            break;
        case 2:
            result = quarter_shuffle<2, 2, 2, 2>(result);
            break;
        default:
            result = quarter_shuffle<3, 3, 3, 3>(result);
            break;
    }
    return (LaneFloats)result;
}

// result[q] has quarters q of rows[0], rows[1] ...
GPTOSS_INLINE void transpose_quarters(const LaneWords (&rows)[kQuarters], LaneWords (&result)[kQuarters]) {
#if defined(__AVX512F__)
    const auto pick = [](LaneWords a, LaneWords b, auto control) {
        return (LaneWords)_mm512_maskz_shuffle_i32x4(kAllLanes, (__m512i)a, (__m512i)b, decltype(control)::value);
    };
    struct Low {
        enum { value = 0x44 };
    };
    struct High {
        enum { value = 0xEE };
    };
    struct Even {
        enum { value = 0x88 };
    };
    struct Odd {
        enum { value = 0xDD };
    };
    const LaneWords low01 = pick(rows[0], rows[1], Low{});
    const LaneWords high01 = pick(rows[0], rows[1], High{});
    const LaneWords low23 = pick(rows[2], rows[3], Low{});
    const LaneWords high23 = pick(rows[2], rows[3], High{});
    result[0] = pick(low01, low23, Even{});
    result[1] = pick(low01, low23, Odd{});
    result[2] = pick(high01, high23, Even{});
    result[3] = pick(high01, high23, Odd{});
#elif defined(__AVX2__)
    result[0] = (LaneWords)_mm256_permute2x128_si256((__m256i)rows[0], (__m256i)rows[1], 0x20);
    result[1] = (LaneWords)_mm256_permute2x128_si256((__m256i)rows[0], (__m256i)rows[1], 0x31);
#else
    result[0] = rows[0];
#endif
}

} // namespace
} // namespace gptoss::cpu
