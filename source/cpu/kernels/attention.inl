// Attention: tiles of keys over all queries, ranges of keys, and what becomes of the ranges.

namespace gptoss::cpu {
namespace {

// Lower than any score, and finite: the difference of two of them is 0.
constexpr float kLowestScore = -3e38f;

GPTOSS_INLINE size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

GPTOSS_INLINE size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

GPTOSS_INLINE size_t padded_heads(size_t num_heads) {
    return (num_heads + kLanes - 1) / kLanes * kLanes;
}

// What is known of one row's queries after a range of keys, or all ranges so far. highest and sums are padded to a
// multiple of 16 heads.
struct RowResult {
    float* highest; // [num_heads] score
    float* sums;    // [num_heads] of exp(score - highest)
    float* output;  // [num_heads, 64] sums of exp(score - highest) * value
};

GPTOSS_INLINE RowResult result_of_row(float* results, size_t num_heads, size_t row) {
    float* const result = results + row * attention_result_floats(num_heads);
    return {result, result + padded_heads(num_heads), result + 2 * padded_heads(num_heads)};
}

// The thread's scratch memory, cut up.
struct AttentionScratch {
    float* keys;        // [kBlocksPerTile][64][16] a tile of them, unpacked
    float* values;      // [kBlocksPerTile][16][64]
    float* totals;      // [num_rows] of all ranges so far
    float* results;     // [num_rows] of one range
    float* corrections; // [num_rows, padded heads]
    float* sums;        // [num_rows, num_heads, 16]
    float* weights;     // [num_rows, num_heads, kKeyTile]
};

GPTOSS_INLINE AttentionScratch cut_scratch(const AttentionArguments& arguments) {
    AttentionScratch scratch;
    // Loads that straddle two cache lines take twice as long.
    scratch.keys = (float*)(((uintptr_t)arguments.scratch + 63) / 64 * 64);
    scratch.values = scratch.keys + kKeyTile * kHeadSize;
    scratch.totals = scratch.values + kKeyTile * kHeadSize;
    scratch.results = scratch.totals + arguments.num_rows * attention_result_floats(arguments.num_heads);
    scratch.corrections = scratch.results + arguments.num_rows * attention_result_floats(arguments.num_heads);
    scratch.sums = scratch.corrections + arguments.num_rows * padded_heads(arguments.num_heads);
    scratch.weights = scratch.sums + arguments.num_rows * arguments.num_heads * kLanes;
    return scratch;
}

// The first position that the query of a row sees.
GPTOSS_INLINE size_t first_visible(const AttentionArguments& arguments, size_t row) {
    const size_t end = arguments.first_position + row + 1;
    return end > arguments.window ? end - arguments.window : 0;
}

// The tile of positions from `position`, a multiple of kKeyTile, on. Blocks that no query sees may be anything's.
GPTOSS_INLINE KeyTile<uint16_t> find_tile(const AttentionArguments& arguments, size_t position) {
    KeyTile<uint16_t> tile;
    size_t slot = position % arguments.capacity;
    for (size_t block = 0; block < kBlocksPerTile; block++) {
        tile.keys[block] = arguments.keys + slot * kHeadSize;
        tile.values[block] = arguments.values + slot * kHeadSize;
        slot += kKeyBlock;
        slot = slot == arguments.capacity ? 0 : slot;
    }
    return tile;
}

// The keys [begin, end) of a tile in fp32, which is exact.
KeyTile<float> unpack_tile(const KeyTile<uint16_t>& tile, size_t begin, size_t end, const AttentionScratch& scratch) {
    KeyTile<float> unpacked;
    for (size_t block = 0; block < kBlocksPerTile; block++) {
        unpacked.keys[block] = scratch.keys + block * kKeyBlock * kHeadSize;
        unpacked.values[block] = scratch.values + block * kKeyBlock * kHeadSize;
        if ((block + 1) * kKeyBlock <= begin || block * kKeyBlock >= end) {
            continue;
        }
        for (size_t i = 0; i < kKeyBlock * kHeadSize; i += kRegisterLanes) {
            store(scratch.keys + block * kKeyBlock * kHeadSize + i, load_half_register(tile.keys[block] + i));
            store(scratch.values + block * kKeyBlock * kHeadSize + i, load_half_register(tile.values[block] + i));
        }
    }
    return unpacked;
}

// Adds a tile of keys, positions [position, position + kKeyTile) within [begin, end), to the results of every row. All
// scores come first, then all values, so that one of the two is in the first-level cache at a time.
template <class Element>
GPTOSS_INLINE void attend_to_tile(const AttentionArguments& arguments,
                                  const AttentionScratch& scratch,
                                  float* results,
                                  const KeyTile<Element>& tile,
                                  const KeyTile<Element>& next,
                                  size_t position,
                                  size_t begin,
                                  size_t end) {
    const size_t num_heads = arguments.num_heads;
    const auto for_rows = [&](const auto& use) {
        for (size_t row = 0; row < arguments.num_rows; row++) {
            const size_t row_begin = larger(begin, larger(position, first_visible(arguments, row)));
            const size_t row_end = smaller(smaller(end, position + kKeyTile), arguments.first_position + row + 1);
            if (row_begin < row_end) {
                use(row, row_begin - position, row_end - position);
            }
        }
    };
    for_rows([&](size_t row, size_t row_begin, size_t row_end) {
        const RowResult result = result_of_row(results, num_heads, row);
        float* const weights = scratch.weights + row * num_heads * kKeyTile;
        score_tile(arguments.queries + row * arguments.query_stride, num_heads, tile, row_begin, row_end, weights);
        weigh_scores(weights, num_heads, row_begin, row_end,
                     {.highest = result.highest,
                      .corrections = scratch.corrections + row * padded_heads(num_heads),
                      .sums = scratch.sums + row * num_heads * kLanes});
    });
    for_rows([&](size_t row, size_t row_begin, size_t row_end) {
        const RowResult result = result_of_row(results, num_heads, row);
        const float* const weights = scratch.weights + row * num_heads * kKeyTile;
        const float* const corrections = scratch.corrections + row * padded_heads(num_heads);
        for_heads(num_heads, [&]<size_t kHeads>(size_t head) {
            add_values<kHeads>(weights + head * kKeyTile, tile, row_begin, row_end, next, corrections + head,
                               result.output + head * kHeadSize);
        });
    });
}

// results = what the queries make of the keys of one range.
void attend_to_range(const AttentionArguments& arguments,
                     const AttentionScratch& scratch,
                     size_t range,
                     float* results) {
    const size_t num_heads = arguments.num_heads;
    for (size_t row = 0; row < arguments.num_rows; row++) {
        const RowResult result = result_of_row(results, num_heads, row);
        for (size_t head = 0; head < padded_heads(num_heads); head += kLanes) {
            store(result.highest + head, broadcast(kLowestScore));
            store(result.sums + head, Floats{});
        }
        memset(result.output, 0, num_heads * kHeadSize * sizeof(float));
    }
    memset(scratch.sums, 0, arguments.num_rows * num_heads * kLanes * sizeof(float));

    const size_t begin = larger(range * kKeyRange, first_visible(arguments, 0));
    const size_t end = smaller((range + 1) * kKeyRange, arguments.first_position + arguments.num_rows);
    for (size_t position = begin / kKeyTile * kKeyTile; position < end; position += kKeyTile) {
        const KeyTile<uint16_t> tile = find_tile(arguments, position);
        if (arguments.num_rows == 1) {
            const KeyTile<uint16_t> next = find_tile(arguments, position + kKeyTile);
            attend_to_tile(arguments, scratch, results, tile, next, position, begin, end);
        } else {
            // Many rows share the work of unpacking it.
            const KeyTile<float> unpacked =
                unpack_tile(tile, larger(begin, position) - position, smaller(end - position, kKeyTile), scratch);
            attend_to_tile(arguments, scratch, results, unpacked, unpacked, position, begin, end);
        }
    }

    for (size_t row = 0; row < arguments.num_rows; row++) {
        const RowResult result = result_of_row(results, num_heads, row);
        for (size_t head = 0; head < num_heads; head++) {
            result.sums[head] = sum_of_lanes(load<Floats>(scratch.sums + (row * num_heads + head) * kLanes));
        }
    }
}

// The sink is a column without a value: it starts the sum and nothing else.
void begin_totals(const AttentionArguments& arguments, float* totals) {
    for (size_t row = 0; row < arguments.num_rows; row++) {
        const RowResult total = result_of_row(totals, arguments.num_heads, row);
        for (size_t head = 0; head < padded_heads(arguments.num_heads); head += kLanes) {
            store(total.highest + head, Floats{});
            store(total.sums + head, Floats{});
        }
        for (size_t head = 0; head < arguments.num_heads; head++) {
            total.highest[head] = arguments.sinks[head];
            total.sums[head] = 1.0f;
        }
        memset(total.output, 0, arguments.num_heads * kHeadSize * sizeof(float));
    }
}

// Adds a range's results. One whose keys a row does not see changes no bit of the row's totals.
void add_range(const AttentionArguments& arguments, float* totals, const float* results) {
    const size_t num_heads = arguments.num_heads;
    for (size_t row = 0; row < arguments.num_rows; row++) {
        const RowResult total = result_of_row(totals, num_heads, row);
        const RowResult result = result_of_row(const_cast<float*>(results), num_heads, row);
        for (size_t first = 0; first < num_heads; first += kLanes) {
            alignas(64) float old_weights[kLanes];
            alignas(64) float range_weights[kLanes];
            for (size_t i = 0; i < kLanes; i += kRegisterLanes) {
                const RegisterFloats old_highest = load<RegisterFloats>(total.highest + first + i);
                const RegisterFloats range_highest = load<RegisterFloats>(result.highest + first + i);
                const RegisterFloats highest = maximum(old_highest, range_highest);
                const RegisterFloats old_weight = softmax_exponential(old_highest - highest);
                const RegisterFloats range_weight = softmax_exponential(range_highest - highest);
                store(total.highest + first + i, highest);
                store(total.sums + first + i, load<RegisterFloats>(total.sums + first + i) * old_weight +
                                                  load<RegisterFloats>(result.sums + first + i) * range_weight);
                store(old_weights + i, old_weight);
                store(range_weights + i, range_weight);
            }
            for (size_t head = first; head < smaller(first + kLanes, num_heads); head++) {
                const float old_weight = old_weights[head - first];
                const float range_weight = range_weights[head - first];
                for (size_t d = head * kHeadSize; d < (head + 1) * kHeadSize; d += kRegisterLanes) {
                    store(total.output + d, load<RegisterFloats>(total.output + d) * old_weight +
                                                load<RegisterFloats>(result.output + d) * range_weight);
                }
            }
        }
    }
}

void end_totals(const AttentionArguments& arguments, float* totals) {
    for (size_t row = 0; row < arguments.num_rows; row++) {
        const RowResult total = result_of_row(totals, arguments.num_heads, row);
        float* const output = arguments.output + row * arguments.output_stride;
        for (size_t first = 0; first < arguments.num_heads; first += kLanes) {
            alignas(64) float scales[kLanes];
            for (size_t i = 0; i < kLanes; i += kRegisterLanes) {
                store(scales + i, 1.0f / load<RegisterFloats>(total.sums + first + i));
            }
            for (size_t head = first; head < smaller(first + kLanes, arguments.num_heads); head++) {
                for (size_t d = head * kHeadSize; d < (head + 1) * kHeadSize; d += kRegisterLanes) {
                    store(output + d, load<RegisterFloats>(total.output + d) * scales[head - first]);
                }
            }
        }
    }
}

void attention(const AttentionArguments& arguments) {
    const AttentionScratch scratch = cut_scratch(arguments);
    begin_totals(arguments, scratch.totals);
    const size_t last_position = arguments.first_position + arguments.num_rows - 1;
    for (size_t range = first_visible(arguments, 0) / kKeyRange; range <= last_position / kKeyRange; range++) {
        attend_to_range(arguments, scratch, range, scratch.results);
        add_range(arguments, scratch.totals, scratch.results);
    }
    end_totals(arguments, scratch.totals);
}

void attention_range(const AttentionArguments& arguments, size_t range, float* results) {
    attend_to_range(arguments, cut_scratch(arguments), range, results);
}

void attention_merge(const AttentionArguments& arguments, const float* results, size_t num_ranges) {
    const AttentionScratch scratch = cut_scratch(arguments);
    begin_totals(arguments, scratch.totals);
    for (size_t range = 0; range < num_ranges; range++) {
        add_range(arguments, scratch.totals,
                  results + range * arguments.num_rows * attention_result_floats(arguments.num_heads));
    }
    end_totals(arguments, scratch.totals);
}

} // namespace
} // namespace gptoss::cpu
