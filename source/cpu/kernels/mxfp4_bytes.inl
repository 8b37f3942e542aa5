// Few rows of experts where the instruction set multiplies bytes: MXFP4 codes times the upper and the lower bytes of
// activations, for which the rows are split once. Exact, as the form in 16 bits is: both give the same integers.

namespace gptoss::cpu {
namespace {

#if defined(GPTOSS_MXFP4_BYTES)
// The rows' bytes are behind the sums, where many rows would have theirs.
constexpr size_t kBytesOffset = (kFewRows * kIntegerPanel * sizeof(float) + 63) / 64 * 64;

// Rows of up to 4,608 inputs do with AVX2, of up to 4,224 with VNNI, of up to 5,248 on arm64; longer ones go through in
// 16 bits.
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
        LaneFloats output_scales = group_scales.scales;
        if (group_scales.exact) {
            const uint8_t* const blocks = weights.matrix.blocks + output * row_bytes;
            multiply_bytes_of_rows(blocks + group * 64, row_bytes, num_blocks, group_scales, bytes + group * kRows,
                                   weights.next_lines(output, group), dots);
        } else {
            const int16_t* inputs[kRows];
            rows.inputs(group, inputs);
            output_scales = weights.multiply_rows(output, group, num_blocks, scale_bytes[group % 4], inputs, dots);
        }
        for (size_t row = 0; row < kRows; row++) {
            totals[row] = add_scaled(totals[row], (LaneInts)dots[row], output_scales * rows.scale(group, row));
        }
    });
    for (size_t row = 0; row < kRows; row++) {
        store(sums + row * kIntegerPanel, totals[row]);
    }
}

template <size_t kRows>
static void multiply_few_rows(
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

} // namespace
} // namespace gptoss::cpu
