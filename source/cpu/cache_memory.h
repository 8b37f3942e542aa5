// Memory of a key/value cache: zeroed, and mapped so that reading it through runs at the memory's speed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gptoss::cpu {

// Elements of fp16 that begin at a cache line. Pages that nobody has written take no memory. From 2 MB on they are huge
// where the system has such: a stream that looks up an address every 4 KB is a sixth slower.
class CacheMemory {
public:
    CacheMemory() = default;
    // Fails with insufficient_memory.
    explicit CacheMemory(size_t size);
    ~CacheMemory();
    CacheMemory(const CacheMemory& other);
    CacheMemory(CacheMemory&& other) noexcept;
    CacheMemory& operator=(CacheMemory other) noexcept;

    uint16_t* data() const { return data_; }
    size_t size() const { return size_; }

private:
    uint16_t* data_ = nullptr; // [size_]
    size_t size_ = 0;
};

} // namespace gptoss::cpu
