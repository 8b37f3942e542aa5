#include "expert_launches.h"

#include <algorithm>

#include "../../metal/arguments.h"
#include "../../metal/expert_geometry.h"
#include "../../metal/function_constants.h"

namespace gptoss::metal {

namespace {

using namespace gptoss_metal;

static_assert(kMaxFewRows <= kExpertFewRowsMaxRows);

// Pairs of one tile. The same in both forms, so that one list serves them: the few-rows kernels take up to 32 rows.
constexpr uint32_t kTileRows = kExpertMatmulRows;
static_assert(kTileRows == kExpertFewRowsMaxRows);

// Of expert_combine, where any number does: each thread adds up 16 bytes of a row.
constexpr uint32_t kCombineThreads = 64;

constexpr uint32_t ceil_divide(uint32_t value, uint32_t divisor) {
    return (value + divisor - 1) / divisor;
}

// One of the two matrices of an expert.
struct Matrix {
    ExpertArguments arguments;

    // The kernel, specialised for this shape: a model has two.
    KernelName kernel(const char* file, const char* name) const {
        return {file,
                name,
                {{kExpertInputs, arguments.num_inputs},
                 {kExpertOutputs, arguments.num_outputs},
                 {kExpertActive, arguments.num_active}}};
    }
    // Simdgroups of 1,024 inputs each that one expert's inputs occupy.
    uint32_t num_simdgroups() const { return ceil_divide(arguments.num_inputs, kExpertMatvecInputsPerSimdgroup); }
};

Matrix gate_up_matrix(const ModelConfig& config, const ExpertPlaces& place) {
    return {{
        .blocks_offset = place.mlp1_blocks.offset,
        .scales_offset = place.mlp1_scales.offset,
        .bias_offset = place.mlp1_bias.offset,
        .expert_stride = place.stride,
        .num_inputs = config.embedding_dim,
        .num_outputs = 2 * config.mlp_dim,
        .num_active = config.num_active_experts,
        .swiglu_limit = config.swiglu_limit,
    }};
}

Matrix down_matrix(const ModelConfig& config, const ExpertPlaces& place) {
    return {{
        .blocks_offset = place.mlp2_blocks.offset,
        .scales_offset = place.mlp2_scales.offset,
        .bias_offset = place.mlp2_bias.offset,
        .expert_stride = place.stride,
        .num_inputs = config.mlp_dim,
        .num_outputs = config.embedding_dim,
        .num_active = config.num_active_experts,
        .swiglu_limit = 0, // not read
    }};
}

void launch_one_row(Encoder& encoder,
                    const Matrix& gate_up,
                    const Matrix& down,
                    const ExpertBuffers& buffers,
                    const Slice& hidden) { // fp32 [A, I]
    const uint32_t num_active = gate_up.arguments.num_active;
    constexpr uint32_t kMaxSimdgroups = kExpertMatvecMaxSimdgroups;
    encoder.launch(gate_up.kernel("expert_matvec", "expert_gate_up_matvec"), gate_up.arguments,
                   {{1, buffers.experts}, {2, buffers.expert_ids}, {3, buffers.input}, {4, hidden}},
                   {{gate_up.arguments.num_outputs / kExpertMatvecOutputs, num_active},
                    {32 * std::min(kMaxSimdgroups, gate_up.num_simdgroups())}});
    encoder.barrier();
    encoder.launch(down.kernel("expert_matvec", "expert_down_matvec"), down.arguments,
                   {{1, buffers.experts},
                    {2, buffers.expert_ids},
                    {3, buffers.routing_weights},
                    {4, hidden},
                    {5, buffers.residual}},
                   {{down.arguments.num_outputs / kExpertMatvecOutputs},
                    {32 * std::min(kMaxSimdgroups, num_active * down.num_simdgroups())}});
}

// `input` is of gate-up, `output` of either: hidden, or what is to be combined.
void launch_few_rows(Encoder& encoder,
                     const KernelName& kernel,
                     const Matrix& matrix,
                     uint32_t num_rows,
                     uint32_t num_tiles,
                     std::initializer_list<Binding> bindings) {
    const uint32_t num_simdgroups = std::min<uint32_t>(kExpertFewRowsMaxSimdgroups, matrix.num_simdgroups());
    uint32_t num_tokens = 2; // the kernel rounds a tile's rows up to a power of two
    while (num_tokens < num_rows) {
        num_tokens *= 2;
    }
    encoder.launch(kernel, matrix.arguments, bindings,
                   {{ceil_divide(matrix.arguments.num_outputs, kExpertFewRowsOutputs), num_tiles},
                    {32 * num_simdgroups},
                    sizeof(float) * num_simdgroups * kExpertFewRowsOutputs * num_tokens});
}

void launch_matmul(Encoder& encoder,
                   const KernelName& kernel,
                   const Matrix& matrix,
                   uint32_t num_tiles,
                   std::initializer_list<Binding> bindings) {
    encoder.launch(
        kernel, matrix.arguments, bindings,
        {{num_tiles, ceil_divide(matrix.arguments.num_outputs, kExpertMatmulOutputs)}, {kExpertMatmulThreads}});
}

} // namespace

uint32_t expert_tiles(const ModelConfig& config, size_t num_rows) {
    const size_t num_pairs = num_rows * config.num_active_experts;
    return static_cast<uint32_t>(std::min(num_pairs, num_pairs / kTileRows + config.num_experts));
}

ExpertWorkspaceBytes expert_workspace_bytes(const ModelConfig& config, size_t max_rows) {
    const size_t hidden = max_rows * config.num_active_experts * config.mlp_dim * sizeof(float);
    if (max_rows <= 1) {
        return {.hidden = hidden, .permutation = 0, .offsets = 0, .tiles = 0, .outputs = 0};
    }
    const size_t num_pairs = max_rows * config.num_active_experts;
    return {
        .hidden = hidden,
        .permutation = num_pairs * sizeof(uint32_t),
        .offsets = (size_t{config.num_experts} + 1) * sizeof(uint32_t),
        .tiles = expert_tiles(config, max_rows) * sizeof(ExpertTile),
        .outputs = num_pairs * config.embedding_dim * sizeof(float),
    };
}

void launch_experts(Encoder& encoder,
                    const ModelConfig& config,
                    const ExpertPlaces& place,
                    uint32_t num_rows,
                    const ExpertBuffers& buffers,
                    const ExpertWorkspace& workspace) {
    const RowForm form = row_form(num_rows);
    const Matrix gate_up = gate_up_matrix(config, place);
    const Matrix down = down_matrix(config, place);
    const uint32_t num_pairs = num_rows * config.num_active_experts;
    const Slice hidden = workspace.hidden.part(0, num_pairs * sizeof(float) * config.mlp_dim);
    if (form == RowForm::one) {
        launch_one_row(encoder, gate_up, down, buffers, hidden);
        return;
    }

    const uint32_t num_tiles = expert_tiles(config, num_rows);
    const Slice permutation = workspace.permutation.part(0, num_pairs * sizeof(uint32_t));
    const Slice offsets = workspace.offsets.part(0, (size_t{config.num_experts} + 1) * sizeof(uint32_t));
    const Slice tiles = workspace.tiles.part(0, num_tiles * sizeof(ExpertTile));
    const Slice outputs = workspace.outputs.part(0, size_t{num_pairs} * config.embedding_dim * sizeof(float));

    const ExpertSortArguments sort = {num_pairs, config.num_experts, kTileRows, num_tiles};
    encoder.launch({"expert_sort", "expert_sort"}, sort,
                   {{1, buffers.expert_ids}, {2, offsets}, {3, permutation}, {4, tiles}}, {{1}, {kExpertSortThreads}});
    encoder.barrier();

    const std::initializer_list<Binding> gate_up_bindings = {
        {1, buffers.experts}, {2, tiles}, {3, permutation}, {4, buffers.input}, {5, hidden}};
    const std::initializer_list<Binding> down_bindings = {{1, buffers.experts},         {2, tiles},  {3, permutation},
                                                          {4, buffers.routing_weights}, {5, hidden}, {6, outputs}};
    if (form == RowForm::few) {
        launch_few_rows(encoder, gate_up.kernel("expert_few_rows", "expert_gate_up_few_rows"), gate_up, num_rows,
                        num_tiles, gate_up_bindings);
        encoder.barrier();
        launch_few_rows(encoder, down.kernel("expert_few_rows", "expert_down_few_rows"), down, num_rows, num_tiles,
                        down_bindings);
    } else {
        launch_matmul(encoder, gate_up.kernel("expert_matmul", "expert_gate_up_matmul"), gate_up, num_tiles,
                      gate_up_bindings);
        encoder.barrier();
        launch_matmul(encoder, down.kernel("expert_matmul", "expert_down_matmul"), down, num_tiles, down_bindings);
    }
    encoder.barrier();

    const ExpertCombineArguments combine = {config.embedding_dim, config.num_active_experts};
    encoder.launch({"expert_combine", "expert_combine"}, combine, {{1, outputs}, {2, buffers.residual}},
                   {{ceil_divide(config.embedding_dim / 4, kCombineThreads), num_rows}, {kCombineThreads}});
}

} // namespace gptoss::metal
