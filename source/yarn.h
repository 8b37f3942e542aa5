// The frequencies of rotary position embedding, as YaRN stretches them (Peng et al., 2023, section 3.2).
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "model_config.h"

namespace gptoss {

// By how many radians each of a head's pairs turns from one position to the next. Low frequencies are interpolated,
// high ones kept, with a ramp between that is not rounded to whole pairs. The file stores the ramp as a line, offset +
// scale
// * j.
inline std::array<float, kHeadDim / 2> inverse_frequencies(const ModelConfig& config) {
    std::array<float, kHeadDim / 2> result;
    for (size_t j = 0; j < result.size(); j++) {
        const double exponent = -2.0 * static_cast<double>(j) / kHeadDim;
        const double extrapolated = std::pow(static_cast<double>(config.rope_theta), exponent);
        const double interpolated = extrapolated * config.interpolation_scale;
        const double line = static_cast<double>(config.yarn_offset) + static_cast<double>(config.yarn_scale) * j;
        const double ramp = std::clamp(line, 0.0, 1.0);
        result[j] = static_cast<float>(extrapolated * (1.0 - ramp) + interpolated * ramp);
    }
    return result;
}

} // namespace gptoss
