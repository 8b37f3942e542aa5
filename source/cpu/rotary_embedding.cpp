#include "rotary_embedding.h"

#include <cmath>

#include "yarn.h"

namespace gptoss::cpu {

RotaryEmbedding::RotaryEmbedding(const ModelConfig& config)
    : inverse_frequencies_(inverse_frequencies(config)), concentration_(config.yarn_multiplier) {}

Rotation RotaryEmbedding::rotation(size_t position) const {
    Rotation result;
    for (size_t j = 0; j < kHeadDim / 2; j++) {
        // The product in fp32, as the models were trained; then the C library's sine and cosine, which reduce large
        // angles precisely.
        const float angle = static_cast<float>(position) * inverse_frequencies_[j];
        const float cosine = std::cos(angle) * concentration_;
        const float sine = std::sin(angle) * concentration_;
        result.cosines[2 * j] = cosine;
        result.cosines[2 * j + 1] = cosine;
        result.sines[2 * j] = -sine;
        result.sines[2 * j + 1] = sine;
    }
    return result;
}

} // namespace gptoss::cpu
