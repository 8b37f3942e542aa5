// MXFP4 weights as 16-bit integers: lane = output, so that a sum over inputs needs no sum over lanes, and the file's
// rows are transposed four bytes at a time as they are unpacked.

namespace gptoss::cpu {
namespace {

// Outputs in a register.
#if defined(__AVX512F__)
constexpr size_t kOutputLanes = 16;
#elif defined(__AVX2__)
constexpr size_t kOutputLanes = 8;
#else
constexpr size_t kOutputLanes = 4;
#endif

typedef float LaneFloats __attribute__((vector_size(4 * kOutputLanes)));
typedef int32_t LaneInts __attribute__((vector_size(4 * kOutputLanes)));
typedef uint32_t LaneWords __attribute__((vector_size(4 * kOutputLanes)));
typedef uint16_t LaneShorts __attribute__((vector_size(4 * kOutputLanes))); // two inputs of each output

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

// Twice the value of each 4-bit code, plus 12.
alignas(16) constexpr uint8_t kMxfp4Codes[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

GPTOSS_INLINE LaneWords mxfp4_codes(LaneWords nibbles) { // one in every byte
#if defined(__AVX512F__)
    const __m512i table = _mm512_maskz_broadcast_i32x4(kAllLanes, _mm_load_si128((const __m128i*)kMxfp4Codes));
    return (LaneWords)_mm512_maskz_shuffle_epi8(~(__mmask64)0, table, (__m512i)nibbles);
#elif defined(__AVX2__)
    const __m256i table = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i*)kMxfp4Codes));
    return (LaneWords)_mm256_shuffle_epi8(table, (__m256i)nibbles);
#else
    uint8_t bytes[sizeof(LaneWords)];
    store(bytes, nibbles);
    for (uint8_t& byte : bytes) {
        byte = kMxfp4Codes[byte];
    }
    return load<LaneWords>(bytes);
#endif
}

// The codes of one block of 32 inputs of kOutputLanes rows, `stride` bytes apart, in pair order (kernels.h).
GPTOSS_INLINE void unpack_block(const uint8_t* block, size_t stride, LaneShorts (&pairs)[16]) {
    LaneWords columns[4];
    load_columns(block, stride, columns);
    for (size_t i = 0; i < 4; i++) {
        const LaneWords even = mxfp4_codes(columns[i] & 0x0F0F0F0Fu);
        const LaneWords odd = mxfp4_codes((columns[i] >> 4) & 0x0F0F0F0Fu);
        pairs[4 * i] = (LaneShorts)(even & 0x00FF00FFu);
        pairs[4 * i + 1] = (LaneShorts)even >> 8;
        pairs[4 * i + 2] = (LaneShorts)(odd & 0x00FF00FFu);
        pairs[4 * i + 3] = (LaneShorts)odd >> 8;
    }
}

// What a code of kMxfp4Codes, less 12, is multiplied by: 2^(byte - 14 - 127) / 2 for a stored scale byte. Bytes up to
// 15 give fp32 subnormals.
GPTOSS_INLINE LaneFloats code_scale(LaneWords bytes) {
    const LaneWords subnormal = (LaneWords{} + 128u) << (bytes & 15u);
    const LaneWords normal = (bytes - 15u) << 23;
    const LaneWords is_normal = (LaneWords)(bytes > 15u);
    return (LaneFloats)((is_normal & normal) | (~is_normal & subnormal));
}

constexpr size_t kScaleBlocks = 16; // blocks whose scales are unpacked at a time: a scale is a byte

// scales[i * kStride] has the scale of block first + i, for up to kScaleBlocks blocks of kOutputLanes rows.
template <size_t kStride>
GPTOSS_INLINE void unpack_scales(const uint8_t* rows, // of scale bytes, [kOutputLanes, num_blocks]
                                 size_t num_blocks,
                                 size_t first,
                                 LaneFloats* scales) {
    LaneWords columns[4];
    const size_t left = num_blocks - first;
    const size_t count = left < kScaleBlocks ? left : kScaleBlocks;
    if (count == kScaleBlocks) {
        load_columns(rows + first, num_blocks, columns);
    } else {
        // Nothing past the end of a row is read: the last one may end the file.
        uint8_t padded[kOutputLanes][kScaleBlocks] = {};
        if (num_blocks >= kScaleBlocks) {
            // The last sixteen bytes, shifted: a constant size copies faster.
            for (size_t row = 0; row < kOutputLanes; row++) {
                uint8_t last[2 * kScaleBlocks] = {};
                memcpy(last, rows + (row + 1) * num_blocks - kScaleBlocks, kScaleBlocks);
                memcpy(padded[row], last + kScaleBlocks - count, kScaleBlocks);
            }
        } else {
            for (size_t row = 0; row < kOutputLanes; row++) {
                memcpy(padded[row], rows + row * num_blocks, count);
            }
        }
        load_columns(padded[0], kScaleBlocks, columns);
    }
    for (size_t i = 0; i < kScaleBlocks; i++) {
        scales[i * kStride] = code_scale((columns[i / 4] >> (8 * (i % 4))) & 0xFFu);
    }
}

} // namespace
} // namespace gptoss::cpu
