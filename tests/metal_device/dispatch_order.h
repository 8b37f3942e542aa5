// In which order the dispatches of a command buffer run when it is to be random: a GPU promises none between barriers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <span>
#include <vector>

namespace gptoss::metal::host {

// A permutation of 0 to num_dispatches - 1. `barriers`: before which dispatch each of them is, in ascending order; no
// dispatch moves past one. The same seed gives the same order.
inline std::vector<size_t> random_dispatch_order(size_t num_dispatches,
                                                 std::span<const size_t> barriers,
                                                 uint64_t seed) {
    std::vector<size_t> order(num_dispatches);
    std::iota(order.begin(), order.end(), size_t{0});
    std::mt19937_64 random(seed);
    auto begin = order.begin();
    for (const size_t barrier : barriers) {
        const auto end = order.begin() + static_cast<std::ptrdiff_t>(barrier);
        std::shuffle(begin, end, random);
        begin = end;
    }
    std::shuffle(begin, order.end(), random);
    return order;
}

} // namespace gptoss::metal::host
