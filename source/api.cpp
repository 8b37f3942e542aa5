// The C boundary: handles, argument checks, and exceptions turned into a status and a sentence.

#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <unordered_set>

#include "context.h"
#include "errors.h"
#include "gptoss.h"
#include "model.h"
#include "tokenizer.h"

struct gptoss_model {
    std::atomic<size_t> references = 1;
    std::shared_ptr<const gptoss::Model> model;
};

struct gptoss_tokenizer {
    std::atomic<size_t> references = 1;
    std::shared_ptr<const gptoss::Tokenizer> tokenizer;
};

struct gptoss_context {
    std::atomic<size_t> references = 1;
    std::mutex in_use;
    std::unique_ptr<gptoss::Context> context;
};

namespace {

using gptoss::Error;
using gptoss::fail;

// Runs the body of an API function. Nothing may leave it but a status.
template <class Body>
gptoss_status guarded(const Body& body) noexcept {
    try {
        body();
        return gptoss_status_success;
    } catch (const Error& error) {
        gptoss::set_last_error(error.what());
        return error.status();
    } catch (const std::bad_alloc&) {
        gptoss::set_last_error(
            "Not enough memory: use a shorter context or a smaller max_batch_tokens, or close other programs.");
        return gptoss_status_insufficient_memory;
    } catch (const std::length_error&) {
        gptoss::set_last_error("Not enough memory: a size exceeds what this machine can address.");
        return gptoss_status_insufficient_memory;
    } catch (const std::exception& error) {
        gptoss::set_last_error(error.what());
        return gptoss_status_internal_error;
    } catch (...) {
        gptoss::set_last_error("An unknown error happened inside the library.");
        return gptoss_status_internal_error;
    }
}

template <class Pointer>
void require(Pointer pointer, const char* name) {
    if (pointer == nullptr) {
        fail(gptoss_status_invalid_argument, "The argument '", name, "' must not be null.");
    }
}

template <class Handle>
gptoss_status retain(Handle* handle, const char* name) noexcept {
    return guarded([&] {
        require(handle, name);
        handle->references.fetch_add(1, std::memory_order_relaxed);
    });
}

template <class Handle>
gptoss_status release(Handle* handle, const char* name) noexcept {
    return guarded([&] {
        require(handle, name);
        if (handle->references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            const std::unique_ptr<Handle> last(handle);
        }
    });
}

// The context behind a handle, while no other thread uses it.
class ContextUse {
public:
    explicit ContextUse(gptoss_context_t handle) {
        require(handle, "context");
        lock_ = std::unique_lock<std::mutex>(handle->in_use, std::try_to_lock);
        if (!lock_.owns_lock()) {
            fail(gptoss_status_invalid_state,
                 "The context is in use by another thread: wait for its call to return, or give each thread a context "
                 "of its own.");
        }
        context_ = handle->context.get();
    }
    gptoss::Context* operator->() const { return context_; }
    gptoss::Context& operator*() const { return *context_; }

private:
    std::unique_lock<std::mutex> lock_;
    gptoss::Context* context_;
};

std::vector<uint32_t> encode(const gptoss::Tokenizer& tokenizer, const char* text, size_t text_length) {
    if (text_length != 0) {
        require(text, "text");
    }
    return tokenizer.encode({text, text_length});
}

// Copies what fits.
void copy_tokens(const std::vector<uint32_t>& tokens, uint32_t* tokens_out, size_t max_tokens) {
    const size_t num_copied = std::min(max_tokens, tokens.size());
    if (num_copied != 0) {
        require(tokens_out, "tokens_out");
        std::copy_n(tokens.begin(), num_copied, tokens_out);
    }
}

// The caller's options, which may be of an older version and so shorter, on top of the defaults.
template <class Options>
Options read_options(const Options* options, Options defaults, const char* name) {
    if (options == nullptr) {
        return defaults;
    }
    if (options->size < sizeof(options->size) || options->size > sizeof(Options)) {
        fail(gptoss_status_invalid_argument, name, ".size is ", options->size, ": set it to sizeof(struct ", name,
             "), which is ", sizeof(Options), " in this version of the library.");
    }
    std::memcpy(&defaults, options, options->size);
    return defaults;
}

gptoss_sampling_options default_sampling_options() {
    gptoss_sampling_options options = {};
    options.size = sizeof(options);
    options.temperature = 1.0f;
    options.top_p = 1.0f;
    options.repetition_penalty = 1.0f;
    return options;
}

} // namespace

extern "C" {

// ---- Library

const char* gptoss_version(void) {
    return GPTOSS_VERSION;
}

const char* gptoss_last_error(void) {
    return gptoss::last_error();
}

const char* gptoss_status_name(gptoss_status status) {
    switch (status) {
        case gptoss_status_success:
            return "success";
        case gptoss_status_invalid_argument:
            return "invalid_argument";
        case gptoss_status_unsupported_argument:
            return "unsupported_argument";
        case gptoss_status_invalid_state:
            return "invalid_state";
        case gptoss_status_io_error:
            return "io_error";
        case gptoss_status_insufficient_memory:
            return "insufficient_memory";
        case gptoss_status_insufficient_resources:
            return "insufficient_resources";
        case gptoss_status_unsupported_system:
            return "unsupported_system";
        case gptoss_status_context_overflow:
            return "context_overflow";
        case gptoss_status_file_not_found:
            return "file_not_found";
        case gptoss_status_invalid_model_file:
            return "invalid_model_file";
        case gptoss_status_aborted:
            return "aborted";
        case gptoss_status_internal_error:
            return "internal_error";
    }
    return "unknown";
}

// ---- Model

gptoss_status gptoss_model_create_from_file(const char* path, gptoss_model_t* model_out) {
    return gptoss_model_create(path, nullptr, model_out);
}

gptoss_status gptoss_model_create(const char* path, const gptoss_model_options* options, gptoss_model_t* model_out) {
    if (model_out != nullptr) {
        *model_out = nullptr;
    }
    return guarded([&] {
        require(path, "path");
        require(model_out, "model_out");
        const gptoss_model_options chosen = read_options(options, {}, "gptoss_model_options");
        auto handle = std::make_unique<gptoss_model>();
        handle->model = std::make_shared<const gptoss::Model>(path, chosen.backend, chosen.num_threads);
        *model_out = handle.release();
    });
}

gptoss_status gptoss_model_get_tokenizer(gptoss_model_t model, gptoss_tokenizer_t* tokenizer_out) {
    if (tokenizer_out != nullptr) {
        *tokenizer_out = nullptr;
    }
    return guarded([&] {
        require(model, "model");
        require(tokenizer_out, "tokenizer_out");
        auto handle = std::make_unique<gptoss_tokenizer>();
        handle->tokenizer = model->model->tokenizer();
        *tokenizer_out = handle.release();
    });
}

gptoss_status gptoss_model_get_max_context_length(gptoss_model_t model, size_t* max_context_length_out) {
    return guarded([&] {
        require(model, "model");
        require(max_context_length_out, "max_context_length_out");
        *max_context_length_out = model->model->config().context_length;
    });
}

gptoss_status gptoss_model_retain(gptoss_model_t model) {
    return retain(model, "model");
}

gptoss_status gptoss_model_release(gptoss_model_t model) {
    return release(model, "model");
}

gptoss_status gptoss_model_get_config(gptoss_model_t model, gptoss_model_config* config_out) {
    return guarded([&] {
        require(model, "model");
        require(config_out, "config_out");
        *config_out = model->model->config();
    });
}

gptoss_status gptoss_model_get_backend(gptoss_model_t model, gptoss_backend* backend_out) {
    return guarded([&] {
        require(model, "model");
        require(backend_out, "backend_out");
        *backend_out = model->model->backend().kind();
    });
}

gptoss_status gptoss_model_get_num_threads(gptoss_model_t model, uint32_t* num_threads_out) {
    return guarded([&] {
        require(model, "model");
        require(num_threads_out, "num_threads_out");
        *num_threads_out = model->model->backend().num_threads();
    });
}

gptoss_status gptoss_model_get_memory_use(gptoss_model_t model, gptoss_memory_use* memory_out) {
    return guarded([&] {
        require(model, "model");
        require(memory_out, "memory_out");
        *memory_out = model->model->memory_use();
    });
}

gptoss_status gptoss_model_get_kv_cache_size(gptoss_model_t model, size_t num_tokens, size_t* num_bytes_out) {
    return guarded([&] {
        require(model, "model");
        require(num_bytes_out, "num_bytes_out");
        const size_t limit = model->model->config().context_length;
        if (num_tokens > limit) {
            fail(gptoss_status_invalid_argument, "A context of ", num_tokens, " tokens is longer than the model's ",
                 limit, ".");
        }
        *num_bytes_out = model->model->backend().kv_storage_bytes(num_tokens, gptoss::Context::kDefaultMaxBatchTokens);
    });
}

gptoss_status gptoss_model_get_num_tensors(gptoss_model_t model, size_t* num_tensors_out) {
    return guarded([&] {
        require(model, "model");
        require(num_tensors_out, "num_tensors_out");
        *num_tensors_out = model->model->file().num_tensors();
    });
}

gptoss_status gptoss_model_get_tensor(gptoss_model_t model, size_t index, gptoss_tensor* tensor_out) {
    return guarded([&] {
        require(model, "model");
        require(tensor_out, "tensor_out");
        const gptoss::ModelFile& file = model->model->file();
        if (index >= file.num_tensors()) {
            fail(gptoss_status_invalid_argument, "There is no tensor ", index, ": the model has ", file.num_tensors(),
                 ".");
        }
        *tensor_out = file.tensor(index);
    });
}

// ---- Tokenizer

gptoss_status gptoss_tokenizer_get_special_token_id(gptoss_tokenizer_t tokenizer,
                                                    gptoss_special_token token_type,
                                                    uint32_t* token_id_out) {
    return guarded([&] {
        require(tokenizer, "tokenizer");
        require(token_id_out, "token_id_out");
        if (token_type <= gptoss_special_token_invalid || token_type >= gptoss_special_token_max) {
            fail(gptoss_status_invalid_argument, "Unknown special token type ", static_cast<int>(token_type), ".");
        }
        const std::optional<uint32_t> id = tokenizer->tokenizer->special_token_id(token_type);
        if (!id.has_value()) {
            fail(gptoss_status_unsupported_argument, "The model's vocabulary does not name special token type ",
                 static_cast<int>(token_type), ".");
        }
        *token_id_out = *id;
    });
}

gptoss_status gptoss_tokenizer_get_num_text_tokens(gptoss_tokenizer_t tokenizer, uint32_t* num_text_tokens_out) {
    return guarded([&] {
        require(tokenizer, "tokenizer");
        require(num_text_tokens_out, "num_text_tokens_out");
        *num_text_tokens_out = tokenizer->tokenizer->num_text_tokens();
    });
}

gptoss_status gptoss_tokenizer_get_num_special_tokens(gptoss_tokenizer_t tokenizer, uint32_t* num_special_tokens_out) {
    return guarded([&] {
        require(tokenizer, "tokenizer");
        require(num_special_tokens_out, "num_special_tokens_out");
        *num_special_tokens_out = tokenizer->tokenizer->num_special_tokens();
    });
}

gptoss_status gptoss_tokenizer_get_num_tokens(gptoss_tokenizer_t tokenizer, uint32_t* num_tokens_out) {
    return guarded([&] {
        require(tokenizer, "tokenizer");
        require(num_tokens_out, "num_tokens_out");
        *num_tokens_out = tokenizer->tokenizer->num_tokens();
    });
}

gptoss_status gptoss_tokenizer_decode(gptoss_tokenizer_t tokenizer,
                                      uint32_t token_id,
                                      const void** token_ptr_out,
                                      size_t* token_size_out) {
    return guarded([&] {
        require(tokenizer, "tokenizer");
        require(token_ptr_out, "token_ptr_out");
        require(token_size_out, "token_size_out");
        if (token_id >= tokenizer->tokenizer->num_text_tokens()) {
            fail(gptoss_status_invalid_argument, "Token ", token_id, " is not a text token: those are 0 to ",
                 tokenizer->tokenizer->num_text_tokens(), " (exclusive).");
        }
        const std::span<const std::byte> bytes = tokenizer->tokenizer->token_bytes(token_id);
        *token_ptr_out = bytes.data();
        *token_size_out = bytes.size();
    });
}

gptoss_status gptoss_tokenizer_retain(gptoss_tokenizer_t tokenizer) {
    return retain(tokenizer, "tokenizer");
}

gptoss_status gptoss_tokenizer_release(gptoss_tokenizer_t tokenizer) {
    return release(tokenizer, "tokenizer");
}

gptoss_status gptoss_tokenizer_get_regex(gptoss_tokenizer_t tokenizer, const char** regex_out) {
    return guarded([&] {
        require(tokenizer, "tokenizer");
        require(regex_out, "regex_out");
        *regex_out = tokenizer->tokenizer->regex().c_str();
    });
}

gptoss_status gptoss_tokenizer_get_special_token(gptoss_tokenizer_t tokenizer,
                                                 uint32_t token_id,
                                                 gptoss_special_token* token_type_out) {
    return guarded([&] {
        require(tokenizer, "tokenizer");
        require(token_type_out, "token_type_out");
        if (token_id >= tokenizer->tokenizer->num_tokens()) {
            fail(gptoss_status_invalid_argument, "Token ", token_id, " is outside the vocabulary of ",
                 tokenizer->tokenizer->num_tokens(), " tokens.");
        }
        *token_type_out = tokenizer->tokenizer->special_token(token_id);
    });
}

gptoss_status gptoss_tokenizer_encode(gptoss_tokenizer_t tokenizer,
                                      const char* text,
                                      size_t text_length,
                                      uint32_t* tokens_out,
                                      size_t max_tokens,
                                      size_t* num_tokens_out) {
    return guarded([&] {
        require(tokenizer, "tokenizer");
        require(num_tokens_out, "num_tokens_out");
        const std::vector<uint32_t> tokens = encode(*tokenizer->tokenizer, text, text_length);
        copy_tokens(tokens, tokens_out, max_tokens);
        *num_tokens_out = tokens.size();
    });
}

// ---- Context: tokens

gptoss_status gptoss_context_create(gptoss_model_t model,
                                    size_t context_length,
                                    size_t max_batch_tokens,
                                    gptoss_context_t* context_out) {
    if (context_out != nullptr) {
        *context_out = nullptr;
    }
    return guarded([&] {
        require(model, "model");
        require(context_out, "context_out");
        auto handle = std::make_unique<gptoss_context>();
        handle->context = std::make_unique<gptoss::Context>(model->model, context_length, max_batch_tokens);
        *context_out = handle.release();
    });
}

gptoss_status gptoss_context_copy(gptoss_context_t context, gptoss_context_t* context_out) {
    if (context_out != nullptr) {
        *context_out = nullptr;
    }
    return guarded([&] {
        require(context_out, "context_out");
        const ContextUse use(context);
        auto handle = std::make_unique<gptoss_context>();
        handle->context = use->copy();
        *context_out = handle.release();
    });
}

gptoss_status gptoss_context_retain(gptoss_context_t context) {
    return retain(context, "context");
}

gptoss_status gptoss_context_release(gptoss_context_t context) {
    return release(context, "context");
}

gptoss_status gptoss_context_get_num_tokens(gptoss_context_t context, size_t* num_tokens_out) {
    return guarded([&] {
        require(num_tokens_out, "num_tokens_out");
        *num_tokens_out = ContextUse(context)->tokens().size();
    });
}

gptoss_status gptoss_context_get_max_tokens(gptoss_context_t context, size_t* max_tokens_out) {
    return guarded([&] {
        require(max_tokens_out, "max_tokens_out");
        *max_tokens_out = ContextUse(context)->max_tokens();
    });
}

gptoss_status gptoss_context_get_tokens(gptoss_context_t context,
                                        uint32_t* tokens_out,
                                        size_t max_tokens,
                                        size_t* num_tokens_out) {
    return guarded([&] {
        require(num_tokens_out, "num_tokens_out");
        const ContextUse use(context);
        copy_tokens(use->tokens(), tokens_out, max_tokens);
        *num_tokens_out = use->tokens().size();
    });
}

gptoss_status gptoss_context_get_num_cached_tokens(gptoss_context_t context, size_t* num_cached_tokens_out) {
    return guarded([&] {
        require(num_cached_tokens_out, "num_cached_tokens_out");
        *num_cached_tokens_out = ContextUse(context)->num_cached_tokens();
    });
}

gptoss_status gptoss_context_append_tokens(gptoss_context_t context, size_t num_tokens, const uint32_t* tokens) {
    return guarded([&] {
        const ContextUse use(context);
        if (num_tokens != 0) {
            require(tokens, "tokens");
        }
        use->append({tokens, num_tokens});
    });
}

gptoss_status gptoss_context_append_chars(gptoss_context_t context,
                                          const char* text,
                                          size_t text_length,
                                          size_t* num_tokens_out) {
    return guarded([&] {
        const ContextUse use(context);
        const std::vector<uint32_t> tokens = encode(*use->model().tokenizer(), text, text_length);
        use->append(tokens);
        if (num_tokens_out != nullptr) {
            *num_tokens_out = tokens.size();
        }
    });
}

gptoss_status gptoss_context_truncate(gptoss_context_t context, size_t num_tokens) {
    return guarded([&] { ContextUse(context)->truncate(num_tokens); });
}

gptoss_status gptoss_context_reset(gptoss_context_t context) {
    return guarded([&] { ContextUse(context)->reset(); });
}

// ---- Context: work

gptoss_status gptoss_context_process(gptoss_context_t context) {
    return gptoss_context_process_with_progress(context, nullptr, nullptr);
}

gptoss_status gptoss_context_process_with_progress(gptoss_context_t context,
                                                   gptoss_progress_callback progress,
                                                   void* user_data) {
    return gptoss_process_batch(1, &context, progress, user_data);
}

gptoss_status gptoss_process_batch(size_t num_contexts,
                                   const gptoss_context_t* contexts,
                                   gptoss_progress_callback progress,
                                   void* user_data) {
    return guarded([&] {
        if (num_contexts == 0) {
            return;
        }
        require(contexts, "contexts");
        std::vector<ContextUse> uses;
        std::vector<gptoss::Context*> batch;
        std::unordered_set<gptoss_context_t> seen;
        for (size_t i = 0; i < num_contexts; i++) {
            if (!seen.insert(contexts[i]).second) {
                fail(gptoss_status_invalid_argument, "Context ", i,
                     " of the batch is there already: each may appear "
                     "once.");
            }
            uses.emplace_back(contexts[i]);
            batch.push_back(&*uses.back());
            if (&batch.back()->model() != &batch.front()->model()) {
                fail(gptoss_status_invalid_argument, "Context ", i,
                     " of the batch belongs to another model than the first: process the models' contexts separately.");
            }
        }
        gptoss::Context::process(batch, {progress, user_data});
    });
}

gptoss_status gptoss_context_abort(gptoss_context_t context) {
    if (context == nullptr) {
        return gptoss_status_invalid_argument;
    }
    context->context->abort();
    return gptoss_status_success;
}

gptoss_status gptoss_context_get_logits(gptoss_context_t context, float* logits_out, size_t num_logits) {
    return guarded([&] {
        const ContextUse use(context);
        require(logits_out, "logits_out");
        if (num_logits != use->model().config().vocabulary_size) {
            fail(gptoss_status_invalid_argument, "num_logits must be the vocabulary size, ",
                 use->model().config().vocabulary_size, ", found ", num_logits, ".");
        }
        const std::span<const float> logits = use->logits({});
        std::copy(logits.begin(), logits.end(), logits_out);
    });
}

void gptoss_sampling_options_init(gptoss_sampling_options* options) {
    if (options != nullptr) {
        *options = default_sampling_options();
    }
}

gptoss_status gptoss_context_sample(gptoss_context_t context,
                                    float temperature,
                                    uint64_t seed,
                                    size_t max_tokens,
                                    uint32_t* tokens_out,
                                    size_t* num_tokens_out) {
    gptoss_sampling_options options = default_sampling_options();
    options.temperature = temperature;
    options.seed = seed;
    return gptoss_context_sample_with_options(context, &options, max_tokens, tokens_out, nullptr, num_tokens_out,
                                              nullptr);
}

gptoss_status gptoss_context_sample_with_options(gptoss_context_t context,
                                                 const gptoss_sampling_options* options,
                                                 size_t max_tokens,
                                                 uint32_t* tokens_out,
                                                 float* log_probabilities_out,
                                                 size_t* num_tokens_out,
                                                 gptoss_finish_reason* finish_reason_out) {
    return guarded([&] {
        require(num_tokens_out, "num_tokens_out");
        if (max_tokens != 0) {
            require(tokens_out, "tokens_out");
        }
        const ContextUse use(context);
        const gptoss_sampling_options chosen =
            read_options(options, default_sampling_options(), "gptoss_sampling_options");
        const gptoss_finish_reason reason =
            use->sample(chosen, max_tokens, tokens_out, log_probabilities_out, *num_tokens_out);
        if (finish_reason_out != nullptr) {
            *finish_reason_out = reason;
        }
    });
}

} // extern "C"
