#include "model_file_builder.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <random>
#include <span>
#include <stdexcept>

#include "number_formats.h"

namespace builder {

namespace {

constexpr const char* kModelUuid = "df52dc8617894ed0a29566f10508145b";
constexpr const char* kLayoutUuid = "229177a857754268bfd8d588b351c56d";
constexpr const char* kTableLayoutUuid = "af21ecd208734a1a8723f9067a5d4f5f";
constexpr const char* kTokenizerUuid = "7401aded2a9540cbb7829ccebaafe72b";
constexpr const char* kUnnamedUuid = "00000000000000000000000000000000";

const char* uuid_of(gptoss_special_token token) {
    switch (token) {
        case gptoss_special_token_return:
            return "f799ff69199243c4a3d8d831f475dc75";
        case gptoss_special_token_start:
            return "55a77c2f8a014c548ac2313bfc7e208d";
        case gptoss_special_token_message:
            return "16e40431f47f4b22b59b8b278fc30a54";
        case gptoss_special_token_end:
            return "fcac2f6d47054f6bb228642accac7238";
        case gptoss_special_token_refusal:
            return "e15ba70228c44292ab8fffa434709128";
        case gptoss_special_token_constrain:
            return "c0bb14c7602249daad08792d67e8b470";
        case gptoss_special_token_channel:
            return "fd3dda11c8ab4033876ed93deb172c93";
        case gptoss_special_token_call:
            return "1220f796e3884de5b487fe2eb5fe03c0";
        case gptoss_special_token_untrusted:
            return "07d7da55b3464cff8b377cefacf8a3e8";
        case gptoss_special_token_end_untrusted:
            return "f265bd9cc717469ea447920687d65d90";
        default:
            return kUnnamedUuid;
    }
}

class Writer {
public:
    std::vector<std::byte> bytes;

    template <class Value>
    void value(Value value) {
        const auto* const source = reinterpret_cast<const std::byte*>(&value);
        bytes.insert(bytes.end(), source, source + sizeof(Value));
    }

    void text(const std::string& text) {
        for (const char character : text) {
            bytes.push_back(static_cast<std::byte>(character));
        }
    }

    void uuid(const char* digits) {
        for (size_t i = 0; i < 16; i++) {
            bytes.push_back(static_cast<std::byte>(std::stoul(std::string(digits + 2 * i, 2), nullptr, 16)));
        }
    }

    void align(size_t alignment) { bytes.resize((bytes.size() + alignment - 1) / alignment * alignment); }
};

class WeightWriter : public Writer {
public:
    explicit WeightWriter(uint64_t seed) : random_(seed) {}

    // Normal with this standard deviation around `mean`, as bf16 (truncated: it need not be rounded well).
    void bf16(size_t count, float deviation, float mean = 0.0f) {
        std::normal_distribution<float> normal(mean, deviation);
        for (size_t i = 0; i < count; i++) {
            const float drawn = normal(random_);
            uint32_t bits;
            std::memcpy(&bits, &drawn, sizeof(bits));
            value(static_cast<uint16_t>(bits >> 16));
        }
    }

    // Codes of any value, with scales that give the values a deviation between 0.5 and 1 times 1 / sqrt(columns).
    void mxfp4(size_t rows, size_t columns) {
        align(16);
        mxfp4_codes(rows, columns);
        align(16);
        mxfp4_scales(rows, columns);
    }

    void mxfp4_codes(size_t rows, size_t columns) {
        for (size_t i = 0; i < rows * columns / 2; i++) {
            bytes.push_back(static_cast<std::byte>(random_() & 0xFF));
        }
    }

    void mxfp4_scales(size_t rows, size_t columns) {
        const int exponent = static_cast<int>(std::floor(std::log2(0.3f / std::sqrt(static_cast<float>(columns)))));
        for (size_t i = 0; i < rows * columns / 32; i++) {
            bytes.push_back(static_cast<std::byte>(exponent + 127 + 14));
        }
    }

    // 8-bit codes, from -127 to 127.
    void codes(size_t count) {
        for (size_t i = 0; i < count; i++) {
            value(static_cast<int8_t>(static_cast<int>(random_() % 255) - 127));
        }
    }

    // fp16 scales around `mean`, a factor of two off at most.
    void scales(size_t count, float mean) {
        std::uniform_real_distribution<float> factor(0.5f, 2.0f);
        for (size_t i = 0; i < count; i++) {
            value(gptoss::float_to_half(mean * factor(random_)));
        }
    }

private:
    std::mt19937_64 random_;
};

uint32_t crc32(std::span<const std::byte> bytes);

// Writes tensors and notes what the table says of them.
class TableWriter : public WeightWriter {
public:
    TableWriter(uint64_t seed, bool is_q8) : WeightWriter(seed), is_q8_(is_q8) {}

    template <class Write>
    void tensor(const std::string& name,
                uint32_t data_type,
                std::vector<uint64_t> shape,
                size_t alignment,
                const Write& write) {
        align(alignment);
        const size_t offset = bytes.size();
        write();
        Writer entry;
        entry.text(name);
        entry.align(64);
        entry.value(data_type);
        entry.value(static_cast<uint32_t>(shape.size()));
        shape.resize(4);
        for (const uint64_t size : shape) {
            entry.value(size);
        }
        entry.value(uint64_t{offset});
        entry.value(uint64_t{bytes.size() - offset});
        entry.value(crc32(std::span(bytes).subspan(offset)));
        entry.value(uint32_t{0});
        entries.push_back(entry.bytes);
    }

    void bf16_tensor(const std::string& name,
                     const std::vector<uint64_t>& shape,
                     float deviation,
                     float mean = 0.0f,
                     size_t alignment = 64) {
        uint64_t count = 1;
        for (const uint64_t size : shape) {
            count *= size;
        }
        tensor(name, 0, shape, alignment, [&] { bf16(count, deviation, mean); });
    }

    void dense_tensors(const std::string& name, uint64_t rows, uint64_t columns, float deviation) {
        if (!is_q8_) {
            bf16_tensor(name, {rows, columns}, deviation);
            return;
        }
        tensor(name + ".codes", 3, {rows, columns}, 64, [&] { codes(rows * columns); });
        // Uniform codes have a deviation of 73.
        tensor(name + ".scales", 4, {rows, columns / 32}, 64, [&] { scales(rows * columns / 32, deviation / 73.0f); });
    }

    void mxfp4_tensors(const std::string& name, uint64_t rows, uint64_t columns, size_t alignment) {
        tensor(name + ".blocks", 1, {rows, columns / 32, 16}, alignment, [&] { mxfp4_codes(rows, columns); });
        tensor(name + ".scales", 2, {rows, columns / 32}, 16, [&] { mxfp4_scales(rows, columns); });
    }

    std::vector<std::vector<std::byte>> entries;

private:
    bool is_q8_;
};

uint64_t align_up(uint64_t size, uint64_t alignment) {
    return (size + alignment - 1) / alignment * alignment;
}

uint32_t read_u32(const std::vector<std::byte>& bytes, size_t offset) {
    uint32_t value = 0;
    if (offset + sizeof(value) <= bytes.size()) {
        std::memcpy(&value, bytes.data() + offset, sizeof(value));
    }
    return value;
}

} // namespace

Vocabulary byte_vocabulary() {
    Vocabulary vocabulary;
    for (int byte = 0; byte < 256; byte++) {
        vocabulary.text_tokens.emplace_back(1, static_cast<char>(byte));
    }
    vocabulary.special_tokens = {gptoss_special_token_return,  gptoss_special_token_start,
                                 gptoss_special_token_message, gptoss_special_token_end,
                                 gptoss_special_token_invalid, gptoss_special_token_channel,
                                 gptoss_special_token_call};
    vocabulary.regex = std::string(1, '.'); // an assignment of "." trips a false warning of GCC 12
    return vocabulary;
}

gptoss_model_config small_config() {
    gptoss_model_config config = {};
    config.context_length = 4096;
    config.num_blocks = 2;
    config.num_experts = 4;
    config.num_active_experts = 2;
    config.embedding_dim = 64;
    config.mlp_dim = 32;
    config.swiglu_limit = 7.0f;
    config.head_dim = 64;
    config.num_heads = 4;
    config.num_kv_heads = 2;
    config.attention_window = 8;
    config.rope_theta = 150000.0f;
    config.interpolation_scale = 1.0f / 32.0f;
    config.yarn_offset = -8.09f / (17.4f - 8.09f);
    config.yarn_scale = 1.0f / (17.4f - 8.09f);
    config.yarn_multiplier = 1.3466f;
    config.rmsnorm_epsilon = 1e-5f;
    return config;
}

namespace {

// Up to the end of the vocabulary.
std::vector<std::byte> build_unpadded_header(const gptoss_model_config& config,
                                             const Vocabulary& vocabulary,
                                             const char* layout_uuid) {
    Writer writer;
    writer.text("GPT-OSS v1.0");
    writer.value(uint32_t{0});
    writer.uuid(kModelUuid);
    for (const uint32_t field : {config.context_length, config.num_blocks, config.num_experts,
                                 config.num_active_experts, config.embedding_dim, config.mlp_dim}) {
        writer.value(field);
    }
    writer.value(config.swiglu_limit);
    for (const uint32_t field : {config.head_dim, config.num_heads, config.num_kv_heads, config.attention_window}) {
        writer.value(field);
    }
    for (const float field : {config.rope_theta, config.interpolation_scale, config.yarn_offset, config.yarn_scale,
                              config.yarn_multiplier, config.rmsnorm_epsilon}) {
        writer.value(field);
    }
    writer.uuid(layout_uuid);
    writer.uuid(kTokenizerUuid);
    size_t tokens_size = 0;
    for (const std::string& token : vocabulary.text_tokens) {
        tokens_size += 2 + token.size();
    }
    writer.value(static_cast<uint32_t>(vocabulary.special_tokens.size()));
    writer.value(static_cast<uint32_t>(vocabulary.text_tokens.size()));
    writer.value(static_cast<uint32_t>(vocabulary.regex.size() + 1));
    writer.value(static_cast<uint32_t>(tokens_size));
    for (const gptoss_special_token token : vocabulary.special_tokens) {
        writer.uuid(uuid_of(token));
    }
    writer.text(vocabulary.regex);
    writer.bytes.push_back(std::byte{0});
    for (const std::string& token : vocabulary.text_tokens) {
        writer.value(static_cast<uint16_t>(token.size()));
        writer.text(token);
    }
    return writer.bytes;
}

// By the definition, bit by bit.
uint32_t crc32(std::span<const std::byte> bytes) {
    uint32_t value = 0xFFFFFFFFu;
    for (const std::byte byte : bytes) {
        value ^= std::to_integer<uint32_t>(byte);
        for (int bit = 0; bit < 8; bit++) {
            value = (value >> 1) ^ ((value & 1) != 0 ? 0xEDB88320u : 0u);
        }
    }
    return ~value;
}

} // namespace

std::vector<std::byte> build_header(const gptoss_model_config& config, const Vocabulary& vocabulary) {
    std::vector<std::byte> header = build_unpadded_header(config, vocabulary, kLayoutUuid);
    header.resize(align_up(header.size(), kHeaderSize));
    return header;
}

std::vector<std::byte> build_model_file(const gptoss_model_config& config,
                                        const Vocabulary& vocabulary,
                                        uint64_t seed) {
    const size_t vocabulary_size = vocabulary.text_tokens.size() + vocabulary.special_tokens.size();
    const size_t embedding_dim = config.embedding_dim;
    const size_t attention_dim = size_t{config.num_heads} * config.head_dim;
    const size_t qkv_dim = attention_dim + 2 * size_t{config.num_kv_heads} * config.head_dim;
    const auto deviation = [](size_t columns) { return 1.0f / std::sqrt(static_cast<float>(columns)); };

    WeightWriter writer(seed);
    writer.bytes = build_header(config, vocabulary);
    writer.bf16(vocabulary_size * embedding_dim, 1.0f);
    for (uint32_t block = 0; block < config.num_blocks; block++) {
        writer.align(16);
        writer.bf16(embedding_dim, 0.1f, 1.0f); // attention norm
        writer.align(16);
        writer.bf16(qkv_dim * embedding_dim, deviation(embedding_dim));
        writer.bf16(qkv_dim, 0.1f);
        writer.align(16);
        writer.bf16(config.num_heads, 1.0f); // sinks
        writer.align(16);
        writer.bf16(embedding_dim * attention_dim, deviation(attention_dim));
        writer.bf16(embedding_dim, 0.1f);
        writer.align(16);
        writer.bf16(embedding_dim, 0.1f, 1.0f); // MLP norm
        writer.align(16);
        writer.bf16(config.num_experts * embedding_dim, deviation(embedding_dim)); // router
        writer.bf16(config.num_experts, 0.1f);
    }
    writer.align(16);
    writer.bf16(embedding_dim, 0.1f, 1.0f); // final norm
    writer.align(16);
    writer.bf16(vocabulary_size * embedding_dim, deviation(embedding_dim));
    for (uint32_t block = 0; block < config.num_blocks; block++) {
        writer.align(16384);
        for (uint32_t expert = 0; expert < config.num_experts; expert++) {
            writer.mxfp4(2 * config.mlp_dim, embedding_dim);
            writer.align(16);
            writer.bf16(2 * config.mlp_dim, 0.1f);
            writer.mxfp4(embedding_dim, config.mlp_dim);
            writer.align(16);
            writer.bf16(embedding_dim, 0.1f);
        }
    }
    return writer.bytes;
}

std::vector<std::byte> build_table_model_file(const gptoss_model_config& config,
                                              const Vocabulary& vocabulary,
                                              uint64_t seed,
                                              gptoss_data_type dense) {
    const bool is_q8 = dense == gptoss_data_type_q8_codes;
    const size_t vocabulary_size = vocabulary.text_tokens.size() + vocabulary.special_tokens.size();
    const uint64_t embedding_dim = config.embedding_dim;
    const uint64_t attention_dim = uint64_t{config.num_heads} * config.head_dim;
    const uint64_t qkv_dim = attention_dim + 2 * uint64_t{config.num_kv_heads} * config.head_dim;
    const auto deviation = [](uint64_t columns) { return 1.0f / std::sqrt(static_cast<float>(columns)); };

    std::vector<std::byte> header = build_unpadded_header(config, vocabulary, kTableLayoutUuid);
    header.resize(align_up(header.size(), 64));
    const size_t table = header.size();
    const uint64_t num_matrices = 2 + 2 * uint64_t{config.num_blocks};
    const uint64_t num_tensors =
        3 + config.num_blocks * (9 + uint64_t{config.num_experts} * 6) + (is_q8 ? num_matrices : 0);
    const size_t entries = table + kTableHeaderBytes;
    const size_t table_end = entries + num_tensors * kEntryBytes + 4;

    TableWriter writer(seed, is_q8);
    writer.bytes.resize(align_up(table_end, 16384));
    writer.dense_tensors("embedding.weight", vocabulary_size, embedding_dim, 1.0f);
    for (uint32_t block = 0; block < config.num_blocks; block++) {
        const std::string prefix = "block." + std::to_string(block) + ".";
        writer.bf16_tensor(prefix + "attn.norm.scale", {embedding_dim}, 0.1f, 1.0f);
        writer.dense_tensors(prefix + "attn.qkv.weight", qkv_dim, embedding_dim, deviation(embedding_dim));
        writer.bf16_tensor(prefix + "attn.qkv.bias", {qkv_dim}, 0.1f);
        writer.bf16_tensor(prefix + "attn.sinks", {config.num_heads}, 1.0f);
        writer.dense_tensors(prefix + "attn.out.weight", embedding_dim, attention_dim, deviation(attention_dim));
        writer.bf16_tensor(prefix + "attn.out.bias", {embedding_dim}, 0.1f);
        writer.bf16_tensor(prefix + "mlp.norm.scale", {embedding_dim}, 0.1f, 1.0f);
        writer.bf16_tensor(prefix + "mlp.gate.weight", {config.num_experts, embedding_dim}, deviation(embedding_dim));
        writer.bf16_tensor(prefix + "mlp.gate.bias", {config.num_experts}, 0.1f);
    }
    writer.bf16_tensor("norm.scale", {embedding_dim}, 0.1f, 1.0f);
    writer.dense_tensors("unembedding.weight", vocabulary_size, embedding_dim, deviation(embedding_dim));
    for (uint32_t block = 0; block < config.num_blocks; block++) {
        for (uint32_t expert = 0; expert < config.num_experts; expert++) {
            const std::string prefix =
                "block." + std::to_string(block) + ".mlp.experts." + std::to_string(expert) + ".";
            const uint64_t mlp_dim = config.mlp_dim;
            writer.mxfp4_tensors(prefix + "mlp1_weight", 2 * mlp_dim, embedding_dim, expert == 0 ? 16384 : 16);
            writer.bf16_tensor(prefix + "mlp1_bias", {2 * mlp_dim}, 0.1f, 0.0f, 16);
            writer.mxfp4_tensors(prefix + "mlp2_weight", embedding_dim, mlp_dim, 16);
            writer.bf16_tensor(prefix + "mlp2_bias", {embedding_dim}, 0.1f, 0.0f, 16);
        }
    }
    if (writer.entries.size() != num_tensors) {
        throw std::logic_error("the builder counts its tensors wrongly");
    }
    Writer table_writer;
    table_writer.value(static_cast<uint32_t>(num_tensors));
    table_writer.value(static_cast<uint32_t>(kEntryBytes));
    table_writer.value(uint64_t{writer.bytes.size()});
    for (const std::vector<std::byte>& entry : writer.entries) {
        table_writer.bytes.insert(table_writer.bytes.end(), entry.begin(), entry.end());
    }
    std::ranges::copy(header, writer.bytes.begin());
    std::ranges::copy(table_writer.bytes, writer.bytes.begin() + static_cast<std::ptrdiff_t>(table));
    repair_checksum(writer.bytes);
    return writer.bytes;
}

size_t table_offset(const std::vector<std::byte>& file) {
    const uint64_t tokenizer_bytes = read_u32(file, kNumSpecialTokensOffset) * uint64_t{16} +
                                     read_u32(file, kRegexSizeOffset) + read_u32(file, kTokensSizeOffset);
    return align_up(kSpecialTokensOffset + tokenizer_bytes, 64);
}

size_t entry_offset(const std::vector<std::byte>& file, const std::string& name) {
    const size_t table = table_offset(file);
    for (size_t index = 0; index < read_u32(file, table); index++) {
        const size_t offset = table + kTableHeaderBytes + index * kEntryBytes;
        if (std::strncmp(reinterpret_cast<const char*>(file.data() + offset), name.c_str(), 64) == 0) {
            return offset;
        }
    }
    throw std::out_of_range("the table has no tensor " + name);
}

size_t table_end(const std::vector<std::byte>& file) {
    const uint64_t table = table_offset(file);
    return std::min<uint64_t>(
        file.size(), table + kTableHeaderBytes + uint64_t{read_u32(file, table)} * kEntryBytes + sizeof(uint32_t));
}

void repair_checksum(std::vector<std::byte>& file) {
    const size_t end = table_end(file);
    if (end > table_offset(file) + kTableHeaderBytes + sizeof(uint32_t)) {
        const size_t checksum = end - sizeof(uint32_t);
        overwrite(file, checksum, crc32(std::span(file).first(checksum)));
    }
}

uint64_t file_size_of(const std::vector<std::byte>& header, uint64_t limit) {
    const uint64_t num_blocks = read_u32(header, kNumBlocksOffset);
    const uint64_t num_experts = read_u32(header, kNumExpertsOffset);
    const uint64_t embedding_dim = read_u32(header, kEmbeddingDimOffset);
    const uint64_t mlp_dim = read_u32(header, kMlpDimOffset);
    const uint64_t num_heads = read_u32(header, kNumHeadsOffset);
    const uint64_t num_kv_heads = read_u32(header, kNumKvHeadsOffset);
    const uint64_t num_special_tokens = read_u32(header, kNumSpecialTokensOffset);
    const uint64_t num_text_tokens = read_u32(header, kNumTextTokensOffset);
    // Any of these alone makes a file longer than its value; smaller ones cannot overflow below.
    for (const uint64_t size : {num_blocks, num_experts, embedding_dim, mlp_dim, num_heads, num_kv_heads,
                                num_special_tokens, num_text_tokens}) {
        if (size > limit || size > (1u << 12)) {
            return limit + 1;
        }
    }
    const uint64_t tokenizer_bytes =
        num_special_tokens * 16 + read_u32(header, kRegexSizeOffset) + read_u32(header, kTokensSizeOffset);
    const uint64_t qkv_dim = 64 * (num_heads + 2 * num_kv_heads);
    uint64_t size = align_up(kSpecialTokensOffset + tokenizer_bytes, 16384);
    size += 2 * (num_special_tokens + num_text_tokens) * embedding_dim;
    for (uint64_t block = 0; block < num_blocks && size <= limit; block++) {
        size = align_up(size, 16) + 2 * embedding_dim;
        size = align_up(size, 16) + 2 * qkv_dim * embedding_dim + 2 * qkv_dim;
        size = align_up(size, 16) + 2 * num_heads;
        size = align_up(size, 16) + 2 * embedding_dim * 64 * num_heads + 2 * embedding_dim;
        size = align_up(size, 16) + 2 * embedding_dim;
        size = align_up(size, 16) + 2 * num_experts * embedding_dim + 2 * num_experts;
    }
    size = align_up(size, 16) + 2 * embedding_dim;
    size = align_up(size, 16) + 2 * (num_special_tokens + num_text_tokens) * embedding_dim;
    for (uint64_t block = 0; block < num_blocks && size <= limit; block++) {
        size = align_up(size, 16384);
        for (uint64_t expert = 0; expert < num_experts && size <= limit; expert++) {
            size = align_up(size, 16) + mlp_dim * embedding_dim;
            size = align_up(size, 16) + mlp_dim * embedding_dim / 16;
            size = align_up(size, 16) + 4 * mlp_dim;
            size = align_up(size, 16) + embedding_dim * mlp_dim / 2;
            size = align_up(size, 16) + embedding_dim * mlp_dim / 32;
            size = align_up(size, 16) + 2 * embedding_dim;
        }
    }
    return size <= limit ? size : limit + 1;
}

TemporaryFile::TemporaryFile(const std::vector<std::byte>& bytes) {
    std::string pattern = (std::filesystem::temp_directory_path() / "gptoss-test-XXXXXX").string();
    const int descriptor = mkstemp(pattern.data());
    if (descriptor < 0) {
        throw std::runtime_error("could not create a temporary file " + pattern);
    }
    path_ = pattern;
    size_t written = 0;
    while (written < bytes.size()) {
        const ssize_t count = write(descriptor, bytes.data() + written, bytes.size() - written);
        if (count <= 0) {
            close(descriptor);
            throw std::runtime_error("could not write the temporary file " + path_);
        }
        written += static_cast<size_t>(count);
    }
    close(descriptor);
}

TemporaryFile::~TemporaryFile() {
    unlink(path_.c_str());
}

} // namespace builder
