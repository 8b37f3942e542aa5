// Byte-pair encoding: the tokens of one piece of text.
#pragma once

#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace gptoss {

// Immutable; safe from any thread.
class BytePairEncoding {
public:
    // The bytes of each token by its id, which is its rank too; they must outlive this. Of two equal tokens, the first
    // one encodes.
    explicit BytePairEncoding(const std::vector<std::string_view>& tokens);

    // Appends the tokens of a piece (text_splitter.h), which may be any bytes. Time is O(n log n) in its length.
    // Throws Error(unsupported_argument) if the vocabulary cannot spell one of its bytes.
    void encode(std::string_view piece, std::vector<uint32_t>& tokens) const;

private:
    // kNoToken if there is none.
    uint32_t find(std::string_view bytes) const;
    void merge(std::string_view piece, std::vector<uint32_t>& tokens) const;

    static constexpr uint32_t kNoToken = UINT32_MAX;

    std::unordered_map<std::string_view, uint32_t> ids_;
    size_t longest_token_ = 0; // bytes
};

} // namespace gptoss
