// The layout with a table of tensors: what a valid file means, and that nothing else gets through.
#include <algorithm>
#include <cstring>
#include <random>

#include "check.h"
#include "checksum.h"
#include "model_file.h"
#include "model_file_builder.h"

using gptoss::DensePlace;
using gptoss::ModelFile;

namespace {

constexpr gptoss_status kInvalid = gptoss_status_invalid_model_file;

// Of an entry.
constexpr size_t kDataType = 64;
constexpr size_t kNumDims = 68;
constexpr size_t kShape = 72;
constexpr size_t kOffset = 104;
constexpr size_t kNumBytes = 112;
constexpr size_t kReserved = 124;

const std::vector<std::byte>& small_file() {
    static const std::vector<std::byte> file =
        builder::build_table_model_file(builder::small_config(), builder::byte_vocabulary(), 1);
    return file;
}

template <class Value>
Value read(const std::vector<std::byte>& bytes, size_t offset) {
    Value value;
    std::memcpy(&value, bytes.data() + offset, sizeof(value));
    return value;
}

// Whatever the checksum says: it is put right.
template <class Value>
void check_rejected(size_t offset, Value value, const std::string& part) {
    std::vector<std::byte> bytes = small_file();
    builder::overwrite(bytes, offset, value);
    builder::repair_checksum(bytes);
    CHECK_FAILS(kInvalid, part, ModelFile::parse(bytes, "m"));
}

template <class Value>
void check_entry_rejected(const std::string& name, size_t field, Value value, const std::string& part) {
    check_rejected(builder::entry_offset(small_file(), name) + field, value, part);
}

void check_inside(const ModelFile& file, size_t num_bytes) {
    uint64_t end = 0;
    for (const gptoss_tensor& tensor : file.tensors()) {
        CHECK(tensor.offset >= end);
        CHECK(tensor.num_bytes <= num_bytes && tensor.offset <= num_bytes - tensor.num_bytes);
        end = tensor.offset + tensor.num_bytes;
    }
}

void check_q8(const DensePlace& place, uint64_t num_elements) {
    CHECK(place.is_q8());
    CHECK_EQUAL(place.weight.num_bytes, num_elements);
    CHECK_EQUAL(place.scales.num_bytes, num_elements / 16);
    CHECK_EQUAL(place.weight.offset % 64, 0u);
    CHECK_EQUAL(place.scales.offset % 64, 0u);
}

} // namespace

TEST(crc_32_is_that_of_zip) {
    const std::string text = "123456789";
    CHECK_EQUAL(gptoss::crc32(std::as_bytes(std::span(text))), 0xCBF43926u);
    CHECK_EQUAL(gptoss::crc32({}), 0u);
}

TEST(dense_matrices_have_codes_and_scales_and_everything_else_is_as_ever) {
    const ModelFile file = ModelFile::parse(small_file(), "m");
    const std::vector<std::byte> sequential_bytes =
        builder::build_model_file(builder::small_config(), builder::byte_vocabulary(), 1);
    const ModelFile sequential = ModelFile::parse(sequential_bytes, "m");
    CHECK_EQUAL(file.config().vocabulary_size, 263u);
    check_q8(file.embedding(), 263 * 64);
    check_q8(file.unembedding(), 263 * 64);
    check_q8(file.block(1).qkv_weight, 512 * 64);
    check_q8(file.block(1).output_weight, 64 * 256);
    CHECK_EQUAL(file.block(0).router_weight.num_bytes, sequential.block(0).router_weight.num_bytes);
    CHECK_EQUAL(file.expert().stride, sequential.expert().stride);
    CHECK_EQUAL(file.block(1).experts_offset % 16384, 0u);
    CHECK_EQUAL(file.tensors().size(), sequential.tensors().size() + 2 + 2 * 2);
    CHECK_EQUAL(file.bytes_saved_by_q8(), 0u);
    const uint64_t num_elements = 2 * 263 * 64 + 2 * (512 * 64 + 64 * 256);
    CHECK_EQUAL(sequential.bytes_saved_by_q8(), num_elements * 15 / 16);
    check_inside(file, small_file().size());
}

TEST(a_dense_matrix_may_be_bf16_in_a_table_too) {
    const std::vector<std::byte> bytes =
        builder::build_table_model_file(builder::small_config(), builder::byte_vocabulary(), 1, gptoss_data_type_bf16);
    const ModelFile file = ModelFile::parse(bytes, "m");
    CHECK(!file.embedding().is_q8());
    CHECK(!file.block(0).qkv_weight.is_q8());
    CHECK_EQUAL(file.block(0).qkv_weight.weight.num_bytes, 512u * 64 * 2);
    CHECK_EQUAL(file.unembedding().scales.num_bytes, 0u);
    check_inside(file, bytes.size());
}

TEST(every_bit_flip_in_the_header_is_rejected) {
    std::vector<std::byte> bytes = small_file();
    const size_t table = builder::table_offset(bytes);
    const size_t end =
        table + builder::kTableHeaderBytes + read<uint32_t>(bytes, table) * builder::kEntryBytes + sizeof(uint32_t);
    for (size_t bit = 0; bit < end * 8; bit += 5) {
        const std::byte mask{static_cast<unsigned char>(1u << bit % 8)};
        bytes[bit / 8] ^= mask;
        CHECK_FAILS(kInvalid, "at offset ", ModelFile::parse(bytes, "m"));
        bytes[bit / 8] ^= mask;
    }
    check_inside(ModelFile::parse(bytes, "m"), bytes.size());
}

TEST(a_table_with_any_numbers_is_rejected_or_harmless) {
    std::mt19937_64 random(7);
    const size_t table = builder::table_offset(small_file());
    const size_t num_tensors = read<uint32_t>(small_file(), table);
    for (int i = 0; i < 3000; i++) {
        std::vector<std::byte> bytes = small_file();
        const size_t num_fields = 1 + random() % 3;
        for (size_t j = 0; j < num_fields; j++) {
            const size_t entry = table + builder::kTableHeaderBytes + random() % num_tensors * builder::kEntryBytes;
            const uint64_t value = random() >> (random() % 64);
            switch (random() % 4) {
                case 0:
                    builder::overwrite(bytes, entry + kDataType + 4 * (random() % 2), static_cast<uint32_t>(value));
                    break;
                case 1:
                    builder::overwrite(bytes, table + 4 * (random() % 4), static_cast<uint32_t>(value));
                    break;
                default:
                    builder::overwrite(bytes, entry + kShape + 8 * (random() % 6), value);
            }
        }
        if (builder::table_offset(bytes) == table) {
            builder::repair_checksum(bytes);
        }
        try {
            check_inside(ModelFile::parse(bytes, "m"), bytes.size());
        } catch (const gptoss::Error& error) {
            CHECK_EQUAL(error.status(), kInvalid);
            CHECK(std::strstr(error.what(), "at offset ") != nullptr);
        }
    }
}

TEST(every_truncation_around_a_tensor_or_in_the_table_is_rejected) {
    const std::vector<std::byte>& bytes = small_file();
    std::vector<size_t> sizes;
    const size_t table = builder::table_offset(bytes);
    for (size_t size = table - 64; size < table + 300; size++) {
        sizes.push_back(size);
    }
    const ModelFile file = ModelFile::parse(bytes, "m");
    for (const gptoss_tensor& tensor : file.tensors()) {
        for (const uint64_t size : {tensor.offset, tensor.offset + 1, tensor.offset + tensor.num_bytes - 1}) {
            sizes.push_back(size);
        }
    }
    for (const size_t size : sizes) {
        CHECK_FAILS(kInvalid, "truncated", ModelFile::parse(std::span(bytes).first(size), "m"));
    }
    std::vector<std::byte> longer = bytes;
    longer.push_back(std::byte{0});
    CHECK_FAILS(kInvalid, "1 more bytes", ModelFile::parse(longer, "m"));
}

TEST(errors_of_the_table_name_the_tensor_expected_and_found) {
    const std::vector<std::byte>& file = small_file();
    const size_t table = builder::table_offset(file);
    check_rejected(table, uint32_t{0x7FFFFFFF}, "bytes of table of tensors, found");
    check_rejected(table, uint32_t{0}, "expected the end of the file behind the last tensor");
    check_rejected(table + 4, uint32_t{96}, "expected entries of 128 bytes for each tensor, found 96");
    check_rejected(table + 8, uint64_t{1} << 60, "truncated");

    const std::string qkv = "block.0.attn.qkv.weight.codes";
    check_entry_rejected(qkv, 0, 'X', "expected a tensor 'block.0.attn.qkv.weight.codes' in the table, found none");
    check_entry_rejected(qkv, 0, '\0', "expected a tensor's name of 1 to 63 printable characters");
    check_entry_rejected(qkv, 63, 'x', "expected a tensor's name of 1 to 63 printable characters");
    check_entry_rejected(qkv, 6, '1', "found 'block.1.attn.qkv.weight.codes' for the second time");
    check_entry_rejected(qkv, kDataType, uint32_t{5}, "expected a data type from 0 to 4 of the tensor");
    check_entry_rejected(qkv, kDataType, uint32_t{2}, "expected the data type 3 of the tensor");
    check_entry_rejected(qkv, kNumDims, uint32_t{0}, "expected number of dimensions from 1 to 4, found 0");
    check_entry_rejected(qkv, kNumDims, uint32_t{5}, "expected number of dimensions from 1 to 4, found 5");
    check_entry_rejected(qkv, kNumDims, uint32_t{1}, "which it does not have, to be 0, found 64");
    check_entry_rejected(qkv, kNumDims, uint32_t{3}, "from 1 up to what the file holds, found 0");
    check_entry_rejected(qkv, kShape, uint64_t{256}, "expected 16384 bytes of the tensor");
    check_entry_rejected(qkv, kShape, uint64_t{1} << 63, "from 1 up to what the file holds");
    check_entry_rejected(qkv, kShape + 8, UINT64_MAX, "from 1 up to what the file holds");
    check_entry_rejected(qkv, kOffset, UINT64_MAX - 63, "inside the file of");
    check_entry_rejected(qkv, kOffset, uint64_t{0}, "behind the tensor before it, which ends at");
    check_entry_rejected("embedding.weight.codes", kOffset, uint64_t{0}, "behind the table, which ends at");
    check_entry_rejected(qkv, kNumBytes, UINT64_MAX, "expected 32768 bytes of the tensor");
    check_entry_rejected(qkv, kReserved, uint32_t{1}, "expected 0 behind the checksum");

    const std::string sinks = "block.0.attn.sinks"; // 8 bytes, with room behind
    const auto place = read<uint64_t>(file, builder::entry_offset(file, sinks) + kOffset);
    check_entry_rejected(sinks, kOffset, place + 16, "expected the tensor 'block.0.attn.sinks' on a multiple of 64");
    check_entry_rejected(sinks, 12, '!', "expected a tensor 'block.0.attn.sinks' in the table, found none");

    std::vector<std::byte> transposed = file;
    builder::overwrite(transposed, builder::entry_offset(file, qkv) + kShape, uint64_t{64});
    builder::overwrite(transposed, builder::entry_offset(file, qkv) + kShape + 8, uint64_t{512});
    builder::repair_checksum(transposed);
    CHECK_FAILS(kInvalid, "expected the shape [512, 64] of the tensor 'block.0.attn.qkv.weight.codes', found [64, 512]",
                ModelFile::parse(transposed, "m"));
}

TEST(experts_lie_where_their_block_has_them) {
    // The last bias of the second expert, moved by 16 into the gap before the next block's experts.
    std::vector<std::byte> bytes = small_file();
    const size_t entry = builder::entry_offset(bytes, "block.0.mlp.experts.3.mlp2_bias");
    builder::overwrite(bytes, entry + kOffset, read<uint64_t>(bytes, entry + kOffset) + 16);
    builder::repair_checksum(bytes);
    CHECK_FAILS(kInvalid, "where the block's experts have it", ModelFile::parse(bytes, "m"));
}

TEST(a_wrong_checksum_of_the_header_is_told) {
    std::vector<std::byte> bytes = small_file();
    // A number that nothing else could notice.
    builder::overwrite(bytes, builder::kSwigluLimitOffset, 6.5f);
    CHECK_FAILS(kInvalid, "expected the checksum", ModelFile::parse(bytes, "m"));
}

TEST(a_tensor_of_a_newer_version_is_rejected) {
    // Those of a second block, where the header says that there is one.
    std::vector<std::byte> bytes = small_file();
    builder::overwrite(bytes, builder::kNumBlocksOffset, uint32_t{1});
    builder::repair_checksum(bytes);
    CHECK_FAILS(kInvalid, "expected no other tensors than this version knows, found 'block.1.attn.norm.scale'",
                ModelFile::parse(bytes, "m"));
}
