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
        result.cosines[j] = std::cos(angle) * concentration_;
        result.sines[j] = std::sin(angle) * concentration_;
    }
    return result;
}

void RotaryEmbedding::apply(const Rotation& rotation, float* head) {
    for (size_t j = 0; j < kHeadDim / 2; j++) {
        const float a = head[2 * j];
        const float b = head[2 * j + 1];
        head[2 * j] = a * rotation.cosines[j] - b * rotation.sines[j];
        head[2 * j + 1] = b * rotation.cosines[j] + a * rotation.sines[j];
    }
}

} // namespace gptoss::cpu
