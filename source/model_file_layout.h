// How the two layouts of a model file (docs/model-format.md) tell where its tensors are.
//
// ModelFile::parse asks for one tensor after the other, in the order of version 1.0. Whatever is handed out lies inside
// the file, and no two tensors overlap.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "model_file.h"
#include "model_file_reader.h"

namespace gptoss {

constexpr uint64_t kExpertItemAlignment = 16;
constexpr uint64_t kSectionAlignment = 16384; // of the weights, and of each block's experts

// Whether a tensor of version 1.0 follows the one before without padding, as biases do.
enum class Packing { aligned, packed };

class TensorLayout {
public:
    virtual ~TensorLayout() = default;

    virtual TensorPlace bf16(const std::string& name,
                             std::initializer_list<uint64_t> shape,
                             Packing packing = Packing::aligned) = 0;
    // `name` without ".weight".
    virtual DensePlace dense(const std::string& name, uint64_t num_outputs, uint64_t num_inputs) = 0;
    // The offset of the block's first expert; the others follow it, expert.stride apart.
    virtual uint64_t experts(uint32_t block, const ExpertPlaces& expert) = 0;
    // The tensors in the order of the file, when all were asked for: there is nothing else in the file.
    virtual std::vector<gptoss_tensor> finish() = 0;
};

// A description for people, of a place that counts from `base` on.
gptoss_tensor describe_tensor(const std::string& name,
                              gptoss_data_type data_type,
                              const TensorPlace& place,
                              uint64_t base,
                              std::initializer_list<uint64_t> shape);

// The tensors of one expert, in the order of the file; `base` is where it begins.
std::vector<gptoss_tensor> describe_expert(
    const ModelConfig& config, const ExpertPlaces& expert, size_t block, size_t index, uint64_t base);

// The layout within an expert, the same for all because each begins on a multiple of 16.
ExpertPlaces expert_places(const ModelConfig& config);

// Version 1.0: tensors follow one another in a fixed order, with sizes that follow from the configuration.
class SequentialLayout final : public TensorLayout {
public:
    // `reader` stands behind the vocabulary.
    SequentialLayout(Reader& reader, const ModelConfig& config);

    TensorPlace bf16(const std::string& name, std::initializer_list<uint64_t> shape, Packing packing) override;
    DensePlace dense(const std::string& name, uint64_t num_outputs, uint64_t num_inputs) override;
    uint64_t experts(uint32_t block, const ExpertPlaces& expert) override;
    std::vector<gptoss_tensor> finish() override;

private:
    Reader& reader_;
    const ModelConfig& config_;
    std::vector<gptoss_tensor> tensors_; // grows with the file that was really there, not with what the header promises
};

} // namespace gptoss
