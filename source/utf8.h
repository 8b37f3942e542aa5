// UTF-8: the characters of untrusted text.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace gptoss {

struct Utf8Character {
    char32_t code;
    size_t num_bytes; // 1 to 4
};

// The character that starts at `offset`; offset < text.size(). Null if there is none: a byte that starts no character,
// a character that is cut off, is written longer than need be, is a surrogate or is beyond U+10FFFF.
std::optional<Utf8Character> decode_utf8(std::string_view text, size_t offset) noexcept;

// The offset of the first byte that is not part of a character.
std::optional<size_t> find_invalid_utf8(std::string_view text) noexcept;

} // namespace gptoss
