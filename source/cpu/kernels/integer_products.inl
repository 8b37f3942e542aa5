// Products of weights of any format with quantized activations.
//
// The products of a group of 128 inputs, or of half of one where weights are dense, are summed as integers, exactly,
// and these sums, times their scales, are added in ascending order in fp32. So a value does not depend on how its
// integers were summed, and the two forms below, a lane for each output or a lane for each input, give the same bits.

namespace gptoss::cpu {
namespace {

// The tile of the products that are summed in registers: vectors of outputs by rows.
#if defined(__AVX512F__)
constexpr size_t kIntegerTileVectors = 4; // 24 sums, 4 weights and an activation in 32 registers
constexpr size_t kIntegerTileRows = 6;
#else
constexpr size_t kIntegerTileVectors = 2; // 8 sums, 2 weights, an activation and temporaries in 16
constexpr size_t kIntegerTileRows = 4;
#endif
constexpr size_t kIntegerTileOutputs = kIntegerTileVectors * kOutputLanes;
constexpr size_t kPanelTiles = kIntegerPanel / kIntegerTileOutputs;

constexpr size_t kFewRows = 4; // up to which lane = input
// Rows of an expert that go through together: their sums, and the hidden elements that wait for the rest of their
// group, share the scratch. A dense layer's have it for themselves.
constexpr size_t kIntegerExpertRows = kIntegerScratchFloats / (kIntegerPanel + kGroupInputs);
constexpr size_t kIntegerLinearRows = kIntegerScratchFloats / kIntegerPanel;
constexpr size_t kIntegerSumBytes = kIntegerExpertRows * kIntegerPanel * sizeof(float); // of the smaller part

// The rows of quantized activations that go through together.
struct RowsOfGroups {
    const QuantizedRows& rows;
    size_t first;

    template <size_t kRows>
    GPTOSS_INLINE_MEMBER void inputs(size_t group, const int16_t* (&result)[kRows]) const {
        for (size_t i = 0; i < kRows; i++) {
            result[i] = rows.codes + place(group, i) * kGroupInputs;
        }
    }
    GPTOSS_INLINE_MEMBER float scale(size_t group, size_t i) const { return rows.scales[place(group, i)]; }

    GPTOSS_INLINE_MEMBER size_t place(size_t group, size_t i) const { return group * rows.num_rows + first + i; }
};

// Calls use(group, num_blocks) for the groups of a row; num_blocks is a constant for all but the last one.
template <class Use>
GPTOSS_INLINE void for_each_group(size_t num_blocks, const Use& use) {
    size_t group = 0;
    for (; (group + 1) * kGroupBlocks <= num_blocks; group++) {
        use(group, kGroupBlocks);
    }
    if (group * kGroupBlocks < num_blocks) {
        use(group, num_blocks - group * kGroupBlocks);
    }
}

// ---- Few rows: lane = input

// sums[row][lane] = weights[output + lane] . rows[row] for kRows rows and kOutputLanes outputs at once.
template <size_t kRows>
GPTOSS_INLINE void multiply_lanes(const Mxfp4Integers& weights, size_t output, const RowsOfGroups& rows, float* sums) {
    LaneFloats totals[kRows] = {};
    LaneWords scale_bytes[4];
    for_each_group(weights.num_inputs / 32, [&](size_t group, size_t num_blocks) GPTOSS_INLINE_LAMBDA {
        if (group % 4 == 0) {
            weights.load_scales(output, group, scale_bytes);
        }
        const int16_t* inputs[kRows];
        rows.inputs(group, inputs);
        LaneWords dots[kRows];
        const LaneFloats scales =
            weights.multiply_rows(output, group, num_blocks, scale_bytes[group % 4], inputs, dots);
        for (size_t row = 0; row < kRows; row++) {
            totals[row] = add_scaled(totals[row], (LaneInts)dots[row], scales * rows.scale(group, row));
        }
    });
    for (size_t row = 0; row < kRows; row++) {
        store(sums + row * kIntegerPanel, totals[row]);
    }
}

// Four outputs after four: their rows are long.
template <size_t kRows, class Source>
GPTOSS_INLINE void multiply_lanes(const DenseIntegers<Source>& weights,
                                  size_t output,
                                  const RowsOfGroups& rows,
                                  float* sums) {
    for (size_t four = 0; four < kOutputLanes; four += 4) {
        LaneFloats totals[kRows] = {};
        for_each_group(weights.num_inputs / 32, [&](size_t group, size_t num_blocks) GPTOSS_INLINE_LAMBDA {
            const int16_t* inputs[kRows];
            rows.inputs(group, inputs);
            typename Source::Group integers;
            weights.prepare(output + four, group, num_blocks, integers);
            const size_t ahead = weights.ahead(output + four, group);
#pragma GCC unroll 4
            for (size_t i = 0; i < 4; i++) {
                weights.source.prefetch(ahead + i * weights.num_inputs);
            }
            constexpr size_t kSumInputs = kSumClasses<CodeOrder::natural> * kClassInputs;
#pragma GCC unroll 4
            for (size_t first = 0; first < num_blocks * 32; first += kSumInputs) {
                const size_t left = num_blocks * 32 - first;
                const size_t last = first + (left < kSumInputs ? left : kSumInputs);
                LaneWords dots[kRows][4];
#pragma GCC unroll 4
                for (size_t i = 0; i < 4; i++) {
                    LaneInts sum[kRows] = {};
#pragma GCC unroll 16
                    for (size_t input = first; input < last; input += kRegisterInputs) {
                        const LaneShorts codes = weights.source.integers(integers, i, input);
                        for (size_t row = 0; row < kRows; row++) {
                            sum[row] = add_pair_products(sum[row], codes, load<LaneShorts>(inputs[row] + input));
                        }
                    }
                    for (size_t row = 0; row < kRows; row++) {
                        dots[row][i] = (LaneWords)sum[row];
                    }
                }
                for (size_t row = 0; row < kRows; row++) {
                    const LaneWords dot =
                        combine_all_quarters(combine_within_quarters(dots[row], AddLanes{}), AddLanes{});
                    totals[row] = add_scaled(totals[row], (LaneInts)dot, integers.scales * rows.scale(group, row));
                }
            }
        });
        for (size_t row = 0; row < kRows; row++) {
            memcpy(sums + row * kIntegerPanel + four, &totals[row], 16);
        }
    }
}

#if defined(GPTOSS_MXFP4_BYTES)
// The rows' bytes are behind the sums, where many rows would have theirs.
constexpr size_t kBytesOffset = (kFewRows * kIntegerPanel * sizeof(float) + 63) / 64 * 64;

// Longer rows go through in 16 bits.
GPTOSS_INLINE bool fits_as_bytes(size_t num_inputs) {
    const size_t num_groups = (num_inputs + kGroupInputs - 1) / kGroupInputs;
    return kBytesOffset + kFewRows * num_groups * sizeof(GroupBytes) + 64 <= kIntegerSumBytes;
}

GPTOSS_INLINE GroupBytes* bytes_of_rows(float* sums) {
    return (GroupBytes*)(((uintptr_t)sums + kBytesOffset + 63) / 64 * 64);
}

GPTOSS_INLINE void prepare_few_rows(const Mxfp4Integers& weights,
                                    const RowsOfGroups& rows,
                                    size_t num_rows,
                                    float* sums) {
    if (!fits_as_bytes(weights.num_inputs)) {
        return;
    }
    GroupBytes* to = bytes_of_rows(sums);
    for_each_group(weights.num_inputs / 32, [&](size_t group, size_t) {
        for (size_t row = 0; row < num_rows; row++) {
            split_group(rows.rows.codes + rows.place(group, row) * kGroupInputs, *to++);
        }
    });
}

template <size_t kRows>
GPTOSS_INLINE void multiply_bytes(
    const Mxfp4Integers& weights, size_t output, const RowsOfGroups& rows, const GroupBytes* bytes, float* sums) {
    const size_t row_bytes = weights.num_inputs / 2;
    const size_t num_row_blocks = weights.num_inputs / kMxfp4Block;
    const size_t num_groups = (num_row_blocks + kGroupBlocks - 1) / kGroupBlocks;
    LaneFloats totals[kRows] = {};
    LaneWords scale_bytes[4];
    ByteScales<kRows> scales[4];
    for_each_group(num_row_blocks, [&](size_t group, size_t num_blocks) GPTOSS_INLINE_LAMBDA {
        if (group % 4 == 0) {
            // Of four groups at a time: a chain of so many instructions that one group's could not run beside the
            // products of the one before.
            weights.load_scales(output, group, scale_bytes);
            for (size_t i = 0; i < 4 && group + i < num_groups; i++) {
                const size_t left = num_row_blocks - (group + i) * kGroupBlocks;
                scales[i].find(scale_bytes[i], left < kGroupBlocks ? left : kGroupBlocks, bytes + (group + i) * kRows);
            }
        }
        const ByteScales<kRows>& group_scales = scales[group % 4];
        LaneWords dots[kRows];
        if (group_scales.exact) {
            const uint8_t* const blocks = weights.matrix.blocks + output * row_bytes;
            const size_t later = group + kGroupsAhead;
            const size_t ahead = later < num_groups ? later * 64 : kOutputLanes * row_bytes + (later - num_groups) * 64;
            multiply_bytes_of_rows(blocks + group * 64, row_bytes, num_blocks, group_scales, bytes + group * kRows,
                                   blocks + ahead, dots);
        } else {
            const int16_t* inputs[kRows];
            rows.inputs(group, inputs);
            weights.multiply_rows(output, group, num_blocks, scale_bytes[group % 4], inputs, dots);
        }
        for (size_t row = 0; row < kRows; row++) {
            totals[row] = add_scaled(totals[row], (LaneInts)dots[row], group_scales.scales * rows.scale(group, row));
        }
    });
    for (size_t row = 0; row < kRows; row++) {
        store(sums + row * kIntegerPanel, totals[row]);
    }
}

template <size_t kRows>
GPTOSS_INLINE void multiply_few_rows(
    const Mxfp4Integers& weights, size_t output, size_t num_outputs, const RowsOfGroups& rows, float* sums) {
    const bool as_bytes = fits_as_bytes(weights.num_inputs);
    for (size_t i = 0; i < num_outputs; i += kOutputLanes) {
        if (as_bytes) {
            multiply_bytes<kRows>(weights, output + i, rows, bytes_of_rows(sums), sums + i);
        } else {
            multiply_lanes<kRows>(weights, output + i, rows, sums + i);
        }
    }
}
#endif

template <class Weights>
GPTOSS_INLINE void prepare_few_rows(const Weights&, const RowsOfGroups&, size_t, float*) {}

template <size_t kRows, class Weights>
GPTOSS_INLINE void multiply_few_rows(
    const Weights& weights, size_t output, size_t num_outputs, const RowsOfGroups& rows, float* sums) {
    for (size_t i = 0; i < num_outputs; i += kOutputLanes) {
        multiply_lanes<kRows>(weights, output + i, rows, sums + i);
    }
}

// ---- Many rows: lane = output, so that a sum over inputs needs no sum over lanes; the file's rows are transposed as
// they are unpacked.

// kIntegerTileOutputs outputs of a group.
struct alignas(64) UnpackedTile {
    LaneShorts pairs[kGroupInputs / 2][kIntegerTileVectors];
    LaneFloats scales[kIntegerTileVectors];
};

// sums[row][output] += tile[output] . rows[row]; num_pairs pairs of inputs in each of num_classes classes.
template <size_t kRows, CodeOrder kOrder>
GPTOSS_INLINE void multiply_tile(const UnpackedTile& tile,
                                 size_t num_classes,
                                 size_t num_pairs,
                                 const RowsOfGroups& rows,
                                 size_t group,
                                 size_t first_row,
                                 float* sums) { // [kRows, kIntegerPanel]
    // Rows lie side by side: one pointer leaves registers to the rest.
    const int16_t* const inputs = rows.rows.codes + rows.place(group, first_row) * kGroupInputs;
    // An integer sum is of as many classes as it has room for.
    for (size_t first_class = 0; first_class < num_classes; first_class += kSumClasses<kOrder>) {
        // Scales are to be loaded for each sum: their products are as many as the registers' sums, and computed ahead
        // of the loop they would drive these out.
        asm volatile("" ::: "memory");
        LaneInts dots[kRows][kIntegerTileVectors] = {};
        const size_t left = num_classes - first_class;
        const size_t last_class = first_class + (left < kSumClasses<kOrder> ? left : kSumClasses<kOrder>);
        for (size_t c = first_class; c < last_class; c++) {
            const LaneShorts(*const pairs)[kIntegerTileVectors] = tile.pairs + c * 16;
#pragma GCC unroll 4
            for (size_t i = 0; i < num_pairs; i++) {
                for (size_t row = 0; row < kRows; row++) {
                    int32_t pair;
                    memcpy(&pair, inputs + row * kGroupInputs + c * kClassInputs + 2 * i, sizeof(pair));
                    const LaneShorts input = (LaneShorts)(LaneInts{} + pair);
                    for (size_t vector = 0; vector < kIntegerTileVectors; vector++) {
                        dots[row][vector] = add_pair_products(dots[row][vector], pairs[i][vector], input);
                    }
                }
            }
        }
        for (size_t row = 0; row < kRows; row++) {
            const float row_scale = rows.scale(group, first_row + row);
            for (size_t vector = 0; vector < kIntegerTileVectors; vector++) {
                float* const sum = sums + row * kIntegerPanel + vector * kOutputLanes;
                const LaneFloats scale = tile.scales[vector] * row_scale;
                store(sum, add_scaled(load<LaneFloats>(sum), dots[row][vector], scale));
            }
        }
    }
}

// sums[row][output] = weights[output + ...] . rows[row] for up to kIntegerPanel outputs
template <class Weights>
static void multiply_many_rows(const Weights& weights,
                               size_t output,
                               size_t num_outputs,
                               const RowsOfGroups& rows,
                               size_t num_rows,
                               float* sums) { // [num_rows, kIntegerPanel]
    UnpackedTile tiles[kPanelTiles];
    if (num_outputs < kIntegerPanel) {
        memset(tiles, 0, sizeof(tiles)); // a tile's outputs that are not there
    }
    memset(sums, 0, num_rows * kIntegerPanel * sizeof(float));
    LaneWords scale_bytes[kIntegerPanel / kOutputLanes][4];
    // Tiles of nearly the same height: with five rows or more, none has less than two. Divisions for each tile took 4 %
    // of the time, so there are none below.
    const size_t num_tiles = (num_rows + kIntegerTileRows - 1) / kIntegerTileRows;
    const size_t height = num_rows / num_tiles;
    const size_t num_higher = num_rows % num_tiles;
    for_each_group(weights.num_inputs / 32, [&](size_t group, size_t num_blocks) GPTOSS_INLINE_LAMBDA {
        for (size_t i = 0; i < num_outputs; i += kOutputLanes) {
            UnpackedTile& tile = tiles[i / kIntegerTileOutputs];
            const size_t vector = i % kIntegerTileOutputs / kOutputLanes;
            LaneWords(&bytes)[4] = scale_bytes[i / kOutputLanes];
            if (group % 4 == 0) {
                weights.load_scales(output + i, group, bytes);
            }
            weights.template unpack_lanes<kIntegerTileVectors>(output + i, group, num_blocks, bytes[group % 4],
                                                               &tile.pairs[0][vector], tile.scales[vector]);
        }
        const size_t num_classes = Weights::kOrder == CodeOrder::natural ? num_blocks : 4;
        const size_t num_pairs = Weights::kOrder == CodeOrder::natural ? 16 : 4 * num_blocks;
        // A few between tiles: all at once would keep the processor from loading what it needs now.
        size_t num_prefetched = 0;
        size_t num_due = 0;
        for (size_t i = 0; i < num_outputs; i += kIntegerTileOutputs) {
            const UnpackedTile& tile = tiles[i / kIntegerTileOutputs];
            size_t row = 0;
            for (size_t t = 0; t < num_tiles; t++) {
                const size_t tile_rows = height + (t < num_higher);
                float* const tile_sums = sums + row * kIntegerPanel + i;
                for (num_due += num_outputs; num_prefetched * num_tiles * kPanelTiles < num_due; num_prefetched++) {
                    weights.prefetch_later(output + num_prefetched, group, num_outputs);
                }
                switch (tile_rows) {
                    case 2:
                        multiply_tile<2, Weights::kOrder>(tile, num_classes, num_pairs, rows, group, row, tile_sums);
                        break;
                    case 3:
                        multiply_tile<3, Weights::kOrder>(tile, num_classes, num_pairs, rows, group, row, tile_sums);
                        break;
                    case 4:
                        multiply_tile<4, Weights::kOrder>(tile, num_classes, num_pairs, rows, group, row, tile_sums);
                        break;
                    case 5:
                        multiply_tile<5, Weights::kOrder>(tile, num_classes, num_pairs, rows, group, row, tile_sums);
                        break;
                    default:
                        multiply_tile<kIntegerTileRows, Weights::kOrder>(tile, num_classes, num_pairs, rows, group, row,
                                                                         tile_sums);
                        break;
                }
                row += tile_rows;
            }
        }
    });
}

// Calls use(output, num_outputs, row, sums) for all rows and [first, last) cut into panels of up to kIntegerPanel
// outputs; sums are the products of the row with these outputs.
template <class Weights, class Use>
GPTOSS_INLINE void for_each_panel(const Weights& weights,
                                  const RowsOfGroups& rows,
                                  size_t num_rows,
                                  size_t first,
                                  size_t last,
                                  float* sums, // [num_rows, kIntegerPanel], with room for kIntegerSumBytes
                                  const Use& use) {
    if (num_rows <= kFewRows) {
        prepare_few_rows(weights, rows, num_rows, sums);
    }
    for (size_t output = first; output < last; output += kIntegerPanel) {
        const size_t num_outputs = last - output < kIntegerPanel ? last - output : kIntegerPanel;
        switch (num_rows) {
            case 1:
                multiply_few_rows<1>(weights, output, num_outputs, rows, sums);
                break;
            case 2:
                multiply_few_rows<2>(weights, output, num_outputs, rows, sums);
                break;
            case 3:
                multiply_few_rows<3>(weights, output, num_outputs, rows, sums);
                break;
            case 4:
                multiply_few_rows<4>(weights, output, num_outputs, rows, sums);
                break;
            default:
                multiply_many_rows(weights, output, num_outputs, rows, num_rows, sums);
                break;
        }
        for (size_t row = 0; row < num_rows; row++) {
            use(output, num_outputs, row, sums + row * kIntegerPanel);
        }
    }
}

// What is written to rows that are far apart waits for their cache lines: those of a later row, if there is one, are
// fetched meanwhile.
GPTOSS_INLINE void prefetch_output(const float* output, size_t stride, size_t num_outputs, size_t num_rows_left) {
    constexpr size_t kRowsAhead = 8;
    if (kRowsAhead < num_rows_left) {
        for (size_t i = 0; i < num_outputs; i += 16) {
            __builtin_prefetch(output + kRowsAhead * stride + i, 1, 3);
        }
    }
}

// Calls use(first_row, num_rows) for parts of up to max_rows rows.
template <class Use>
GPTOSS_INLINE void for_each_part(size_t num_rows, size_t max_rows, const Use& use) {
    for (size_t row = 0; row < num_rows; row += max_rows) {
        use(row, num_rows - row < max_rows ? num_rows - row : max_rows);
    }
}

} // namespace
} // namespace gptoss::cpu
