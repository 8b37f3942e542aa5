#include "device_buffers.h"

#include <algorithm>
#include <cstring>

namespace metal_host {

device_buffers::device_buffers(std::vector<binding> bindings) : bindings_(std::move(bindings)) {
    std::vector<range> parts;
    for (const binding& b : bindings_) {
        if (b.kept == nullptr) {
            parts.push_back({b.data, b.size, nullptr});
        }
    }
    std::sort(parts.begin(), parts.end(), [](const range& a, const range& b) { return a.source < b.source; });
    for (range& part : parts) {
        if (!ranges_.empty() && part.source < ranges_.back().source + ranges_.back().size) {
            range& last = ranges_.back();
            const auto end = std::max(last.source + last.size, part.source + part.size);
            last.size = static_cast<std::size_t>(end - last.source);
        } else {
            ranges_.push_back(std::move(part));
        }
    }
    for (range& r : ranges_) {
        r.copy = std::make_unique<guarded_copy>(r.source, r.size);
    }
}

const device_buffers::range& device_buffers::range_of(const binding& b) const {
    const auto next = std::upper_bound(ranges_.begin(), ranges_.end(), b.data,
                                       [](const std::byte* data, const range& r) { return data < r.source; });
    return *(next - 1);
}

const guarded_copy& device_buffers::copy_of(const binding& b) const {
    return b.kept != nullptr ? *b.kept : *range_of(b).copy;
}

std::byte* device_buffers::address(std::size_t i) const {
    const binding& b = bindings_[i];
    if (b.kept != nullptr) {
        return b.kept->data();
    }
    const range& r = range_of(b);
    return r.copy->data() + (b.data - r.source);
}

void device_buffers::copy_back() {
    for (std::size_t i = 0; i < bindings_.size(); ++i) {
        if (bindings_[i].writable) {
            std::memcpy(bindings_[i].data, address(i), bindings_[i].size);
        }
    }
}

std::string device_buffers::check_guards() const {
    for (const range& r : ranges_) { // what is kept cannot be written
        if (const std::byte* damaged = r.copy->damage(); damaged != nullptr) {
            return "something wrote to " + describe(damaged) + "; in asan or trace mode this names the line";
        }
    }
    return "";
}

std::string device_buffers::describe(const void* address) const {
    const auto at = static_cast<const std::byte*>(address);
    for (std::size_t i = 0; i < bindings_.size(); ++i) {
        const binding& b = bindings_[i];
        if (copy_of(b).surrounds(address)) {
            return "byte " + std::to_string(at - this->address(i)) + " of buffer " + std::to_string(b.index) + " ('" +
                   b.name + "'), which has " + std::to_string(b.size) + " bytes";
        }
    }
    return "";
}

} // namespace metal_host
