#include "unicode_classes.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace gptoss {

namespace {

struct ClassRange {
    char32_t first;
    char32_t last;
    UnicodeClass unicode_class;
};

using enum UnicodeClass;

constexpr ClassRange kRanges[] = {
#include "unicode_classes.inc"
};

constexpr size_t kNumAscii = 128;

constexpr std::array<UnicodeClass, kNumAscii> kAsciiClasses = [] {
    std::array<UnicodeClass, kNumAscii> classes{};
    for (const ClassRange& range : kRanges) {
        for (char32_t character = range.first; character <= range.last && character < kNumAscii; character++) {
            classes[character] = range.unicode_class;
        }
    }
    return classes;
}();

} // namespace

UnicodeClass unicode_class(char32_t character) noexcept {
    if (character < kNumAscii) {
        return kAsciiClasses[character];
    }
    const ClassRange* const range =
        std::partition_point(std::begin(kRanges), std::end(kRanges),
                             [character](const ClassRange& candidate) { return candidate.last < character; });
    return range != std::end(kRanges) && range->first <= character ? range->unicode_class : kOther;
}

} // namespace gptoss
