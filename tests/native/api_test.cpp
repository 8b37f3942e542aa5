// The C API on small random models: results, errors, ownership and threads.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include "check.h"
#include "gptoss.h"
#include "model_file_builder.h"

namespace {

constexpr uint32_t kVocabularySize = 263;
constexpr uint32_t kReturn = 256;

struct ReleaseModel {
    void operator()(gptoss_model_t model) const { CHECK_SUCCESS(gptoss_model_release(model)); }
};
struct ReleaseContext {
    void operator()(gptoss_context_t context) const { CHECK_SUCCESS(gptoss_context_release(context)); }
};
using Model = std::unique_ptr<gptoss_model, ReleaseModel>;
using Context = std::unique_ptr<gptoss_context, ReleaseContext>;

Model load(const gptoss_model_config& config, uint32_t num_threads = 2) {
    const builder::TemporaryFile file(builder::build_model_file(config, builder::byte_vocabulary(), 5));
    gptoss_model_options options = {};
    options.size = sizeof(options);
    options.num_threads = num_threads;
    gptoss_model_t model = nullptr;
    CHECK_SUCCESS(gptoss_model_create(file.path().c_str(), &options, &model));
    return Model(model); // the mapping outlives the file's name
}

Model load_small(uint32_t num_threads = 2) {
    return load(builder::small_config(), num_threads);
}

Context create(const Model& model, size_t context_length = 0, size_t max_batch_tokens = 0) {
    gptoss_context_t context = nullptr;
    CHECK_SUCCESS(gptoss_context_create(model.get(), context_length, max_batch_tokens, &context));
    return Context(context);
}

// `count` different tokens, some of them special.
std::vector<uint32_t> some_tokens(size_t count, uint32_t seed = 1) {
    std::vector<uint32_t> tokens(count);
    for (size_t i = 0; i < count; i++) {
        tokens[i] = static_cast<uint32_t>((i * 131 + seed * 17) % kVocabularySize);
    }
    return tokens;
}

void append(const Context& context, const std::vector<uint32_t>& tokens) {
    CHECK_SUCCESS(gptoss_context_append_tokens(context.get(), tokens.size(), tokens.data()));
}

std::vector<float> logits_of(const Context& context) {
    std::vector<float> logits(kVocabularySize);
    CHECK_SUCCESS(gptoss_context_get_logits(context.get(), logits.data(), logits.size()));
    return logits;
}

std::vector<float> logits_after(const Model& model, const std::vector<uint32_t>& tokens, size_t max_batch_tokens = 0) {
    const Context context = create(model, 0, max_batch_tokens);
    append(context, tokens);
    return logits_of(context);
}

std::vector<uint32_t> sample(const Context& context, size_t count, float temperature = 1.0f, uint64_t seed = 3) {
    std::vector<uint32_t> tokens(count);
    size_t num_tokens = 0;
    CHECK_SUCCESS(gptoss_context_sample(context.get(), temperature, seed, count, tokens.data(), &num_tokens));
    tokens.resize(num_tokens);
    return tokens;
}

size_t num_tokens_of(const Context& context) {
    size_t num_tokens = 0;
    CHECK_SUCCESS(gptoss_context_get_num_tokens(context.get(), &num_tokens));
    return num_tokens;
}

size_t num_cached_tokens_of(const Context& context) {
    size_t num_tokens = 0;
    CHECK_SUCCESS(gptoss_context_get_num_cached_tokens(context.get(), &num_tokens));
    return num_tokens;
}

double largest_difference(const std::vector<float>& left, const std::vector<float>& right) {
    double largest = 0;
    for (size_t i = 0; i < left.size(); i++) {
        largest = std::max(largest, std::fabs(static_cast<double>(left[i]) - right[i]));
    }
    return largest;
}

bool last_error_contains(const char* part) {
    return std::strstr(gptoss_last_error(), part) != nullptr;
}

} // namespace

TEST(the_version_is_the_headers) {
    const std::string expected = std::to_string(GPTOSS_VERSION_MAJOR) + "." + std::to_string(GPTOSS_VERSION_MINOR) +
                                 "." + std::to_string(GPTOSS_VERSION_PATCH);
    CHECK_EQUAL(std::string(gptoss_version()), expected);
}

TEST(every_status_has_a_name) {
    for (int status = gptoss_status_success; status <= gptoss_status_internal_error; status++) {
        CHECK(std::strlen(gptoss_status_name(static_cast<gptoss_status>(status))) > 2);
    }
    CHECK_EQUAL(std::string(gptoss_status_name(gptoss_status_context_overflow)), "context_overflow");
}

TEST(a_model_describes_itself) {
    const Model model = load_small();
    gptoss_model_config config = {};
    CHECK_SUCCESS(gptoss_model_get_config(model.get(), &config));
    CHECK_EQUAL(config.embedding_dim, 64u);
    CHECK_EQUAL(config.vocabulary_size, kVocabularySize);
    size_t max_context_length = 0;
    CHECK_SUCCESS(gptoss_model_get_max_context_length(model.get(), &max_context_length));
    CHECK_EQUAL(max_context_length, 4096u);
    gptoss_backend backend = gptoss_backend_auto;
    CHECK_SUCCESS(gptoss_model_get_backend(model.get(), &backend));
    CHECK_EQUAL(backend, gptoss_backend_cpu);
    uint32_t num_threads = 0;
    CHECK_SUCCESS(gptoss_model_get_num_threads(model.get(), &num_threads));
    CHECK_EQUAL(num_threads, 2u);
    gptoss_precision precision = gptoss_precision_exact;
    CHECK_SUCCESS(gptoss_model_get_precision(model.get(), &precision));
    CHECK_EQUAL(precision, gptoss_precision_default);
    gptoss_memory_use memory = {};
    CHECK_SUCCESS(gptoss_model_get_memory_use(model.get(), &memory));
    const size_t file_size = builder::build_model_file(builder::small_config(), builder::byte_vocabulary(), 5).size();
    CHECK_EQUAL(memory.weights, file_size);

    size_t num_tensors = 0;
    CHECK_SUCCESS(gptoss_model_get_num_tensors(model.get(), &num_tensors));
    CHECK_EQUAL(num_tensors, 3u + 2 * (9 + 4 * 6));
    gptoss_tensor tensor = {};
    CHECK_SUCCESS(gptoss_model_get_tensor(model.get(), num_tensors - 1, &tensor));
    CHECK_EQUAL(tensor.offset + tensor.num_bytes, file_size);
    CHECK_STATUS(gptoss_status_invalid_argument, gptoss_model_get_tensor(model.get(), num_tensors, &tensor));
}

TEST(a_model_says_what_it_needs) {
    const Model model = load_small();
    gptoss_memory_estimate needed = {};
    CHECK_SUCCESS(gptoss_model_estimate_memory(model.get(), gptoss_backend_cpu, 100, 0, &needed));
    CHECK_EQUAL(needed.backend, gptoss_backend_cpu);
    CHECK_EQUAL(needed.context_length, 100u);
    gptoss_memory_use memory = {};
    CHECK_SUCCESS(gptoss_model_get_memory_use(model.get(), &memory));
    CHECK_EQUAL(needed.weights, memory.weights);
    size_t kv_cache = 0;
    CHECK_SUCCESS(gptoss_model_get_kv_cache_size(model.get(), 100, &kv_cache));
    CHECK_EQUAL(needed.kv_cache, kv_cache);
    CHECK(needed.workspace > memory.workspace); // nothing has run yet
    CHECK_EQUAL(needed.total, needed.weights + needed.workspace + needed.kv_cache);
    CHECK_EQUAL(needed.limit, 0u);
    CHECK_EQUAL(std::string(needed.advice), "");

    CHECK_SUCCESS(gptoss_model_estimate_memory(model.get(), gptoss_backend_cpu, 0, SIZE_MAX, &needed));
    CHECK_EQUAL(needed.context_length, 4096u); // the model's maximum
    CHECK_STATUS(gptoss_status_invalid_argument,
                 gptoss_model_estimate_memory(model.get(), gptoss_backend_cpu, 4097, 0, &needed));
    CHECK_STATUS(gptoss_status_invalid_argument,
                 gptoss_model_estimate_memory(model.get(), static_cast<gptoss_backend>(9), 100, 0, &needed));
    CHECK_STATUS(gptoss_status_invalid_argument,
                 gptoss_model_estimate_memory(nullptr, gptoss_backend_cpu, 100, 0, &needed));
    CHECK_STATUS(gptoss_status_invalid_argument,
                 gptoss_model_estimate_memory(model.get(), gptoss_backend_cpu, 100, 0, nullptr));
    CHECK_EQUAL(needed.context_length, 4096u); // failures leave it alone
}

TEST(a_backend_describes_its_device) {
    gptoss_device_info info = {};
    CHECK_SUCCESS(gptoss_get_device_info(gptoss_backend_cpu, &info));
    CHECK_EQUAL(info.backend, gptoss_backend_cpu);
    CHECK(std::strlen(info.name) > 2);
    CHECK(std::strlen(info.operating_system) > 2);
    CHECK(info.physical_bytes > (1u << 28));
    CHECK_EQUAL(info.recommended_bytes, 0u);
    CHECK_SUCCESS(gptoss_get_device_info(gptoss_backend_auto, &info));
    CHECK(info.backend != gptoss_backend_auto);
    CHECK_STATUS(gptoss_status_invalid_argument, gptoss_get_device_info(gptoss_backend_cpu, nullptr));
    CHECK_STATUS(gptoss_status_invalid_argument, gptoss_get_device_info(static_cast<gptoss_backend>(9), &info));
}

TEST(a_tokenizer_lives_on_after_its_model) {
    gptoss_tokenizer_t tokenizer = nullptr;
    {
        const Model model = load_small();
        CHECK_SUCCESS(gptoss_model_get_tokenizer(model.get(), &tokenizer));
    }
    const void* bytes = nullptr;
    size_t num_bytes = 0;
    CHECK_SUCCESS(gptoss_tokenizer_decode(tokenizer, 'x', &bytes, &num_bytes));
    CHECK_EQUAL(num_bytes, 1u);
    CHECK_EQUAL(*static_cast<const char*>(bytes), 'x');
    const char* regex = nullptr;
    CHECK_SUCCESS(gptoss_tokenizer_get_regex(tokenizer, &regex));
    CHECK_EQUAL(std::string(regex), ".");
    CHECK_SUCCESS(gptoss_tokenizer_retain(tokenizer));
    CHECK_SUCCESS(gptoss_tokenizer_release(tokenizer));
    uint32_t count = 0;
    CHECK_SUCCESS(gptoss_tokenizer_get_num_text_tokens(tokenizer, &count));
    CHECK_EQUAL(count, 256u);
    CHECK_SUCCESS(gptoss_tokenizer_get_num_special_tokens(tokenizer, &count));
    CHECK_EQUAL(count, 7u);
    CHECK_SUCCESS(gptoss_tokenizer_get_num_tokens(tokenizer, &count));
    CHECK_EQUAL(count, kVocabularySize);
    CHECK_SUCCESS(gptoss_tokenizer_release(tokenizer));
}

TEST(special_tokens_are_found_by_type_and_by_id) {
    const Model model = load_small();
    gptoss_tokenizer_t tokenizer = nullptr;
    CHECK_SUCCESS(gptoss_model_get_tokenizer(model.get(), &tokenizer));
    uint32_t id = 0;
    CHECK_SUCCESS(gptoss_tokenizer_get_special_token_id(tokenizer, gptoss_special_token_return, &id));
    CHECK_EQUAL(id, kReturn);
    gptoss_special_token type = gptoss_special_token_invalid;
    CHECK_SUCCESS(gptoss_tokenizer_get_special_token(tokenizer, kReturn, &type));
    CHECK_EQUAL(type, gptoss_special_token_return);
    CHECK_SUCCESS(gptoss_tokenizer_get_special_token(tokenizer, 260, &type));
    CHECK_EQUAL(type, gptoss_special_token_invalid);
    CHECK_STATUS(gptoss_status_unsupported_argument,
                 gptoss_tokenizer_get_special_token_id(tokenizer, gptoss_special_token_refusal, &id));
    CHECK_STATUS(gptoss_status_invalid_argument,
                 gptoss_tokenizer_get_special_token_id(tokenizer, gptoss_special_token_invalid, &id));
    CHECK_STATUS(gptoss_status_invalid_argument,
                 gptoss_tokenizer_get_special_token_id(tokenizer, gptoss_special_token_max, &id));
    CHECK_STATUS(gptoss_status_invalid_argument, gptoss_tokenizer_get_special_token(tokenizer, kVocabularySize, &type));
    const void* bytes = nullptr;
    size_t num_bytes = 0;
    CHECK_STATUS(gptoss_status_invalid_argument, gptoss_tokenizer_decode(tokenizer, kReturn, &bytes, &num_bytes));
    CHECK_SUCCESS(gptoss_tokenizer_release(tokenizer));
}

TEST(a_context_keeps_its_model_alive) {
    Model model = load_small();
    const Context context = create(model);
    model.reset();
    append(context, some_tokens(5));
    CHECK_EQUAL(sample(context, 3).size(), 3u);
}

TEST(references_are_counted) {
    const Model model = load_small();
    Context context = create(model);
    CHECK_SUCCESS(gptoss_context_retain(context.get()));
    const Context second(context.get());
    context.reset();
    append(second, {1, 2, 3});
    CHECK_EQUAL(num_tokens_of(second), 3u);
    CHECK_SUCCESS(gptoss_model_retain(model.get()));
    CHECK_SUCCESS(gptoss_model_release(model.get()));
}

TEST(failures_have_a_status_and_a_sentence_and_null_handles) {
    auto* model = reinterpret_cast<gptoss_model_t>(1);
    CHECK_STATUS(gptoss_status_file_not_found, gptoss_model_create_from_file("/no/such/model.bin", &model));
    CHECK(model == nullptr);
    CHECK(last_error_contains("/no/such/model.bin"));

    const builder::TemporaryFile wrong({std::byte{'h'}, std::byte{'i'}});
    CHECK_STATUS(gptoss_status_invalid_model_file, gptoss_model_create_from_file(wrong.path().c_str(), &model));
    CHECK(last_error_contains(wrong.path().c_str()));

    CHECK_STATUS(gptoss_status_invalid_argument, gptoss_model_create_from_file(nullptr, &model));
    CHECK(last_error_contains("'path'"));
    CHECK_STATUS(gptoss_status_invalid_argument, gptoss_model_create_from_file("x", nullptr));

    const builder::TemporaryFile file(
        builder::build_model_file(builder::small_config(), builder::byte_vocabulary(), 5));
    gptoss_model_options options = {};
    CHECK_STATUS(gptoss_status_invalid_argument, gptoss_model_create(file.path().c_str(), &options, &model));
    CHECK(last_error_contains("gptoss_model_options.size is 0"));
    options.size = sizeof(options);
    gptoss_device_info gpu = {};
    if (gptoss_get_device_info(gptoss_backend_metal, &gpu) != gptoss_status_success) { // there is none in this build
        options.backend = gptoss_backend_metal;
        CHECK_STATUS(gptoss_status_unsupported_system, gptoss_model_create(file.path().c_str(), &options, &model));
    }
    options.backend = static_cast<gptoss_backend>(3);
    CHECK(gptoss_model_create(file.path().c_str(), &options, &model) != gptoss_status_success);
    options.backend = gptoss_backend_cpu;
    options.num_threads = 1u << 30;
    CHECK(gptoss_model_create(file.path().c_str(), &options, &model) != gptoss_status_success);
    CHECK(model == nullptr);
}

TEST(a_model_computes_in_the_precision_that_was_asked_for) {
    const builder::TemporaryFile file(
        builder::build_model_file(builder::small_config(), builder::byte_vocabulary(), 5));
    gptoss_model_options options = {};
    options.size = sizeof(options);
    gptoss_model_t model = nullptr;
    for (const gptoss_precision asked : {gptoss_precision_exact, gptoss_precision_fast, gptoss_precision_default}) {
        options.precision = asked;
        CHECK_SUCCESS(gptoss_model_create(file.path().c_str(), &options, &model));
        gptoss_precision precision = static_cast<gptoss_precision>(-1);
        CHECK_SUCCESS(gptoss_model_get_precision(model, &precision));
        CHECK_EQUAL(precision, asked);
        CHECK_SUCCESS(gptoss_model_release(model));
        model = nullptr;
    }

    options.precision = static_cast<gptoss_precision>(3);
    CHECK_STATUS(gptoss_status_invalid_argument, gptoss_model_create(file.path().c_str(), &options, &model));
    CHECK(last_error_contains("Unknown precision 3"));
    CHECK(model == nullptr);
}

TEST(options_of_a_program_that_knows_no_precision_are_taken) {
    const builder::TemporaryFile file(
        builder::build_model_file(builder::small_config(), builder::byte_vocabulary(), 5));
    gptoss_model_options options = {};
    options.size = offsetof(gptoss_model_options, precision);
    options.precision = gptoss_precision_exact; // beyond the size, so nobody's
    gptoss_model_t model = nullptr;
    CHECK_SUCCESS(gptoss_model_create(file.path().c_str(), &options, &model));
    gptoss_precision precision = gptoss_precision_exact;
    CHECK_SUCCESS(gptoss_model_get_precision(model, &precision));
    CHECK_EQUAL(precision, gptoss_precision_default);
    CHECK_SUCCESS(gptoss_model_release(model));
}

TEST(logits_from_a_token_on_are_those_of_each_prefix) {
    const Model model = load_small();
    const std::vector<uint32_t> tokens = some_tokens(40);
    // In one piece, in several, of all tokens and of some; with nothing, some or everything cached before.
    for (const size_t max_batch_tokens : {size_t{512}, size_t{7}}) {
        for (const size_t first : {size_t{0}, size_t{6}, size_t{39}}) {
            for (const size_t num_cached : {size_t{0}, size_t{20}, size_t{40}}) {
                const Context context = create(model, 0, max_batch_tokens);
                append(context, {tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(num_cached)});
                if (num_cached != 0) {
                    CHECK_SUCCESS(gptoss_context_process(context.get()));
                }
                append(context, {tokens.begin() + static_cast<std::ptrdiff_t>(num_cached), tokens.end()});
                std::vector<float> rows((tokens.size() - first) * kVocabularySize);
                CHECK_SUCCESS(
                    gptoss_context_get_logits_from(context.get(), first, rows.data(), rows.size(), nullptr, nullptr));
                for (const size_t end : {first + 1, tokens.size()}) {
                    const auto row = rows.begin() + static_cast<std::ptrdiff_t>((end - 1 - first) * kVocabularySize);
                    const std::vector<float> expected =
                        logits_after(model, {tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(end)});
                    CHECK(std::equal(expected.begin(), expected.end(), row));
                }
                CHECK_EQUAL(num_cached_tokens_of(context), tokens.size());
                CHECK_EQUAL(largest_difference(logits_of(context), logits_after(model, tokens)), 0.0);
            }
        }
    }
}

TEST(logits_from_a_token_that_is_not_there_are_refused) {
    const Model model = load_small();
    const Context context = create(model);
    std::vector<float> rows(2 * kVocabularySize);
    const auto logits_from = [&](size_t first, size_t num_logits) {
        return gptoss_context_get_logits_from(context.get(), first, rows.data(), num_logits, nullptr, nullptr);
    };
    CHECK_STATUS(gptoss_status_invalid_argument, logits_from(0, 0));
    CHECK(last_error_contains("the context holds 0 tokens"));
    append(context, {1, 2});
    CHECK_STATUS(gptoss_status_invalid_argument, logits_from(2, rows.size()));
    CHECK_STATUS(gptoss_status_invalid_argument, logits_from(1, rows.size()));
    CHECK(last_error_contains("must be 1 tokens times the vocabulary size"));
    CHECK_STATUS(gptoss_status_invalid_argument, logits_from(0, rows.size() - 1));
    CHECK_SUCCESS(logits_from(0, rows.size()));
}

TEST(logits_from_a_token_on_that_were_stopped_can_be_asked_for_again) {
    const Model model = load_small();
    const Context context = create(model, 0, 4);
    const std::vector<uint32_t> tokens = some_tokens(12);
    append(context, tokens);
    std::vector<float> rows(tokens.size() * kVocabularySize);
    const auto stop_in_the_second_piece = [](void*, size_t num_processed, size_t) {
        return num_processed == 4 ? 1 : 0;
    };
    CHECK_STATUS(gptoss_status_aborted, gptoss_context_get_logits_from(context.get(), 0, rows.data(), rows.size(),
                                                                       stop_in_the_second_piece, nullptr));
    CHECK_SUCCESS(gptoss_context_get_logits_from(context.get(), 0, rows.data(), rows.size(), nullptr, nullptr));
    const std::vector<float> expected = logits_after(model, {tokens[0]});
    CHECK(std::equal(expected.begin(), expected.end(), rows.begin()));
    CHECK_EQUAL(largest_difference(logits_of(context), logits_after(model, tokens)), 0.0);
}

TEST(null_arguments_are_refused) {
    const Model model = load_small();
    const Context context = create(model);
    size_t size = 0;
    uint32_t token = 1;
    float logit = 0;
    constexpr gptoss_status kRefused = gptoss_status_invalid_argument;
    CHECK_STATUS(kRefused, gptoss_model_release(nullptr));
    CHECK_STATUS(kRefused, gptoss_model_retain(nullptr));
    CHECK_STATUS(kRefused, gptoss_model_get_config(model.get(), nullptr));
    CHECK_STATUS(kRefused, gptoss_model_get_tokenizer(model.get(), nullptr));
    CHECK_STATUS(kRefused, gptoss_model_get_max_context_length(nullptr, &size));
    CHECK_STATUS(kRefused, gptoss_context_create(nullptr, 0, 0, nullptr));
    CHECK_STATUS(kRefused, gptoss_context_create(model.get(), 0, 0, nullptr));
    CHECK_STATUS(kRefused, gptoss_context_copy(context.get(), nullptr));
    CHECK_STATUS(kRefused, gptoss_context_release(nullptr));
    CHECK_STATUS(kRefused, gptoss_context_abort(nullptr));
    CHECK_STATUS(kRefused, gptoss_context_append_tokens(context.get(), 1, nullptr));
    CHECK_STATUS(kRefused, gptoss_context_append_tokens(nullptr, 1, &token));
    CHECK_STATUS(kRefused, gptoss_context_get_num_tokens(context.get(), nullptr));
    CHECK_STATUS(kRefused, gptoss_context_process(nullptr));
    CHECK_STATUS(kRefused, gptoss_process_batch(1, nullptr, nullptr, nullptr));
    append(context, {1});
    CHECK_STATUS(kRefused, gptoss_context_get_logits(context.get(), nullptr, kVocabularySize));
    CHECK_STATUS(kRefused, gptoss_context_get_logits(context.get(), &logit, 1));
    CHECK_STATUS(kRefused, gptoss_context_sample(context.get(), 0.0f, 0, 1, nullptr, &size));
    CHECK_STATUS(kRefused, gptoss_context_sample(context.get(), 0.0f, 0, 1, &token, nullptr));
    CHECK_EQUAL(num_tokens_of(context), 1u);
    // Nothing of nothing is fine.
    CHECK_SUCCESS(gptoss_context_append_tokens(context.get(), 0, nullptr));
    CHECK_SUCCESS(gptoss_process_batch(0, nullptr, nullptr, nullptr));
}

TEST(the_last_error_belongs_to_its_thread) {
    gptoss_model_t model = nullptr;
    CHECK_STATUS(gptoss_status_file_not_found, gptoss_model_create_from_file("/no/such/model.bin", &model));
    std::thread([] { CHECK_EQUAL(std::string(gptoss_last_error()), ""); }).join();
    CHECK(last_error_contains("/no/such/model.bin"));
}

TEST(appended_tokens_are_held_and_counted) {
    const Model model = load_small();
    const Context context = create(model, 10);
    size_t max_tokens = 0;
    CHECK_SUCCESS(gptoss_context_get_max_tokens(context.get(), &max_tokens));
    CHECK_EQUAL(max_tokens, 10u);
    append(context, {5, 6, 7});
    uint32_t tokens[10] = {};
    size_t num_tokens = 0;
    CHECK_SUCCESS(gptoss_context_get_tokens(context.get(), tokens, 2, &num_tokens));
    CHECK_EQUAL(num_tokens, 3u);
    CHECK_EQUAL(tokens[0], 5u);
    CHECK_EQUAL(tokens[1], 6u);
    CHECK_EQUAL(tokens[2], 0u);

    const std::vector<uint32_t> too_many = some_tokens(8);
    CHECK_STATUS(gptoss_status_context_overflow,
                 gptoss_context_append_tokens(context.get(), too_many.size(), too_many.data()));
    const std::vector<uint32_t> unknown = {1, kVocabularySize};
    CHECK_STATUS(gptoss_status_invalid_argument,
                 gptoss_context_append_tokens(context.get(), unknown.size(), unknown.data()));
    CHECK_EQUAL(num_tokens_of(context), 3u); // all or none
}

TEST(contexts_longer_than_the_model_allows_are_refused) {
    const Model model = load_small();
    gptoss_context_t context = nullptr;
    CHECK_STATUS(gptoss_status_invalid_argument, gptoss_context_create(model.get(), 4097, 0, &context));
    CHECK(context == nullptr);
    CHECK_STATUS(gptoss_status_invalid_argument, gptoss_context_create(model.get(), SIZE_MAX, SIZE_MAX, &context));
    const Context longest = create(model, 4096, SIZE_MAX);
    append(longest, {1});
    CHECK_EQUAL(logits_of(longest).size(), kVocabularySize);
}

TEST(an_empty_context_has_no_logits) {
    const Model model = load_small();
    const Context context = create(model);
    std::vector<float> logits(kVocabularySize);
    uint32_t token = 0;
    size_t num_tokens = 0;
    CHECK_STATUS(gptoss_status_invalid_state, gptoss_context_process(context.get()));
    CHECK_STATUS(gptoss_status_invalid_state, gptoss_context_get_logits(context.get(), logits.data(), logits.size()));
    CHECK_STATUS(gptoss_status_invalid_state, gptoss_context_sample(context.get(), 0.0f, 0, 1, &token, &num_tokens));
}

TEST(pieces_of_any_size_give_the_same_logits) {
    const Model model = load_small();
    const std::vector<uint32_t> tokens = some_tokens(100); // far past the window of 8
    const std::vector<float> expected = logits_after(model, tokens);
    for (const size_t max_batch_tokens : {1, 3, 16, 99, 100}) {
        CHECK(largest_difference(logits_after(model, tokens, max_batch_tokens), expected) < 1e-4);
    }
}

TEST(the_number_of_threads_does_not_change_a_bit) {
    const std::vector<uint32_t> tokens = some_tokens(40);
    const std::vector<float> expected = logits_after(load_small(1), tokens);
    for (const uint32_t num_threads : {2u, 3u, 7u}) {
        CHECK(logits_after(load_small(num_threads), tokens) == expected);
    }
}

TEST(a_shared_prefix_is_reused_and_the_logits_stay_right) {
    const Model model = load_small();
    const Context context = create(model);
    const std::vector<uint32_t> first = some_tokens(60);
    append(context, first);
    CHECK_EQUAL(num_cached_tokens_of(context), 0u);
    logits_of(context);
    CHECK_EQUAL(num_cached_tokens_of(context), 60u);
    CHECK_EQUAL(sample(context, 1).size(), 1u);
    CHECK_EQUAL(num_cached_tokens_of(context), 60u); // a sampled token is not processed yet

    for (const size_t shared : {59, 55, 30, 10, 3, 0}) {
        std::vector<uint32_t> second = first;
        second.resize(shared);
        for (const uint32_t token : some_tokens(7, 9)) {
            second.push_back(token + 1 == kVocabularySize ? 0 : token + 1);
        }
        CHECK_SUCCESS(gptoss_context_reset(context.get()));
        CHECK_EQUAL(num_tokens_of(context), 0u);
        append(context, second);
        CHECK(num_cached_tokens_of(context) <= second.size());
        CHECK(largest_difference(logits_of(context), logits_after(model, second)) < 1e-4);
        CHECK_EQUAL(num_cached_tokens_of(context), second.size());
    }
}

TEST(truncation_goes_back_in_time) {
    const Model model = load_small();
    const Context context = create(model);
    const std::vector<uint32_t> tokens = some_tokens(50);
    append(context, tokens);
    logits_of(context);
    for (const size_t length : {50, 49, 20, 1}) {
        CHECK_SUCCESS(gptoss_context_truncate(context.get(), length));
        CHECK_EQUAL(num_tokens_of(context), length);
        const std::vector<float> expected = logits_after(model, {tokens.begin(), tokens.begin() + length});
        CHECK(largest_difference(logits_of(context), expected) < 1e-4);
    }
    CHECK_STATUS(gptoss_status_invalid_argument, gptoss_context_truncate(context.get(), 2));
    CHECK_SUCCESS(gptoss_context_truncate(context.get(), 0));
}

TEST(copies_are_independent) {
    const Model model = load_small();
    const Context original = create(model);
    append(original, some_tokens(30));
    logits_of(original);
    gptoss_context_t handle = nullptr;
    CHECK_SUCCESS(gptoss_context_copy(original.get(), &handle));
    const Context copy(handle);
    CHECK_EQUAL(num_cached_tokens_of(copy), 30u);
    append(copy, {1, 2, 3});
    append(original, {4});
    std::vector<uint32_t> expected = some_tokens(30);
    expected.push_back(4);
    CHECK(largest_difference(logits_of(original), logits_after(model, expected)) < 1e-4);
    expected.back() = 1;
    expected.insert(expected.end(), {2, 3});
    CHECK(largest_difference(logits_of(copy), logits_after(model, expected)) < 1e-4);
}

TEST(sampling_ends_at_stop_tokens_at_the_count_and_at_the_limit) {
    const Model model = load_small();
    uint32_t tokens[64];
    float log_probabilities[64];
    size_t num_tokens = 0;
    gptoss_finish_reason reason = gptoss_finish_reason_length;
    gptoss_sampling_options options;
    gptoss_sampling_options_init(&options);
    CHECK_EQUAL(options.size, sizeof(options));

    const Context context = create(model, 20);
    append(context, some_tokens(4));
    CHECK_SUCCESS(gptoss_context_sample_with_options(context.get(), &options, 6, tokens, log_probabilities, &num_tokens,
                                                     &reason));
    CHECK_EQUAL(num_tokens, 6u);
    CHECK_EQUAL(reason, gptoss_finish_reason_length);
    CHECK(std::all_of(log_probabilities, log_probabilities + 6, [](float value) { return value <= 0.0f; }));

    CHECK_SUCCESS(
        gptoss_context_sample_with_options(context.get(), &options, 64, tokens, nullptr, &num_tokens, &reason));
    CHECK_EQUAL(num_tokens, 10u);
    CHECK_EQUAL(reason, gptoss_finish_reason_context_length);
    CHECK_EQUAL(num_tokens_of(context), 20u);
    CHECK_STATUS(gptoss_status_context_overflow,
                 gptoss_context_sample_with_options(context.get(), &options, 1, tokens, nullptr, &num_tokens, &reason));

    // With every token a stop token the first one ends it, and is kept.
    std::vector<uint32_t> stop_tokens(kVocabularySize);
    std::iota(stop_tokens.begin(), stop_tokens.end(), 0u);
    options.num_stop_tokens = stop_tokens.size();
    options.stop_tokens = stop_tokens.data();
    CHECK_SUCCESS(gptoss_context_truncate(context.get(), 4));
    CHECK_SUCCESS(
        gptoss_context_sample_with_options(context.get(), &options, 64, tokens, nullptr, &num_tokens, &reason));
    CHECK_EQUAL(num_tokens, 1u);
    CHECK_EQUAL(reason, gptoss_finish_reason_stop);
    CHECK_EQUAL(num_tokens_of(context), 5u);
}

TEST(a_seed_gives_the_same_tokens_however_the_calls_are_cut) {
    const Model model = load_small();
    const Context together = create(model);
    const Context apart = create(model);
    append(together, some_tokens(4));
    append(apart, some_tokens(4));
    std::vector<uint32_t> pieces;
    for (const size_t count : {1, 4, 7}) {
        const std::vector<uint32_t> piece = sample(apart, count);
        pieces.insert(pieces.end(), piece.begin(), piece.end());
    }
    CHECK(sample(together, 12) == pieces);
}

TEST(options_of_another_size_are_refused) {
    const Model model = load_small();
    const Context context = create(model);
    append(context, {1});
    uint32_t token = 0;
    size_t num_tokens = 0;
    gptoss_sampling_options options;
    gptoss_sampling_options_init(&options);
    for (const size_t size : {size_t{0}, size_t{4}, sizeof(options) + 8}) {
        options.size = size;
        CHECK_STATUS(
            gptoss_status_invalid_argument,
            gptoss_context_sample_with_options(context.get(), &options, 1, &token, nullptr, &num_tokens, nullptr));
        CHECK(last_error_contains("gptoss_sampling_options.size"));
    }
}

TEST(a_progress_callback_sees_all_tokens_and_can_stop) {
    const Model model = load_small();
    const Context context = create(model, 0, 16);
    append(context, some_tokens(40));
    struct Calls {
        size_t num_calls = 0;
        size_t last_processed = 0;
        size_t stop_at = SIZE_MAX;
    } calls;
    const auto progress = [](void* user_data, size_t num_processed, size_t num_total) -> int {
        Calls& seen = *static_cast<Calls*>(user_data);
        CHECK_EQUAL(num_total, 40u);
        CHECK(num_processed >= seen.last_processed && num_processed <= num_total);
        seen.last_processed = num_processed;
        return ++seen.num_calls >= seen.stop_at;
    };
    calls.stop_at = 5; // in the second of three pieces
    CHECK_STATUS(gptoss_status_aborted, gptoss_context_process_with_progress(context.get(), progress, &calls));
    CHECK(num_cached_tokens_of(context) < 40);
    const size_t num_cached = num_cached_tokens_of(context);
    CHECK_EQUAL(num_cached, 16u); // the finished piece stays

    CHECK(largest_difference(logits_of(context), logits_after(model, some_tokens(40))) < 1e-4);
    CHECK_SUCCESS(gptoss_context_reset(context.get()));
    append(context, some_tokens(40, 2));
    calls = {};
    CHECK_SUCCESS(gptoss_context_process_with_progress(context.get(), progress, &calls));
    CHECK_EQUAL(calls.last_processed, 40u);
}

TEST(a_batch_of_contexts_gives_each_its_own_logits) {
    const Model model = load_small();
    const Context first = create(model);
    const Context second = create(model);
    const Context third = create(model);
    append(first, some_tokens(3));
    append(second, some_tokens(30, 2));
    append(third, some_tokens(1, 3));
    const gptoss_context_t batch[] = {first.get(), second.get(), third.get()};
    CHECK_SUCCESS(gptoss_process_batch(3, batch, nullptr, nullptr));
    CHECK_EQUAL(num_cached_tokens_of(second), 30u);
    CHECK(largest_difference(logits_of(first), logits_after(model, some_tokens(3))) < 1e-4);
    CHECK(largest_difference(logits_of(second), logits_after(model, some_tokens(30, 2))) < 1e-4);
    CHECK(largest_difference(logits_of(third), logits_after(model, some_tokens(1, 3))) < 1e-4);

    const gptoss_context_t twice[] = {first.get(), first.get()};
    CHECK_STATUS(gptoss_status_invalid_argument, gptoss_process_batch(2, twice, nullptr, nullptr));
    const Model other_model = load_small();
    const Context other = create(other_model);
    append(other, {1});
    const gptoss_context_t mixed[] = {first.get(), other.get()};
    CHECK_STATUS(gptoss_status_invalid_argument, gptoss_process_batch(2, mixed, nullptr, nullptr));
    CHECK_EQUAL(num_tokens_of(first), 3u); // and it is not locked
}

TEST(two_contexts_of_one_model_work_in_two_threads) {
    const Model model = load_small();
    std::vector<std::vector<uint32_t>> alone;
    for (uint32_t i = 0; i < 2; i++) {
        const Context context = create(model);
        append(context, some_tokens(20 + i, i));
        alone.push_back(sample(context, 15));
    }
    std::vector<std::thread> threads;
    for (uint32_t i = 0; i < 2; i++) {
        threads.emplace_back([&, i] {
            const Context context = create(model);
            append(context, some_tokens(20 + i, i));
            CHECK(sample(context, 15) == alone[i]);
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
}

namespace {

// A callback that stops in the middle of the work until the test lets it go on.
struct Gate {
    std::atomic<bool> reached = false;
    std::atomic<bool> open = false;

    static int wait(void* user_data, size_t, size_t) {
        Gate& gate = *static_cast<Gate*>(user_data);
        gate.reached = true;
        gate.reached.notify_all();
        gate.open.wait(false);
        return 0;
    }
};

} // namespace

TEST(abort_from_another_thread_stops_the_work_and_leaves_the_context_usable) {
    const Model model = load_small();
    const Context context = create(model);
    append(context, some_tokens(50));
    Gate gate;
    std::thread worker([&] {
        CHECK_STATUS(gptoss_status_aborted, gptoss_context_process_with_progress(context.get(), Gate::wait, &gate));
    });
    gate.reached.wait(false);
    CHECK_SUCCESS(gptoss_context_abort(context.get()));
    gate.open = true;
    gate.open.notify_all();
    worker.join();
    CHECK_EQUAL(num_tokens_of(context), 50u);
    CHECK(largest_difference(logits_of(context), logits_after(model, some_tokens(50))) < 1e-4);
}

TEST(a_context_in_use_refuses_a_second_call) {
    const Model model = load_small();
    const Context context = create(model);
    append(context, some_tokens(5));
    Gate gate;
    std::thread worker([&] { CHECK_SUCCESS(gptoss_context_process_with_progress(context.get(), Gate::wait, &gate)); });
    gate.reached.wait(false);
    size_t num_tokens = 0;
    CHECK_STATUS(gptoss_status_invalid_state, gptoss_context_get_num_tokens(context.get(), &num_tokens));
    CHECK_STATUS(gptoss_status_invalid_state, gptoss_context_reset(context.get()));
    gptoss_context_t copy = nullptr;
    CHECK_STATUS(gptoss_status_invalid_state, gptoss_context_copy(context.get(), &copy));
    gate.open = true;
    gate.open.notify_all();
    worker.join();
    CHECK_EQUAL(num_tokens_of(context), 5u);
}

TEST(an_abort_before_the_work_stops_the_next_one_once) {
    const Model model = load_small();
    const Context context = create(model);
    append(context, some_tokens(5));
    CHECK_SUCCESS(gptoss_context_abort(context.get()));
    CHECK_STATUS(gptoss_status_aborted, gptoss_context_process(context.get()));
    CHECK_SUCCESS(gptoss_context_process(context.get()));
    CHECK_SUCCESS(gptoss_context_abort(context.get()));
    append(context, {1}); // clears it
    CHECK_SUCCESS(gptoss_context_process(context.get()));
}

TEST(an_aborted_sampling_reports_the_tokens_before_it) {
    const Model model = load_small();
    const Context context = create(model);
    append(context, some_tokens(5));
    struct Counter {
        int num_ends = 0;
    } counter;
    gptoss_sampling_options options;
    gptoss_sampling_options_init(&options);
    options.user_data = &counter;
    options.progress = [](void* user_data, size_t num_processed, size_t num_total) -> int {
        Counter& ends = *static_cast<Counter*>(user_data);
        ends.num_ends += num_processed == num_total;
        return ends.num_ends == 3; // the prompt and two tokens were processed
    };
    uint32_t tokens[16];
    size_t num_tokens = 0;
    CHECK_STATUS(gptoss_status_aborted, gptoss_context_sample_with_options(context.get(), &options, 16, tokens, nullptr,
                                                                           &num_tokens, nullptr));
    CHECK(num_tokens >= 2 && num_tokens <= 4);
    CHECK_EQUAL(num_tokens_of(context), 5 + num_tokens);
    const Context straight = create(model);
    append(straight, some_tokens(5));
    std::vector<uint32_t> all(tokens, tokens + num_tokens);
    for (const uint32_t token : sample(context, 8, 1.0f, 0)) {
        all.push_back(token);
    }
    CHECK(sample(straight, all.size(), 1.0f, 0) == all);
}

TEST(memory_for_keys_and_values_follows_the_tokens_and_not_the_headers_promises) {
    gptoss_model_config config = builder::small_config();
    config.context_length = 1u << 30;
    config.attention_window = 1u << 30;
    const Model model = load(config);
    size_t num_bytes = 0;
    CHECK_SUCCESS(gptoss_model_get_kv_cache_size(model.get(), 100, &num_bytes));
    CHECK(num_bytes < (1u << 20));
    CHECK_EQUAL(logits_after(model, some_tokens(20)).size(), kVocabularySize);
}

TEST(models_of_odd_shapes_run) {
    for (const uint32_t num_heads : {1u, 3u, 16u}) {
        for (const uint32_t window : {1u, 5u, 1000u}) {
            gptoss_model_config config = builder::small_config();
            config.num_blocks = 3;
            config.num_experts = num_heads;
            config.num_active_experts = std::min(3u, num_heads);
            config.embedding_dim = 32 * num_heads;
            config.mlp_dim = 96;
            config.num_heads = num_heads;
            config.num_kv_heads = num_heads == 16 ? 2 : num_heads;
            config.attention_window = window;
            const Model model = load(config);
            const std::vector<uint32_t> tokens = some_tokens(37);
            const std::vector<float> logits = logits_after(model, tokens);
            CHECK(std::all_of(logits.begin(), logits.end(), [](float value) { return std::isfinite(value); }));
            CHECK(largest_difference(logits_after(model, tokens, 5), logits) < 1e-4);
        }
    }
}

TEST(damaged_weights_are_an_error_and_not_a_crash) {
    // All weights are NaN, or infinite: routing, softmax and sampling have nothing to compare.
    for (const uint16_t bits : {uint16_t{0x7FC0}, uint16_t{0x7F80}, uint16_t{0xFF80}}) {
        std::vector<std::byte> bytes =
            builder::build_model_file(builder::small_config(), builder::byte_vocabulary(), 5);
        for (size_t offset = builder::kHeaderSize; offset + 1 < bytes.size(); offset += 2) {
            builder::overwrite(bytes, offset, bits);
        }
        const builder::TemporaryFile file(bytes);
        gptoss_model_t handle = nullptr;
        CHECK_SUCCESS(gptoss_model_create_from_file(file.path().c_str(), &handle));
        const Model model(handle);
        const Context context = create(model);
        append(context, some_tokens(20));
        uint32_t token = 0;
        size_t num_tokens = 0;
        CHECK_STATUS(gptoss_status_internal_error,
                     gptoss_context_sample(context.get(), 1.0f, 0, 1, &token, &num_tokens));
        CHECK(last_error_contains("not finite"));
        CHECK_EQUAL(num_tokens_of(context), 20u);
    }
}
