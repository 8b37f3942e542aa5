// Rows of quantized activations, as the integer products go through them.

namespace gptoss::cpu {
namespace {

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

// As RowsOfGroups.
struct RowsOfInt8 {
    const Int8Rows& rows;
    size_t first;

    // Of row i; those of the rows behind it follow.
    GPTOSS_INLINE_MEMBER const Int8Group* groups(size_t group, size_t i) const {
        return rows.groups + group * rows.num_rows + first + i;
    }
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

template <size_t kCount>
struct RowCount {
    static constexpr size_t value = kCount;
};

// More than kFewRows rows cut into tiles of up to kMaxRows and of nearly the same height: none has less than two.
template <size_t kMaxRows>
struct RowTiles {
    size_t num_tiles;
    size_t height;
    size_t num_higher; // which come first, by one row

    // Once for all groups and outputs: divisions for each tile took 4 % of the time.
    explicit GPTOSS_INLINE_MEMBER RowTiles(size_t num_rows)
        : num_tiles((num_rows + kMaxRows - 1) / kMaxRows),
          height(num_rows / num_tiles),
          num_higher(num_rows % num_tiles) {}

    // Calls use(first_row, RowCount<height>{}) for every tile.
    template <class Use>
    GPTOSS_INLINE_MEMBER void for_each(const Use& use) const {
        size_t row = 0;
        for (size_t tile = 0; tile < num_tiles; tile++) {
            const size_t tile_rows = height + (tile < num_higher);
            use_tile<kMaxRows>(row, tile_rows, use);
            row += tile_rows;
        }
    }

private:
    // 2 to kHighest rows.
    template <size_t kHighest, class Use>
    static GPTOSS_INLINE_MEMBER void use_tile(size_t row, size_t tile_rows, const Use& use) {
        if constexpr (kHighest > 2) {
            if (tile_rows < kHighest) {
                use_tile<kHighest - 1>(row, tile_rows, use);
                return;
            }
        }
        use(row, RowCount<kHighest>{});
    }
};

// Calls use(first_row, num_rows) for parts of up to max_rows rows.
template <class Use>
GPTOSS_INLINE void for_each_part(size_t num_rows, size_t max_rows, const Use& use) {
    for (size_t row = 0; row < num_rows; row += max_rows) {
        use(row, num_rows - row < max_rows ? num_rows - row : max_rows);
    }
}

} // namespace
} // namespace gptoss::cpu
