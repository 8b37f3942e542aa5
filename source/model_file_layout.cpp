#include "model_file_layout.h"

#include <cstdio>
#include <utility>

namespace gptoss {

namespace {

constexpr uint64_t kItemAlignment = 16;

constexpr uint64_t align_up(uint64_t offset, uint64_t alignment) {
    return (offset + alignment - 1) / alignment * alignment;
}

} // namespace

gptoss_tensor describe_tensor(const std::string& name,
                              gptoss_data_type data_type,
                              const TensorPlace& place,
                              uint64_t base,
                              std::initializer_list<uint64_t> shape) {
    gptoss_tensor tensor = {};
    std::snprintf(tensor.name, sizeof(tensor.name), "%s", name.c_str());
    tensor.data_type = data_type;
    for (const uint64_t size : shape) {
        tensor.shape[tensor.num_dims++] = size;
    }
    tensor.offset = base + place.offset;
    tensor.num_bytes = place.num_bytes;
    return tensor;
}

std::vector<gptoss_tensor> describe_expert(
    const ModelConfig& config, const ExpertPlaces& expert, size_t block, size_t index, uint64_t base) {
    const uint64_t E = config.embedding_dim, I = config.mlp_dim;
    const std::string prefix = "block." + std::to_string(block) + ".mlp.experts." + std::to_string(index) + ".";
    return {
        describe_tensor(prefix + "mlp1_weight.blocks", gptoss_data_type_mxfp4_blocks, expert.mlp1_blocks, base,
                        {2 * I, E / kMxfp4BlockSize, 16}),
        describe_tensor(prefix + "mlp1_weight.scales", gptoss_data_type_mxfp4_scales, expert.mlp1_scales, base,
                        {2 * I, E / kMxfp4BlockSize}),
        describe_tensor(prefix + "mlp1_bias", gptoss_data_type_bf16, expert.mlp1_bias, base, {2 * I}),
        describe_tensor(prefix + "mlp2_weight.blocks", gptoss_data_type_mxfp4_blocks, expert.mlp2_blocks, base,
                        {E, I / kMxfp4BlockSize, 16}),
        describe_tensor(prefix + "mlp2_weight.scales", gptoss_data_type_mxfp4_scales, expert.mlp2_scales, base,
                        {E, I / kMxfp4BlockSize}),
        describe_tensor(prefix + "mlp2_bias", gptoss_data_type_bf16, expert.mlp2_bias, base, {E}),
    };
}

ExpertPlaces expert_places(const ModelConfig& config) {
    const uint64_t embedding_dim = config.embedding_dim;
    const uint64_t mlp_dim = config.mlp_dim;
    uint64_t end = 0;
    const auto place = [&end](uint64_t num_bytes) {
        const uint64_t start = align_up(end, kExpertItemAlignment);
        end = start + num_bytes;
        return TensorPlace{start, num_bytes};
    };
    ExpertPlaces expert = {};
    expert.mlp1_blocks = place(2 * mlp_dim * embedding_dim / 2);
    expert.mlp1_scales = place(2 * mlp_dim * embedding_dim / kMxfp4BlockSize);
    expert.mlp1_bias = place(2 * 2 * mlp_dim);
    expert.mlp2_blocks = place(embedding_dim * mlp_dim / 2);
    expert.mlp2_scales = place(embedding_dim * mlp_dim / kMxfp4BlockSize);
    expert.mlp2_bias = place(2 * embedding_dim);
    expert.num_bytes = end;
    expert.stride = align_up(end, kExpertItemAlignment);
    return expert;
}

SequentialLayout::SequentialLayout(Reader& reader, const ModelConfig& config) : reader_(reader), config_(config) {
    reader_.align(kSectionAlignment, "padding behind the header");
}

TensorPlace SequentialLayout::bf16(const std::string& name, std::initializer_list<uint64_t> shape, Packing packing) {
    uint64_t num_bytes = 2;
    for (const uint64_t size : shape) {
        num_bytes *= size;
    }
    reader_.align(packing == Packing::packed ? 1 : kItemAlignment, name);
    const TensorPlace place = {reader_.offset(), num_bytes};
    reader_.take(num_bytes, name);
    tensors_.push_back(describe_tensor(name, gptoss_data_type_bf16, place, 0, shape));
    return place;
}

DensePlace SequentialLayout::dense(const std::string& name, uint64_t num_outputs, uint64_t num_inputs) {
    return bf16_matrix(bf16(name + ".weight", {num_outputs, num_inputs}, Packing::aligned));
}

uint64_t SequentialLayout::experts(uint32_t block, const ExpertPlaces& expert) {
    reader_.align(kSectionAlignment, "padding before a block's experts");
    const uint64_t base = reader_.offset();
    reader_.take(expert.stride * (config_.num_experts - uint64_t{1}) + expert.num_bytes, "experts of a block");
    for (uint32_t index = 0; index < config_.num_experts; index++) {
        for (const gptoss_tensor& tensor :
             describe_expert(config_, expert, block, index, base + index * expert.stride)) {
            tensors_.push_back(tensor);
        }
    }
    return base;
}

std::vector<gptoss_tensor> SequentialLayout::finish() {
    if (reader_.offset() != reader_.size()) {
        reader_.reject(reader_.offset(), "expected the end of the file, found ", reader_.size() - reader_.offset(),
                       " more bytes: the header does not describe this file");
    }
    return std::move(tensors_);
}

} // namespace gptoss
