// The embedded default: the model on the processors of this machine.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "attention.h"
#include "backend.h"
#include "expert_mlp.h"
#include "kernels.h"
#include "projections.h"
#include "thread_pool.h"

namespace gptoss::cpu {

// Activations are fp32, keys and values fp16, weights stay where the file is mapped. E embedding size, H heads, G
// key/value heads, D head size, I expert size, V vocabulary, A active experts.
class CpuBackend final : public Backend {
public:
    CpuBackend(uint32_t num_threads,
               gptoss_precision precision,
               std::shared_ptr<const MappedFile> mapping,
               std::shared_ptr<const ModelFile> file);

    gptoss_backend kind() const override { return gptoss_backend_cpu; }
    uint32_t num_threads() const override { return pool_.num_threads(); }
    gptoss_precision precision() const override { return precision_; }
    const char* instruction_set() const override { return kernels_.name; }
    gptoss_roofline measure_roofline(double seconds) override;
    size_t workspace_bytes() const override { return workspace_bytes_.load(); }
    std::unique_ptr<KvStorage> create_kv_storage(size_t max_tokens, size_t max_batch_tokens) const override;
    size_t kv_storage_bytes(size_t num_tokens, size_t max_batch_tokens) const override;
    size_t longest_context(size_t) const override { return config_.context_length; }

    // Bytes that workspace_bytes() comes to when the largest batch has had num_rows tokens and one of them logits.
    static size_t workspace_bytes_for(const ModelConfig& config, size_t num_threads, size_t num_rows);

    void begin(const Batch& batch) override;
    void embed(const DensePlace& embedding) override;
    void project_qkv(size_t block, const TensorPlace& gain, const DensePlace& weight, const TensorPlace& bias) override;
    void keep_logit_rows() override;
    void attend(size_t block, const TensorPlace& sinks) override;
    void project_attention_output(const DensePlace& weight, const TensorPlace& bias) override;
    void route(const TensorPlace& gain, const TensorPlace& weight, const TensorPlace& bias) override;
    void apply_experts(uint64_t experts_offset, const ExpertPlaces& expert) override;
    void unembed(const TensorPlace& gain, const DensePlace& weight) override;
    void end() override {}
    std::span<const float> logits(size_t index) const override;

private:
    template <class Element>
    const Element* weights(uint64_t offset) const {
        return reinterpret_cast<const Element*>(mapping_->bytes().data() + offset);
    }
    // normalized = rms_norm(residual) * gain
    void norm(const TensorPlace& gain);
    DenseMatrix dense_matrix(const DensePlace& weight, const TensorPlace* bias, size_t num_inputs) const;

    std::shared_ptr<const MappedFile> mapping_;
    std::shared_ptr<const ModelFile> file_;
    const ModelConfig& config_;
    gptoss_precision precision_;
    const Kernels& kernels_;
    ThreadPool pool_;
    Attention attention_;
    Projections projections_;
    ExpertMlp experts_;
    std::atomic<size_t> workspace_bytes_ = 0;

    const Batch* batch_ = nullptr;
    size_t num_rows_ = 0;                 // the batch's, or its logit rows
    std::vector<float> residual_;         // [rows, E]
    std::vector<float> normalized_;       // [rows, E]
    std::vector<float> qkv_;              // [rows, (H + 2G) D]
    std::vector<float> attention_output_; // [rows, H D]
    std::vector<float> router_logits_;    // [rows, experts]
    std::vector<float> logits_;           // [logit rows, V]

    std::vector<const float*> normalized_rows_;       // [rows]
    std::vector<const float*> attention_output_rows_; // [rows]
};

} // namespace gptoss::cpu
