// The C boundary: contexts.

#include <unordered_set>

#include "api_boundary.h"

using namespace gptoss::api;
using gptoss::fail;

namespace {

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

gptoss_status gptoss_context_get_logits_from(gptoss_context_t context,
                                             size_t first_token,
                                             float* logits_out,
                                             size_t num_logits,
                                             gptoss_progress_callback progress,
                                             void* user_data) {
    return guarded([&] {
        const ContextUse use(context);
        require(logits_out, "logits_out");
        const size_t num_tokens = use->tokens().size();
        if (first_token >= num_tokens) {
            fail(gptoss_status_invalid_argument, "There are no logits from token ", first_token,
                 " on: the context holds ", num_tokens, " tokens.");
        }
        const size_t vocabulary_size = use->model().config().vocabulary_size;
        const size_t num_rows = num_tokens - first_token;
        if (num_logits / vocabulary_size != num_rows || num_logits % vocabulary_size != 0) {
            fail(gptoss_status_invalid_argument, "num_logits must be ", num_rows, " tokens times the vocabulary size, ",
                 vocabulary_size, ", found ", num_logits, ".");
        }
        use->logits_from(first_token, {logits_out, num_logits}, {progress, user_data});
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
