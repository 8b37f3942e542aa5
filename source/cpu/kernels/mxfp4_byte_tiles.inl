// Many rows of experts with arm64's products of bytes: SDOT, and SMMLA where the processor has it, which multiplies two
// rows with two outputs at once.
//
// A tile's activations are split into bytes for all outputs of a panel. A block's sums of upper bytes' products, times
// 256, are what those of lower bytes' are added to; all of it is exact, so that the integers are those of the other
// forms.

namespace gptoss::cpu {
namespace {

#if defined(GPTOSS_NEON) && defined(__ARM_FEATURE_DOTPROD)

constexpr size_t kByteTileRows = 4;
constexpr size_t kByteTileOutputs = 8;
constexpr size_t kByteTileVectors = 2; // of four outputs

// kByteTileOutputs outputs of a group.
struct ByteTile {
    // [block][low, high nibbles][step], of each step 8 outputs by 4 inputs for SDOT in two registers, or 8 outputs by
    // 8 inputs for SMMLA in four.
    alignas(64) int8_t weights[kGroupBlocks][2][kByteTileOutputs * 16];
    LaneInts powers[kGroupBlocks][kByteTileVectors]; // [block], of each output
    LaneFloats scales[kByteTileVectors];
};

#if defined(__ARM_FEATURE_MATMUL_INT8)

// Of two rows at a time: [pair][block][upper, lower][low, high nibbles], of each eight inputs both rows'.
struct RowTile {
    alignas(64) int8_t bytes[kByteTileRows / 2][kGroupBlocks][2][2][32];
};

GPTOSS_INLINE void join_rows(const GroupBytes& first, const GroupBytes& second, size_t pair, RowTile& result) {
    for (size_t block = 0; block < kGroupBlocks; block++) {
        for (size_t plane = 0; plane < 2; plane++) {
            for (size_t nibble = 0; nibble < 2; nibble++) {
                const int64x2_t a = vreinterpretq_s64_s8(vld1q_s8(first.bytes[block][plane][nibble]));
                const int64x2_t b = vreinterpretq_s64_s8(vld1q_s8(second.bytes[block][plane][nibble]));
                int8_t* const to = result.bytes[pair][block][plane][nibble];
                vst1q_s8(to, vreinterpretq_s8_s64(vzip1q_s64(a, b)));
                vst1q_s8(to + 16, vreinterpretq_s8_s64(vzip2q_s64(a, b)));
            }
        }
    }
}

// num_rows rows of a group from `row` on, zeros behind the last one.
GPTOSS_INLINE void split_rows(const RowsOfGroups& rows, size_t group, size_t row, size_t num_rows, RowTile& result) {
    for (size_t pair = 0; pair < (num_rows + 1) / 2; pair++) {
        GroupBytes split[2] = {};
        for (size_t i = 0; i < 2 && 2 * pair + i < num_rows; i++) {
            split_group(rows.rows.codes + rows.place(group, row + 2 * pair + i) * kGroupInputs, split[i]);
        }
        join_rows(split[0], split[1], pair, result);
    }
}

// Two outputs at a time, of each eight inputs.
GPTOSS_INLINE void store_four_outputs(const int8x16_t (&outputs)[4], size_t vector, int8_t* to) {
    for (size_t i = 0; i < 4; i += 2) {
        const int64x2_t a = vreinterpretq_s64_s8(outputs[i]);
        const int64x2_t b = vreinterpretq_s64_s8(outputs[i + 1]);
        int8_t* const pair = to + (2 * vector + i / 2) * 16;
        vst1q_s8(pair, vreinterpretq_s8_s64(vzip1q_s64(a, b)));
        vst1q_s8(pair + kByteTileOutputs * 8, vreinterpretq_s8_s64(vzip2q_s64(a, b)));
    }
}

// totals[row][vector] = tile . rows
template <size_t kRows>
GPTOSS_INLINE void multiply_byte_tile(const ByteTile& tile,
                                      size_t num_blocks,
                                      const RowTile& rows,
                                      LaneInts (&totals)[kRows][2]) {
    constexpr size_t kPairs = (kRows + 1) / 2;
    int32x4_t sums[kPairs][4] = {}; // [rows][outputs] two by two: (0, 0), (0, 1), (1, 0), (1, 1)
#pragma GCC unroll 1
    for (size_t block = 0; block < num_blocks; block++) {
        int32x4_t dots[kPairs][4] = {};
#pragma GCC unroll 2
        for (size_t plane = 0; plane < 2; plane++) {
            for (size_t i = 0; i < kPairs * 4 && plane == 1; i++) {
                dots[i / 4][i % 4] = vshlq_n_s32(dots[i / 4][i % 4], 8);
            }
#pragma GCC unroll 4
            for (size_t step = 0; step < 4; step++) {
                const int8_t* const weights = tile.weights[block][step / 2] + step % 2 * kByteTileOutputs * 8;
                int8x16_t inputs[kPairs];
                for (size_t pair = 0; pair < kPairs; pair++) {
                    inputs[pair] = vld1q_s8(rows.bytes[pair][block][plane][step / 2] + step % 2 * 16);
                }
#pragma GCC unroll 4
                for (size_t i = 0; i < 4; i++) {
                    const int8x16_t outputs = vld1q_s8(weights + i * 16);
                    for (size_t pair = 0; pair < kPairs; pair++) {
                        dots[pair][i] = vmmlaq_s32(dots[pair][i], inputs[pair], outputs);
                    }
                }
            }
        }
        for (size_t i = 0; i < 4; i++) {
            const int32x4_t powers = (int32x4_t)tile.powers[block][i / 2];
            const int32x4_t two = vreinterpretq_s32_s64(i % 2 == 0 ? vdupq_laneq_s64(vreinterpretq_s64_s32(powers), 0)
                                                                   : vdupq_laneq_s64(vreinterpretq_s64_s32(powers), 1));
            for (size_t pair = 0; pair < kPairs; pair++) {
                sums[pair][i] = vmlaq_s32(sums[pair][i], dots[pair][i], two);
            }
        }
    }
    for (size_t row = 0; row < kRows; row++) {
        for (size_t vector = 0; vector < 2; vector++) {
            const int64x2_t low = vreinterpretq_s64_s32(sums[row / 2][2 * vector]);
            const int64x2_t high = vreinterpretq_s64_s32(sums[row / 2][2 * vector + 1]);
            totals[row][vector] = (LaneInts)(row % 2 == 0 ? vzip1q_s64(low, high) : vzip2q_s64(low, high));
        }
    }
}

#else

struct RowTile {
    GroupBytes rows[kByteTileRows];
};

GPTOSS_INLINE void split_rows(const RowsOfGroups& rows, size_t group, size_t row, size_t num_rows, RowTile& result) {
    for (size_t i = 0; i < num_rows; i++) {
        split_group(rows.rows.codes + rows.place(group, row + i) * kGroupInputs, result.rows[i]);
    }
}

// Four outputs at a time, of each four inputs.
GPTOSS_INLINE void store_four_outputs(const int8x16_t (&outputs)[4], size_t vector, int8_t* to) {
    const int32x4_t a = vreinterpretq_s32_s8(outputs[0]);
    const int32x4_t b = vreinterpretq_s32_s8(outputs[1]);
    const int32x4_t c = vreinterpretq_s32_s8(outputs[2]);
    const int32x4_t d = vreinterpretq_s32_s8(outputs[3]);
    const int64x2_t even_low = vreinterpretq_s64_s32(vtrn1q_s32(a, b)); // words 0 and 2 of a and b
    const int64x2_t odd_low = vreinterpretq_s64_s32(vtrn2q_s32(a, b));
    const int64x2_t even_high = vreinterpretq_s64_s32(vtrn1q_s32(c, d));
    const int64x2_t odd_high = vreinterpretq_s64_s32(vtrn2q_s32(c, d));
    constexpr size_t kStep = kByteTileOutputs * 4;
    to += vector * 16;
    vst1q_s8(to, vreinterpretq_s8_s64(vtrn1q_s64(even_low, even_high)));
    vst1q_s8(to + kStep, vreinterpretq_s8_s64(vtrn1q_s64(odd_low, odd_high)));
    vst1q_s8(to + 2 * kStep, vreinterpretq_s8_s64(vtrn2q_s64(even_low, even_high)));
    vst1q_s8(to + 3 * kStep, vreinterpretq_s8_s64(vtrn2q_s64(odd_low, odd_high)));
}

// dots += step kStep of the weights times inputs 4 kStep to 4 kStep + 3
template <int kStep, size_t kRows>
GPTOSS_INLINE void multiply_step(const int8_t* weights, const int8x16_t (&inputs)[kRows], int32x4_t (&dots)[kRows][2]) {
    const int8x16_t first = vld1q_s8(weights + kStep * kByteTileOutputs * 4);
    const int8x16_t second = vld1q_s8(weights + kStep * kByteTileOutputs * 4 + 16);
    for (size_t row = 0; row < kRows; row++) {
        dots[row][0] = vdotq_laneq_s32(dots[row][0], first, inputs[row], kStep);
        dots[row][1] = vdotq_laneq_s32(dots[row][1], second, inputs[row], kStep);
    }
}

// totals[row][vector] = tile . rows
template <size_t kRows>
GPTOSS_INLINE void multiply_byte_tile(const ByteTile& tile,
                                      size_t num_blocks,
                                      const RowTile& rows,
                                      LaneInts (&totals)[kRows][2]) {
    int32x4_t sums[kRows][2] = {};
#pragma GCC unroll 1
    for (size_t block = 0; block < num_blocks; block++) {
        int32x4_t dots[kRows][2] = {};
#pragma GCC unroll 2
        for (size_t plane = 0; plane < 2; plane++) {
            for (size_t row = 0; row < kRows && plane == 1; row++) {
                dots[row][0] = vshlq_n_s32(dots[row][0], 8);
                dots[row][1] = vshlq_n_s32(dots[row][1], 8);
            }
#pragma GCC unroll 2
            for (size_t nibble = 0; nibble < 2; nibble++) {
                int8x16_t inputs[kRows];
                for (size_t row = 0; row < kRows; row++) {
                    inputs[row] = vld1q_s8(rows.rows[row].bytes[block][plane][nibble]);
                }
                const int8_t* const weights = tile.weights[block][nibble];
                multiply_step<0>(weights, inputs, dots);
                multiply_step<1>(weights, inputs, dots);
                multiply_step<2>(weights, inputs, dots);
                multiply_step<3>(weights, inputs, dots);
            }
        }
        for (size_t row = 0; row < kRows; row++) {
            for (size_t vector = 0; vector < 2; vector++) {
                sums[row][vector] =
                    vmlaq_s32(sums[row][vector], dots[row][vector], (int32x4_t)tile.powers[block][vector]);
            }
        }
    }
    for (size_t row = 0; row < kRows; row++) {
        for (size_t vector = 0; vector < 2; vector++) {
            totals[row][vector] = (LaneInts)sums[row][vector];
        }
    }
}

#endif

// Of a group, outputs `output` to output + 3, which become vector `vector` of the tile.
GPTOSS_INLINE void unpack_four_outputs(const Mxfp4Integers& weights,
                                       size_t output,
                                       size_t group,
                                       size_t num_blocks,
                                       LaneWords scale_bytes,
                                       size_t vector,
                                       ByteTile& tile) {
    BlockScales scales;
    scales.find(scale_bytes);
    tile.scales[vector] = scales.scales;
    // From lane = block to lane = output.
    const LaneWords by_output[4] = {(LaneWords)scales.powers[0], (LaneWords)scales.powers[1],
                                    (LaneWords)scales.powers[2], (LaneWords)scales.powers[3]};
    LaneWords by_block[4];
    load_columns((const uint8_t*)by_output, sizeof(by_output[0]), by_block);
    const size_t row_bytes = weights.num_inputs / 2;
    const uint8_t* const blocks = weights.matrix.blocks + output * row_bytes + group * kGroupInputs / 2;
    for (size_t block = 0; block < num_blocks; block++) {
        tile.powers[block][vector] = (LaneInts)by_block[block];
        int8x16_t low[4];
        int8x16_t high[4];
        for (size_t i = 0; i < 4; i++) {
            unpack_bytes(blocks + i * row_bytes + block * 16, scales.tables[i][block], low[i], high[i]);
        }
        store_four_outputs(low, vector, tile.weights[block][0]);
        store_four_outputs(high, vector, tile.weights[block][1]);
    }
}

// sums[row][output] += tile[output] . rows[row]
template <size_t kRows>
GPTOSS_INLINE void add_byte_tile(const ByteTile& tile,
                                 size_t num_blocks,
                                 const RowTile& row_tile,
                                 const RowsOfGroups& rows,
                                 size_t group,
                                 size_t first_row,
                                 float* sums) { // [kRows, kIntegerPanel]
    LaneInts totals[kRows][kByteTileVectors];
    multiply_byte_tile<kRows>(tile, num_blocks, row_tile, totals);
    for (size_t row = 0; row < kRows; row++) {
        const float row_scale = rows.scale(group, first_row + row);
        for (size_t vector = 0; vector < kByteTileVectors; vector++) {
            float* const sum = sums + row * kIntegerPanel + vector * kOutputLanes;
            store(sum, add_scaled(load<LaneFloats>(sum), totals[row][vector], tile.scales[vector] * row_scale));
        }
    }
}

// As multiply_many_rows() for weights of any format.
static void multiply_many_rows(const Mxfp4Integers& weights,
                               size_t output,
                               size_t num_outputs,
                               const RowsOfGroups& rows,
                               size_t num_rows,
                               float* sums) { // [num_rows, kIntegerPanel]
    ByteTile tiles[kIntegerPanel / kByteTileOutputs];
    memset(sums, 0, num_rows * kIntegerPanel * sizeof(float));
    LaneWords scale_bytes[kIntegerPanel / kOutputLanes][4];
    for_each_group(weights.num_inputs / 32, [&](size_t group, size_t num_blocks) GPTOSS_INLINE_LAMBDA {
        for (size_t i = 0; i < num_outputs; i += kOutputLanes) {
            LaneWords(&bytes)[4] = scale_bytes[i / kOutputLanes];
            if (group % 4 == 0) {
                weights.load_scales(output + i, group, bytes);
            }
            unpack_four_outputs(weights, output + i, group, num_blocks, bytes[group % 4],
                                i % kByteTileOutputs / kOutputLanes, tiles[i / kByteTileOutputs]);
            for (size_t j = 0; j < kOutputLanes; j++) {
                weights.prefetch_later(output + i + j, group, num_outputs);
            }
        }
        for (size_t row = 0; row < num_rows; row += kByteTileRows) {
            const size_t tile_rows = num_rows - row < kByteTileRows ? num_rows - row : kByteTileRows;
            RowTile row_tile;
            split_rows(rows, group, row, tile_rows, row_tile);
            for (size_t i = 0; i < num_outputs; i += kByteTileOutputs) {
                const ByteTile& tile = tiles[i / kByteTileOutputs];
                float* const tile_sums = sums + row * kIntegerPanel + i;
                switch (tile_rows) {
                    case 1:
                        add_byte_tile<1>(tile, num_blocks, row_tile, rows, group, row, tile_sums);
                        break;
                    case 2:
                        add_byte_tile<2>(tile, num_blocks, row_tile, rows, group, row, tile_sums);
                        break;
                    case 3:
                        add_byte_tile<3>(tile, num_blocks, row_tile, rows, group, row, tile_sums);
                        break;
                    default:
                        add_byte_tile<kByteTileRows>(tile, num_blocks, row_tile, rows, group, row, tile_sums);
                        break;
                }
            }
        }
    });
}
#endif

} // namespace
} // namespace gptoss::cpu
