// The dense launches (source/metal/dense_launches.h) for one row, few and many, against the same in double.
#include "metal/dense_launches.h"

#include <algorithm>
#include <cmath>
#include <numeric>
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

constexpr float kEpsilon = 1e-5f;

gptoss_model_config config_of(uint32_t embedding_dim) {
    gptoss_model_config config{};
    config.embedding_dim = embedding_dim;
    config.rmsnorm_epsilon = kEpsilon;
    config.head_dim = kHeadDim;
    config.rope_theta = 150000;
    config.interpolation_scale = 1.0f / 32;
    config.yarn_offset = -0.5f;
    config.yarn_scale = 0.1f;
    config.yarn_multiplier = 1.3466f;
    return config;
}

using Rows = std::vector<std::vector<double>>;

Rows rows_of(const std::vector<float>& values, size_t num_rows) {
    Rows rows(num_rows);
    const size_t size = values.size() / num_rows;
    for (size_t row = 0; row < num_rows; row++) {
        rows[row].assign(values.begin() + static_cast<std::ptrdiff_t>(row * size),
                         values.begin() + static_cast<std::ptrdiff_t>((row + 1) * size));
    }
    return rows;
}

std::vector<double> norm(const std::vector<double>& row, const std::vector<uint16_t>& gain) {
    double squares = 0;
    for (const double value : row) {
        squares += value * value;
    }
    std::vector<double> result(row.size());
    for (size_t i = 0; i < row.size(); i++) {
        result[i] = row[i] / std::sqrt(squares / static_cast<double>(row.size()) + kEpsilon) * bf16_to_float(gain[i]);
    }
    return result;
}

// weight [outputs, inputs] . row + bias; without one if it is empty
std::vector<double> multiply(const std::vector<uint16_t>& weight,
                             const std::vector<uint16_t>& bias,
                             const std::vector<double>& row,
                             size_t num_outputs) {
    std::vector<double> result(num_outputs);
    for (size_t output = 0; output < num_outputs; output++) {
        result[output] = bias.empty() ? 0 : bf16_to_float(bias[output]);
        for (size_t i = 0; i < row.size(); i++) {
            result[output] += static_cast<double>(bf16_to_float(weight[output * row.size() + i])) * row[i];
        }
    }
    return result;
}

// Of all elements, relative to 1 + |expected|.
void check_rows(const std::string& what, const std::vector<float>& got, const Rows& expected, double tolerance) {
    double worst = 0;
    const Rows got_rows = rows_of(got, expected.size());
    for (size_t row = 0; row < expected.size(); row++) {
        CHECK_EQUAL(got_rows[row].size(), expected[row].size());
        for (size_t i = 0; i < expected[row].size(); i++) {
            const double difference =
                std::fabs(got_rows[row][i] - expected[row][i]) / (1 + std::fabs(expected[row][i]));
            worst = difference <= worst ? worst : std::isnan(difference) ? INFINITY : difference;
        }
    }
    if (!(worst <= tolerance)) {
        std::ostringstream sentence;
        sentence << what << ": off by up to " << worst << ", more than " << tolerance;
        check::report_failure(__FILE__, __LINE__, sentence.str());
    }
}

std::string describe(const char* what, uint32_t num_rows, uint32_t num_inputs, uint32_t num_outputs) {
    std::ostringstream sentence;
    sentence << what << ", " << num_rows << " rows of " << num_inputs << " to " << num_outputs;
    return sentence.str();
}

constexpr double kFloatTolerance = 1e-5;
constexpr double kHalfTolerance = 1.0 / 1024; // one rounding, twice

// Weights that leave outputs about as large as inputs.
std::vector<uint16_t> random_weights(std::mt19937& random, size_t num_outputs, size_t num_inputs) {
    return random_bf16(random, num_outputs * num_inputs, 1 / std::sqrt(static_cast<float>(num_inputs)));
}

constexpr uint32_t kNumRows[] = {1, 2, 7, 8, 9, 16, 17, 31, 32, 33, 64, 100};

} // namespace

TEST(embed) {
    for (const uint32_t embedding_dim : {32, 544, 2880}) {
        for (const uint32_t num_rows : {1, 3, 70}) {
            std::mt19937 random(num_rows);
            constexpr uint32_t kVocabulary = 50;
            gptoss_model_config config = config_of(embedding_dim);
            config.vocabulary_size = kVocabulary;
            const std::vector<uint16_t> embedding = random_bf16(random, size_t{kVocabulary} * embedding_dim, 1);
            std::vector<uint32_t> tokens(num_rows);
            Rows expected;
            for (uint32_t& token : tokens) {
                token = static_cast<uint32_t>(random() % kVocabulary);
                expected.emplace_back();
                for (uint32_t i = 0; i < embedding_dim; i++) {
                    expected.back().push_back(bf16_to_float(embedding[token * embedding_dim + i]));
                }
            }
            TestGpu gpu;
            const Slice residual = gpu.make_poisoned(size_t{num_rows} * embedding_dim * sizeof(float));
            const Slice token_slice = gpu.upload(tokens);
            const DenseMatrix table = {config.vocabulary_size, embedding_dim, gpu.upload(embedding), {}};
            gpu.run([&](Encoder& encoder) { launch_embed(encoder, config, num_rows, token_slice, table, residual); });
            check_rows(describe("embedding", num_rows, embedding_dim, embedding_dim), elements_of<float>(residual),
                       expected, 0);
        }
    }
}

TEST(norms) {
    for (const uint32_t num_rows : {1, 31, 32}) {
        for (const uint32_t embedding_dim : {32, 1056}) {
            std::mt19937 random(num_rows);
            const std::vector<float> residual = random_floats(random, size_t{num_rows} * embedding_dim, 3);
            const std::vector<uint16_t> gain = random_bf16(random, embedding_dim, 1);
            Rows expected;
            for (const std::vector<double>& row : rows_of(residual, num_rows)) {
                expected.push_back(norm(row, gain));
            }
            TestGpu gpu;
            const Slice normalized = gpu.make_poisoned(residual.size() * sizeof(float));
            const Slice residual_slice = gpu.upload(residual);
            const Slice gain_slice = gpu.upload(gain);
            gpu.run([&](Encoder& encoder) {
                launch_norm(encoder, config_of(embedding_dim), num_rows, residual_slice, gain_slice, normalized);
            });
            check_rows(describe("norm", num_rows, embedding_dim, embedding_dim), elements_of<float>(normalized),
                       expected, kFloatTolerance);
        }
    }
}

TEST(projections_of_any_number_of_rows) {
    for (const uint32_t num_rows : kNumRows) {
        for (const Epilogue epilogue : {Epilogue::store, Epilogue::add}) {
            const uint32_t num_inputs = 64 + num_rows % 2 * 160;
            const uint32_t num_outputs = 32 * (1 + num_rows % 5);
            std::mt19937 random(num_rows);
            const RowForm form = row_form(num_rows);
            const std::vector<uint16_t> weight = random_weights(random, num_outputs, num_inputs);
            const std::vector<uint16_t> bias = random_bf16(random, num_outputs, 1);
            const std::vector<float> input = random_floats(random, size_t{num_rows} * num_inputs, 1);
            const std::vector<float> before = random_floats(random, size_t{num_rows} * num_outputs, 1);
            Rows expected;
            for (const std::vector<double>& row : rows_of(input, num_rows)) {
                expected.push_back(multiply(weight, bias, row, num_outputs));
                for (uint32_t i = 0; epilogue == Epilogue::add && i < num_outputs; i++) {
                    expected.back()[i] += before[(expected.size() - 1) * num_outputs + i];
                }
            }
            TestGpu gpu;
            const Slice output =
                epilogue == Epilogue::add ? gpu.upload(before) : gpu.make_poisoned(before.size() * sizeof(float));
            const DenseMatrix matrix = {num_outputs, num_inputs, gpu.upload(weight), {}};
            const Slice bias_slice = gpu.upload(bias);
            const Slice input_slice = gpu.upload(input);
            gpu.run([&](Encoder& encoder) {
                launch_projection(encoder, form, epilogue, num_rows, matrix, bias_slice, input_slice, output);
            });
            // Among many rows, bf16 weights become halves: 8 bits in 11, exact but for subnormals.
            check_rows(describe("projection", num_rows, num_inputs, num_outputs), elements_of<float>(output), expected,
                       form == RowForm::many ? 1e-4 : kFloatTolerance);
        }
    }
}

TEST(the_queries_keys_and_values_of_one_row) {
    constexpr uint32_t kHeads = 3;
    constexpr uint32_t kNumKvHeads = 2;
    constexpr uint32_t kPosition = 70001;
    constexpr uint32_t kEmbeddingDim = 96;
    constexpr uint32_t kNumOutputs = (kHeads + 2 * kNumKvHeads) * kHeadDim;
    std::mt19937 random(1);
    gptoss_model_config config = config_of(kEmbeddingDim);
    config.num_heads = kHeads;
    config.num_kv_heads = kNumKvHeads;
    const std::vector<float> residual = random_floats(random, kEmbeddingDim, 2);
    const std::vector<uint16_t> gain = random_bf16(random, kEmbeddingDim, 1);
    const std::vector<uint16_t> weight = random_weights(random, kNumOutputs, kEmbeddingDim);
    const std::vector<uint16_t> bias = random_bf16(random, kNumOutputs, 1);
    const auto frequencies = inverse_frequencies(config);

    std::vector<double> expected = multiply(weight, bias, norm(rows_of(residual, 1)[0], gain), kNumOutputs);
    for (size_t i = 0; i < (kHeads + kNumKvHeads) * kHeadDim; i += 2) {
        const double angle = static_cast<float>(kPosition) * frequencies[i % kHeadDim / 2];
        const double cosine = std::cos(angle) * config.yarn_multiplier;
        const double sine = std::sin(angle) * config.yarn_multiplier;
        const double even = expected[i];
        expected[i] = even * cosine - expected[i + 1] * sine;
        expected[i + 1] = expected[i + 1] * cosine + even * sine;
    }

    TestGpu gpu;
    const QkvRow row = {.position = kPosition,
                        .inverse_frequencies = gpu.upload(std::vector(frequencies.begin(), frequencies.end())),
                        .queries = gpu.make_poisoned(kHeads * kHeadDim * sizeof(float)),
                        .key = gpu.make_poisoned(kNumKvHeads * kHeadDim * sizeof(uint16_t)),
                        .value = gpu.make_poisoned(kNumKvHeads * kHeadDim * sizeof(uint16_t))};
    const DenseMatrix matrix = {kNumOutputs, kEmbeddingDim, gpu.upload(weight), {}};
    const Slice bias_slice = gpu.upload(bias);
    const Slice gain_slice = gpu.upload(gain);
    const Slice residual_slice = gpu.upload(residual);
    gpu.run([&](Encoder& encoder) {
        launch_qkv_row(encoder, config, matrix, bias_slice, gain_slice, residual_slice, row);
    });
    const auto part = [&](size_t first_head, size_t num_heads) {
        const auto begin = expected.begin() + static_cast<std::ptrdiff_t>(first_head * kHeadDim);
        return Rows{{begin, begin + static_cast<std::ptrdiff_t>(num_heads * kHeadDim)}};
    };
    check_rows("queries", elements_of<float>(row.queries), part(0, kHeads), kFloatTolerance);
    check_rows("key", halves_to_floats(elements_of<uint16_t>(row.key)), part(kHeads, kNumKvHeads), kHalfTolerance);
    check_rows("value", halves_to_floats(elements_of<uint16_t>(row.value)), part(kHeads + kNumKvHeads, kNumKvHeads),
               kHalfTolerance);
}

TEST(routers_of_any_number_of_rows_and_experts) {
    for (const uint32_t num_rows : kNumRows) {
        constexpr uint32_t kExperts[][2] = {{1, 1}, {4, 2}, {32, 4}, {128, 4}, {128, 128}, {33, 9}};
        const uint32_t(&experts)[2] = kExperts[num_rows % std::size(kExperts)];
        const uint32_t num_active = experts[1];
        constexpr uint32_t kEmbeddingDim = 96;
        std::mt19937 random(num_rows);
        gptoss_model_config config = config_of(kEmbeddingDim);
        config.num_experts = experts[0];
        config.num_active_experts = num_active;
        const RowForm form = row_form(num_rows);
        const std::vector<float> residual = random_floats(random, size_t{num_rows} * kEmbeddingDim, 2);
        const std::vector<uint16_t> gain = random_bf16(random, kEmbeddingDim, 1);
        const std::vector<uint16_t> weight = random_weights(random, experts[0], kEmbeddingDim);
        const std::vector<uint16_t> bias = random_bf16(random, experts[0], 1);

        TestGpu gpu;
        const RouterOutputs outputs = {
            .experts = gpu.make_poisoned(size_t{num_rows} * num_active * sizeof(uint32_t)),
            .weights = gpu.make_poisoned(size_t{num_rows} * num_active * sizeof(float)),
            .normalized = gpu.make_poisoned(residual.size() * sizeof(float)),
        };
        const DenseMatrix matrix = {experts[0], kEmbeddingDim, gpu.upload(weight), {}};
        const Slice bias_slice = gpu.upload(bias);
        const Slice gain_slice = gpu.upload(gain);
        const Slice residual_slice = gpu.upload(residual);
        gpu.run([&](Encoder& encoder) {
            launch_router(encoder, config, form, num_rows, matrix, bias_slice, gain_slice, residual_slice, outputs);
        });

        const std::vector<uint32_t> ids = elements_of<uint32_t>(outputs.experts);
        Rows normalized;
        Rows expected_weights;
        for (const std::vector<double>& row : rows_of(residual, num_rows)) {
            const size_t first = normalized.size() * num_active;
            normalized.push_back(norm(row, gain));
            const std::vector<double> logits = multiply(weight, bias, normalized.back(), experts[0]);
            std::vector<uint32_t> order(experts[0]);
            std::iota(order.begin(), order.end(), 0);
            std::ranges::stable_sort(order, [&](uint32_t a, uint32_t b) { return logits[a] > logits[b]; });
            double sum = 0;
            for (uint32_t slot = 0; slot < num_active; slot++) {
                CHECK(ids[first + slot] < experts[0]);
                // Another order is right where two logits are the same but for rounding.
                CHECK_CLOSE(logits[ids[first + slot] % experts[0]], logits[order[slot]], 1e-5);
                sum += std::exp(logits[order[slot]] - logits[order[0]]);
            }
            expected_weights.emplace_back();
            for (uint32_t slot = 0; slot < num_active; slot++) {
                expected_weights.back().push_back(std::exp(logits[order[slot]] - logits[order[0]]) / sum);
            }
        }
        check_rows(describe("router's weights", num_rows, kEmbeddingDim, experts[0]),
                   elements_of<float>(outputs.weights), expected_weights, kFloatTolerance);
        check_rows(describe("router's norm", num_rows, kEmbeddingDim, kEmbeddingDim),
                   elements_of<float>(outputs.normalized), normalized, kFloatTolerance);
    }
}

TEST(unembedding_of_any_number_of_rows) {
    constexpr uint32_t kVocabulary = 301; // no multiple of anything
    constexpr uint32_t kEmbeddingDim = 96;
    std::mt19937 random(1);
    gptoss_model_config config = config_of(kEmbeddingDim);
    config.vocabulary_size = kVocabulary;
    const std::vector<uint16_t> weight = random_weights(random, kVocabulary, kEmbeddingDim);
    const std::vector<uint16_t> gain = random_bf16(random, kEmbeddingDim, 1);
    for (const uint32_t num_rows : kNumRows) {
        const std::vector<float> residual = random_floats(random, size_t{num_rows} * kEmbeddingDim, 2);
        Rows expected;
        for (const std::vector<double>& row : rows_of(residual, num_rows)) {
            expected.push_back(multiply(weight, {}, norm(row, gain), kVocabulary));
        }
        TestGpu gpu;
        const DenseMatrix matrix = {kVocabulary, kEmbeddingDim, gpu.upload(weight), {}};
        const Slice gain_slice = gpu.upload(gain);
        const Slice residual_slice = gpu.upload(residual);
        const Slice normalized = gpu.make_poisoned(residual.size() * sizeof(float));
        const Slice logits = gpu.make_poisoned(size_t{num_rows} * kVocabulary * sizeof(float));
        gpu.run([&](Encoder& encoder) {
            if (num_rows == 1) {
                launch_unembed_row(encoder, config, matrix, gain_slice, residual_slice, logits);
                return;
            }
            launch_norm(encoder, config, num_rows, residual_slice, gain_slice, normalized);
            encoder.barrier();
            launch_unembed_rows(encoder, num_rows, matrix, normalized, logits);
        });
        check_rows(describe("logits", num_rows, kEmbeddingDim, kVocabulary), elements_of<float>(logits), expected,
                   kFloatTolerance);
    }
}
