#include "guarded_copy.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <new>

#include "guards.h"

namespace metal_host {

namespace {

std::size_t round_up(std::size_t value, std::size_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

} // namespace

guarded_copy::guarded_copy(const std::byte* source, std::size_t size) : size_(size) {
    const auto page_size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    // As (mis)aligned as the caller's array: a slice stands for a buffer that is bound with an offset.
    const std::size_t lead = reinterpret_cast<uintptr_t>(source) % 16;
    const std::size_t padded = round_up(lead + size, 16);
    const std::size_t accessible = round_up(padded, page_size);
    mapping_size_ = guard_size + accessible + guard_size;
    void* mapping = mmap(nullptr, mapping_size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) {
        throw std::bad_alloc();
    }
    mapping_ = static_cast<std::byte*>(mapping);
    if (mprotect(mapping_ + guard_size, accessible, PROT_READ | PROT_WRITE) != 0) {
        munmap(mapping_, mapping_size_);
        throw std::bad_alloc();
    }
    std::byte* begin = mapping_ + guard_size;
    std::byte* end = begin + accessible;
    data_ = end - padded + lead;
    std::memcpy(data_, source, size);
    write_guard(begin, data_);
    write_guard(data_ + size, end);
#if METAL_HOST_ASAN
    __asan_poison_memory_region(mapping_, guard_size);
    __asan_poison_memory_region(end, guard_size);
#endif
}

guarded_copy::~guarded_copy() {
    remove_guard(mapping_, mapping_ + mapping_size_);
    munmap(mapping_, mapping_size_);
}

void guarded_copy::forbid_writes() {
    mprotect(mapping_ + guard_size, mapping_size_ - 2 * guard_size, PROT_READ);
}

const std::byte* guarded_copy::damage() const {
    const std::byte* damaged = damaged_guard(mapping_ + guard_size, data_);
    return damaged != nullptr ? damaged : damaged_guard(data_ + size_, mapping_ + mapping_size_ - guard_size);
}

bool guarded_copy::surrounds(const void* address) const {
    const auto at = static_cast<const std::byte*>(address);
    return at >= mapping_ && at < mapping_ + mapping_size_;
}

} // namespace metal_host
