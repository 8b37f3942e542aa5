// Attention of one, few and many rows.

#include "../../../metal/arguments.h"
#include "../../../metal/attention_geometry.h"
#include "../attention_launches.h"
#include "attention_twin.h"
#include "checks.h"
#include "shapes.h"

namespace gptoss::metal {

namespace {

using namespace gptoss_metal;

constexpr double kFloatTolerance = 1e-5; // of the greatest magnitude

// A ring of as many slots as the rows see together, and `spare` more.
AttentionCase make_case(
    const ModelConfig& config, uint32_t num_rows, uint32_t first_position, uint32_t window, uint32_t spare) {
    const uint32_t end = first_position + num_rows;
    const uint32_t needed = window == 0 ? end : std::min(end, num_rows + window - 1);
    return {config.num_heads, config.num_kv_heads, num_rows, first_position, window, needed + spare};
}

// [capacity, G, 64]; NaN where no row looks.
std::vector<Half> random_cache(Trial& trial, const AttentionCase& c) {
    const size_t elements_per_slot = size_t{c.num_kv_heads} * kHeadDim;
    std::vector<Half> cache(c.capacity * elements_per_slot, Half{0xFFFF});
    const uint32_t first = c.window == 0 || c.first_position < c.window ? 0 : c.first_position + 1 - c.window;
    for (size_t position = first; position < c.first_position + c.num_rows; position++) {
        for (size_t i = 0; i < elements_per_slot; i++) {
            cache[position % c.capacity * elements_per_slot + i] = from_double<Half>(trial.random().normal());
        }
    }
    return cache;
}

void check_attention(Trial& trial, const ModelConfig& config, const AttentionCase& c) {
    const size_t num_elements = size_t{c.num_rows} * c.num_heads * kHeadDim;
    const std::vector<float> queries = trial.random().normals<float>(num_elements, 0.5);
    const std::vector<Half> keys = random_cache(trial, c);
    const std::vector<Half> values = random_cache(trial, c);
    const std::vector<Bf16> sinks = trial.random().normals<Bf16>(c.num_heads);

    const AttentionSpan span = {c.num_rows, c.first_position,  c.window,
                                c.capacity, trial.input(keys), trial.input(values)};
    const AttentionWorkspaceBytes bytes = attention_workspace_bytes(config, c.num_rows);
    const AttentionWorkspace workspace = {trial.output<std::byte>(bytes.split_values),
                                          trial.output<std::byte>(bytes.split_sums)};
    const Slice output = trial.output<float>(num_elements);
    launch_attention(trial.encoder(), config, std::span(&span, 1), {trial.input(queries), trial.input(sinks), output},
                     workspace);
    trial.run();
    trial.expect_close<float>("attention", output,
                              attend(c, to_doubles(queries), to_doubles(keys), to_doubles(values), to_doubles(sinks)),
                              kFloatTolerance);
}

// The merge alone, of splits that are made up: some see no key, and scores are far apart.
void check_combine(Trial& trial) {
    constexpr uint32_t kNumRows = 2;
    constexpr uint32_t kNumHeads = 6;
    constexpr uint32_t kNumSplits = 37;
    const size_t num_splits = size_t{kNumRows} * kNumHeads * kNumSplits;
    std::vector<float> split_values = trial.random().normals<float>(num_splits * kHeadDim);
    std::vector<float> maxima_and_sums(2 * num_splits);
    for (size_t split = 0; split < num_splits; split++) {
        maxima_and_sums[2 * split] = static_cast<float>(trial.random().normal() * 5);
        maxima_and_sums[2 * split + 1] = static_cast<float>(trial.random().uniform(1, 50));
        if (split % 5 == 0) {
            maxima_and_sums[2 * split] = -1e30f;
            maxima_and_sums[2 * split + 1] = 0;
            std::fill_n(split_values.begin() + static_cast<std::ptrdiff_t>(split * kHeadDim), kHeadDim, 0.0f);
        }
    }
    const std::vector<Bf16> sinks = trial.random().normals<Bf16>(kNumHeads, 5);
    const Slice output = trial.output<float>(size_t{kNumRows} * kNumHeads * kHeadDim);
    trial.encoder().launch(
        {"attention_decode", "attention_combine"}, AttentionCombineArguments{kNumHeads, kNumSplits},
        {{1, trial.input(split_values)}, {2, trial.input(maxima_and_sums)}, {3, trial.input(sinks)}, {4, output}},
        {{kNumHeads, kNumRows}, {kAttentionCombineThreads}});
    trial.run();
    trial.expect_close<float>(
        "attention", output,
        combine(kNumHeads, kNumSplits, to_doubles(split_values), to_doubles(maxima_and_sums), to_doubles(sinks)),
        kFloatTolerance);
}

} // namespace

std::vector<KernelCheck> attention_checks() {
    const auto decode = [](const char* kernel, const char* shape, const ModelConfig& config, const AttentionCase& c) {
        return KernelCheck{kernel, shape, [=](Trial& t) { check_attention(t, config, c); }};
    };
    const auto prefill = [](const char* shape, const ModelConfig& config, const AttentionCase& c) {
        return KernelCheck{"attention_prefill", shape, [=](Trial& t) { check_attention(t, config, c); }};
    };
    const ModelConfig big = shape_20b();
    const ModelConfig small = small_shape();
    return {
        decode("attention_decode_8", "1 row of 64 heads, 1000 keys", big, make_case(big, 1, 999, 0, 24)),
        decode("attention_decode_8", "1 row of 64 heads, window of 128 at 131071", big,
               make_case(big, 1, 131071, 128, 0)),
        decode("attention_decode_8", "1 row of 6 heads, 1 key", small, make_case(small, 1, 0, 0, 0)),
        decode("attention_decode_32", "4 rows of 64 heads, 300 keys", big, make_case(big, 4, 296, 0, 1)),
        decode("attention_decode_64", "9 rows of 64 heads, window of 128 at 500", big, make_case(big, 9, 500, 128, 3)),
        {"attention_combine", "2 rows of 6 heads, 37 splits", check_combine},
        prefill("40 rows of 64 heads after 90 keys", big, make_case(big, 40, 90, 0, 0)),
        prefill("70 rows of 6 heads, window of 40 at 500", small, make_case(small, 70, 500, 40, 5)),
    };
}

} // namespace gptoss::metal
