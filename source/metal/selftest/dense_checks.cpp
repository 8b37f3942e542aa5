// Embedding, norm, projections, router and unembedding.

#include <cmath>

#include "../../../metal/arguments.h"
#include "../../../metal/dense_geometry.h"
#include "../dense_launches.h"
#include "checks.h"
#include "dense_twins.h"
#include "rope_twin.h"
#include "shapes.h"

namespace gptoss::metal {

namespace {

using namespace gptoss_metal;

// Of the greatest magnitude: sums of products in fp32.
constexpr double kFloatTolerance = 1e-5;
// Of what is rounded to half once.
constexpr double kRoundedTolerance = 5e-4;

// ---- Weights in both formats

enum class Format { bf16, int8 };

struct Weights {
    Format format;
    DenseMatrix matrix;
    std::vector<double> values; // [num_outputs, num_inputs]
};

// Around 1 / sqrt(num_inputs), so that products stay around the input's magnitude.
Weights random_weights(Trial& trial, Format format, uint32_t num_outputs, uint32_t num_inputs) {
    const size_t count = size_t{num_outputs} * num_inputs;
    const double scale = 1 / std::sqrt(num_inputs);
    Weights weights = {format, {num_outputs, num_inputs, {}, {}}, {}};
    if (format == Format::bf16) {
        const std::vector<Bf16> values = trial.random().normals<Bf16>(count, scale);
        weights.matrix.weight = trial.input(values);
        weights.values = to_doubles(values);
        return weights;
    }
    std::vector<int8_t> codes(count);
    std::vector<Half> scales(count / 32);
    for (Half& each : scales) {
        each = from_double<Half>(trial.random().uniform(0.5, 2) * scale / 74);
    }
    for (size_t i = 0; i < count; i++) {
        codes[i] = static_cast<int8_t>(trial.random().below(255) - 127);
        weights.values.push_back(codes[i] * to_double(scales[i / 32]));
    }
    weights.matrix.weight = trial.input(codes);
    weights.matrix.scales = trial.input(scales);
    return weights;
}

// ---- Embedding and norm

void check_embed(Trial& trial, Format format) {
    const ModelConfig config = shape_20b(300);
    // The first, the last, one twice, and one beyond the vocabulary, which reads the last.
    const std::vector<uint32_t> tokens = {0, 299, 7, 7, 300, 150};
    const Weights embedding = random_weights(trial, format, 300, config.embedding_dim);
    const Slice residual = trial.output<float>(tokens.size() * config.embedding_dim);
    launch_embed(trial.encoder(), config, static_cast<uint32_t>(tokens.size()), trial.input(tokens), embedding.matrix,
                 residual);
    trial.run();

    std::vector<double> expected;
    for (const uint32_t token : tokens) {
        for (size_t i = 0; i < config.embedding_dim; i++) {
            expected.push_back(embedding.values[std::min(token, 299u) * config.embedding_dim + i]);
        }
    }
    trial.expect_close<float>("residual", residual, expected, 0);
}

void check_norm(Trial& trial) {
    const ModelConfig config = shape_20b();
    constexpr uint32_t kNumRows = 3;
    std::vector<float> x = trial.random().normals<float>(size_t{kNumRows} * config.embedding_dim);
    for (size_t i = 0; i < config.embedding_dim; i++) {
        x[i] *= 0.003f; // a row where epsilon matters
    }
    const std::vector<Bf16> gain = trial.random().normals<Bf16>(config.embedding_dim);
    const Slice normalized = trial.output<float>(x.size());
    launch_norm(trial.encoder(), config, kNumRows, trial.input(x), trial.input(gain), normalized);
    trial.run();
    trial.expect_close<float>("normalised rows", normalized,
                              rms_norm(to_doubles(x), to_doubles(gain), config.rmsnorm_epsilon), kFloatTolerance);
}

// ---- Projections

struct ProjectionCase {
    const char* kernel;
    Format format;
    RowForm form;
    Epilogue epilogue;
    uint32_t num_rows;
    uint32_t num_outputs;
    uint32_t num_inputs;
};

void check_projection(Trial& trial, const ProjectionCase& c) {
    const Weights weights = random_weights(trial, c.format, c.num_outputs, c.num_inputs);
    const std::vector<Bf16> bias = trial.random().normals<Bf16>(c.num_outputs, 0.1);
    const size_t num_inputs = size_t{c.num_rows} * c.num_inputs;
    const std::vector<float> x = trial.random().normals<float>(num_inputs);
    const Slice input = trial.input(x);
    const size_t num_outputs = size_t{c.num_rows} * c.num_outputs;
    const bool adds = c.epilogue == Epilogue::add;
    const std::vector<float> before = trial.random().normals<float>(num_outputs);
    const Slice output = adds ? trial.input(before) : trial.output<float>(num_outputs);
    launch_projection(trial.encoder(), c.form, c.epilogue, c.num_rows, weights.matrix, trial.input(bias), input,
                      output);
    trial.run();

    std::vector<double> expected = linear(to_doubles(x), weights.values, to_doubles(bias), c.num_inputs);
    if (adds) {
        expected = sum_of(expected, to_doubles(before));
    }
    trial.expect_close<float>("the projection", output, expected, kFloatTolerance);
}

// Of the 20b's widths; outputs that are no multiple of what a threadgroup makes, and rows that do not fill a tile.
const ProjectionCase kProjectionCases[] = {
    {"projection_matvec_bf16", Format::bf16, RowForm::one, Epilogue::store, 1, 1003, 2880},
    {"projection_matvec_int8", Format::int8, RowForm::one, Epilogue::store, 1, 1003, 2880},
    {"projection_matvec_add_bf16", Format::bf16, RowForm::one, Epilogue::add, 1, 2880, 4096},
    {"projection_matvec_add_int8", Format::int8, RowForm::one, Epilogue::add, 1, 1003, 4128},
    {"projection_few_rows_8_bf16", Format::bf16, RowForm::few, Epilogue::store, 5, 200, 2880},
    {"projection_few_rows_16_bf16", Format::bf16, RowForm::few, Epilogue::store, 13, 200, 2880},
    {"projection_few_rows_32_bf16", Format::bf16, RowForm::few, Epilogue::store, 31, 200, 2880},
    {"projection_few_rows_8_add_bf16", Format::bf16, RowForm::few, Epilogue::add, 2, 200, 4096},
    {"projection_few_rows_16_add_bf16", Format::bf16, RowForm::few, Epilogue::add, 9, 200, 4096},
    {"projection_few_rows_32_add_bf16", Format::bf16, RowForm::few, Epilogue::add, 17, 200, 4096},
    {"projection_few_rows_8_int8", Format::int8, RowForm::few, Epilogue::store, 5, 200, 2880},
    {"projection_few_rows_16_int8", Format::int8, RowForm::few, Epilogue::store, 13, 200, 2880},
    {"projection_few_rows_32_int8", Format::int8, RowForm::few, Epilogue::store, 31, 200, 2880},
    {"projection_few_rows_8_add_int8", Format::int8, RowForm::few, Epilogue::add, 2, 200, 4096},
    {"projection_few_rows_16_add_int8", Format::int8, RowForm::few, Epilogue::add, 9, 200, 4096},
    {"projection_few_rows_32_add_int8", Format::int8, RowForm::few, Epilogue::add, 17, 200, 4096},
    {"projection_matmul_bf16", Format::bf16, RowForm::many, Epilogue::store, 70, 200, 2880},
    {"projection_matmul_int8", Format::int8, RowForm::many, Epilogue::store, 70, 200, 2880},
    {"projection_matmul_add_bf16", Format::bf16, RowForm::many, Epilogue::add, 33, 200, 4096},
    {"projection_matmul_add_int8", Format::int8, RowForm::many, Epilogue::add, 33, 200, 4096},
};

// ---- Queries, keys and values of one row

void check_qkv(Trial& trial, Format format, const ModelConfig& config, uint32_t position) {
    const uint32_t num_query_rows = config.num_heads * config.head_dim;
    const uint32_t num_key_rows = config.num_kv_heads * config.head_dim;
    const uint32_t num_outputs = num_query_rows + 2 * num_key_rows;
    const Weights weights = random_weights(trial, format, num_outputs, config.embedding_dim);
    const std::vector<Bf16> bias = trial.random().normals<Bf16>(num_outputs, 0.1);
    const std::vector<Bf16> gain = trial.random().normals<Bf16>(config.embedding_dim);
    const std::vector<float> x = trial.random().normals<float>(config.embedding_dim);
    const QkvRow row = {position, trial.input(inverse_frequencies()), trial.output<float>(num_query_rows),
                        trial.output<Half>(num_key_rows), trial.output<Half>(num_key_rows)};
    launch_qkv_row(trial.encoder(), config, weights.matrix, trial.input(bias), trial.input(gain), trial.input(x), row);
    trial.run();

    const std::vector<double> qkv = linear(rms_norm(to_doubles(x), to_doubles(gain), config.rmsnorm_epsilon),
                                           weights.values, to_doubles(bias), config.embedding_dim);
    const auto first_key = qkv.begin() + num_query_rows;
    const auto first_value = first_key + num_key_rows;
    trial.expect_close<float>("queries", row.queries, rotate({qkv.begin(), first_key}, 1, position), kFloatTolerance);
    trial.expect_close<Half>("key", row.key, rotate({first_key, first_value}, 1, position), kRoundedTolerance);
    trial.expect_close<Half>("value", row.value, {first_value, qkv.end()}, kRoundedTolerance);
}

// ---- Router

void check_router(Trial& trial, RowForm form, uint32_t num_rows, uint32_t num_experts) {
    ModelConfig config = shape_20b();
    config.num_experts = num_experts;
    const Weights weights = random_weights(trial, Format::bf16, num_experts, config.embedding_dim);
    const std::vector<Bf16> bias = trial.random().normals<Bf16>(num_experts);
    const std::vector<Bf16> gain = trial.random().normals<Bf16>(config.embedding_dim);
    const std::vector<float> x = trial.random().normals<float>(size_t{num_rows} * config.embedding_dim);
    const size_t num_pairs = size_t{num_rows} * config.num_active_experts;
    const RouterOutputs outputs = {trial.output<uint32_t>(num_pairs), trial.output<float>(num_pairs),
                                   trial.output<float>(x.size())};
    launch_router(trial.encoder(), config, form, num_rows, weights.matrix, trial.input(bias), trial.input(gain),
                  trial.input(x), outputs);
    trial.run();

    const std::vector<double> normalized = rms_norm(to_doubles(x), to_doubles(gain), config.rmsnorm_epsilon);
    const RoutingTwin expected = route(linear(normalized, weights.values, to_doubles(bias), config.embedding_dim),
                                       num_experts, config.num_active_experts);
    trial.expect_equal("experts", outputs.experts, expected.experts);
    trial.expect_close<float>("routing weights", outputs.weights, expected.weights, kFloatTolerance);
    trial.expect_close<float>("normalised rows", outputs.normalized, normalized, kFloatTolerance);
}

// ---- Unembedding

void check_unembed_row(Trial& trial, Format format, uint32_t vocabulary_size) {
    const ModelConfig config = shape_20b(vocabulary_size);
    const Weights weights = random_weights(trial, format, vocabulary_size, config.embedding_dim);
    const std::vector<Bf16> gain = trial.random().normals<Bf16>(config.embedding_dim);
    const std::vector<float> x = trial.random().normals<float>(config.embedding_dim);
    const Slice logits = trial.output<float>(vocabulary_size);
    launch_unembed_row(trial.encoder(), config, weights.matrix, trial.input(gain), trial.input(x), logits);
    trial.run();
    trial.expect_close<float>("logits", logits,
                              linear(rms_norm(to_doubles(x), to_doubles(gain), config.rmsnorm_epsilon), weights.values,
                                     {}, config.embedding_dim),
                              kFloatTolerance);
}

void check_unembed_rows(Trial& trial, Format format, uint32_t num_rows) {
    const ModelConfig config = shape_20b(333);
    const Weights weights = random_weights(trial, format, config.vocabulary_size, config.embedding_dim);
    const std::vector<float> x = trial.random().normals<float>(size_t{num_rows} * config.embedding_dim);
    const Slice logits = trial.output<float>(size_t{num_rows} * config.vocabulary_size);
    launch_unembed_rows(trial.encoder(), num_rows, weights.matrix, trial.input(x), logits);
    trial.run();
    trial.expect_close<float>("logits", logits, linear(to_doubles(x), weights.values, {}, config.embedding_dim),
                              kFloatTolerance);
}

std::string rows_and_size(uint32_t num_rows, uint32_t num_outputs, uint32_t num_inputs) {
    return std::to_string(num_rows) + (num_rows == 1 ? " row, " : " rows, ") + std::to_string(num_outputs) + " x " +
           std::to_string(num_inputs);
}

} // namespace

std::vector<KernelCheck> dense_checks() {
    std::vector<KernelCheck> checks = {
        {"embed", "6 tokens, 300 x 2880", [](Trial& t) { check_embed(t, Format::bf16); }},
        {"embed_int8", "6 tokens, 300 x 2880", [](Trial& t) { check_embed(t, Format::int8); }},
        {"norm", "3 rows of 2880", check_norm},
    };
    for (const ProjectionCase& c : kProjectionCases) {
        checks.push_back({c.kernel, rows_and_size(c.num_rows, c.num_outputs, c.num_inputs),
                          [c](Trial& t) { check_projection(t, c); }});
    }
    const std::vector<KernelCheck> others = {
        {"projection_qkv_bf16", "5120 x 2880, position 131071",
         [](Trial& t) { check_qkv(t, Format::bf16, shape_20b(), 131071); }},
        {"projection_qkv_bf16", "640 x 96, position 1", [](Trial& t) { check_qkv(t, Format::bf16, small_shape(), 1); }},
        {"projection_qkv_int8", "640 x 96, position 131071",
         [](Trial& t) { check_qkv(t, Format::int8, small_shape(), 131071); }},
        {"router", "5 rows, 4 of 32 experts", [](Trial& t) { check_router(t, RowForm::few, 5, 32); }},
        {"router", "1 row, 4 of 128 experts", [](Trial& t) { check_router(t, RowForm::one, 1, 128); }},
        {"router_tiled", "35 rows, 4 of 32 experts", [](Trial& t) { check_router(t, RowForm::many, 35, 32); }},
        {"unembed_bf16", "8003 x 2880", [](Trial& t) { check_unembed_row(t, Format::bf16, 8003); }},
        {"unembed_int8", "1003 x 2880", [](Trial& t) { check_unembed_row(t, Format::int8, 1003); }},
        {"unembed_few_rows_8_bf16", rows_and_size(3, 333, 2880),
         [](Trial& t) { check_unembed_rows(t, Format::bf16, 3); }},
        {"unembed_few_rows_32_bf16", rows_and_size(37, 333, 2880),
         [](Trial& t) { check_unembed_rows(t, Format::bf16, 37); }},
        {"unembed_few_rows_8_int8", rows_and_size(3, 333, 2880),
         [](Trial& t) { check_unembed_rows(t, Format::int8, 3); }},
        {"unembed_few_rows_32_int8", rows_and_size(37, 333, 2880),
         [](Trial& t) { check_unembed_rows(t, Format::int8, 37); }},
    };
    checks.insert(checks.end(), others.begin(), others.end());
    return checks;
}

} // namespace gptoss::metal
