// Keys and values of one context in the GPU's memory, in fp16: half of each block's buffer are keys, half are values.
//
// Full-attention blocks grow with the context, sliding blocks are rings; position p is in slot p % capacity of either.
// The processor copies when blocks grow, and when rings are saved and restored: it waits until the GPU is done with
// the memory first. Used by one thread at a time, as its context is.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "../kv_cache.h"
#include "../model_config.h"
#include "device.h"
#include "kv_memory.h"

namespace gptoss::metal {

// Where a block keeps the keys and values of a context. Valid until the storage grows.
struct KvBlock {
    uint32_t capacity; // slots
    Slice keys;        // half [capacity, G, 64]
    Slice values;      // half [capacity, G, 64]
};

class MetalKvStorage final : public KvStorage {
public:
    // Waits until a command buffer is done, be it with success or failure: whether its results count is the business
    // of those who read them. Throws only if the GPU has stopped answering, as it may still write then.
    using WaitUntilDone = std::function<void(CommandBuffer&)>;

    // Takes no memory yet. `device`, `memory`, from which it will, and what `wait_until_done` refers to have to outlive
    // the storage.
    MetalKvStorage(Device& device,
                   const ModelConfig& config,
                   size_t max_tokens,
                   size_t max_batch_tokens,
                   KvMemory& memory,
                   WaitUntilDone wait_until_done);
    ~MetalKvStorage() override { memory_.give_back(num_bytes()); }
    MetalKvStorage(const MetalKvStorage&) = delete;
    MetalKvStorage& operator=(const MetalKvStorage&) = delete;

    // If `memory` refuses, nothing has changed. Each block grows on its own, so never more than one is there twice. If
    // the device runs out of memory (insufficient_resources), the blocks before have grown, the others are as they
    // were, and no content is lost: what fitted before still does, and another attempt goes on where this one stopped.
    void reserve(size_t num_tokens) override;
    size_t ring_slots() const override { return layout_.ring_slots; }
    // In the processor's memory.
    std::shared_ptr<const RingSnapshot> save_rings(size_t end) const override;
    void restore_rings(const RingSnapshot& snapshot, size_t end) override;
    std::unique_ptr<KvStorage> clone() const override;
    size_t num_bytes() const override;

    KvBlock block(size_t index) const;
    Slice keys(size_t index) const { return block(index).keys; }
    Slice values(size_t index) const { return block(index).values; }
    uint32_t capacity(size_t index) const { return block(index).capacity; }

    // The last command buffer that uses this memory, once it is committed. Those before it end before it does.
    void set_last_use(std::shared_ptr<CommandBuffer> commands) { last_use_ = std::move(commands); }

    // Bytes that a storage with these limits takes when it has reserved num_tokens tokens.
    static size_t bytes_for(const ModelConfig& config, size_t num_tokens, size_t max_tokens, size_t max_batch_tokens);

private:
    struct Layout {
        size_t num_blocks;
        size_t num_kv_heads;
        size_t window;
        size_t ring_slots;

        size_t slot_bytes() const { return num_kv_heads * kHeadDim * sizeof(uint16_t); } // of a position's keys
        // Slots of a block that has room for positions [0, num_tokens).
        size_t slots(size_t block, size_t num_tokens) const;
    };
    struct Block {
        size_t capacity = 0;
        std::unique_ptr<Buffer> buffer; // half [2, capacity, G, 64]: keys, then values; null if capacity is 0
    };

    MetalKvStorage(Device& device, const Layout& layout, KvMemory& memory, WaitUntilDone wait_until_done);
    static Layout layout_for(const ModelConfig& config, size_t max_tokens, size_t max_batch_tokens);

    // With the content of `old`, in the same slots. Waits for nothing.
    Block grown_copy(const Block& old, size_t capacity, size_t index) const;
    // Gives every block capacity(index) slots, unless it has as many, with the content that it has in `from`.
    template <class Capacity>
    void grow(const MetalKvStorage& from, const Capacity& capacity);
    void wait_for_last_use() const;
    // Calls copy(ring_bytes, snapshot_offset, num_bytes) for every contiguous piece of positions
    // [end - count, end) in all rings.
    template <class Copy>
    void for_each_ring_piece(size_t end, size_t count, const Copy& copy) const;

    Device& device_;
    Layout layout_;
    KvMemory& memory_;
    WaitUntilDone wait_until_done_;
    std::vector<Block> blocks_;
    mutable std::shared_ptr<CommandBuffer> last_use_; // null: nothing is in flight
};

} // namespace gptoss::metal
