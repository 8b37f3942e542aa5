// What source/metal/memory_plan.h promises: the bytes that a model and its contexts take on a GPU, the longest context
// that fits, and what a refusal says on the Macs that there are. The sizes are computed here once more, from shapes.
#include "metal/memory_plan.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <regex>
#include <string>
#include <vector>

#include "check.h"
#include "errors.h"
#include "metal/kv_storage.h"
#include "metal/token_stream.h"
#include "metal/workspace.h"
#include "model_file_builder.h"

namespace {

using namespace gptoss;
using namespace gptoss::metal;

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGiB = uint64_t{1} << 30;

struct Shape {
    const char* name;
    ModelConfig config;
    uint64_t weight_bytes; // of the file that `gptoss convert` writes
};

ModelConfig large_config(uint32_t num_blocks, uint32_t num_experts) {
    ModelConfig config = builder::small_config();
    config.context_length = 131072;
    config.num_blocks = num_blocks;
    config.num_experts = num_experts;
    config.num_active_experts = 4;
    config.embedding_dim = 2880;
    config.mlp_dim = 2880;
    config.num_heads = 64;
    config.num_kv_heads = 8;
    config.attention_window = 128;
    config.vocabulary_size = 201088;
    return config;
}

constexpr uint64_t kSavedByQ8 = 1677721600; // 1.56 GiB, about what it is for the 20b

const Shape k20b = {"20b", large_config(24, 32), 13763928064};
const Shape k120b = {"120b", large_config(36, 128), 65251295232};

// A Mac with so many GiB of memory, at macOS' defaults as they were first: two thirds of it for the GPU, or three
// quarters from 36 GiB on.
DeviceInfo mac(uint64_t gib) {
    return {.name = "Apple M2",
            .operating_system = "macOS 14.5",
            .recommended_bytes = gib >= 36 ? gib * kGiB / 4 * 3 : gib * kGiB / 3 * 2,
            .max_buffer_bytes = gib * kGiB / 2,
            .physical_bytes = gib * kGiB};
}

// Of either large shape: fp16 keys and values of 8 heads of 64, half of the blocks with rings of the window and a
// batch.
uint64_t expected_kv_bytes(const ModelConfig& config, uint64_t num_tokens, uint64_t batch) {
    const uint64_t position_bytes = uint64_t{config.num_kv_heads} * 64 * 2 * 2;
    const uint64_t ring = std::min(num_tokens, config.attention_window - 1 + std::min(num_tokens, batch));
    return config.num_blocks / 2 * position_bytes * (num_tokens + ring);
}

uint64_t expected_total(const Shape& shape, uint64_t num_tokens) {
    const uint64_t rows = std::min<uint64_t>(num_tokens, 512);
    return shape.weight_bytes + Workspace::bytes_for(shape.config, rows, 1) +
           MetalTokenStream::bytes_for(shape.config) + expected_kv_bytes(shape.config, num_tokens, 512);
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

// "16.4 GiB" or "108.6 MiB", in tenths that `round` makes whole.
std::string size_text(uint64_t num_bytes, double (*round)(double)) {
    const bool large = num_bytes >= kGiB;
    const double value = static_cast<double>(num_bytes) / static_cast<double>(large ? kGiB : kMiB);
    char text[32];
    std::snprintf(text, sizeof(text), "%.1f %s", round(value * 10) / 10, large ? "GiB" : "MiB");
    return text;
}

// The N of `sudo sysctl iogpu.wired_limit_mb=N` in a sentence; 0 if there is none.
uint64_t wired_limit_of(const std::string& sentence) {
    std::smatch match;
    return std::regex_search(sentence, match, std::regex("`sudo sysctl iogpu\\.wired_limit_mb=(\\d+)`"))
               ? std::stoull(match[1])
               : 0;
}

// The N of "a context_length of at most N"; 0 if there is none.
uint64_t longest_of(const std::string& sentence) {
    std::smatch match;
    return std::regex_search(sentence, match, std::regex("a context_length of at most (\\d+)")) ? std::stoull(match[1])
                                                                                                : 0;
}

TEST(the_20b_keeps_131072_tokens_in_at_most_3_3_gib) {
    const MemoryPlan plan(k20b.config, k20b.weight_bytes, kSavedByQ8);
    // 12 full blocks with every position and 12 rings of 639 slots, 2,048 bytes a position.
    const uint64_t expected = 12 * 2048 * (131072 + uint64_t{639});
    CHECK_EQUAL(plan.kv_bytes(131072, 0), expected);
    CHECK(static_cast<double>(expected) <= 3.3 * static_cast<double>(kGiB));
}

TEST(the_figures_of_readme_and_docs_metal_are_so) {
    const auto gib = [](const Shape& shape, size_t num_tokens) {
        const MemoryPlan plan(shape.config, shape.weight_bytes, kSavedByQ8);
        return size_text(plan.total_beside({}, num_tokens, 0), std::round);
    };
    CHECK_EQUAL(gib(k20b, 4096), "13.0 GiB");
    CHECK_EQUAL(gib(k20b, 131072), "15.9 GiB");
    CHECK_EQUAL(gib(k120b, 4096), "61.0 GiB");
    CHECK_EQUAL(gib(k120b, 131072), "65.4 GiB");

    const auto longest = [](const Shape& shape, const DeviceInfo& device) {
        const MemoryPlan plan(shape.config, shape.weight_bytes, kSavedByQ8);
        const bool takes_model = plan.total_beside({}, 4096, 0) <= device.recommended_bytes;
        return takes_model ? plan.longest_context(device, {}, 0) : 0;
    };
    CHECK_EQUAL(longest(k20b, mac(16)), size_t{0});
    DeviceInfo raised = mac(16);
    raised.recommended_bytes = 13824 * kMiB;
    CHECK_EQUAL(longest(k20b, raised) / 1000, size_t{24});
    CHECK_EQUAL(wired_limit_of(MemoryPlan(k20b.config, k20b.weight_bytes, kSavedByQ8).model_sentence(mac(16))),
                uint64_t{13824});
    raised.recommended_bytes = 14336 * kMiB;
    CHECK_EQUAL(longest(k20b, raised) / 1000, size_t{46});
    for (const uint64_t gibibytes : {32, 64, 96, 128}) {
        CHECK_EQUAL(longest(k20b, mac(gibibytes)), size_t{131072});
    }
    for (const uint64_t gibibytes : {16, 32, 64}) {
        CHECK_EQUAL(longest(k120b, mac(gibibytes)), size_t{0});
    }
    for (const uint64_t gibibytes : {96, 128}) {
        CHECK_EQUAL(longest(k120b, mac(gibibytes)), size_t{131072});
    }
}

TEST(parts_are_what_the_shapes_say) {
    for (const Shape& shape : {k20b, k120b}) {
        const MemoryPlan plan(shape.config, shape.weight_bytes, kSavedByQ8);
        for (const size_t num_tokens : {1, 127, 640, 4096, 131072}) {
            CHECK_EQUAL(plan.kv_bytes(num_tokens, 0), expected_kv_bytes(shape.config, num_tokens, 512));
            CHECK_EQUAL(plan.kv_bytes(num_tokens, 2048), expected_kv_bytes(shape.config, num_tokens, 2048));
            CHECK_EQUAL(plan.total_beside({}, num_tokens, 0), expected_total(shape, num_tokens));
            CHECK_EQUAL(plan.total_beside({0, 12345}, num_tokens, 0), expected_total(shape, num_tokens) + 12345);
        }
        // Half a GiB is what remains for activations beside the figures of the README.
        CHECK(plan.workspace_bytes(512) < kGiB / 2);
    }
}

TEST(a_workspace_that_larger_batches_made_counts_as_it_is) {
    const MemoryPlan plan(k20b.config, k20b.weight_bytes, kSavedByQ8);
    const uint64_t planned = Workspace::bytes_for(k20b.config, 512, 1);
    const uint64_t total = plan.total_beside({}, 4096, 0);
    CHECK_EQUAL(plan.total_beside({planned, 0}, 4096, 0), total);
    CHECK_EQUAL(plan.total_beside({planned / 2, 0}, 4096, 0), total);
    CHECK_EQUAL(plan.total_beside({planned + 777, 0}, 4096, 0), total + 777);
}

TEST(one_token_more_than_the_longest_context_does_not_fit) {
    for (const Shape& shape : {k20b, k120b}) {
        const MemoryPlan plan(shape.config, shape.weight_bytes, kSavedByQ8);
        const uint64_t least = plan.total_beside({}, 1, 0);
        const uint64_t most = plan.total_beside({}, 131072, 0);
        for (const uint64_t batch : {0, 1, 32, 2048}) {
            for (uint64_t step = 0; step <= 20; step++) {
                DeviceInfo device = mac(128);
                device.recommended_bytes = least - kMiB + (most - least + 2 * kMiB) * step / 20;
                const size_t longest = plan.longest_context(device, {}, batch);
                CHECK(longest <= 131072);
                CHECK(longest == 0 || plan.total_beside({}, longest, batch) <= device.recommended_bytes);
                CHECK(longest == 131072 || plan.total_beside({}, longest + 1, batch) > device.recommended_bytes);
            }
        }
    }
}

TEST(a_longer_context_never_needs_less) {
    const MemoryPlan plan(k20b.config, k20b.weight_bytes, kSavedByQ8);
    uint64_t before = 0;
    for (size_t num_tokens = 1; num_tokens < 2000; num_tokens++) {
        const uint64_t total = plan.total_beside({}, num_tokens, 0);
        if (total < before) {
            CHECK_EQUAL(total, before);
        }
        before = total;
    }
}

TEST(a_device_that_recommends_nothing_takes_everything) {
    DeviceInfo device = mac(16);
    device.recommended_bytes = 0;
    const MemoryPlan plan(k120b.config, k120b.weight_bytes, kSavedByQ8);
    CHECK_EQUAL(plan.longest_context(device, {}, 0), size_t{131072});
    plan.check_model(device);
    plan.check_context(device, {}, 131072, 0);
}

TEST(models_are_refused_where_4096_tokens_do_not_fit) {
    for (const Shape& shape : {k20b, k120b}) {
        const MemoryPlan plan(shape.config, shape.weight_bytes, kSavedByQ8);
        DeviceInfo device = mac(128);
        device.recommended_bytes = expected_total(shape, 4096);
        plan.check_model(device);
        device.recommended_bytes--;
        CHECK_FAILS(gptoss_status_insufficient_resources, "a context of no more than 4096 tokens needs",
                    plan.check_model(device));
    }
}

TEST(contexts_are_refused_where_they_do_not_fit_when_full) {
    const MemoryPlan plan(k20b.config, k20b.weight_bytes, kSavedByQ8);
    DeviceInfo device = mac(128);
    device.recommended_bytes = expected_total(k20b, 10000) + 5000;
    plan.check_context(device, {0, 5000}, 10000, 0);
    CHECK_FAILS(gptoss_status_insufficient_resources, "A context of 10000 tokens needs",
                plan.check_context(device, {0, 5001}, 10000, 0));
    CHECK_FAILS(gptoss_status_insufficient_resources, "A context of 10001 tokens needs",
                plan.check_context(device, {0, 5000}, 10001, 0));
}

TEST(caches_do_not_grow_above_the_limit) {
    const MemoryPlan plan(k20b.config, k20b.weight_bytes, kSavedByQ8);
    DeviceInfo device = mac(32);
    device.recommended_bytes = k20b.weight_bytes + 3 * kGiB + 100;
    plan.check_growth(device, {kGiB, kGiB}, kGiB + 100);
    CHECK_FAILS(gptoss_status_insufficient_resources, "need 1.1 GiB more of GPU memory",
                plan.check_growth(device, {kGiB, kGiB}, kGiB + 101));
    CHECK_FAILS(gptoss_status_insufficient_resources, "hold 14.9 GiB. Apple M2 has 15.8 GiB for that",
                plan.check_growth(device, {kGiB, kGiB}, kGiB + 101));
    CHECK_FAILS(gptoss_status_insufficient_resources, "iogpu.wired_limit_mb=16384`",
                plan.check_growth(device, {kGiB, kGiB}, kGiB + 101));
    device.recommended_bytes = 0;
    plan.check_growth(device, {kGiB, kGiB}, 100 * kGiB);
}

// What users of each Mac are told about each model, at macOS' default limit, at the highest that is advised, and at one
// that leaves 1 GiB beside the weights, so that the length of a context decides.
TEST(refusals_have_the_numbers_and_remedies_that_work) {
    for (const Shape& shape : {k20b, k120b}) {
        const MemoryPlan plan(shape.config, shape.weight_bytes, kSavedByQ8);
        for (const uint64_t gib : {16, 32, 64, 128}) {
            for (const uint64_t limit : {mac(gib).recommended_bytes, gib * kGiB / 8 * 7, shape.weight_bytes + kGiB}) {
                DeviceInfo device = mac(gib);
                device.recommended_bytes = limit;
                const bool model_fits = expected_total(shape, 4096) <= limit;
                const uint64_t wanted = model_fits ? 131072 : 4096;
                const uint64_t needed = expected_total(shape, wanted);
                const std::string sentence =
                    model_fits ? plan.context_sentence(device, {}, wanted, 0) : plan.model_sentence(device);

                CHECK(contains(sentence, "tokens needs " + size_text(needed, std::ceil) + " of GPU memory"));
                CHECK(contains(sentence, size_text(shape.weight_bytes, std::round) + " of weights"));
                CHECK(contains(sentence, size_text(expected_kv_bytes(shape.config, wanted, 512), std::round) +
                                             " of keys and values"));
                CHECK(contains(sentence, "Apple M2 has " + size_text(limit, std::floor) + " for that, of " +
                                             std::to_string(gib) + ".0 GiB in all"));
                CHECK(contains(sentence, "a smaller model file"));
                CHECK(contains(sentence, "(`gptoss requantize MODEL --dense q8`: 1.5 GiB less)"));
                CHECK(contains(sentence, "or the backend 'cpu'."));

                // The length that it names fits, and one more does not.
                const uint64_t longest = longest_of(sentence);
                CHECK_EQUAL(longest != 0, model_fits);
                if (longest != 0) {
                    CHECK(expected_total(shape, longest) <= limit);
                    CHECK(longest == 131072 || expected_total(shape, longest + 1) > limit);
                }
                // With the limit that it names what was wanted fits, and the rest of the Mac keeps an eighth.
                const uint64_t raised = (needed + 512 * kMiB - 1) / (512 * kMiB) * 512;
                CHECK_EQUAL(wired_limit_of(sentence), raised * kMiB <= gib * kGiB / 8 * 7 ? raised : uint64_t{0});
            }
        }
    }
}

TEST(wired_limits_are_for_macs_with_memory_to_spare) {
    DeviceInfo device = mac(16);
    CHECK_EQUAL(wired_limit_mb(device, 13 * kGiB), uint64_t{13 * 1024});
    CHECK_EQUAL(wired_limit_mb(device, 13 * kGiB + 1), uint64_t{13 * 1024 + 512});
    CHECK_EQUAL(wired_limit_mb(device, 14 * kGiB), uint64_t{14 * 1024});
    CHECK_EQUAL(wired_limit_mb(device, 14 * kGiB + 1), uint64_t{0});
    device.operating_system = "Linux 6.1";
    CHECK_EQUAL(wired_limit_mb(device, kGiB), uint64_t{0});
}

TEST(what_other_contexts_hold_is_told) {
    const MemoryPlan plan(k20b.config, k20b.weight_bytes, kSavedByQ8);
    const std::string sentence = plan.context_sentence(mac(32), {0, 3 * kGiB}, 131072, 0);
    CHECK(contains(sentence, "3.0 GiB that other contexts hold"));
    CHECK(contains(sentence, "fewer contexts"));
    CHECK(!contains(plan.context_sentence(mac(32), {}, 131072, 0), "other contexts"));
}

TEST(estimates_come_with_advice_where_they_do_not_fit) {
    const MemoryPlan plan(k20b.config, k20b.weight_bytes, kSavedByQ8);
    const gptoss_memory_estimate fits = plan.estimate(mac(32), 4096, 0);
    CHECK_EQUAL(fits.backend, gptoss_backend_metal);
    CHECK_EQUAL(fits.context_length, size_t{4096});
    CHECK_EQUAL(fits.weights, size_t{k20b.weight_bytes});
    CHECK_EQUAL(fits.total, size_t{expected_total(k20b, 4096)});
    CHECK_EQUAL(fits.total, fits.weights + fits.workspace + fits.kv_cache);
    CHECK_EQUAL(fits.limit, size_t{mac(32).recommended_bytes});
    CHECK_EQUAL(std::string(fits.advice), std::string());

    CHECK_EQUAL(plan.estimate(mac(64), 0, 0).context_length, size_t{131072});
    CHECK_EQUAL(plan.estimate(mac(16), 0, 0).context_length, size_t{4096});
    CHECK_EQUAL(std::string(plan.estimate(mac(16), 131072, 0).advice), plan.model_sentence(mac(16)));
    DeviceInfo device = mac(32);
    device.recommended_bytes = expected_total(k20b, 50000);
    CHECK_EQUAL(plan.estimate(device, 0, 0).context_length, size_t{50000});
    CHECK_EQUAL(std::string(plan.estimate(device, 60000, 0).advice), plan.context_sentence(device, {}, 60000, 0));
}

// What a real device is asked for, in a shape that any has room for.
TEST(storages_and_workspaces_take_what_the_plan_says) {
    const std::unique_ptr<Device> device = open_device();
    ModelConfig config = builder::small_config();
    config.vocabulary_size = 300;
    const MemoryPlan plan(config, 0, 0);
    for (const size_t batch : {1, 7, 40, 512}) {
        for (const size_t num_tokens : {1, 8, 100, 4096}) {
            const size_t rows = std::min(batch, num_tokens);
            KvMemory memory([](uint64_t, uint64_t) {});
            MetalKvStorage storage(*device, config, num_tokens, rows, memory, [](CommandBuffer&) {});
            storage.reserve(num_tokens);
            CHECK_EQUAL(storage.num_bytes(), size_t{plan.kv_bytes(num_tokens, batch)});
            CHECK_EQUAL(memory.used(), plan.kv_bytes(num_tokens, batch));

            Workspace workspace(*device, config);
            workspace.reserve(rows, 1);
            CHECK_EQUAL(workspace.num_bytes() + MetalTokenStream::bytes_for(config),
                        size_t{plan.workspace_bytes(rows)});
        }
    }
}

} // namespace
