// Keys and values of one context in the memory of this machine, in fp16.
#pragma once

#include <memory>
#include <vector>

#include "cache_memory.h"
#include "kv_cache.h"
#include "model_config.h"

namespace gptoss::cpu {

// What one block's attention reads of one key/value head (kernels.h, AttentionArguments).
struct KvHead {
    uint16_t* keys;   // fp16 [capacity / 16][64][16]
    uint16_t* values; // fp16 [capacity][64]
    size_t capacity;  // position p is in slot p % capacity
};

class CpuKvStorage final : public KvStorage {
public:
    CpuKvStorage(const ModelConfig& config, size_t max_tokens, size_t max_batch_tokens);

    void reserve(size_t num_tokens) override;
    size_t ring_slots() const override { return ring_slots_; }
    std::shared_ptr<const RingSnapshot> save_rings(size_t end) const override;
    void restore_rings(const RingSnapshot& snapshot, size_t end) override;
    std::unique_ptr<KvStorage> clone() const override;
    size_t num_bytes() const override;

    KvHead head(size_t block, size_t kv_head);

    // Bytes that a storage with these limits takes when it holds num_tokens tokens.
    static size_t bytes_for(const ModelConfig& config, size_t num_tokens, size_t max_tokens, size_t max_batch_tokens);

private:
    // One head's keys, then its values.
    struct Block {
        size_t capacity = 0; // slots of each head, a multiple of 16
        CacheMemory heads;   // fp16 [num_kv_heads][2][capacity * 64]
    };

    size_t num_sliding_blocks() const { return (blocks_.size() + 1) / 2; }

    size_t num_kv_heads_;
    size_t window_;
    size_t ring_slots_;
    std::vector<Block> blocks_;
};

} // namespace gptoss::cpu
