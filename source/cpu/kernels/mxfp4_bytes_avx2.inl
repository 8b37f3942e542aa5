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
    // -12 times the sums of the blocks' codes, each 4096 upper + lower: [lower, upper][blocks 0 and 2, 1 and 3].
    int16_t sums[2][2][2];
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
            const int32_t total =
                -(int32_t)(words[4 * block] + words[4 * block + 1] + words[4 * block + 2] + words[4 * block + 3]);
            result.sums[0][block][pair] = (int16_t)(total & 4095);
            result.sums[1][block][pair] = (int16_t)(total >> 12);
        }
    }
}

// What the scale bytes of eight outputs in a group come to.
template <size_t kRows>
struct ByteScales {
    LaneFloats scales;                             // of the integers of each output
    LaneWords corrections[kRows];                  // takes what 12 in every code adds out of a row's sums
    alignas(32) uint16_t offsets[kOutputLanes][2]; // of a pair of blocks in kBlockFactors, in eight bytes
    bool exact;                                    // no weight is rounded; if one is, all of the above means nothing

    // Few instructions: they are a tenth of one row's products.
    GPTOSS_INLINE_MEMBER void find(LaneWords bytes, size_t num_blocks, const GroupBytes* rows) {
        const __m256i swap_halves =
            _mm256_broadcastsi128_si256(_mm_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
        const __m256i swap_bytes =
            _mm256_broadcastsi128_si256(_mm_setr_epi8(1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));
        const __m256i pairs = _mm256_max_epu8((__m256i)bytes, _mm256_shuffle_epi8((__m256i)bytes, swap_halves));
        const __m256i highest = _mm256_max_epu8(pairs, _mm256_shuffle_epi8(pairs, swap_bytes)); // in every byte
        const __m256i below = _mm256_sub_epi8(highest, (__m256i)bytes);
        // Blocks behind the last one meet zeros, whatever their factor.
        const int present = (int)(0xF8F8F8F8u >> (8 * (kGroupBlocks - num_blocks)));
        // 8 or more where the group's scale is an fp32 subnormal, which is left to the other form.
        const __m256i subnormal = _mm256_subs_epu8(_mm256_set1_epi8(kLowestNormal + 7), highest);
        exact = _mm256_testz_si256(_mm256_or_si256(below, subnormal), _mm256_set1_epi32(present)) != 0;
        const __m256i exponents = _mm256_srli_epi32(_mm256_slli_epi32(highest, 24), 1);
        scales = (LaneFloats)_mm256_sub_epi32(exponents, _mm256_set1_epi32((kLowestNormal - 1) << 23));

        const __m256i some_below = _mm256_and_si256(below, _mm256_set1_epi8(7));
        store(offsets[0], _mm256_maddubs_epi16(some_below, _mm256_set1_epi16(0x4008))); // 8 first + 64 second
        const __m256i powers = _mm256_shuffle_epi8(                                     // 2^(7 - below)
            _mm256_broadcastsi128_si256(_mm_setr_epi8(-128, 64, 32, 16, 8, 4, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0)),
            some_below);
        const __m256i blocks_0_2 = _mm256_and_si256(powers, _mm256_set1_epi16(0xFF));
        const __m256i blocks_1_3 = _mm256_srli_epi16(powers, 8);
        for (size_t row = 0; row < kRows; row++) {
            __m256i halves[2]; // lower, upper
            for (size_t half = 0; half < 2; half++) {
                int32_t sums[2];
                memcpy(sums, rows[row].sums[half], sizeof(sums));
                halves[half] = _mm256_add_epi32(_mm256_madd_epi16(blocks_0_2, _mm256_set1_epi32(sums[0])),
                                                _mm256_madd_epi16(blocks_1_3, _mm256_set1_epi32(sums[1])));
            }
            corrections[row] = (LaneWords)_mm256_add_epi32(halves[0], _mm256_slli_epi32(halves[1], 12));
        }
    }

private:
    // The lowest stored byte whose scale of integers, Mxfp4Integers::integer_scale(), is a normal fp32.
    static constexpr int kLowestNormal = 23;
};

// sums[row] = the integers of eight outputs in kPairs pairs of a group's blocks times rows[row].
template <size_t kPairs, size_t kRows>
GPTOSS_INLINE void multiply_pairs_of_blocks(const uint8_t* blocks, // [output, stride]
                                            size_t stride,
                                            const ByteScales<kRows>& scales,
                                            const GroupBytes* rows,
                                            const uint8_t* ahead, // lines that are needed later
                                            LaneWords (&sums)[kRows]) {
    // Of these and `stride`, x86 makes the eight outputs' addresses; as many pointers would not fit its registers.
    size_t three_strides = 3 * stride;
    const uint8_t* fifth = blocks + 4 * stride;
    asm("" : "+r"(three_strides), "+r"(fifth));

    const __m256i table = _mm256_broadcastsi128_si256( // of codes plus 12
        _mm_add_epi8(_mm_load_si128((const __m128i*)kMxfp4Codes), _mm_set1_epi8(12)));
    const __m256i low_nibbles = _mm256_set1_epi8(15);
    // The empty asm statements keep the compiler from loading again what is in a register, and from adding so late that
    // products leave the registers. They take locals: GCC gives elements of arrays a place in memory first.
    LaneWords fours[kRows][2];
#pragma GCC unroll 2
    for (size_t four = 0; four < 2; four++) {
        __m256i dots[kRows][4];
#pragma GCC unroll 2
        for (size_t pair = 0; pair < kPairs; pair++) {
            const GroupBytes* bytes = rows;
            asm("" : "+r"(bytes));
            __m256i lower_planes[kRows][2];
            __m256i upper_planes[kRows][2];
            for (size_t row = 0; row < kRows; row++) {
                for (size_t nibble = 0; nibble < 2; nibble++) {
                    __m256i lower = load<__m256i>(bytes[row].lower[pair][nibble]);
                    __m256i upper = load<__m256i>(bytes[row].upper[pair][nibble]);
                    if (kRows == 1) { // more have no place there
                        asm("" : "+x"(lower), "+x"(upper));
                    }
                    lower_planes[row][nibble] = lower;
                    upper_planes[row][nibble] = upper;
                }
            }
#pragma GCC unroll 4
            for (size_t i = 0; i < 4; i++) {
                const size_t output = 4 * four + i;
                if (pair == 0) {
                    __builtin_prefetch(ahead + output * kCacheLine, 0, 3);
                }
                __m256i codes = load<__m256i>((four == 0 ? blocks : fifth) + (i == 3 ? three_strides : i * stride) +
                                              pair * kPlaneBytes);
                asm("" : "+x"(codes));
                const __m256i low = _mm256_shuffle_epi8(table, _mm256_and_si256(codes, low_nibbles));
                const __m256i high =
                    _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(codes, 4), low_nibbles));
                const int8_t* const factors =
                    (const int8_t*)kBlockFactors.values + size_t{8} * scales.offsets[output][pair];
                for (size_t row = 0; row < kRows; row++) {
                    // 2 * 2 * 24 * 128 at most
                    const __m256i lower = _mm256_add_epi16(_mm256_maddubs_epi16(low, lower_planes[row][0]),
                                                           _mm256_maddubs_epi16(high, lower_planes[row][1]));
                    const __m256i upper = _mm256_add_epi16(_mm256_maddubs_epi16(low, upper_planes[row][0]),
                                                           _mm256_maddubs_epi16(high, upper_planes[row][1]));
                    const __m256i both = _mm256_add_epi32(_mm256_madd_epi16(lower, load<__m256i>(factors)),
                                                          _mm256_madd_epi16(upper, load<__m256i>(factors + 32)));
                    __m256i dot = pair == 0 ? both : _mm256_add_epi32(dots[row][i], both);
                    asm("" : "+x"(dot));
                    dots[row][i] = dot;
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
        // The factors are negative, and so are the corrections.
        sums[row] = scales.corrections[row] - combine_quarters(fours[row], AddLanes{});
    }
}

// sums[row] = the integers of eight outputs in a group times rows[row], where none is rounded.
template <size_t kRows>
GPTOSS_INLINE void multiply_bytes_of_rows(const uint8_t* blocks, // [output, row_bytes]
                                          size_t row_bytes,
                                          size_t num_blocks,
                                          const ByteScales<kRows>& scales,
                                          const GroupBytes* rows,
                                          const uint8_t* ahead,
                                          LaneWords (&sums)[kRows]) {
    if (num_blocks == kGroupBlocks) {
        multiply_pairs_of_blocks<2>(blocks, row_bytes, scales, rows, ahead, sums);
        return;
    }
    if (num_blocks == 2) { // the last ones of 2,880 inputs
        multiply_pairs_of_blocks<1>(blocks, row_bytes, scales, rows, ahead, sums);
        return;
    }
    // Nothing past the end of a row is read: the last one may end the file.
    alignas(32) uint8_t padded[kOutputLanes][2 * kPlaneBytes] = {};
    for (size_t output = 0; output < kOutputLanes; output++) {
        memcpy(padded[output], blocks + output * row_bytes, num_blocks * 16);
    }
    multiply_pairs_of_blocks<2>(padded[0], sizeof(padded[0]), scales, rows, ahead, sums);
}
#endif

} // namespace
} // namespace gptoss::cpu
