// Mutations that reach behind the loader's first checks: fields instead of bits, and repaired magic, UUIDs and length.
// A third of the inputs are left to libFuzzer's own mutations alone.
#include <algorithm>
#include <cstring>
#include <random>

#include "fuzz_input.h"
#include "model_file_builder.h"

namespace {

constexpr size_t kNumbersBegin = builder::kContextLengthOffset;
constexpr size_t kCountsBegin = builder::kNumSpecialTokensOffset;
constexpr size_t kCountsEnd = builder::kSpecialTokensOffset;

// Offsets of the header's numbers.
constexpr size_t kFields[] = {builder::kContextLengthOffset,
                              builder::kNumBlocksOffset,
                              builder::kNumExpertsOffset,
                              builder::kNumActiveExpertsOffset,
                              builder::kEmbeddingDimOffset,
                              builder::kMlpDimOffset,
                              builder::kSwigluLimitOffset,
                              builder::kHeadDimOffset,
                              builder::kNumHeadsOffset,
                              builder::kNumKvHeadsOffset,
                              builder::kAttentionWindowOffset,
                              builder::kRopeThetaOffset,
                              80,
                              84,
                              88,
                              92,
                              builder::kRmsnormEpsilonOffset,
                              builder::kNumSpecialTokensOffset,
                              builder::kNumTextTokensOffset,
                              builder::kRegexSizeOffset,
                              builder::kTokensSizeOffset};

constexpr uint32_t kNumbers[] = {0, 1, 2, 3, 4, 8, 31, 32, 33, 64, 96, 127, 128, 255, 256, 1000, 0xFFFF, 1 << 16,
                                 (1 << 20), (1 << 20) + 32, 0x7FFFFFFF, 0x80000000, 0xFFFFFFE0, 0xFFFFFFFF,
                                 // fp32: 1, -1, infinity, NaN, the smallest and the largest
                                 0x3F800000, 0xBF800000, 0x7F800000, 0x7FC00000, 0x00000001, 0x7F7FFFFF};

template <class Random>
void mutate_fields(std::vector<std::byte>& header, Random& random) {
    const size_t num_fields = 1 + random() % 3;
    for (size_t i = 0; i < num_fields; i++) {
        const size_t offset = kFields[random() % std::size(kFields)];
        if (offset + 4 <= header.size()) {
            const uint32_t value =
                random() % 4 == 0 ? static_cast<uint32_t>(random() % 300) : kNumbers[random() % std::size(kNumbers)];
            builder::overwrite(header, offset, value);
        }
    }
}

// Numbers of one tensor's entry, or of the table itself.
template <class Random>
void mutate_table(std::vector<std::byte>& header, Random& random) {
    const size_t table = builder::table_offset(header);
    if (table + builder::kTableHeaderBytes > header.size()) {
        return;
    }
    const size_t num_entries = (header.size() - table - builder::kTableHeaderBytes) / builder::kEntryBytes;
    const size_t num_fields = 1 + random() % 3;
    for (size_t i = 0; i < num_fields; i++) {
        size_t offset = table + 4 * (random() % 4);
        if (num_entries != 0 && random() % 8 != 0) {
            // Behind the name: data type, dimensions, shape, offset, size, checksum, zero.
            offset = table + builder::kTableHeaderBytes + random() % num_entries * builder::kEntryBytes + 64 +
                     4 * (random() % 16);
        }
        if (offset + 4 > header.size()) {
            continue;
        }
        uint32_t value = 0;
        std::memcpy(&value, header.data() + offset, sizeof(value));
        switch (random() % 4) {
            case 0:
                value = kNumbers[random() % std::size(kNumbers)];
                break;
            case 1:
                value += 64;
                break;
            case 2:
                value -= 16;
                break;
            default:
                value = static_cast<uint32_t>(random() % 300);
        }
        builder::overwrite(header, offset, value);
    }
}

bool has_table(const std::vector<std::byte>& header) {
    static const std::vector<std::byte> valid =
        builder::build_table_model_file(builder::small_config(), builder::byte_vocabulary(), 1, gptoss_data_type_bf16);
    return header.size() >= kCountsEnd &&
           std::memcmp(header.data() + builder::kLayoutUuidOffset, valid.data() + builder::kLayoutUuidOffset, 16) == 0;
}

// Writes what every file must have, so that the rest is looked at.
template <class Random>
void repair(std::vector<std::byte>& header, Random& random) {
    static const std::vector<std::byte> valid =
        builder::build_header(builder::small_config(), builder::byte_vocabulary());
    const auto copy = [&](size_t first, size_t last) {
        if (last <= header.size()) {
            std::copy(valid.begin() + static_cast<std::ptrdiff_t>(first),
                      valid.begin() + static_cast<std::ptrdiff_t>(last),
                      header.begin() + static_cast<std::ptrdiff_t>(first));
        }
    };
    copy(0, kNumbersBegin); // magic and model UUID
    copy(has_table(header) ? builder::kTokenizerUuidOffset : builder::kLayoutUuidOffset, kCountsBegin);
    if (random() % 2 == 0) {
        copy(builder::kHeadDimOffset, builder::kHeadDimOffset + 4);
    }
    if (random() % 2 == 0) {
        copy(builder::kRopeThetaOffset, builder::kLayoutUuidOffset);
    }
}

} // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
    std::minstd_rand random(seed);
    const unsigned int kind = random() % 6;
    if (kind < 4 || size < fuzz::kPrefixSize) {
        size = LLVMFuzzerMutate(data, size, max_size);
    }
    if (kind < 2 || size < fuzz::kPrefixSize) {
        return size;
    }
    uint32_t num_following = 0;
    uint32_t filler = 0;
    std::memcpy(&num_following, data, sizeof(num_following));
    std::memcpy(&filler, data + 4, sizeof(filler));
    const auto bytes = std::as_bytes(std::span(data, size)).subspan(fuzz::kPrefixSize);
    std::vector<std::byte> header(bytes.begin(), bytes.end());
    if (header.size() < kCountsEnd && fuzz::kPrefixSize + kCountsEnd <= max_size) {
        header.resize(kCountsEnd);
    }
    const bool table = has_table(header);
    if (kind != 3 && (!table || random() % 4 == 0)) {
        mutate_fields(header, random);
    }
    if (kind != 3 && table) {
        mutate_table(header, random);
    }
    repair(header, random);
    if (table) {
        builder::repair_checksum(header);
    }
    // The length that the header describes, now and then off by a little.
    const uint64_t file_size = builder::file_size_of(header, fuzz::kMaxFileSize);
    if (!table && file_size <= fuzz::kMaxFileSize && file_size >= header.size()) {
        num_following = static_cast<uint32_t>(file_size - header.size());
        if (random() % 8 == 0) {
            num_following = num_following + static_cast<uint32_t>(random() % 33) - 16;
        }
    }
    const std::vector<uint8_t> input = fuzz::input_of(header, num_following, filler % 4);
    const size_t new_size = std::min(input.size(), max_size);
    std::memcpy(data, input.data(), new_size);
    return new_size;
}
