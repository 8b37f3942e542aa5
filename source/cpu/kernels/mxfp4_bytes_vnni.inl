// Few rows with AVX-512 VNNI: MXFP4 codes are multiplied as bytes.
//
// VPDPBUSD takes codes as they come from the table, plus 12, because one of its factors is unsigned; in 16 bits they
// would be four instructions more. What 12 in every code adds, 12 times the sum of a block's activations, is subtracted
// from sums of a block, and these are then multiplied by the power of two that the block's scale leaves of them.
// All of it is exact, as the form in 16 bits is, so that both give the same integers.

namespace gptoss::cpu {
namespace {

#if defined(__AVX512VNNI__)
#define GPTOSS_MXFP4_BYTES

// Of a row in a group, code = 256 upper + lower, both of -128 to 127.
struct alignas(64) GroupBytes {
    int8_t upper[2][kGroupInputs / 2]; // [low, high nibbles][inputs], a block in each quarter
    int8_t lower[2][kGroupInputs / 2];
    LaneInts offsets; // 12 times the sum of a block's codes, in all lanes of its quarter
};

// codes: a group in CodeOrder::mxfp4.
GPTOSS_INLINE void split_group(const int16_t* codes, GroupBytes& result) {
    LaneInts sums = {};
    for (size_t nibble = 0; nibble < 2; nibble++) {
        // Classes 0 and 1 belong to low nibbles, of even and of odd bytes; 2 and 3 to high ones.
        const LaneShorts even = load<LaneShorts>(codes + 2 * nibble * kClassInputs);
        const LaneShorts odd = load<LaneShorts>(codes + (2 * nibble + 1) * kClassInputs);
        store(result.upper[nibble], ((even + 128) >> 8) | ((odd + 128) & 0xFF00));
        store(result.lower[nibble], (even & 0xFF) | (odd << 8));
        const LaneShorts twelve = LaneShorts{} + uint16_t{12};
        sums = add_pair_products(add_pair_products(sums, even, twelve), odd, twelve);
    }
    const LaneWords words = (LaneWords)sums;
    const LaneWords same[4] = {words, words, words, words};
    result.offsets = (LaneInts)combine_within_quarters(same, AddLanes{});
}

// Byte b of the words of quarter kQuarter, in quarter b of the result.
template <int kQuarter>
GPTOSS_INLINE LaneWords bytes_of_quarter(__m512i words) {
    const __m512i byte_by_quarter = _mm512_set_epi32(0x8080800F, 0x8080800B, 0x80808007, 0x80808003, //
                                                     0x8080800E, 0x8080800A, 0x80808006, 0x80808002, //
                                                     0x8080800D, 0x80808009, 0x80808005, 0x80808001, //
                                                     0x8080800C, 0x80808008, 0x80808004, 0x80808000);
    const __m512i four_times = _mm512_maskz_shuffle_i32x4(kAllLanes, words, words, kQuarter * 0x55);
    return (LaneWords)_mm512_maskz_shuffle_epi8(~(__mmask64)0, four_times, byte_by_quarter);
}

// What the scale bytes of sixteen outputs in a group come to.
template <size_t kRows>
struct ByteScales {
    LaneFloats scales; // of the integers of each output
    // Of sums of the outputs 4q to 4q + 3, by block: 7 less what the block's exponent is below the highest one.
    LaneWords shifts[kQuarters];
    bool exact; // no weight is rounded; if one is, all of the above means nothing

    GPTOSS_INLINE_MEMBER void find(LaneWords scale_bytes, size_t num_blocks, const GroupBytes*) {
        constexpr __mmask64 kAllBytes = ~(__mmask64)0;
        const __m512i bytes = (__m512i)scale_bytes;
        const __m512i pairs = _mm512_maskz_max_epu8(kAllBytes, bytes, (__m512i)(scale_bytes << 16 | scale_bytes >> 16));
        const __m512i highest = _mm512_maskz_max_epu8(
            kAllBytes, pairs, (__m512i)((LaneWords)pairs << 8 | (LaneWords)pairs >> 24)); // in every byte
        scales = Mxfp4Integers::integer_scale((LaneWords)highest & 0xFFu);
        const __m512i below = _mm512_sub_epi8(highest, bytes);
        // Blocks behind the last one meet zeros, whatever their scale.
        const LaneWords present = LaneWords{} + (0xF8F8F8F8u >> (8 * (kGroupBlocks - num_blocks)));
        exact = _mm512_test_epi32_mask(below, (__m512i)present) == 0;
        const __m512i left = _mm512_sub_epi8(_mm512_set1_epi8(7), below);
        shifts[0] = bytes_of_quarter<0>(left);
        shifts[1] = bytes_of_quarter<1>(left);
        shifts[2] = bytes_of_quarter<2>(left);
        shifts[3] = bytes_of_quarter<3>(left);
    }
};

// sums[row] = the integers of sixteen outputs in a group times rows[row], where none is rounded.
template <size_t kRows>
GPTOSS_INLINE void multiply_bytes_of_rows(const uint8_t* blocks, // [output, row_bytes]
                                          size_t row_bytes,
                                          size_t num_blocks,
                                          const ByteScales<kRows>& scales,
                                          const GroupBytes* rows,
                                          const uint8_t* ahead, // lines that are needed later
                                          LaneWords (&sums)[kRows]) {
    // Nothing past the end of a row is read: the last one may end the file.
    const __mmask16 present = (__mmask16)((1u << (4 * num_blocks)) - 1);
    // Of these and `row_bytes`, x86 makes four outputs' addresses; sixteen pointers would not fit its registers.
    const uint8_t* four = blocks;
    size_t three_rows = 3 * row_bytes;
    asm("" : "+r"(three_rows));
    LaneWords quads[kRows][kQuarters]; // of the outputs 4q to 4q + 3, by block
#pragma GCC unroll 4
    for (size_t q = 0; q < kQuarters; q++) {
        asm("" : "+r"(four));
        LaneWords dots[kRows][4];
#pragma GCC unroll 4
        for (size_t lane = 0; lane < 4; lane++) {
            const uint8_t* const row_blocks = four + (lane == 3 ? three_rows : lane * row_bytes);
            prefetch_expert(ahead + lane * kCacheLine, row_blocks);
            LaneWords bytes = (LaneWords)_mm512_maskz_loadu_epi32(present, row_blocks);
            keep_in_turn(bytes, ahead);
            const LaneWords low = int8_codes(bytes & 0x0F0F0F0Fu);
            const LaneWords high = int8_codes((bytes >> 4) & 0x0F0F0F0Fu);
            for (size_t row = 0; row < kRows; row++) {
                Int8Sums dot = add_int8_products(Int8Sums{}, low, load<LaneWords>(rows[row].upper[0]));
                dot = add_int8_products(dot, high, load<LaneWords>(rows[row].upper[1])) << 8;
                dot = add_int8_products(dot, low, load<LaneWords>(rows[row].lower[0]));
                dot = add_int8_products(dot, high, load<LaneWords>(rows[row].lower[1]));
                dots[row][lane] = (LaneWords)dot;
            }
        }
        four += 4 * row_bytes;
        ahead += 4 * kCacheLine;
        for (size_t row = 0; row < kRows; row++) {
            const LaneWords quad = combine_within_quarters(dots[row], AddLanes{}) - (LaneWords)rows[row].offsets;
            quads[row][q] = (LaneWords)_mm512_maskz_sllv_epi32(kAllLanes, (__m512i)quad, (__m512i)scales.shifts[q]);
        }
    }
    for (size_t row = 0; row < kRows; row++) {
        sums[row] = combine_quarters(quads[row], AddLanes{});
    }
}
#endif

} // namespace
} // namespace gptoss::cpu
