#include "model_file.h"

#include <memory>

#include "model_file_header.h"
#include "model_file_layout.h"
#include "model_file_table.h"

namespace gptoss {

namespace {

std::unique_ptr<TensorLayout> open_layout(WeightLayout layout, Reader& reader, const ModelConfig& config) {
    if (layout == WeightLayout::table) {
        return std::make_unique<TableLayout>(reader, config);
    }
    return std::make_unique<SequentialLayout>(reader, config);
}

BlockPlaces place_block(TensorLayout& layout, const ModelConfig& config, uint32_t index) {
    const uint64_t embedding_dim = config.embedding_dim;
    const uint64_t qkv_dim = uint64_t{config.head_dim} * (config.num_heads + 2 * uint64_t{config.num_kv_heads});
    const uint64_t attention_dim = uint64_t{config.head_dim} * config.num_heads;
    const std::string prefix = "block." + std::to_string(index) + ".";
    BlockPlaces block = {};
    block.attention_norm = layout.bf16(prefix + "attn.norm.scale", {embedding_dim});
    block.qkv_weight = layout.dense(prefix + "attn.qkv", qkv_dim, embedding_dim);
    block.qkv_bias = layout.bf16(prefix + "attn.qkv.bias", {qkv_dim}, Packing::packed);
    block.attention_sinks = layout.bf16(prefix + "attn.sinks", {config.num_heads});
    block.output_weight = layout.dense(prefix + "attn.out", embedding_dim, attention_dim);
    block.output_bias = layout.bf16(prefix + "attn.out.bias", {embedding_dim}, Packing::packed);
    block.mlp_norm = layout.bf16(prefix + "mlp.norm.scale", {embedding_dim});
    block.router_weight = layout.bf16(prefix + "mlp.gate.weight", {config.num_experts, embedding_dim});
    block.router_bias = layout.bf16(prefix + "mlp.gate.bias", {config.num_experts}, Packing::packed);
    return block;
}

} // namespace

ModelFile ModelFile::parse(std::span<const std::byte> bytes, const std::string& name) {
    Reader reader(bytes, name);
    ModelFile file;
    ModelHeader header = read_header(reader);
    file.config_ = header.config;
    file.tokenizer_ = std::move(header.tokenizer);
    const ModelConfig& config = file.config_;
    const std::unique_ptr<TensorLayout> layout = open_layout(header.layout, reader, config);

    file.embedding_ = layout->dense("embedding", config.vocabulary_size, config.embedding_dim);
    for (uint32_t block = 0; block < config.num_blocks; block++) {
        // Grows with the file that was really there, not with what the header promises.
        file.blocks_.push_back(place_block(*layout, config, block));
    }
    file.final_norm_ = layout->bf16("norm.scale", {config.embedding_dim});
    file.unembedding_ = layout->dense("unembedding", config.vocabulary_size, config.embedding_dim);
    file.expert_ = expert_places(config);
    for (uint32_t block = 0; block < config.num_blocks; block++) {
        file.blocks_[block].experts_offset = layout->experts(block, file.expert_);
    }
    file.tensors_ = layout->finish();
    return file;
}

uint64_t ModelFile::bytes_saved_by_q8() const {
    uint64_t num_bytes = 0;
    const auto add = [&num_bytes](const DensePlace& place) {
        if (!place.is_q8()) {
            const uint64_t num_elements = place.weight.num_bytes / 2;
            num_bytes += num_elements - num_elements / kQ8BlockSize * 2;
        }
    };
    add(embedding_);
    for (const BlockPlaces& block : blocks_) {
        add(block.qkv_weight);
        add(block.output_weight);
    }
    add(unembedding_);
    return num_bytes;
}

} // namespace gptoss
