#include "workspace.h"

#include <numeric>

namespace gptoss::metal {

namespace {

constexpr const char* kPartNames[] = {"tokens",
                                      "residual stream",
                                      "normalized rows",
                                      "queries, keys and values",
                                      "queries",
                                      "attention output",
                                      "attention splits",
                                      "attention split sums",
                                      "chosen experts",
                                      "routing weights",
                                      "experts' hidden rows",
                                      "experts' permutation",
                                      "experts' offsets",
                                      "experts' tiles",
                                      "experts' output",
                                      "rows to unembed",
                                      "logits"};

size_t attention_dim(const ModelConfig& config) {
    return size_t{config.num_heads} * config.head_dim;
}

size_t qkv_dim(const ModelConfig& config) {
    return attention_dim(config) + 2 * size_t{config.num_kv_heads} * config.head_dim;
}

} // namespace

Workspace::Sizes Workspace::sizes(const ModelConfig& config, size_t max_rows, size_t max_logit_rows) {
    const AttentionWorkspaceBytes attention = attention_workspace_bytes(config, max_rows);
    const ExpertWorkspaceBytes experts = expert_workspace_bytes(config, max_rows);
    const size_t several_rows = max_rows == 1 ? 0 : max_rows;
    const size_t several_logit_rows = max_logit_rows == 1 ? 0 : max_logit_rows;
    Sizes sizes;
    sizes[kTokens] = max_rows * sizeof(uint32_t);
    sizes[kResidual] = max_rows * config.embedding_dim * sizeof(float);
    sizes[kNormalized] = max_rows * config.embedding_dim * sizeof(float);
    sizes[kQkv] = several_rows * qkv_dim(config) * sizeof(float);
    sizes[kQueries] = max_rows * attention_dim(config) * sizeof(float);
    sizes[kAttentionOutput] = max_rows * attention_dim(config) * sizeof(float);
    sizes[kSplitValues] = attention.split_values;
    sizes[kSplitSums] = attention.split_sums;
    sizes[kExpertIds] = max_rows * config.num_active_experts * sizeof(uint32_t);
    sizes[kRoutingWeights] = max_rows * config.num_active_experts * sizeof(float);
    sizes[kExpertHidden] = experts.hidden;
    sizes[kExpertPermutation] = experts.permutation;
    sizes[kExpertOffsets] = experts.offsets;
    sizes[kExpertTiles] = experts.tiles;
    sizes[kExpertOutputs] = experts.outputs;
    sizes[kLogitInputs] = several_logit_rows * config.embedding_dim * sizeof(float);
    sizes[kLogits] = max_logit_rows * config.vocabulary_size * sizeof(float);
    return sizes;
}

size_t Workspace::bytes_for(const ModelConfig& config, size_t max_rows, size_t max_logit_rows) {
    const Sizes needed = sizes(config, max_rows, max_logit_rows);
    return std::accumulate(needed.begin(), needed.end(), size_t{0});
}

bool Workspace::must_grow(size_t num_rows, size_t num_logit_rows) const {
    const Sizes needed = sizes(config_, num_rows, num_logit_rows);
    for (size_t part = 0; part < kNumParts; part++) {
        if (needed[part] > capacity(part)) {
            return true;
        }
    }
    return false;
}

void Workspace::reserve(size_t num_rows, size_t num_logit_rows) {
    const Sizes needed = sizes(config_, num_rows, num_logit_rows);
    for (size_t part = 0; part < kNumParts; part++) {
        if (needed[part] > capacity(part)) {
            // The old one first, which nobody needs: both together might not fit.
            num_bytes_ -= capacity(part);
            parts_[part].reset();
            parts_[part] = device_.make_buffer(needed[part], kPartNames[part]);
            num_bytes_ += needed[part];
        }
    }
    num_rows_ = num_rows;
    num_logit_rows_ = num_logit_rows;
}

Slice Workspace::rows(Part part, size_t num_rows, size_t row_bytes) const {
    return whole(part).part(0, num_rows * row_bytes);
}

Slice Workspace::tokens() const {
    return rows(kTokens, num_rows_, sizeof(uint32_t));
}

Slice Workspace::residual() const {
    return rows(kResidual, num_rows_, config_.embedding_dim * sizeof(float));
}

Slice Workspace::normalized() const {
    return rows(kNormalized, num_rows_, config_.embedding_dim * sizeof(float));
}

Slice Workspace::qkv() const {
    return rows(kQkv, num_rows_, qkv_dim(config_) * sizeof(float));
}

Slice Workspace::queries() const {
    return rows(kQueries, num_rows_, attention_dim(config_) * sizeof(float));
}

Slice Workspace::attention_output() const {
    return rows(kAttentionOutput, num_rows_, attention_dim(config_) * sizeof(float));
}

Slice Workspace::expert_ids() const {
    return rows(kExpertIds, num_rows_, config_.num_active_experts * sizeof(uint32_t));
}

Slice Workspace::routing_weights() const {
    return rows(kRoutingWeights, num_rows_, config_.num_active_experts * sizeof(float));
}

Slice Workspace::logit_inputs() const {
    return rows(kLogitInputs, num_logit_rows_, config_.embedding_dim * sizeof(float));
}

Slice Workspace::logits() const {
    return rows(kLogits, num_logit_rows_, config_.vocabulary_size * sizeof(float));
}

AttentionWorkspace Workspace::attention() const {
    return {whole(kSplitValues), whole(kSplitSums)};
}

ExpertWorkspace Workspace::experts() const {
    return {whole(kExpertHidden), whole(kExpertPermutation), whole(kExpertOffsets), whole(kExpertTiles),
            whole(kExpertOutputs)};
}

} // namespace gptoss::metal
