#include "kv_storage.h"

#include <algorithm>
#include <cstring>

#include "kernels.h"

namespace gptoss::cpu {

namespace {

constexpr size_t round_up(size_t value) {
    return (value + kKeyBlock - 1) / kKeyBlock * kKeyBlock;
}

// A batch writes all its keys before its first query reads: the ring holds the batch and the window before it.
size_t ring_slots_for(const ModelConfig& config, size_t max_tokens, size_t max_batch_tokens) {
    return round_up(std::min(max_tokens, size_t{config.attention_window} - 1 + max_batch_tokens));
}

class CpuRingSnapshot final : public RingSnapshot {
public:
    explicit CpuRingSnapshot(size_t size) : heads(size) {}
    size_t num_bytes() const override { return heads.size() * sizeof(uint16_t); }

    std::vector<uint16_t> heads; // fp16 [sliding blocks][num_kv_heads][positions][2][64], ascending positions
};

uint16_t* key_component(const KvHead& head, size_t slot) {
    return head.keys + slot / kKeyBlock * kKeyBlock * kHeadDim + slot % kKeyBlock; // + d * kKeyBlock
}

} // namespace

CpuKvStorage::CpuKvStorage(const ModelConfig& config, size_t max_tokens, size_t max_batch_tokens)
    : num_kv_heads_(config.num_kv_heads),
      window_(config.attention_window),
      ring_slots_(ring_slots_for(config, max_tokens, max_batch_tokens)),
      blocks_(config.num_blocks) {}

KvHead CpuKvStorage::head(size_t block, size_t kv_head) {
    Block& storage = blocks_[block];
    uint16_t* const keys = storage.heads.data() + kv_head * 2 * storage.capacity * kHeadDim;
    return {keys, keys + storage.capacity * kHeadDim, storage.capacity};
}

void CpuKvStorage::reserve(size_t num_tokens) {
    for (size_t index = 0; index < blocks_.size(); index++) {
        Block& block = blocks_[index];
        // A ring too grows with the tokens, until it is whole: before that no position has wrapped around.
        const size_t wanted =
            is_sliding_block(index) ? std::min(ring_slots_, round_up(num_tokens)) : round_up(num_tokens);
        if (wanted <= block.capacity) {
            continue;
        }
        CacheMemory heads(num_kv_heads_ * 2 * wanted * kHeadDim);
        for (size_t half = 0; half < num_kv_heads_ * 2; half++) { // each head's keys, each head's values
            std::copy_n(block.heads.data() + half * block.capacity * kHeadDim, block.capacity * kHeadDim,
                        heads.data() + half * wanted * kHeadDim);
        }
        block.heads = std::move(heads);
        block.capacity = wanted;
    }
}

std::shared_ptr<const RingSnapshot> CpuKvStorage::save_rings(size_t end) const {
    const size_t count = std::min(end, window_);
    auto snapshot = std::make_shared<CpuRingSnapshot>(num_sliding_blocks() * num_kv_heads_ * count * 2 * kHeadDim);
    uint16_t* next = snapshot->heads.data();
    for (size_t block = 0; block < blocks_.size(); block += 2) {
        for (size_t kv_head = 0; kv_head < num_kv_heads_; kv_head++) {
            const KvHead source = const_cast<CpuKvStorage*>(this)->head(block, kv_head);
            for (size_t position = end - count; position < end; position++) {
                const size_t slot = position % source.capacity;
                const uint16_t* const keys = key_component(source, slot);
                for (size_t d = 0; d < kHeadDim; d++) {
                    *next++ = keys[d * kKeyBlock];
                }
                next = std::copy_n(source.values + slot * kHeadDim, kHeadDim, next);
            }
        }
    }
    return snapshot;
}

void CpuKvStorage::restore_rings(const RingSnapshot& snapshot, size_t end) {
    const size_t count = std::min(end, window_);
    const uint16_t* next = static_cast<const CpuRingSnapshot&>(snapshot).heads.data();
    for (size_t block = 0; block < blocks_.size(); block += 2) {
        for (size_t kv_head = 0; kv_head < num_kv_heads_; kv_head++) {
            const KvHead target = head(block, kv_head);
            for (size_t position = end - count; position < end; position++) {
                const size_t slot = position % target.capacity;
                uint16_t* const keys = key_component(target, slot);
                for (size_t d = 0; d < kHeadDim; d++) {
                    keys[d * kKeyBlock] = *next++;
                }
                std::copy_n(next, kHeadDim, target.values + slot * kHeadDim);
                next += kHeadDim;
            }
        }
    }
}

std::unique_ptr<KvStorage> CpuKvStorage::clone() const {
    return std::make_unique<CpuKvStorage>(*this);
}

size_t CpuKvStorage::num_bytes() const {
    size_t total = 0;
    for (const Block& block : blocks_) {
        total += block.heads.size() * sizeof(uint16_t);
    }
    return total;
}

size_t CpuKvStorage::bytes_for(const ModelConfig& config,
                               size_t num_tokens,
                               size_t max_tokens,
                               size_t max_batch_tokens) {
    const size_t bytes_per_slot = size_t{config.num_kv_heads} * 2 * kHeadDim * sizeof(uint16_t);
    const size_t num_sliding = (size_t{config.num_blocks} + 1) / 2;
    const size_t num_full = config.num_blocks - num_sliding;
    const size_t ring_slots = std::min(ring_slots_for(config, max_tokens, max_batch_tokens), round_up(num_tokens));
    return bytes_per_slot * (num_sliding * ring_slots + num_full * round_up(num_tokens));
}

} // namespace gptoss::cpu
