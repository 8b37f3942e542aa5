#include "utf8.h"

namespace gptoss {

std::optional<Utf8Character> decode_utf8(std::string_view text, size_t offset) noexcept {
    const auto byte_at = [text](size_t index) { return static_cast<unsigned char>(text[index]); };
    const unsigned char first = byte_at(offset);
    if (first < 0x80) {
        return Utf8Character{first, 1};
    }
    const size_t num_bytes = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if (first < 0xC0 || first >= 0xF8 || num_bytes > text.size() - offset) {
        return std::nullopt;
    }
    char32_t code = first & (0xFFu >> (num_bytes + 1));
    for (size_t i = 1; i < num_bytes; i++) {
        const unsigned char continuation = byte_at(offset + i);
        if ((continuation & 0xC0) != 0x80) {
            return std::nullopt;
        }
        code = code << 6 | (continuation & 0x3Fu);
    }
    constexpr char32_t kFirstOfLength[] = {0, 0, 0x80, 0x800, 0x10000};
    const bool is_surrogate = code >= 0xD800 && code < 0xE000;
    if (code < kFirstOfLength[num_bytes] || code > 0x10FFFF || is_surrogate) {
        return std::nullopt;
    }
    return Utf8Character{code, num_bytes};
}

std::optional<size_t> find_invalid_utf8(std::string_view text) noexcept {
    for (size_t offset = 0; offset < text.size();) {
        const std::optional<Utf8Character> character = decode_utf8(text, offset);
        if (!character.has_value()) {
            return offset;
        }
        offset += character->num_bytes;
    }
    return std::nullopt;
}

} // namespace gptoss
