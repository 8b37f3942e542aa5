// The loader: what a valid file means, and that nothing else gets through.
#include "model_file.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <random>

#include "check.h"
#include "mapped_file.h"
#include "model_file_builder.h"
#include "tokenizer.h"

using gptoss::MappedFile;
using gptoss::ModelFile;

namespace {

constexpr gptoss_status kInvalid = gptoss_status_invalid_model_file;

std::vector<std::byte> small_file() {
    return builder::build_model_file(builder::small_config(), builder::byte_vocabulary(), 1);
}

// Everything that a parsed file points to must lie inside its bytes.
void check_inside(const ModelFile& file, size_t num_bytes) {
    for (size_t i = 0; i < file.tensors().size(); i++) {
        const gptoss_tensor tensor = file.tensors()[i];
        CHECK(tensor.num_bytes <= num_bytes && tensor.offset <= num_bytes - tensor.num_bytes);
    }
    for (const uint64_t offset : file.tokenizer().token_offsets) {
        CHECK(offset + 3 <= num_bytes);
    }
}

template <class Value>
void check_rejected(size_t offset, Value value, const std::string& part) {
    std::vector<std::byte> bytes = small_file();
    builder::overwrite(bytes, offset, value);
    CHECK_FAILS(kInvalid, part, ModelFile::parse(bytes, "m"));
}

} // namespace

TEST(a_valid_header_is_read_field_by_field) {
    const gptoss_model_config expected = builder::small_config();
    const ModelFile file = ModelFile::parse(small_file(), "m");
    const gptoss_model_config& found = file.config();
    CHECK_EQUAL(found.context_length, expected.context_length);
    CHECK_EQUAL(found.num_blocks, expected.num_blocks);
    CHECK_EQUAL(found.num_experts, expected.num_experts);
    CHECK_EQUAL(found.num_active_experts, expected.num_active_experts);
    CHECK_EQUAL(found.embedding_dim, expected.embedding_dim);
    CHECK_EQUAL(found.mlp_dim, expected.mlp_dim);
    CHECK_EQUAL(found.swiglu_limit, expected.swiglu_limit);
    CHECK_EQUAL(found.head_dim, expected.head_dim);
    CHECK_EQUAL(found.num_heads, expected.num_heads);
    CHECK_EQUAL(found.num_kv_heads, expected.num_kv_heads);
    CHECK_EQUAL(found.attention_window, expected.attention_window);
    CHECK_EQUAL(found.rope_theta, expected.rope_theta);
    CHECK_EQUAL(found.interpolation_scale, expected.interpolation_scale);
    CHECK_EQUAL(found.yarn_offset, expected.yarn_offset);
    CHECK_EQUAL(found.yarn_scale, expected.yarn_scale);
    CHECK_EQUAL(found.yarn_multiplier, expected.yarn_multiplier);
    CHECK_EQUAL(found.rmsnorm_epsilon, expected.rmsnorm_epsilon);
    CHECK_EQUAL(found.vocabulary_size, 263u);
}

TEST(tensors_follow_one_another_to_the_end_of_the_file) {
    // Odd sizes: 3 experts, 5 blocks, 96 wide.
    gptoss_model_config config = builder::small_config();
    config.num_blocks = 5;
    config.num_experts = 3;
    config.embedding_dim = 96;
    const std::vector<std::byte> bytes = builder::build_model_file(config, builder::byte_vocabulary(), 1);
    const ModelFile file = ModelFile::parse(bytes, "m");
    CHECK_EQUAL(file.tensors().size(), 3u + 5 * (9 + 3 * 6));
    uint64_t end = builder::kHeaderSize;
    for (size_t i = 0; i < file.tensors().size(); i++) {
        const gptoss_tensor tensor = file.tensors()[i];
        const bool starts_experts = std::strstr(tensor.name, "experts.0.mlp1_weight.blocks") != nullptr;
        CHECK(tensor.offset >= end);
        CHECK(tensor.offset - end < (starts_experts ? 16384u : 16u));
        uint64_t num_elements = 1;
        for (uint32_t dim = 0; dim < tensor.num_dims; dim++) {
            num_elements *= tensor.shape[dim];
        }
        CHECK_EQUAL(tensor.num_bytes, num_elements * (tensor.data_type == gptoss_data_type_bf16 ? 2 : 1));
        end = tensor.offset + tensor.num_bytes;
    }
    CHECK_EQUAL(end, bytes.size());
    CHECK_EQUAL(builder::file_size_of(bytes, uint64_t{1} << 40), bytes.size());
}

TEST(tensors_have_their_names_in_file_order) {
    const ModelFile file = ModelFile::parse(small_file(), "m");
    const auto name = [&](size_t index) { return std::string(file.tensors()[index].name); };
    CHECK_EQUAL(name(0), "embedding.weight");
    CHECK_EQUAL(name(1), "block.0.attn.norm.scale");
    CHECK_EQUAL(name(2), "block.0.attn.qkv.weight");
    CHECK_EQUAL(name(3), "block.0.attn.qkv.bias");
    CHECK_EQUAL(name(4), "block.0.attn.sinks");
    CHECK_EQUAL(name(5), "block.0.attn.out.weight");
    CHECK_EQUAL(name(6), "block.0.attn.out.bias");
    CHECK_EQUAL(name(7), "block.0.mlp.norm.scale");
    CHECK_EQUAL(name(8), "block.0.mlp.gate.weight");
    CHECK_EQUAL(name(9), "block.0.mlp.gate.bias");
    CHECK_EQUAL(name(10), "block.1.attn.norm.scale");
    CHECK_EQUAL(name(19), "norm.scale");
    CHECK_EQUAL(name(20), "unembedding.weight");
    CHECK_EQUAL(name(21), "block.0.mlp.experts.0.mlp1_weight.blocks");
    CHECK_EQUAL(name(22), "block.0.mlp.experts.0.mlp1_weight.scales");
    CHECK_EQUAL(name(23), "block.0.mlp.experts.0.mlp1_bias");
    CHECK_EQUAL(name(24), "block.0.mlp.experts.0.mlp2_weight.blocks");
    CHECK_EQUAL(name(25), "block.0.mlp.experts.0.mlp2_weight.scales");
    CHECK_EQUAL(name(26), "block.0.mlp.experts.0.mlp2_bias");
    CHECK_EQUAL(name(27), "block.0.mlp.experts.1.mlp1_weight.blocks");
    CHECK_EQUAL(name(file.tensors().size() - 1), "block.1.mlp.experts.3.mlp2_bias");
}

TEST(the_vocabulary_is_read_back) {
    const builder::TemporaryFile temporary(small_file());
    const auto mapping = MappedFile::open(temporary.path());
    const auto file = std::make_shared<const ModelFile>(ModelFile::parse(mapping->bytes(), "m"));
    const gptoss::Tokenizer tokenizer(mapping, file);
    CHECK_EQUAL(tokenizer.num_text_tokens(), 256u);
    CHECK_EQUAL(tokenizer.num_special_tokens(), 7u);
    CHECK_EQUAL(tokenizer.regex(), ".");
    for (uint32_t id = 0; id < 256; id++) {
        CHECK_EQUAL(tokenizer.token_bytes(id).size(), 1u);
        CHECK(tokenizer.token_bytes(id)[0] == static_cast<std::byte>(id));
        CHECK_EQUAL(tokenizer.special_token(id), gptoss_special_token_invalid);
    }
    CHECK_EQUAL(tokenizer.special_token_id(gptoss_special_token_return).value(), 256u);
    CHECK_EQUAL(tokenizer.special_token_id(gptoss_special_token_call).value(), 262u);
    CHECK(!tokenizer.special_token_id(gptoss_special_token_refusal).has_value());
    CHECK_EQUAL(tokenizer.special_token(257), gptoss_special_token_start);
    CHECK_EQUAL(tokenizer.special_token(260), gptoss_special_token_invalid);
    CHECK_EQUAL(tokenizer.special_token(263), gptoss_special_token_invalid);
}

TEST(every_truncation_of_the_header_is_rejected) {
    const std::vector<std::byte> bytes = small_file();
    for (size_t size = 0; size < builder::kHeaderSize; size++) {
        CHECK_FAILS(kInvalid, "offset", ModelFile::parse(std::span(bytes).first(size), "m"));
    }
}

TEST(every_truncation_within_sixteen_bytes_of_a_tensor_is_rejected) {
    const std::vector<std::byte> bytes = small_file();
    const ModelFile file = ModelFile::parse(bytes, "m");
    for (size_t i = 0; i < file.tensors().size(); i++) {
        const gptoss_tensor tensor = file.tensors()[i];
        for (int64_t distance = -16; distance <= 16; distance++) {
            const size_t size = static_cast<size_t>(static_cast<int64_t>(tensor.offset + tensor.num_bytes) + distance);
            if (size < bytes.size()) {
                CHECK_FAILS(kInvalid, "truncated", ModelFile::parse(std::span(bytes).first(size), "m"));
            }
        }
    }
}

TEST(bytes_behind_the_last_tensor_are_rejected) {
    std::vector<std::byte> bytes = small_file();
    bytes.push_back(std::byte{0});
    CHECK_FAILS(kInvalid, "1 more bytes", ModelFile::parse(bytes, "m"));
}

TEST(a_bit_flip_anywhere_in_the_header_is_rejected_or_harmless) {
    std::vector<std::byte> bytes = small_file();
    const size_t header_end = builder::kSpecialTokensOffset + 7 * 16 + 2 + 256 * 3;
    int num_rejected = 0;
    for (size_t bit = 0; bit < header_end * 8; bit++) {
        const std::byte mask{static_cast<unsigned char>(1u << bit % 8)};
        bytes[bit / 8] ^= mask;
        try {
            check_inside(ModelFile::parse(bytes, "m"), bytes.size());
        } catch (const gptoss::Error& error) {
            CHECK_EQUAL(error.status(), kInvalid);
            CHECK(std::strstr(error.what(), "at offset ") != nullptr);
            num_rejected++;
        }
        bytes[bit / 8] ^= mask;
    }
    // All bits of the magic and the three UUIDs, at least.
    CHECK(num_rejected >= (16 + 3 * 16) * 8);
}

TEST(random_headers_are_rejected) {
    std::mt19937_64 random(7);
    std::vector<std::byte> bytes = small_file();
    for (int i = 0; i < 2000; i++) {
        // Any value in any of the header's numbers, and now and then in several.
        std::vector<std::byte> damaged = bytes;
        const int num_fields = 1 + static_cast<int>(random() % 3);
        for (int j = 0; j < num_fields; j++) {
            const size_t offset = builder::kContextLengthOffset + 4 * (random() % 17);
            builder::overwrite(damaged, offset, static_cast<uint32_t>(random() >> (random() % 64)));
        }
        try {
            check_inside(ModelFile::parse(damaged, "m"), damaged.size());
        } catch (const gptoss::Error& error) {
            CHECK_EQUAL(error.status(), kInvalid);
        }
    }
}

TEST(errors_name_offset_expected_and_found) {
    check_rejected(0, 'X', "at offset 0, expected the magic 'GPT-OSS v1.0'");
    check_rejected(builder::kVersionOffset + 3, '1', "expected format version 'v1.0', found 'v1.1'");
    check_rejected(builder::kModelUuidOffset, '\0',
                   "at offset 16, expected model UUID df52dc86-1789-4ed0-a295-66f10508145b");
    check_rejected(builder::kLayoutUuidOffset, '\0', "at offset 100, expected layout UUID 229177a8-");
    check_rejected(builder::kTokenizerUuidOffset, '\0', "at offset 116, expected tokenizer UUID 7401aded-");
    check_rejected(builder::kContextLengthOffset, uint32_t{0}, "at offset 32, expected context_length from 1");
    check_rejected(builder::kNumBlocksOffset, uint32_t{0}, "at offset 36, expected num_blocks from 1");
    check_rejected(builder::kNumExpertsOffset, uint32_t{0}, "at offset 40, expected num_experts from 1");
    check_rejected(builder::kNumActiveExpertsOffset, uint32_t{0},
                   "at offset 44, expected num_active_experts from 1 to 4");
    check_rejected(builder::kNumActiveExpertsOffset, uint32_t{5}, "found 5");
    check_rejected(builder::kEmbeddingDimOffset, uint32_t{48},
                   "at offset 48, expected embedding_dim to be a multiple of 32, found 48");
    check_rejected(builder::kMlpDimOffset, uint32_t{33},
                   "at offset 52, expected mlp_dim to be a multiple of 32, found 33");
    check_rejected(builder::kHeadDimOffset, uint32_t{128}, "at offset 60, expected head_dim from 64 to 64, found 128");
    check_rejected(builder::kNumHeadsOffset, uint32_t{0}, "at offset 64, expected num_heads from 1");
    check_rejected(builder::kNumKvHeadsOffset, uint32_t{3},
                   "at offset 68, expected num_kv_heads to divide num_heads (4), found 3");
    check_rejected(builder::kAttentionWindowOffset, uint32_t{0}, "at offset 72, expected attention_window from 1");
    check_rejected(builder::kRegexSizeOffset, uint32_t{0}, "at offset 140, expected regex_size from 1");
    check_rejected(builder::kNumTextTokensOffset, uint32_t{1000},
                   "at offset 136, expected num_text_tokens of at most 256");
}

TEST(numbers_that_would_poison_every_result_are_rejected) {
    const float infinity = std::numeric_limits<float>::infinity();
    for (size_t offset = builder::kRopeThetaOffset; offset <= builder::kRmsnormEpsilonOffset; offset += 4) {
        for (const float value : {std::numeric_limits<float>::quiet_NaN(), infinity, -infinity}) {
            check_rejected(offset, value, "at offset " + std::to_string(offset));
        }
    }
    check_rejected(builder::kSwigluLimitOffset, -1.0f, "at offset 56");
    check_rejected(builder::kSwigluLimitOffset, std::numeric_limits<float>::quiet_NaN(), "at offset 56");
}

TEST(sizes_that_overflow_64_bits_are_rejected_without_allocation) {
    for (const size_t offset : {builder::kNumBlocksOffset, builder::kNumExpertsOffset, builder::kEmbeddingDimOffset,
                                builder::kMlpDimOffset, builder::kNumHeadsOffset, builder::kNumSpecialTokensOffset,
                                builder::kNumTextTokensOffset, builder::kRegexSizeOffset, builder::kTokensSizeOffset}) {
        check_rejected(offset, uint32_t{0xFFFFFFE0u}, "at offset ");
        check_rejected(offset, uint32_t{0x00100000u}, "at offset ");
    }
}

TEST(a_damaged_vocabulary_is_rejected) {
    const size_t regex_offset = builder::kSpecialTokensOffset + 7 * 16;
    const size_t tokens_offset = regex_offset + 2;
    check_rejected(regex_offset, '\0', "expected a split pattern of 1 bytes and a NUL");
    check_rejected(regex_offset + 1, '.', "expected a split pattern of 1 bytes and a NUL");
    check_rejected(tokens_offset, uint16_t{0}, "expected text token 0 of 1 to ");
    check_rejected(tokens_offset, uint16_t{0xFFFF}, "found 65535");
    check_rejected(tokens_offset + 255 * 3, uint16_t{2}, "expected text token 255 of 1 to 1 bytes, found 2");
    check_rejected(builder::kTokensSizeOffset, uint32_t{256 * 3 + 1}, "1 bytes left over");

    std::vector<std::byte> twice = small_file(); // <|start|> in the place of <|return|>
    std::copy_n(twice.begin() + builder::kSpecialTokensOffset + 16, 16, twice.begin() + builder::kSpecialTokensOffset);
    CHECK_FAILS(kInvalid, "second time", ModelFile::parse(twice, "m"));
}

TEST(a_file_without_any_token_is_rejected) {
    std::vector<std::byte> bytes = small_file();
    builder::overwrite(bytes, builder::kNumSpecialTokensOffset, uint32_t{0});
    builder::overwrite(bytes, builder::kNumTextTokensOffset, uint32_t{0});
    CHECK_FAILS(kInvalid, "expected at least one token", ModelFile::parse(bytes, "m"));
}

TEST(files_that_cannot_be_mapped_say_why) {
    const std::string directory = std::filesystem::temp_directory_path().string();
    CHECK_FAILS(gptoss_status_file_not_found, "no-such-model.bin", MappedFile::open(directory + "/no-such-model.bin"));
    CHECK_FAILS(kInvalid, directory, MappedFile::open(directory));
    CHECK_FAILS(kInvalid, "/dev/null", MappedFile::open("/dev/null"));
    const builder::TemporaryFile empty({});
    CHECK_FAILS(kInvalid, "empty", MappedFile::open(empty.path()));
}

TEST(a_mapped_file_shows_its_bytes) {
    const std::vector<std::byte> bytes = small_file();
    const builder::TemporaryFile temporary(bytes);
    const auto mapping = MappedFile::open(temporary.path());
    CHECK(std::ranges::equal(mapping->bytes(), bytes));
    CHECK_EQUAL(mapping->path(), temporary.path());
}
