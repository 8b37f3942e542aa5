// The memory behind a buffer of the host device, which outlives the buffer while command buffers in flight use it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>

#include "kernel_library.h"
#include "metal/device.h"

namespace gptoss::metal::host {

// Bytes that a device has allocated; any thread may change it.
using ByteCount = std::atomic<uint64_t>;

class Memory {
public:
    // `num_bytes` of zeros, which count in `bytes_in_use` as long as they are there. Throws std::bad_alloc.
    Memory(size_t num_bytes, std::string label, std::shared_ptr<ByteCount> bytes_in_use);
    // Memory of somebody else, which is only read.
    Memory(std::span<const std::byte> mapped, std::string label);
    ~Memory();
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    std::byte* data() const { return data_; }
    size_t size() const { return size_; }
    bool is_mapped() const { return owned_ == nullptr; }
    const std::string& label() const { return label_; }

    // A guarded copy of a part of mapped memory: the same for all dispatches that bind that part. Any thread may call.
    KeptCopy keep(const KernelLibrary& library, size_t offset, size_t num_bytes);

private:
    struct Free {
        void operator()(std::byte* data) const;
    };
    std::unique_ptr<std::byte, Free> owned_; // [size_], or null
    std::byte* data_;
    size_t size_;
    std::string label_;
    std::shared_ptr<ByteCount> bytes_in_use_; // null where nothing is owned
    std::mutex mutex_;
    std::map<std::pair<size_t, size_t>, KeptCopy> kept_; // by offset and size
};

class HostBuffer final : public Buffer {
public:
    explicit HostBuffer(std::shared_ptr<Memory> memory) : memory_(std::move(memory)) {}
    std::byte* data() const override { return memory_->data(); }
    size_t size() const override { return memory_->size(); }
    const std::shared_ptr<Memory>& memory() const { return memory_; }

private:
    std::shared_ptr<Memory> memory_;
};

} // namespace gptoss::metal::host
