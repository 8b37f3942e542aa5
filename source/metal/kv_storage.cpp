#include "kv_storage.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "../errors.h"

namespace gptoss::metal {

namespace {

// Rows that a ring has room for beside the window before them. A batch writes all its keys before its first query
// reads. And of batches of one row there are up to two in flight that the cache does not count yet (TokenStream): the
// window before the first of them, and the position before that, which snapshots keep, have to stay intact.
constexpr size_t kMinRingRows = 3;

// In the processor's memory, so that snapshots do not count among what the GPU may hold.
class MetalRingSnapshot final : public RingSnapshot {
public:
    explicit MetalRingSnapshot(size_t size) : bytes(size) {}
    size_t num_bytes() const override { return bytes.size(); }

    std::vector<std::byte> bytes; // half [sliding blocks, keys and values, positions, G, 64], ascending positions
};

} // namespace

size_t MetalKvStorage::Layout::slots(size_t block, size_t num_tokens) const {
    // A ring, too, grows with the tokens until it is whole: before that, no position has wrapped around.
    return is_sliding_block(block) ? std::min(ring_slots, num_tokens) : num_tokens;
}

MetalKvStorage::Layout MetalKvStorage::layout_for(const ModelConfig& config,
                                                  size_t max_tokens,
                                                  size_t max_batch_tokens) {
    return {.num_blocks = config.num_blocks,
            .num_kv_heads = config.num_kv_heads,
            .window = config.attention_window,
            .ring_slots = std::min(max_tokens, config.attention_window - 1 + std::max(max_batch_tokens, kMinRingRows))};
}

MetalKvStorage::MetalKvStorage(Device& device,
                               const ModelConfig& config,
                               size_t max_tokens,
                               size_t max_batch_tokens,
                               KvMemory& memory,
                               WaitUntilDone wait_until_done)
    : MetalKvStorage(device, layout_for(config, max_tokens, max_batch_tokens), memory, std::move(wait_until_done)) {}

MetalKvStorage::MetalKvStorage(Device& device, const Layout& layout, KvMemory& memory, WaitUntilDone wait_until_done)
    : device_(device),
      layout_(layout),
      memory_(memory),
      wait_until_done_(std::move(wait_until_done)),
      blocks_(layout.num_blocks) {}

size_t MetalKvStorage::bytes_for(const ModelConfig& config,
                                 size_t num_tokens,
                                 size_t max_tokens,
                                 size_t max_batch_tokens) {
    const Layout layout = layout_for(config, max_tokens, max_batch_tokens);
    size_t num_slots = 0;
    for (size_t index = 0; index < layout.num_blocks; index++) {
        num_slots += layout.slots(index, num_tokens);
    }
    return num_slots * 2 * layout.slot_bytes();
}

size_t MetalKvStorage::num_bytes() const {
    size_t num_slots = 0;
    for (const Block& block : blocks_) {
        num_slots += block.capacity;
    }
    return num_slots * 2 * layout_.slot_bytes();
}

KvBlock MetalKvStorage::block(size_t index) const {
    const Block& block = blocks_[index];
    const size_t size = block.capacity * layout_.slot_bytes();
    return {.capacity = static_cast<uint32_t>(block.capacity),
            .keys = Slice(block.buffer.get(), 0, size),
            .values = Slice(block.buffer.get(), size, size)};
}

void MetalKvStorage::wait_for_last_use() const {
    if (last_use_ != nullptr) {
        wait_until_done_(*last_use_);
        last_use_ = nullptr; // it would keep alive what it used
    }
}

MetalKvStorage::Block MetalKvStorage::grown_copy(const Block& old, size_t capacity, size_t index) const {
    const size_t size = capacity * layout_.slot_bytes();
    const size_t old_size = old.capacity * layout_.slot_bytes();
    Block grown = {capacity, device_.make_buffer(2 * size, "the keys and values of block " + std::to_string(index))};
    if (old_size != 0) {
        std::memcpy(grown.buffer->data(), old.buffer->data(), old_size);
        std::memcpy(grown.buffer->data() + size, old.buffer->data() + old_size, old_size);
    }
    return grown;
}

template <class Capacity>
void MetalKvStorage::grow(const MetalKvStorage& from, const Capacity& capacity) {
    const auto growth = [&](size_t index) {
        const size_t slots = std::max(capacity(index), blocks_[index].capacity) - blocks_[index].capacity;
        return slots * 2 * layout_.slot_bytes();
    };
    uint64_t left = 0; // of what is taken from memory_, bytes that no block has yet
    for (size_t index = 0; index < blocks_.size(); index++) {
        left += growth(index);
    }
    if (left == 0) {
        return;
    }
    memory_.take(left);
    try {
        from.wait_for_last_use();
        for (size_t index = 0; index < blocks_.size(); index++) {
            if (const size_t num_bytes = growth(index); num_bytes != 0) {
                blocks_[index] = grown_copy(from.blocks_[index], capacity(index), index);
                left -= num_bytes;
            }
        }
    } catch (...) {
        memory_.give_back(left);
        throw;
    }
}

void MetalKvStorage::reserve(size_t num_tokens) {
    grow(*this, [&](size_t index) { return layout_.slots(index, num_tokens); });
}

template <class Copy>
void MetalKvStorage::for_each_ring_piece(size_t end, size_t count, const Copy& copy) const {
    const size_t slot_bytes = layout_.slot_bytes();
    size_t offset = 0; // in the snapshot
    if (count == 0) {
        return; // there may be no memory yet
    }
    for (size_t index = 0; index < blocks_.size(); index++) {
        if (!is_sliding_block(index)) {
            continue;
        }
        const Block& block = blocks_[index];
        if (end > layout_.ring_slots ? block.capacity != layout_.ring_slots : block.capacity < end) {
            fail(gptoss_status_internal_error, "The ring of block ", index, " has ", block.capacity,
                 " slots, too few for position ", end, ". This is a defect of gptoss: please report it.");
        }
        for (size_t half = 0; half < 2; half++) { // keys, values
            std::byte* const ring = block.buffer->data() + half * block.capacity * slot_bytes;
            for (size_t position = end - count; position < end;) {
                const size_t slot = position % block.capacity;
                const size_t num_slots = std::min(end - position, block.capacity - slot);
                copy(ring + slot * slot_bytes, offset, num_slots * slot_bytes);
                offset += num_slots * slot_bytes;
                position += num_slots;
            }
        }
    }
}

std::shared_ptr<const RingSnapshot> MetalKvStorage::save_rings(size_t end) const {
    const size_t count = std::min(end, layout_.window);
    const size_t num_rings = (layout_.num_blocks + 1) / 2;
    auto snapshot = std::make_shared<MetalRingSnapshot>(num_rings * 2 * count * layout_.slot_bytes());
    wait_for_last_use();
    for_each_ring_piece(end, count, [&](const std::byte* ring, size_t offset, size_t num_bytes) {
        std::memcpy(snapshot->bytes.data() + offset, ring, num_bytes);
    });
    return snapshot;
}

void MetalKvStorage::restore_rings(const RingSnapshot& snapshot, size_t end) {
    const auto& bytes = static_cast<const MetalRingSnapshot&>(snapshot).bytes;
    wait_for_last_use();
    for_each_ring_piece(end, std::min(end, layout_.window), [&](std::byte* ring, size_t offset, size_t num_bytes) {
        std::memcpy(ring, bytes.data() + offset, num_bytes);
    });
}

std::unique_ptr<KvStorage> MetalKvStorage::clone() const {
    auto copy = std::unique_ptr<MetalKvStorage>(new MetalKvStorage(device_, layout_, memory_, wait_until_done_));
    copy->grow(*this, [&](size_t index) { return blocks_[index].capacity; });
    return copy;
}

} // namespace gptoss::metal
