// The classes of characters that o200k_base's split pattern tells apart.
#pragma once

#include <cstdint>

namespace gptoss {

// Every character is in exactly one. In the terms of Unicode's general categories and properties:
enum class UnicodeClass : uint8_t {
    kOther,       // what is in none of the following
    kUppercase,   // Lu, Lt
    kLowercase,   // Ll
    kOtherLetter, // Lm, Lo
    kMark,        // M
    kNumber,      // N
    kWhiteSpace,  // White_Space
};

UnicodeClass unicode_class(char32_t character) noexcept;

} // namespace gptoss
