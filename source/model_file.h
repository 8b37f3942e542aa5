// Where every tensor and every token of a model file is, in either layout (docs/model-format.md).
//
// Parsing validates each field before it is used and each size against the length of the file, so that whatever the
// bytes are, everything that a ModelFile points to lies inside them. Nothing is allocated before the file is known to
// be large enough to hold what it describes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "gptoss.h"
#include "model_config.h"

namespace gptoss {

// A tensor's place in the file: bytes from its start.
struct TensorPlace {
    uint64_t offset;
    uint64_t num_bytes;
};

// A dense matrix [outputs, inputs], by rows: bf16, or 8-bit codes of which 32 along the inputs share a scale.
struct DensePlace {
    gptoss_data_type data_type; // bf16 or q8_codes
    TensorPlace weight;         // bf16 or int8 [outputs, inputs]
    TensorPlace scales;         // fp16 [outputs, inputs / 32] of codes, whose value is code * scale; else empty

    bool is_q8() const { return data_type == gptoss_data_type_q8_codes; }
};

// A matrix that is never anything but bf16.
constexpr DensePlace bf16_matrix(const TensorPlace& weight) {
    return {gptoss_data_type_bf16, weight, {}};
}

// The shared (not expert) tensors of one block; vectors and the router's matrix are bf16. E embedding, H heads, G
// key/value heads, D head size.
struct BlockPlaces {
    TensorPlace attention_norm;  // [E]
    DensePlace qkv_weight;       // [(H + 2G) D, E], RoPE pairs adjacent, q scaled by 0.5 and k by 0.25
    TensorPlace qkv_bias;        // [(H + 2G) D]
    TensorPlace attention_sinks; // [H]
    DensePlace output_weight;    // [E, H D]
    TensorPlace output_bias;     // [E]
    TensorPlace mlp_norm;        // [E]
    TensorPlace router_weight;   // [experts, E]
    TensorPlace router_bias;     // [experts]
    uint64_t experts_offset;     // of expert 0's first tensor
};

// The tensors of one expert; offsets count from the start of the expert. I is the expert's width.
struct ExpertPlaces {
    TensorPlace mlp1_blocks; // mxfp4 [2I, E / 32, 16], rows alternate between gate and up
    TensorPlace mlp1_scales; // [2I, E / 32]
    TensorPlace mlp1_bias;   // bf16 [2I]
    TensorPlace mlp2_blocks; // mxfp4 [E, I / 32, 16]
    TensorPlace mlp2_scales; // [E, I / 32]
    TensorPlace mlp2_bias;   // bf16 [E]
    uint64_t num_bytes;      // of the expert, without padding behind it
    uint64_t stride;         // from one expert to the next
};

struct TokenizerPlaces {
    uint32_t num_special_tokens;
    uint32_t num_text_tokens;
    std::vector<gptoss_special_token> special_tokens; // [num_special_tokens]
    std::string regex;
    std::vector<uint64_t> token_offsets; // [num_text_tokens] of each entry's u16 length, which its bytes follow
};

class ModelFile {
public:
    // Throws Error(invalid_model_file) with offset, expected and found. `name` is what the sentences call the file.
    static ModelFile parse(std::span<const std::byte> bytes, const std::string& name);

    const ModelConfig& config() const { return config_; }
    const TokenizerPlaces& tokenizer() const { return tokenizer_; }
    const DensePlace& embedding() const { return embedding_; }     // [V, E]
    const TensorPlace& final_norm() const { return final_norm_; }  // bf16 [E]
    const DensePlace& unembedding() const { return unembedding_; } // [V, E]
    const BlockPlaces& block(size_t index) const { return blocks_[index]; }
    const ExpertPlaces& expert() const { return expert_; }

    // In the order of the file.
    const std::vector<gptoss_tensor>& tensors() const { return tensors_; }
    // By how much the file would be shorter if all its dense matrices that may be in 8 bits were.
    uint64_t bytes_saved_by_q8() const;

private:
    ModelFile() = default;

    ModelConfig config_{};
    TokenizerPlaces tokenizer_{};
    DensePlace embedding_{};
    TensorPlace final_norm_{};
    DensePlace unembedding_{};
    std::vector<BlockPlaces> blocks_;
    ExpertPlaces expert_{};
    std::vector<gptoss_tensor> tensors_;
};

} // namespace gptoss
