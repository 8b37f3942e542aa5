// Attention in float64.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace gptoss::metal {

// A span of rows of one context, and its cache: position p in slot p % capacity. H heads in G groups, of 64 elements.
struct AttentionCase {
    uint32_t num_heads;
    uint32_t num_kv_heads;
    uint32_t num_rows;
    uint32_t first_position;
    uint32_t window; // 0: none
    uint32_t capacity;
};

// [num_rows, H, 64]: softmax(q . k, with the sink as one more column) . v over the keys that each row sees.
std::vector<double> attend(const AttentionCase& c,
                           const std::vector<double>& queries, // [num_rows, H, 64]
                           const std::vector<double>& keys,    // [capacity, G, 64]
                           const std::vector<double>& values,  // [capacity, G, 64]
                           const std::vector<double>& sinks);  // [H]

// Merges splits that were attended to apart; each gives its greatest score, its sum of exp(score - greatest), and the
// values weighted by these. -> [vectors, 64]
std::vector<double> combine(size_t num_heads,
                            size_t num_splits,
                            const std::vector<double>& split_values,          // [vectors, splits, 64]
                            const std::vector<double>& split_maxima_and_sums, // [vectors, splits, 2]
                            const std::vector<double>& sinks);                // [H]; vector v has head v % H

} // namespace gptoss::metal
