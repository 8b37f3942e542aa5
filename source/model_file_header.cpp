#include "model_file_header.h"

#include <algorithm>
#include <cstdio>

namespace gptoss {

std::string format_uuid(const Uuid& uuid) {
    std::string text;
    for (size_t i = 0; i < uuid.size(); i++) {
        char digits[3];
        std::snprintf(digits, sizeof(digits), "%02x", uuid[i]);
        text += (i == 4 || i == 6 || i == 8 || i == 10) ? std::string("-") + digits : std::string(digits);
    }
    return text;
}

namespace {

constexpr char kMagic[12] = {'G', 'P', 'T', '-', 'O', 'S', 'S', ' ', 'v', '1', '.', '0'};
constexpr Uuid kModelUuid = {0xdf, 0x52, 0xdc, 0x86, 0x17, 0x89, 0x4e, 0xd0,
                             0xa2, 0x95, 0x66, 0xf1, 0x05, 0x08, 0x14, 0x5b};
constexpr Uuid kSequentialLayoutUuid = {0x22, 0x91, 0x77, 0xa8, 0x57, 0x75, 0x42, 0x68,
                                        0xbf, 0xd8, 0xd5, 0x88, 0xb3, 0x51, 0xc5, 0x6d};
constexpr Uuid kTableLayoutUuid = {0xaf, 0x21, 0xec, 0xd2, 0x08, 0x73, 0x4a, 0x1a,
                                   0x87, 0x23, 0xf9, 0x06, 0x7a, 0x5d, 0x4f, 0x5f};
constexpr Uuid kTokenizerUuid = {0x74, 0x01, 0xad, 0xed, 0x2a, 0x95, 0x40, 0xcb,
                                 0xb7, 0x82, 0x9c, 0xce, 0xba, 0xaf, 0xe7, 0x2b};

struct SpecialTokenUuid {
    Uuid uuid;
    gptoss_special_token token;
};

constexpr SpecialTokenUuid kSpecialTokenUuids[] = {
    {{0x55, 0xa7, 0x7c, 0x2f, 0x8a, 0x01, 0x4c, 0x54, 0x8a, 0xc2, 0x31, 0x3b, 0xfc, 0x7e, 0x20, 0x8d},
     gptoss_special_token_start},
    {{0x16, 0xe4, 0x04, 0x31, 0xf4, 0x7f, 0x4b, 0x22, 0xb5, 0x9b, 0x8b, 0x27, 0x8f, 0xc3, 0x0a, 0x54},
     gptoss_special_token_message},
    {{0xfc, 0xac, 0x2f, 0x6d, 0x47, 0x05, 0x4f, 0x6b, 0xb2, 0x28, 0x64, 0x2a, 0xcc, 0xac, 0x72, 0x38},
     gptoss_special_token_end},
    {{0xf7, 0x99, 0xff, 0x69, 0x19, 0x92, 0x43, 0xc4, 0xa3, 0xd8, 0xd8, 0x31, 0xf4, 0x75, 0xdc, 0x75},
     gptoss_special_token_return},
    {{0xe1, 0x5b, 0xa7, 0x02, 0x28, 0xc4, 0x42, 0x92, 0xab, 0x8f, 0xff, 0xa4, 0x34, 0x70, 0x91, 0x28},
     gptoss_special_token_refusal},
    {{0xc0, 0xbb, 0x14, 0xc7, 0x60, 0x22, 0x49, 0xda, 0xad, 0x08, 0x79, 0x2d, 0x67, 0xe8, 0xb4, 0x70},
     gptoss_special_token_constrain},
    {{0xfd, 0x3d, 0xda, 0x11, 0xc8, 0xab, 0x40, 0x33, 0x87, 0x6e, 0xd9, 0x3d, 0xeb, 0x17, 0x2c, 0x93},
     gptoss_special_token_channel},
    {{0x12, 0x20, 0xf7, 0x96, 0xe3, 0x88, 0x4d, 0xe5, 0xb4, 0x87, 0xfe, 0x2e, 0xb5, 0xfe, 0x03, 0xc0},
     gptoss_special_token_call},
    {{0x07, 0xd7, 0xda, 0x55, 0xb3, 0x46, 0x4c, 0xff, 0x8b, 0x37, 0x7c, 0xef, 0xac, 0xf8, 0xa3, 0xe8},
     gptoss_special_token_untrusted},
    {{0xf2, 0x65, 0xbd, 0x9c, 0xc7, 0x17, 0x46, 0x9e, 0xa4, 0x47, 0x92, 0x06, 0x87, 0xd6, 0x5d, 0x90},
     gptoss_special_token_end_untrusted},
};

// No gpt-oss model comes near these. They keep every product of two or three sizes below 2^64, and what must be
// allocated for a file in proportion to the file.
constexpr uint32_t kMaxDimension = 1u << 20;
constexpr uint32_t kMaxExperts = 4096;
constexpr uint32_t kMaxRegexBytes = 1u << 16;

void read_magic(Reader& reader) {
    char magic[sizeof(kMagic)];
    std::memcpy(magic, reader.take(sizeof(kMagic), "magic"), sizeof(kMagic));
    if (std::memcmp(magic, kMagic, 9) != 0) { // "GPT-OSS v"
        reader.reject(0,
                      "expected the magic 'GPT-OSS v1.0', found other bytes: this is not a model.bin; convert a "
                      "SafeTensors checkpoint with 'gptoss convert'");
    }
    const uint32_t zero = reader.value<uint32_t>("magic");
    if (std::memcmp(magic, kMagic, sizeof(kMagic)) != 0 || zero != 0) {
        const bool printable =
            std::all_of(magic + 8, magic + sizeof(magic), [](char c) { return c >= ' ' && c <= '~'; });
        reader.reject(8, "expected format version 'v1.0', found '",
                      printable ? std::string(magic + 8, 4) : std::string("unprintable bytes"),
                      "': convert the checkpoint again with this version of gptoss");
    }
}

ModelConfig read_config(Reader& reader) {
    ModelConfig config = {};
    reader.uuid("model UUID", kModelUuid);
    config.context_length = reader.integer("context_length", 1, 1u << 30);
    config.num_blocks = reader.integer("num_blocks", 1, kMaxDimension);
    config.num_experts = reader.integer("num_experts", 1, kMaxExperts);
    config.num_active_experts = reader.integer("num_active_experts", 1, config.num_experts);
    const uint64_t embedding_dim_offset = reader.offset();
    config.embedding_dim = reader.integer("embedding_dim", kMxfp4BlockSize, kMaxDimension);
    config.mlp_dim = reader.integer("mlp_dim", kMxfp4BlockSize, kMaxDimension);
    if (config.embedding_dim % kMxfp4BlockSize != 0) {
        reader.reject(embedding_dim_offset, "expected embedding_dim to be a multiple of 32, found ",
                      config.embedding_dim);
    }
    if (config.mlp_dim % kMxfp4BlockSize != 0) {
        reader.reject(embedding_dim_offset + 4, "expected mlp_dim to be a multiple of 32, found ", config.mlp_dim);
    }
    config.swiglu_limit = reader.real("swiglu_limit", 1e-6f, 1e30f);
    config.head_dim = reader.integer("head_dim", kHeadDim, kHeadDim);
    config.num_heads = reader.integer("num_heads", 1, kMaxDimension / kHeadDim);
    const uint64_t num_kv_heads_offset = reader.offset();
    config.num_kv_heads = reader.integer("num_kv_heads", 1, config.num_heads);
    if (config.num_heads % config.num_kv_heads != 0) {
        reader.reject(num_kv_heads_offset, "expected num_kv_heads to divide num_heads (", config.num_heads, "), found ",
                      config.num_kv_heads);
    }
    config.attention_window = reader.integer("attention_window", 1, 1u << 30);
    config.rope_theta = reader.real("rope_theta", 1.0001f, 1e30f);
    config.interpolation_scale = reader.real("interpolation_scale", 1e-6f, 1.0f);
    config.yarn_offset = reader.real("yarn_offset", -1e6f, 1e6f);
    config.yarn_scale = reader.real("yarn_scale", -1e6f, 1e6f);
    config.yarn_multiplier = reader.real("yarn_multiplier", 1e-6f, 1e6f);
    config.rmsnorm_epsilon = reader.real("rmsnorm_epsilon", 0.0f, 1.0f);
    return config;
}

gptoss_special_token special_token_of(const Uuid& uuid) {
    for (const SpecialTokenUuid& known : kSpecialTokenUuids) {
        if (known.uuid == uuid) {
            return known.token;
        }
    }
    return gptoss_special_token_invalid;
}

WeightLayout read_layout(Reader& reader) {
    const uint64_t start = reader.offset();
    const Uuid found = reader.value<Uuid>("layout UUID");
    if (found == kSequentialLayoutUuid) {
        return WeightLayout::sequential;
    }
    if (found == kTableLayoutUuid) {
        return WeightLayout::table;
    }
    reader.reject(start, "expected layout UUID ", format_uuid(kSequentialLayoutUuid), " or ",
                  format_uuid(kTableLayoutUuid), ", found ", format_uuid(found),
                  ": the file was written for another program or a newer version of this one");
}

TokenizerPlaces read_tokenizer(Reader& reader) {
    TokenizerPlaces tokenizer = {};
    reader.uuid("tokenizer UUID", kTokenizerUuid);
    const uint64_t counts_offset = reader.offset();
    tokenizer.num_special_tokens = reader.integer("num_special_tokens", 0, 1u << 24);
    tokenizer.num_text_tokens = reader.integer("num_text_tokens", 0, 1u << 24);
    const uint32_t regex_bytes = reader.integer("regex_size", 1, kMaxRegexBytes);
    const uint32_t tokens_bytes = reader.value<uint32_t>("tokens_size");
    if (tokenizer.num_special_tokens + tokenizer.num_text_tokens == 0) {
        reader.reject(counts_offset, "expected at least one token, found none");
    }

    reader.require(uint64_t{tokenizer.num_special_tokens} * sizeof(Uuid), "special token UUIDs");
    tokenizer.special_tokens.reserve(tokenizer.num_special_tokens);
    bool seen[gptoss_special_token_max] = {};
    for (uint32_t i = 0; i < tokenizer.num_special_tokens; i++) {
        const uint64_t start = reader.offset();
        const gptoss_special_token token = special_token_of(reader.value<Uuid>("special token UUID"));
        if (token != gptoss_special_token_invalid && seen[token]) {
            reader.reject(start, "expected each special token once, found a UUID for the second time");
        }
        seen[token] = true;
        tokenizer.special_tokens.push_back(token);
    }

    const uint64_t regex_offset = reader.offset();
    const char* const regex = reinterpret_cast<const char*>(reader.take(regex_bytes, "split pattern"));
    if (std::memchr(regex, '\0', regex_bytes) != regex + regex_bytes - 1) {
        reader.reject(regex_offset, "expected a split pattern of ", regex_bytes - 1,
                      " bytes and a NUL, found the NUL elsewhere or nowhere");
    }
    tokenizer.regex.assign(regex, regex_bytes - 1);

    const uint64_t tokens_end = reader.offset() + tokens_bytes;
    reader.require(tokens_bytes, "text tokens");
    if (uint64_t{tokenizer.num_text_tokens} * 3 > tokens_bytes) { // a length of two bytes, and one byte at least
        reader.reject(counts_offset + 4, "expected num_text_tokens of at most ", tokens_bytes / 3, " in ", tokens_bytes,
                      " bytes of text tokens, found ", tokenizer.num_text_tokens);
    }
    tokenizer.token_offsets.reserve(tokenizer.num_text_tokens);
    for (uint32_t id = 0; id < tokenizer.num_text_tokens; id++) {
        const uint64_t start = reader.offset();
        tokenizer.token_offsets.push_back(start);
        const uint16_t length = reader.value<uint16_t>("text token");
        if (length == 0 || reader.offset() + length > tokens_end) {
            reader.reject(start, "expected text token ", id, " of 1 to ",
                          tokens_end > reader.offset() ? tokens_end - reader.offset() : 0, " bytes, found ", length);
        }
        reader.take(length, "text token");
    }
    if (reader.offset() != tokens_end) {
        reader.reject(reader.offset(), "expected the text tokens to end at offset ", tokens_end, ", found ",
                      tokens_end - reader.offset(), " bytes left over");
    }
    return tokenizer;
}

} // namespace

ModelHeader read_header(Reader& reader) {
    ModelHeader header = {};
    read_magic(reader);
    header.config = read_config(reader);
    header.layout = read_layout(reader);
    header.tokenizer = read_tokenizer(reader);
    header.config.vocabulary_size = header.tokenizer.num_special_tokens + header.tokenizer.num_text_tokens;
    return header;
}

} // namespace gptoss
