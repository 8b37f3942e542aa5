#include "dense_launches.h"

#include <string>
#include <vector>

#include "../../metal/arguments.h"
#include "../../metal/dense_geometry.h"
#include "../../metal/function_constants.h"

namespace gptoss::metal {

namespace {

using namespace gptoss_metal;

// Of the embedding, where any number does: each copies 16 bytes.
constexpr uint32_t kEmbedThreads = 64;

constexpr uint32_t ceil_divide(uint32_t value, uint32_t divisor) {
    return (value + divisor - 1) / divisor;
}

// Every product is specialised for its number of inputs: a model has two, E and H D.
KernelName specialised(const char* file, const char* kernel, const DenseMatrix& matrix) {
    return {file, kernel, {{kProjectionInputs, matrix.num_inputs}}};
}

// Launches the kernel for the matrix's format with the matrix bound, and `bindings` besides.
template <class Arguments>
void launch_product(Encoder& encoder,
                    const char* file,
                    const std::string& kernel,
                    const DenseMatrix& matrix,
                    const Arguments& arguments,
                    std::vector<Binding> bindings,
                    const Grid& grid) {
    bindings.push_back({1, matrix.weight});
    if (matrix.is_q8()) {
        bindings.push_back({2, matrix.scales});
    }
    const std::string name = kernel + (matrix.is_q8() ? "_int8" : "_bf16");
    encoder.launch(specialised(file, name.c_str(), matrix), arguments, bindings, grid);
}

} // namespace

void launch_embed(Encoder& encoder,
                  const ModelConfig& config,
                  uint32_t num_rows,
                  const Slice& tokens,
                  const DenseMatrix& embedding,
                  const Slice& residual) {
    const EmbedArguments arguments = {config.embedding_dim, num_rows, config.vocabulary_size};
    const Grid grid = {{ceil_divide(config.embedding_dim / 8, kEmbedThreads), num_rows}, {kEmbedThreads}};
    if (embedding.is_q8()) {
        encoder.launch({"embed", "embed_int8"}, arguments,
                       {{1, tokens}, {2, embedding.weight}, {3, residual}, {4, embedding.scales}}, grid);
        return;
    }
    encoder.launch({"embed", "embed"}, arguments, {{1, tokens}, {2, embedding.weight}, {3, residual}}, grid);
}

void launch_norm(Encoder& encoder,
                 const ModelConfig& config,
                 uint32_t num_rows,
                 const Slice& residual,
                 const Slice& gain,
                 const Slice& normalized) {
    const NormArguments arguments = {config.embedding_dim, config.rmsnorm_epsilon};
    encoder.launch({"norm", "norm"}, arguments, {{1, residual}, {2, gain}, {3, normalized}},
                   {{num_rows}, {kNormThreads}});
}

void launch_qkv_row(Encoder& encoder,
                    const ModelConfig& config,
                    const DenseMatrix& matrix,
                    const Slice& bias,
                    const Slice& gain,
                    const Slice& residual,
                    const QkvRow& row) {
    const QkvArguments arguments = {
        .num_inputs = matrix.num_inputs,
        .num_query_rows = config.num_heads * config.head_dim,
        .num_key_value_rows = config.num_kv_heads * config.head_dim,
        .position = row.position,
        .cache_slot = 0, // what is bound is the slot
        .epsilon = config.rmsnorm_epsilon,
        .concentration = config.yarn_multiplier,
    };
    launch_product(encoder, "projection_qkv", "projection_qkv", matrix, arguments,
                   {{3, bias},
                    {4, residual},
                    {5, gain},
                    {6, row.inverse_frequencies},
                    {7, row.queries},
                    {8, row.key},
                    {9, row.value}},
                   {{ceil_divide(matrix.num_outputs, kMatvecOutputs)}, {kMatvecThreads}});
}

void launch_projection(Encoder& encoder,
                       RowForm form,
                       Epilogue epilogue,
                       uint32_t num_rows,
                       const DenseMatrix& matrix,
                       const Slice& bias,
                       const Slice& input,
                       const Slice& output) {
    const bool adds = epilogue == Epilogue::add;
    const char* file = nullptr;
    const char* kernel = nullptr;
    Grid grid;
    switch (form) {
        case RowForm::one:
            file = "projection_matvec";
            kernel = adds ? "projection_matvec_add" : "projection_matvec";
            grid = {{ceil_divide(matrix.num_outputs, kMatvecOutputs)}, {kMatvecThreads}};
            break;
        case RowForm::few:
            file = "projection_few_rows";
            // The smallest that holds all rows.
            kernel = num_rows <= 8    ? (adds ? "projection_few_rows_8_add" : "projection_few_rows_8")
                     : num_rows <= 16 ? (adds ? "projection_few_rows_16_add" : "projection_few_rows_16")
                                      : (adds ? "projection_few_rows_32_add" : "projection_few_rows_32");
            grid = {{ceil_divide(matrix.num_outputs, kFewRowsOutputs)}, {kFewRowsThreads}};
            break;
        case RowForm::many:
            file = "projection_matmul";
            kernel = adds ? "projection_matmul_add" : "projection_matmul";
            grid = {{ceil_divide(matrix.num_outputs, kMatmulOutputs), ceil_divide(num_rows, kMatmulRows)},
                    {kMatmulThreads}};
            break;
    }
    const ProjectionArguments arguments = {matrix.num_inputs, matrix.num_outputs, num_rows};
    launch_product(encoder, file, kernel, matrix, arguments, {{3, bias}, {4, input}, {5, output}}, grid);
}

void launch_router(Encoder& encoder,
                   const ModelConfig& config,
                   RowForm form,
                   uint32_t num_rows,
                   const DenseMatrix& matrix,
                   const Slice& bias,
                   const Slice& gain,
                   const Slice& residual,
                   const RouterOutputs& outputs) {
    const RouterArguments arguments = {
        .num_inputs = matrix.num_inputs,
        .num_rows = num_rows,
        .num_experts = config.num_experts,
        .num_active = config.num_active_experts,
        .epsilon = config.rmsnorm_epsilon,
    };
    const bool tiled = form == RowForm::many;
    encoder.launch(specialised("router", tiled ? "router_tiled" : "router", matrix), arguments,
                   {{1, matrix.weight},
                    {3, bias},
                    {4, residual},
                    {5, gain},
                    {6, outputs.experts},
                    {7, outputs.weights},
                    {8, outputs.normalized}},
                   tiled ? Grid{{ceil_divide(num_rows, kRouterTiledRows)}, {kRouterTiledThreads}}
                         : Grid{{num_rows}, {kRouterThreads}});
}

void launch_unembed_row(Encoder& encoder,
                        const ModelConfig& config,
                        const DenseMatrix& matrix,
                        const Slice& gain,
                        const Slice& residual,
                        const Slice& logits) {
    const UnembedArguments arguments = {matrix.num_inputs, matrix.num_outputs, config.rmsnorm_epsilon};
    launch_product(encoder, "unembed", "unembed", matrix, arguments, {{4, residual}, {5, gain}, {6, logits}},
                   {{ceil_divide(matrix.num_outputs, kMatvecOutputs)}, {kMatvecThreads}});
}

void launch_unembed_rows(
    Encoder& encoder, uint32_t num_rows, const DenseMatrix& matrix, const Slice& normalized, const Slice& logits) {
    const uint32_t form = num_rows <= 8 ? 8 : 32;
    const ProjectionArguments arguments = {matrix.num_inputs, matrix.num_outputs, num_rows};
    launch_product(
        encoder, "unembed", form == 8 ? "unembed_few_rows_8" : "unembed_few_rows_32", matrix, arguments,
        {{4, normalized}, {5, logits}},
        {{ceil_divide(matrix.num_outputs, kFewRowsOutputs), ceil_divide(num_rows, form)}, {kFewRowsThreads}});
}

} // namespace gptoss::metal
