// The attention kernels of every instruction set that this processor runs, against their definition in double
// precision; and that no bit depends on how queries and keys are cut into calls.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "check.h"
#include "cpu/kernels.h"
#include "kernel_sets.h"
#include "kernel_test_data.h"
#include "number_formats.h"

using namespace gptoss::cpu;

namespace {

constexpr size_t kHeadSize = 64;
constexpr uint16_t kHalfNan = 0x7E00;
constexpr size_t kEverything = SIZE_MAX; // as a window

// One key/value head's cache. Slots that were not written hold NaN, which must never show.
struct Cache {
    size_t capacity;
    std::vector<uint16_t> keys;
    std::vector<uint16_t> values;

    explicit Cache(size_t num_slots)
        : capacity(num_slots), keys(num_slots * kHeadSize, kHalfNan), values(num_slots * kHeadSize, kHalfNan) {}

    uint16_t& key(size_t position, size_t d) {
        const size_t slot = position % capacity;
        return keys[slot / kKeyBlock * kKeyBlock * kHeadSize + d * kKeyBlock + slot % kKeyBlock];
    }
    uint16_t& value(size_t position, size_t d) { return values[position % capacity * kHeadSize + d]; }

    // Random keys and values at the positions [first, last].
    void write(size_t first, size_t last, float key_deviation = 1.0f) {
        for (size_t position = first; position <= last; position++) {
            for (size_t d = 0; d < kHeadSize; d++) {
                key(position, d) = gptoss::float_to_half(normal(key_deviation));
                value(position, d) = gptoss::float_to_half(normal());
            }
        }
    }
};

// Queries of consecutive positions.
struct Queries {
    size_t num_heads;
    size_t first_position;
    size_t num_rows;
    size_t window;
    std::vector<float> values; // [num_rows, num_heads, 64]
    std::vector<float> sinks;  // [num_heads]

    Queries(size_t heads, size_t position, size_t rows, size_t visible, float sink = 0.0f, float deviation = 0.3f)
        : num_heads(heads),
          first_position(position),
          num_rows(rows),
          window(visible),
          values(random_floats(rows * heads * kHeadSize, deviation)),
          sinks(heads, sink) {}

    size_t row_size() const { return num_heads * kHeadSize; }
    size_t last_position() const { return first_position + num_rows - 1; }
    size_t first_visible(size_t row) const {
        const size_t end = first_position + row + 1;
        return end > window ? end - window : 0;
    }
};

// Calls use(arguments) for the rows [first, first + count); the output is of all rows.
template <class Use>
void with_arguments(
    const Queries& queries, Cache& cache, size_t first, size_t count, std::vector<float>& output, const Use& use) {
    std::vector<float> scratch(attention_scratch_floats(count, queries.num_heads),
                               std::numeric_limits<float>::quiet_NaN());
    use(AttentionArguments{.queries = queries.values.data() + first * queries.row_size(),
                           .query_stride = queries.row_size(),
                           .keys = cache.keys.data(),
                           .values = cache.values.data(),
                           .capacity = cache.capacity,
                           .sinks = queries.sinks.data(),
                           .num_heads = queries.num_heads,
                           .num_rows = count,
                           .first_position = queries.first_position + first,
                           .window = queries.window,
                           .output = output.data() + first * queries.row_size(),
                           .output_stride = queries.row_size(),
                           .scratch = scratch.data()});
}

// The rows, at most rows_per_call of them at a time.
std::vector<float> attend(const Kernels& kernels, const Queries& queries, Cache& cache, size_t rows_per_call) {
    std::vector<float> output(queries.num_rows * queries.row_size(), kUntouched);
    for (size_t row = 0; row < queries.num_rows; row += rows_per_call) {
        with_arguments(queries, cache, row, std::min(rows_per_call, queries.num_rows - row), output,
                       [&](const AttentionArguments& arguments) { kernels.attention(arguments); });
    }
    return output;
}

// The same by ranges of keys, the last range first.
std::vector<float> attend_in_ranges(const Kernels& kernels, const Queries& queries, Cache& cache) {
    const size_t num_ranges = queries.last_position() / kKeyRange + 1;
    const size_t result_floats = queries.num_rows * attention_result_floats(queries.num_heads);
    std::vector<float> results(num_ranges * result_floats, std::numeric_limits<float>::quiet_NaN());
    std::vector<float> output(queries.num_rows * queries.row_size(), kUntouched);
    for (size_t range = num_ranges; range-- > 0;) {
        with_arguments(queries, cache, 0, queries.num_rows, output, [&](const AttentionArguments& arguments) {
            kernels.attention_range(arguments, range, results.data() + range * result_floats);
        });
    }
    with_arguments(queries, cache, 0, queries.num_rows, output, [&](const AttentionArguments& arguments) {
        kernels.attention_merge(arguments, results.data(), num_ranges);
    });
    return output;
}

double expected_score(const Queries& queries, Cache& cache, size_t row, size_t head, size_t position) {
    double score = 0;
    for (size_t d = 0; d < kHeadSize; d++) {
        score += queries.values[(row * queries.num_heads + head) * kHeadSize + d] *
                 static_cast<double>(gptoss::half_to_float(cache.key(position, d)));
    }
    return score;
}

void check_output(const Queries& queries, Cache& cache, const std::vector<float>& output, double tolerance) {
    for (size_t row = 0; row < queries.num_rows; row++) {
        const size_t first = queries.first_visible(row);
        const size_t last = queries.first_position + row;
        for (size_t head = 0; head < queries.num_heads; head++) {
            std::vector<double> scores;
            double highest = queries.sinks[head];
            for (size_t position = first; position <= last; position++) {
                scores.push_back(expected_score(queries, cache, row, head, position));
                highest = std::max(highest, scores.back());
            }
            double sum = std::exp(queries.sinks[head] - highest);
            for (double& score : scores) {
                score = std::exp(score - highest);
                sum += score;
            }
            for (size_t d = 0; d < kHeadSize; d++) {
                double expected = 0;
                for (size_t position = first; position <= last; position++) {
                    expected += scores[position - first] / sum * gptoss::half_to_float(cache.value(position, d));
                }
                CHECK_CLOSE(output[(row * queries.num_heads + head) * kHeadSize + d], expected, tolerance);
            }
        }
    }
}

// Scores of magnitude up to 30 carry an absolute error of about 30 * 2^-24 * a few.
void check_attention(const Kernels& kernels, const Queries& queries, Cache& cache, double tolerance = 3e-5) {
    check_output(queries, cache, attend(kernels, queries, cache, queries.num_rows), tolerance);
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
    return std::ranges::equal(
        a, b, [](float x, float y) { return std::bit_cast<uint32_t>(x) == std::bit_cast<uint32_t>(y); });
}

} // namespace

TEST(attention_over_one_key_and_a_sink) {
    for (const Kernels* const kernels : sets_with_own(&Kernels::attention)) {
        Cache cache(16);
        cache.write(0, 0);
        for (const float sink : {-1e30f, -30.0f, 0.0f, 30.0f, 1e30f}) {
            check_attention(*kernels, Queries(1, 0, 1, kEverything, sink), cache);
        }
    }
}

TEST(attention_of_any_number_of_heads_over_any_range_of_positions) {
    for (const Kernels* const kernels : sets_with_own(&Kernels::attention)) {
        Cache cache(640);
        cache.write(0, 639);
        for (const auto& [first, last] : std::vector<std::pair<size_t, size_t>>{{0, 1},
                                                                                {0, 15},
                                                                                {0, 16},
                                                                                {0, 63},
                                                                                {0, 64},
                                                                                {0, 639},
                                                                                {1, 1},
                                                                                {15, 17},
                                                                                {64, 127},
                                                                                {100, 227},
                                                                                {255, 256},
                                                                                {255, 520},
                                                                                {638, 639}}) {
            for (const size_t num_heads : {1, 2, 7, 8, 9, 16, 19}) {
                check_attention(*kernels, Queries(num_heads, last, 1, last + 1 - first, 0.5f), cache);
            }
        }
    }
}

TEST(attention_of_many_rows_sees_what_each_row_sees) {
    for (const Kernels* const kernels : sets_with_own(&Kernels::attention)) {
        Cache cache(1200);
        cache.write(0, 1199);
        for (const size_t window : {size_t{1}, size_t{2}, size_t{16}, size_t{64}, size_t{128}, kEverything}) {
            for (const size_t position : {0, 1, 63, 64, 130, 1000, 1023, 1024}) {
                check_attention(*kernels, Queries(2, position, 70, window), cache);
            }
        }
    }
}

TEST(attention_reads_nothing_of_slots_that_were_not_written) {
    for (const Kernels* const kernels : sets_with_own(&Kernels::attention)) {
        Cache cache(192); // the rest is NaN
        cache.write(5, 20);
        cache.write(70, 150);
        check_attention(*kernels, Queries(8, 20, 1, 16), cache);
        check_attention(*kernels, Queries(1, 18, 1, 12), cache);
        check_attention(*kernels, Queries(8, 18, 3, 14), cache);
        check_attention(*kernels, Queries(8, 80, 71, 11), cache);
    }
}

TEST(attention_in_a_ring_that_has_wrapped) {
    for (const Kernels* const kernels : sets_with_own(&Kernels::attention)) {
        Cache cache(144);
        for (const size_t begin : {1000, 1001, 1017, 1030, 1100}) {
            cache.write(begin, begin + 143);
            for (const size_t window : {144, 128, 16, 1}) {
                check_attention(*kernels, Queries(8, begin + 143, 1, window), cache);
            }
            check_attention(*kernels, Queries(8, begin + 127, 17, 128), cache);
            check_attention(*kernels, Queries(8, begin + 100, 44, 101), cache);
        }
    }
}

TEST(attention_with_scores_that_grow_or_fall_from_tile_to_tile) {
    // Online softmax has to rescale what it summed before. Scores reach about +-30.
    for (const Kernels* const kernels : sets_with_own(&Kernels::attention)) {
        for (const bool growing : {true, false}) {
            Cache cache(2048);
            cache.write(0, 2047);
            for (size_t position = 0; position < 2048; position++) {
                const float factor = static_cast<float>(growing ? position : 2047 - position) / 512.0f;
                for (size_t d = 0; d < kHeadSize; d++) {
                    cache.key(position, d) =
                        gptoss::float_to_half(gptoss::half_to_float(cache.key(position, d)) * factor);
                }
            }
            for (const float sink : {-100.0f, 0.0f, 20.0f}) {
                check_attention(*kernels, Queries(8, 2047, 1, kEverything, sink), cache);
                check_attention(*kernels, Queries(8, 2040, 8, kEverything, sink), cache);
            }
        }
    }
}

TEST(attention_with_scores_of_any_size) {
    // Where the scores are far apart the highest takes all, and nothing overflows.
    for (const Kernels* const kernels : sets_with_own(&Kernels::attention)) {
        for (const float deviation : {1e-20f, 1e4f, 1e15f, 1e30f}) {
            Cache cache(1088);
            cache.write(0, 1087);
            for (const float sink : {-1e32f, 0.0f}) {
                const Queries queries(8, 1070, 18, kEverything, sink, deviation);
                const std::vector<float> output = attend(*kernels, queries, cache, 18);
                for (size_t row = 0; row < queries.num_rows; row++) {
                    for (size_t head = 0; head < queries.num_heads; head++) {
                        std::vector<double> scores;
                        for (size_t position = 0; position <= queries.first_position + row; position++) {
                            scores.push_back(expected_score(queries, cache, row, head, position));
                        }
                        const auto best = std::ranges::max_element(scores);
                        double second = sink;
                        for (const double& score : scores) {
                            second = &score == &*best ? second : std::max(second, score);
                        }
                        // So that roundings of the scores do not change which is the highest, or that it takes all.
                        if (*best - second < std::max(100.0, 1e-4 * *best)) {
                            continue;
                        }
                        const size_t position = static_cast<size_t>(best - scores.begin());
                        for (size_t d = 0; d < kHeadSize; d++) {
                            CHECK_CLOSE(output[(row * queries.num_heads + head) * kHeadSize + d],
                                        gptoss::half_to_float(cache.value(position, d)), 1e-6);
                        }
                    }
                }
                CHECK(std::ranges::all_of(output, [](float value) { return std::isfinite(value); }));
            }
        }
    }
}

TEST(attention_gives_the_same_bits_however_the_rows_are_cut) {
    for (const Kernels* const kernels : sets_with_own(&Kernels::attention)) {
        for (const size_t window : {size_t{128}, size_t{100}, kEverything}) {
            for (const size_t position : {0, 57, 960, 2040}) {
                for (const size_t num_heads : {8, 3}) {
                    Cache cache(2160);
                    cache.write(position < window ? 0 : position + 1 - window, position + 76, 2.0f);
                    const Queries queries(num_heads, position, 77, window);
                    const std::vector<float> together = attend(*kernels, queries, cache, 77);
                    for (const size_t rows_per_call : {1, 2, 5, 16, 32}) {
                        CHECK(same_bits(together, attend(*kernels, queries, cache, rows_per_call)));
                    }
                }
            }
        }
    }
}

TEST(attention_gives_the_same_bits_in_ranges_of_keys_in_any_order) {
    for (const Kernels* const kernels : sets_with_own(&Kernels::attention)) {
        Cache cache(4112);
        cache.write(0, 4111, 2.0f);
        for (const size_t num_rows : {1, 5}) {
            for (const size_t position : {0, 1000, 1023, 1024, 2046, 4100}) {
                const Queries queries(8, position, num_rows, kEverything);
                const std::vector<float> whole = attend(*kernels, queries, cache, num_rows);
                CHECK(same_bits(whole, attend_in_ranges(*kernels, queries, cache)));
            }
        }
    }
}

TEST(attention_gives_the_same_bits_wherever_the_positions_are_cached) {
    // A ring and a cache of everything.
    for (const Kernels* const kernels : sets_with_own(&Kernels::attention)) {
        Cache everything(1200);
        everything.write(0, 1199);
        Cache ring(208);
        for (size_t position = 1200 - 208; position < 1200; position++) {
            for (size_t d = 0; d < kHeadSize; d++) {
                ring.key(position, d) = everything.key(position, d);
                ring.value(position, d) = everything.value(position, d);
            }
        }
        const Queries queries(8, 1120, 80, 128);
        CHECK(same_bits(attend(*kernels, queries, ring, 32), attend(*kernels, queries, everything, 32)));
    }
}

TEST(attention_agrees_across_instruction_sets) {
    const std::vector<const Kernels*> available = sets_with_own(&Kernels::attention);
    Cache cache(4096);
    cache.write(0, 4095);
    const Queries queries(8, 4090, 6, kEverything);
    const std::vector<float> expected = attend(*available.front(), queries, cache, 6);
    for (const Kernels* const kernels : available) {
        const std::vector<float> actual = attend(*kernels, queries, cache, 6);
        for (size_t i = 0; i < expected.size(); i++) {
            CHECK_CLOSE(actual[i], expected[i], 2e-6);
        }
    }
}

// ---- What goes into the cache

namespace {

// Rows as the projections leave them: two kinds of heads, and values, with something between.
struct ProjectedRows {
    static constexpr size_t kNumHeads = 3;
    static constexpr size_t kStride = (kNumHeads + 2) * kHeadSize + 16;

    size_t num_rows;
    std::vector<float> values;
    std::vector<float> rotations = random_floats(num_rows * 2 * kHeadSize);

    explicit ProjectedRows(size_t rows) : num_rows(rows), values(random_floats(rows * kStride)) {}

    float* key(size_t row) { return values.data() + row * kStride + kNumHeads * kHeadSize; }
    float* value(size_t row) { return key(row) + kHeadSize; }

    // Component d of a head that begins at `head`, rotated with its partner, the other one of two neighbours.
    double rotated(size_t row, const float* head, size_t d) const {
        const float* const rotation = rotations.data() + row * 2 * kHeadSize;
        return static_cast<double>(head[d]) * rotation[d] + static_cast<double>(head[d ^ 1]) * rotation[kHeadSize + d];
    }

    void put(const Kernels& kernels, Cache& cache, size_t slot) {
        kernels.rotate_and_cache({.queries = values.data(),
                                  .key = key(0),
                                  .value = value(0),
                                  .rotations = rotations.data(),
                                  .row_stride = kStride,
                                  .num_heads = kNumHeads,
                                  .num_rows = num_rows,
                                  .keys = cache.keys.data(),
                                  .values = cache.values.data(),
                                  .slot = slot});
    }
};

} // namespace

TEST(queries_and_keys_are_rotated_and_nothing_else_changes) {
    for (const Kernels* const kernels : sets_with_own(&Kernels::rotate_and_cache)) {
        for (const auto& [slot, num_rows] :
             std::vector<std::pair<size_t, size_t>>{{0, 1}, {0, 16}, {31, 1}, {18, 14}, {35, 5}}) {
            ProjectedRows rows(num_rows);
            const ProjectedRows before = rows;
            Cache cache(48);
            rows.put(*kernels, cache, slot);
            for (size_t row = 0; row < num_rows; row++) {
                const float* const old_row = before.values.data() + row * ProjectedRows::kStride;
                const float* const new_row = rows.values.data() + row * ProjectedRows::kStride;
                for (size_t i = 0; i < ProjectedRows::kStride; i++) {
                    if (i < ProjectedRows::kNumHeads * kHeadSize) {
                        const double expected = before.rotated(row, old_row + i / kHeadSize * kHeadSize, i % kHeadSize);
                        CHECK_CLOSE(new_row[i], expected, 1e-6);
                    } else {
                        CHECK_EQUAL(new_row[i], old_row[i]);
                    }
                }
                const float* const key = old_row + ProjectedRows::kNumHeads * kHeadSize;
                for (size_t d = 0; d < kHeadSize; d++) {
                    const double expected = before.rotated(row, key, d);
                    CHECK_CLOSE(gptoss::half_to_float(cache.key(slot + row, d)), expected,
                                std::fabs(expected) * 0x1.01p-11 + 1e-6);
                    CHECK_EQUAL(cache.value(slot + row, d), gptoss::float_to_half(key[kHeadSize + d]));
                }
            }
            for (size_t other = 0; other < cache.capacity; other++) {
                if (other < slot || other >= slot + num_rows) {
                    CHECK_EQUAL(cache.key(other, 7), kHalfNan);
                    CHECK_EQUAL(cache.value(other, 7), kHalfNan);
                }
            }
        }
    }
}

TEST(a_row_is_rotated_and_cached_to_the_same_bits_alone_and_with_others) {
    for (const Kernels* const kernels : sets_with_own(&Kernels::rotate_and_cache)) {
        ProjectedRows rows(16);
        Cache together(16);
        ProjectedRows moved = rows;
        moved.put(*kernels, together, 0);
        for (size_t row = 0; row < 16; row++) {
            ProjectedRows alone(1);
            alone.values.assign(rows.values.begin() + static_cast<std::ptrdiff_t>(row * ProjectedRows::kStride),
                                rows.values.begin() + static_cast<std::ptrdiff_t>((row + 1) * ProjectedRows::kStride));
            alone.rotations.assign(rows.rotations.begin() + static_cast<std::ptrdiff_t>(row * 2 * kHeadSize),
                                   rows.rotations.begin() + static_cast<std::ptrdiff_t>((row + 1) * 2 * kHeadSize));
            Cache cache(16);
            alone.put(*kernels, cache, row);
            CHECK_EQUAL(alone.values[5], moved.values[row * ProjectedRows::kStride + 5]);
            for (size_t d = 0; d < kHeadSize; d++) {
                CHECK_EQUAL(cache.key(row, d), together.key(row, d));
                CHECK_EQUAL(cache.value(row, d), together.value(row, d));
            }
        }
    }
}

TEST(values_of_any_size_become_halves_as_the_scalar_conversion_has_it) {
    // Every half, what is a little beside it and between two of them, and everything beyond the range; by its bits.
    std::vector<float> values;
    for (uint32_t half = 0; half < 0x7C00; half++) {
        const float value = gptoss::half_to_float(static_cast<uint16_t>(half));
        const float next = half == 0x7BFF ? 65536.0f : gptoss::half_to_float(static_cast<uint16_t>(half + 1));
        const float middle = value + (next - value) / 2;
        for (const float beside :
             {value, std::nextafter(value, 1e9f), std::nextafter(middle, 0.0f), middle, std::nextafter(middle, 1e9f)}) {
            values.push_back(half % 2 == 0 ? beside : -beside);
        }
    }
    for (const float beyond : {65504.0f, 65520.0f, 65536.0f, 1e10f, std::numeric_limits<float>::max(),
                               std::numeric_limits<float>::infinity(), 1e-20f, 1e-45f}) {
        values.push_back(beyond);
        values.push_back(-beyond);
    }
    values.resize((values.size() + kHeadSize - 1) / kHeadSize * kHeadSize, -0.0f);
    for (const Kernels* const kernels : sets_with_own(&Kernels::rotate_and_cache)) {
        for (size_t i = 0; i < values.size(); i += kHeadSize) {
            ProjectedRows rows(1);
            std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(i), kHeadSize, rows.value(0));
            Cache cache(16);
            rows.put(*kernels, cache, 3);
            for (size_t d = 0; d < kHeadSize; d++) {
                CHECK_EQUAL(cache.value(3, d), gptoss::float_to_half(values[i + d]));
            }
        }
    }
}

TEST(a_value_that_is_not_a_number_stays_that) {
    for (const Kernels* const kernels : sets_with_own(&Kernels::rotate_and_cache)) {
        ProjectedRows rows(1);
        rows.value(0)[9] = std::numeric_limits<float>::quiet_NaN();
        Cache cache(16);
        rows.put(*kernels, cache, 0);
        CHECK(std::isnan(gptoss::half_to_float(cache.value(0, 9))));
        CHECK(!std::isnan(gptoss::half_to_float(cache.value(0, 8))));
    }
}
