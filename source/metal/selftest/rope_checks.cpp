// Rotary embedding of several rows, and the write of their keys and values into the cache.

#include "../attention_launches.h"
#include "checks.h"
#include "rope_twin.h"
#include "shapes.h"

namespace gptoss::metal {

namespace {

// Rotated in fp32, relative to the greatest of a few thousand normally distributed numbers.
constexpr double kFloatTolerance = 1e-6;
// Rounded to half once.
constexpr double kRoundedTolerance = 5e-4;

// Heads [first, end) of every row of [num_rows, num_heads, 64].
std::vector<double> some_heads(const std::vector<double>& rows, size_t num_heads, size_t first, size_t end) {
    std::vector<double> heads;
    for (auto row = rows.begin(); row != rows.end(); row += static_cast<std::ptrdiff_t>(num_heads * kHeadDim)) {
        heads.insert(heads.end(), row + static_cast<std::ptrdiff_t>(first * kHeadDim),
                     row + static_cast<std::ptrdiff_t>(end * kHeadDim));
    }
    return heads;
}

// What the cache should hold, in the order of its slots: of rows that share a slot, the last.
std::vector<double> in_slots(const std::vector<double>& rows, const AttentionSpan& span, size_t elements_per_row) {
    std::vector<double> slots(span.capacity * elements_per_row);
    for (size_t row = 0; row < span.num_rows; row++) {
        const size_t slot = (span.first_position + row) % span.capacity;
        std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>(row * elements_per_row), elements_per_row,
                    slots.begin() + static_cast<std::ptrdiff_t>(slot * elements_per_row));
    }
    return slots;
}

void check_rope(Trial& trial, uint32_t num_rows, uint32_t first_position, uint32_t capacity) {
    const ModelConfig config = shape_20b();
    const size_t num_heads = config.num_heads;
    const size_t num_kv_heads = config.num_kv_heads;
    const size_t num_all_heads = num_heads + 2 * num_kv_heads;
    const size_t cache_size = capacity * num_kv_heads * kHeadDim;
    const std::vector<float> qkv = trial.random().normals<float>(num_rows * num_all_heads * kHeadDim);
    const AttentionSpan span = {
        num_rows, first_position, 0, capacity, trial.output<Half>(cache_size), trial.output<Half>(cache_size)};
    const Slice queries = trial.output<float>(num_rows * num_heads * kHeadDim);
    launch_rope(trial.encoder(), config, std::span(&span, 1), trial.input(qkv), trial.input(inverse_frequencies()),
                queries);
    trial.run();

    const std::vector<double> all = to_doubles(qkv);
    const size_t first_value = num_heads + num_kv_heads;
    const std::vector<double> rotated =
        rotate(some_heads(all, num_all_heads, 0, first_value), num_rows, first_position);
    const std::vector<double> expected = some_heads(rotated, first_value, 0, num_heads);
    trial.expect_close<float>("queries", queries, expected, kFloatTolerance);
    trial.expect_close<Half>(
        "keys", span.keys,
        in_slots(some_heads(rotated, first_value, num_heads, first_value), span, num_kv_heads * kHeadDim),
        kRoundedTolerance);
    trial.expect_close<Half>(
        "values", span.values,
        in_slots(some_heads(all, num_all_heads, first_value, num_all_heads), span, num_kv_heads * kHeadDim),
        kRoundedTolerance);
}

} // namespace

std::vector<KernelCheck> rope_checks() {
    return {
        {"rope_and_cache", "5 rows from position 131067, ring of 3", [](Trial& t) { check_rope(t, 5, 131067, 3); }},
        {"rope_and_cache", "40 rows from position 100, ring of 40", [](Trial& t) { check_rope(t, 40, 100, 40); }},
    };
}

} // namespace gptoss::metal
