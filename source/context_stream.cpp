#include "context_stream.h"

#include <algorithm>
#include <tuple>

namespace gptoss {

namespace {

auto numbers_of(const gptoss_sampling_options& options) {
    return std::tie(options.temperature, options.top_p, options.min_p, options.top_k, options.repetition_penalty,
                    options.presence_penalty, options.frequency_penalty, options.seed);
}

} // namespace

std::unique_ptr<ContextStream> ContextStream::start(const Model& model, KvCache& cache, const StreamStart& start) {
    std::unique_ptr<TokenStream> stream =
        model.with_backend([&](Backend& backend) { return backend.start_stream(start); });
    if (stream == nullptr) {
        return nullptr;
    }
    return std::unique_ptr<ContextStream>(new ContextStream(model, cache, start, std::move(stream)));
}

ContextStream::ContextStream(const Model& model,
                             KvCache& cache,
                             const StreamStart& start,
                             std::unique_ptr<TokenStream> stream)
    : model_(model),
      cache_(cache),
      stream_(std::move(stream)),
      options_(start.options),
      stop_tokens_(options_.stop_tokens, options_.stop_tokens + options_.num_stop_tokens),
      logit_biases_(options_.logit_biases, options_.logit_biases + options_.num_logit_biases),
      end_(start.position) {}

bool ContextStream::has_options(const gptoss_sampling_options& options) const {
    const auto same_bias = [](const gptoss_logit_bias& a, const gptoss_logit_bias& b) {
        return a.token == b.token && a.bias == b.bias;
    };
    return numbers_of(options) == numbers_of(options_) &&
           std::ranges::equal(std::span(options.stop_tokens, options.num_stop_tokens), stop_tokens_) &&
           std::ranges::equal(std::span(options.logit_biases, options.num_logit_biases), logit_biases_, same_bias);
}

void ContextStream::submit() {
    const size_t num_processed = end_ + (has_begun_ ? 1 : 0);
    if (num_processed > cache_.num_tokens()) {
        cache_.prepare(num_processed - cache_.num_tokens());
    }
    model_.with_backend([&](Backend&) { stream_->submit(); });
    end_ = num_processed;
    has_begun_ = true;
    num_unread_++;
}

bool ContextStream::can_submit_ahead() const {
    return cache_.can_run_ahead(end_ + 1 - cache_.num_tokens());
}

SampledToken ContextStream::read() {
    num_unread_--;
    return stream_->read();
}

std::span<const float> ContextStream::logits() {
    return stream_->logits();
}

} // namespace gptoss
