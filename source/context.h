// One timeline of tokens with its key/value cache.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "context_stream.h"
#include "kv_cache.h"
#include "model.h"
#include "sampler.h"

namespace gptoss {

// A progress callback of gptoss.h with its argument.
struct Progress {
    gptoss_progress_callback callback = nullptr;
    void* user_data = nullptr;
};

// Used by one thread at a time, but for abort(). Every member function throws Error.
class Context {
public:
    // context_length 0: the longest that fits; max_batch_tokens 0: the default. Fails with insufficient_resources if
    // the backend's memory could not hold the context when it is full.
    Context(std::shared_ptr<const Model> model, size_t context_length, size_t max_batch_tokens);
    std::unique_ptr<Context> copy();

    const Model& model() const { return *model_; }
    const std::vector<uint32_t>& tokens() const { return tokens_; }
    size_t max_tokens() const { return max_tokens_; }
    size_t num_cached_tokens() const;

    void append(std::span<const uint32_t> tokens);
    void truncate(size_t num_tokens);
    void reset();

    // Processes the pending tokens of contexts of one model as one stream of batches.
    static void process(std::span<Context* const> contexts, const Progress& progress);

    // The logits of the next token; processes what is pending.
    std::span<const float> logits(const Progress& progress);

    // Writes the logits after every token from `first` on to `output`, [tokens - first, V]; there is at least one.
    void logits_from(size_t first, std::span<float> output, const Progress& progress);

    // Samples up to max_tokens tokens into tokens_out and, if it is not null, log_probabilities_out. num_tokens_out is
    // set after every token, so that it is right when an abort ends the call.
    gptoss_finish_reason sample(const gptoss_sampling_options& options,
                                size_t max_tokens,
                                uint32_t* tokens_out,
                                float* log_probabilities_out,
                                size_t& num_tokens_out);

    // From any thread, and from signal handlers.
    void abort() { aborted_.store(true); }

private:
    // Where the logits after tokens [first, ..) of one context go.
    struct LogitRows {
        size_t first;
        std::span<float> output; // [tokens - first, V]
    };

    // An empty one, but for what the cache holds.
    Context(std::shared_ptr<const Model> model,
            std::unique_ptr<KvCache> cache,
            size_t max_tokens,
            size_t max_batch_tokens);

    bool logits_are_current() const { return !tokens_.empty() && logits_num_tokens_ == tokens_.size(); }
    // process(); with `rows`, of a single context whose logits have to be computed, also what they ask for.
    static void process(std::span<Context* const> contexts, const Progress& progress, const LogitRows* rows);
    // Makes the cache end where processing has to go on, at most at `limit`, and returns that position.
    size_t rewind_to_shared_prefix(size_t limit = SIZE_MAX);
    void push_token(uint32_t token);
    // Adds a sampled token and hands it out.
    void add_sampled(const SampledToken& sampled, uint32_t* tokens_out, float* log_probabilities_out, size_t& num_out);

    // Makes sure that there is a stream with these options. False: the backend does not sample.
    bool ensure_stream(const gptoss_sampling_options& options);
    gptoss_finish_reason sample_from_stream(const gptoss_sampling_options& options,
                                            const Sampler& sampler,
                                            size_t max_tokens,
                                            uint32_t* tokens_out,
                                            float* log_probabilities_out,
                                            size_t& num_tokens_out);
    // The keys and values of tokens_[0, end) are in the storage.
    void commit_processed(size_t end);
    // Waits for what is in flight, keeps what it has processed, and drops what it has drawn ahead. What fails here is
    // not kept, and fails again when it is processed again.
    void end_stream();

    std::shared_ptr<const Model> model_;
    size_t max_tokens_;
    size_t max_batch_tokens_;
    std::unique_ptr<KvCache> cache_;

    std::vector<uint32_t> tokens_;
    std::vector<uint32_t> cached_tokens_; // whose keys and values the cache holds
    size_t num_shared_ = 0;               // length of the longest common prefix of tokens_ and cached_tokens_
    std::vector<float> logits_;           // [V] of the token that follows tokens_[0, logits_num_tokens_)
    size_t logits_num_tokens_ = 0;        // 0: there are none
    std::unordered_map<uint32_t, uint32_t> generated_; // tokens sampled since the last append, with their counts
    std::atomic<bool> aborted_ = false;

    // While there is one, tokens_ are those that it began with and those that it has drawn. Nothing else may use the
    // cache meanwhile: what changes the tokens or processes them ends the stream first.
    std::unique_ptr<ContextStream> stream_;
    bool backend_samples_ = true; // until it turns out that it does not
};

} // namespace gptoss
