// Products of MXFP4 weights with activations of eight bits: fast precision.
//
// The products of a block of 32 inputs are summed as integers, exactly, and these sums, times the scales of both
// factors, are added in ascending order in fp32. So a value has the same bits with few rows, where lane = input, and
// with many, where lane = output.

namespace gptoss::cpu {
namespace {

constexpr size_t kBlockWords = 8; // of four inputs: even ones first, then odd ones

// kIntegerTileOutputs outputs of a group, each word with four inputs of an output.
struct alignas(64) Int8Tile {
    LaneWords codes[kGroupBlocks][kBlockWords][kIntegerTileVectors];
    LaneFloats scales[kGroupBlocks][kIntegerTileVectors];
};

struct Mxfp4Int8 : Mxfp4Rows {
    // Of block `block` of a group, from the group's scale bytes.
    static GPTOSS_INLINE_MEMBER LaneFloats block_scale(LaneWords scale_bytes, size_t block) {
        return code_scale((scale_bytes >> (uint32_t)(8 * block)) & 0xFFu);
    }

    // totals[row] += kOutputLanes outputs of a group, from their scale bytes, times groups[row].
    // lane = input while products are added up: the bytes of an output's group are next to one another.
    template <size_t kRows>
    GPTOSS_INLINE_MEMBER void multiply_rows(size_t output,
                                            size_t group,
                                            size_t num_blocks,
                                            LaneWords scale_bytes,
                                            const Int8Group* groups,
                                            LaneFloats (&totals)[kRows]) const {
        const size_t row_bytes = num_inputs / 2;
        const uint8_t* blocks = matrix.blocks + output * row_bytes + group * (kGroupInputs / 2);
        size_t stride = row_bytes;
        const uint8_t* ahead = next_lines(output, group);
        // Nothing past the end of a row is read: the last one may end the file.
        alignas(64) uint8_t padded[kOutputLanes][kGroupInputs / 2];
        if (num_blocks % kQuarters != 0) {
            memset(padded, 0, sizeof(padded));
            for (size_t lane = 0; lane < kOutputLanes; lane++) {
                memcpy(padded[lane], blocks + lane * row_bytes, num_blocks * 16);
            }
            blocks = padded[0];
            stride = sizeof(padded[0]);
        }
        // A register has a block in each quarter.
#pragma GCC unroll 4
        for (size_t first = 0; first < num_blocks; first += kQuarters) {
            LaneWords quads[kRows][kQuarters]; // of the outputs 4q to 4q + 3, by block
#pragma GCC unroll 4
            for (size_t q = 0; q < kQuarters; q++) {
                LaneWords dots[kRows][4];
#pragma GCC unroll 4
                for (size_t lane = 0; lane < 4; lane++) {
                    const size_t i = 4 * q + lane;
                    if (first == 0) {
                        prefetch_expert(ahead + i * kCacheLine, blocks + i * stride);
                    }
                    LaneWords bytes = load<LaneWords>(blocks + i * stride + first * 16);
                    keep_in_turn(bytes, ahead);
                    const LaneWords low = int8_codes(bytes & 0x0F0F0F0Fu);
                    const LaneWords high = int8_codes((bytes >> 4) & 0x0F0F0F0Fu);
                    for (size_t row = 0; row < kRows; row++) {
                        Int8Sums sums = begin_int8_sums(0);
                        sums = add_int8_products(sums, low, load<LaneWords>(groups[row].codes[0][first]));
                        sums = add_int8_products(sums, high, load<LaneWords>(groups[row].codes[1][first]));
                        dots[row][lane] = (LaneWords)end_int8_sums(sums);
                    }
                }
                for (size_t row = 0; row < kRows; row++) {
                    quads[row][q] = combine_within_quarters(dots[row], AddLanes{});
                }
            }
            for (size_t row = 0; row < kRows; row++) {
                LaneWords by_block[kQuarters];
                transpose_quarters(quads[row], by_block);
                for (size_t b = 0; b < kQuarters && first + b < num_blocks; b++) {
                    const size_t block = first + b;
                    const LaneInts dot = (LaneInts)by_block[b] - kInt8CodeOffset * groups[row].sums[block];
                    totals[row] =
                        add_scaled(totals[row], dot, block_scale(scale_bytes, block) * groups[row].scales[block]);
                }
            }
        }
    }
};

template <size_t kRows>
static void multiply_few_rows(
    const Mxfp4Int8& weights, size_t output, size_t num_outputs, const RowsOfInt8& rows, float* sums) {
    for (size_t i = 0; i < num_outputs; i += kOutputLanes) {
        LaneFloats totals[kRows] = {};
        LaneWords scale_bytes[4];
        for_each_group(weights.num_inputs / 32, [&](size_t group, size_t num_blocks) GPTOSS_INLINE_LAMBDA {
            if (group % 4 == 0) {
                weights.load_scales(output + i, group, scale_bytes);
            }
            weights.multiply_rows(output + i, group, num_blocks, scale_bytes[group % 4], rows.groups(group, 0), totals);
        });
        for (size_t row = 0; row < kRows; row++) {
            store(sums + row * kIntegerPanel + i, totals[row]);
        }
    }
}

template <>
struct TileOf<Mxfp4Int8> {
    typedef Int8Tile Type;
};

GPTOSS_INLINE void unpack_vector(const Mxfp4Int8& weights,
                                 size_t output,
                                 size_t group,
                                 size_t num_blocks,
                                 LaneWords scale_bytes,
                                 size_t vector,
                                 Int8Tile& tile) {
    const size_t row_bytes = weights.num_inputs / 2;
    const uint8_t* const blocks = weights.matrix.blocks + output * row_bytes + group * kGroupInputs / 2;
    for (size_t block = 0; block < num_blocks; block++) {
        LaneWords columns[4];
        load_columns(blocks + block * 16, row_bytes, columns);
        for (size_t word = 0; word < 4; word++) {
            tile.codes[block][word][vector] = int8_codes(columns[word] & 0x0F0F0F0Fu);
            tile.codes[block][4 + word][vector] = int8_codes((columns[word] >> 4) & 0x0F0F0F0Fu);
        }
        tile.scales[block][vector] = Mxfp4Int8::block_scale(scale_bytes, block);
    }
}

// sums[row][output] += tile[output] . rows[row]
template <size_t kRows>
GPTOSS_INLINE void multiply_tile(const Int8Tile& tile,
                                 size_t num_blocks,
                                 const RowsOfInt8& all_rows,
                                 size_t group,
                                 size_t first_row,
                                 float* sums) {                      // [kRows, kIntegerPanel]
    const Int8Group* const rows = all_rows.groups(group, first_row); // [kRows]
#pragma GCC unroll 1
    for (size_t block = 0; block < num_blocks; block++) {
        Int8Sums dots[kRows][kIntegerTileVectors];
        for (size_t row = 0; row < kRows; row++) {
            for (size_t vector = 0; vector < kIntegerTileVectors; vector++) {
                dots[row][vector] = begin_int8_sums(rows[row].starts[block]);
            }
        }
#pragma GCC unroll 8
        for (size_t word = 0; word < kBlockWords; word++) {
            for (size_t row = 0; row < kRows; row++) {
                uint32_t four;
                memcpy(&four, rows[row].codes[word / 4][block] + word % 4 * 4, sizeof(four));
                for (size_t vector = 0; vector < kIntegerTileVectors; vector++) {
                    dots[row][vector] =
                        add_int8_products(dots[row][vector], tile.codes[block][word][vector], LaneWords{} + four);
                }
            }
        }
        for (size_t row = 0; row < kRows; row++) {
            const float row_scale = rows[row].scales[block];
            for (size_t vector = 0; vector < kIntegerTileVectors; vector++) {
                float* const sum = sums + row * kIntegerPanel + vector * kOutputLanes;
                const LaneFloats scale = tile.scales[block][vector] * row_scale;
                store(sum, add_scaled(load<LaneFloats>(sum), end_int8_sums(dots[row][vector]), scale));
            }
        }
    }
}

} // namespace
} // namespace gptoss::cpu
