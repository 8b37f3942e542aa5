#include "rope_twin.h"

#include <algorithm>
#include <cmath>

namespace gptoss::metal {

std::vector<float> inverse_frequencies() {
    constexpr double kBase = 150000;
    constexpr double kFactor = 32;
    constexpr double kOriginalContext = 4096;
    constexpr double kTwoPi = 6.283185307179586;
    const auto pair_with_turns = [](double turns) {
        return kHeadDim / 2 * std::log(kOriginalContext / (kTwoPi * turns)) / std::log(kBase);
    };
    const double low = pair_with_turns(32);
    const double high = pair_with_turns(1);
    std::vector<float> frequencies(kHeadDim / 2);
    for (size_t j = 0; j < frequencies.size(); j++) {
        const double extrapolated = std::pow(kBase, -2.0 * static_cast<double>(j) / kHeadDim);
        const double ramp = std::clamp((static_cast<double>(j) - low) / (high - low), 0.0, 1.0);
        frequencies[j] = static_cast<float>(extrapolated * (1 - ramp) + extrapolated / kFactor * ramp);
    }
    return frequencies;
}

std::vector<double> rotate(std::vector<double> heads, size_t num_rows, uint32_t first_position) {
    const std::vector<float> frequencies = inverse_frequencies();
    const size_t elements_per_row = heads.size() / num_rows;
    for (size_t i = 0; i < heads.size(); i += 2) {
        const size_t position = first_position + i / elements_per_row;
        // The product is fp32, as the models were trained.
        const float angle = static_cast<float>(position) * frequencies[i % kHeadDim / 2];
        const double cosine = std::cos(static_cast<double>(angle)) * kConcentration;
        const double sine = std::sin(static_cast<double>(angle)) * kConcentration;
        const double a = heads[i];
        const double b = heads[i + 1];
        heads[i] = a * cosine - b * sine;
        heads[i + 1] = b * cosine + a * sine;
    }
    return heads;
}

} // namespace gptoss::metal
