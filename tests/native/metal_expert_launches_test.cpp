// The experts of any number of rows (source/metal/expert_launches.h) against the same in double.
#include "metal/expert_launches.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <set>
#include <sstream>
#include <vector>

#include "arguments.h"
#include "check.h"
#include "metal_test_gpu.h"

namespace {

using namespace gptoss;
using namespace gptoss::metal;

struct TestModel {
    uint32_t embedding_dim;
    uint32_t mlp_dim;
    uint32_t num_experts;
    uint32_t num_active;
};

gptoss_model_config config_of(const TestModel& model) {
    gptoss_model_config config{};
    config.embedding_dim = model.embedding_dim;
    config.mlp_dim = model.mlp_dim;
    config.num_experts = model.num_experts;
    config.num_active_experts = model.num_active;
    config.swiglu_limit = 7;
    return config;
}

// Random experts, as a model file has them: each tensor on 16 bytes, and something between one expert and the next.
struct Experts {
    ExpertPlaces places{};
    std::vector<uint8_t> bytes; // of the last expert, without what would be behind it

    Experts(std::mt19937& random, const TestModel& model) {
        uint64_t end = 0;
        const auto place = [&](uint64_t num_bytes) {
            const TensorPlace result = {(end + 15) / 16 * 16, num_bytes};
            end = result.offset + num_bytes;
            return result;
        };
        const uint64_t embedding_dim = model.embedding_dim;
        const uint64_t mlp_dim = model.mlp_dim;
        places.mlp1_blocks = place(2 * mlp_dim * embedding_dim / 2);
        places.mlp1_scales = place(2 * mlp_dim * embedding_dim / 32);
        places.mlp1_bias = place(2 * mlp_dim * 2);
        places.mlp2_blocks = place(embedding_dim * mlp_dim / 2);
        places.mlp2_scales = place(embedding_dim * mlp_dim / 32);
        places.mlp2_bias = place(embedding_dim * 2);
        places.num_bytes = end;
        places.stride = (end + 15) / 16 * 16 + 48;

        bytes.assign((model.num_experts - 1) * places.stride + places.num_bytes, 0xFF);
        for (uint32_t expert = 0; expert < model.num_experts; expert++) {
            uint8_t* const start = bytes.data() + expert * places.stride;
            for (const TensorPlace& blocks : {places.mlp1_blocks, places.mlp2_blocks}) {
                std::generate_n(start + blocks.offset, blocks.num_bytes,
                                [&] { return static_cast<uint8_t>(random()); });
            }
            // So that products are about as large as activations: codes are 3 on average.
            const auto fill_scales = [&](const TensorPlace& scales, uint64_t num_inputs) {
                const int centre = 127 + kMxfp4StoredScaleOffset - 2 - static_cast<int>(std::log2(num_inputs) / 2);
                std::generate_n(start + scales.offset, scales.num_bytes,
                                [&] { return static_cast<uint8_t>(centre - 1 + static_cast<int>(random() % 3)); });
            };
            fill_scales(places.mlp1_scales, embedding_dim);
            fill_scales(places.mlp2_scales, mlp_dim);
            for (const TensorPlace& bias : {places.mlp1_bias, places.mlp2_bias}) {
                const std::vector<uint16_t> values = random_bf16(random, bias.num_bytes / 2, 0.3f);
                std::memcpy(start + bias.offset, values.data(), bias.num_bytes);
            }
        }
    }

    // matrix . input + bias of one expert
    std::vector<double> multiply(uint32_t expert,
                                 const TensorPlace& blocks,
                                 const TensorPlace& scales,
                                 const TensorPlace& bias,
                                 const std::vector<double>& input) const {
        const uint8_t* const start = bytes.data() + expert * places.stride;
        const size_t num_blocks = input.size() / 32;
        std::vector<double> output(bias.num_bytes / 2);
        for (size_t row = 0; row < output.size(); row++) {
            uint16_t bias_bits;
            std::memcpy(&bias_bits, start + bias.offset + 2 * row, 2);
            output[row] = bf16_to_float(bias_bits);
            for (size_t block = 0; block < num_blocks; block++) {
                const uint8_t* const codes = start + blocks.offset + (row * num_blocks + block) * 16;
                double sum = 0;
                for (size_t i = 0; i < 32; i++) {
                    sum += mxfp4_code_to_float(codes[i / 2] >> (i % 2 * 4) & 15) * input[block * 32 + i];
                }
                output[row] += sum * mxfp4_stored_scale_to_float(start[scales.offset + row * num_blocks + block]);
            }
        }
        return output;
    }

    std::vector<double> apply(uint32_t expert, const std::vector<double>& input, double limit) const {
        const std::vector<double> gate_up =
            multiply(expert, places.mlp1_blocks, places.mlp1_scales, places.mlp1_bias, input);
        std::vector<double> hidden(gate_up.size() / 2);
        for (size_t i = 0; i < hidden.size(); i++) {
            const double gate = std::min(gate_up[2 * i], limit);
            const double up = std::clamp(gate_up[2 * i + 1], -limit, limit);
            hidden[i] = gate / (1 + std::exp(-1.702 * gate)) * (up + 1);
        }
        return multiply(expert, places.mlp2_blocks, places.mlp2_scales, places.mlp2_bias, hidden);
    }
};

enum class Routing { random, same };

constexpr double kTolerance = 2e-5; // relative to 1 + |expected|

void check_experts(const TestModel& model,
                   uint32_t num_rows,
                   uint32_t seed = 0,
                   Routing routing = Routing::random,
                   uint32_t max_rows = 0) { // that the workspace is made for, if more
    std::mt19937 random(seed);
    const gptoss_model_config config = config_of(model);
    const Experts experts(random, model);

    std::vector<uint32_t> ids;
    std::vector<float> weights;
    std::vector<uint32_t> all(model.num_experts);
    std::iota(all.begin(), all.end(), 0);
    for (uint32_t row = 0; row < num_rows; row++) {
        if (routing == Routing::random || row == 0) {
            std::ranges::shuffle(all, random);
        }
        ids.insert(ids.end(), all.begin(), all.begin() + model.num_active);
        for (uint32_t slot = 0; slot < model.num_active; slot++) {
            weights.push_back(static_cast<float>(1 + random() % 100) / 100);
        }
    }
    const std::vector<float> input = random_floats(random, size_t{num_rows} * model.embedding_dim, 1);
    const std::vector<float> residual = random_floats(random, input.size(), 1);

    TestGpu gpu;
    const ExpertBuffers buffers = {
        .experts = gpu.upload(experts.bytes),
        .expert_ids = gpu.upload(ids),
        .routing_weights = gpu.upload(weights),
        .input = gpu.upload(input),
        .residual = gpu.upload(residual),
    };
    const ExpertWorkspaceBytes bytes = expert_workspace_bytes(config, std::max(num_rows, max_rows));
    const ExpertWorkspace workspace = {.hidden = gpu.make_poisoned(bytes.hidden),
                                       .permutation = gpu.make_poisoned(bytes.permutation),
                                       .offsets = gpu.make_poisoned(bytes.offsets),
                                       .tiles = gpu.make_poisoned(bytes.tiles),
                                       .outputs = gpu.make_poisoned(bytes.outputs)};
    gpu.run([&](Encoder& encoder) { launch_experts(encoder, config, experts.places, num_rows, buffers, workspace); });

    const std::vector<float> got = elements_of<float>(buffers.residual);
    double worst = 0;
    for (uint32_t row = 0; row < num_rows; row++) {
        const size_t first = size_t{row} * model.embedding_dim;
        const std::vector<double> row_input(input.begin() + static_cast<std::ptrdiff_t>(first),
                                            input.begin() + static_cast<std::ptrdiff_t>(first + model.embedding_dim));
        std::vector<double> expected(residual.begin() + static_cast<std::ptrdiff_t>(first),
                                     residual.begin() + static_cast<std::ptrdiff_t>(first + model.embedding_dim));
        for (uint32_t slot = 0; slot < model.num_active; slot++) {
            const size_t pair = size_t{row} * model.num_active + slot;
            const std::vector<double> output = experts.apply(ids[pair], row_input, config.swiglu_limit);
            for (size_t i = 0; i < output.size(); i++) {
                expected[i] += weights[pair] * output[i];
            }
        }
        for (size_t i = 0; i < expected.size(); i++) {
            const double difference =
                std::fabs(got[first + i] - expected[i]) / (kTolerance * (1 + std::fabs(expected[i])));
            worst = difference <= worst ? worst : std::isnan(difference) ? INFINITY : difference;
        }
    }
    if (!(worst <= 1)) {
        std::ostringstream what;
        what << num_rows << " rows of " << model.embedding_dim << " through " << model.num_active << " of "
             << model.num_experts << " experts " << model.mlp_dim << " wide, seed " << seed << ": off by " << worst
             << " times the tolerance";
        check::report_failure(__FILE__, __LINE__, what.str());
    }
}

} // namespace

// ---- What is computed

TEST(any_number_of_rows) {
    for (const uint32_t num_rows : {1, 2, 3, 4, 5, 8, 16, 17, 31, 32, 33, 64, 65, 100}) {
        check_experts({64, 96, 8, 3}, num_rows);
    }
}

TEST(rows_that_all_choose_the_same_experts) {
    for (const uint32_t num_rows : {1, 2, 31, 32, 100}) {
        check_experts({64, 32, 4, 2}, num_rows, 1, Routing::same);
    }
}

TEST(one_expert) {
    for (const uint32_t num_rows : {1, 7, 40}) {
        check_experts({32, 32, 1, 1}, num_rows);
    }
}

TEST(all_experts_of_128) {
    for (const uint32_t num_rows : {1, 3, 33}) {
        check_experts({32, 32, 128, 128}, num_rows);
    }
}

TEST(inputs_that_take_several_simdgroups) {
    for (const uint32_t num_rows : {1, 2, 5}) {
        check_experts({2080, 1056, 3, 2}, num_rows);
    }
    for (const uint32_t num_rows : {31, 32}) {
        check_experts({1056, 64, 3, 2}, num_rows);
    }
}

TEST(the_20b_shape) {
    check_experts({2880, 2880, 5, 4}, 1);
    check_experts({2880, 2880, 2, 1}, 2);
}

TEST(a_workspace_may_be_longer_than_a_batch_needs) {
    for (const uint32_t num_rows : {1, 9, 40}) {
        check_experts({64, 64, 4, 2}, num_rows, 0, Routing::random, 300);
    }
}

TEST(any_shape) {
    for (uint32_t seed = 0; seed < 20; seed++) {
        std::mt19937 random(seed);
        const auto below = [&](uint32_t limit) { return static_cast<uint32_t>(random() % limit); };
        const uint32_t num_experts = 1 + below(20);
        const uint32_t num_active = 1 + below(std::min(num_experts, 6u));
        check_experts({32 * (1 + below(6)), 32 * (1 + below(6)), num_experts, num_active}, 1 + below(60), seed);
    }
}

// ---- What it takes

TEST(tiles_suffice_for_any_routing) {
    for (uint32_t seed = 0; seed < 5000; seed++) {
        std::mt19937 random(seed);
        const auto below = [&](uint32_t limit) { return static_cast<uint32_t>(random() % limit); };
        const uint32_t num_experts = 1 + below(128);
        const uint32_t num_active = 1 + below(num_experts);
        const uint32_t num_rows = 1 + below(100);
        std::vector<uint32_t> counts(num_experts);
        const uint32_t favourites = num_active + below(num_experts - num_active + 1);
        for (uint32_t row = 0; row < num_rows; row++) {
            std::set<uint32_t> chosen;
            while (chosen.size() < num_active) {
                chosen.insert(below(favourites));
            }
            for (const uint32_t expert : chosen) {
                counts[expert]++;
            }
        }
        uint32_t num_tiles = 0;
        for (const uint32_t count : counts) {
            num_tiles += (count + 31) / 32;
        }
        CHECK(num_tiles <= expert_tiles(config_of({32, 32, num_experts, num_active}), num_rows));
    }
    // Not more than there can be.
    CHECK_EQUAL(expert_tiles(config_of({32, 32, 128, 4}), 2), 8u);
    CHECK_EQUAL(expert_tiles(config_of({32, 32, 32, 4}), 512), 96u);
}

TEST(a_workspace_for_more_rows_holds_fewer) {
    const gptoss_model_config config = config_of({64, 96, 8, 3});
    ExpertWorkspaceBytes before = expert_workspace_bytes(config, 1);
    CHECK_EQUAL(before.total(), size_t{3 * 96 * sizeof(float)});
    for (size_t rows = 2; rows < 200; rows++) {
        const ExpertWorkspaceBytes bytes = expert_workspace_bytes(config, rows);
        CHECK(bytes.hidden >= before.hidden && bytes.permutation >= before.permutation &&
              bytes.offsets >= before.offsets && bytes.tiles >= before.tiles && bytes.outputs >= before.outputs);
        before = bytes;
    }
}
