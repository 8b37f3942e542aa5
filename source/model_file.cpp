#include "model_file.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "errors.h"
#include "number_formats.h"

namespace gptoss {

namespace {

static_assert(std::endian::native == std::endian::little, "model.bin is little-endian and is used where it is mapped");

using Uuid = std::array<uint8_t, 16>;

constexpr char kMagic[12] = {'G', 'P', 'T', '-', 'O', 'S', 'S', ' ', 'v', '1', '.', '0'};
constexpr Uuid kModelUuid = {0xdf, 0x52, 0xdc, 0x86, 0x17, 0x89, 0x4e, 0xd0,
                             0xa2, 0x95, 0x66, 0xf1, 0x05, 0x08, 0x14, 0x5b};
constexpr Uuid kLayoutUuid = {0x22, 0x91, 0x77, 0xa8, 0x57, 0x75, 0x42, 0x68,
                              0xbf, 0xd8, 0xd5, 0x88, 0xb3, 0x51, 0xc5, 0x6d};
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

constexpr uint64_t kItemAlignment = 16;
constexpr uint64_t kSectionAlignment = 16384;

// No gpt-oss model comes near these. They keep every product of two or three sizes below 2^64, and what must be
// allocated for a file in proportion to the file.
constexpr uint32_t kMaxDimension = 1u << 20;
constexpr uint32_t kMaxExperts = 4096;
constexpr uint32_t kMaxRegexBytes = 1u << 16;

std::string format_uuid(const Uuid& uuid) {
    std::string text;
    for (size_t i = 0; i < uuid.size(); i++) {
        char digits[3];
        std::snprintf(digits, sizeof(digits), "%02x", uuid[i]);
        text += (i == 4 || i == 6 || i == 8 || i == 10) ? std::string("-") + digits : std::string(digits);
    }
    return text;
}

// Reads fields one after the other, each checked against the end of the file.
class Reader {
public:
    Reader(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes), name_(name) {}

    uint64_t offset() const { return offset_; }
    uint64_t size() const { return bytes_.size(); }

    template <class... Parts>
    [[noreturn]] void reject(uint64_t offset, const Parts&... parts) const {
        fail(gptoss_status_invalid_model_file, "'", name_, "' is not a valid model file: at offset ", offset, ", ",
             parts..., ".");
    }

    // Makes sure that num_bytes more bytes are there.
    void require(uint64_t num_bytes, const char* what) const {
        if (num_bytes > bytes_.size() - offset_) {
            reject(offset_, "expected ", num_bytes, " bytes of ", what, ", found ", bytes_.size() - offset_,
                   " before the end of the file: it is truncated or damaged, so copy or convert it again");
        }
    }

    const std::byte* take(uint64_t num_bytes, const char* what) {
        require(num_bytes, what);
        const std::byte* const start = bytes_.data() + offset_;
        offset_ += num_bytes;
        return start;
    }

    template <class Value>
    Value value(const char* what) {
        Value result;
        std::memcpy(&result, take(sizeof(Value), what), sizeof(Value));
        return result;
    }

    uint32_t integer(const char* what, uint32_t lowest, uint32_t highest) {
        const uint64_t start = offset_;
        const uint32_t found = value<uint32_t>(what);
        if (found < lowest || found > highest) {
            reject(start, "expected ", what, " from ", lowest, " to ", highest, ", found ", found);
        }
        return found;
    }

    float real(const char* what, float lowest, float highest) {
        const uint64_t start = offset_;
        const float found = value<float>(what);
        if (!(found >= lowest && found <= highest)) { // also false for NaN
            reject(start, "expected ", what, " from ", lowest, " to ", highest, ", found ", found);
        }
        return found;
    }

    void uuid(const char* what, const Uuid& expected) {
        const uint64_t start = offset_;
        const Uuid found = value<Uuid>(what);
        if (found != expected) {
            reject(start, "expected ", what, " ", format_uuid(expected), ", found ", format_uuid(found),
                   ": the file was written for another program or a newer version of this one");
        }
    }

    // The place of the next item, aligned, with its size checked.
    TensorPlace place(uint64_t num_bytes, const char* what, uint64_t alignment = kItemAlignment) {
        align(alignment, what);
        const TensorPlace result = {offset_, num_bytes};
        take(num_bytes, what);
        return result;
    }

    void align(uint64_t alignment, const char* what) {
        const uint64_t padding = (alignment - offset_ % alignment) % alignment;
        take(padding, what);
    }

private:
    std::span<const std::byte> bytes_;
    const std::string& name_;
    uint64_t offset_ = 0;
};

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

constexpr uint64_t bf16_bytes(uint64_t elements) {
    return elements * 2;
}

BlockPlaces read_block(Reader& reader, const ModelConfig& config) {
    const uint64_t embedding_dim = config.embedding_dim;
    const uint64_t qkv_dim = uint64_t{config.head_dim} * (config.num_heads + 2 * uint64_t{config.num_kv_heads});
    const uint64_t attention_dim = uint64_t{config.head_dim} * config.num_heads;
    BlockPlaces block = {};
    block.attention_norm = reader.place(bf16_bytes(embedding_dim), "attention norm");
    block.qkv_weight = bf16_matrix(reader.place(bf16_bytes(qkv_dim * embedding_dim), "qkv weight"));
    block.qkv_bias = reader.place(bf16_bytes(qkv_dim), "qkv bias", 1);
    block.attention_sinks = reader.place(bf16_bytes(config.num_heads), "attention sinks");
    block.output_weight =
        bf16_matrix(reader.place(bf16_bytes(embedding_dim * attention_dim), "attention output weight"));
    block.output_bias = reader.place(bf16_bytes(embedding_dim), "attention output bias", 1);
    block.mlp_norm = reader.place(bf16_bytes(embedding_dim), "MLP norm");
    block.router_weight = reader.place(bf16_bytes(uint64_t{config.num_experts} * embedding_dim), "router weight");
    block.router_bias = reader.place(bf16_bytes(config.num_experts), "router bias", 1);
    return block;
}

// The layout within an expert is the same for all experts, because each starts on a multiple of 16.
ExpertPlaces expert_places(const ModelConfig& config) {
    const uint64_t embedding_dim = config.embedding_dim;
    const uint64_t mlp_dim = config.mlp_dim;
    uint64_t end = 0;
    const auto place = [&end](uint64_t num_bytes) {
        const uint64_t start = (end + kItemAlignment - 1) / kItemAlignment * kItemAlignment;
        end = start + num_bytes;
        return TensorPlace{start, num_bytes};
    };
    ExpertPlaces expert = {};
    expert.mlp1_blocks = place(2 * mlp_dim * embedding_dim / 2);
    expert.mlp1_scales = place(2 * mlp_dim * embedding_dim / kMxfp4BlockSize);
    expert.mlp1_bias = place(bf16_bytes(2 * mlp_dim));
    expert.mlp2_blocks = place(embedding_dim * mlp_dim / 2);
    expert.mlp2_scales = place(embedding_dim * mlp_dim / kMxfp4BlockSize);
    expert.mlp2_bias = place(bf16_bytes(embedding_dim));
    expert.num_bytes = end;
    expert.stride = (end + kItemAlignment - 1) / kItemAlignment * kItemAlignment;
    return expert;
}

} // namespace

ModelFile ModelFile::parse(std::span<const std::byte> bytes, const std::string& name) {
    Reader reader(bytes, name);
    ModelFile file;
    read_magic(reader);
    file.config_ = read_config(reader);
    const ModelConfig& config = file.config_;
    reader.uuid("layout UUID", kLayoutUuid);
    file.tokenizer_ = read_tokenizer(reader);
    file.config_.vocabulary_size = file.tokenizer_.num_special_tokens + file.tokenizer_.num_text_tokens;
    reader.align(kSectionAlignment, "padding behind the header");

    const uint64_t vocabulary_bytes = bf16_bytes(uint64_t{config.vocabulary_size} * config.embedding_dim);
    file.embedding_ = bf16_matrix(reader.place(vocabulary_bytes, "embedding"));
    for (uint32_t block = 0; block < config.num_blocks; block++) {
        // Grows with the file that was really there, not with what the header promises.
        file.blocks_.push_back(read_block(reader, config));
    }
    file.final_norm_ = reader.place(bf16_bytes(config.embedding_dim), "final norm");
    file.unembedding_ = bf16_matrix(reader.place(vocabulary_bytes, "unembedding"));

    file.expert_ = expert_places(config);
    for (BlockPlaces& block : file.blocks_) {
        reader.align(kSectionAlignment, "padding before a block's experts");
        block.experts_offset = reader.offset();
        reader.take(file.expert_.stride * (config.num_experts - 1) + file.expert_.num_bytes, "experts of a block");
    }
    if (reader.offset() != reader.size()) {
        reader.reject(reader.offset(), "expected the end of the file, found ", reader.size() - reader.offset(),
                      " more bytes: the header does not describe this file");
    }
    return file;
}

namespace {

constexpr size_t kTensorsPerBlock = 9;
constexpr size_t kTensorsPerExpert = 6;

gptoss_tensor describe(const std::string& name,
                       gptoss_data_type data_type,
                       const TensorPlace& place,
                       uint64_t base,
                       std::initializer_list<uint64_t> shape) {
    gptoss_tensor tensor = {};
    std::snprintf(tensor.name, sizeof(tensor.name), "%s", name.c_str());
    tensor.data_type = data_type;
    for (const uint64_t size : shape) {
        tensor.shape[tensor.num_dims++] = size;
    }
    tensor.offset = base + place.offset;
    tensor.num_bytes = place.num_bytes;
    return tensor;
}

} // namespace

size_t ModelFile::num_tensors() const {
    return 3 + blocks_.size() * (kTensorsPerBlock + size_t{config_.num_experts} * kTensorsPerExpert);
}

gptoss_tensor ModelFile::tensor(size_t index) const {
    const uint64_t V = config_.vocabulary_size, E = config_.embedding_dim, I = config_.mlp_dim, H = config_.num_heads;
    const uint64_t D = config_.head_dim, qkv_dim = D * (H + 2 * uint64_t{config_.num_kv_heads});
    const uint64_t num_experts = config_.num_experts;
    constexpr gptoss_data_type bf16 = gptoss_data_type_bf16;

    if (index == 0) {
        return describe("embedding.weight", bf16, embedding_.weight, 0, {V, E});
    }
    index -= 1;
    if (index < blocks_.size() * kTensorsPerBlock) {
        const size_t block_index = index / kTensorsPerBlock;
        const BlockPlaces& block = blocks_[block_index];
        const std::string prefix = "block." + std::to_string(block_index) + ".";
        switch (index % kTensorsPerBlock) {
            case 0:
                return describe(prefix + "attn.norm.scale", bf16, block.attention_norm, 0, {E});
            case 1:
                return describe(prefix + "attn.qkv.weight", bf16, block.qkv_weight.weight, 0, {qkv_dim, E});
            case 2:
                return describe(prefix + "attn.qkv.bias", bf16, block.qkv_bias, 0, {qkv_dim});
            case 3:
                return describe(prefix + "attn.sinks", bf16, block.attention_sinks, 0, {H});
            case 4:
                return describe(prefix + "attn.out.weight", bf16, block.output_weight.weight, 0, {E, H * D});
            case 5:
                return describe(prefix + "attn.out.bias", bf16, block.output_bias, 0, {E});
            case 6:
                return describe(prefix + "mlp.norm.scale", bf16, block.mlp_norm, 0, {E});
            case 7:
                return describe(prefix + "mlp.gate.weight", bf16, block.router_weight, 0, {num_experts, E});
            default:
                return describe(prefix + "mlp.gate.bias", bf16, block.router_bias, 0, {num_experts});
        }
    }
    index -= blocks_.size() * kTensorsPerBlock;
    if (index == 0) {
        return describe("norm.scale", bf16, final_norm_, 0, {E});
    }
    if (index == 1) {
        return describe("unembedding.weight", bf16, unembedding_.weight, 0, {V, E});
    }
    index -= 2;
    const size_t expert_index = index / kTensorsPerExpert % num_experts;
    const size_t block_index = index / kTensorsPerExpert / num_experts;
    const uint64_t base = blocks_[block_index].experts_offset + expert_index * expert_.stride;
    const std::string prefix =
        "block." + std::to_string(block_index) + ".mlp.experts." + std::to_string(expert_index) + ".";
    switch (index % kTensorsPerExpert) {
        case 0:
            return describe(prefix + "mlp1_weight.blocks", gptoss_data_type_mxfp4_blocks, expert_.mlp1_blocks, base,
                            {2 * I, E / kMxfp4BlockSize, 16});
        case 1:
            return describe(prefix + "mlp1_weight.scales", gptoss_data_type_mxfp4_scales, expert_.mlp1_scales, base,
                            {2 * I, E / kMxfp4BlockSize});
        case 2:
            return describe(prefix + "mlp1_bias", bf16, expert_.mlp1_bias, base, {2 * I});
        case 3:
            return describe(prefix + "mlp2_weight.blocks", gptoss_data_type_mxfp4_blocks, expert_.mlp2_blocks, base,
                            {E, I / kMxfp4BlockSize, 16});
        case 4:
            return describe(prefix + "mlp2_weight.scales", gptoss_data_type_mxfp4_scales, expert_.mlp2_scales, base,
                            {E, I / kMxfp4BlockSize});
        default:
            return describe(prefix + "mlp2_bias", bf16, expert_.mlp2_bias, base, {E});
    }
}

} // namespace gptoss
