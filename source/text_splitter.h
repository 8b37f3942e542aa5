// Cuts text into the pieces within which byte-pair encoding merges tokens, as o200k_base's regular expression does.
#pragma once

#include <cstddef>
#include <string_view>

namespace gptoss {

// The split pattern that this file implements, as model files spell it.
extern const std::string_view kO200kBasePattern;

// The matches of the pattern, one after the other. They leave nothing out: joined, they are the text.
class TextSplitter {
public:
    // Valid UTF-8 (utf8.h), which must outlive the splitter and its pieces.
    explicit TextSplitter(std::string_view text) : text_(text) {}

    // The next piece; empty at the end of the text. All pieces together take time proportional to the text.
    std::string_view next();

private:
    std::string_view text_;
    size_t offset_ = 0;
};

} // namespace gptoss
