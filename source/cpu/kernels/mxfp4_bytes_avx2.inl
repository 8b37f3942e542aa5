// Few rows with AVX2: MXFP4 codes are multiplied as bytes.
//
// Widened to 16 bits, which VPMADDWD needs, 64 codes take two registers more and as many instructions; VPMADDUBSW takes
// them as they come from the table, if one factor is unsigned: the codes plus 12, whose part in a sum of products, 12
// times the sum of a block's activations, is subtracted from it. The activations' upper and lower bytes are multiplied
// apart, and the scales of blocks are applied as these two are brought together. All of it is exact, as the form in 16
// bits is, so that both give the same integers.

namespace gptoss::cpu {
namespace {

#if defined(__AVX2__) && !defined(__AVX512F__)
#define GPTOSS_MXFP4_BYTES

constexpr size_t kPlaneBytes = 32;

// Of a row in a group, code = 256 upper + lower, both of -128 to 127.
struct alignas(32) GroupBytes {
    // [pair of blocks][low, high nibbles][inputs]: as the bytes of two blocks follow one another.
    int8_t upper[2][2][kPlaneBytes];
    int8_t lower[2][2][kPlaneBytes];
    int32_t sums[kGroupBlocks]; // 12 times the sums of the blocks' codes
};

// What the two bytes' products are multiplied by, negated so that 2^15 has room: 2^(7 - below) of each block of a pair,
// and 256 times that.
struct BlockFactors {
    alignas(64) int16_t values[8][8][2][16]; // [below of the second][below of the first][lower, upper]
    constexpr BlockFactors() : values() {
        for (int second = 0; second < 8; second++) {
            for (int first = 0; first < 8; first++) {
                for (int i = 0; i < 16; i++) {
                    const int below = i < 8 ? first : second;
                    values[second][first][0][i] = (int16_t)(-(128 >> below));
                    values[second][first][1][i] = (int16_t)(-(32768 >> below));
                }
            }
        }
    }
};
constexpr BlockFactors kBlockFactors;

// codes: a group in CodeOrder::mxfp4.
GPTOSS_INLINE void split_group(const int16_t* codes, GroupBytes& result) {
    for (size_t pair = 0; pair < 2; pair++) {
        __m256i sum = _mm256_setzero_si256(); // of the codes, in words: a block in each half
        for (size_t nibble = 0; nibble < 2; nibble++) {
            // Classes 0 and 1 belong to low nibbles, of even and of odd bytes; 2 and 3 to high ones.
            const int16_t* const even_codes = codes + 2 * nibble * kClassInputs + pair * kRegisterInputs;
            const __m256i even = load<__m256i>(even_codes);
            const __m256i odd = load<__m256i>(even_codes + kClassInputs);
            const __m256i half = _mm256_set1_epi16(128);
            const __m256i low_bytes = _mm256_set1_epi16(0xFF);
            const __m256i even_upper = _mm256_srli_epi16(_mm256_add_epi16(even, half), 8);
            const __m256i odd_upper = _mm256_andnot_si256(low_bytes, _mm256_add_epi16(odd, half));
            store(result.upper[pair][nibble], _mm256_or_si256(even_upper, odd_upper));
            store(result.lower[pair][nibble],
                  _mm256_or_si256(_mm256_and_si256(even, low_bytes), _mm256_slli_epi16(odd, 8)));
            const __m256i twelve = _mm256_set1_epi16(12);
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(even, twelve));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(odd, twelve));
        }
        const LaneWords words = (LaneWords)sum;
        for (size_t block = 0; block < 2; block++) {
            result.sums[2 * pair + block] =
                (int32_t)(words[4 * block] + words[4 * block + 1] + words[4 * block + 2] + words[4 * block + 3]);
        }
    }
}

// What the scale bytes of eight outputs in a group come to.
template <size_t kRows>
struct ByteScales {
    LaneFloats scales;                             // of the integers of each output
    LaneWords corrections[kRows];                  // what 12 in every code adds to a row's sums
    alignas(32) uint16_t offsets[kOutputLanes][2]; // of a pair of blocks in kBlockFactors, in bytes
    bool exact; // no weight is rounded; if one is, offsets and corrections mean nothing

    GPTOSS_INLINE_MEMBER void find(LaneWords bytes, size_t num_blocks, const GroupBytes* rows) {
        const auto higher = [](LaneWords a, LaneWords b) { return (LaneWords)_mm256_max_epu8((__m256i)a, (__m256i)b); };
        const LaneWords pairs = higher(bytes, (bytes << 16) | (bytes >> 16));
        const LaneWords highest = higher(pairs, (LaneWords)((LaneShorts)pairs << 8 | (LaneShorts)pairs >> 8));
        const __m256i below = _mm256_sub_epi8((__m256i)highest, (__m256i)bytes);
        scales = Mxfp4Integers::integer_scale(highest & 0xFFu);
        // Blocks behind the last one meet zeros, whatever their factor.
        const int present = (int)(0xF8F8F8F8u >> (8 * (kGroupBlocks - num_blocks)));
        exact = _mm256_testz_si256(below, _mm256_set1_epi32(present)) != 0;
        const __m256i some_below = _mm256_and_si256(below, _mm256_set1_epi8(7));
        store(offsets[0], _mm256_slli_epi16(_mm256_maddubs_epi16(some_below, _mm256_set1_epi16(0x0801)), 6));
        for (LaneWords& correction : corrections) {
            correction = LaneWords{};
        }
        for (size_t block = 0; block < num_blocks; block++) {
            const LaneWords powers = (LaneWords{} + 128u) >> ((LaneWords)some_below >> (uint32_t)(8 * block) & 7u);
            for (size_t row = 0; row < kRows; row++) {
                corrections[row] += powers * (uint32_t)rows[row].sums[block];
            }
        }
    }
};

// sums[row] = the integers of eight outputs in a group times rows[row], where none is rounded.
template <size_t kRows>
GPTOSS_INLINE void multiply_bytes_of_rows(const uint8_t* blocks, // [output, row_bytes]
                                          size_t row_bytes,
                                          size_t num_blocks,
                                          const ByteScales<kRows>& scales,
                                          const GroupBytes* rows,
                                          const uint8_t* ahead, // lines that are needed later
                                          LaneWords (&sums)[kRows]) {
    // Nothing past the end of a row is read: the last one may end the file.
    alignas(32) uint8_t padded[kOutputLanes][2 * kPlaneBytes];
    if (num_blocks < kGroupBlocks) {
        memset(padded, 0, sizeof(padded));
        for (size_t output = 0; output < kOutputLanes; output++) {
            memcpy(padded[output], blocks + output * row_bytes, num_blocks * 16);
        }
        blocks = padded[0];
    }
    const size_t stride = num_blocks < kGroupBlocks ? sizeof(padded[0]) : row_bytes;

    const __m256i table = _mm256_broadcastsi128_si256( // of codes plus 12
        _mm_add_epi8(_mm_load_si128((const __m128i*)kMxfp4Codes), _mm_set1_epi8(12)));
    const __m256i low_nibbles = _mm256_set1_epi8(15);
    LaneWords fours[kRows][2];
#pragma GCC unroll 2
    for (size_t four = 0; four < 2; four++) {
        __m256i dots[kRows][4];
        for (size_t row = 0; row < kRows; row++) {
            for (size_t i = 0; i < 4; i++) {
                dots[row][i] = _mm256_setzero_si256();
            }
        }
#pragma GCC unroll 2
        for (size_t pair = 0; pair < 2; pair++) {
#pragma GCC unroll 4
            for (size_t i = 0; i < 4; i++) {
                const size_t output = 4 * four + i;
                if (pair == 0) {
                    __builtin_prefetch(ahead + output * kCacheLine, 0, 3);
                }
                const int8_t* const factors = (const int8_t*)kBlockFactors.values + scales.offsets[output][pair];
                __m256i codes = load<__m256i>(blocks + output * stride + pair * kPlaneBytes);
                asm("" : "+x"(codes)); // loaded once
                const __m256i low = _mm256_shuffle_epi8(table, _mm256_and_si256(codes, low_nibbles));
                const __m256i high =
                    _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(codes, 4), low_nibbles));
                for (size_t row = 0; row < kRows; row++) {
                    const GroupBytes& bytes = rows[row];
                    // 2 * 2 * 24 * 128 at most
                    const __m256i upper =
                        _mm256_add_epi16(_mm256_maddubs_epi16(low, load<__m256i>(bytes.upper[pair][0])),
                                         _mm256_maddubs_epi16(high, load<__m256i>(bytes.upper[pair][1])));
                    const __m256i lower =
                        _mm256_add_epi16(_mm256_maddubs_epi16(low, load<__m256i>(bytes.lower[pair][0])),
                                         _mm256_maddubs_epi16(high, load<__m256i>(bytes.lower[pair][1])));
                    __m256i& dot = dots[row][i];
                    dot = _mm256_sub_epi32(dot, _mm256_madd_epi16(lower, load<__m256i>(factors)));
                    dot = _mm256_sub_epi32(dot, _mm256_madd_epi16(upper, load<__m256i>(factors + 32)));
                    asm("" : "+x"(dot)); // now: products that wait to be added would leave the registers
                }
            }
        }
        for (size_t row = 0; row < kRows; row++) {
            const LaneWords words[4] = {(LaneWords)dots[row][0], (LaneWords)dots[row][1], (LaneWords)dots[row][2],
                                        (LaneWords)dots[row][3]};
            fours[row][four] = combine_within_quarters(words, AddLanes{});
        }
    }
    for (size_t row = 0; row < kRows; row++) {
        sums[row] = combine_quarters(fours[row], AddLanes{}) - scales.corrections[row];
    }
}
#endif

} // namespace
} // namespace gptoss::cpu
