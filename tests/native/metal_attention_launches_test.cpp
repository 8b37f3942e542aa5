// Rotary embedding and attention of whole batches (source/metal/attention_launches.h) against the same in double.
//
// Batches are spans of several contexts, decoded and prefilled side by side, over caches that have wrapped around.
// Slots that no row sees hold NaN, as does every output before it is written.
#include "metal/attention_launches.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "check.h"
#include "metal_test_gpu.h"
#include "yarn.h"

namespace {

using namespace gptoss;
using namespace gptoss::metal;

struct TestSpan {
    uint32_t num_rows;
    uint32_t first_position;
    uint32_t spare_slots = 0; // of the cache, beyond those that the rows need
};

struct TestBatch {
    uint32_t num_heads;
    uint32_t num_kv_heads;
    uint32_t window; // 0: none
    std::vector<TestSpan> spans;
    uint32_t seed = 0;
    uint32_t max_rows = 0; // that the workspace is made for; 0: those of the batch

    uint32_t num_rows() const {
        uint32_t rows = 0;
        for (const TestSpan& span : spans) {
            rows += span.num_rows;
        }
        return rows;
    }
};

gptoss_model_config config_of(const TestBatch& batch) {
    gptoss_model_config config{};
    config.num_heads = batch.num_heads;
    config.num_kv_heads = batch.num_kv_heads;
    config.head_dim = kHeadDim;
    config.rope_theta = 150000;
    config.interpolation_scale = 1.0f / 32;
    config.yarn_offset = -0.5f;
    config.yarn_scale = 0.1f;
    config.yarn_multiplier = 1.3466f;
    return config;
}

// First position that the query at `position` sees.
uint32_t first_visible(uint32_t window, uint32_t position) {
    return window == 0 ? 0 : position + 1 - std::min(position + 1, window);
}

// Of a batch: what goes in, as numbers, and where it is on the GPU.
struct Problem {
    gptoss_model_config config;
    std::vector<float> qkv; // [rows, H + 2G, 64]
    std::vector<uint16_t> sinks;
    std::vector<AttentionSpan> spans;

    // Element i of one head of a row, rotated for `position` if it is a query's or a key's.
    double element(uint32_t row, uint32_t head, uint32_t i, uint32_t position) const {
        const uint32_t num_all_heads = config.num_heads + 2 * config.num_kv_heads;
        const float* const values = qkv.data() + (size_t{row} * num_all_heads + head) * kHeadDim;
        if (head >= config.num_heads + config.num_kv_heads) {
            return values[i];
        }
        // The angle is a product in fp32, because the models were trained with that.
        const double angle = static_cast<float>(position) * inverse_frequencies(config)[i / 2];
        const double cosine = std::cos(angle) * config.yarn_multiplier;
        const double sine = std::sin(angle) * config.yarn_multiplier;
        const double even = values[i / 2 * 2];
        const double odd = values[i / 2 * 2 + 1];
        return i % 2 == 0 ? even * cosine - odd * sine : odd * cosine + even * sine;
    }
};

Problem make_problem(TestGpu& gpu, const TestBatch& batch) {
    std::mt19937 random(batch.seed);
    const gptoss_model_config config = config_of(batch);
    const size_t num_all_heads = batch.num_heads + size_t{2} * batch.num_kv_heads;
    Problem problem = {.config = config,
                       .qkv = random_floats(random, batch.num_rows() * num_all_heads * kHeadDim, 0.5f),
                       .sinks = random_bf16(random, batch.num_heads, 1),
                       .spans = {}};
    for (const TestSpan& span : batch.spans) {
        const uint32_t end = span.first_position + span.num_rows;
        const uint32_t capacity =
            (batch.window == 0 ? end : std::min(end, span.num_rows + batch.window - 1)) + span.spare_slots;
        const size_t slot = batch.num_kv_heads * kHeadDim;
        std::vector<uint16_t> caches[2];
        for (std::vector<uint16_t>& cache : caches) {
            cache.assign(capacity * slot, 0xFFFF);
            for (uint32_t position = first_visible(batch.window, span.first_position); position < span.first_position;
                 position++) {
                const std::vector<uint16_t> halves = floats_to_halves(random_floats(random, slot, 0.7f));
                std::ranges::copy(halves, cache.begin() + static_cast<std::ptrdiff_t>(position % capacity * slot));
            }
        }
        problem.spans.push_back({.num_rows = span.num_rows,
                                 .first_position = span.first_position,
                                 .window = batch.window,
                                 .capacity = capacity,
                                 .keys = gpu.upload(caches[0]),
                                 .values = gpu.upload(caches[1])});
    }
    return problem;
}

// Largest difference between the two, each in units of its tolerance.
class Worst {
public:
    explicit Worst(double tolerance) : tolerance_(tolerance) {}
    void compare(double got, double expected) {
        const double difference = std::fabs(got - expected) / (tolerance_ * (1 + std::fabs(expected)));
        worst_ = difference <= worst_ ? worst_ : std::isnan(difference) ? INFINITY : difference;
    }
    double value() const { return worst_; }

private:
    double tolerance_;
    double worst_ = 0;
};

constexpr double kHalfTolerance = 1.0 / 1024; // of one rounding, twice
constexpr double kFloatTolerance = 2e-5;

// Runs rotary embedding (but for a batch of one row, whose projection does that) and attention, and compares keys,
// values and output.
void check_batch(const TestBatch& batch) {
    TestGpu gpu;
    const Problem problem = make_problem(gpu, batch);
    const gptoss_model_config& config = problem.config;
    const uint32_t num_rows = batch.num_rows();
    const size_t row_elements = batch.num_heads * kHeadDim;

    const AttentionWorkspaceBytes bytes = attention_workspace_bytes(config, std::max(num_rows, batch.max_rows));
    const AttentionWorkspace workspace = {gpu.make_poisoned(bytes.split_values), gpu.make_poisoned(bytes.split_sums)};
    const auto frequencies = inverse_frequencies(config);
    const Slice frequency_slice = gpu.upload(std::vector<float>(frequencies.begin(), frequencies.end()));
    const Slice qkv = gpu.upload(problem.qkv);
    const Slice queries = gpu.make_poisoned(num_rows * row_elements * sizeof(float));
    const AttentionBuffers buffers = {.queries = queries,
                                      .sinks = gpu.upload(problem.sinks),
                                      .output = gpu.make_poisoned(num_rows * row_elements * sizeof(float))};
    gpu.run([&](Encoder& encoder) {
        launch_rope(encoder, config, problem.spans, qkv, frequency_slice, queries);
        encoder.barrier();
        launch_attention(encoder, config, problem.spans, buffers, workspace);
    });

    const std::vector<float> output = elements_of<float>(buffers.output);
    Worst worst_cache(kHalfTolerance);
    Worst worst_output(kFloatTolerance);
    uint32_t first_row = 0;
    const uint32_t heads_per_group = batch.num_heads / batch.num_kv_heads;
    for (const AttentionSpan& span : problem.spans) {
        const std::vector<float> keys = halves_to_floats(elements_of<uint16_t>(span.keys));
        const std::vector<float> values = halves_to_floats(elements_of<uint16_t>(span.values));
        const auto cached = [&](const std::vector<float>& cache, uint32_t position, uint32_t group) {
            return cache.data() + (position % span.capacity * size_t{batch.num_kv_heads} + group) * kHeadDim;
        };
        for (uint32_t r = 0; r < span.num_rows; r++) {
            const uint32_t row = first_row + r;
            const uint32_t position = span.first_position + r;
            for (uint32_t group = 0; group < batch.num_kv_heads; group++) {
                for (uint32_t i = 0; i < kHeadDim; i++) {
                    worst_cache.compare(cached(keys, position, group)[i],
                                        problem.element(row, batch.num_heads + group, i, position));
                    worst_cache.compare(
                        cached(values, position, group)[i],
                        problem.element(row, batch.num_heads + batch.num_kv_heads + group, i, position));
                }
            }
            for (uint32_t head = 0; head < batch.num_heads; head++) {
                const uint32_t group = head / heads_per_group;
                double query[kHeadDim];
                for (uint32_t i = 0; i < kHeadDim; i++) {
                    query[i] = problem.element(row, head, i, position);
                }
                std::vector<double> scores = {bf16_to_float(problem.sinks[head])};
                for (uint32_t key = first_visible(batch.window, position); key <= position; key++) {
                    double score = 0;
                    for (uint32_t i = 0; i < kHeadDim; i++) {
                        score += query[i] * cached(keys, key, group)[i];
                    }
                    scores.push_back(score);
                }
                const double largest = *std::ranges::max_element(scores);
                double sum = 0;
                for (double& score : scores) {
                    score = std::exp(score - largest);
                    sum += score;
                }
                for (uint32_t i = 0; i < kHeadDim; i++) {
                    double expected = 0;
                    for (size_t key = 1; key < scores.size(); key++) {
                        const auto at = static_cast<uint32_t>(first_visible(batch.window, position) + key - 1);
                        expected += scores[key] / sum * cached(values, at, group)[i];
                    }
                    worst_output.compare(output[row * row_elements + head * kHeadDim + i], expected);
                }
            }
        }
        first_row += span.num_rows;
    }
    if (!(worst_cache.value() <= 1) || !(worst_output.value() <= 1)) {
        std::ostringstream what;
        what << batch.num_heads << " heads, " << batch.num_kv_heads << " key/value heads, window " << batch.window
             << ", seed " << batch.seed << ", spans";
        for (const TestSpan& span : batch.spans) {
            what << " " << span.num_rows << " rows after " << span.first_position << ",";
        }
        what << " keys and values are " << worst_cache.value() << " times their tolerance off, the output "
             << worst_output.value() << " times";
        check::report_failure(__FILE__, __LINE__, what.str());
    }
}

AttentionSpan span_of(uint32_t num_rows, uint32_t first_position, uint32_t window) {
    return {num_rows, first_position, window, 0, {}, {}};
}

} // namespace

// ---- What is computed

TEST(one_row_of_the_20b) {
    check_batch({64, 8, 0, {{1, 299}}});
    check_batch({64, 8, 128, {{1, 299}}});
}

TEST(the_first_token) {
    check_batch({64, 8, 128, {{1, 0}}});
    check_batch({4, 2, 0, {{1, 0, 255}}});
}

TEST(few_rows_and_many_of_one_context) {
    for (const uint32_t num_rows : {2, 5, 8, 9, 31, 32, 33, 130}) {
        check_batch({.num_heads = 8, .num_kv_heads = 2, .window = 0, .spans = {{num_rows, 70, 9}}});
        check_batch({.num_heads = 8, .num_kv_heads = 2, .window = 40, .spans = {{num_rows, 70, 3}}});
    }
}

TEST(decoded_and_prefilled_spans_in_one_batch) {
    const std::vector<TestSpan> spans = {{1, 100}, {40, 0, 5}, {3, 64, 1}, {31, 7}, {1, 0}, {32, 200, 30}};
    check_batch({.num_heads = 8, .num_kv_heads = 1, .window = 0, .spans = spans});
    check_batch({.num_heads = 6, .num_kv_heads = 2, .window = 33, .spans = spans});
}

TEST(forty_contexts_with_one_token_each) {
    std::vector<TestSpan> spans;
    for (uint32_t i = 0; i < 40; i++) {
        spans.push_back({1, 13 * i, i % 3});
    }
    check_batch({.num_heads = 8, .num_kv_heads = 2, .window = 0, .spans = spans});
    check_batch({.num_heads = 8, .num_kv_heads = 2, .window = 128, .spans = spans});
}

TEST(a_workspace_may_be_longer_than_a_batch_needs) {
    check_batch({.num_heads = 8, .num_kv_heads = 2, .window = 0, .spans = {{3, 70}}, .seed = 0, .max_rows = 512});
}

TEST(any_batch) {
    for (uint32_t seed = 0; seed < 40; seed++) {
        std::mt19937 random(seed);
        const auto below = [&](uint32_t limit) { return static_cast<uint32_t>(random() % limit); };
        constexpr uint32_t kHeads[][2] = {{1, 1}, {4, 2}, {14, 2}, {3, 3}, {6, 2}, {9, 1}, {40, 2}, {65, 1}, {16, 8}};
        const uint32_t(&heads)[2] = kHeads[below(std::size(kHeads))];
        TestBatch batch = {heads[0], heads[1], below(2) * (1 + below(70)), {}, seed};
        for (uint32_t i = 0; i < 1 + below(4); i++) {
            const uint32_t num_rows = below(3) == 0 ? 1 + below(60) : 1 + below(4);
            batch.spans.push_back({num_rows, below(200), below(2) * below(60)});
        }
        check_batch(batch);
    }
}

// ---- How it is divided

TEST(splits_by_the_keys_that_are_seen) {
    const gptoss_model_config config = config_of({64, 8, 0, {}});
    const auto splits = [&](uint32_t num_rows, uint32_t first_position, uint32_t window, size_t num_decoded = 1) {
        return num_attention_splits(config, span_of(num_rows, first_position, window), num_decoded);
    };
    CHECK_EQUAL(splits(1, 0, 0), 1u);
    CHECK_EQUAL(splits(1, 31, 0), 1u);
    CHECK_EQUAL(splits(1, 32, 0), 2u);
    CHECK_EQUAL(splits(1, 100000, 128), 4u); // tiles of a window
    CHECK_EQUAL(splits(1, 1023, 0), 16u);    // 128 threadgroups
    CHECK_EQUAL(splits(1, 8191, 0), 32u);    // 256 keys each
    CHECK_EQUAL(splits(1, 16383, 0), 64u);   // 512 threadgroups
    CHECK_EQUAL(splits(1, 131071, 0), 64u);
    CHECK_EQUAL(splits(8, 131064, 0), 64u);    // 64 vectors are one threadgroup
    CHECK_EQUAL(splits(31, 131041, 0), 16u);   // 248 are four
    CHECK_EQUAL(splits(1, 131071, 0, 40), 1u); // 40 contexts keep the GPU busy by themselves
    CHECK_EQUAL(splits(1, 131071, 0, 4), 16u);
}

TEST(the_workspace_holds_the_splits_of_any_batch) {
    for (uint32_t seed = 0; seed < 2000; seed++) {
        std::mt19937 random(seed);
        const auto below = [&](uint32_t limit) { return static_cast<uint32_t>(random() % limit); };
        const uint32_t num_kv_heads = 1 + below(16);
        const gptoss_model_config config = config_of({num_kv_heads * (1 + below(20)), num_kv_heads, 0, {}});
        std::vector<AttentionSpan> spans;
        size_t num_rows = 0;
        for (uint32_t i = 0; i < 1 + below(1 << below(7)); i++) {
            spans.push_back(span_of(1 + below(kMaxFewRows), below(131072), below(2) * 128));
            num_rows += spans.back().num_rows;
        }
        size_t num_sums = 0;
        for (const AttentionSpan& span : spans) {
            num_sums += size_t{span.num_rows} * config.num_heads * num_attention_splits(config, span, spans.size());
        }
        const AttentionWorkspaceBytes bytes = attention_workspace_bytes(config, num_rows);
        CHECK(num_sums * kHeadDim * sizeof(float) <= bytes.split_values);
        CHECK(num_sums * 2 * sizeof(float) <= bytes.split_sums);
    }
}

TEST(the_workspace_of_the_20b_is_small) {
    const gptoss_model_config config = config_of({64, 8, 0, {}});
    CHECK(attention_workspace_bytes(config, 1).total() < 2'000'000);
    CHECK(attention_workspace_bytes(config, 2048).total() < 50'000'000);
}
