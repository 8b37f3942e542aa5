#include "fuzz_input.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "model_file_builder.h"

namespace fuzz {

namespace {

uint32_t read_u32(std::span<const uint8_t> bytes, size_t offset) {
    uint32_t value = 0;
    std::memcpy(&value, bytes.data() + offset, sizeof(value));
    return value;
}

// Made once: drawing them anew for every input would take most of the time.
const std::vector<std::byte>& random_bytes(uint32_t sequence) {
    static const auto make = [](uint32_t seed) {
        std::minstd_rand random(seed);
        std::vector<std::byte> bytes(kMaxFileSize);
        std::ranges::generate(bytes, [&] { return static_cast<std::byte>(random() >> 8); });
        return bytes;
    };
    static const std::vector<std::byte> sequences[3] = {make(1), make(2), make(3)};
    return sequences[sequence];
}

// The header of a valid file without the zeros at its end.
std::vector<std::byte> short_header(const gptoss_model_config& config, const builder::Vocabulary& vocabulary) {
    std::vector<std::byte> header = builder::build_header(config, vocabulary);
    while (!header.empty() && header.back() == std::byte{0}) {
        header.pop_back();
    }
    return header;
}

} // namespace

std::vector<std::byte> file_of(std::span<const uint8_t> input) {
    if (input.size() < kPrefixSize) {
        return {};
    }
    const std::span<const uint8_t> header = input.subspan(kPrefixSize);
    const uint32_t seed = read_u32(input, 4);
    const size_t num_following = std::min<size_t>(read_u32(input, 0), kMaxFileSize);
    std::vector<std::byte> file(header.size() + num_following);
    std::ranges::copy(std::as_bytes(header), file.begin());
    if (seed != 0) {
        const auto begin = file.end() - static_cast<std::ptrdiff_t>(num_following);
        std::copy_n(random_bytes(seed % 3).begin(), num_following, begin);
    }
    return file;
}

std::vector<uint8_t> input_of(std::span<const std::byte> header, uint32_t num_following, uint32_t seed) {
    std::vector<uint8_t> input(kPrefixSize + header.size());
    std::memcpy(input.data(), &num_following, sizeof(num_following));
    std::memcpy(input.data() + 4, &seed, sizeof(seed));
    std::memcpy(input.data() + kPrefixSize, header.data(), header.size());
    return input;
}

std::vector<std::vector<uint8_t>> seed_inputs() {
    std::vector<std::vector<uint8_t>> inputs;
    builder::Vocabulary vocabulary;
    vocabulary.text_tokens = {"a", "b", "ab"};
    vocabulary.special_tokens = {gptoss_special_token_return, gptoss_special_token_invalid};
    vocabulary.regex = std::string("a+|b");
    for (const uint32_t num_blocks : {1u, 2u}) {
        for (const uint32_t num_experts : {1u, 3u}) {
            gptoss_model_config config = builder::small_config();
            config.num_blocks = num_blocks;
            config.num_experts = num_experts;
            config.num_active_experts = num_experts == 1 ? 1 : 2;
            config.embedding_dim = 32 * num_blocks;
            config.num_heads = 2;
            config.num_kv_heads = num_blocks;
            const std::vector<std::byte> header = short_header(config, vocabulary);
            const uint64_t size = builder::file_size_of(header, kMaxFileSize);
            inputs.push_back(input_of(header, static_cast<uint32_t>(size - header.size()), num_experts - 1));
            for (const gptoss_data_type dense : {gptoss_data_type_q8_codes, gptoss_data_type_bf16}) {
                std::vector<std::byte> file = builder::build_table_model_file(config, vocabulary, 1, dense);
                const size_t num_following = file.size() - builder::table_end(file);
                file.resize(builder::table_end(file));
                inputs.push_back(input_of(file, static_cast<uint32_t>(num_following), num_experts - 1));
            }
        }
    }
    return inputs;
}

} // namespace fuzz
