// The forward pass on a GPU: each verb launches its kernels, and a batch is one command buffer.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include "../backend.h"
#include "attention_launches.h"
#include "dense_launches.h"
#include "device.h"
#include "encoder.h"
#include "kv_memory.h"
#include "memory_plan.h"
#include "pipelines.h"
#include "weights.h"
#include "workspace.h"

namespace gptoss::metal {

// Verbs encode; nothing runs before end() or commit(). What is encoded is dropped by the next begin.
//
// Failures: if the GPU reports one, the Error names the batch, and the next batch may succeed. If the GPU does not
// answer in time, it is lost, and so is this backend: nobody knows which memory it still writes, so everything fails
// from then on.
class MetalBackend final : public Backend {
public:
    // Fails with insufficient_resources if the model does not fit, and with unsupported_system if the kernels cannot
    // run its shape.
    MetalBackend(std::unique_ptr<Device> device,
                 std::shared_ptr<const MappedFile> mapping,
                 std::shared_ptr<const ModelFile> file);

    gptoss_backend kind() const override { return gptoss_backend_metal; }
    uint32_t num_threads() const override { return 1; }
    // Inputs of products are fp32 in every kernel (matmul_tile.h), so there is nothing to choose.
    gptoss_precision precision() const override { return gptoss_precision_exact; }
    size_t workspace_bytes() const override { return workspace_.num_bytes(); }
    std::unique_ptr<KvStorage> create_kv_storage(size_t max_tokens, size_t max_batch_tokens) const override;
    size_t kv_storage_bytes(size_t num_tokens, size_t max_batch_tokens) const override;
    size_t longest_context(size_t max_batch_tokens) const override;
    void check_context_fits(size_t context_length, size_t max_batch_tokens) const override;
    std::unique_ptr<TokenStream> start_stream(const StreamStart& start) override;

    void begin(const Batch& batch) override;
    void embed(const DensePlace& embedding) override;
    void project_qkv(size_t block, const TensorPlace& gain, const DensePlace& weight, const TensorPlace& bias) override;
    void keep_logit_rows() override;
    void attend(size_t block, const TensorPlace& sinks) override;
    void project_attention_output(const DensePlace& weight, const TensorPlace& bias) override;
    void route(const TensorPlace& gain, const TensorPlace& weight, const TensorPlace& bias) override;
    void apply_experts(uint64_t experts_offset, const ExpertPlaces& expert) override;
    void unembed(const TensorPlace& gain, const DensePlace& weight) override;
    void end() override;
    std::span<const float> logits(size_t index) const override;

    // ---- For token streams, which run batches of their own

    // As begin() of a batch of one row at `position` of the storage's context, whose token the GPU will know.
    void begin_row(KvStorage& storage,
                   size_t position,
                   const Slice& token,   // u32 [1]
                   const Slice& logits); // fp32 [V], written by unembed()
    // Of the batch that was begun.
    Encoder& encoder() { return *encoder_; }
    // Queues what was encoded. It has ended when wait() returns.
    std::shared_ptr<CommandBuffer> commit();

    // Waits until the GPU has done it, and returns the seconds that it took there. Throws internal_error if it failed,
    // or if the GPU is lost. May be called from any thread.
    double wait(CommandBuffer& commands) const;

    Device& device() const { return *device_; }
    const ModelFile& file() const { return *file_; }
    const ModelConfig& config() const { return config_; }
    Pipelines& pipelines() { return pipelines_; }

private:
    void begin_rows(size_t num_rows, size_t num_logit_rows, const std::string& label);
    // As wait(), but a failure is of no interest here.
    void wait_until_done(CommandBuffer& commands) const;
    void fail_if_lost() const;
    DenseMatrix matrix(const DensePlace& place, uint32_t num_outputs, uint32_t num_inputs) const;
    // What the launches of attention take, in one block.
    std::vector<AttentionSpan> attention_spans(size_t block) const;
    // The rows that are kept, fp32 [num_rows_, row_size], of what was written for the whole batch.
    Slice kept_rows(const Slice& all, size_t row_size) const {
        return all.part(first_row_ * row_size * sizeof(float), num_rows_ * row_size * sizeof(float));
    }
    Slice residual() const { return kept_rows(workspace_.residual(), config_.embedding_dim); }
    RowForm form() const { return row_form(num_rows_); }

    // The mapping outlives the device: a GPU that is lost may still read it until the device is destroyed.
    std::shared_ptr<const MappedFile> mapping_;
    std::shared_ptr<const ModelFile> file_;
    const ModelConfig& config_;
    std::chrono::duration<double> timeout_;
    std::unique_ptr<Device> device_;
    MemoryPlan plan_;
    Pipelines pipelines_;
    Weights weights_;
    Workspace workspace_;
    std::unique_ptr<Buffer> inverse_frequencies_; // fp32 [D / 2]
    mutable KvMemory kv_memory_;                  // of all contexts
    mutable std::atomic<bool> lost_ = false;

    // Of the batch.
    std::optional<Encoder> encoder_;
    std::vector<Span> spans_;
    std::vector<uint32_t> logit_rows_;
    size_t first_row_ = 0;  // that is kept: 0 until the last block's keys and values are made
    uint32_t num_rows_ = 0; // from there on
    Slice tokens_;          // u32 [rows]
    Slice logits_;          // fp32 [logit rows, V]

    std::shared_ptr<CommandBuffer> last_commands_; // that were committed; null: none
};

} // namespace gptoss::metal
