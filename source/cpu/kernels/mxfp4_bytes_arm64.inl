// MXFP4 codes multiplied as bytes with arm64's SDOT: sums of four products of signed bytes.
//
// What a block's scale leaves of its codes is in a table of its own: the codes themselves where it is lower than the
// group's highest one by up to 2^7, whose sums are then multiplied by a power of two, and rounded ones below. So all
// weights are bytes, and none needs the form in 16 bits.

namespace gptoss::cpu {
namespace {

#if defined(GPTOSS_NEON) && defined(__ARM_FEATURE_DOTPROD)
#define GPTOSS_MXFP4_BYTES

// [n][code]: the code times 2^-n, halves up. From n = 5 on all are zeros.
struct CodeTables {
    alignas(16) int8_t values[9][16];
    constexpr CodeTables() : values() {
        for (int n = 0; n < 9; n++) {
            for (int code = 0; code < 16; code++) {
                values[n][code] = (int8_t)((kMxfp4Codes[code] + (1 << n >> 1)) >> n);
            }
        }
    }
};
constexpr CodeTables kCodeTables;

// Of a row in a group, code = 256 upper + lower, both of -128 to 127.
struct GroupBytes {
    // [block][upper, lower][low, high nibbles][inputs]: as a block's bytes follow one another.
    alignas(16) int8_t bytes[kGroupBlocks][2][2][16];
};

// codes: a group in CodeOrder::mxfp4.
GPTOSS_INLINE void split_group(const int16_t* codes, GroupBytes& result) {
    const int16x8_t half = vdupq_n_s16(128);
    for (size_t block = 0; block < kGroupBlocks; block++) {
        for (size_t nibble = 0; nibble < 2; nibble++) {
            // Classes 0 and 1 belong to low nibbles, of even and of odd bytes; 2 and 3 to high ones.
            const int16x8_t even = vld1q_s16(codes + 2 * nibble * kClassInputs + block * 8);
            const int16x8_t odd = vld1q_s16(codes + (2 * nibble + 1) * kClassInputs + block * 8);
            vst1q_s8(result.bytes[block][0][nibble], vtrn2q_s8(vreinterpretq_s8_s16(vaddq_s16(even, half)),
                                                               vreinterpretq_s8_s16(vaddq_s16(odd, half))));
            vst1q_s8(result.bytes[block][1][nibble], vtrn1q_s8(vreinterpretq_s8_s16(even), vreinterpretq_s8_s16(odd)));
        }
    }
}

// What the scale bytes of four outputs in a group come to.
struct BlockScales {
    LaneFloats scales;               // of the integers of each output
    uint8_t tables[4][kGroupBlocks]; // [output][block], in kCodeTables
    uint32x4_t powers[4];            // of each output, lane = block: what the sums of its bytes are multiplied by

    GPTOSS_INLINE_MEMBER void find(LaneWords scale_bytes) {
        const uint8x16_t bytes = (uint8x16_t)scale_bytes;
        const uint8x16_t pairs = vmaxq_u8(bytes, vrev16q_u8(bytes));
        const uint8x16_t highest = vmaxq_u8(pairs, vreinterpretq_u8_u16(vrev32q_u16(vreinterpretq_u16_u8(pairs))));
        scales = Mxfp4Integers::integer_scale((LaneWords)highest & 0xFFu);
        const uint8x16_t below = vsubq_u8(highest, bytes);
        const uint8x16_t seven = vdupq_n_u8(7);
        store(tables[0], vminq_u8(vqsubq_u8(below, seven), vdupq_n_u8(8)));
        const int8x16_t shift = vreinterpretq_s8_u8(vsubq_u8(seven, vminq_u8(below, seven)));
        const uint8x16_t power = vshlq_u8(vdupq_n_u8(1), shift);
        const uint16x8_t low = vmovl_u8(vget_low_u8(power));
        const uint16x8_t high = vmovl_high_u8(power);
        powers[0] = vmovl_u16(vget_low_u16(low));
        powers[1] = vmovl_high_u16(low);
        powers[2] = vmovl_u16(vget_low_u16(high));
        powers[3] = vmovl_high_u16(high);
    }
};

// As few rows want it (mxfp4_bytes.inl).
template <size_t kRows>
struct ByteScales : BlockScales {
    static constexpr bool exact = true;

    GPTOSS_INLINE_MEMBER void find(LaneWords scale_bytes, size_t, const GroupBytes*) { BlockScales::find(scale_bytes); }
};

// The bytes of a block, of its low and of its high nibbles.
GPTOSS_INLINE void unpack_bytes(const uint8_t* block, uint8_t table, int8x16_t& low, int8x16_t& high) {
    const int8x16_t codes = vld1q_s8(kCodeTables.values[table]);
    const uint8x16_t nibbles = vld1q_u8(block);
    low = vqtbl1q_s8(codes, vandq_u8(nibbles, vdupq_n_u8(15)));
    high = vqtbl1q_s8(codes, vshrq_n_u8(nibbles, 4));
}

// dots[i] += products[i] * powers[kBlock]
template <int kBlock>
GPTOSS_INLINE int32x4_t add_block(int32x4_t dots, int32x4_t products, uint32x4_t powers) {
    return vmlaq_laneq_s32(dots, products, vreinterpretq_s32_u32(powers), kBlock);
}

template <int kBlock, size_t kRows>
GPTOSS_INLINE void multiply_block_of_rows(const uint8_t* blocks,
                                          size_t row_bytes,
                                          const BlockScales& scales,
                                          const GroupBytes* rows,
                                          int32x4_t (&dots)[kRows][4]) {
#pragma GCC unroll 4
    for (size_t output = 0; output < 4; output++) {
        int8x16_t low;
        int8x16_t high;
        unpack_bytes(blocks + output * row_bytes + kBlock * 16, scales.tables[output][kBlock], low, high);
        for (size_t row = 0; row < kRows; row++) {
            const int8_t(&bytes)[2][2][16] = rows[row].bytes[kBlock];
            int32x4_t products = vdotq_s32(vdupq_n_s32(0), low, vld1q_s8(bytes[0][0]));
            products = vshlq_n_s32(vdotq_s32(products, high, vld1q_s8(bytes[0][1])), 8);
            products = vdotq_s32(products, low, vld1q_s8(bytes[1][0]));
            products = vdotq_s32(products, high, vld1q_s8(bytes[1][1]));
            dots[row][output] = add_block<kBlock>(dots[row][output], products, scales.powers[output]);
        }
    }
}

// sums[row] = the integers of four outputs in a group times rows[row].
template <size_t kRows>
GPTOSS_INLINE void multiply_bytes_of_rows(const uint8_t* blocks, // [output, row_bytes]
                                          size_t row_bytes,
                                          size_t num_blocks,
                                          const ByteScales<kRows>& scales,
                                          const GroupBytes* rows,
                                          const uint8_t* ahead, // lines that are needed later
                                          LaneWords (&sums)[kRows]) {
    static_assert(kOutputLanes == 4 && kGroupBlocks == 4);
#pragma GCC unroll 4
    for (size_t output = 0; output < 4; output++) {
        __builtin_prefetch(ahead + output * kCacheLine, 0, 3);
    }
    int32x4_t dots[kRows][4] = {}; // lane = a quarter of a group's inputs
    multiply_block_of_rows<0>(blocks, row_bytes, scales, rows, dots);
    if (num_blocks > 1) {
        multiply_block_of_rows<1>(blocks, row_bytes, scales, rows, dots);
    }
    if (num_blocks > 2) {
        multiply_block_of_rows<2>(blocks, row_bytes, scales, rows, dots);
    }
    if (num_blocks > 3) {
        multiply_block_of_rows<3>(blocks, row_bytes, scales, rows, dots);
    }
    for (size_t row = 0; row < kRows; row++) {
        const int32x4_t first = vpaddq_s32(dots[row][0], dots[row][1]);
        const int32x4_t second = vpaddq_s32(dots[row][2], dots[row][3]);
        sums[row] = (LaneWords)vpaddq_s32(first, second);
    }
}
#endif

} // namespace
} // namespace gptoss::cpu
