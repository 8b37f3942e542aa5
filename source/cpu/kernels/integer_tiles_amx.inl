// Integer products of many rows with AMX, whose registers are tiles of 16 rows by 64 bytes.
//
// AMX multiplies bytes, so the 16-bit integers of both factors are cut in two, value = 256 upper + lower, both of -128
// to 127, and the products of these parts are summed apart: upper with upper, the mixed ones together, lower with
// lower. All of it is exact, so that the integers are those of the other forms. Four products of tiles make those of 16
// rows, 16 outputs and 64 inputs: at the 2,048 operations a clock that Intel states, 64 clocks, in which two VPDPWSSD a
// clock make a quarter.

namespace gptoss::cpu {
namespace {

#if defined(__AMX_INT8__)

constexpr size_t kAmxRows = 16;
constexpr size_t kAmxRowBytes = 64;
constexpr size_t kAmxSteps = kGroupInputs / kAmxRowBytes;
static_assert(kOutputLanes == kAmxRows);

// What LDTILECFG loads: all eight registers are whole tiles.
struct alignas(64) AmxConfiguration {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t row_bytes[16] = {kAmxRowBytes, kAmxRowBytes, kAmxRowBytes, kAmxRowBytes,
                              kAmxRowBytes, kAmxRowBytes, kAmxRowBytes, kAmxRowBytes};
    uint8_t rows[16] = {kAmxRows, kAmxRows, kAmxRows, kAmxRows, kAmxRows, kAmxRows, kAmxRows, kAmxRows};
};
static_assert(sizeof(AmxConfiguration) == 64);
constexpr AmxConfiguration kAmxConfiguration;

// The tile registers while a function uses them. Afterwards they are empty, so that nobody has to save them.
struct AmxRegisters {
    GPTOSS_INLINE_MEMBER AmxRegisters() { _tile_loadconfig(&kAmxConfiguration); }
    GPTOSS_INLINE_MEMBER ~AmxRegisters() { _tile_release(); }
    AmxRegisters(const AmxRegisters&) = delete;
    AmxRegisters& operator=(const AmxRegisters&) = delete;
};

// The two bytes of a group's integers. Of activations a row of a tile is a row; of weights it is four inputs of each of
// 16 outputs. Bytes 4i to 4i + 3 of a step are of the group's integers 64 step + 2i + 0, 32, 1 and 33.
struct AmxBytes {
    alignas(64) int8_t upper[kAmxSteps][kAmxRows][kAmxRowBytes];
    alignas(64) int8_t lower[kAmxSteps][kAmxRows][kAmxRowBytes];

    GPTOSS_INLINE_MEMBER void split(LaneShorts first, LaneShorts second, size_t step, size_t row) {
        const LaneShorts low_bytes = LaneShorts{} + 0xFF;
        store(upper[step][row], ((first + 128) >> 8) | ((second + 128) & ~low_bytes));
        store(lower[step][row], (first & low_bytes) | (second << 8));
    }
};

// kOutputLanes outputs of a group.
struct AmxTile {
    AmxBytes weights;
    LaneFloats scales;
};

template <class Weights>
GPTOSS_INLINE void unpack_tile(
    const Weights& weights, size_t output, size_t group, size_t num_blocks, LaneWords scale_bytes, AmxTile& tile) {
    LaneShorts pairs[kGroupInputs / 2];
    if (num_blocks < kGroupBlocks) {
        memset(pairs, 0, sizeof(pairs));
    }
    weights.template unpack_lanes<1>(output, group, num_blocks, scale_bytes, pairs, tile.scales);
    for (size_t step = 0; step < kAmxSteps; step++) {
        const LaneShorts* const of_step = pairs + step * kAmxRowBytes / 2;
        for (size_t i = 0; i < kAmxRows; i++) {
            tile.weights.split(of_step[i], of_step[kAmxRows + i], step, i);
        }
    }
}

GPTOSS_INLINE void split_rows(
    const RowsOfGroups& rows, size_t group, size_t first_row, size_t num_rows, AmxBytes& result) {
    for (size_t row = 0; row < num_rows; row++) {
        const int16_t* const codes = rows.rows.codes + rows.place(group, first_row + row) * kGroupInputs;
        for (size_t step = 0; step < kAmxSteps; step++) {
            const int16_t* const of_step = codes + step * kAmxRowBytes;
            result.split(load<LaneShorts>(of_step), load<LaneShorts>(of_step + kRegisterInputs), step, row);
        }
    }
}

// sums[row][output] += tile[output] . rows[row], for up to kAmxRows rows
template <CodeOrder kOrder>
GPTOSS_INLINE void multiply_tile(const AmxTile& tile,
                                 size_t num_blocks,
                                 const AmxBytes& inputs, // of the rows
                                 const RowsOfGroups& rows,
                                 size_t group,
                                 size_t first_row,
                                 size_t num_rows,
                                 float* sums) { // [num_rows, kIntegerPanel]
    constexpr size_t kClassesOfStep = kAmxRowBytes / kClassInputs;
    constexpr size_t kSumSteps = kSumClasses<kOrder> / kClassesOfStep;
    const size_t num_steps =
        kOrder == CodeOrder::natural ? (num_blocks + kClassesOfStep - 1) / kClassesOfStep : kAmxSteps;
    alignas(64) uint32_t upper[kAmxRows][kOutputLanes];
    alignas(64) uint32_t mixed[kAmxRows][kOutputLanes];
    alignas(64) uint32_t lower[kAmxRows][kOutputLanes];
    for (size_t first_step = 0; first_step < num_steps; first_step += kSumSteps) {
        // GCC's intrinsics do not say that they read what was written here.
        asm volatile("" ::: "memory");
        // Registers have numbers: 0 to 2 the sums, 3 and 4 the activations' bytes, 5 and 6 the weights'.
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        for (size_t step = first_step; step < first_step + kSumSteps; step++) {
            _tile_loadd(3, inputs.upper[step], kAmxRowBytes);
            _tile_loadd(5, tile.weights.upper[step], kAmxRowBytes);
            _tile_dpbssd(0, 3, 5);
            _tile_loadd(6, tile.weights.lower[step], kAmxRowBytes);
            _tile_dpbssd(1, 3, 6);
            _tile_loadd(4, inputs.lower[step], kAmxRowBytes);
            _tile_dpbssd(2, 4, 6);
            _tile_dpbssd(1, 4, 5);
        }
        _tile_stored(0, upper, kAmxRowBytes);
        _tile_stored(1, mixed, kAmxRowBytes);
        _tile_stored(2, lower, kAmxRowBytes);
        asm volatile("" ::: "memory");
        for (size_t row = 0; row < num_rows; row++) {
            // The whole fits; what its parts lose at the top does not belong to it.
            const LaneWords dots =
                (load<LaneWords>(upper[row]) << 16) + (load<LaneWords>(mixed[row]) << 8) + load<LaneWords>(lower[row]);
            float* const sum = sums + row * kIntegerPanel;
            const LaneFloats scale = tile.scales * rows.scale(group, first_row + row);
            store(sum, add_scaled(load<LaneFloats>(sum), (LaneInts)dots, scale));
        }
    }
}

// As multiply_many_rows() for rows of any kind.
template <class Weights>
static void multiply_many_rows(const Weights& weights,
                               size_t output,
                               size_t num_outputs,
                               const RowsOfGroups& rows,
                               size_t num_rows,
                               float* sums) { // [num_rows, kIntegerPanel]
    const AmxRegisters registers;
    AmxTile tiles[kIntegerPanel / kOutputLanes];
    AmxBytes inputs = {}; // rows that are not there are multiplied, too
    memset(sums, 0, num_rows * kIntegerPanel * sizeof(float));
    LaneWords scale_bytes[kIntegerPanel / kOutputLanes][4];
    for_each_group(weights.num_inputs / 32, [&](size_t group, size_t num_blocks) GPTOSS_INLINE_LAMBDA {
        for (size_t i = 0; i < num_outputs; i += kOutputLanes) {
            LaneWords(&bytes)[4] = scale_bytes[i / kOutputLanes];
            if (group % 4 == 0) {
                weights.load_scales(output + i, group, bytes);
            }
            unpack_tile(weights, output + i, group, num_blocks, bytes[group % 4], tiles[i / kOutputLanes]);
            for (size_t j = i; j < i + kOutputLanes && j < num_outputs; j++) {
                weights.prefetch_later(output + j, group, num_outputs);
            }
        }
        for (size_t row = 0; row < num_rows; row += kAmxRows) {
            const size_t tile_rows = num_rows - row < kAmxRows ? num_rows - row : kAmxRows;
            split_rows(rows, group, row, tile_rows, inputs);
            for (size_t i = 0; i < num_outputs; i += kOutputLanes) {
                multiply_tile<Weights::kOrder>(tiles[i / kOutputLanes], num_blocks, inputs, rows, group, row, tile_rows,
                                               sums + row * kIntegerPanel + i);
            }
        }
    });
}
#endif

} // namespace
} // namespace gptoss::cpu
