// Rotary position embedding with YaRN's frequencies.
#pragma once

#include <cstddef>
#include <vector>

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
    float inverse_frequencies_[kHeadDim / 2];
    float concentration_;
};

} // namespace gptoss::cpu
