// What a backend must do for the forward pass (forward.cpp).
//
// A backend owns the activations of one batch and executes one verb after the other on them. Each verb names what it
// reads and writes; weights are named by their place in the model file, which every backend reads where it is mapped.
//
//   residual           fp32 [rows, E]               the stream that every block adds to
//   normalized         fp32 [rows, E]
//   qkv                fp32 [rows, (H + 2G) D]
//   attention_output   fp32 [rows, H D]
//   routing            experts [rows, active], weights fp32 [rows, active]
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

namespace gptoss {

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

class Backend {
public:
    virtual ~Backend() = default;

    virtual gptoss_backend kind() const = 0;
    virtual uint32_t num_threads() const = 0;
    // Bytes of activations allocated so far. Safe while another thread runs a batch.
    virtual size_t workspace_bytes() const = 0;

    // Keys and values of one context with at most max_tokens tokens, processed at most max_batch_tokens at a time.
    virtual std::unique_ptr<KvStorage> create_kv_storage(size_t max_tokens, size_t max_batch_tokens) const = 0;
    // What such a storage takes when it holds num_tokens tokens.
    virtual size_t kv_storage_bytes(size_t num_tokens, size_t max_batch_tokens) const = 0;

    // ---- The verbs of a forward pass, between begin and end. One batch at a time.

    // `batch` must stay alive and unchanged until end().
    virtual void begin(const Batch& batch) = 0;
    // residual = embedding[tokens]
    virtual void embed(const TensorPlace& embedding) = 0;
    // normalized = rms_norm(residual) * gain
    virtual void norm(const TensorPlace& gain) = 0;
    // qkv = normalized . weight^T + bias
    virtual void project_qkv(const TensorPlace& weight, const TensorPlace& bias) = 0;
    // Rotates the queries in place and the keys into the cache of `block`; copies the values there.
    virtual void rotate_and_cache(size_t block) = 0;
    // attention_output = softmax(q . k with the sink as one more column) . v, over the keys that the block sees
    virtual void attend(size_t block, const TensorPlace& sinks) = 0;
    // residual += attention_output . weight^T + bias
    virtual void project_attention_output(const TensorPlace& weight, const TensorPlace& bias) = 0;
    // routing = the highest of normalized . weight^T + bias, and their softmax
    virtual void route(const TensorPlace& weight, const TensorPlace& bias) = 0;
    // residual += sum of routing weight * expert(normalized) over the chosen experts
    virtual void apply_experts(uint64_t experts_offset, const ExpertPlaces& expert) = 0;
    // logits = rms_norm(residual) * gain . weight^T, for the batch's logit rows only
    virtual void unembed(const TensorPlace& gain, const TensorPlace& weight) = 0;
    // Waits until everything is done. The verbs' results are readable afterwards, until the next begin().
    virtual void end() = 0;

    // [V] of the batch's logit row at `index`, after end().
    virtual std::span<const float> logits(size_t index) const = 0;
};

// Creates the backend that `kind` asks for; fails with unsupported_system if it is not in this build or machine.
std::unique_ptr<Backend> create_backend(gptoss_backend kind,
                                        uint32_t num_threads,
                                        std::shared_ptr<const MappedFile> mapping,
                                        std::shared_ptr<const ModelFile> file);

} // namespace gptoss
