// The stream of sampled tokens of one context: a backend's TokenStream, under the model's lock and the cache's rules.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "backend.h"
#include "kv_cache.h"
#include "model.h"

namespace gptoss {

// Used by one thread at a time. The keys and values that its passes write count once the context commits them. The end
// of its life waits until nothing is in flight.
class ContextStream {
public:
    // `model` and `cache`, which holds exactly the positions before start.position, have to outlive it. Null if the
    // backend does not sample.
    static std::unique_ptr<ContextStream> start(const Model& model, KvCache& cache, const StreamStart& start);

    // Whether tokens are drawn by these options: all but what concerns a single call.
    bool has_options(const gptoss_sampling_options& options) const;

    // Queues drawing the next token, and the pass over the token before it.
    void submit();
    // Whether that is allowed while one token is not read yet: then the storage must stay where it is.
    bool can_submit_ahead() const;
    size_t num_unread() const { return num_unread_; }
    // Waits for the oldest token that is not read. Throws as TokenStream::read() does.
    SampledToken read();

    // Positions [0, end()) are processed when everything that was submitted is done.
    size_t end() const { return end_; }
    // [V] of the token at end(), after waiting for it. Throws if a pass failed.
    std::span<const float> logits();

private:
    ContextStream(const Model& model, KvCache& cache, const StreamStart& start, std::unique_ptr<TokenStream> stream);

    const Model& model_;
    KvCache& cache_;
    std::unique_ptr<TokenStream> stream_;
    gptoss_sampling_options options_; // the numbers; its lists are these
    std::vector<uint32_t> stop_tokens_;
    std::vector<gptoss_logit_bias> logit_biases_;
    size_t end_;
    bool has_begun_ = false; // the first token, which needs no pass, was submitted
    size_t num_unread_ = 0;
};

} // namespace gptoss
