// Our own layout of a model file: a table in its header tells what each tensor is and where (docs/model-format.md).
#pragma once

#include <unordered_map>

#include "model_file_layout.h"

namespace gptoss {

// All entries are validated before one is used; then each is asked for by its name, type and shape, once.
class TableLayout final : public TensorLayout {
public:
    // `reader` stands behind the vocabulary.
    TableLayout(Reader& reader, const ModelConfig& config);

    TensorPlace bf16(const std::string& name, std::initializer_list<uint64_t> shape, Packing packing) override;
    DensePlace dense(const std::string& name, uint64_t num_outputs, uint64_t num_inputs) override;
    uint64_t experts(uint32_t block, const ExpertPlaces& expert) override;
    std::vector<gptoss_tensor> finish() override;

private:
    // Where an entry stands in the file.
    uint64_t offset_of(size_t index) const;
    gptoss_tensor read_entry();
    bool has(const std::string& name) const { return index_of_.contains(name); }
    // The place of the tensor of that name, which has to have this type, shape and alignment.
    TensorPlace take(const std::string& name,
                     gptoss_data_type data_type,
                     std::span<const uint64_t> shape,
                     uint64_t alignment);
    TensorPlace take_at(const gptoss_tensor& expected);

    Reader& reader_;
    const ModelConfig& config_;
    uint64_t entries_offset_ = 0;
    std::vector<gptoss_tensor> tensors_;
    std::unordered_map<std::string, size_t> index_of_; // of the tensors that nobody asked for yet
};

} // namespace gptoss
