// The attention of the CPU backend: which thread rotates, caches and attends to what. The arithmetic is in
// kernels/attention.inl.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "backend.h"
#include "kernels.h"
#include "kv_storage.h"
#include "model_config.h"
#include "rotary_embedding.h"
#include "thread_pool.h"

namespace gptoss::cpu {

class Attention {
public:
    // All of them have to outlive this.
    Attention(const ModelConfig& config, const Kernels& kernels, ThreadPool& pool);

    // Bytes allocated so far; and what they come to when the largest batch has had num_rows tokens, in contexts of at
    // most a few thousand. Longer ones take up to kMaxSplitFloats more.
    size_t workspace_bytes() const;
    static size_t workspace_bytes_for(const ModelConfig& config, size_t num_threads, size_t num_rows);

    // `batch` must stay alive and unchanged until the next begin().
    void begin(const Batch& batch);
    // Rotates the queries of qkv, [rows, (H + 2G) D], in place; puts the keys, rotated, and the values into the caches
    // of `block`.
    void rotate_and_cache(size_t block, float* qkv);
    // The rows that attend() has from now on, until the next begin(): those of the batch at `kept`, ascending.
    void keep_rows(const std::vector<uint32_t>& kept);
    // output, [rows, H D], of the queries of qkv over what the caches of `block` hold. sinks: bf16 [H].
    void attend(size_t block, const uint16_t* sinks, const float* qkv, float* output);

private:
    // Consecutive rows of one span.
    struct Rows {
        KvStorage* storage;
        size_t first_row;
        size_t first_position;
        size_t num_rows;
    };

    AttentionArguments arguments(size_t block, const Rows& rows, size_t kv_head, uint32_t thread);
    void attend_whole(size_t block, size_t operations_per_task);
    void attend_in_ranges(size_t block, size_t num_ranges);

    const ModelConfig& config_;
    const Kernels& kernels_;
    ThreadPool& pool_;
    const RotaryEmbedding rotary_embedding_;
    const size_t group_;         // query heads that share a key/value head
    const size_t attention_dim_; // H D
    const size_t qkv_dim_;       // (H + 2G) D

    size_t num_rows_ = 0;
    std::vector<Rotation> rotations_; // [rows]
    std::vector<Rows> blocks_;        // the batch, cut where a block of keys ends
    std::vector<Rows> tiles_;         // the batch, cut into what one task attends for
    std::vector<float> sinks_;        // [H] of the block that attends
    const float* qkv_ = nullptr;      // of the block that attends
    float* output_ = nullptr;         // as qkv_
    const size_t scratch_stride_;
    std::vector<float> scratch_; // [threads, scratch_stride_]
    std::vector<float> results_; // [tiles, G, ranges, rows of a tile] of attention_range
};

} // namespace gptoss::cpu
