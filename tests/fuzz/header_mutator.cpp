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
    copy(builder::kLayoutUuidOffset, kCountsBegin);
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
    if (kind != 3) {
        mutate_fields(header, random);
    }
    repair(header, random);
    // The length that the header describes, now and then off by a little.
    const uint64_t file_size = builder::file_size_of(header, fuzz::kMaxFileSize);
    if (file_size <= fuzz::kMaxFileSize && file_size >= header.size()) {
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
