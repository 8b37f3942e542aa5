// The pattern's alternatives by hand. A regular expression engine tries them in order, takes as many characters as it
// can wherever it may, and gives some back where the rest does not match otherwise; what it ends with is derived at
// each function. All work on text that is known to be valid UTF-8.

#include "text_splitter.h"

#include "unicode_classes.h"
#include "utf8.h"

namespace gptoss {

const std::string_view kO200kBasePattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}|)"
    R"( ?[^\s\p{L}\p{N}]+[\r\n/]*|)"
    R"(\s*[\r\n]+|)"
    R"(\s+(?!\S)|)"
    R"(\s+)";

namespace {

using enum UnicodeClass;

struct Character {
    char32_t code;
    UnicodeClass unicode_class;
    size_t end; // the offset behind it
};

// The character that starts at `offset`, which is not the end of the text.
Character character_at(std::string_view text, size_t offset) {
    const Utf8Character character = *decode_utf8(text, offset);
    return {character.code, unicode_class(character.code), offset + character.num_bytes};
}

bool is_newline(char32_t code) {
    return code == '\r' || code == '\n';
}

// [\p{Lm}\p{Lo}\p{M}]: what both classes of letters below have in common.
bool is_caseless(UnicodeClass unicode_class) {
    return unicode_class == kOtherLetter || unicode_class == kMark;
}

// [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
bool is_upper(UnicodeClass unicode_class) {
    return unicode_class == kUppercase || is_caseless(unicode_class);
}

// [\p{Ll}\p{Lm}\p{Lo}\p{M}]
bool is_lower(UnicodeClass unicode_class) {
    return unicode_class == kLowercase || is_caseless(unicode_class);
}

// [^\s\p{L}\p{N}]
bool is_symbol(UnicodeClass unicode_class) {
    return unicode_class == kOther || unicode_class == kMark;
}

// [^\r\n\p{L}\p{N}]
bool is_word_prefix(const Character& character) {
    return is_symbol(character.unicode_class) ||
           (character.unicode_class == kWhiteSpace && !is_newline(character.code));
}

// The end of the characters from `start` on whose class has the property.
size_t end_of_run(std::string_view text, size_t start, bool (*has_property)(UnicodeClass)) {
    size_t end = start;
    while (end < text.size()) {
        const Character character = character_at(text, end);
        if (!has_property(character.unicode_class)) {
            break;
        }
        end = character.end;
    }
    return end;
}

// The functions match_* return the end of the match that begins at `start`, or `start` if there is none.

// [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+
size_t match_upper_then_lower(std::string_view text, size_t start) {
    size_t upper_end = start;
    size_t caseless_end = start; // behind the last caseless character of the upper run
    while (upper_end < text.size()) {
        const Character character = character_at(text, upper_end);
        if (!is_upper(character.unicode_class)) {
            break;
        }
        upper_end = character.end;
        if (is_caseless(character.unicode_class)) {
            caseless_end = upper_end;
        }
    }
    const size_t lower_end = end_of_run(text, upper_end, is_lower);
    // Where no lowercase letter follows, the upper run gives back characters until its last caseless one, which is the
    // whole lower run then: uppercase follows, or what ended the upper run.
    return lower_end != upper_end ? lower_end : caseless_end;
}

// [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*
size_t match_upper_then_any_lower(std::string_view text, size_t start) {
    const size_t upper_end = end_of_run(text, start, is_upper);
    return upper_end == start ? start : end_of_run(text, upper_end, is_lower);
}

// (?i:'s|'t|'re|'ve|'m|'ll|'d)?
size_t match_contraction(std::string_view text, size_t start) {
    const std::string_view rest = text.substr(start, 3);
    if (rest.size() < 2 || rest[0] != '\'') {
        return start;
    }
    const auto lowered = [rest](size_t index) { return static_cast<char>(rest[index] | 0x20); };
    constexpr std::string_view kLongS = "\u017F"; // Unicode's case folding makes it an s
    switch (lowered(1)) {
        case 's':
        case 't':
        case 'm':
        case 'd':
            return start + 2;
        case 'r':
        case 'v':
            return rest.size() == 3 && lowered(2) == 'e' ? start + 3 : start;
        case 'l':
            return rest.size() == 3 && lowered(2) == 'l' ? start + 3 : start;
        default:
            return rest.substr(1) == kLongS ? start + 3 : start;
    }
}

// The two alternatives for words.
size_t match_word(std::string_view text, size_t start) {
    const Character first = character_at(text, start);
    for (const auto match_letters : {match_upper_then_lower, match_upper_then_any_lower}) {
        if (is_word_prefix(first)) {
            const size_t end = match_letters(text, first.end);
            if (end != first.end) {
                return match_contraction(text, end);
            }
        }
        // The prefix is optional, and a mark can be prefix or letter.
        const size_t end = match_letters(text, start);
        if (end != start) {
            return match_contraction(text, end);
        }
    }
    return start;
}

// \p{N}{1,3}
size_t match_number(std::string_view text, size_t start) {
    size_t end = start;
    for (int num_digits = 0; num_digits < 3 && end < text.size(); num_digits++) {
        const Character character = character_at(text, end);
        if (character.unicode_class != kNumber) {
            break;
        }
        end = character.end;
    }
    return end;
}

//  ?[^\s\p{L}\p{N}]+[\r\n/]*
size_t match_symbols(std::string_view text, size_t start) {
    const size_t symbols_start = text[start] == ' ' ? start + 1 : start;
    size_t end = end_of_run(text, symbols_start, is_symbol);
    if (end == symbols_start) {
        return start;
    }
    while (end < text.size() && (is_newline(static_cast<unsigned char>(text[end])) || text[end] == '/')) {
        end++;
    }
    return end;
}

// \s*[\r\n]+|\s+(?!\S)|\s+
size_t match_white_space(std::string_view text, size_t start) {
    size_t end = start;
    size_t last_start = start;   // of the last character
    size_t newlines_end = start; // behind the last newline
    while (end < text.size()) {
        const Character character = character_at(text, end);
        if (character.unicode_class != kWhiteSpace) {
            break;
        }
        last_start = end;
        end = character.end;
        if (is_newline(character.code)) {
            newlines_end = end;
        }
    }
    if (newlines_end != start) {
        return newlines_end;
    }
    // Before a word or symbol one character is left over, to be its prefix, unless it is the only one.
    return end != text.size() && last_start != start ? last_start : end;
}

} // namespace

std::string_view TextSplitter::next() {
    const size_t start = offset_;
    if (start == text_.size()) {
        return {};
    }
    for (const auto match : {match_word, match_number, match_symbols, match_white_space}) {
        offset_ = match(text_, start);
        if (offset_ != start) {
            break;
        }
    }
    return text_.substr(start, offset_ - start);
}

} // namespace gptoss
