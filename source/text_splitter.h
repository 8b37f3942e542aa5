// Cuts text into the pieces within which byte-pair encoding merges tokens, as o200k_base's regular expression does.
#pragma once

#include <cstddef>
#include <string_view>

#include "unicode_classes.h"

namespace gptoss {

// The split pattern that this file implements, as model files spell it.
extern const std::string_view kO200kBasePattern;

// The matches of the pattern, one after the other. They leave out nothing: joined, they are the text.
class TextSplitter {
public:
    // Valid UTF-8 (utf8.h), which must outlive the splitter and its pieces.
    explicit TextSplitter(std::string_view text) : text_(text) {}

    // The next piece; empty at the end of the text.
    std::string_view next();

private:
    // A character at an offset; `next` is the offset behind it, `code` and `next` of the end of the text are 0 and the
    // offset itself.
    struct Character {
        char32_t code;
        UnicodeClass unicode_class;
        size_t next;
    };
    Character character_at(size_t offset) const;

    // Each returns the end of the match of one alternative of the pattern at `start`, or `start` if it does not match.
    size_t match_word(size_t start) const;                   // the first two, with one prefix character
    size_t match_letters_to_lower(size_t start) const;       // the first one, from behind its prefix
    size_t match_letters_from_upper(size_t start) const;     // the second one, from behind its prefix
    size_t match_number(size_t start, Character first) const; // the third one
    size_t match_symbols(size_t start) const;                // the fourth one
    size_t match_white_space(size_t start) const;            // the last three

    size_t skip_contraction(size_t offset) const; // behind 's, 't, 're, 've, 'm, 'll or 'd, in any case, if there is one

    std::string_view text_;
    size_t offset_ = 0;
};

} // namespace gptoss
