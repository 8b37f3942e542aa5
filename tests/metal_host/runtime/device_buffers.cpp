#include "device_buffers.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "guards.h"

namespace metal_host {

namespace {

std::size_t round_up(std::size_t value, std::size_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

} // namespace

device_buffers::device_buffers(std::vector<binding> bindings) : bindings_(std::move(bindings)) {
    std::vector<copy> ranges;
    for (const binding& b : bindings_) {
        ranges.push_back({b.data, b.size});
    }
    std::sort(ranges.begin(), ranges.end(), [](const copy& a, const copy& b) { return a.source < b.source; });
    for (const copy& range : ranges) {
        if (!copies_.empty() && range.source < copies_.back().source + copies_.back().size) {
            copy& last = copies_.back();
            const auto end = std::max(last.source + last.size, range.source + range.size);
            last.size = static_cast<std::size_t>(end - last.source);
        } else {
            copies_.push_back(range);
        }
    }
    const auto page_size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    for (copy& c : copies_) {
        // As (mis)aligned as the caller's array: a slice stands for a buffer that is bound with an offset.
        const std::size_t lead = reinterpret_cast<uintptr_t>(c.source) % 16;
        const std::size_t padded = round_up(lead + c.size, 16);
        const std::size_t accessible = round_up(padded, page_size);
        c.mapping_size = guard_size + accessible + guard_size;
        void* mapping = mmap(nullptr, c.mapping_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (mapping == MAP_FAILED ||
            mprotect(static_cast<std::byte*>(mapping) + guard_size, accessible, PROT_READ | PROT_WRITE) != 0) {
            throw std::bad_alloc();
        }
        c.mapping = static_cast<std::byte*>(mapping);
        std::byte* begin = c.mapping + guard_size;
        std::byte* end = begin + accessible;
        c.data = end - padded + lead;
        std::memcpy(c.data, c.source, c.size);
        write_guard(begin, c.data);
        write_guard(c.data + c.size, end);
#if METAL_HOST_ASAN
        __asan_poison_memory_region(c.mapping, guard_size);
        __asan_poison_memory_region(end, guard_size);
#endif
    }
}

device_buffers::~device_buffers() {
    for (const copy& c : copies_) {
        remove_guard(c.mapping, c.mapping + c.mapping_size);
        munmap(c.mapping, c.mapping_size);
    }
}

const device_buffers::copy& device_buffers::copy_of(const binding& b) const {
    const auto next = std::upper_bound(copies_.begin(), copies_.end(), b.data,
                                       [](const std::byte* data, const copy& c) { return data < c.source; });
    return *(next - 1);
}

std::byte* device_buffers::address(std::size_t i) const {
    const copy& c = copy_of(bindings_[i]);
    return c.data + (bindings_[i].data - c.source);
}

void device_buffers::copy_back() {
    for (std::size_t i = 0; i < bindings_.size(); ++i) {
        if (bindings_[i].writable) {
            std::memcpy(bindings_[i].data, address(i), bindings_[i].size);
        }
    }
}

std::string device_buffers::check_guards() const {
    for (const copy& c : copies_) {
        const std::byte* begin = c.mapping + guard_size;
        const std::byte* end = c.mapping + c.mapping_size - guard_size;
        const std::byte* damaged = damaged_guard(begin, c.data);
        damaged = damaged == nullptr ? damaged_guard(c.data + c.size, end) : damaged;
        if (damaged != nullptr) {
            return "something wrote to " + describe(damaged) + "; in asan or trace mode this names the line";
        }
    }
    return "";
}

std::string device_buffers::describe(const void* address) const {
    const auto at = static_cast<const std::byte*>(address);
    for (std::size_t i = 0; i < bindings_.size(); ++i) {
        const binding& b = bindings_[i];
        const std::byte* begin = this->address(i);
        const copy& c = copy_of(b);
        if (at < c.mapping || at >= c.mapping + c.mapping_size) {
            continue;
        }
        return "byte " + std::to_string(at - begin) + " of buffer " + std::to_string(b.index) + " ('" + b.name +
               "'), which has " + std::to_string(b.size) + " bytes";
    }
    return "";
}

} // namespace metal_host
