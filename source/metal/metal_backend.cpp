#include "metal_backend.h"

#include <algorithm>
#include <cstring>

#include "../../metal/dense_geometry.h"
#include "../../metal/expert_geometry.h"
#include "../errors.h"
#include "../yarn.h"
#include "kv_storage.h"
#include "timeout.h"
#include "token_stream.h"

namespace gptoss::metal {

namespace {

// Before anything is mapped or allocated: what the kernels cannot run, and what does not fit.
MemoryPlan checked_plan(const Device& device, const ModelFile& file, uint64_t weight_bytes) {
    const ModelConfig& config = file.config();
    constexpr uint32_t max_experts =
        std::min<uint32_t>(gptoss_metal::kRouterMaxExperts, gptoss_metal::kExpertSortMaxExperts);
    if (config.num_experts > max_experts) {
        fail(gptoss_status_unsupported_system, "The model has ", config.num_experts,
             " experts, and the Metal backend runs models with at most ", max_experts, ": use the backend 'cpu'.");
    }
    const MemoryPlan plan(config, weight_bytes, file.bytes_saved_by_q8());
    plan.check_model(device.info());
    return plan;
}

} // namespace

MetalBackend::MetalBackend(std::unique_ptr<Device> device,
                           std::shared_ptr<const MappedFile> mapping,
                           std::shared_ptr<const ModelFile> file)
    : mapping_(std::move(mapping)),
      file_(std::move(file)),
      config_(file_->config()),
      timeout_(read_timeout()),
      device_(std::move(device)),
      plan_(checked_plan(*device_, *file_, mapping_->bytes().size())),
      pipelines_(*device_),
      weights_(*device_, mapping_, *file_),
      workspace_(*device_, config_),
      kv_memory_([this](uint64_t used, uint64_t more) {
          plan_.check_growth(device_->info(), {workspace_.num_bytes(), used}, more);
      }) {
    const auto frequencies = inverse_frequencies(config_);
    inverse_frequencies_ = device_->make_buffer(sizeof(frequencies), "rotary frequencies");
    std::memcpy(inverse_frequencies_->data(), frequencies.data(), sizeof(frequencies));
}

std::unique_ptr<KvStorage> MetalBackend::create_kv_storage(size_t max_tokens, size_t max_batch_tokens) const {
    return std::make_unique<MetalKvStorage>(*device_, config_, max_tokens, max_batch_tokens, kv_memory_,
                                            [this](CommandBuffer& commands) { wait_until_done(commands); });
}

size_t MetalBackend::kv_storage_bytes(size_t num_tokens, size_t max_batch_tokens) const {
    return MetalKvStorage::bytes_for(config_, num_tokens, config_.context_length, max_batch_tokens);
}

size_t MetalBackend::longest_context(size_t max_batch_tokens) const {
    return plan_.longest_context(device_->info(), {workspace_.num_bytes(), kv_memory_.used()}, max_batch_tokens);
}

void MetalBackend::check_context_fits(size_t context_length, size_t max_batch_tokens) const {
    plan_.check_context(device_->info(), {workspace_.num_bytes(), kv_memory_.used()}, context_length, max_batch_tokens);
}

std::unique_ptr<TokenStream> MetalBackend::start_stream(const StreamStart& start) {
    fail_if_lost();
    return std::make_unique<MetalTokenStream>(*this, start);
}

// ---- Batches

void MetalBackend::begin_rows(size_t num_rows, size_t num_logit_rows, const std::string& label) {
    fail_if_lost();
    encoder_.reset();
    if (workspace_.must_grow(num_rows, num_logit_rows) && last_commands_ != nullptr) {
        wait_until_done(*last_commands_);
    }
    workspace_.reserve(num_rows, num_logit_rows);
    first_row_ = 0;
    num_rows_ = static_cast<uint32_t>(num_rows);
    encoder_.emplace(*device_, pipelines_, label);
}

void MetalBackend::begin(const Batch& batch) {
    const std::string rows = std::to_string(batch.tokens.size());
    begin_rows(batch.tokens.size(), batch.logit_rows.size(),
               batch.spans.size() == 1
                   ? rows + " tokens from position " + std::to_string(batch.spans.front().first_position) + " on"
                   : rows + " tokens of " + std::to_string(batch.spans.size()) + " contexts");
    spans_ = batch.spans;
    logit_rows_ = batch.logit_rows;
    tokens_ = workspace_.tokens();
    logits_ = workspace_.logits();
    // Nothing in flight reads these: end() waits, and token streams have tokens of their own.
    std::copy(batch.tokens.begin(), batch.tokens.end(), tokens_.as<uint32_t>());
}

void MetalBackend::begin_row(KvStorage& storage, size_t position, const Slice& token, const Slice& logits) {
    begin_rows(1, 0, "the token at position " + std::to_string(position));
    spans_ = {{&storage, position, 1}};
    logit_rows_ = {0};
    tokens_ = token;
    logits_ = logits;
}

std::shared_ptr<CommandBuffer> MetalBackend::commit() {
    std::shared_ptr<CommandBuffer> commands = encoder_->commit();
    encoder_.reset();
    for (const Span& span : spans_) {
        static_cast<MetalKvStorage&>(*span.storage).set_last_use(commands);
    }
    last_commands_ = commands;
    return commands;
}

void MetalBackend::end() {
    wait(*commit());
}

std::span<const float> MetalBackend::logits(size_t index) const {
    return {logits_.as<float>() + index * config_.vocabulary_size, config_.vocabulary_size};
}

// ---- Waiting

double MetalBackend::wait(CommandBuffer& commands) const {
    fail_if_lost();
    const auto deadline =
        std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::nanoseconds>(timeout_);
    try {
        return commands.wait(deadline);
    } catch (const Error&) {
        if (std::chrono::steady_clock::now() < deadline) {
            throw; // it ended, but failed
        }
    }
    lost_ = true;
    fail_if_lost();
    return 0;
}

void MetalBackend::wait_until_done(CommandBuffer& commands) const {
    try {
        wait(commands);
    } catch (const Error&) {
        fail_if_lost();
    }
}

void MetalBackend::fail_if_lost() const {
    if (lost_) {
        fail(gptoss_status_internal_error, "The GPU stopped answering: it did not finish its work within ",
             timeout_.count(),
             " s. This model cannot be used any more: create the Model again, and restart the machine "
             "if that fails as well. (",
             kTimeoutVariable, " sets another limit, in seconds.)");
    }
}

// ---- The verbs. Each begins with a barrier, behind which it sees what the verbs before it wrote.

DenseMatrix MetalBackend::matrix(const DensePlace& place, uint32_t num_outputs, uint32_t num_inputs) const {
    return {num_outputs, num_inputs, weights_.at(place.weight), place.is_q8() ? weights_.at(place.scales) : Slice()};
}

void MetalBackend::embed(const DensePlace& embedding) {
    launch_embed(*encoder_, config_, num_rows_, tokens_,
                 matrix(embedding, config_.vocabulary_size, config_.embedding_dim), workspace_.residual());
}

void MetalBackend::project_qkv(size_t block,
                               const TensorPlace& gain,
                               const DensePlace& weight,
                               const TensorPlace& bias) {
    const DenseMatrix projection =
        matrix(weight, (config_.num_heads + 2 * config_.num_kv_heads) * config_.head_dim, config_.embedding_dim);
    encoder_->barrier();
    if (form() == RowForm::one) {
        const auto& storage = static_cast<const MetalKvStorage&>(*spans_.front().storage);
        const KvBlock cache = storage.block(block);
        const auto position = static_cast<uint32_t>(spans_.front().first_position);
        const size_t slot_bytes = cache.keys.size / cache.capacity;
        const size_t slot = position % cache.capacity * slot_bytes;
        launch_qkv_row(*encoder_, config_, projection, weights_.at(bias), weights_.at(gain), workspace_.residual(),
                       {.position = position,
                        .inverse_frequencies = *inverse_frequencies_,
                        .queries = workspace_.queries(),
                        .key = cache.keys.part(slot, slot_bytes),
                        .value = cache.values.part(slot, slot_bytes)});
        return;
    }
    launch_norm(*encoder_, config_, num_rows_, workspace_.residual(), weights_.at(gain), workspace_.normalized());
    encoder_->barrier();
    launch_projection(*encoder_, form(), Epilogue::store, num_rows_, projection, weights_.at(bias),
                      workspace_.normalized(), workspace_.qkv());
    encoder_->barrier();
    launch_rope(*encoder_, config_, attention_spans(block), workspace_.qkv(), *inverse_frequencies_,
                workspace_.queries());
}

void MetalBackend::keep_logit_rows() {
    // Those between the first one and the last one stay as well: nothing has to be copied. Of a prompt it is one row.
    first_row_ = logit_rows_.front();
    num_rows_ = static_cast<uint32_t>(logit_rows_.back() + 1 - first_row_);
}

void MetalBackend::attend(size_t block, const TensorPlace& sinks) {
    encoder_->barrier();
    launch_attention(*encoder_, config_, attention_spans(block),
                     {.queries = kept_rows(workspace_.queries(), size_t{config_.num_heads} * config_.head_dim),
                      .sinks = weights_.at(sinks),
                      .output = workspace_.attention_output()},
                     workspace_.attention());
}

void MetalBackend::project_attention_output(const DensePlace& weight, const TensorPlace& bias) {
    const DenseMatrix projection = matrix(weight, config_.embedding_dim, config_.num_heads * config_.head_dim);
    encoder_->barrier();
    launch_projection(*encoder_, form(), Epilogue::add, num_rows_, projection, weights_.at(bias),
                      workspace_.attention_output(), residual());
}

void MetalBackend::route(const TensorPlace& gain, const TensorPlace& weight, const TensorPlace& bias) {
    const DenseMatrix router = matrix(bf16_matrix(weight), config_.num_experts, config_.embedding_dim);
    encoder_->barrier();
    launch_router(*encoder_, config_, form(), num_rows_, router, weights_.at(bias), weights_.at(gain), residual(),
                  {.experts = workspace_.expert_ids(),
                   .weights = workspace_.routing_weights(),
                   .normalized = workspace_.normalized()});
}

void MetalBackend::apply_experts(uint64_t experts_offset, const ExpertPlaces& expert) {
    const uint64_t num_bytes = (config_.num_experts - uint64_t{1}) * expert.stride + expert.num_bytes;
    encoder_->barrier();
    launch_experts(*encoder_, config_, expert, num_rows_,
                   {.experts = weights_.at(experts_offset, num_bytes),
                    .expert_ids = workspace_.expert_ids(),
                    .routing_weights = workspace_.routing_weights(),
                    .input = workspace_.normalized(),
                    .residual = residual()},
                   workspace_.experts());
}

void MetalBackend::unembed(const TensorPlace& gain, const DensePlace& weight) {
    const DenseMatrix unembedding = matrix(weight, config_.vocabulary_size, config_.embedding_dim);
    const size_t row_bytes = config_.embedding_dim * sizeof(float);
    encoder_->barrier();
    if (logit_rows_.size() == 1) {
        launch_unembed_row(*encoder_, config_, unembedding, weights_.at(gain), residual(), logits_);
        return;
    }
    // The norm gathers the wanted rows: one launch for each stretch of neighbours, side by side.
    const Slice inputs = workspace_.logit_inputs();
    for (size_t first = 0; first < logit_rows_.size();) {
        size_t end = first + 1;
        while (end < logit_rows_.size() && logit_rows_[end] == logit_rows_[end - 1] + 1) {
            end++;
        }
        const size_t num_bytes = (end - first) * row_bytes;
        launch_norm(*encoder_, config_, static_cast<uint32_t>(end - first),
                    residual().part((logit_rows_[first] - first_row_) * row_bytes, num_bytes), weights_.at(gain),
                    inputs.part(first * row_bytes, num_bytes));
        first = end;
    }
    encoder_->barrier();
    launch_unembed_rows(*encoder_, static_cast<uint32_t>(logit_rows_.size()), unembedding, inputs, logits_);
}

std::vector<AttentionSpan> MetalBackend::attention_spans(size_t block) const {
    std::vector<AttentionSpan> result;
    size_t span_row = 0;
    for (const Span& span : spans_) {
        const size_t begin = std::max(span_row, first_row_);
        const size_t end = std::min(span_row + span.num_tokens, first_row_ + num_rows_);
        if (begin < end) {
            const KvBlock cache = static_cast<const MetalKvStorage&>(*span.storage).block(block);
            result.push_back({.num_rows = static_cast<uint32_t>(end - begin),
                              .first_position = static_cast<uint32_t>(span.first_position + begin - span_row),
                              .window = is_sliding_block(block) ? config_.attention_window : 0,
                              .capacity = cache.capacity,
                              .keys = cache.keys,
                              .values = cache.values});
        }
        span_row += span.num_tokens;
    }
    return result;
}

} // namespace gptoss::metal
