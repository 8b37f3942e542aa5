#include "stack_pool.h"

#include <sys/mman.h>
#include <unistd.h>

#include <new>

#if METAL_HOST_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace metal_host {

stack_pool::stack_pool(uint32_t num_stacks)
    : num_stacks_(num_stacks), page_size_(static_cast<std::size_t>(sysconf(_SC_PAGESIZE))) {
    void* mapping = mmap(nullptr, size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) {
        throw std::bad_alloc();
    }
    memory_ = static_cast<std::byte*>(mapping);
}

stack_pool::~stack_pool() {
    munmap(memory_, size());
}

std::byte* stack_pool::stack(uint32_t index) {
    // One by one as they are needed: each splits the mapping, and a process may have only so many (65,530) mappings.
    for (; num_protected_ <= index; ++num_protected_) {
        mprotect(memory_ + num_protected_ * stack_size, page_size_, PROT_NONE);
    }
    return memory_ + index * stack_size + page_size_;
}

void stack_pool::remove_frames([[maybe_unused]] uint32_t num_stacks) {
#if METAL_HOST_ASAN
    __asan_unpoison_memory_region(memory_, num_stacks * stack_size);
#endif
}

int64_t stack_pool::overflowed(const void* address) const {
    const auto offset = reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(memory_);
    return offset < size() && offset % stack_size < page_size_ ? static_cast<int64_t>(offset / stack_size) : -1;
}

} // namespace metal_host
