// The vocabulary of a model: which id is which bytes or which special token.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "mapped_file.h"
#include "model_file.h"

namespace gptoss {

// Immutable; safe from any thread. Text tokens are used where the file is mapped, which this keeps alive.
class Tokenizer {
public:
    Tokenizer(std::shared_ptr<const MappedFile> mapping, std::shared_ptr<const ModelFile> file);

    uint32_t num_text_tokens() const { return places().num_text_tokens; }
    uint32_t num_special_tokens() const { return places().num_special_tokens; }
    uint32_t num_tokens() const { return num_text_tokens() + num_special_tokens(); }
    const std::string& regex() const { return places().regex; }

    std::optional<uint32_t> special_token_id(gptoss_special_token token) const;
    // gptoss_special_token_invalid for text tokens and unnamed special tokens.
    gptoss_special_token special_token(uint32_t id) const;
    // The bytes of a text token; id < num_text_tokens().
    std::span<const std::byte> token_bytes(uint32_t id) const;

private:
    const TokenizerPlaces& places() const { return file_->tokenizer(); }

    std::shared_ptr<const MappedFile> mapping_;
    std::shared_ptr<const ModelFile> file_;
};

} // namespace gptoss
