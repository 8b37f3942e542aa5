// MXFP4 weights as 16-bit integers that share a scale in a group of 128 inputs (kernels.h).

namespace gptoss::cpu {
namespace {

// Twice the value of each 4-bit code.
alignas(16) constexpr int8_t kMxfp4Codes[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

#if !defined(__AVX2__) && !defined(GPTOSS_NEON)
// Not inline, as is add_int8_products(): compilers would write it out hundreds of times.
static __attribute__((noinline)) LaneWords look_up_mxfp4_codes(LaneWords nibbles) {
    int8_t bytes[sizeof(LaneWords)];
    store(bytes, nibbles);
    for (int8_t& byte : bytes) {
        byte = kMxfp4Codes[byte];
    }
    return load<LaneWords>(bytes);
}
#endif

GPTOSS_INLINE LaneWords mxfp4_codes(LaneWords nibbles) { // one in every byte
#if defined(__AVX512F__)
    const __m512i table = _mm512_maskz_broadcast_i32x4(kAllLanes, _mm_load_si128((const __m128i*)kMxfp4Codes));
    return (LaneWords)_mm512_maskz_shuffle_epi8(~(__mmask64)0, table, (__m512i)nibbles);
#elif defined(__AVX2__)
    const __m256i table = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i*)kMxfp4Codes));
    return (LaneWords)_mm256_shuffle_epi8(table, (__m256i)nibbles);
#elif defined(GPTOSS_NEON)
    return (LaneWords)vqtbl1q_s8(vld1q_s8(kMxfp4Codes), (uint8x16_t)nibbles);
#else
    return look_up_mxfp4_codes(nibbles);
#endif
}

// Bytes of codes as four classes of 16-bit integers, 256 times the codes: the low nibbles of even and of odd bytes,
// then the high nibbles. Byte j of a block holds elements 2j and 2j + 1, so pairs of lanes hold elements (0, 4), (2,
// 6), (1, 5) and (3, 7) of each eight: CodeOrder::mxfp4.
GPTOSS_INLINE void mxfp4_integers(LaneWords bytes, LaneShorts (&classes)[4]) {
    const LaneShorts low = (LaneShorts)mxfp4_codes(bytes & 0x0F0F0F0Fu);
    const LaneShorts high = (LaneShorts)mxfp4_codes((bytes >> 4) & 0x0F0F0F0Fu);
    classes[0] = low << 8;
    classes[1] = low & 0xFF00;
    classes[2] = high << 8;
    classes[3] = high & 0xFF00;
}

// What a code of kMxfp4Codes is multiplied by: 2^(byte - 14 - 127) / 2 for a stored scale byte. Bytes up to 15 give
// fp32 subnormals.
GPTOSS_INLINE LaneFloats code_scale(LaneWords bytes) {
    const LaneWords subnormal = (LaneWords{} + 128u) << (bytes & 15u);
    const LaneWords normal = (bytes - 15u) << 23;
    const LaneWords is_normal = (LaneWords)(bytes > 15u);
    return (LaneFloats)((is_normal & normal) | (~is_normal & subnormal));
}

// Prefetches a line of what comes later, and one of the row at hand. Intel gives for Golden Cove (Architecture Day
// 2021) 16 lines that the first-level cache can await at once, and 48 for the second-level one, from where they are
// fetched when they are soon needed: memory gives 1.2 times as much on such a core. Other processors with AVX-512 were
// not timed.
GPTOSS_INLINE void prefetch_expert(const uint8_t* later, [[maybe_unused]] const uint8_t* row) {
#if defined(__AVX512F__)
    __builtin_prefetch(later, 0, 2);
    __builtin_prefetch(row + 2 * kCacheLine, 0, 3);
#else
    __builtin_prefetch(later, 0, 3);
#endif
}

// An expert's rows of weights as they lie in the file.
struct Mxfp4Rows {
    Mxfp4Matrix matrix;
    size_t num_inputs;

    // Scale bytes of four groups from `group` on, of kOutputLanes outputs; zeros behind the last block.
    GPTOSS_INLINE_MEMBER void load_scales(size_t output, size_t group, LaneWords (&groups)[4]) const {
        constexpr size_t kCount = 4 * kGroupBlocks;
        const size_t row_blocks = num_inputs / kMxfp4Block;
        const uint8_t* const rows = matrix.scales + output * row_blocks;
        const size_t first = group * kGroupBlocks;
        // Those of the next kOutputLanes outputs are all needed at once when these outputs are done.
        const uint8_t* const next = rows + kOutputLanes * (row_blocks + first);
        for (size_t i = 0; i < kOutputLanes * kCount; i += kCacheLine) {
            __builtin_prefetch(next + i, 0, 3);
        }
        if (first + kCount <= row_blocks) {
            load_columns(rows + first, row_blocks, groups);
            return;
        }
        // Nothing past the end of a row is read: the last one may end the file.
        const size_t count = row_blocks - first;
#if !defined(__AVX512F__)
        if (row_blocks >= kCount) { // its last bytes, without those that came before
            LaneWords last[8] = {};
            LaneWords columns[4];
            load_columns(rows + row_blocks - kCount, row_blocks, columns);
            for (size_t i = 0; i < 4; i++) {
                last[i] = columns[i];
            }
            const size_t word = (kCount - count) / 4;
            const uint32_t bits = (uint32_t)(kCount - count) % 4 * 8;
            for (size_t i = 0; i < 4; i++) {
                groups[i] = last[word + i] >> bits | last[word + i + 1] << 1 << (31 - bits);
            }
            return;
        }
#endif
        alignas(64) uint8_t padded[kOutputLanes][kCount];
        for (size_t row = 0; row < kOutputLanes; row++) {
#if defined(__AVX512F__)
            const __mmask16 some = (__mmask16)((1u << count) - 1);
            _mm_store_si128((__m128i*)padded[row], _mm_maskz_loadu_epi8(some, rows + row * row_blocks + first));
#else
            memset(padded[row], 0, kCount);
            memcpy(padded[row], rows + row * row_blocks + first, count);
#endif
        }
        load_columns(padded[0], kCount, groups);
    }

    // kOutputLanes cache lines of the outputs that come after these kOutputLanes, to be prefetched with this group: in
    // the order of addresses, so that the processor's own prefetching helps. From the outputs' rows in turn, as the
    // products take them, memory gave a quarter less in fast precision with AVX2.
    GPTOSS_INLINE_MEMBER const uint8_t* next_lines(size_t output, size_t group) const {
        return matrix.blocks + (output + kOutputLanes) * (num_inputs / 2) + group * kOutputLanes * kCacheLine;
    }

    // What takes the place of this group of an output in the next panel. An expert's rows are few enough for the
    // second-level cache to keep it so long, and a group is a whole cache line only in every other row.
    GPTOSS_INLINE_MEMBER void prefetch_later(size_t output, size_t group, size_t panel) const {
        __builtin_prefetch(matrix.blocks + (output + panel) * (num_inputs / 2) + group * (kGroupInputs / 2), 0, 2);
    }
};

// The integers of a group are 128 times the codes of the block with the highest scale, and less in the others: all are
// exact where scales differ by 2^7 at most; a weight so much smaller than the group's largest may be rounded to
// 1/256 of a code of that block.
struct Mxfp4Integers : Mxfp4Rows {
    static constexpr CodeOrder kOrder = CodeOrder::mxfp4;

    struct Scales {
        LaneFloats scales;  // of the integers of each output
        LaneWords below[4]; // how much smaller a block's exponent is than the highest one, 15 at most

        // Whether no weight of the first num_blocks blocks is rounded.
        GPTOSS_INLINE_MEMBER bool exact(size_t num_blocks) const {
            LaneWords any = {};
            for (size_t block = 0; block < num_blocks; block++) {
                any |= below[block];
            }
            return !any_lane(any & 8u);
        }
    };

    // Of a group's integers, from the highest of its scale bytes.
    static GPTOSS_INLINE_MEMBER LaneFloats integer_scale(LaneWords highest) {
        return code_scale(highest) * (1.0f / 128.0f);
    }

    // Of kOutputLanes outputs, from their four scale bytes of a group.
    static GPTOSS_INLINE_MEMBER Scales group_scales(LaneWords bytes) {
        LaneWords exponents[4];
        LaneWords highest = {};
        for (size_t block = 0; block < 4; block++) {
            exponents[block] = (bytes >> (uint32_t)(8 * block)) & 0xFFu;
            highest = exponents[block] > highest ? exponents[block] : highest;
        }
        Scales result;
        result.scales = integer_scale(highest);
        for (size_t block = 0; block < 4; block++) {
            const LaneWords below = highest - exponents[block];
            result.below[block] = below > 15u ? LaneWords{} + 15u : below;
        }
        return result;
    }

    // For scale_codes(): of codes times 256, two to a word.
    static GPTOSS_INLINE_MEMBER LaneShorts factors(LaneWords below) {
        return (LaneShorts)(((LaneWords{} + 0x4000u) >> below) * 0x00010001u);
    }

    // kOutputLanes outputs, lane = output: pairs[(class * 16 + block * 4 + word) * kStride].
    template <size_t kStride>
    GPTOSS_INLINE_MEMBER void unpack_lanes(
        size_t output, size_t group, size_t num_blocks, LaneWords bytes, LaneShorts* pairs, LaneFloats& scales) const {
        const Scales group_scale = group_scales(bytes);
        scales = group_scale.scales;
        const size_t row_bytes = num_inputs / 2;
        const uint8_t* const blocks = matrix.blocks + output * row_bytes + group * kGroupInputs / 2;
        const bool exact = group_scale.exact(num_blocks);
        for (size_t block = 0; block < num_blocks; block++) {
            LaneWords columns[4];
            load_columns(blocks + block * 16, row_bytes, columns);
            LaneShorts* const block_pairs = pairs + block * 4 * kStride;
            if (exact) {
                const LaneShorts powers =
                    (LaneShorts)(((LaneWords{} + 0x80u) >> group_scale.below[block]) * 0x00010001u);
                for (size_t word = 0; word < 4; word++) {
                    const LaneWords low = mxfp4_codes(columns[word] & 0x0F0F0F0Fu);
                    const LaneWords high = mxfp4_codes((columns[word] >> 4) & 0x0F0F0F0Fu);
                    block_pairs[word * kStride] = multiply_bytes<0>(low, powers);
                    block_pairs[(16 + word) * kStride] = multiply_bytes<1>(low, powers);
                    block_pairs[(32 + word) * kStride] = multiply_bytes<0>(high, powers);
                    block_pairs[(48 + word) * kStride] = multiply_bytes<1>(high, powers);
                }
            } else {
                const LaneShorts block_factors = factors(group_scale.below[block]);
                for (size_t word = 0; word < 4; word++) {
                    LaneShorts classes[4];
                    mxfp4_integers(columns[word], classes);
                    for (size_t c = 0; c < 4; c++) {
                        block_pairs[(c * 16 + word) * kStride] = scale_codes(classes[c], block_factors);
                    }
                }
            }
        }
    }

    // sums[row] = the integers of kOutputLanes outputs in a group, from their scale bytes, times inputs[row].
    // lane = input while products are added up: the bytes of an output's group are next to one another.
    template <size_t kRows>
    GPTOSS_INLINE_MEMBER LaneFloats multiply_rows(size_t output,
                                                  size_t group,
                                                  size_t num_blocks,
                                                  LaneWords bytes,
                                                  const int16_t* const (&inputs)[kRows],
                                                  LaneWords (&sums)[kRows]) const {
        const Scales group_scale = group_scales(bytes);
        // Where no weight is rounded, the scales of blocks can be applied to sums.
        if (group_scale.exact(num_blocks)) {
            multiply_rows<true>(output, group, num_blocks, group_scale, inputs, sums);
        } else {
            multiply_rows<false>(output, group, num_blocks, group_scale, inputs, sums);
        }
        return group_scale.scales;
    }

    template <bool kExact, size_t kRows>
    GPTOSS_INLINE_MEMBER void multiply_rows(size_t output,
                                            size_t group,
                                            size_t num_blocks,
                                            const Scales& group_scale,
                                            const int16_t* const (&inputs)[kRows],
                                            LaneWords (&sums)[kRows]) const {
        const size_t row_bytes = num_inputs / 2;
        const uint8_t* const blocks = matrix.blocks + output * row_bytes + group * kGroupInputs / 2;
        const size_t num_groups = (num_inputs + kGroupInputs - 1) / kGroupInputs;
        const size_t later = group + kGroupsAhead;
        const uint8_t* const ahead =
            matrix.blocks + (later < num_groups ? output * row_bytes + later * 64
                                                : (output + kOutputLanes) * row_bytes + (later - num_groups) * 64);
        LaneWords quads[kRows][kQuarters] = {}; // of the outputs 4q to 4q + 3, by block
        for (size_t i = 0; i < kClassRegisters; i++) {
            // Register i of a class has a block in each quarter.
            LaneWords by_block[kQuarters];
            LaneWords below[kQuarters]; // of the blocks of outputs 4q to 4q + 3
            for (size_t q = 0; q < kQuarters; q++) {
                by_block[q] = group_scale.below[i * kQuarters + q];
            }
            transpose_quarters(by_block, below);
#pragma GCC unroll 1
            for (size_t q = 0; q < kQuarters; q++) {
                LaneWords dots[kRows][4];
#pragma GCC unroll 4
                for (size_t lane = 0; lane < 4; lane++) {
                    if (i == 0) {
                        __builtin_prefetch(ahead + (4 * q + lane) * row_bytes, 0, 3);
                    }
                    const uint8_t* const row = blocks + (4 * q + lane) * row_bytes;
                    LaneShorts classes[4];
                    if (num_blocks == kGroupBlocks) {
                        mxfp4_integers(load<LaneWords>(row + i * sizeof(LaneWords)), classes);
                    } else {
                        uint8_t padded[kGroupInputs / 2] = {};
                        memcpy(padded, row, num_blocks * 16);
                        mxfp4_integers(load<LaneWords>(padded + i * sizeof(LaneWords)), classes);
                    }
                    if (!kExact) {
                        // The factor of each lane's block.
                        LaneShorts lane_factors;
                        for (size_t j = 0; j < kRegisterInputs; j++) {
                            lane_factors[j] = (uint16_t)(0x4000u >> below[q][j / 8 * 4 + lane]);
                        }
                        for (LaneShorts& integers : classes) {
                            integers = scale_codes(integers, lane_factors);
                        }
                    }
                    for (size_t r = 0; r < kRows; r++) {
                        PairSums sum = {};
                        for (size_t c = 0; c < 4; c++) {
                            const int16_t* const codes = inputs[r] + c * kClassInputs + i * kRegisterInputs;
                            sum = add_pair_products(sum, classes[c], load<LaneShorts>(codes));
                        }
                        dots[r][lane] = (LaneWords)sum_of_pairs(sum);
                    }
                }
                for (size_t r = 0; r < kRows; r++) {
                    if (kExact) {
                        // 256 codes -> 128 / 2^below. A block alone may have all that a group's sum has room for, so
                        // that 256 codes are halved while they are sums of 16 inputs (12 * 256 * 32639 * 16 < 2^31).
                        const LaneWords quad = combine_within_quarters(dots[r], AddAndHalveLanes{}, AddLanes{});
                        quads[r][q] += (LaneWords)((LaneInts)quad >> (LaneInts)below[q]);
                    } else {
                        quads[r][q] += combine_within_quarters(dots[r], AddLanes{});
                    }
                }
            }
        }
        for (size_t r = 0; r < kRows; r++) {
            sums[r] = combine_quarters(quads[r], AddLanes{});
        }
    }
};

} // namespace
} // namespace gptoss::cpu
