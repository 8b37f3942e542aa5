// The C boundary: tokenizers.

#include "api_boundary.h"

using namespace gptoss::api;
using gptoss::fail;

extern "C" {

// ---- Tokenizer

gptoss_status gptoss_tokenizer_get_special_token_id(gptoss_tokenizer_t tokenizer,
                                                    gptoss_special_token token_type,
                                                    uint32_t* token_id_out) {
    return guarded([&] {
        require(tokenizer, "tokenizer");
        require(token_id_out, "token_id_out");
        if (token_type <= gptoss_special_token_invalid || token_type >= gptoss_special_token_max) {
            fail(gptoss_status_invalid_argument, "Unknown special token type ", static_cast<int>(token_type), ".");
        }
        const std::optional<uint32_t> id = tokenizer->tokenizer->special_token_id(token_type);
        if (!id.has_value()) {
            fail(gptoss_status_unsupported_argument, "The model's vocabulary does not name special token type ",
                 static_cast<int>(token_type), ".");
        }
        *token_id_out = *id;
    });
}

gptoss_status gptoss_tokenizer_get_num_text_tokens(gptoss_tokenizer_t tokenizer, uint32_t* num_text_tokens_out) {
    return guarded([&] {
        require(tokenizer, "tokenizer");
        require(num_text_tokens_out, "num_text_tokens_out");
        *num_text_tokens_out = tokenizer->tokenizer->num_text_tokens();
    });
}

gptoss_status gptoss_tokenizer_get_num_special_tokens(gptoss_tokenizer_t tokenizer, uint32_t* num_special_tokens_out) {
    return guarded([&] {
        require(tokenizer, "tokenizer");
        require(num_special_tokens_out, "num_special_tokens_out");
        *num_special_tokens_out = tokenizer->tokenizer->num_special_tokens();
    });
}

gptoss_status gptoss_tokenizer_get_num_tokens(gptoss_tokenizer_t tokenizer, uint32_t* num_tokens_out) {
    return guarded([&] {
        require(tokenizer, "tokenizer");
        require(num_tokens_out, "num_tokens_out");
        *num_tokens_out = tokenizer->tokenizer->num_tokens();
    });
}

gptoss_status gptoss_tokenizer_decode(gptoss_tokenizer_t tokenizer,
                                      uint32_t token_id,
                                      const void** token_ptr_out,
                                      size_t* token_size_out) {
    return guarded([&] {
        require(tokenizer, "tokenizer");
        require(token_ptr_out, "token_ptr_out");
        require(token_size_out, "token_size_out");
        if (token_id >= tokenizer->tokenizer->num_text_tokens()) {
            fail(gptoss_status_invalid_argument, "Token ", token_id, " is not a text token: those are 0 to ",
                 tokenizer->tokenizer->num_text_tokens(), " (exclusive).");
        }
        const std::span<const std::byte> bytes = tokenizer->tokenizer->token_bytes(token_id);
        *token_ptr_out = bytes.data();
        *token_size_out = bytes.size();
    });
}

gptoss_status gptoss_tokenizer_retain(gptoss_tokenizer_t tokenizer) {
    return retain(tokenizer, "tokenizer");
}

gptoss_status gptoss_tokenizer_release(gptoss_tokenizer_t tokenizer) {
    return release(tokenizer, "tokenizer");
}

gptoss_status gptoss_tokenizer_get_regex(gptoss_tokenizer_t tokenizer, const char** regex_out) {
    return guarded([&] {
        require(tokenizer, "tokenizer");
        require(regex_out, "regex_out");
        *regex_out = tokenizer->tokenizer->regex().c_str();
    });
}

gptoss_status gptoss_tokenizer_get_special_token(gptoss_tokenizer_t tokenizer,
                                                 uint32_t token_id,
                                                 gptoss_special_token* token_type_out) {
    return guarded([&] {
        require(tokenizer, "tokenizer");
        require(token_type_out, "token_type_out");
        if (token_id >= tokenizer->tokenizer->num_tokens()) {
            fail(gptoss_status_invalid_argument, "Token ", token_id, " is outside the vocabulary of ",
                 tokenizer->tokenizer->num_tokens(), " tokens.");
        }
        *token_type_out = tokenizer->tokenizer->special_token(token_id);
    });
}

gptoss_status gptoss_tokenizer_encode(gptoss_tokenizer_t tokenizer,
                                      const char* text,
                                      size_t text_length,
                                      uint32_t* tokens_out,
                                      size_t max_tokens,
                                      size_t* num_tokens_out) {
    return guarded([&] {
        require(tokenizer, "tokenizer");
        require(num_tokens_out, "num_tokens_out");
        const std::vector<uint32_t> tokens = encode(*tokenizer->tokenizer, text, text_length);
        copy_tokens(tokens, tokens_out, max_tokens);
        *num_tokens_out = tokens.size();
    });
}

} // extern "C"
