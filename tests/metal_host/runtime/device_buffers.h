// Device memory of one launch: copies of the caller's arrays, each between inaccessible pages.
//
// An access outside a buffer faults (see faults.h), or is reported by AddressSanitizer or the tracer. The end of a
// buffer is up to 15 bytes away from the page behind it, so that the buffer is aligned to 16 bytes: those hold a guard
// pattern. Arrays of the caller that overlap get one copy together, so that aliases alias here as well.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace metal_host {

class device_buffers {
public:
    // What the caller binds to an index.
    struct binding {
        int index;
        std::byte* data;
        std::size_t size;
        bool writable;    // by this kernel
        std::string name; // the parameter's
    };

    explicit device_buffers(std::vector<binding> bindings);
    ~device_buffers();
    device_buffers(const device_buffers&) = delete;
    device_buffers& operator=(const device_buffers&) = delete;

    const std::vector<binding>& bindings() const { return bindings_; }

    // Where the kernel finds the buffer of bindings()[i].
    std::byte* address(std::size_t i) const;

    // Bytes around every buffer that belong to it alone and may not be accessed.
    static constexpr std::size_t guard_size = 64 << 10;

    // Writes the contents of writable buffers back into the caller's arrays.
    void copy_back();

    // What was written just outside the buffers: a sentence, or an empty string.
    std::string check_guards() const;

    // "byte 64 of buffer 2 ('output'), which has 64 bytes", or nothing for an address that is elsewhere.
    std::string describe(const void* address) const;

private:
    // One copy of one or several bindings.
    struct copy {
        std::byte* source; // the caller's
        std::size_t size;
        std::byte* mapping = nullptr;
        std::size_t mapping_size = 0;
        std::byte* data = nullptr; // in the mapping
    };

    const copy& copy_of(const binding& b) const;

    std::vector<binding> bindings_;
    std::vector<copy> copies_;
};

} // namespace metal_host
