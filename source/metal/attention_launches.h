// Launches of rotary embedding and attention, for all spans of a batch in one block.
//
// Each span has a cache of its own, so each is launched on its own; those of one step run side by side. A span is
// either decoded (few rows: its keys are divided among splits, whose sums a second launch merges) or prefilled (many:
// tiles of its queries pass over the keys). The barriers between the launches of a function are its own; none comes
// before its first launch or after its last one.
// H query heads, G key/value heads; every head has 64 elements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "dense_launches.h"
#include "encoder.h"

namespace gptoss::metal {

// Consecutive rows of one context, and its cache in one block (KvBlock in kv_storage.h). The rows of a batch's spans
// follow each other, without gaps, from row 0 on.
struct AttentionSpan {
    uint32_t num_rows;
    uint32_t first_position; // of its first row
    uint32_t window;         // keys that a query sees, its own position's included; 0: all
    uint32_t capacity;       // slots of the cache: at least as many as the rows see together
    Slice keys;              // half [capacity, G, 64], position p in slot p % capacity
    Slice values;            // half [capacity, G, 64]
};

// Whether a span of so many rows is prefilled; if not, it is decoded.
constexpr bool is_prefilled(uint32_t num_rows) {
    return num_rows > kMaxFewRows;
}

// Rotates queries and keys, and puts keys and values into the caches. One launch for each span; for batches of two
// rows and more, since the projection of a single row does it all.
void launch_rope(Encoder& encoder,
                 const ModelConfig& config,
                 std::span<const AttentionSpan> spans,
                 const Slice& qkv,                 // fp32 [rows, H + 2G, 64]
                 const Slice& inverse_frequencies, // fp32 [32]
                 const Slice& queries);            // fp32 [rows, H, 64], written

// Sums of the splits, of all spans of a batch that are decoded. Nobody else reads them.
struct AttentionWorkspace {
    Slice split_values; // fp32, of each span in turn [num_rows, H, splits, 64]
    Slice split_sums;   // fp32, likewise [num_rows, H, splits, 2]: maximum, and sum of exp(score - maximum)
};

// Bytes of its members that suffice for any batch of up to max_rows rows.
struct AttentionWorkspaceBytes {
    size_t split_values;
    size_t split_sums;

    size_t total() const { return split_values + split_sums; }
};
AttentionWorkspaceBytes attention_workspace_bytes(const ModelConfig& config, size_t max_rows);

struct AttentionBuffers {
    Slice queries; // fp32 [rows, H, 64]
    Slice sinks;   // bf16 [H]
    Slice output;  // fp32 [rows, H, 64], written
};

// output = softmax(q . k with the sink as one more column) . v. The spans' keys and values are in their caches.
// One row: 2 launches. Otherwise 2 for each decoded span, and 1 for each prefilled one.
void launch_attention(Encoder& encoder,
                      const ModelConfig& config,
                      std::span<const AttentionSpan> spans,
                      const AttentionBuffers& buffers,
                      const AttentionWorkspace& workspace);

// Into how many splits the keys of a decoded span are divided, where num_decoded spans of a batch are decoded.
uint32_t num_attention_splits(const ModelConfig& config, const AttentionSpan& span, size_t num_decoded);

} // namespace gptoss::metal
