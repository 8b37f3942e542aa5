// What memory a kernel may access, and which of it an address belongs to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "trace.h"
#include "trace_lazy_array.h"
#include "trace_order.h"
#include "trace_shadow.h"

namespace metal_host::trace {

// Which bytes of threadgroup memory the running threadgroup has written so far.
class written_bytes {
public:
    explicit written_bytes(std::size_t size) : size_(size), bits_((size + 63) / 64) {}

    void forget();
    void add(std::size_t offset, std::size_t size);
    // The first byte of these that has not been written.
    std::optional<std::size_t> find_unwritten(std::size_t offset, std::size_t size) const;

private:
    std::size_t size_;
    lazy_array<uint64_t> bits_; // one bit each
};

// One stretch of memory: a buffer, several buffers that overlap, or one variable or argument of threadgroup memory.
struct memory_block {
    // A buffer's or variable's share of it.
    struct part {
        int buffer; // -1: threadgroup memory
        std::string name;
        std::size_t begin; // offset in the block
        std::size_t size;
        uint32_t traffic; // index of its counts
    };

    uintptr_t begin;
    std::size_t size;
    std::size_t guard_before;
    std::size_t guard_after;
    address_space space;
    bool is_writable;
    std::vector<part> parts;              // in the order of binding; not empty
    std::optional<shadow> accesses;       // of writable memory: nothing is in a race where nothing is written
    std::optional<written_bytes> written; // of threadgroup memory

    bool contains(uintptr_t address) const { return address - begin < size; }
    bool guards(uintptr_t address) const {
        return address - (begin - guard_before) < guard_before + size + guard_after;
    }
    // The first bound of those that contain the byte.
    const part& part_at(std::size_t offset) const;
};

class memory_map {
public:
    // A new launch: forgets everything else.
    void begin(const std::vector<region>& buffers);
    const memory_block& add_threadgroup_memory(const region& memory);

    // The block that contains the address, or else the one in whose guard zone it lies, or else null.
    memory_block* find(uintptr_t address) {
        return latest_ != nullptr && latest_->contains(address) ? latest_ : search(address);
    }

    const std::vector<std::unique_ptr<memory_block>>& blocks() const { return blocks_; }

private:
    memory_block& add(const region& memory);
    memory_block* search(uintptr_t address);

    std::vector<std::unique_ptr<memory_block>> blocks_; // by address; they do not overlap
    memory_block* latest_ = nullptr;
    uint32_t num_parts_ = 0;
};

// Where a shared library is loaded.
struct loaded_library {
    uintptr_t begin = 0;
    uintptr_t end = 0;

    bool contains(uintptr_t address) const { return address - begin < end - begin; }
};

// The library that contains this code or data.
loaded_library library_of(uintptr_t address);

} // namespace metal_host::trace
