#include "context.h"

#include <algorithm>

#include "errors.h"

namespace gptoss {

Context::Context(std::shared_ptr<const Model> model, size_t context_length, size_t max_batch_tokens)
    : model_(std::move(model)),
      max_tokens_(context_length),
      max_batch_tokens_(max_batch_tokens == 0 ? kDefaultMaxBatchTokens : max_batch_tokens) {
    model_->check_context_length(context_length);
    const Backend& backend = model_->backend();
    if (max_tokens_ == 0) {
        max_tokens_ = backend.longest_context(max_batch_tokens_);
    }
    if (max_tokens_ == 0) {
        backend.check_context_fits(1, max_batch_tokens_); // says why none does
        max_tokens_ = 1;
    }
    max_batch_tokens_ = std::min(max_batch_tokens_, max_tokens_);
    backend.check_context_fits(max_tokens_, max_batch_tokens_);
    cache_ = std::make_unique<KvCache>(backend.create_kv_storage(max_tokens_, max_batch_tokens_),
                                       model_->config().attention_window, max_tokens_);
}

Context::Context(std::shared_ptr<const Model> model,
                 std::unique_ptr<KvCache> cache,
                 size_t max_tokens,
                 size_t max_batch_tokens)
    : model_(std::move(model)),
      max_tokens_(max_tokens),
      max_batch_tokens_(max_batch_tokens),
      cache_(std::move(cache)) {}

std::unique_ptr<Context> Context::copy() {
    end_stream();
    std::unique_ptr<Context> result(new Context(model_, cache_->clone(), max_tokens_, max_batch_tokens_));
    result->tokens_ = tokens_;
    result->cached_tokens_ = cached_tokens_;
    result->num_shared_ = num_shared_;
    result->logits_ = logits_;
    result->logits_num_tokens_ = logits_num_tokens_;
    result->generated_ = generated_;
    return result;
}

size_t Context::num_cached_tokens() const {
    if (logits_are_current()) {
        return tokens_.size();
    }
    // The logits of the last token have to be computed again even if its keys and values are there.
    const size_t reusable = !tokens_.empty() && num_shared_ == tokens_.size() ? num_shared_ - 1 : num_shared_;
    return cache_->resume_position(reusable);
}

void Context::push_token(uint32_t token) {
    if (num_shared_ == tokens_.size() && num_shared_ < cached_tokens_.size() && cached_tokens_[num_shared_] == token) {
        num_shared_++;
    }
    tokens_.push_back(token);
}

void Context::append(std::span<const uint32_t> tokens) {
    const uint32_t vocabulary_size = model_->config().vocabulary_size;
    for (const uint32_t token : tokens) {
        if (token >= vocabulary_size) {
            fail(gptoss_status_invalid_argument, "The token ", token, " is outside the model's vocabulary of ",
                 vocabulary_size, " tokens.");
        }
    }
    if (tokens.size() > max_tokens_ - tokens_.size()) {
        fail(gptoss_status_context_overflow, "Appending ", tokens.size(), " tokens to the ", tokens_.size(),
             " in the context makes ", tokens_.size() + tokens.size(), ", and its limit is ", max_tokens_,
             ": shorten the input, or create the context with a larger context_length (the model's maximum is ",
             model_->config().context_length, ").");
    }
    end_stream();
    tokens_.reserve(tokens_.size() + tokens.size());
    for (const uint32_t token : tokens) {
        push_token(token);
    }
    if (!tokens.empty()) {
        generated_.clear();
    }
    aborted_ = false;
}

void Context::truncate(size_t num_tokens) {
    if (num_tokens > tokens_.size()) {
        fail(gptoss_status_invalid_argument, "The context holds ", tokens_.size(), " tokens and cannot keep the first ",
             num_tokens, ": truncate to ", tokens_.size(), " or fewer.");
    }
    end_stream();
    if (num_tokens < tokens_.size()) {
        tokens_.resize(num_tokens);
        num_shared_ = std::min(num_shared_, num_tokens);
        if (logits_num_tokens_ > num_tokens) {
            logits_num_tokens_ = 0;
        }
        generated_.clear();
    }
    aborted_ = false;
}

void Context::reset() {
    truncate(0);
}

size_t Context::rewind_to_shared_prefix(size_t limit) {
    const size_t start = cache_->resume_position(std::min(num_cached_tokens(), limit));
    cache_->rewind(start);
    cached_tokens_.resize(start);
    num_shared_ = start;
    return start;
}

void Context::process(std::span<Context* const> contexts, const Progress& progress) {
    process(contexts, progress, nullptr);
}

void Context::process(std::span<Context* const> contexts, const Progress& progress, const LogitRows* rows) {
    const Model& model = *contexts.front()->model_;
    std::vector<Context*> pending;
    size_t num_total = 0;
    size_t max_batch_tokens = SIZE_MAX;
    for (Context* const context : contexts) {
        if (context->tokens_.empty()) {
            fail(gptoss_status_invalid_state,
                 "The context is empty: append at least one token before it is processed.");
        }
        context->end_stream();
        if (rows != nullptr || !context->logits_are_current()) {
            num_total +=
                context->tokens_.size() - context->rewind_to_shared_prefix(rows == nullptr ? SIZE_MAX : rows->first);
            max_batch_tokens = std::min(max_batch_tokens, context->max_batch_tokens_);
            pending.push_back(context);
        }
    }

    size_t num_processed = 0;
    const auto checkpoint = [&] {
        for (Context* const context : contexts) {
            if (context->aborted_.exchange(false)) {
                fail(gptoss_status_aborted, "Processing was aborted after ", num_processed, " of ", num_total,
                     " tokens; the context is intact.");
            }
        }
        if (progress.callback != nullptr && progress.callback(progress.user_data, num_processed, num_total) != 0) {
            fail(gptoss_status_aborted, "Processing was stopped by its progress callback after ", num_processed, " of ",
                 num_total, " tokens; the context is intact.");
        }
    };

    const auto first_with_logits = [&](const Context& context) {
        return rows != nullptr ? rows->first : context.tokens_.size() - 1;
    };
    size_t next = 0; // of `pending`: the first context that has tokens left
    while (next < pending.size()) {
        Batch batch;
        std::vector<Context*> owners; // [spans]
        for (size_t i = next; i < pending.size() && batch.tokens.size() < max_batch_tokens; i++) {
            Context& context = *pending[i];
            const size_t first = context.cache_->num_tokens();
            const size_t count = std::min(context.tokens_.size() - first, max_batch_tokens - batch.tokens.size());
            context.cache_->prepare(count);
            batch.spans.push_back({&context.cache_->storage(), first, count});
            batch.tokens.insert(batch.tokens.end(), context.tokens_.begin() + static_cast<std::ptrdiff_t>(first),
                                context.tokens_.begin() + static_cast<std::ptrdiff_t>(first + count));
            const size_t end = first + count;
            for (size_t position = std::max(first, first_with_logits(context)); position < end; position++) {
                batch.logit_rows.push_back(static_cast<uint32_t>(batch.tokens.size() - (end - position)));
            }
            owners.push_back(&context);
        }

        model.run(batch, checkpoint, [&](const Backend& backend) {
            size_t logit_row = 0;
            for (size_t i = 0; i < owners.size(); i++) {
                Context& context = *owners[i];
                const Span& span = batch.spans[i];
                const size_t end = span.first_position + span.num_tokens;
                context.cached_tokens_.insert(
                    context.cached_tokens_.end(),
                    context.tokens_.begin() + static_cast<std::ptrdiff_t>(span.first_position),
                    context.tokens_.begin() + static_cast<std::ptrdiff_t>(end));
                context.cache_->commit(span.num_tokens);
                context.num_shared_ = end;
                std::span<const float> logits;
                for (size_t position = std::max(span.first_position, first_with_logits(context)); position < end;
                     position++) {
                    logits = backend.logits(logit_row++);
                    if (rows != nullptr) {
                        std::ranges::copy(logits,
                                          rows->output.subspan((position - rows->first) * logits.size()).begin());
                    }
                }
                if (end == context.tokens_.size()) {
                    context.logits_.assign(logits.begin(), logits.end());
                    context.logits_num_tokens_ = end;
                    next++;
                    // Where a prompt ends is where the next turn of a conversation is likely to return to.
                    if (context.generated_.empty()) {
                        context.cache_->take_snapshot();
                    }
                }
            }
        });
        num_processed += batch.tokens.size();
    }
    if (num_total != 0 && progress.callback != nullptr) {
        progress.callback(progress.user_data, num_processed, num_total); // the end: too late to stop
    }
}

std::span<const float> Context::logits(const Progress& progress) {
    Context* const self = this;
    process({&self, 1}, progress);
    return logits_;
}

void Context::logits_from(size_t first, std::span<float> output, const Progress& progress) {
    Context* const self = this;
    const LogitRows rows = {first, output};
    end_stream();
    logits_num_tokens_ = 0; // or what is cached would count as done
    process({&self, 1}, progress, &rows);
}

void Context::add_sampled(const SampledToken& sampled,
                          uint32_t* tokens_out,
                          float* log_probabilities_out,
                          size_t& num_out) {
    generated_[sampled.token]++;
    push_token(sampled.token);
    tokens_out[num_out] = sampled.token;
    if (log_probabilities_out != nullptr) {
        log_probabilities_out[num_out] = sampled.log_probability;
    }
    num_out++;
}

gptoss_finish_reason Context::sample(const gptoss_sampling_options& options,
                                     size_t max_tokens,
                                     uint32_t* tokens_out,
                                     float* log_probabilities_out,
                                     size_t& num_tokens_out) {
    num_tokens_out = 0;
    Sampler sampler(options, model_->config().vocabulary_size);
    if (max_tokens == 0) {
        return gptoss_finish_reason_length;
    }
    if (tokens_.size() == max_tokens_) {
        fail(gptoss_status_context_overflow, "The context is full: it holds ", tokens_.size(),
             " tokens, and that is its limit. Truncate it, or create it with a larger context_length (the model's "
             "maximum is ",
             model_->config().context_length, ").");
    }
    tokens_.reserve(tokens_.size() + std::min(max_tokens, max_tokens_ - tokens_.size()));
    if (ensure_stream(options)) {
        return sample_from_stream(options, sampler, max_tokens, tokens_out, log_probabilities_out, num_tokens_out);
    }
    while (tokens_.size() < max_tokens_) {
        const std::span<const float> current = logits({options.progress, options.user_data});
        const SampledToken sampled = sampler.sample(current, {tokens_, generated_}, tokens_.size());

        add_sampled(sampled, tokens_out, log_probabilities_out, num_tokens_out);
        if (sampler.is_stop_token(sampled.token)) {
            return gptoss_finish_reason_stop;
        }
        if (num_tokens_out == max_tokens) {
            return gptoss_finish_reason_length;
        }
    }
    return gptoss_finish_reason_context_length;
}

bool Context::ensure_stream(const gptoss_sampling_options& options) {
    if (stream_ != nullptr && stream_->has_options(options)) {
        return true;
    }
    if (!backend_samples_) {
        return false;
    }
    const Progress progress = {options.progress, options.user_data};
    logits(progress);
    // Logits outlive what they were computed from: a batch that failed later may have overwritten a ring, and one that
    // was stopped may have gone on beyond these tokens.
    if (num_shared_ < tokens_.size() || cache_->resume_position(tokens_.size()) < tokens_.size()) {
        logits_num_tokens_ = 0;
        logits(progress);
    }
    rewind_to_shared_prefix();
    stream_ = ContextStream::start(*model_, *cache_,
                                   {&cache_->storage(), tokens_.size(), logits_, options, {tokens_, generated_}});
    backend_samples_ = stream_ != nullptr;
    return backend_samples_;
}

gptoss_finish_reason Context::sample_from_stream(const gptoss_sampling_options& options,
                                                 const Sampler& sampler,
                                                 size_t max_tokens,
                                                 uint32_t* tokens_out,
                                                 float* log_probabilities_out,
                                                 size_t& num_tokens_out) {
    const size_t num_expected = max_tokens + std::min(options.num_tokens_ahead, SIZE_MAX - max_tokens);
    try {
        while (tokens_.size() < max_tokens_) {
            if (aborted_.exchange(false)) {
                fail(gptoss_status_aborted, "Sampling was aborted after ", num_tokens_out, " of at most ", max_tokens,
                     " tokens; the context is intact.");
            }
            if (options.progress != nullptr && options.progress(options.user_data, 0, 1) != 0) {
                fail(gptoss_status_aborted, "Sampling was stopped by its progress callback after ", num_tokens_out,
                     " of at most ", max_tokens, " tokens; the context is intact.");
            }
            if (stream_->num_unread() == 0) {
                stream_->submit();
            }
            const bool another_one = num_tokens_out + 1 < num_expected && tokens_.size() + 1 < max_tokens_;
            // One more: the GPU works on it while the processor reads this one. Others would only be drawn in vain
            // when the caller stops.
            if (another_one && stream_->can_submit_ahead()) {
                stream_->submit();
            }
            const SampledToken sampled = stream_->read();
            commit_processed(tokens_.size()); // the logits that it was drawn from came after all of them

            add_sampled(sampled, tokens_out, log_probabilities_out, num_tokens_out);
            if (options.progress != nullptr) {
                options.progress(options.user_data, 1, 1); // too late to stop this token
            }
            if (sampler.is_stop_token(sampled.token)) {
                end_stream(); // a pass in flight processes it: then it is cached, and nothing was in vain
                return gptoss_finish_reason_stop;
            }
            if (num_tokens_out == max_tokens) {
                return gptoss_finish_reason_length;
            }
        }
    } catch (...) {
        end_stream();
        throw;
    }
    return gptoss_finish_reason_context_length;
}

void Context::commit_processed(size_t end) {
    for (size_t position = cache_->num_tokens(); position < end; position++) {
        cached_tokens_.push_back(tokens_[position]);
        num_shared_ = position + 1;
        cache_->commit(1);
    }
}

void Context::end_stream() {
    const std::unique_ptr<ContextStream> stream = std::move(stream_);
    if (stream == nullptr) {
        return;
    }
    try {
        const std::span<const float> logits = stream->logits();
        commit_processed(std::min(stream->end(), tokens_.size()));
        if (stream->end() == tokens_.size()) {
            logits_.assign(logits.begin(), logits.end());
            logits_num_tokens_ = tokens_.size();
        }
    } catch (...) { // NOLINT: see the header
    }
}

} // namespace gptoss
