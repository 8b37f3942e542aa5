// Tokens that are sampled on the GPU, two in flight: see TokenStream in backend.h.
//
// Nothing of a token passes through the processor before the next one's work is queued: the embedding reads the token
// where the sampling left it, and a token that ends the stream, by being a stop token or by an error, leaves a state in
// which the sampling that was queued behind it does nothing.
#pragma once

#include <deque>
#include <exception>
#include <memory>
#include <span>

#include "../backend.h"
#include "sampling_launches.h"

namespace gptoss::metal {

class MetalBackend;

class MetalTokenStream final : public TokenStream {
public:
    // `backend` and the storage have to outlive it. Fails with insufficient_resources.
    MetalTokenStream(MetalBackend& backend, const StreamStart& start);
    ~MetalTokenStream() override;
    MetalTokenStream(const MetalTokenStream&) = delete;
    MetalTokenStream& operator=(const MetalTokenStream&) = delete;

    void submit() override;
    SampledToken read() override;
    bool is_drained() const override { return in_flight_.empty(); }
    std::span<const float> logits() override;

    // Bytes of GPU memory that a stream takes, whatever its options; beside them, 4 for each stop token.
    static size_t bytes_for(const ModelConfig& config);

private:
    struct InFlight {
        std::shared_ptr<CommandBuffer> commands;
        Slice result; // SamplingResult, of this token alone
    };

    static constexpr size_t kMaxInFlight = 2;

    void write_options(const gptoss_sampling_options& options);
    void write_history(const TokenHistory& history);
    void wait(CommandBuffer& commands);

    MetalBackend& backend_;
    KvStorage& storage_;
    SamplingShape shape_;
    std::unique_ptr<Buffer> memory_;      // everything that is of the vocabulary's size or smaller
    std::unique_ptr<Buffer> stop_tokens_; // u32 [at least 1]
    SamplingBuffers buffers_;             // `result` is each token's own
    Slice results_[kMaxInFlight];         // SamplingResult each, taken in turn

    size_t position_;                // of the token that the next submit() draws
    size_t num_submitted_ = 0;       // tokens
    bool ended_ = false;             // the last token that was read is a stop token, or there was none
    std::deque<InFlight> in_flight_; // the oldest first
    // Of the first command buffer that failed: what was queued behind it worked on what it left.
    std::exception_ptr failure_;
};

} // namespace gptoss::metal
