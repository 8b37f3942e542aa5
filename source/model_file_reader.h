// Reading a model file's fields one after the other, each checked before it is used.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "errors.h"

namespace gptoss {

static_assert(std::endian::native == std::endian::little, "model.bin is little-endian and is used where it is mapped");

using Uuid = std::array<uint8_t, 16>; // in the order in which it is printed

std::string format_uuid(const Uuid& uuid); // "229177a8-5775-4268-bfd8-d588b351c56d"

// Never beyond the end of the bytes. What it finds wrong is an Error with offset, expected and found.
class Reader {
public:
    Reader(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes), name_(name) {}

    uint64_t offset() const { return offset_; }
    uint64_t size() const { return bytes_.size(); }
    std::span<const std::byte> bytes() const { return bytes_; }

    template <class... Parts>
    [[noreturn]] void reject(uint64_t offset, const Parts&... parts) const {
        fail(gptoss_status_invalid_model_file, "'", name_, "' is not a valid model file: at offset ", offset, ", ",
             parts..., ".");
    }

    // Makes sure that num_bytes more bytes are there.
    void require(uint64_t num_bytes, std::string_view what) const {
        if (num_bytes > bytes_.size() - offset_) {
            reject(offset_, "expected ", num_bytes, " bytes of ", what, ", found ", bytes_.size() - offset_,
                   " before the end of the file: it is truncated or damaged, so copy or convert it again");
        }
    }

    const std::byte* take(uint64_t num_bytes, std::string_view what) {
        require(num_bytes, what);
        const std::byte* const start = bytes_.data() + offset_;
        offset_ += num_bytes;
        return start;
    }

    template <class Value>
    Value value(std::string_view what) {
        Value result;
        std::memcpy(&result, take(sizeof(Value), what), sizeof(Value));
        return result;
    }

    uint32_t integer(std::string_view what, uint32_t lowest, uint32_t highest) {
        const uint64_t start = offset_;
        const uint32_t found = value<uint32_t>(what);
        if (found < lowest || found > highest) {
            reject(start, "expected ", what, " from ", lowest, " to ", highest, ", found ", found);
        }
        return found;
    }

    float real(std::string_view what, float lowest, float highest) {
        const uint64_t start = offset_;
        const float found = value<float>(what);
        if (!(found >= lowest && found <= highest)) { // also false for NaN
            reject(start, "expected ", what, " from ", lowest, " to ", highest, ", found ", found);
        }
        return found;
    }

    void uuid(std::string_view what, const Uuid& expected) {
        const uint64_t start = offset_;
        const Uuid found = value<Uuid>(what);
        if (found != expected) {
            reject(start, "expected ", what, " ", format_uuid(expected), ", found ", format_uuid(found),
                   ": the file was written for another program or a newer version of this one");
        }
    }

    void align(uint64_t alignment, std::string_view what) {
        const uint64_t padding = (alignment - offset_ % alignment) % alignment;
        take(padding, what);
    }

private:
    std::span<const std::byte> bytes_;
    const std::string& name_;
    uint64_t offset_ = 0;
};

} // namespace gptoss
