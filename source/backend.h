// What a backend must do for the forward pass (forward.cpp).
//
// A backend owns the activations of one batch and executes one verb after the other on them. Each verb names what it
// reads and writes; weights are named by their place in the model file, which every backend reads where it is mapped.
//
//   residual           [rows, E]               the stream that every block adds to
//   queries            [rows, H D]             rotated
//   attention_output   [rows, H D]
//   normalized         [rows, E]               the experts' input
//   routing            experts [rows, active], weights [rows, active]
//   logits             fp32 [logit rows, V]
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kv_cache.h"
#include "mapped_file.h"
#include "model_file.h"
#include "sampler.h"

namespace gptoss {

// Tokens of a prompt that are processed in one piece, unless the caller wants another number.
constexpr size_t kDefaultMaxBatchTokens = 512;

// Consecutive tokens of one context. Its rows in the batch are consecutive as well.
struct Span {
    KvStorage* storage;    // of the context; holds every position before first_position
    size_t first_position; // of the span's first token in the context
    size_t num_tokens;
};

// Rows that go through the model together: prefill is one long span, decoding one token each of several contexts.
struct Batch {
    std::vector<uint32_t> tokens;     // [rows]
    std::vector<Span> spans;          // their token counts add up to rows
    std::vector<uint32_t> logit_rows; // the rows whose logits are wanted, ascending
};

// What a stream of sampled tokens begins with.
struct StreamStart {
    KvStorage* storage;                     // of the context; has to outlive the stream
    size_t position;                        // of the first token to draw; storage holds every position before it
    std::span<const float> logits;          // [V] of that token
    const gptoss_sampling_options& options; // valid ones; copied
    TokenHistory history;                   // copied
};

// Tokens that are sampled where the logits are, so that the work for the next one is queued before this one is read.
//
// submit() is called under the lock of the backend's batches; the rest waits, and nobody else has to meanwhile.
class TokenStream {
public:
    // Waits until nothing of it is in flight.
    virtual ~TokenStream() = default;

    // Queues drawing the next token; before any but the first, the forward pass over the token before it. That writes
    // the keys and values of its position, for which the storage must have room. After a stop token, the pass is the
    // last one that does anything, and no token is drawn.
    virtual void submit() = 0;
    // Waits for the oldest token that was submitted and not read; then the passes before it are done, too. Throws what
    // Sampler::sample() throws, or why the backend failed: the token is read then as well, and no other follows.
    virtual SampledToken read() = 0;
    // Whether all that was submitted is read.
    virtual bool is_drained() const = 0;
    // [V] that the last forward pass left, after waiting for it; before any, the ones that it began with. Throws if
    // one of the passes failed.
    virtual std::span<const float> logits() = 0;
};

class Backend {
public:
    virtual ~Backend() = default;

    virtual gptoss_backend kind() const = 0;
    virtual uint32_t num_threads() const = 0;
    virtual gptoss_precision precision() const = 0;
    // Of gptoss.h; static storage.
    virtual const char* instruction_set() const { return ""; }
    // Bytes of activations allocated so far. Safe while another thread runs a batch.
    virtual size_t workspace_bytes() const = 0;

    // Keys and values of one context with at most max_tokens tokens, processed at most max_batch_tokens at a time.
    virtual std::unique_ptr<KvStorage> create_kv_storage(size_t max_tokens, size_t max_batch_tokens) const = 0;
    // What such a storage takes when it holds num_tokens tokens.
    virtual size_t kv_storage_bytes(size_t num_tokens, size_t max_batch_tokens) const = 0;

    // The longest context, in tokens, that fits the memory which this machine recommends beside what is there already;
    // at most the model's maximum. 0 if none does.
    virtual size_t longest_context(size_t max_batch_tokens) const = 0;

    // Fails with insufficient_resources, with the numbers and the remedies, if a context of this length does not fit
    // there.
    virtual void check_context_fits(size_t /* context_length */, size_t /* max_batch_tokens */) const {}

    // Null: this backend does not sample; the caller does, from the logits.
    virtual std::unique_ptr<TokenStream> start_stream(const StreamStart&) { return nullptr; }

    // Of gptoss.h. Not while a batch runs.
    virtual gptoss_roofline measure_roofline(double seconds);

    // ---- The verbs of a forward pass, between begin and end. One batch at a time.

    // `batch` must stay alive and unchanged until end().
    virtual void begin(const Batch& batch) = 0;
    // residual = embedding[tokens]
    virtual void embed(const DensePlace& embedding) = 0;
    // q, k, v = rms_norm(residual) * gain . weight^T + bias. Rotates q and k; puts k and v into the cache of `block`.
    virtual void project_qkv(size_t block,
                             const TensorPlace& gain,
                             const DensePlace& weight,
                             const TensorPlace& bias) = 0;
    // From here on nothing is needed of rows whose logits are not wanted: a backend may drop them, and go on with
    // [logit rows] where the verbs below say [rows]. Once, behind the last block's project_qkv().
    virtual void keep_logit_rows() = 0;
    // attention_output = softmax(q . k with the sink as one more column) . v, over the keys that the block sees
    virtual void attend(size_t block, const TensorPlace& sinks) = 0;
    // residual += attention_output . weight^T + bias
    virtual void project_attention_output(const DensePlace& weight, const TensorPlace& bias) = 0;
    // normalized = rms_norm(residual) * gain; routing = the highest of normalized . weight^T + bias, and their softmax
    virtual void route(const TensorPlace& gain, const TensorPlace& weight, const TensorPlace& bias) = 0;
    // residual += sum of routing weight * expert(normalized) over the chosen experts
    virtual void apply_experts(uint64_t experts_offset, const ExpertPlaces& expert) = 0;
    // logits = rms_norm(residual) * gain . weight^T, for the batch's logit rows only
    virtual void unembed(const TensorPlace& gain, const DensePlace& weight) = 0;
    // Waits until everything is done. The verbs' results are readable afterwards, until the next begin().
    virtual void end() = 0;

    // [V] of the batch's logit row at `index`, after end().
    virtual std::span<const float> logits(size_t index) const = 0;
};

// Creates the backend that the options ask for; fails with unsupported_system if it is not in this build or machine.
std::unique_ptr<Backend> create_backend(const gptoss_model_options& options,
                                        std::shared_ptr<const MappedFile> mapping,
                                        std::shared_ptr<const ModelFile> file);

// The backend that `kind` stands for: never auto. Fails with unsupported_system if it is not in this build or machine.
gptoss_backend resolve_backend(gptoss_backend kind);

// What gptoss.h says of them, without a model that uses the backend. num_threads: of gptoss_model_options.
gptoss_device_info get_device_info(gptoss_backend kind);
gptoss_memory_estimate estimate_memory(gptoss_backend kind,
                                       uint32_t num_threads,
                                       const ModelFile& file,
                                       uint64_t weight_bytes,
                                       size_t context_length,
                                       size_t max_batch_tokens);

} // namespace gptoss
