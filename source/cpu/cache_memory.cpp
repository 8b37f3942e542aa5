#include "cache_memory.h"

#include <sys/mman.h>

#include <cstring>
#include <new>
#include <utility>

namespace gptoss::cpu {

namespace {

constexpr size_t kHugePage = size_t{2} << 20;

size_t num_bytes(size_t size) {
    return size * sizeof(uint16_t);
}

void* map(size_t bytes) {
    void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        throw std::bad_alloc();
    }
    return memory;
}

// Memory that begins where a huge page may; bytes is a multiple of what the system maps in.
void* map_for_huge_pages(size_t bytes) {
    char* const memory = static_cast<char*>(map(bytes + kHugePage));
    const size_t before = kHugePage - reinterpret_cast<uintptr_t>(memory) % kHugePage;
    ::munmap(memory, before);
    if (before != kHugePage) {
        ::munmap(memory + before + bytes, kHugePage - before);
    }
#if defined(MADV_HUGEPAGE)
    ::madvise(memory + before, bytes, MADV_HUGEPAGE);
#endif
    return memory + before;
}

// As large as pages are anywhere.
size_t round_to_pages(size_t bytes) {
    constexpr size_t kPage = size_t{64} << 10;
    return (bytes + kPage - 1) / kPage * kPage;
}

} // namespace

CacheMemory::CacheMemory(size_t size) : size_(size) {
    if (size == 0) {
        return;
    }
    const size_t bytes = num_bytes(size);
    data_ = static_cast<uint16_t*>(bytes < kHugePage ? map(bytes) : map_for_huge_pages(round_to_pages(bytes)));
}

CacheMemory::~CacheMemory() {
    if (data_ != nullptr) {
        const size_t bytes = num_bytes(size_);
        ::munmap(data_, bytes < kHugePage ? bytes : round_to_pages(bytes));
    }
}

CacheMemory::CacheMemory(const CacheMemory& other) : CacheMemory(other.size_) {
    if (size_ != 0) {
        std::memcpy(data_, other.data_, num_bytes(size_));
    }
}

CacheMemory::CacheMemory(CacheMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

CacheMemory& CacheMemory::operator=(CacheMemory other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
}

} // namespace gptoss::cpu
