// Dot products in fp32 of many rows of activations with weights in any format, at the speed of the arithmetic.
//
// A tile is a few vectors of activations, a row in each lane, times the weights of a few outputs, one after the other
// broadcast to all lanes: eleven loads for 24 multiply-adds, where dot products of vectors along k need sixteen.
//
// The sums are those of dot_products(), to the bit. There lane j of an accumulator adds up the products of all
// k = j mod 16, and sum_of_lanes() adds lanes in a tree. Here the k of one residue follow one another, and the residues
// come in the order in which that tree takes its leaves: 0, 8, 4, 12, 2, ... (the bits of 0, 1, 2, ... reversed).

namespace gptoss::cpu {
namespace {

constexpr size_t kResidues = kLanes;
static_assert(kPackedRows == kLanes);
// Steps whose activations stay in the first-level cache while they meet the weights of all panels: 18 KB of 32.
constexpr size_t kBlockSteps = 96;

#if defined(__AVX512F__)
constexpr size_t kTileVectors = 3; // 3 x 8 accumulators, 3 activations and a weight in 32 registers
constexpr size_t kTileOutputs = 8;
#else
constexpr size_t kTileVectors = 1; // 4 accumulators, an activation and a weight, of two registers each, in 16
constexpr size_t kTileOutputs = 4;
#endif
static_assert(kPanelOutputs % kTileOutputs == 0);

// result[t] = lane t, then lane t + 8, of the eight rows.
GPTOSS_INLINE void transpose(const Floats (&rows)[8], Floats (&result)[8]) {
    Floats pairs[8]; // of two rows: lanes 0 and 1, or 2 and 3, of each quarter
    for (size_t r = 0; r < 8; r += 2) {
        pairs[r] =
            __builtin_shufflevector(rows[r], rows[r + 1], 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
        pairs[r + 1] =
            __builtin_shufflevector(rows[r], rows[r + 1], 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
    }
    Floats quads[2][4]; // of rows 0 to 3 and 4 to 7: lane 0, 1, 2 or 3 of each quarter
    for (size_t half = 0; half < 2; half++) {
        for (size_t odd = 0; odd < 2; odd++) {
            const Floats low = pairs[half * 4 + odd];
            const Floats high = pairs[half * 4 + 2 + odd];
            quads[half][2 * odd] =
                __builtin_shufflevector(low, high, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
            quads[half][2 * odd + 1] =
                __builtin_shufflevector(low, high, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
        }
    }
    for (size_t t = 0; t < 4; t++) {
        result[t] =
            __builtin_shufflevector(quads[0][t], quads[1][t], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
        result[t + 4] = __builtin_shufflevector(quads[0][t], quads[1][t], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15,
                                                28, 29, 30, 31);
    }
}

GPTOSS_INLINE void store_halves(Floats values, float* address, size_t stride) {
    store(address, __builtin_shufflevector(values, values, 0, 1, 2, 3, 4, 5, 6, 7));
    store(address + stride, __builtin_shufflevector(values, values, 8, 9, 10, 11, 12, 13, 14, 15));
}

// The place of residues t and t + 8, which follow one another: t with its three bits reversed.
constexpr size_t kPairOf[8] = {0, 4, 2, 6, 1, 5, 3, 7};

// Rows first_group * 16 on, zeros behind the last one:
// packed[group][16 residues in the tree's order][num_inputs / 16][16 rows]
void pack_inputs(const PackInputsArguments& arguments) {
    const size_t num_steps = arguments.num_inputs / kResidues;
    for (size_t group = arguments.first_group; group < arguments.last_group; group++) {
        float* const packed = arguments.packed + group * kPackedRows * arguments.num_inputs;
        for (size_t first_row = group * kPackedRows; first_row < (group + 1) * kPackedRows; first_row += 8) {
            const size_t lane = first_row % kPackedRows;
            for (size_t step = 0; step < num_steps; step++) {
                Floats rows[8] = {};
                for (size_t r = 0; r < 8 && first_row + r < arguments.num_rows; r++) {
                    rows[r] = load<Floats>(arguments.inputs[first_row + r] + step * kResidues);
                }
                Floats columns[8];
                transpose(rows, columns);
                for (size_t t = 0; t < 8; t++) {
                    store_halves(columns[t], packed + (2 * kPairOf[t] * num_steps + step) * kPackedRows + lane,
                                 num_steps * kPackedRows);
                }
            }
        }
    }
}

// Eight rows of weights, zeros from `last` on: panel[16 residues in the tree's order][num_inputs / 16][8 outputs]
template <class Weights>
GPTOSS_INLINE void pack_panel(const Weights& weights, size_t row, size_t last, float* panel) {
    const size_t num_steps = weights.num_inputs / kResidues;
    const auto put = [&](const Floats(&rows)[kPanelOutputs], size_t step) {
        Floats columns[8];
        transpose(rows, columns);
        for (size_t t = 0; t < 8; t++) {
            store_halves(columns[t], panel + (2 * kPairOf[t] * num_steps + step) * kPanelOutputs,
                         num_steps * kPanelOutputs);
        }
    };
    for (size_t step = 0; step < num_steps; step += 2) {
        Floats first[kPanelOutputs] = {};
        Floats second[kPanelOutputs] = {};
        for (size_t r = 0; r < kPanelOutputs && row + r < last; r++) {
            Weights::load_pair(weights, row + r, step * kResidues, first[r], second[r]);
        }
        put(first, step);
        put(second, step + 1);
    }
}

template <size_t kVectors>
using Tile = Floats[kTileOutputs][kVectors];

// tile += the products of some steps of one residue
template <size_t kVectors>
GPTOSS_INLINE void multiply_steps(const float* inputs, // [kVectors groups][num_steps][16 rows]
                                  size_t group_stride,
                                  const float* panel, // [num_steps][8]
                                  size_t num_steps,
                                  const float* next_inputs, // of one group, for the steps behind these
                                  Tile<kVectors>& tile) {
    Tile<kVectors> sums;
    memcpy(sums, tile, sizeof(sums));
    for (size_t step = 0; step < num_steps; step++) {
        __builtin_prefetch(next_inputs + step * kPackedRows, 0, 2);
        Floats input[kVectors];
        for (size_t v = 0; v < kVectors; v++) {
            input[v] = load<Floats>(inputs + v * group_stride + step * kPackedRows);
        }
        for (size_t r = 0; r < kTileOutputs; r++) {
            const Floats weight = broadcast(panel[step * kPanelOutputs + r]);
            for (size_t v = 0; v < kVectors; v++) {
                sums[r][v] += weight * input[v];
            }
        }
    }
    memcpy(tile, sums, sizeof(sums));
}

// Adds up residues as sum_of_lanes() does.
template <size_t kVectors>
struct ResidueTree {
    Tile<kVectors> sums[5]; // sums[0]: the residue at hand; then partial sums, as a binary counter of those before it

    GPTOSS_INLINE void begin_residue(ResidueTree& tree) { memset(tree.sums[0], 0, sizeof(tree.sums[0])); }

    // `index` of the residue in the tree's order.
    GPTOSS_INLINE void end_residue(ResidueTree& tree, size_t index) {
        size_t level = 1;
        for (; (index >> (level - 1)) & 1; level++) {
            for (size_t r = 0; r < kTileOutputs; r++) {
                for (size_t v = 0; v < kVectors; v++) {
                    tree.sums[0][r][v] += tree.sums[level][r][v];
                }
            }
        }
        if (level < 5) {
            memcpy(tree.sums[level], tree.sums[0], sizeof(tree.sums[0]));
        }
    }
};

// Calls use(row, input, dot) for the panels' rows in [row, last) and the rows of kVectors groups.
template <size_t kVectors, class Use>
GPTOSS_INLINE void multiply_panels(const float* panels,
                                   size_t row,
                                   size_t last,
                                   const float* packed,
                                   size_t first_input,
                                   size_t num_rows,
                                   size_t num_inputs,
                                   const Use& use) {
    constexpr size_t kTiles = kPanels * kPanelOutputs / kTileOutputs;
    const size_t num_steps = num_inputs / kResidues;
    const size_t num_tiles = (last - row + kTileOutputs - 1) / kTileOutputs;
    const float* const inputs = packed + first_input * num_inputs;
    using Tree = ResidueTree<kVectors>;
    Tree trees[kTiles];
    for (size_t index = 0; index < kResidues; index++) {
        for (size_t tile = 0; tile < num_tiles; tile++) {
            Tree::begin_residue(trees[tile]);
        }
        for (size_t step = 0; step < num_steps; step += kBlockSteps) {
            const size_t block_steps = num_steps - step < kBlockSteps ? num_steps - step : kBlockSteps;
            for (size_t tile = 0; tile < num_tiles; tile++) {
                const size_t output = tile * kTileOutputs;
                const float* const panel = panels + output / kPanelOutputs * kPanelOutputs * num_inputs +
                                           (index * num_steps + step) * kPanelOutputs + output % kPanelOutputs;
                const float* const block = inputs + (index * num_steps + step) * kPackedRows;
                const float* const next =
                    block + block_steps * kPackedRows + tile % kVectors * num_inputs * kPackedRows;
                multiply_steps<kVectors>(block, num_inputs * kPackedRows, panel, block_steps, next,
                                         trees[tile].sums[0]);
            }
        }
        for (size_t tile = 0; tile < num_tiles; tile++) {
            Tree::end_residue(trees[tile], index);
        }
    }
    for (size_t tile = 0; tile < num_tiles; tile++) {
        for (size_t v = 0; v < kVectors; v++) {
            for (size_t lane = 0; lane < kLanes && first_input + v * kLanes + lane < num_rows; lane++) {
                for (size_t r = 0; r < kTileOutputs && row + tile * kTileOutputs + r < last; r++) {
                    use(row + tile * kTileOutputs + r, first_input + v * kLanes + lane,
                        trees[tile].sums[0][r][v][lane]);
                }
            }
        }
    }
}

// Calls use(row, input, dot) for every weight row in [first, last) and every one of the rows that pack_inputs() packed.
// scratch: [kPanels * kPanelOutputs, num_inputs]
template <class Weights, class Use>
GPTOSS_INLINE void multiply_packed(const Weights& weights,
                                   size_t first,
                                   size_t last,
                                   const float* packed,
                                   size_t num_rows,
                                   float* scratch,
                                   const Use& use) {
    const size_t num_inputs = weights.num_inputs;
    for (size_t row = first; row < last; row += kPanels * kPanelOutputs) {
        const size_t end = last - row < kPanels * kPanelOutputs ? last : row + kPanels * kPanelOutputs;
        for (size_t panel = row; panel < end; panel += kPanelOutputs) {
            pack_panel(weights, panel, end, scratch + (panel - row) * num_inputs);
        }
        size_t input = 0;
        for (; input + (kTileVectors - 1) * kPackedRows < num_rows; input += kTileVectors * kPackedRows) {
            multiply_panels<kTileVectors>(scratch, row, end, packed, input, num_rows, num_inputs, use);
        }
        if (kTileVectors == 3 && input + kPackedRows < num_rows) {
            multiply_panels<2>(scratch, row, end, packed, input, num_rows, num_inputs, use);
            input += 2 * kPackedRows;
        }
        for (; input < num_rows; input += kPackedRows) {
            multiply_panels<1>(scratch, row, end, packed, input, num_rows, num_inputs, use);
        }
    }
}

} // namespace
} // namespace gptoss::cpu
