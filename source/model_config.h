// The hyperparameters of a model, as its file's header gives them.
#pragma once

#include "gptoss.h"

namespace gptoss {

using ModelConfig = gptoss_model_config;

// Even blocks attend to a sliding window, odd blocks to everything.
constexpr bool is_sliding_block(size_t block) {
    return block % 2 == 0;
}

// The only head size that the format's folded attention scale, 0.5 * 0.25 = 1 / sqrt(64), is right for.
constexpr size_t kHeadDim = 64;

// Elements that share one MXFP4 scale.
constexpr size_t kMxfp4BlockSize = 32;

// Elements of a row that share the scale of their 8-bit codes.
constexpr size_t kQ8BlockSize = 32;

} // namespace gptoss
