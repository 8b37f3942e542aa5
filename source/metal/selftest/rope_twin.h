// Rotary position embedding in float64, as the model file stores heads: pairs are neighbours.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../../model_config.h"

namespace gptoss::metal {

// [32] of the 20b and the 120b: YaRN, factor 32 over 4,096 tokens, base 150,000.
std::vector<float> inverse_frequencies();

// What YaRN multiplies cosines and sines by: 0.1 ln 32 + 1.
constexpr float kConcentration = 1.3465736f;

// heads [num_rows, heads of a row, 64], the rows at neighbouring positions.
std::vector<double> rotate(std::vector<double> heads, size_t num_rows, uint32_t first_position);

} // namespace gptoss::metal
