// The vocabulary of a model: which id is which bytes or which special token, and which ids a text is.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "byte_pair_encoding.h"
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

    // The tokens of ordinary text: the spelling of a special token is ordinary text too. Throws
    // Error(invalid_argument) if it is not UTF-8, and Error(unsupported_argument) if the model does not split text with
    // the pattern of text_splitter.h or has no token for one of its bytes.
    std::vector<uint32_t> encode(std::string_view text) const;

private:
    const BytePairEncoding& byte_pair_encoding() const;
    const TokenizerPlaces& places() const { return file_->tokenizer(); }

    std::shared_ptr<const MappedFile> mapping_;
    std::shared_ptr<const ModelFile> file_;

    // Built by the first encode: it takes time and memory that a program which brings its own tokens does not need.
    mutable std::once_flag encoding_built_;
    mutable std::optional<BytePairEncoding> encoding_;
};

} // namespace gptoss
