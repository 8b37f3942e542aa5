#include "cpu_backend.h"

#include <algorithm>

#include "buffers.h"
#include "instruction_set.h"
#include "kv_storage.h"
#include "roofline.h"

namespace gptoss::cpu {

namespace {

std::vector<const float*> row_pointers(const std::vector<float>& rows, size_t num_rows, size_t row_size) {
    std::vector<const float*> pointers(num_rows);
    for (size_t row = 0; row < num_rows; row++) {
        pointers[row] = rows.data() + row * row_size;
    }
    return pointers;
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
      projections_(config_, kernels_, pool_, precision == gptoss_precision_exact),
      experts_(config_, kernels_, pool_, precision) {
    workspace_bytes_ = attention_.workspace_bytes() + projections_.workspace_bytes() + experts_.workspace_bytes();
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
    return (num_rows * floats_per_row + config.vocabulary_size) * sizeof(float) +
           Attention::workspace_bytes_for(config, num_threads, num_rows) +
           Projections::workspace_bytes_for(config, num_threads, num_rows) +
           ExpertMlp::workspace_bytes_for(config, num_threads, num_rows);
}

void CpuBackend::begin(const Batch& batch) {
    const size_t num_rows = batch.tokens.size();
    const size_t attention_dim = size_t{config_.num_heads} * config_.head_dim;
    const size_t qkv_dim = attention_dim + 2 * size_t{config_.num_kv_heads} * config_.head_dim;

    batch_ = &batch;
    num_rows_ = num_rows;
    fit(residual_, num_rows * config_.embedding_dim);
    fit(normalized_, num_rows * config_.embedding_dim);
    fit(qkv_, num_rows * qkv_dim);
    fit(attention_output_, num_rows * attention_dim);
    fit(router_logits_, num_rows * config_.num_experts);
    fit(logits_, batch.logit_rows.size() * config_.vocabulary_size);

    normalized_rows_ = row_pointers(normalized_, num_rows, config_.embedding_dim);
    attention_output_rows_ = row_pointers(attention_output_, num_rows, attention_dim);

    attention_.begin(batch);
    projections_.begin(num_rows);
    experts_.begin(num_rows);

    size_t num_floats = 0;
    for (const std::vector<float>* const buffer :
         {&residual_, &normalized_, &qkv_, &attention_output_, &router_logits_, &logits_}) {
        num_floats += buffer->capacity();
    }
    workspace_bytes_ = num_floats * sizeof(float) + attention_.workspace_bytes() + projections_.workspace_bytes() +
                       experts_.workspace_bytes();
}

void CpuBackend::embed(const DensePlace& embedding) {
    const size_t size = config_.embedding_dim;
    const DenseMatrix table = dense_matrix(embedding, nullptr, size); // [V, E]
    pool_.run(num_rows_, size, [&](size_t row, uint32_t) {
        kernels_.dense_row(table, batch_->tokens[row], residual_.data() + row * size);
    });
}

void CpuBackend::norm(const TensorPlace& gain) {
    const size_t size = config_.embedding_dim;
    const uint16_t* const gains = weights<uint16_t>(gain.offset); // bf16 [E]
    pool_.run(num_rows_, size, [&](size_t row, uint32_t) {
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

void CpuBackend::project_qkv(size_t block, const TensorPlace& gain, const DensePlace& weight, const TensorPlace& bias) {
    norm(gain);
    const size_t qkv_dim = size_t{config_.head_dim} * (config_.num_heads + 2 * size_t{config_.num_kv_heads});
    projections_.apply(dense_matrix(weight, &bias, config_.embedding_dim), normalized_rows_, qkv_.data(), qkv_dim);
    attention_.rotate_and_cache(block, qkv_.data());
}

void CpuBackend::keep_logit_rows() {
    const std::vector<uint32_t>& kept = batch_->logit_rows;
    if (kept.size() == num_rows_) {
        return;
    }
    const auto move_up = [&](std::vector<float>& rows, size_t row_size) {
        for (size_t i = 0; i < kept.size(); i++) { // ascending: what is written over has moved or is not kept
            if (kept[i] != i) {
                std::copy_n(rows.data() + kept[i] * row_size, row_size, rows.data() + i * row_size);
            }
        }
    };
    move_up(residual_, config_.embedding_dim);
    move_up(qkv_, qkv_.size() / num_rows_);
    attention_.keep_rows(kept);
    normalized_rows_.resize(kept.size());
    attention_output_rows_.resize(kept.size());
    num_rows_ = kept.size();
}

void CpuBackend::attend(size_t block, const TensorPlace& sinks) {
    attention_.attend(block, weights<uint16_t>(sinks.offset), qkv_.data(), attention_output_.data());
}

void CpuBackend::project_attention_output(const DensePlace& weight, const TensorPlace& bias) {
    const size_t attention_dim = size_t{config_.num_heads} * kHeadDim;
    projections_.apply(dense_matrix(weight, &bias, attention_dim), attention_output_rows_, residual_.data(),
                       config_.embedding_dim, true);
}

void CpuBackend::route(const TensorPlace& gain, const TensorPlace& weight, const TensorPlace& bias) {
    norm(gain);
    projections_.apply_exactly(dense_matrix(bf16_matrix(weight), &bias, config_.embedding_dim), normalized_rows_,
                               router_logits_.data(), config_.num_experts);
    experts_.choose(router_logits_.data(), num_rows_);
}

void CpuBackend::apply_experts(uint64_t experts_offset, const ExpertPlaces& expert) {
    experts_.apply(weights<uint8_t>(experts_offset), expert, normalized_.data(), residual_.data());
}

void CpuBackend::unembed(const TensorPlace& gain, const DensePlace& weight) {
    norm(gain);
    projections_.apply(dense_matrix(weight, nullptr, config_.embedding_dim), normalized_rows_, logits_.data(),
                       config_.vocabulary_size);
}

std::span<const float> CpuBackend::logits(size_t index) const {
    return {logits_.data() + index * config_.vocabulary_size, config_.vocabulary_size};
}

} // namespace gptoss::cpu
