// Byte-pair encoding against its definition, and what the C API makes of it.
#include "byte_pair_encoding.h"

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "gptoss.h"
#include "model_file_builder.h"
#include "text_splitter.h"

using gptoss::BytePairEncoding;

namespace {

// The definition: of all neighbours that are a token together, join those of the lowest rank, the leftmost ones of
// several, and begin again.
std::vector<uint32_t> encode_slowly(const std::map<std::string, uint32_t>& ranks, const std::string& piece) {
    std::vector<std::string> parts;
    if (ranks.contains(piece)) {
        parts = {piece};
    } else {
        for (const char byte : piece) {
            parts.emplace_back(1, byte);
        }
    }
    while (true) {
        size_t best = parts.size();
        uint32_t best_rank = UINT32_MAX;
        for (size_t i = 0; i + 1 < parts.size(); i++) {
            const auto entry = ranks.find(parts[i] + parts[i + 1]);
            if (entry != ranks.end() && entry->second < best_rank) {
                best = i;
                best_rank = entry->second;
            }
        }
        if (best == parts.size()) {
            break;
        }
        parts[best] += parts[best + 1];
        parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
    std::vector<uint32_t> tokens;
    for (const std::string& part : parts) {
        tokens.push_back(ranks.at(part));
    }
    return tokens;
}

std::vector<std::string_view> views_of(const std::vector<std::string>& tokens) {
    return {tokens.begin(), tokens.end()};
}

std::vector<uint32_t> encode(const std::vector<std::string>& vocabulary, const std::string& piece) {
    std::vector<uint32_t> tokens;
    BytePairEncoding(views_of(vocabulary)).encode(piece, tokens);
    return tokens;
}

std::string joined(const std::vector<uint32_t>& tokens) {
    std::string result;
    for (const uint32_t token : tokens) {
        result += std::to_string(token) + " ";
    }
    return result;
}

// A tokenizer and a context on a model of byte tokens, "he" (256), "ll" (257) and " hello" (258).
class ByteModel {
public:
    explicit ByteModel(std::string_view pattern, size_t context_length = 0) {
        builder::Vocabulary vocabulary = builder::byte_vocabulary();
        vocabulary.text_tokens.insert(vocabulary.text_tokens.end(), {"he", "ll", " hello"});
        vocabulary.regex = std::string(pattern);
        const builder::TemporaryFile file(builder::build_model_file(builder::small_config(), vocabulary, 1));
        CHECK_SUCCESS(gptoss_model_create_from_file(file.path().c_str(), &model_));
        CHECK_SUCCESS(gptoss_model_get_tokenizer(model_, &tokenizer));
        CHECK_SUCCESS(gptoss_context_create(model_, context_length, 0, &context));
    }
    ~ByteModel() {
        gptoss_context_release(context);
        gptoss_tokenizer_release(tokenizer);
        gptoss_model_release(model_);
    }
    ByteModel(const ByteModel&) = delete;
    ByteModel& operator=(const ByteModel&) = delete;

    std::string tokens_of_context() const {
        std::vector<uint32_t> tokens(100);
        size_t num_tokens = 0;
        CHECK_SUCCESS(gptoss_context_get_tokens(context, tokens.data(), tokens.size(), &num_tokens));
        tokens.resize(num_tokens);
        return joined(tokens);
    }

    gptoss_tokenizer_t tokenizer = nullptr;
    gptoss_context_t context = nullptr;

private:
    gptoss_model_t model_ = nullptr;
};

bool last_error_contains(const std::string& part) {
    return std::string(gptoss_last_error()).find(part) != std::string::npos;
}

} // namespace

TEST(random_pieces_have_the_tokens_of_the_definition) {
    std::mt19937 random(3);
    for (int repetition = 0; repetition < 300; repetition++) {
        std::vector<std::string> vocabulary = {"a", "b", "c"};
        for (int i = 0; i < 12; i++) {
            std::string token;
            for (uint32_t length = 2 + random() % 4; length > 0; length--) {
                token += static_cast<char>('a' + random() % 3);
            }
            vocabulary.push_back(token);
        }
        std::shuffle(vocabulary.begin(), vocabulary.end(), random);
        std::map<std::string, uint32_t> ranks;
        for (uint32_t id = 0; id < vocabulary.size(); id++) {
            ranks.emplace(vocabulary[id], id);
        }
        for (int i = 0; i < 30; i++) {
            std::string piece;
            for (uint32_t length = 1 + random() % 40; length > 0; length--) {
                piece += static_cast<char>('a' + random() % 3);
            }
            CHECK_EQUAL(joined(encode(vocabulary, piece)), joined(encode_slowly(ranks, piece)));
        }
    }
}

TEST(a_piece_that_is_a_token_is_that_token) {
    // No merges lead to "abc".
    CHECK_EQUAL(joined(encode({"a", "b", "c", "abc"}, "abc")), "3 ");
    CHECK_EQUAL(joined(encode({"a", "b", "c", "abc"}, "abca")), "0 1 2 0 ");
}

TEST(of_neighbours_of_one_rank_the_leftmost_are_joined) {
    CHECK_EQUAL(joined(encode({"a", "aa"}, "aaaaa")), "1 1 0 ");
}

TEST(of_two_equal_tokens_the_first_one_encodes) {
    CHECK_EQUAL(joined(encode({"a", "b", "b", "ab", "ab"}, "bab")), "1 3 ");
}

TEST(a_byte_without_token_is_named) {
    CHECK_FAILS(gptoss_status_unsupported_argument, "0xfe", encode({"a", "b"}, "ab\xFE"));
    CHECK_FAILS(gptoss_status_unsupported_argument, "0x61", encode({}, "a"));
}

TEST(encode_copies_what_fits_and_says_how_many_there_are) {
    const ByteModel model(gptoss::kO200kBasePattern);
    std::vector<uint32_t> tokens(4, 999);
    size_t num_tokens = 0;
    CHECK_SUCCESS(gptoss_tokenizer_encode(model.tokenizer, "hello hello!", 12, tokens.data(), 3, &num_tokens));
    CHECK_EQUAL(num_tokens, size_t{5});
    CHECK_EQUAL(joined(tokens), "256 257 111 999 ");
    CHECK_SUCCESS(gptoss_tokenizer_encode(model.tokenizer, "hello", 4, nullptr, 0, &num_tokens));
    CHECK_EQUAL(num_tokens, size_t{2});
    CHECK_SUCCESS(gptoss_tokenizer_encode(model.tokenizer, nullptr, 0, nullptr, 0, &num_tokens));
    CHECK_EQUAL(num_tokens, size_t{0});
    CHECK_SUCCESS(gptoss_tokenizer_encode(model.tokenizer, "\0x", 2, tokens.data(), 4, &num_tokens));
    CHECK_EQUAL(num_tokens, size_t{2});
}

TEST(encode_refuses_null_pointers) {
    const ByteModel model(gptoss::kO200kBasePattern);
    uint32_t token = 7;
    size_t num_tokens = 7;
    CHECK_STATUS(gptoss_status_invalid_argument, gptoss_tokenizer_encode(nullptr, "a", 1, &token, 1, &num_tokens));
    CHECK_STATUS(gptoss_status_invalid_argument,
                 gptoss_tokenizer_encode(model.tokenizer, nullptr, 1, &token, 1, &num_tokens));
    CHECK_STATUS(gptoss_status_invalid_argument,
                 gptoss_tokenizer_encode(model.tokenizer, "a", 1, nullptr, 1, &num_tokens));
    CHECK_STATUS(gptoss_status_invalid_argument, gptoss_tokenizer_encode(model.tokenizer, "a", 1, &token, 1, nullptr));
    CHECK_EQUAL(num_tokens, size_t{7});
    CHECK_EQUAL(token, 7u);
}

TEST(append_chars_appends_the_tokens_of_the_text) {
    const ByteModel model(gptoss::kO200kBasePattern);
    size_t num_tokens = 0;
    CHECK_SUCCESS(gptoss_context_append_chars(model.context, "hello", 5, &num_tokens));
    CHECK_EQUAL(num_tokens, size_t{3});
    CHECK_SUCCESS(gptoss_context_append_chars(model.context, " hello", 6, nullptr));
    CHECK_SUCCESS(gptoss_context_append_chars(model.context, nullptr, 0, &num_tokens));
    CHECK_EQUAL(num_tokens, size_t{0});
    CHECK_EQUAL(model.tokens_of_context(), "256 257 111 258 ");
}

TEST(append_chars_appends_nothing_when_it_fails) {
    const ByteModel model(gptoss::kO200kBasePattern, 4);
    size_t num_tokens = 7;
    CHECK_SUCCESS(gptoss_context_append_chars(model.context, "he", 2, nullptr));
    CHECK_STATUS(gptoss_status_context_overflow, gptoss_context_append_chars(model.context, "1234", 4, &num_tokens));
    CHECK_STATUS(gptoss_status_invalid_argument, gptoss_context_append_chars(model.context, nullptr, 1, &num_tokens));
    CHECK_STATUS(gptoss_status_invalid_argument, gptoss_context_append_chars(nullptr, "a", 1, &num_tokens));
    CHECK_STATUS(gptoss_status_invalid_argument, gptoss_context_append_chars(model.context, "a\xFF", 2, &num_tokens));
    CHECK(last_error_contains("byte offset 1"));
    CHECK_EQUAL(num_tokens, size_t{7});
    CHECK_EQUAL(model.tokens_of_context(), "256 ");
}

TEST(another_split_pattern_is_unsupported) {
    const ByteModel model(std::string(gptoss::kO200kBasePattern) + "|.");
    size_t num_tokens = 7;
    CHECK_STATUS(gptoss_status_unsupported_argument,
                 gptoss_context_append_chars(model.context, "hello", 5, &num_tokens));
    CHECK(last_error_contains("another pattern"));
    CHECK_STATUS(gptoss_status_unsupported_argument,
                 gptoss_tokenizer_encode(model.tokenizer, "hello", 5, nullptr, 0, &num_tokens));
    CHECK_EQUAL(num_tokens, size_t{7});
}
