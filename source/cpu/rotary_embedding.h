// Rotary position embedding with YaRN's frequencies.
#pragma once

#include <array>
#include <cstddef>

#include "model_config.h"

namespace gptoss::cpu {

// cos and sin, multiplied by YaRN's concentration, of one position's angles.
struct Rotation {
    float cosines[kHeadDim / 2];
    float sines[kHeadDim / 2];
};

class RotaryEmbedding {
public:
    explicit RotaryEmbedding(const ModelConfig& config);

    Rotation rotation(size_t position) const;

    // Rotates one head, [64], in place. Pairs are neighbours: the converter permuted the rows of q and k.
    static void apply(const Rotation& rotation, float* head);

private:
    std::array<float, kHeadDim / 2> inverse_frequencies_;
    float concentration_;
};

} // namespace gptoss::cpu
