// Rotary position embedding with YaRN's frequencies.
#pragma once

#include <array>
#include <cstddef>

#include "model_config.h"

namespace gptoss::cpu {

// cos and sin, multiplied by YaRN's concentration, of one position's angles, as they are multiplied with a head: pairs
// are neighbours, because the converter permuted the rows of q and k. Each cosine is there twice; each sine first with
// the other sign, for the even component of a pair, and then as it is.
struct Rotation {
    float cosines[kHeadDim];
    float sines[kHeadDim];
};

class RotaryEmbedding {
public:
    explicit RotaryEmbedding(const ModelConfig& config);

    Rotation rotation(size_t position) const;

private:
    std::array<float, kHeadDim / 2> inverse_frequencies_;
    float concentration_;
};

} // namespace gptoss::cpu
