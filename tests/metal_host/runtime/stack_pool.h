// The stacks that the threads of a threadgroup run on: one mapping, each stack above an inaccessible page.
//
// The stacks' upper ends, which all threads use, are at different distances from multiples of the stacks' size: else
// they would all compete for the same few lines of the processor's caches, and switching would take twice as long.
#pragma once

#include <cstddef>
#include <cstdint>

namespace metal_host {

class stack_pool {
public:
    // AddressSanitizer's frames are several times larger. Only pages that are touched take memory.
#if METAL_HOST_ASAN
    static constexpr std::size_t stack_size = 512 << 10;
#else
    static constexpr std::size_t stack_size = 128 << 10;
#endif

    explicit stack_pool(uint32_t num_stacks);
    ~stack_pool();
    stack_pool(const stack_pool&) = delete;
    stack_pool& operator=(const stack_pool&) = delete;

    // The lowest usable byte of a stack; the stack has usable_size(index) bytes. Makes the page below it inaccessible.
    std::byte* stack(uint32_t index);
    std::size_t usable_size(uint32_t index) const { return stack_size - page_size_ - index * stagger % most_stagger; }

    std::byte* begin() const { return memory_; }
    std::size_t size() const { return stack_size * num_stacks_; }

    // To be called when fibers on the first stacks have been abandoned: AddressSanitizer's red zones are still in
    // place.
    void remove_frames(uint32_t num_stacks);

    bool contains(const void* address) const {
        return static_cast<const std::byte*>(address) >= memory_ &&
               static_cast<const std::byte*>(address) < memory_ + size();
    }

    // The stack whose inaccessible page holds this address, or -1: its thread has used up its stack.
    int64_t overflowed(const void* address) const;

private:
    static constexpr std::size_t stagger = 9 * 64; // an odd number of cache lines
    static constexpr std::size_t most_stagger = 32 << 10;

    uint32_t num_stacks_;
    uint32_t num_protected_ = 0; // of stacks 0, 1, ... the page below is inaccessible already
    std::size_t page_size_;
    std::byte* memory_;
};

} // namespace metal_host
