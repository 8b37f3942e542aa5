// The Metal backend's verbs against the CPU backend's, in batches of every form, without contexts above them.
#include "metal/metal_backend.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <sstream>
#include <vector>

#include "check.h"
#include "cpu/cpu_backend.h"
#include "errors.h"
#include "forward.h"
#include "metal/kv_storage.h"
#include "model_file_builder.h"

using namespace gptoss;
using gptoss::metal::MetalBackend;
using gptoss::metal::Workspace;

namespace {

constexpr size_t kMaxTokens = 400;
constexpr size_t kMaxBatchTokens = 128;
constexpr double kTolerance = 5e-3; // in logits of magnitude 10

// All experts are active, so that rounding cannot send a token to others.
gptoss_model_config every_expert() {
    gptoss_model_config config = builder::small_config();
    config.num_active_experts = config.num_experts;
    return config;
}

struct LoadedFile {
    explicit LoadedFile(const gptoss_model_config& config)
        : written(builder::build_model_file(config, builder::byte_vocabulary(), 3)),
          mapping(MappedFile::open(written.path())),
          file(std::make_shared<const ModelFile>(ModelFile::parse(mapping->bytes(), written.path()))) {}

    builder::TemporaryFile written;
    std::shared_ptr<const MappedFile> mapping;
    std::shared_ptr<const ModelFile> file;
};

std::unique_ptr<MetalBackend> metal_backend(const LoadedFile& loaded) {
    return std::make_unique<MetalBackend>(metal::open_device(), loaded.mapping, loaded.file);
}

uint32_t token_at(size_t span, size_t position, uint32_t vocabulary_size) {
    return static_cast<uint32_t>((position * 7919 + span * 104729 + 13) % vocabulary_size);
}

// Both backends with one storage for each context, which is as long in both.
struct Pair {
    explicit Pair(size_t num_contexts) : loaded(every_expert()), gpu(metal_backend(loaded)) {
        for (size_t i = 0; i < num_contexts; i++) {
            cpu_storages.push_back(cpu.create_kv_storage(kMaxTokens, kMaxBatchTokens));
            gpu_storages.push_back(gpu->create_kv_storage(kMaxTokens, kMaxBatchTokens));
        }
        lengths.resize(num_contexts);
    }

    // Processes num_tokens[i] more tokens of context i, all in one batch, and compares the logits of these rows.
    void run(const std::vector<size_t>& num_tokens, bool all_logits) {
        Batch cpu_batch;
        for (size_t i = 0; i < num_tokens.size(); i++) {
            if (num_tokens[i] == 0) {
                continue;
            }
            cpu_batch.spans.push_back({cpu_storages[i].get(), lengths[i], num_tokens[i]});
            for (size_t j = 0; j < num_tokens[i]; j++) {
                if (all_logits || j + 1 == num_tokens[i]) {
                    cpu_batch.logit_rows.push_back(static_cast<uint32_t>(cpu_batch.tokens.size()));
                }
                cpu_batch.tokens.push_back(token_at(i, lengths[i] + j, loaded.file->config().vocabulary_size));
            }
        }
        Batch gpu_batch = cpu_batch;
        size_t span = 0;
        for (size_t i = 0; i < num_tokens.size(); i++) {
            if (num_tokens[i] != 0) {
                gpu_batch.spans[span++].storage = gpu_storages[i].get();
                cpu_storages[i]->reserve(lengths[i] + num_tokens[i]);
                gpu_storages[i]->reserve(lengths[i] + num_tokens[i]);
                lengths[i] += num_tokens[i];
            }
        }
        for (auto& [backend, batch] : {std::pair<Backend*, Batch*>{&cpu, &cpu_batch}, {gpu.get(), &gpu_batch}}) {
            backend->begin(*batch);
            forward(*backend, *loaded.file, *batch, [] {});
            backend->end();
        }
        for (size_t i = 0; i < cpu_batch.logit_rows.size(); i++) {
            compare(gpu->logits(i), cpu.logits(i), cpu_batch.logit_rows[i], cpu_batch.tokens.size());
        }
    }

    void compare(std::span<const float> actual, std::span<const float> expected, size_t row, size_t num_rows) {
        double worst = 0;
        for (size_t i = 0; i < expected.size(); i++) {
            const double difference = std::fabs(double{actual[i]} - double{expected[i]});
            worst = difference <= worst ? worst : std::isnan(difference) ? INFINITY : difference;
        }
        if (!(worst < kTolerance)) {
            std::ostringstream what;
            what << "row " << row << " of a batch of " << num_rows << " rows: logits are off by " << worst;
            check::report_failure(__FILE__, __LINE__, what.str());
        }
    }

    LoadedFile loaded;
    cpu::CpuBackend cpu{1, gptoss_precision_exact, loaded.mapping, loaded.file};
    std::unique_ptr<MetalBackend> gpu;
    std::vector<std::unique_ptr<KvStorage>> cpu_storages;
    std::vector<std::unique_ptr<KvStorage>> gpu_storages;
    std::vector<size_t> lengths; // positions in the storages
};

} // namespace

TEST(batches_of_one_context_agree_with_the_cpu) {
    // Each form of the kernels, their edges, and what follows in a cache whose ring has wrapped.
    Pair pair(1);
    for (const size_t num_tokens : {1, 2, 31, 32, 1, 65, 8, 1}) {
        pair.run({num_tokens}, true);
    }
}

TEST(batches_of_several_contexts_agree_with_the_cpu) {
    Pair pair(5);
    pair.run({3, 1, 7, 0, 2}, false);  // few rows in all: each span is decoded
    pair.run({1, 1, 1, 1, 1}, false);  // decoding side by side
    pair.run({40, 1, 5, 33, 1}, true); // many rows: long spans are prefilled, short ones decoded
    pair.run({1, 0, 0, 0, 20}, false);
}

TEST(logits_of_rows_that_are_not_neighbours) {
    Pair pair(3);
    pair.run({4, 4, 1}, false);
}

TEST(a_row_whose_token_the_gpu_knows_is_a_batch_of_one_row) {
    Pair pair(1);
    pair.run({9}, false);
    MetalBackend& gpu = *pair.gpu;
    const ModelConfig& config = pair.loaded.file->config();
    const std::unique_ptr<metal::Buffer> token = gpu.device().make_buffer(sizeof(uint32_t), "a token");
    const std::unique_ptr<metal::Buffer> logits =
        gpu.device().make_buffer(config.vocabulary_size * sizeof(float), "its logits");
    *metal::Slice(*token).as<uint32_t>() = token_at(0, 9, config.vocabulary_size);
    pair.gpu_storages[0]->reserve(10);
    gpu.begin_row(*pair.gpu_storages[0], 9, *token, *logits);
    Batch batch;
    batch.logit_rows = {0};
    forward(gpu, *pair.loaded.file, batch, [] {});
    gpu.wait(*gpu.commit());

    pair.run({1}, false); // once more, as a batch: it writes what is there
    const float* const first = metal::Slice(*logits).as<float>();
    CHECK(std::equal(first, first + config.vocabulary_size, gpu.logits(0).begin()));
}

TEST(a_batch_that_is_abandoned_leaves_nothing_behind) {
    Pair pair(1);
    pair.run({5}, false);
    Batch batch;
    batch.tokens = {1, 2, 3};
    batch.spans = {{pair.gpu_storages[0].get(), 5, 3}};
    batch.logit_rows = {2};
    pair.gpu_storages[0]->reserve(8);
    pair.gpu->begin(batch);
    size_t num_blocks_begun = 0;
    CHECK_FAILS(gptoss_status_aborted, "enough", forward(*pair.gpu, *pair.loaded.file, batch, [&] {
                    if (num_blocks_begun++ == 1) {
                        fail(gptoss_status_aborted, "enough");
                    }
                }));
    pair.run({40}, false);
}

TEST(the_workspace_is_what_it_says_and_grows_only) {
    const LoadedFile loaded(every_expert());
    const ModelConfig& config = loaded.file->config();
    const auto device = metal::open_device();
    Workspace workspace(*device, config);
    size_t max_rows = 0;
    size_t max_logit_rows = 0;
    for (const auto& [num_rows, num_logit_rows] :
         std::vector<std::pair<size_t, size_t>>{{1, 1}, {1, 0}, {31, 2}, {5, 5}, {32, 1}, {300, 40}, {17, 1}}) {
        const bool grows = num_rows > max_rows || num_logit_rows > max_logit_rows;
        max_rows = std::max(max_rows, num_rows);
        max_logit_rows = std::max(max_logit_rows, num_logit_rows);
        CHECK_EQUAL(workspace.must_grow(num_rows, num_logit_rows), grows);
        workspace.reserve(num_rows, num_logit_rows);
        CHECK(!workspace.must_grow(num_rows, num_logit_rows));
        CHECK_EQUAL(workspace.num_bytes(), Workspace::bytes_for(config, max_rows, max_logit_rows));
        CHECK_EQUAL(workspace.residual().size, num_rows * config.embedding_dim * sizeof(float));
        CHECK_EQUAL(workspace.logits().size, num_logit_rows * config.vocabulary_size * sizeof(float));
    }
}

TEST(more_experts_than_the_kernels_count_are_refused) {
    gptoss_model_config config = builder::small_config();
    config.num_experts = 129;
    const LoadedFile loaded(config);
    CHECK_FAILS(gptoss_status_unsupported_system, "has 129 experts, and the Metal backend runs models with at most 128",
                metal_backend(loaded));
}
