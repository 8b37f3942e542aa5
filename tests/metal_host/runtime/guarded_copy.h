// A copy of memory between inaccessible pages: an access beside it faults, or changes a guard pattern.
//
// The end of a copy is up to 15 bytes away from the page behind it, so that the copy is aligned as its source is,
// modulo 16: those bytes, and the ones before the copy on its first page, hold the pattern.
#pragma once

#include <cstddef>
#include <cstdint>

namespace metal_host {

class guarded_copy {
public:
    // Bytes on either side that belong to the copy alone and may not be accessed.
    static constexpr std::size_t guard_size = 64 << 10;

    // Throws std::bad_alloc.
    guarded_copy(const std::byte* source, std::size_t size);
    ~guarded_copy();
    guarded_copy(const guarded_copy&) = delete;
    guarded_copy& operator=(const guarded_copy&) = delete;

    std::byte* data() const { return data_; }
    std::size_t size() const { return size_; }

    // From here on a write faults.
    void forbid_writes();

    // The first byte beside the copy that something wrote to, or null.
    const std::byte* damage() const;

    // Whether an address is that of the copy or of what is around it.
    bool surrounds(const void* address) const;

private:
    std::size_t size_;
    std::byte* mapping_ = nullptr;
    std::size_t mapping_size_ = 0;
    std::byte* data_ = nullptr; // in the mapping
};

} // namespace metal_host
