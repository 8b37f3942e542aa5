// Device memory of one launch: copies of the caller's arrays, each between inaccessible pages (guarded_copy.h).
//
// An access outside a buffer faults (see faults.h), or is reported by AddressSanitizer or the tracer. Arrays of the
// caller that overlap get one copy together, so that aliases alias here as well. What only is read may have been copied
// before: then all launches share that copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "guarded_copy.h"

namespace metal_host {

class device_buffers {
public:
    // What the caller binds to an index.
    struct binding {
        int index;
        std::byte* data;
        std::size_t size;
        bool writable;            // by this kernel
        std::string name;         // the parameter's
        const guarded_copy* kept; // of `data`, or null: this launch makes a copy of its own
    };

    explicit device_buffers(std::vector<binding> bindings);
    device_buffers(const device_buffers&) = delete;
    device_buffers& operator=(const device_buffers&) = delete;

    const std::vector<binding>& bindings() const { return bindings_; }

    // Where the kernel finds the buffer of bindings()[i].
    std::byte* address(std::size_t i) const;

    // Writes the contents of writable buffers back into the caller's arrays.
    void copy_back();

    // What was written just outside the buffers: a sentence, or an empty string.
    std::string check_guards() const;

    // "byte 64 of buffer 2 ('output'), which has 64 bytes", or nothing for an address that is elsewhere.
    std::string describe(const void* address) const;

private:
    // One copy of one or several bindings.
    struct range {
        std::byte* source; // the caller's
        std::size_t size;
        std::unique_ptr<guarded_copy> copy;
    };

    const range& range_of(const binding& b) const;
    const guarded_copy& copy_of(const binding& b) const;

    std::vector<binding> bindings_;
    std::vector<range> ranges_; // by their source
};

} // namespace metal_host
