// Products of MXFP4 weights with quantized activations.
//
// The products of a block of 32 inputs are summed as integers, exactly, and the blocks' sums, times their scales, are
// added in ascending order in fp32. So a value does not depend on how its integers were summed, and all forms below,
// whether they keep the unpacked weights in registers or in the first-level cache, give the same bits.

namespace gptoss::cpu {
namespace {

// sums[lane] += two weights of the output . two activations
GPTOSS_INLINE LaneInts dot_pair(LaneInts sums, LaneShorts weights, const int16_t* activations) {
    const LaneInts pair = LaneInts{} + load<int32_t>(activations);
#if defined(__AVX512VNNI__)
    return (LaneInts)_mm512_dpwssd_epi32((__m512i)sums, (__m512i)weights, (__m512i)pair);
#elif defined(__AVX512F__)
    return sums + (LaneInts)_mm512_madd_epi16((__m512i)weights, (__m512i)pair);
#elif defined(__AVX2__)
    return sums + (LaneInts)_mm256_madd_epi16((__m256i)weights, (__m256i)pair);
#elif defined(__SSE2__)
    return sums + (LaneInts)_mm_madd_epi16((__m128i)weights, (__m128i)pair);
#elif defined(GPTOSS_NEON)
    const int32x4_t low = vmull_s16(vget_low_s16((int16x8_t)weights), vget_low_s16((int16x8_t)pair));
    const int32x4_t high = vmull_high_s16((int16x8_t)weights, (int16x8_t)pair);
    return sums + (LaneInts)vpaddq_s32(low, high);
#else
    (void)pair;
    for (size_t lane = 0; lane < kOutputLanes; lane++) {
        sums[lane] += weights[2 * lane] * activations[0] + weights[2 * lane + 1] * activations[1];
    }
    return sums;
#endif
}

// The tile of the products that are summed in registers: kTileVectors registers of outputs by kTileRows rows.
#if defined(__AVX512F__)
constexpr size_t kIntegerTileVectors = 4; // 24 sums, 4 weights and an activation in 32 registers
constexpr size_t kIntegerTileRows = 6;
#elif defined(__AVX2__)
constexpr size_t kIntegerTileVectors = 2; // 8 sums, 2 weights, an activation and 2 temporaries in 16
constexpr size_t kIntegerTileRows = 4;
#else
constexpr size_t kIntegerTileVectors = 2;
constexpr size_t kIntegerTileRows = 4;
#endif

constexpr size_t kPanelOutputs = 64;                           // outputs whose weights are unpacked together
constexpr size_t kPanelVectors = kPanelOutputs / kOutputLanes; // registers of them
constexpr size_t kPanelBlocks = 4;                             // blocks of inputs that are unpacked together: 16 KB
constexpr size_t kPanelRows = 128;                             // rows that share an unpacked panel
constexpr size_t kFewRows = 4;                                 // so few rows use the weights in registers
static_assert(kScaleBlocks % kPanelBlocks == 0);

// sums[row][lane] = weights[output + lane] . rows[row] for kRows rows at once.
template <size_t kRows>
GPTOSS_INLINE void multiply_few_rows(const Mxfp4Matrix& matrix,
                                     size_t output,
                                     const QuantizedBlock* const* rows,
                                     float* sums) { // [kRows, kPanelOutputs]
    const size_t num_blocks = matrix.num_inputs / kMxfp4Block;
    const size_t row_bytes = num_blocks * 16;
    const uint8_t* const weights = matrix.blocks + output * row_bytes;
    const uint8_t* const scale_rows = matrix.scales + output * num_blocks;
    // What the next call reads lies right behind: it is on its way when that call begins.
    const uint8_t* const next = weights + kOutputLanes * row_bytes;
    const uint8_t* const next_scales = scale_rows + kOutputLanes * num_blocks;
    LaneFloats totals[kRows] = {};
    for (size_t chunk = 0; chunk < num_blocks; chunk += kScaleBlocks) {
        LaneFloats scales[kScaleBlocks];
        unpack_scales<1>(scale_rows, num_blocks, chunk, scales);
        const size_t left = num_blocks - chunk;
        const size_t count = left < kScaleBlocks ? left : kScaleBlocks;
        for (size_t i = 0; i < count; i++) {
            const size_t block = chunk + i;
            const uint8_t* const ahead = next + block * 16 * kOutputLanes;
            for (size_t line = 0; line < 16 * kOutputLanes; line += 64) {
                __builtin_prefetch(ahead + line, 0, 2);
            }
            __builtin_prefetch(next_scales + block * kOutputLanes, 0, 2);
            LaneShorts pairs[16];
            unpack_block(weights + block * 16, row_bytes, pairs);
            for (size_t row = 0; row < kRows; row++) {
                const QuantizedBlock& input = rows[row][block];
                // Two chains, because each product waits for the one before it.
                LaneInts even = LaneInts{} + input.offset;
                LaneInts odd = {};
                for (size_t j = 0; j < 16; j += 2) {
                    even = dot_pair(even, pairs[j], input.codes + 2 * j);
                    odd = dot_pair(odd, pairs[j + 1], input.codes + 2 * j + 2);
                }
                totals[row] += __builtin_convertvector(even + odd, LaneFloats) * (scales[i] * input.scale);
            }
        }
    }
    for (size_t row = 0; row < kRows; row++) {
        store(sums + row * kPanelOutputs, totals[row]);
    }
}

// kIntegerTileOutputs outputs of a part of a panel.
struct alignas(64) UnpackedTile {
    LaneShorts pairs[kPanelBlocks][16][kIntegerTileVectors];
    LaneFloats scales[kScaleBlocks][kIntegerTileVectors];
};
constexpr size_t kIntegerTileOutputs = kIntegerTileVectors * kOutputLanes;
constexpr size_t kPanelTiles = kPanelOutputs / kIntegerTileOutputs;

// sums[row][output] += tile[output] . rows[row], over num_blocks blocks from first_block on
template <size_t kRows>
GPTOSS_INLINE void multiply_tile(const UnpackedTile& tile,
                                 size_t num_blocks,
                                 const QuantizedBlock* const* rows,
                                 size_t first_block,
                                 float* sums) { // [kRows, kPanelOutputs]
    const QuantizedBlock* inputs[kRows];
    for (size_t row = 0; row < kRows; row++) {
        inputs[row] = rows[row] + first_block;
    }
    const LaneFloats(*scales)[kIntegerTileVectors] = tile.scales + first_block % kScaleBlocks;
    for (size_t block = 0; block < num_blocks; block++) {
        LaneInts dots[kRows][kIntegerTileVectors];
        for (size_t row = 0; row < kRows; row++) {
            for (size_t vector = 0; vector < kIntegerTileVectors; vector++) {
                dots[row][vector] = LaneInts{} + inputs[row][block].offset;
            }
        }
#pragma GCC unroll 16
        for (size_t i = 0; i < 16; i++) {
            for (size_t row = 0; row < kRows; row++) {
                for (size_t vector = 0; vector < kIntegerTileVectors; vector++) {
                    dots[row][vector] =
                        dot_pair(dots[row][vector], tile.pairs[block][i][vector], inputs[row][block].codes + 2 * i);
                }
            }
        }
        for (size_t row = 0; row < kRows; row++) {
            for (size_t vector = 0; vector < kIntegerTileVectors; vector++) {
                float* const sum = sums + row * kPanelOutputs + vector * kOutputLanes;
                const LaneFloats scale = scales[block][vector] * inputs[row][block].scale;
                store(sum, load<LaneFloats>(sum) + __builtin_convertvector(dots[row][vector], LaneFloats) * scale);
            }
        }
    }
}

// Calls multiply_tile for rows[first..) in steps of kRows.
template <size_t kRows>
GPTOSS_INLINE size_t multiply_tile_rows(const UnpackedTile& tile,
                                        size_t num_blocks,
                                        const QuantizedBlock* const* rows,
                                        size_t row,
                                        size_t num_rows,
                                        size_t first_block,
                                        float* sums) {
    for (; row + kRows <= num_rows; row += kRows) {
        multiply_tile<kRows>(tile, num_blocks, rows + row, first_block, sums + row * kPanelOutputs);
    }
    return row;
}

// sums[row][output] = weights[first_output + output] . rows[row] for up to kPanelOutputs outputs, a multiple of
// kOutputLanes, and up to kPanelRows rows.
static void multiply_panel(const Mxfp4Matrix& matrix,
                           size_t first_output,
                           size_t num_outputs,
                           const QuantizedBlock* const* rows,
                           size_t num_rows,
                           float* sums) { // [num_rows, kPanelOutputs]
    if (num_rows <= kFewRows) {
        for (size_t output = 0; output < num_outputs; output += kOutputLanes) {
            switch (num_rows) {
                case 1:
                    multiply_few_rows<1>(matrix, first_output + output, rows, sums + output);
                    break;
                case 2:
                    multiply_few_rows<2>(matrix, first_output + output, rows, sums + output);
                    break;
                case 3:
                    multiply_few_rows<3>(matrix, first_output + output, rows, sums + output);
                    break;
                default:
                    multiply_few_rows<4>(matrix, first_output + output, rows, sums + output);
                    break;
            }
        }
        return;
    }

    UnpackedTile tiles[kPanelTiles];
    if (num_outputs < kPanelOutputs) {
        memset(tiles, 0, sizeof(tiles)); // a tile's outputs that are not there
    }
    memset(sums, 0, num_rows * kPanelOutputs * sizeof(float));
    const size_t num_blocks = matrix.num_inputs / kMxfp4Block;
    const size_t row_bytes = num_blocks * 16;
    for (size_t first = 0; first < num_blocks; first += kPanelBlocks) {
        const size_t left = num_blocks - first;
        const size_t count = left < kPanelBlocks ? left : kPanelBlocks;
        for (size_t output = 0; output < num_outputs; output += kOutputLanes) {
            UnpackedTile& tile = tiles[output / kIntegerTileOutputs];
            const size_t vector = output % kIntegerTileOutputs / kOutputLanes;
            const uint8_t* const weights = matrix.blocks + (first_output + output) * row_bytes + first * 16;
            if (first % kScaleBlocks == 0) {
                unpack_scales<kIntegerTileVectors>(matrix.scales + (first_output + output) * num_blocks, num_blocks,
                                                   first, &tile.scales[0][vector]);
            }
            for (size_t block = 0; block < count; block++) {
                LaneShorts pairs[16];
                unpack_block(weights + block * 16, row_bytes, pairs);
                for (size_t i = 0; i < 16; i++) {
                    tile.pairs[block][i][vector] = pairs[i];
                }
            }
            // The next panel's.
            for (size_t row = 0; row < kOutputLanes; row++) {
                __builtin_prefetch(weights + (num_outputs + row) * row_bytes, 0, 2);
            }
        }
        for (size_t output = 0; output < num_outputs; output += kIntegerTileOutputs) {
            const UnpackedTile& tile = tiles[output / kIntegerTileOutputs];
            size_t row = multiply_tile_rows<kIntegerTileRows>(tile, count, rows, 0, num_rows, first, sums + output);
            row = multiply_tile_rows<2>(tile, count, rows, row, num_rows, first, sums + output);
            multiply_tile_rows<1>(tile, count, rows, row, num_rows, first, sums + output);
        }
    }
}

} // namespace
} // namespace gptoss::cpu
