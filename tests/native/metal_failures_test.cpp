// A context on a GPU that fails, hangs or has no memory, and aborts at every stage: what is left works as if nothing
// had been, or says that it is lost. Run with the sanitizers, this shows that nothing leaks or races on these ways.
//
// The host device (tests/metal_device) fails on demand.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "gptoss.h"
#include "model_file_builder.h"

namespace {

constexpr uint32_t kVocabularySize = 263;
constexpr size_t kMaxBatchTokens = 12;
constexpr size_t kNumPromptTokens = 30; // three pieces of it
constexpr size_t kNumSampled = 5;
// The cut of the work decides which kernels compute a row, and in which order they sum.
constexpr double kTolerance = 2e-3;

struct ReleaseModel {
    void operator()(gptoss_model_t model) const { CHECK_SUCCESS(gptoss_model_release(model)); }
};
struct ReleaseContext {
    void operator()(gptoss_context_t context) const { CHECK_SUCCESS(gptoss_context_release(context)); }
};
using Model = std::unique_ptr<gptoss_model, ReleaseModel>;
using Context = std::unique_ptr<gptoss_context, ReleaseContext>;

// All experts are active, so that rounding cannot send a token to others.
const builder::TemporaryFile& model_file() {
    static const builder::TemporaryFile file = [] {
        gptoss_model_config config = builder::small_config();
        config.num_active_experts = config.num_experts;
        return builder::TemporaryFile(builder::build_model_file(config, builder::byte_vocabulary(), 5));
    }();
    return file;
}

gptoss_status load(const std::string& faults, Model& model_out) {
    setenv("GPTOSS_METAL_HOST_FAULTS", faults.c_str(), 1);
    gptoss_model_options options = {};
    options.size = sizeof(options);
    options.backend = gptoss_backend_metal;
    gptoss_model_t model = nullptr;
    const gptoss_status status = gptoss_model_create(model_file().path().c_str(), &options, &model);
    model_out.reset(model);
    unsetenv("GPTOSS_METAL_HOST_FAULTS");
    return status;
}

Model load_working() {
    Model model;
    CHECK_SUCCESS(load("", model));
    return model;
}

Context create(const Model& model) {
    gptoss_context_t context = nullptr;
    CHECK_SUCCESS(gptoss_context_create(model.get(), 0, kMaxBatchTokens, &context));
    return Context(context);
}

std::vector<uint32_t> prompt() {
    std::vector<uint32_t> tokens(kNumPromptTokens);
    for (size_t i = 0; i < tokens.size(); i++) {
        tokens[i] = static_cast<uint32_t>((i * 131 + 17) % kVocabularySize);
    }
    return tokens;
}

void append_prompt(const Context& context) {
    const std::vector<uint32_t> tokens = prompt();
    CHECK_SUCCESS(gptoss_context_append_tokens(context.get(), tokens.size(), tokens.data()));
}

std::vector<float> logits_of(const Context& context) {
    std::vector<float> logits(kVocabularySize);
    CHECK_SUCCESS(gptoss_context_get_logits(context.get(), logits.data(), logits.size()));
    return logits;
}

size_t num_tokens_of(const Context& context) {
    size_t num_tokens = 0;
    CHECK_SUCCESS(gptoss_context_get_num_tokens(context.get(), &num_tokens));
    return num_tokens;
}

std::vector<uint32_t> tokens_of(const Context& context) {
    std::vector<uint32_t> tokens(num_tokens_of(context));
    size_t num_tokens = 0;
    CHECK_SUCCESS(gptoss_context_get_tokens(context.get(), tokens.data(), tokens.size(), &num_tokens));
    return tokens;
}

// Calls a progress function in which the caller may stop: how often it was called, and when to stop.
struct Stages {
    size_t num_calls = 0;
    size_t stop_at = SIZE_MAX;
    gptoss_context_t aborted = nullptr; // instead of returning 1

    static int callback(void* user_data, size_t, size_t) {
        Stages& stages = *static_cast<Stages*>(user_data);
        if (stages.num_calls++ != stages.stop_at) {
            return 0;
        }
        if (stages.aborted == nullptr) {
            return 1;
        }
        return gptoss_context_abort(stages.aborted) == gptoss_status_success ? 0 : 1;
    }
};

// Greedily, up to kNumSampled tokens behind the prompt: those that an earlier call left count.
gptoss_status sample(const Context& context, Stages* stages = nullptr) {
    gptoss_sampling_options options;
    gptoss_sampling_options_init(&options);
    options.temperature = 0;
    if (stages != nullptr) {
        options.progress = Stages::callback;
        options.user_data = stages;
    }
    std::vector<uint32_t> tokens(kNumPromptTokens + kNumSampled - num_tokens_of(context));
    size_t num_tokens = 0;
    return gptoss_context_sample_with_options(context.get(), &options, tokens.size(), tokens.data(), nullptr,
                                              &num_tokens, nullptr);
}

// What a context comes to that nothing disturbs.
struct Expected {
    std::vector<float> logits;    // after the prompt
    std::vector<uint32_t> tokens; // with those that were sampled
};

const Expected& expected() {
    static const Expected result = [] {
        const Model model = load_working();
        const Context context = create(model);
        append_prompt(context);
        Expected undisturbed = {.logits = logits_of(context), .tokens = {}};
        CHECK_SUCCESS(sample(context));
        undisturbed.tokens = tokens_of(context);
        return undisturbed;
    }();
    return result;
}

void check_logits(const Context& context) {
    const std::vector<float> logits = logits_of(context);
    for (size_t i = 0; i < logits.size(); i++) {
        CHECK_CLOSE(logits[i], expected().logits[i], kTolerance);
    }
}

// Repeats each step that fails, once. Returns how many did.
size_t go_through(const Model& model, gptoss_status failure) {
    size_t num_failures = 0;
    const auto step = [&](const auto& call) {
        gptoss_status status = call();
        if (status == failure) {
            CHECK(std::strlen(gptoss_last_error()) > 20);
            num_failures++;
            status = call();
        }
        CHECK_SUCCESS(status);
    };
    const Context context = create(model);
    append_prompt(context);
    step([&] { return gptoss_context_process(context.get()); });
    check_logits(context);
    step([&] { return sample(context); });
    CHECK(tokens_of(context) == expected().tokens);
    return num_failures;
}

size_t num_threads() {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    return static_cast<size_t>(std::distance(begin(tasks), end(tasks)));
}

} // namespace

TEST(a_prompt_can_be_stopped_at_every_stage) {
    const Model model = load_working();
    for (const bool by_abort : {false, true}) {
        bool stopped = true;
        for (size_t stage = 0; stopped; stage++) {
            const Context context = create(model);
            append_prompt(context);
            Stages stages = {.stop_at = stage, .aborted = by_abort ? context.get() : nullptr};
            const gptoss_status status = gptoss_context_process_with_progress(context.get(), Stages::callback, &stages);
            stopped = status == gptoss_status_aborted;
            if (!stopped) {
                CHECK_SUCCESS(status);
                // Three pieces, each of which begins and has two blocks. An abort at the last of these comes too late.
                CHECK(stage >= 3 * 3 - 1);
            }
            CHECK_SUCCESS(gptoss_context_process(context.get()));
            check_logits(context);
        }
    }
}

TEST(an_answer_can_be_stopped_at_every_stage) {
    const Model model = load_working();
    bool stopped = true;
    for (size_t stage = 0; stopped; stage++) {
        const Context context = create(model);
        append_prompt(context);
        Stages stages = {.stop_at = stage};
        const gptoss_status status = sample(context, &stages);
        stopped = status == gptoss_status_aborted;
        if (!stopped) {
            CHECK_SUCCESS(status);
            CHECK(stage > kNumSampled);
        }
        CHECK_SUCCESS(sample(context));
        CHECK(tokens_of(context) == expected().tokens);
    }
}

TEST(an_abort_from_another_thread_leaves_the_context_usable) {
    const Model model = load_working();
    for (int round = 0; round < 10; round++) {
        const Context context = create(model);
        append_prompt(context);
        std::thread other([&] { CHECK_SUCCESS(gptoss_context_abort(context.get())); });
        const gptoss_status status = sample(context);
        other.join();
        CHECK(status == gptoss_status_success || status == gptoss_status_aborted);
        const gptoss_status next = sample(context); // an abort that came late stops this one
        CHECK(next == gptoss_status_success || next == gptoss_status_aborted);
        CHECK_SUCCESS(sample(context));
        CHECK(tokens_of(context) == expected().tokens);
    }
}

TEST(a_stream_that_works_ahead_is_released_at_any_time) {
    const Model model = load_working();
    for (size_t count = 1; count <= 3; count++) {
        const Context context = create(model);
        append_prompt(context);
        gptoss_sampling_options options;
        gptoss_sampling_options_init(&options);
        options.num_tokens_ahead = 5;
        for (size_t i = 0; i < count; i++) {
            uint32_t token = 0;
            size_t num_tokens = 0;
            CHECK_SUCCESS(
                gptoss_context_sample_with_options(context.get(), &options, 1, &token, nullptr, &num_tokens, nullptr));
        }
    }
}

TEST(every_command_buffer_may_fail) {
    size_t num_failures = 0;
    for (size_t number = 1; num_failures + 1 == number; number++) {
        Model model;
        CHECK_SUCCESS(load("failure:" + std::to_string(number), model));
        num_failures += go_through(model, gptoss_status_internal_error);
    }
    CHECK(num_failures >= 3 + kNumSampled); // pieces of the prompt, tokens
}

TEST(every_allocation_may_be_refused) {
    size_t num_while_loading = 0;
    size_t num_later = 0;
    bool refused = true;
    for (size_t number = 1; refused && number < 100; number++) {
        Model model;
        if (load("allocation:" + std::to_string(number), model) != gptoss_status_success) {
            CHECK(model == nullptr);
            num_while_loading++;
            continue;
        }
        const size_t num_failures = go_through(model, gptoss_status_insufficient_resources);
        num_later += num_failures;
        refused = num_failures != 0;
    }
    CHECK(!refused);
    CHECK(num_while_loading >= 1);
    CHECK(num_later >= 4);
}

TEST(a_gpu_that_hangs_is_lost_and_leaves_nothing_behind) {
    setenv("GPTOSS_METAL_TIMEOUT", "5", 1);
    for (const size_t number : {1, 5}) {
        const size_t num_before = num_threads();
        {
            Model model;
            CHECK_SUCCESS(load("hang:" + std::to_string(number), model));
            const Context context = create(model);
            append_prompt(context);
            CHECK_STATUS(gptoss_status_internal_error, sample(context));
            CHECK(std::strstr(gptoss_last_error(), "create the Model again") != nullptr);

            const auto start = std::chrono::steady_clock::now();
            const Context another = create(model);
            append_prompt(another);
            CHECK_STATUS(gptoss_status_internal_error, gptoss_context_process(another.get()));
            const uint32_t token = 1;
            CHECK_SUCCESS(gptoss_context_append_tokens(context.get(), 1, &token));
            CHECK_STATUS(gptoss_status_internal_error, gptoss_context_process(context.get()));
            CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(1));
        }
        CHECK_EQUAL(num_threads(), num_before);
    }
    unsetenv("GPTOSS_METAL_TIMEOUT");
}

TEST(machines_without_a_suitable_gpu_are_refused) {
    for (const char* const fault : {"no_device", "old_system"}) {
        Model model;
        CHECK_STATUS(gptoss_status_unsupported_system, load(fault, model));
        CHECK(model == nullptr);
    }
    Model model;
    CHECK_STATUS(gptoss_status_insufficient_resources, load("memory:1000", model));
}
