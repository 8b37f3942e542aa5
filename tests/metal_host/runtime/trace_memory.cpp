#include "trace_memory.h"

#include <link.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace metal_host::trace {

void written_bytes::forget() {
    if (size_ != 0) {
        std::memset(&bits_[0], 0, bits_.size() * sizeof(uint64_t));
    }
}

void written_bytes::add(std::size_t offset, std::size_t size) {
    for (std::size_t byte = offset; byte < offset + size;) {
        const std::size_t in_word = std::min(size - (byte - offset), 64 - byte % 64);
        bits_[byte / 64] |= ~uint64_t{0} >> (64 - in_word) << byte % 64;
        byte += in_word;
    }
}

std::optional<std::size_t> written_bytes::find_unwritten(std::size_t offset, std::size_t size) const {
    for (std::size_t byte = offset; byte < offset + size;) {
        const std::size_t in_word = std::min(size - (byte - offset), 64 - byte % 64);
        const uint64_t asked = ~uint64_t{0} >> (64 - in_word) << byte % 64;
        if (const uint64_t missing = asked & ~bits_[byte / 64]; missing != 0) {
            return byte / 64 * 64 + static_cast<std::size_t>(std::countr_zero(missing));
        }
        byte += in_word;
    }
    return std::nullopt;
}

const memory_block::part& memory_block::part_at(std::size_t offset) const {
    for (const part& candidate : parts) {
        if (offset - candidate.begin < candidate.size) {
            return candidate;
        }
    }
    return parts.front();
}

void memory_map::begin(const std::vector<region>& buffers) {
    blocks_.clear();
    latest_ = nullptr;
    num_parts_ = 0;
    std::vector<const region*> by_address;
    for (const region& buffer : buffers) {
        by_address.push_back(&buffer);
    }
    std::sort(by_address.begin(), by_address.end(), [](const region* a, const region* b) {
        return std::pair(a->begin, a->buffer) < std::pair(b->begin, b->buffer);
    });

    const auto address = [](const region& memory) { return reinterpret_cast<uintptr_t>(memory.begin); };
    for (std::size_t first = 0; first < by_address.size();) {
        // Buffers that overlap become one block.
        region joined = *by_address[first];
        std::vector<const region*> parts = {by_address[first]};
        std::size_t next = first + 1;
        for (; next < by_address.size() && address(*by_address[next]) < address(joined) + joined.size; ++next) {
            const region& other = *by_address[next];
            parts.push_back(&other);
            if (address(other) + other.size > address(joined) + joined.size) {
                joined.size = address(other) + other.size - address(joined);
                joined.guard_after = other.guard_after;
            }
            joined.writable = joined.writable || other.writable;
        }
        memory_block& block = add(joined);
        block.parts.clear();
        std::sort(parts.begin(), parts.end(), [](auto a, auto b) { return a->buffer < b->buffer; });
        for (const region* const part : parts) {
            block.parts.push_back({.buffer = part->buffer,
                                   .name = part->name,
                                   .begin = address(*part) - block.begin,
                                   .size = part->size,
                                   .traffic = num_parts_++});
        }
        first = next;
    }
}

const memory_block& memory_map::add_threadgroup_memory(const region& memory) {
    memory_block& block = add(memory);
    block.parts.push_back(
        {.buffer = -1, .name = memory.name, .begin = 0, .size = memory.size, .traffic = num_parts_++});
    block.written.emplace(memory.size);
    return block;
}

memory_block& memory_map::add(const region& memory) {
    auto block = std::make_unique<memory_block>();
    block->begin = reinterpret_cast<uintptr_t>(memory.begin);
    block->size = memory.size;
    block->guard_before = memory.guard_before;
    block->guard_after = memory.guard_after;
    block->space = memory.buffer < 0 ? address_space::threadgroup : address_space::device;
    block->is_writable = memory.writable;
    if (memory.writable) {
        block->accesses.emplace(memory.size);
    }
    const auto after = std::upper_bound(blocks_.begin(), blocks_.end(), block->begin,
                                        [](uintptr_t address, const auto& other) { return address < other->begin; });
    return **blocks_.insert(after, std::move(block));
}

memory_block* memory_map::search(uintptr_t address) {
    const auto after = std::upper_bound(blocks_.begin(), blocks_.end(), address,
                                        [](uintptr_t wanted, const auto& block) { return wanted < block->begin; });
    memory_block* const before = after == blocks_.begin() ? nullptr : std::prev(after)->get();
    if (before != nullptr && before->contains(address)) {
        return latest_ = before;
    }
    if (before != nullptr && before->guards(address)) {
        return before;
    }
    return after != blocks_.end() && (*after)->guards(address) ? after->get() : nullptr;
}

loaded_library library_of(uintptr_t address) {
    struct search {
        uintptr_t address;
        loaded_library found;
    };
    search wanted{.address = address, .found = {}};
    dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* argument) {
            loaded_library library{.begin = UINTPTR_MAX, .end = 0};
            for (int i = 0; i < info->dlpi_phnum; ++i) {
                const auto& segment = info->dlpi_phdr[i];
                if (segment.p_type == PT_LOAD) {
                    const uintptr_t begin = info->dlpi_addr + segment.p_vaddr;
                    library.begin = std::min(library.begin, begin);
                    library.end = std::max(library.end, begin + segment.p_memsz);
                }
            }
            search& wanted = *static_cast<search*>(argument);
            if (!library.contains(wanted.address)) {
                return 0;
            }
            wanted.found = library;
            return 1;
        },
        &wanted);
    return wanted.found;
}

} // namespace metal_host::trace
