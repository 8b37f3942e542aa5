// Sums of products of bytes, for fast precision: MXFP4 codes with activations of eight bits.

namespace gptoss::cpu {
namespace {

// A lane of Int8Sums sums, in its four bytes' places, the products of all registers that are added to it: those of a
// block of 32 inputs, in eight steps.
//
// x86 multiplies unsigned bytes with signed ones, so that codes are taken plus 12 there: what that adds, 12 times the
// activations, is subtracted where sums begin or, with few rows, where they end. VPMADDUBSW adds two products to 16
// bits, 2 * 24 * 127 at most, and 16 products of one block may wrap around on the way, but come to 16 * 12 * 127 at
// most when those 12 times the activations are gone.
#if defined(__AVX512VNNI__)
constexpr int32_t kInt8CodeOffset = 12;
typedef LaneInts Int8Sums;

GPTOSS_INLINE Int8Sums begin_int8_sums(uint32_t start) {
    return LaneInts{} + (int32_t)start;
}

GPTOSS_INLINE Int8Sums add_int8_products(Int8Sums sums, LaneWords codes, LaneWords inputs) {
    return (LaneInts)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)codes, (__m512i)inputs);
}

GPTOSS_INLINE LaneInts end_int8_sums(Int8Sums sums) {
    return sums;
}
#elif defined(__AVX2__)
constexpr int32_t kInt8CodeOffset = 12;
typedef LaneShorts Int8Sums;

GPTOSS_INLINE Int8Sums begin_int8_sums(uint32_t start) { // of even and of odd lanes
    return (LaneShorts)(LaneWords{} + start);
}

GPTOSS_INLINE Int8Sums add_int8_products(Int8Sums sums, LaneWords codes, LaneWords inputs) {
#if defined(__AVX512F__)
    sums += (LaneShorts)_mm512_maddubs_epi16((__m512i)codes, (__m512i)inputs);
#else
    sums += (LaneShorts)_mm256_maddubs_epi16((__m256i)codes, (__m256i)inputs);
#endif
    add_now(sums);
    return sums;
}

GPTOSS_INLINE LaneInts end_int8_sums(Int8Sums sums) {
    return add_pair_products(LaneInts{}, sums, LaneShorts{} + (uint16_t)1);
}
#elif defined(GPTOSS_NEON) && defined(__ARM_FEATURE_DOTPROD)
constexpr int32_t kInt8CodeOffset = 0;
typedef LaneInts Int8Sums;

GPTOSS_INLINE Int8Sums begin_int8_sums(uint32_t) {
    return LaneInts{};
}

GPTOSS_INLINE Int8Sums add_int8_products(Int8Sums sums, LaneWords codes, LaneWords inputs) {
    return (LaneInts)vdotq_s32((int32x4_t)sums, (int8x16_t)codes, (int8x16_t)inputs);
}

GPTOSS_INLINE LaneInts end_int8_sums(Int8Sums sums) {
    return sums;
}
#elif defined(GPTOSS_NEON)
constexpr int32_t kInt8CodeOffset = 0;
typedef int16x8_t Int8Sums; // of 16 products each, 16 * 12 * 127 at most

GPTOSS_INLINE Int8Sums begin_int8_sums(uint32_t) {
    return vdupq_n_s16(0);
}

GPTOSS_INLINE Int8Sums add_int8_products(Int8Sums sums, LaneWords codes, LaneWords inputs) {
    const int16x8_t low = vmull_s8(vget_low_s8((int8x16_t)codes), vget_low_s8((int8x16_t)inputs));
    const int16x8_t high = vmull_high_s8((int8x16_t)codes, (int8x16_t)inputs);
    return vaddq_s16(sums, vpaddq_s16(low, high));
}

GPTOSS_INLINE LaneInts end_int8_sums(Int8Sums sums) {
    return (LaneInts)vpaddlq_s16(sums);
}
#else
constexpr int32_t kInt8CodeOffset = 0;
typedef LaneInts Int8Sums;

GPTOSS_INLINE Int8Sums begin_int8_sums(uint32_t) {
    return LaneInts{};
}

// Not inline: all 64 of a tile, written out, took minutes to compile.
static __attribute__((noinline)) Int8Sums add_int8_products(Int8Sums sums, LaneWords codes, LaneWords inputs) {
    int8_t left[4 * kOutputLanes];
    int8_t right[4 * kOutputLanes];
    store(left, codes);
    store(right, inputs);
    for (size_t lane = 0; lane < kOutputLanes; lane++) {
        for (size_t i = 4 * lane; i < 4 * lane + 4; i++) {
            sums[lane] += left[i] * right[i];
        }
    }
    return sums;
}

GPTOSS_INLINE LaneInts end_int8_sums(Int8Sums sums) {
    return sums;
}
#endif

// What begin_int8_sums() is to have for a block of activations, [even, odd inputs][16].
GPTOSS_INLINE uint32_t start_of_block(const int8_t (&even)[16], const int8_t (&odd)[16]) {
    int32_t lanes[2] = {0, 0}; // of a word's first two inputs, and of the others
    for (size_t i = 0; i < 16; i++) {
        lanes[i / 2 % 2] -= kInt8CodeOffset * (even[i] + odd[i]);
    }
#if defined(__AVX2__) && !defined(__AVX512VNNI__)
    return (uint32_t)(uint16_t)lanes[0] | (uint32_t)lanes[1] << 16;
#else
    return (uint32_t)(lanes[0] + lanes[1]);
#endif
}

// The codes of nibbles, one in every byte, as add_int8_products() takes them.
GPTOSS_INLINE LaneWords int8_codes(LaneWords nibbles) {
#if defined(__AVX2__)
    const __m128i codes =
        _mm_add_epi8(_mm_load_si128((const __m128i*)kMxfp4Codes), _mm_set1_epi8((int8_t)kInt8CodeOffset));
#if defined(__AVX512F__)
    const __m512i table = _mm512_maskz_broadcast_i32x4(kAllLanes, codes);
    return (LaneWords)_mm512_maskz_shuffle_epi8(~(__mmask64)0, table, (__m512i)nibbles);
#else
    return (LaneWords)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(codes), (__m256i)nibbles);
#endif
#else
    return mxfp4_codes(nibbles);
#endif
}

} // namespace
} // namespace gptoss::cpu
