// The activations of one batch, in memory that the GPU and the processor share.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>

#include "../model_config.h"
#include "attention_launches.h"
#include "device.h"
#include "expert_launches.h"

namespace gptoss::metal {

// A buffer for each, as large as the largest batch so far took.
//
// Slices are those of the batch that reserve() was called for last, and valid until its next call; the launches' own
// workspaces may be longer. E embedding size, H query heads, G key/value heads, D head size, A active experts, V
// vocabulary.
class Workspace {
public:
    Workspace(Device& device, const ModelConfig& config) : device_(device), config_(config) {}

    // Whether reserve() for such a batch replaces memory: nothing that uses it may be in flight then.
    bool must_grow(size_t num_rows, size_t num_logit_rows) const;
    // Makes room. Fails with insufficient_resources; a later call may succeed.
    void reserve(size_t num_rows, size_t num_logit_rows);

    Slice tokens() const;           // u32 [rows]
    Slice residual() const;         // fp32 [rows, E]
    Slice normalized() const;       // fp32 [rows, E]
    Slice qkv() const;              // fp32 [rows, H + 2G, D]
    Slice queries() const;          // fp32 [rows, H, D]
    Slice attention_output() const; // fp32 [rows, H, D]
    Slice expert_ids() const;       // u32 [rows, A]
    Slice routing_weights() const;  // fp32 [rows, A]
    Slice logit_inputs() const;     // fp32 [logit rows, E], normalised; only for two logit rows and more
    Slice logits() const;           // fp32 [logit rows, V]
    AttentionWorkspace attention() const;
    ExpertWorkspace experts() const;

    // May be called while another thread reserves.
    size_t num_bytes() const { return num_bytes_.load(); }
    // What it takes for batches of up to max_rows rows of which up to max_logit_rows have logits.
    static size_t bytes_for(const ModelConfig& config, size_t max_rows, size_t max_logit_rows);

private:
    enum Part {
        kTokens,
        kResidual,
        kNormalized,
        kQkv,
        kQueries,
        kAttentionOutput,
        kSplitValues,
        kSplitSums,
        kExpertIds,
        kRoutingWeights,
        kExpertHidden,
        kExpertPermutation,
        kExpertOffsets,
        kExpertTiles,
        kExpertOutputs,
        kLogitInputs,
        kLogits,
        kNumParts
    };
    using Sizes = std::array<size_t, kNumParts>; // bytes

    static Sizes sizes(const ModelConfig& config, size_t max_rows, size_t max_logit_rows);
    size_t capacity(size_t part) const { return parts_[part] == nullptr ? 0 : parts_[part]->size(); }
    // num_rows rows of row_bytes each, from the part's beginning.
    Slice rows(Part part, size_t num_rows, size_t row_bytes) const;
    // All of the part, which may have no memory.
    Slice whole(Part part) const { return {parts_[part].get(), 0, capacity(part)}; }

    Device& device_;
    const ModelConfig& config_;
    std::array<std::unique_ptr<Buffer>, kNumParts> parts_; // null: no batch has needed it
    std::atomic<size_t> num_bytes_ = 0;
    size_t num_rows_ = 0; // of this batch
    size_t num_logit_rows_ = 0;
};

} // namespace gptoss::metal
