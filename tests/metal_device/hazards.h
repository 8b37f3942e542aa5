// Dispatches that need a barrier between them and have none, and barriers that nothing needs.
//
// Between two barriers, a GPU may run dispatches at the same time or in any order. So two of them may touch the same
// bytes only if both read them.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "dispatch.h"

namespace gptoss::metal::host {

// "dispatch 5 (attention_combine)"; dispatches are counted from 1.
std::string dispatch_name(std::span<const Dispatch> dispatches, size_t index);

// The first hazard, in words, or an empty string. `barriers`: before which dispatch each of them is, in ascending
// order.
std::string find_hazard(std::span<const Dispatch> dispatches, std::span<const size_t> barriers);

// The barriers without which there would be no hazard, if all others stay: "before dispatch 5 (attention_combine)".
std::vector<std::string> find_unneeded_barriers(std::span<const Dispatch> dispatches, std::span<const size_t> barriers);

} // namespace gptoss::metal::host
