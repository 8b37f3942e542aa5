#include "cpu_backend.h"

#include <algorithm>
#include <cmath>

#include "buffers.h"
#include "instruction_set.h"
#include "kv_storage.h"
#include "roofline.h"

namespace gptoss::cpu {

namespace {

// Outputs of a projection that one task computes: enough to make up for the cost of handing it out, few enough to
// balance, and as many as the packed products take at a time. 64 rows of 2,880 bf16 weights are 369 KB.
constexpr size_t kOutputsPerTask = 64;
static_assert(kOutputsPerTask % (kPanels * kPanelOutputs) == 0);

std::vector<const float*> row_pointers(const std::vector<float>& rows, size_t num_rows, size_t row_size) {
    std::vector<const float*> pointers(num_rows);
    for (size_t row = 0; row < num_rows; row++) {
        pointers[row] = rows.data() + row * row_size;
    }
    return pointers;
}

// Of one thread.
size_t scratch_floats(const ModelConfig& config) {
    return kLinearScratchRows *
           std::max({size_t{config.embedding_dim}, size_t{config.mlp_dim}, size_t{config.num_heads} * config.head_dim});
}

// Rows of activations with which the last group is full; 0 if so few rows are not packed.
size_t num_packed_rows(size_t num_rows) {
    return num_rows < kMinPackedRows ? 0 : (num_rows + kPackedRows - 1) / kPackedRows * kPackedRows;
}

size_t packed_row_size(const ModelConfig& config) {
    return std::max(size_t{config.embedding_dim}, size_t{config.num_heads} * config.head_dim);
}

} // namespace

CpuBackend::CpuBackend(uint32_t num_threads,
                       gptoss_precision precision,
                       std::shared_ptr<const MappedFile> mapping,
                       std::shared_ptr<const ModelFile> file)
    : mapping_(std::move(mapping)),
      file_(std::move(file)),
      config_(file_->config()),
      precision_(precision),
      kernels_(choose_kernels()),
      pool_(num_threads),
      attention_(config_, kernels_, pool_),
      experts_(config_, kernels_, pool_.num_threads(), precision == gptoss_precision_exact) {
    scratch_stride_ = scratch_floats(config_);
    scratch_.resize(pool_.num_threads() * scratch_stride_);
    workspace_bytes_ = scratch_.size() * sizeof(float) + attention_.workspace_bytes() + experts_.workspace_bytes();
}

gptoss_roofline CpuBackend::measure_roofline(double seconds) {
    return cpu::measure_roofline(pool_, kernels_, mapping_->bytes(), seconds);
}

std::unique_ptr<KvStorage> CpuBackend::create_kv_storage(size_t max_tokens, size_t max_batch_tokens) const {
    return std::make_unique<CpuKvStorage>(config_, max_tokens, max_batch_tokens);
}

size_t CpuBackend::kv_storage_bytes(size_t num_tokens, size_t max_batch_tokens) const {
    return CpuKvStorage::bytes_for(config_, num_tokens, config_.context_length, max_batch_tokens);
}

size_t CpuBackend::workspace_bytes_for(const ModelConfig& config, size_t num_threads, size_t num_rows) {
    const size_t embedding_dim = config.embedding_dim;
    const size_t attention_dim = size_t{config.num_heads} * config.head_dim;
    const size_t qkv_dim = attention_dim + 2 * size_t{config.num_kv_heads} * config.head_dim;
    // As the members of the class come; begin() gives them these sizes.
    const size_t floats_per_row = 2 * embedding_dim + qkv_dim + attention_dim + config.num_experts;
    const size_t num_floats = num_threads * scratch_floats(config) + num_rows * floats_per_row +
                              num_packed_rows(num_rows) * packed_row_size(config) + config.vocabulary_size;
    return num_floats * sizeof(float) + Attention::workspace_bytes_for(config, num_threads, num_rows) +
           ExpertMlp::workspace_bytes_for(config, num_rows);
}

void CpuBackend::begin(const Batch& batch) {
    const size_t num_rows = batch.tokens.size();
    const size_t attention_dim = size_t{config_.num_heads} * config_.head_dim;
    const size_t qkv_dim = attention_dim + 2 * size_t{config_.num_kv_heads} * config_.head_dim;

    batch_ = &batch;
    fit(residual_, num_rows * config_.embedding_dim);
    fit(normalized_, num_rows * config_.embedding_dim);
    fit(packed_inputs_, num_packed_rows(num_rows) * packed_row_size(config_));
    fit(qkv_, num_rows * qkv_dim);
    fit(attention_output_, num_rows * attention_dim);
    fit(router_logits_, num_rows * config_.num_experts);
    fit(logits_, batch.logit_rows.size() * config_.vocabulary_size);

    normalized_rows_ = row_pointers(normalized_, num_rows, config_.embedding_dim);
    attention_output_rows_ = row_pointers(attention_output_, num_rows, attention_dim);

    attention_.begin(batch);

    size_t num_floats = scratch_.capacity();
    for (const std::vector<float>* const buffer :
         {&residual_, &normalized_, &packed_inputs_, &qkv_, &attention_output_, &router_logits_, &logits_}) {
        num_floats += buffer->capacity();
    }
    experts_.begin(num_rows);
    workspace_bytes_ = num_floats * sizeof(float) + attention_.workspace_bytes() + experts_.workspace_bytes();
}

void CpuBackend::embed(const DensePlace& embedding) {
    const size_t size = config_.embedding_dim;
    const DenseMatrix table = dense_matrix(embedding, nullptr, size); // [V, E]
    pool_.run(num_rows(), size, [&](size_t row, uint32_t) {
        kernels_.dense_row(table, batch_->tokens[row], residual_.data() + row * size);
    });
}

void CpuBackend::norm(const TensorPlace& gain) {
    const size_t size = config_.embedding_dim;
    const uint16_t* const gains = weights<uint16_t>(gain.offset); // bf16 [E]
    pool_.run(num_rows(), size, [&](size_t row, uint32_t) {
        kernels_.rms_norm(residual_.data() + row * size, gains, normalized_.data() + row * size, size,
                          config_.rmsnorm_epsilon);
    });
}

DenseMatrix CpuBackend::dense_matrix(const DensePlace& weight, const TensorPlace* bias, size_t num_inputs) const {
    const bool is_q8 = weight.is_q8();
    return {.values = is_q8 ? nullptr : weights<uint16_t>(weight.weight.offset),
            .codes = is_q8 ? weights<int8_t>(weight.weight.offset) : nullptr,
            .scales = is_q8 ? weights<uint16_t>(weight.scales.offset) : nullptr,
            .bias = bias == nullptr ? nullptr : weights<uint16_t>(bias->offset),
            .num_inputs = num_inputs};
}

void CpuBackend::linear(const DensePlace& weight,
                        const TensorPlace* bias,
                        const std::vector<const float*>& inputs,
                        size_t num_inputs,
                        std::vector<float>& output,
                        size_t num_outputs,
                        bool add_to_output) {
    const size_t num_rows = inputs.size();
    const bool pack = num_rows >= kMinPackedRows;
    if (pack) {
        pool_.run(num_packed_rows(num_rows) / kPackedRows, kPackedRows * num_inputs, [&](size_t group, uint32_t) {
            kernels_.pack_inputs({.inputs = inputs.data(),
                                  .packed = packed_inputs_.data(),
                                  .num_rows = num_rows,
                                  .num_inputs = num_inputs,
                                  .first_group = group,
                                  .last_group = group + 1});
        });
    }
    const size_t num_tasks = (num_outputs + kOutputsPerTask - 1) / kOutputsPerTask;
    pool_.run(num_tasks, kOutputsPerTask * num_inputs * num_rows, [&](size_t task, uint32_t thread) {
        kernels_.linear({.matrix = dense_matrix(weight, bias, num_inputs),
                         .inputs = inputs.data(),
                         .packed_inputs = pack ? packed_inputs_.data() : nullptr,
                         .output = output.data(),
                         .num_rows = num_rows,
                         .output_stride = num_outputs,
                         .first = task * kOutputsPerTask,
                         .last = std::min(num_outputs, (task + 1) * kOutputsPerTask),
                         .add_to_output = add_to_output,
                         .scratch = scratch(thread)});
    });
}

void CpuBackend::project_qkv(size_t block, const TensorPlace& gain, const DensePlace& weight, const TensorPlace& bias) {
    norm(gain);
    const size_t qkv_dim = size_t{config_.head_dim} * (config_.num_heads + 2 * size_t{config_.num_kv_heads});
    linear(weight, &bias, normalized_rows_, config_.embedding_dim, qkv_, qkv_dim, false);
    attention_.rotate_and_cache(block, qkv_.data());
}

void CpuBackend::attend(size_t block, const TensorPlace& sinks) {
    attention_.attend(block, weights<uint16_t>(sinks.offset), qkv_.data(), attention_output_.data());
}

void CpuBackend::project_attention_output(const DensePlace& weight, const TensorPlace& bias) {
    linear(weight, &bias, attention_output_rows_, size_t{config_.num_heads} * kHeadDim, residual_,
           config_.embedding_dim, true);
}

void CpuBackend::route(const TensorPlace& gain, const TensorPlace& weight, const TensorPlace& bias) {
    norm(gain);
    linear(bf16_matrix(weight), &bias, normalized_rows_, config_.embedding_dim, router_logits_, config_.num_experts,
           false);
    experts_.choose(router_logits_.data(), num_rows());
}

void CpuBackend::apply_experts(uint64_t experts_offset, const ExpertPlaces& expert) {
    experts_.apply(weights<uint8_t>(experts_offset), expert, normalized_.data(), residual_.data(),
                   [this](size_t num_tasks, size_t operations_per_task, const ThreadPool::Task& task) {
                       pool_.run(num_tasks, operations_per_task, task);
                   });
}

void CpuBackend::unembed(const TensorPlace& gain, const DensePlace& weight) {
    norm(gain);
    std::vector<const float*> inputs;
    for (const uint32_t row : batch_->logit_rows) {
        inputs.push_back(normalized_rows_[row]);
    }
    linear(weight, nullptr, inputs, config_.embedding_dim, logits_, config_.vocabulary_size, false);
}

std::span<const float> CpuBackend::logits(size_t index) const {
    return {logits_.data() + index * config_.vocabulary_size, config_.vocabulary_size};
}

} // namespace gptoss::cpu
