// Tokens sampled on a GPU, beside the sampler of the CPU backend on the same GPU's logits; and the queue they go
// through.
#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "context.h"
#include "fake_backend.h"
#include "metal/token_stream.h"
#include "model_file_builder.h"

using fake::default_options;
using fake::some_tokens;
using gptoss::Backend;
using gptoss::Context;
using gptoss::Model;
using gptoss::SampledToken;
using gptoss::Sampler;
using gptoss::TokenStream;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::shared_ptr<const Model> load_metal(const std::vector<std::byte>& bytes) {
    const builder::TemporaryFile file(bytes);
    gptoss_model_options options = {};
    options.size = sizeof(options);
    options.backend = gptoss_backend_metal;
    return std::make_shared<const Model>(file.path(), options);
}

std::vector<std::byte> small_model() {
    return builder::build_model_file(builder::small_config(), builder::byte_vocabulary(), 5);
}

// Pipelines are made once for all tests.
std::shared_ptr<const Model> metal_model() {
    static const std::shared_ptr<const Model> model = load_metal(small_model());
    return model;
}

std::vector<SampledToken> sample(Context& context, size_t count, const gptoss_sampling_options& options) {
    std::vector<uint32_t> tokens(count);
    std::vector<float> log_probabilities(count);
    size_t num_tokens = 0;
    context.sample(options, count, tokens.data(), log_probabilities.data(), num_tokens);
    std::vector<SampledToken> result;
    for (size_t i = 0; i < num_tokens; i++) {
        result.push_back({tokens[i], log_probabilities[i]});
    }
    return result;
}

// The logits are the GPU's, the rest is the CPU's.
std::vector<SampledToken> sample_on_cpu(Context& context, size_t count, const gptoss_sampling_options& options) {
    Sampler sampler(options, fake::kVocabularySize);
    std::unordered_map<uint32_t, uint32_t> generated;
    std::vector<SampledToken> result;
    for (size_t i = 0; i < count; i++) {
        const std::span<const float> logits = context.logits({});
        result.push_back(sampler.sample(logits, {context.tokens(), generated}, context.tokens().size()));
        generated[result.back().token]++;
        context.append(std::span(&result.back().token, 1));
    }
    return result;
}

void check_alike(const char* what, const gptoss_sampling_options& options) {
    constexpr size_t kCount = 12;
    Context on_gpu(metal_model(), 0, 0);
    Context on_cpu(metal_model(), 0, 0);
    on_gpu.append(some_tokens(9));
    on_cpu.append(some_tokens(9));
    const std::vector<SampledToken> found = sample(on_gpu, kCount, options);
    const std::vector<SampledToken> expected = sample_on_cpu(on_cpu, kCount, options);
    for (size_t i = 0; i < kCount; i++) {
        if (found.at(i).token != expected[i].token) {
            check::report_failure(__FILE__, __LINE__,
                                  std::string(what) + ": token " + std::to_string(i) + " is " +
                                      std::to_string(found[i].token) + ", the CPU's is " +
                                      std::to_string(expected[i].token));
            return;
        }
        CHECK_CLOSE(found[i].log_probability, expected[i].log_probability, 1e-5);
    }
}

// A stream without the context that would use it. Its storage holds the positions before `start`.
std::unique_ptr<TokenStream> start_stream(const Model& model, Context& context, gptoss::KvCache& cache) {
    const std::span<const float> logits = context.logits({});
    static const std::unordered_map<uint32_t, uint32_t> nothing;
    const gptoss_sampling_options options = default_options();
    return model.with_backend([&](Backend& backend) {
        return backend.start_stream(
            {&cache.storage(), context.tokens().size(), logits, options, {context.tokens(), nothing}});
    });
}

} // namespace

TEST(every_option_gives_the_cpus_tokens) {
    gptoss_sampling_options options = default_options();
    check_alike("nothing", options);
    options.seed = 0xFFFFFFFFFFFFFFFFu;
    check_alike("seed", options);
    options.temperature = 0;
    check_alike("greedy", options);
    options.top_k = 3;
    check_alike("greedy with top_k", options);

    options = default_options();
    options.temperature = 1.8f;
    check_alike("temperature", options);
    options.top_k = 7;
    check_alike("top_k", options);
    options.top_k = 1000;
    check_alike("top_k beyond the vocabulary", options);
    options.top_k = 0;
    options.top_p = 0.6f;
    check_alike("top_p", options);
    options.top_p = 1;
    options.min_p = 0.2f;
    check_alike("min_p", options);
    options.top_p = 0.9f;
    options.top_k = 20;
    check_alike("all filters", options);

    options = default_options();
    options.repetition_penalty = 1.8f;
    check_alike("repetition_penalty", options);
    options = default_options();
    options.temperature = 0;
    options.presence_penalty = 0.7f;
    check_alike("presence_penalty", options);
    options.presence_penalty = 0;
    options.frequency_penalty = 0.7f;
    check_alike("frequency_penalty", options);
}

TEST(biases_of_one_token_add_up_and_minus_infinity_forbids_it) {
    const auto check_biases = [](const char* what, const std::vector<gptoss_logit_bias>& biases) {
        gptoss_sampling_options options = default_options();
        options.num_logit_biases = biases.size();
        options.logit_biases = biases.data();
        check_alike(what, options);
    };
    check_biases("one", {{5, 8.0f}});
    check_biases("the last token", {{fake::kVocabularySize - 1, 8.0f}});
    check_biases("two of one token", {{5, 4.0f}, {6, 1.0f}, {5, 4.0f}});
    check_biases("two that cancel", {{5, 9.0f}, {5, -9.0f}});
    std::vector<gptoss_logit_bias> all_but_one;
    for (uint32_t token = 0; token < fake::kVocabularySize; token++) {
        all_but_one.push_back({token, token == 77 ? 0.0f : -kInfinity});
    }
    check_biases("all but one forbidden", all_but_one);
    all_but_one.push_back({3, 100.0f}); // comes too late
    all_but_one.insert(all_but_one.begin(), {4, 100.0f});
    check_biases("forbidden and favoured", all_but_one);
}

TEST(history_counts_from_before_the_stream) {
    gptoss_sampling_options options = default_options();
    options.temperature = 0;
    options.frequency_penalty = 0.9f;
    options.repetition_penalty = 1.4f;
    gptoss_sampling_options with_seed = options;
    with_seed.seed = 1; // another stream; it changes nothing where the likeliest token is taken
    Context straight(metal_model(), 0, 0);
    Context cut(metal_model(), 0, 0);
    straight.append(some_tokens(9));
    cut.append(some_tokens(9));
    sample(straight, 16, options);
    for (int i = 0; i < 4; i++) {
        sample(cut, 4, i % 2 == 0 ? options : with_seed);
    }
    CHECK(straight.tokens() == cut.tokens());
}

TEST(a_stop_token_is_found_among_many) {
    Context context(metal_model(), 0, 0);
    context.append(some_tokens(9));
    const std::vector<SampledToken> tokens = sample(context, 6, default_options());
    std::vector<uint32_t> stop_tokens;
    for (uint32_t token = 0; token < fake::kVocabularySize; token++) {
        const bool is_early = std::ranges::any_of(tokens.begin(), tokens.begin() + 3,
                                                  [&](const SampledToken& early) { return early.token == token; });
        if (!is_early) {
            stop_tokens.push_back(token);
        }
    }
    gptoss_sampling_options options = default_options();
    options.num_stop_tokens = stop_tokens.size();
    options.stop_tokens = stop_tokens.data();
    context.truncate(9);
    size_t length = 3;
    while (std::ranges::count(stop_tokens, tokens[length].token) == 0) {
        length++;
    }
    CHECK_EQUAL(sample(context, 6, options).size(), length + 1);
    CHECK_EQUAL(context.num_cached_tokens(), context.tokens().size());
}

TEST(weights_that_are_not_numbers_are_an_error) {
    std::vector<std::byte> bytes = small_model();
    for (size_t offset = builder::kHeaderSize; offset + 1 < bytes.size(); offset += 2) {
        builder::overwrite(bytes, offset, uint16_t{0x7FC0});
    }
    Context context(load_metal(bytes), 0, 0);
    context.append(some_tokens(9));
    CHECK_FAILS(gptoss_status_internal_error, "not finite numbers", sample(context, 3, default_options()));
    CHECK_EQUAL(context.tokens().size(), 9u);
}

TEST(no_more_than_two_tokens_are_in_flight) {
    const std::shared_ptr<const Model> model = metal_model();
    Context context(model, 0, 0);
    context.append(some_tokens(9));
    gptoss::KvCache cache(model->backend().create_kv_storage(64, 64), model->config().attention_window, 64);
    cache.prepare(12);
    const std::unique_ptr<TokenStream> stream = start_stream(*model, context, cache);
    const auto submit = [&] { model->with_backend([&](Backend&) { stream->submit(); }); };
    CHECK(stream->is_drained());
    submit();
    submit();
    CHECK_FAILS(gptoss_status_internal_error, "while two are not read yet", submit());
    CHECK(!stream->is_drained());
    stream->read();
    submit();
    stream->read();
    stream->read();
    CHECK(stream->is_drained());
    CHECK_EQUAL(stream->logits().size(), fake::kVocabularySize);
}

TEST(a_stream_may_go_with_its_tokens_in_flight) {
    const std::shared_ptr<const Model> model = metal_model();
    for (int num_submitted = 0; num_submitted <= 2; num_submitted++) {
        Context context(model, 0, 0);
        context.append(some_tokens(9));
        gptoss::KvCache cache(model->backend().create_kv_storage(64, 64), model->config().attention_window, 64);
        cache.prepare(12);
        const std::unique_ptr<TokenStream> stream = start_stream(*model, context, cache);
        for (int i = 0; i < num_submitted; i++) {
            model->with_backend([&](Backend&) { stream->submit(); });
        }
    }
    Context context(model, 0, 0);
    context.append(some_tokens(9));
    CHECK_EQUAL(sample(context, 3, default_options()).size(), 3u);
}

TEST(contexts_of_one_model_sample_in_threads) {
    constexpr size_t kNumContexts = 3;
    const auto run = [](size_t i, std::vector<uint32_t>& tokens) {
        Context context(metal_model(), 0, 0);
        context.append(some_tokens(9 + i, static_cast<uint32_t>(i)));
        gptoss_sampling_options options = default_options();
        options.seed = i;
        options.num_tokens_ahead = 1;
        for (size_t n = 0; n < 8; n++) {
            sample(context, 1, options);
        }
        context.logits({});
        sample(context, 4, options);
        tokens = context.tokens();
    };
    std::vector<std::vector<uint32_t>> alone(kNumContexts);
    std::vector<std::vector<uint32_t>> together(kNumContexts);
    for (size_t i = 0; i < kNumContexts; i++) {
        run(i, alone[i]);
    }
    std::vector<std::thread> threads;
    for (size_t i = 0; i < kNumContexts; i++) {
        threads.emplace_back(run, i, std::ref(together[i]));
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(together == alone);
}

TEST(a_stream_takes_a_few_megabytes_in_the_20bs_vocabulary) {
    gptoss::ModelConfig config = {};
    config.vocabulary_size = 201088;
    // Logits, biases, counts and two words for each candidate; masks and summaries of the groups of 32.
    const size_t num_bytes = 201088 * 4 * 5 + 6284 * 4 * 7;
    CHECK(gptoss::metal::MetalTokenStream::bytes_for(config) >= num_bytes);
    CHECK(gptoss::metal::MetalTokenStream::bytes_for(config) <= num_bytes + 8192);
}
