#include "rotary_embedding.h"

#include <algorithm>
#include <cmath>

namespace gptoss::cpu {

// Peng et al., YaRN, 2023, section 3.2: low frequencies are interpolated, high ones kept, with a ramp between that is
// not rounded to whole pairs. The file stores the ramp as a line, offset + scale * j.
RotaryEmbedding::RotaryEmbedding(const ModelConfig& config) : concentration_(config.yarn_multiplier) {
    for (size_t j = 0; j < kHeadDim / 2; j++) {
        const double exponent = -2.0 * static_cast<double>(j) / kHeadDim;
        const double extrapolated = std::pow(static_cast<double>(config.rope_theta), exponent);
        const double interpolated = extrapolated * config.interpolation_scale;
        const double line = static_cast<double>(config.yarn_offset) + static_cast<double>(config.yarn_scale) * j;
        const double ramp = std::clamp(line, 0.0, 1.0);
        inverse_frequencies_[j] = static_cast<float>(extrapolated * (1.0 - ramp) + interpolated * ramp);
    }
}

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
