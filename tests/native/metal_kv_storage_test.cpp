// Keys and values on a GPU, as source/metal/kv_storage.h promises: what is kept when blocks grow, rings wrap, memory
// runs out or a context rewinds, and that the processor waits for the GPU before it touches what that may use.
//
// No kernel runs here. The tests write slots as one would, on a device whose memory can run out.
#include "metal/kv_storage.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "check.h"
#include "errors.h"
#include "kv_cache.h"

namespace {

using namespace gptoss;
using namespace gptoss::metal;

// Counts what is allocated; no command buffers, no kernels.
class MemoryDevice final : public Device {
public:
    const DeviceInfo& info() const override { return info_; }
    std::unique_ptr<Buffer> make_buffer(size_t num_bytes, const std::string& label) override {
        if (num_left_ == 0) {
            fail(gptoss_status_insufficient_resources, "no memory for ", label);
        }
        num_left_--;
        bytes_ += num_bytes;
        peak_ = std::max(peak_, bytes_);
        return std::make_unique<HeapBuffer>(*this, num_bytes);
    }
    std::unique_ptr<Buffer> map_buffer(std::span<const std::byte>, const std::string&) override { return nullptr; }
    std::unique_ptr<Pipeline> make_pipeline(const std::string&,
                                            const std::string&,
                                            std::span<const FunctionConstant>) override {
        return nullptr;
    }
    std::shared_ptr<CommandBuffer> begin(const std::string&) override { return nullptr; }

    void allow(size_t num_buffers) { num_left_ = num_buffers; }
    size_t bytes() const { return bytes_; }
    size_t peak() const { return peak_; }

private:
    class HeapBuffer final : public Buffer {
    public:
        HeapBuffer(MemoryDevice& device, size_t size) : device_(device), bytes_(size) {}
        ~HeapBuffer() override { device_.bytes_ -= bytes_.size(); }
        std::byte* data() const override { return const_cast<std::byte*>(bytes_.data()); }
        size_t size() const override { return bytes_.size(); }

    private:
        MemoryDevice& device_;
        std::vector<std::byte> bytes_;
    };

    DeviceInfo info_;
    size_t num_left_ = SIZE_MAX;
    size_t bytes_ = 0;
    size_t peak_ = 0;
};

class Commands final : public CommandBuffer {
public:
    void use(const Pipeline&) override {}
    void bind(uint32_t, const Slice&) override {}
    void bind_bytes(uint32_t, std::span<const std::byte>) override {}
    void bind_threadgroup_memory(uint32_t, size_t) override {}
    void dispatch(Extent, Extent) override {}
    void barrier() override {}
    void commit() override {}
    double wait(std::chrono::steady_clock::time_point) override { return 0; }
};

constexpr uint32_t kNumKvHeads = 2;
constexpr uint32_t kWindow = 8;

gptoss_model_config config_of(uint32_t num_blocks) {
    gptoss_model_config config{};
    config.num_blocks = num_blocks;
    config.num_kv_heads = kNumKvHeads;
    config.attention_window = kWindow;
    config.context_length = 1000;
    config.head_dim = kHeadDim;
    return config;
}

// A device, and how often somebody waited for it.
struct Gpu {
    MemoryDevice device;
    uint64_t limit = UINT64_MAX; // bytes of all storages together
    KvMemory memory{[this](uint64_t used, uint64_t more) {
        if (more > limit - used) {
            fail(gptoss_status_insufficient_resources, "above the limit");
        }
    }};
    std::vector<const CommandBuffer*> waited_for;
    bool is_lost = false;

    MetalKvStorage storage(uint32_t num_blocks, size_t max_tokens, size_t max_batch_tokens) {
        return MetalKvStorage(device, config_of(num_blocks), max_tokens, max_batch_tokens, memory,
                              [this](CommandBuffer& commands) {
                                  waited_for.push_back(&commands);
                                  if (is_lost) {
                                      fail(gptoss_status_internal_error, "lost");
                                  }
                              });
    }
};

// What `writer` puts into the slot of a position: a number that differs for each block, position, and keys or values.
uint16_t element(size_t writer, size_t block, size_t position, size_t half, size_t i) {
    return static_cast<uint16_t>(writer * 40503 + block * 9973 + position * 257 + half * 31 + i);
}

constexpr size_t kSlotElements = kNumKvHeads * kHeadDim;

// As the GPU writes positions [begin, end) of all blocks.
void write(const MetalKvStorage& storage, uint32_t num_blocks, size_t begin, size_t end, size_t writer) {
    for (size_t block = 0; block < num_blocks; block++) {
        const KvBlock place = storage.block(block);
        for (size_t position = begin; position < end; position++) {
            const size_t first = position % place.capacity * kSlotElements;
            for (size_t i = 0; i < kSlotElements; i++) {
                place.keys.as<uint16_t>()[first + i] = element(writer, block, position, 0, i);
                place.values.as<uint16_t>()[first + i] = element(writer, block, position, 1, i);
            }
        }
    }
}

bool has(const MetalKvStorage& storage, size_t block, size_t position, size_t writer) {
    const KvBlock place = storage.block(block);
    const size_t first = position % place.capacity * kSlotElements;
    for (size_t i = 0; i < kSlotElements; i++) {
        if (place.keys.as<uint16_t>()[first + i] != element(writer, block, position, 0, i) ||
            place.values.as<uint16_t>()[first + i] != element(writer, block, position, 1, i)) {
            return false;
        }
    }
    return true;
}

// Whether the blocks of one kind (even: rings, odd: full) hold positions [begin, end) as `writer` wrote them.
bool rings_hold(const MetalKvStorage& storage, uint32_t num_blocks, size_t begin, size_t end, size_t writer) {
    for (size_t block = 0; block < num_blocks; block += 2) {
        for (size_t position = begin; position < end; position++) {
            if (!has(storage, block, position, writer)) {
                return false;
            }
        }
    }
    return true;
}

bool full_blocks_hold(const MetalKvStorage& storage, uint32_t num_blocks, size_t begin, size_t end, size_t writer) {
    for (size_t block = 1; block < num_blocks; block += 2) {
        for (size_t position = begin; position < end; position++) {
            if (!has(storage, block, position, writer)) {
                return false;
            }
        }
    }
    return true;
}

// Of the models, what matters here.
gptoss_model_config config_20b() {
    gptoss_model_config config = config_of(24);
    config.num_kv_heads = 8;
    config.attention_window = 128;
    config.context_length = 131072;
    return config;
}

} // namespace

// ---- Sizes

TEST(the_20b_takes_at_most_3_3_gib_for_131072_tokens) {
    const size_t bytes = MetalKvStorage::bytes_for(config_20b(), 131072, 131072, 2048);
    CHECK(bytes <= size_t{33} * (size_t{1} << 30) / 10);
    // 12 full blocks of all positions, and 12 rings; 2 KB a position for keys and as much for values, in halves.
    CHECK_EQUAL(bytes, 12 * size_t{2048} * (131072 + 128 - 1 + 2048));
}

TEST(a_storage_takes_what_its_size_was_said_to_be) {
    for (const size_t max_batch_tokens : {1, 2, 3, 20, 100}) {
        for (const size_t max_tokens : {1, 7, 50, 100}) {
            for (const uint32_t num_blocks : {1, 2, 5}) {
                Gpu gpu;
                MetalKvStorage storage = gpu.storage(num_blocks, max_tokens, max_batch_tokens);
                CHECK_EQUAL(storage.num_bytes(), size_t{0});
                for (size_t num_tokens = 1; num_tokens <= max_tokens; num_tokens += 13) {
                    storage.reserve(num_tokens);
                    const size_t bytes =
                        MetalKvStorage::bytes_for(config_of(num_blocks), num_tokens, max_tokens, max_batch_tokens);
                    CHECK_EQUAL(storage.num_bytes(), bytes);
                    CHECK_EQUAL(gpu.device.bytes(), bytes);
                    CHECK_EQUAL(gpu.memory.used(), bytes);
                }
            }
        }
    }
}

TEST(a_ring_holds_the_window_before_a_batch_and_the_batch) {
    Gpu gpu;
    CHECK_EQUAL(gpu.storage(2, 1000, 20).ring_slots(), size_t{kWindow - 1 + 20});
    CHECK_EQUAL(gpu.storage(2, 15, 20).ring_slots(), size_t{15});
}

TEST(a_ring_has_room_for_two_tokens_in_flight_after_a_snapshot) {
    Gpu gpu;
    MetalKvStorage storage = gpu.storage(2, 1000, 1);
    storage.reserve(100);
    write(storage, 2, 0, 50, 1);
    write(storage, 2, 50, 52, 2); // queued, but not counted yet
    const auto snapshot = storage.save_rings(50);
    write(storage, 2, 52, 90, 2);
    storage.restore_rings(*snapshot, 50);
    CHECK(rings_hold(storage, 2, 50 - kWindow, 50, 1));
}

// ---- Growing

TEST(blocks_keep_their_content_when_they_grow) {
    Gpu gpu;
    MetalKvStorage storage = gpu.storage(5, 1000, 20);
    size_t num_tokens = 0;
    for (const size_t next : {3, 4, 10, 26, 27, 28, 60, 300}) {
        storage.reserve(next);
        write(storage, 5, num_tokens, next, 1);
        num_tokens = next;
        CHECK(full_blocks_hold(storage, 5, 0, num_tokens, 1));
        CHECK(rings_hold(storage, 5, num_tokens - std::min(num_tokens, storage.ring_slots()), num_tokens, 1));
    }
    CHECK_EQUAL(storage.capacity(0), uint32_t{kWindow - 1 + 20});
    CHECK_EQUAL(storage.capacity(1), uint32_t{300});
}

TEST(reserving_less_changes_nothing) {
    Gpu gpu;
    MetalKvStorage storage = gpu.storage(2, 1000, 20);
    storage.reserve(100);
    const std::byte* const memory = storage.keys(1).as<std::byte>();
    storage.reserve(40);
    storage.reserve(100);
    CHECK(storage.keys(1).as<std::byte>() == memory);
}

TEST(a_growth_that_is_refused_changes_nothing) {
    Gpu gpu;
    MetalKvStorage first = gpu.storage(5, 1000, 20);
    MetalKvStorage second = gpu.storage(5, 1000, 20);
    first.reserve(30);
    write(first, 5, 0, 30, 1);
    second.reserve(30);
    const uint64_t before = gpu.memory.used();
    const uint64_t more = MetalKvStorage::bytes_for(config_of(5), 300, 1000, 20) - first.num_bytes();
    gpu.limit = before + more - 1;
    CHECK_FAILS(gptoss_status_insufficient_resources, "above the limit", first.reserve(300));
    CHECK_FAILS(gptoss_status_insufficient_resources, "above the limit", first.reserve(300));
    CHECK_EQUAL(gpu.memory.used(), before);
    CHECK_EQUAL(gpu.device.bytes(), before);
    CHECK(full_blocks_hold(first, 5, 0, 30, 1));
    gpu.limit++;
    first.reserve(300);
    CHECK(full_blocks_hold(first, 5, 0, 30, 1));
    CHECK_FAILS(gptoss_status_insufficient_resources, "above the limit", second.clone());
    CHECK_EQUAL(gpu.memory.used(), before + more);
}

TEST(what_the_device_refuses_is_not_counted) {
    Gpu gpu;
    MetalKvStorage storage = gpu.storage(5, 1000, 20);
    gpu.device.allow(3);
    CHECK_FAILS(gptoss_status_insufficient_resources, "no memory", storage.reserve(100));
    CHECK_EQUAL(gpu.memory.used(), storage.num_bytes());
    CHECK_EQUAL(gpu.memory.used(), gpu.device.bytes());
}

TEST(never_more_than_one_block_is_there_twice) {
    Gpu gpu;
    MetalKvStorage storage = gpu.storage(9, 1000, 20);
    storage.reserve(400);
    storage.reserve(800);
    const size_t old_block = size_t{2} * 400 * kSlotElements * sizeof(uint16_t);
    CHECK_EQUAL(gpu.device.peak(), storage.num_bytes() + old_block);
}

TEST(memory_that_runs_out_while_growing_loses_nothing) {
    constexpr uint32_t kNumBlocks = 5;
    for (size_t num_allowed = 0; num_allowed < kNumBlocks; num_allowed++) {
        Gpu gpu;
        MetalKvStorage storage = gpu.storage(kNumBlocks, 1000, 100);
        storage.reserve(30);
        write(storage, kNumBlocks, 0, 30, 1);

        gpu.device.allow(num_allowed);
        CHECK_FAILS(gptoss_status_insufficient_resources, "the keys and values of block " + std::to_string(num_allowed),
                    storage.reserve(70));
        CHECK_EQUAL(storage.num_bytes(), gpu.device.bytes());
        CHECK(rings_hold(storage, kNumBlocks, 0, 30, 1));
        CHECK(full_blocks_hold(storage, kNumBlocks, 0, 30, 1));

        storage.reserve(30); // as much as before: takes no memory
        gpu.device.allow(kNumBlocks - num_allowed);
        storage.reserve(70);
        CHECK_EQUAL(storage.num_bytes(), MetalKvStorage::bytes_for(config_of(kNumBlocks), 70, 1000, 100));
        CHECK(rings_hold(storage, kNumBlocks, 0, 30, 1));
        CHECK(full_blocks_hold(storage, kNumBlocks, 0, 30, 1));
    }
}

// ---- Snapshots and copies

TEST(a_snapshot_restores_the_last_window_wherever_the_ring_has_wrapped) {
    constexpr uint32_t kNumBlocks = 3;
    for (size_t end = 1; end < 60; end++) {
        Gpu gpu;
        MetalKvStorage storage = gpu.storage(kNumBlocks, 1000, 12); // 19 slots
        storage.reserve(end);
        write(storage, kNumBlocks, 0, end, 1);
        const auto snapshot = storage.save_rings(end);
        const size_t count = std::min<size_t>(end, kWindow);
        CHECK_EQUAL(snapshot->num_bytes(), 2 * count * 2 * kSlotElements * sizeof(uint16_t));

        storage.reserve(end + 100); // the ring may have grown since
        write(storage, kNumBlocks, 0, end + 100, 2);
        storage.restore_rings(*snapshot, end);
        CHECK(rings_hold(storage, kNumBlocks, end - count, end, 1));
        CHECK(full_blocks_hold(storage, kNumBlocks, 0, end + 100, 2));
    }
}

TEST(an_empty_storage_has_an_empty_snapshot) {
    Gpu gpu;
    MetalKvStorage storage = gpu.storage(2, 1000, 12);
    const auto snapshot = storage.save_rings(0);
    CHECK_EQUAL(snapshot->num_bytes(), size_t{0});
    storage.restore_rings(*snapshot, 0);
    CHECK_EQUAL(storage.clone()->num_bytes(), size_t{0});
}

TEST(storages_count_together_what_they_take) {
    Gpu gpu;
    {
        MetalKvStorage storage = gpu.storage(3, 1000, 12);
        storage.reserve(40);
        const auto clone = storage.clone();
        clone->reserve(80);
        CHECK_EQUAL(gpu.memory.used(), storage.num_bytes() + clone->num_bytes());
        gpu.device.allow(2);
        CHECK_FAILS(gptoss_status_insufficient_resources, "block 2", clone->clone());
        CHECK_EQUAL(gpu.memory.used(), gpu.device.bytes());
    }
    CHECK_EQUAL(gpu.memory.used(), uint64_t{0});
}

TEST(a_clone_is_independent) {
    Gpu gpu;
    MetalKvStorage storage = gpu.storage(3, 1000, 12);
    storage.reserve(40);
    write(storage, 3, 0, 40, 1);
    const auto clone = storage.clone();
    auto& copy = static_cast<MetalKvStorage&>(*clone);
    CHECK_EQUAL(copy.num_bytes(), storage.num_bytes());
    write(storage, 3, 0, 40, 2);
    copy.reserve(80);
    CHECK(rings_hold(copy, 3, 40 - 19, 40, 1));
    CHECK(full_blocks_hold(copy, 3, 0, 40, 1));
    CHECK(full_blocks_hold(storage, 3, 0, 40, 2));
    CHECK_EQUAL(storage.capacity(1), uint32_t{40});
}

TEST(a_clone_without_memory_leaves_the_original) {
    Gpu gpu;
    MetalKvStorage storage = gpu.storage(3, 1000, 12);
    storage.reserve(40);
    write(storage, 3, 0, 40, 1);
    gpu.device.allow(2);
    CHECK_FAILS(gptoss_status_insufficient_resources, "block 2", storage.clone());
    CHECK(full_blocks_hold(storage, 3, 0, 40, 1));
    CHECK_EQUAL(gpu.device.bytes(), storage.num_bytes());
}

// ---- The GPU's use of it

TEST(the_processor_waits_for_the_last_use_before_it_touches_memory) {
    const auto commands = std::make_shared<Commands>();
    const auto waits = [&](const std::function<void(MetalKvStorage&)>& touch) {
        Gpu gpu;
        MetalKvStorage storage = gpu.storage(3, 1000, 12);
        storage.reserve(40);
        const auto snapshot = storage.save_rings(40);
        CHECK(gpu.waited_for.empty());
        storage.set_last_use(commands);
        storage.reserve(40);
        CHECK(gpu.waited_for.empty());
        touch(storage);
        touch(storage); // it is done: nothing to wait for
        return gpu.waited_for == std::vector<const CommandBuffer*>{commands.get()};
    };
    CHECK(waits([](MetalKvStorage& storage) { storage.reserve(storage.capacity(1) + 1); }));
    CHECK(waits([](MetalKvStorage& storage) { storage.save_rings(40); }));
    CHECK(waits([](MetalKvStorage& storage) { storage.clone(); }));
    const auto snapshot = Gpu().storage(3, 1000, 12).save_rings(0);
    CHECK(waits([&](MetalKvStorage& storage) { storage.restore_rings(*snapshot, 0); }));
    CHECK_EQUAL(commands.use_count(), 1L); // what was waited for is let go, and with it the memory that it used
}

TEST(a_lost_gpu_leaves_the_storage_as_it_was) {
    Gpu gpu;
    MetalKvStorage storage = gpu.storage(3, 1000, 12);
    storage.reserve(40);
    const auto commands = std::make_shared<Commands>();
    storage.set_last_use(commands);
    gpu.is_lost = true;
    const size_t bytes = storage.num_bytes();
    CHECK_FAILS(gptoss_status_internal_error, "lost", storage.reserve(80));
    CHECK_FAILS(gptoss_status_internal_error, "lost", storage.clone());
    CHECK_EQUAL(storage.num_bytes(), bytes);
    CHECK_EQUAL(gpu.waited_for.size(), size_t{2}); // it may still be in flight, so nobody forgets it
}

// ---- With the cache that decides where contexts resume

// Random conversations: after every step the storage holds what the next query sees, written by those who wrote last.
TEST(any_sequence_of_batches_rewinds_and_snapshots_keeps_what_the_next_query_sees) {
    constexpr uint32_t kNumBlocks = 2;
    for (uint32_t seed = 0; seed < 300; seed++) {
        std::mt19937 random(seed);
        const auto below = [&](size_t limit) { return random() % limit; };
        const size_t max_batch_tokens = 1 + below(20);
        constexpr size_t kMaxTokens = 400;
        Gpu gpu;
        KvCache cache(
            std::unique_ptr<KvStorage>(new MetalKvStorage(gpu.storage(kNumBlocks, kMaxTokens, max_batch_tokens))),
            kWindow, kMaxTokens);
        std::vector<size_t> writers; // of each position that the cache counts
        size_t writer = 0;
        for (size_t step = 0; step < 60; step++) {
            const size_t num_tokens = cache.num_tokens();
            switch (below(6)) {
                case 0:
                    cache.rewind(below(num_tokens + 1));
                    writers.resize(cache.num_tokens());
                    break;
                case 1:
                    cache.take_snapshot();
                    break;
                case 2: { // tokens in flight that nobody counts in the end
                    const size_t count = std::min<size_t>(1 + below(2), kMaxTokens - num_tokens);
                    for (size_t i = 0; i < count; i++) {
                        cache.prepare(i + 1);
                    }
                    write(static_cast<MetalKvStorage&>(cache.storage()), kNumBlocks, num_tokens, num_tokens + count,
                          ++writer);
                    break;
                }
                default: {
                    const size_t count = std::min(1 + below(max_batch_tokens), kMaxTokens - num_tokens);
                    cache.prepare(count);
                    writer++;
                    // A batch that fails half way counts for nothing.
                    const bool fails = below(5) == 0;
                    const size_t written = fails ? below(count + 1) : count;
                    write(static_cast<MetalKvStorage&>(cache.storage()), kNumBlocks, num_tokens, num_tokens + written,
                          writer);
                    if (!fails) {
                        cache.commit(count);
                        writers.insert(writers.end(), count, writer);
                    }
                }
            }
            if (below(10) == 0) {
                auto copy = cache.clone();
                write(static_cast<MetalKvStorage&>(cache.storage()), kNumBlocks, 0, cache.num_tokens(), SIZE_MAX);
                std::swap(cache, *copy);
            }
            const auto& storage = static_cast<const MetalKvStorage&>(cache.storage());
            const size_t end = cache.num_tokens();
            for (size_t position = 0; position < end; position++) {
                const bool in_window = position + kWindow > end;
                if (!has(storage, 1, position, writers[position]) ||
                    (in_window && !has(storage, 0, position, writers[position]))) {
                    std::ostringstream what;
                    what << "seed " << seed << ", step " << step << ": position " << position << " of " << end
                         << " is not what was written last";
                    check::report_failure(__FILE__, __LINE__, what.str());
                    return;
                }
            }
        }
    }
}
