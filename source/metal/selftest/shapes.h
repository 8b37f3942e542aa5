// Shapes of models that the checks run in.
#pragma once

#include <cstdint>

#include "../../model_config.h"
#include "rope_twin.h"

namespace gptoss::metal {

// gpt-oss-20b, with one block and a vocabulary of this size.
inline ModelConfig shape_20b(uint32_t vocabulary_size = 201088) {
    ModelConfig config{};
    config.context_length = 131072;
    config.num_blocks = 1;
    config.num_experts = 32;
    config.num_active_experts = 4;
    config.embedding_dim = 2880;
    config.mlp_dim = 2880;
    config.swiglu_limit = 7.0f;
    config.head_dim = 64;
    config.num_heads = 64;
    config.num_kv_heads = 8;
    config.attention_window = 128;
    config.rope_theta = 150000.0f;
    config.yarn_multiplier = kConcentration;
    config.rmsnorm_epsilon = 1e-5f;
    config.vocabulary_size = vocabulary_size;
    return config;
}

// The same in small, and not round: 3 blocks of 32 columns, 7 of an expert's, 6 heads in 2 groups, 5 experts.
inline ModelConfig small_shape() {
    ModelConfig config = shape_20b(203);
    config.num_experts = 5;
    config.num_active_experts = 3;
    config.embedding_dim = 96;
    config.mlp_dim = 224;
    config.num_heads = 6;
    config.num_kv_heads = 2;
    config.attention_window = 40;
    return config;
}

} // namespace gptoss::metal
