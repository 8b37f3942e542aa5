#include "tokenizer.h"

#include <cstring>

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

} // namespace gptoss
