// Integer products of many rows, lane = output, so that a sum over inputs needs no sum over lanes: the file's rows are
// transposed as they are unpacked.

namespace gptoss::cpu {
namespace {

// The tile of the products that are summed in registers: vectors of outputs by rows.
#if defined(__AVX512F__)
constexpr size_t kIntegerTileVectors = 4; // 24 sums, 4 weights and an activation in 32 registers
constexpr size_t kIntegerTileRows = 6;
#else
constexpr size_t kIntegerTileVectors = 2; // 8 sums, 2 weights, an activation and temporaries in 16; NEON: 16 in 32
constexpr size_t kIntegerTileRows = 4;
#endif
constexpr size_t kIntegerTileOutputs = kIntegerTileVectors * kOutputLanes;
constexpr size_t kPanelTiles = kIntegerPanel / kIntegerTileOutputs;

// kIntegerTileOutputs outputs of a group.
template <CodeOrder kOrder>
struct alignas(64) UnpackedTile {
    LaneShorts pairs[kGroupInputs / 2][kIntegerTileVectors];
    LaneFloats scales[kIntegerTileVectors];
};

// What the weights are unpacked to.
template <class Weights>
struct TileOf {
    typedef UnpackedTile<Weights::kOrder> Type;
};

// kOutputLanes outputs, which become vector `vector` of the tile.
template <class Weights>
GPTOSS_INLINE void unpack_vector(const Weights& weights,
                                 size_t output,
                                 size_t group,
                                 size_t num_blocks,
                                 LaneWords scale_bytes,
                                 size_t vector,
                                 UnpackedTile<Weights::kOrder>& tile) {
    weights.template unpack_lanes<kIntegerTileVectors>(output, group, num_blocks, scale_bytes, &tile.pairs[0][vector],
                                                       tile.scales[vector]);
}

// sums[row][output] += tile[output] . rows[row]
template <size_t kRows, CodeOrder kOrder>
GPTOSS_INLINE void multiply_tile(const UnpackedTile<kOrder>& tile,
                                 size_t num_blocks,
                                 const RowsOfGroups& rows,
                                 size_t group,
                                 size_t first_row,
                                 float* sums) { // [kRows, kIntegerPanel]
    const size_t num_classes = kOrder == CodeOrder::natural ? num_blocks : 4;
    const size_t num_pairs = kOrder == CodeOrder::natural ? 16 : 4 * num_blocks; // of inputs, in each class
    // Rows lie side by side: one pointer leaves registers to the rest.
    const int16_t* const inputs = rows.rows.codes + rows.place(group, first_row) * kGroupInputs;
    // An integer sum is of as many classes as it has room for.
    for (size_t first_class = 0; first_class < num_classes; first_class += kSumClasses<kOrder>) {
        // Scales are to be loaded for each sum: their products are as many as the registers' sums, and computed ahead
        // of the loop they would drive these out.
        asm volatile("" ::: "memory");
        PairSums dots[kRows][kIntegerTileVectors] = {};
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
                store(sum, add_scaled(load<LaneFloats>(sum), sum_of_pairs(dots[row][vector]), scale));
            }
        }
    }
}

// sums[row][output] = weights[output + ...] . rows[row] for up to kIntegerPanel outputs
template <class Weights, class Rows>
static void multiply_many_rows(const Weights& weights,
                               size_t output,
                               size_t num_outputs,
                               const Rows& rows,
                               size_t num_rows,
                               float* sums) { // [num_rows, kIntegerPanel]
    typedef typename TileOf<Weights>::Type Tile;
    Tile tiles[kPanelTiles];
    if (num_outputs < kIntegerPanel) {
        memset(tiles, 0, sizeof(tiles)); // a tile's outputs that are not there
    }
    memset(sums, 0, num_rows * kIntegerPanel * sizeof(float));
    LaneWords scale_bytes[kIntegerPanel / kOutputLanes][4];
    const RowTiles<kIntegerTileRows> row_tiles(num_rows);
    for_each_group(weights.num_inputs / 32, [&](size_t group, size_t num_blocks) GPTOSS_INLINE_LAMBDA {
        for (size_t i = 0; i < num_outputs; i += kOutputLanes) {
            LaneWords(&bytes)[4] = scale_bytes[i / kOutputLanes];
            if (group % 4 == 0) {
                weights.load_scales(output + i, group, bytes);
            }
            unpack_vector(weights, output + i, group, num_blocks, bytes[group % 4],
                          i % kIntegerTileOutputs / kOutputLanes, tiles[i / kIntegerTileOutputs]);
        }
        // A few between tiles: all at once would keep the processor from loading what it needs now.
        size_t num_prefetched = 0;
        size_t num_due = 0;
        for (size_t i = 0; i < num_outputs; i += kIntegerTileOutputs) {
            const Tile& tile = tiles[i / kIntegerTileOutputs];
            row_tiles.for_each([&](size_t row, auto tile_rows) GPTOSS_INLINE_LAMBDA {
                num_due += num_outputs;
                for (; num_prefetched * row_tiles.num_tiles * kPanelTiles < num_due; num_prefetched++) {
                    weights.prefetch_later(output + num_prefetched, group, num_outputs);
                }
                multiply_tile<decltype(tile_rows)::value>(tile, num_blocks, rows, group, row,
                                                          sums + row * kIntegerPanel + i);
            });
        }
    });
}

} // namespace
} // namespace gptoss::cpu
