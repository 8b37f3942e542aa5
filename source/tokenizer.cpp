#include "tokenizer.h"

#include <cstring>

#include "errors.h"
#include "text_splitter.h"
#include "utf8.h"

namespace gptoss {

Tokenizer::Tokenizer(std::shared_ptr<const MappedFile> mapping, std::shared_ptr<const ModelFile> file)
    : mapping_(std::move(mapping)), file_(std::move(file)) {}

std::optional<uint32_t> Tokenizer::special_token_id(gptoss_special_token token) const {
    for (uint32_t i = 0; i < num_special_tokens(); i++) {
        if (places().special_tokens[i] == token) {
            return num_text_tokens() + i;
        }
    }
    return std::nullopt;
}

gptoss_special_token Tokenizer::special_token(uint32_t id) const {
    if (id < num_text_tokens() || id >= num_tokens()) {
        return gptoss_special_token_invalid;
    }
    return places().special_tokens[id - num_text_tokens()];
}

std::span<const std::byte> Tokenizer::token_bytes(uint32_t id) const {
    const std::byte* const entry = mapping_->bytes().data() + places().token_offsets[id];
    uint16_t length; // entries are not aligned
    std::memcpy(&length, entry, sizeof(length));
    return {entry + sizeof(length), length};
}

std::vector<uint32_t> Tokenizer::encode(std::string_view text) const {
    if (regex() != kO200kBasePattern) {
        fail(gptoss_status_unsupported_argument,
             "The model splits text with another pattern than o200k_base's, which is the only one that this library "
             "implements: tokenize with the Python package, which takes any pattern.");
    }
    if (const std::optional<size_t> invalid = find_invalid_utf8(text)) {
        fail(gptoss_status_invalid_argument, "The text is not UTF-8: expected a character at byte offset ", *invalid,
             " of ", text.size(), ", found none.");
    }
    const BytePairEncoding& encoding = byte_pair_encoding();
    std::vector<uint32_t> tokens;
    TextSplitter splitter(text);
    for (std::string_view piece = splitter.next(); !piece.empty(); piece = splitter.next()) {
        encoding.encode(piece, tokens);
    }
    return tokens;
}

const BytePairEncoding& Tokenizer::byte_pair_encoding() const {
    std::call_once(encoding_built_, [this] {
        std::vector<std::string_view> tokens;
        tokens.reserve(num_text_tokens());
        for (uint32_t id = 0; id < num_text_tokens(); id++) {
            const std::span<const std::byte> bytes = token_bytes(id);
            tokens.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        }
        encoding_.emplace(tokens);
    });
    return *encoding_;
}

} // namespace gptoss
