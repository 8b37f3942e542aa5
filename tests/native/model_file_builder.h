// Writes small model files in memory, from the description of the format in docs/model-format.md and independently of
// the reader in source/model_file.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "gptoss.h"

namespace builder {

// Offsets of the header's fields.
constexpr size_t kVersionOffset = 8;
constexpr size_t kModelUuidOffset = 16;
constexpr size_t kContextLengthOffset = 32;
constexpr size_t kNumBlocksOffset = 36;
constexpr size_t kNumExpertsOffset = 40;
constexpr size_t kNumActiveExpertsOffset = 44;
constexpr size_t kEmbeddingDimOffset = 48;
constexpr size_t kMlpDimOffset = 52;
constexpr size_t kSwigluLimitOffset = 56;
constexpr size_t kHeadDimOffset = 60;
constexpr size_t kNumHeadsOffset = 64;
constexpr size_t kNumKvHeadsOffset = 68;
constexpr size_t kAttentionWindowOffset = 72;
constexpr size_t kRopeThetaOffset = 76;
constexpr size_t kRmsnormEpsilonOffset = 96;
constexpr size_t kLayoutUuidOffset = 100;
constexpr size_t kTokenizerUuidOffset = 116;
constexpr size_t kNumSpecialTokensOffset = 132;
constexpr size_t kNumTextTokensOffset = 136;
constexpr size_t kRegexSizeOffset = 140;
constexpr size_t kTokensSizeOffset = 144;
constexpr size_t kSpecialTokensOffset = 148;
constexpr size_t kHeaderSize = 16384;

struct Vocabulary {
    std::vector<std::string> text_tokens;
    std::vector<gptoss_special_token> special_tokens; // invalid: unnamed
    std::string regex;
};

// One token for every byte, so that any text can be written, then <|return|>, <|start|>, <|message|>, <|end|>, an
// unnamed one, <|channel|> and <|call|>.
Vocabulary byte_vocabulary();

// Two blocks, so one sliding and one full layer; 64 wide, 4 experts of which 2 are active, window 8.
gptoss_model_config small_config();

// A whole file. Its weights are drawn from a generator with this seed, of a size that keeps activations near 1.
// config.vocabulary_size is ignored: the vocabulary gives it.
std::vector<std::byte> build_model_file(const gptoss_model_config& config, const Vocabulary& vocabulary, uint64_t seed);

// The same model in the layout with a table. Dense matrices that may be in 8 bits (q8_codes) or bf16 are of this type;
// codes and scales are drawn.
std::vector<std::byte> build_table_model_file(const gptoss_model_config& config,
                                              const Vocabulary& vocabulary,
                                              uint64_t seed,
                                              gptoss_data_type dense = gptoss_data_type_q8_codes);

// Where the table of such a file is, and the places of its parts.
constexpr size_t kEntryBytes = 128;
constexpr size_t kTableHeaderBytes = 16;
size_t table_offset(const std::vector<std::byte>& file);
// Behind the checksum; the end of the file at most.
size_t table_end(const std::vector<std::byte>& file);
// Of the entry of the tensor with this name.
size_t entry_offset(const std::vector<std::byte>& file, const std::string& name);
// Puts the checksum behind the table right again, if the table lies in the file.
void repair_checksum(std::vector<std::byte>& file);

// Bytes 0 to 16383 of it.
std::vector<std::byte> build_header(const gptoss_model_config& config, const Vocabulary& vocabulary);

// Bytes of a file whose first bytes are this header, computed from its fields; `limit` + 1 if it is more than `limit`.
// Reads no field beyond `header`; fields may be anything.
uint64_t file_size_of(const std::vector<std::byte>& header, uint64_t limit);

template <class Value>
void overwrite(std::vector<std::byte>& bytes, size_t offset, Value value) {
    const auto* const source = reinterpret_cast<const std::byte*>(&value);
    for (size_t i = 0; i < sizeof(Value); i++) {
        bytes.at(offset + i) = source[i];
    }
}

// A file in the temporary directory, removed at the end of its life.
class TemporaryFile {
public:
    explicit TemporaryFile(const std::vector<std::byte>& bytes);
    ~TemporaryFile();
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;

    const std::string& path() const { return path_; }

private:
    std::string path_;
};

} // namespace builder
