// The experts of one, few and many rows. All kernels of a form run at once, as the backend launches them; each check
// looks at what its own one wrote, and computes what is expected from what that one read.

#include <cmath>

#include "../../../metal/arguments.h"
#include "../../../metal/expert_geometry.h"
#include "../expert_launches.h"
#include "checks.h"
#include "expert_twins.h"
#include "shapes.h"

namespace gptoss::metal {

namespace {

using namespace gptoss_metal;

// Of the greatest magnitude: of products, and of sums.
constexpr double kFloatTolerance = 1e-5;
constexpr double kSumTolerance = 1e-6;

// Inputs and outputs of one launch of a form's kernels, after it ran.
struct ExpertRun {
    ModelConfig config;
    uint32_t num_rows;
    Experts experts;
    RoutingCase routing;
    std::vector<double> input;    // [num_rows, E]
    std::vector<double> residual; // [num_rows, E] before
    SortedPairs sorted;           // of several rows
    ExpertWorkspace workspace;
    Slice sums; // fp32 [num_rows, E]

    // What gate-up left, [pairs, I], in the order of the pairs.
    std::vector<double> hidden(const Trial& trial) const {
        const size_t width = config.mlp_dim;
        const size_t count = routing.experts.size() * width;
        if (num_rows == 1) {
            return to_doubles(trial.values<float>(workspace.hidden.part(0, count * sizeof(float))));
        }
        const std::vector<double> in_order =
            to_doubles(trial.values<float>(workspace.hidden.part(0, count * sizeof(float))));
        std::vector<double> hidden(count);
        for (size_t place = 0; place < sorted.permutation.size(); place++) {
            std::copy_n(in_order.begin() + static_cast<std::ptrdiff_t>(place * width), width,
                        hidden.begin() + static_cast<std::ptrdiff_t>(sorted.permutation[place] * width));
        }
        return hidden;
    }

    // What down left for several rows, [pairs, E].
    std::vector<double> outputs(const Trial& trial) const {
        const size_t count = routing.experts.size() * config.embedding_dim;
        return to_doubles(trial.values<float>(workspace.outputs.part(0, count * sizeof(float))));
    }
};

ExpertRun run_experts(Trial& trial,
                      const ModelConfig& config,
                      uint32_t num_rows,
                      double residual_scale = 1,
                      const ScaleByte& down_scale = nullptr) {
    ExpertRun run = {};
    run.config = config;
    run.num_rows = num_rows;
    run.experts = random_experts(trial.random(), config, down_scale);
    run.routing = random_routing(trial.random(), num_rows, config.num_experts, config.num_active_experts);
    run.sorted = sort_pairs(run.routing.experts, config.num_experts, kExpertMatmulRows, expert_tiles(config, num_rows));
    const std::vector<float> input = trial.random().normals<float>(size_t{num_rows} * config.embedding_dim);
    run.input = to_doubles(input);
    const std::vector<float> residual =
        trial.random().normals<float>(size_t{num_rows} * config.embedding_dim, residual_scale);
    run.residual = to_doubles(residual);
    run.sums = trial.input(residual);
    const ExpertWorkspaceBytes bytes = expert_workspace_bytes(config, num_rows);
    run.workspace = {trial.output<std::byte>(bytes.hidden), trial.output<std::byte>(bytes.permutation),
                     trial.output<std::byte>(bytes.offsets), trial.output<std::byte>(bytes.tiles),
                     trial.output<std::byte>(bytes.outputs)};
    launch_experts(trial.encoder(), config, run.experts.place, num_rows,
                   {trial.input(run.experts.bytes), trial.input(run.routing.experts), trial.input(run.routing.weights),
                    trial.input(input), run.sums},
                   run.workspace);
    trial.run();
    return run;
}

void check_sort(Trial& trial, const ModelConfig& config, uint32_t num_rows) {
    const ExpertRun run = run_experts(trial, config, num_rows);
    const auto words = [](const Slice& slice, size_t count) { return slice.part(0, count * sizeof(uint32_t)); };
    trial.expect_equal("offsets", words(run.workspace.offsets, run.sorted.offsets.size()), run.sorted.offsets);
    trial.expect_equal("permutation", words(run.workspace.permutation, run.sorted.permutation.size()),
                       run.sorted.permutation);
    trial.expect_equal("tiles", words(run.workspace.tiles, run.sorted.tiles.size()), run.sorted.tiles);
}

void check_gate_up(Trial& trial, const ModelConfig& config, uint32_t num_rows) {
    const ExpertRun run = run_experts(trial, config, num_rows);
    trial.expect_close("hidden", run.hidden(trial), gate_up(run.experts, run.routing, run.input, config.swiglu_limit),
                       kFloatTolerance);
}

void check_down(Trial& trial, const ModelConfig& config, uint32_t num_rows) {
    const ExpertRun run = run_experts(trial, config, num_rows);
    const std::vector<double> expected = down(run.experts, run.routing, run.hidden(trial));
    if (num_rows == 1) {
        trial.expect_close<float>("residual", run.sums,
                                  add_outputs(run.residual, expected, run.routing.num_active, config.embedding_dim),
                                  kFloatTolerance);
    } else {
        trial.expect_close("outputs", run.outputs(trial), expected, kFloatTolerance);
    }
}

void check_combine(Trial& trial, const ModelConfig& config, uint32_t num_rows) {
    const ExpertRun run = run_experts(trial, config, num_rows);
    trial.expect_close<float>(
        "residual", run.sums,
        add_outputs(run.residual, run.outputs(trial), run.routing.num_active, config.embedding_dim), kSumTolerance);
}

// Row r of the down matrix has the scale byte r. Each output is compared in units of its own scale. Where fp32 needs
// subnormals, a GPU may give 0: docs/metal-on-linux.md.
void check_scale_bytes(Trial& trial, uint32_t num_rows) {
    ModelConfig config = small_shape();
    config.embedding_dim = 256;
    config.mlp_dim = 32;
    config.num_active_experts = 1;
    const ExpertRun run = run_experts(trial, config, num_rows, 0, [](size_t row) { return static_cast<uint8_t>(row); });
    const std::vector<double> products = down(run.experts, run.routing, run.hidden(trial));
    const std::vector<double> outputs = num_rows == 1 ? to_doubles(trial.values<float>(run.sums)) : run.outputs(trial);
    std::vector<double> actual;
    std::vector<double> expected;
    for (size_t i = 0; i < products.size(); i++) {
        const double unit = std::ldexp(1.0, static_cast<int>(i % 256) - kMxfp4StoredScaleOffset - 127);
        const bool is_subnormal = std::abs(outputs[i] - products[i]) < 0x1p-126;
        actual.push_back((is_subnormal ? products[i] : outputs[i]) / unit);
        expected.push_back(products[i] / unit);
    }
    trial.expect_close("outputs in units of their scales", actual, expected, kFloatTolerance);
}

// The 20b's hidden size or an expert's width, where it is the input; the other dimension in small.
ModelConfig wide(uint32_t embedding_dim, uint32_t mlp_dim, uint32_t num_experts) {
    ModelConfig config = shape_20b();
    config.embedding_dim = embedding_dim;
    config.mlp_dim = mlp_dim;
    config.num_experts = num_experts;
    return config;
}

std::string describe(const ModelConfig& config, uint32_t num_rows) {
    return std::to_string(num_rows) + (num_rows == 1 ? " row, " : " rows, ") +
           std::to_string(config.num_active_experts) + " of " + std::to_string(config.num_experts) + " experts, " +
           std::to_string(config.embedding_dim) + " wide by " + std::to_string(config.mlp_dim);
}

} // namespace

std::vector<KernelCheck> expert_checks() {
    const ModelConfig long_gate_up = wide(2880, 96, 6);
    const ModelConfig long_down = wide(96, 2880, 6);
    std::vector<KernelCheck> checks;
    const auto add = [&checks](const char* kernel, void (*check)(Trial&, const ModelConfig&, uint32_t),
                               const ModelConfig& config, uint32_t num_rows) {
        checks.push_back({kernel, describe(config, num_rows), [=](Trial& t) { check(t, config, num_rows); }});
    };
    add("expert_sort", check_sort, small_shape(), 7);
    add("expert_sort", check_sort, wide(32, 32, 128), 200);
    add("expert_gate_up_matvec", check_gate_up, long_gate_up, 1);
    add("expert_gate_up_matvec", check_gate_up, small_shape(), 1);
    add("expert_down_matvec", check_down, long_down, 1);
    add("expert_down_matvec", check_down, small_shape(), 1);
    add("expert_gate_up_few_rows", check_gate_up, long_gate_up, 5);
    add("expert_gate_up_few_rows", check_gate_up, small_shape(), 31);
    add("expert_down_few_rows", check_down, long_down, 5);
    add("expert_down_few_rows", check_down, small_shape(), 31);
    add("expert_gate_up_matmul", check_gate_up, long_gate_up, 40);
    add("expert_gate_up_matmul", check_gate_up, small_shape(), 33);
    add("expert_down_matmul", check_down, long_down, 40);
    add("expert_down_matmul", check_down, small_shape(), 33);
    add("expert_combine", check_combine, wide(2880, 32, 32), 3);
    add("expert_combine", check_combine, small_shape(), 33);
    const auto add_scale_bytes = [&checks](const char* kernel, uint32_t num_rows) {
        checks.push_back({kernel, "scale bytes 0 to 255", [=](Trial& t) { check_scale_bytes(t, num_rows); }});
    };
    add_scale_bytes("expert_down_matvec", 1);
    add_scale_bytes("expert_down_few_rows", 3);
    add_scale_bytes("expert_down_matmul", 33);
    return checks;
}

} // namespace gptoss::metal
