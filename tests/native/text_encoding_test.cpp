// Text to tokens: UTF-8, the split into pieces, and byte-pair encoding against its slow definition.
#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "byte_pair_encoding.h"
#include "check.h"
#include "text_splitter.h"
#include "utf8.h"

using gptoss::BytePairEncoding;
using gptoss::TextSplitter;

namespace {

std::string encode_utf8(uint32_t code) {
    const auto byte = [](uint32_t bits) { return static_cast<char>(bits); };
    if (code < 0x80) {
        return {byte(code)};
    }
    if (code < 0x800) {
        return {byte(0xC0 | code >> 6), byte(0x80 | (code & 0x3F))};
    }
    if (code < 0x10000) {
        return {byte(0xE0 | code >> 12), byte(0x80 | (code >> 6 & 0x3F)), byte(0x80 | (code & 0x3F))};
    }
    return {byte(0xF0 | code >> 18), byte(0x80 | (code >> 12 & 0x3F)), byte(0x80 | (code >> 6 & 0x3F)),
            byte(0x80 | (code & 0x3F))};
}

std::vector<std::string> pieces_of(const std::string& text) {
    TextSplitter splitter(text);
    std::vector<std::string> pieces;
    for (std::string_view piece = splitter.next(); !piece.empty(); piece = splitter.next()) {
        pieces.emplace_back(piece);
    }
    return pieces;
}

void check_pieces(const std::vector<std::string>& expected) {
    std::string text;
    for (const std::string& piece : expected) {
        text += piece;
    }
    CHECK(pieces_of(text) == expected);
}

// Joins the two neighbours with the lowest rank, the leftmost of equals, until there are none: the definition.
std::vector<uint32_t> slow_byte_pair_encoding(const std::vector<std::string>& tokens, const std::string& piece) {
    const auto rank = [&](const std::string& bytes) {
        return static_cast<size_t>(std::ranges::find(tokens, bytes) - tokens.begin());
    };
    std::vector<std::string> parts;
    for (const char character : piece) {
        parts.emplace_back(1, character);
    }
    for (;;) {
        size_t best = tokens.size();
        size_t place = 0;
        for (size_t i = 0; i + 1 < parts.size(); i++) {
            const size_t candidate = rank(parts[i] + parts[i + 1]);
            if (candidate < best) {
                best = candidate;
                place = i;
            }
        }
        if (best == tokens.size()) {
            break;
        }
        parts[place] += parts[place + 1];
        parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(place) + 1);
    }
    std::vector<uint32_t> ids;
    for (const std::string& part : parts) {
        ids.push_back(static_cast<uint32_t>(rank(part)));
    }
    return ids;
}

} // namespace

TEST(every_code_point_is_decoded_and_surrogates_are_not) {
    for (uint32_t code = 0; code <= 0x10FFFF; code++) {
        const std::string text = encode_utf8(code);
        const auto character = gptoss::decode_utf8(text, 0);
        const bool is_surrogate = code >= 0xD800 && code <= 0xDFFF;
        CHECK(character.has_value() != is_surrogate);
        if (character.has_value()) {
            CHECK_EQUAL(static_cast<uint32_t>(character->code), code);
            CHECK_EQUAL(character->num_bytes, text.size());
        }
    }
}

TEST(what_is_not_utf8_is_found_at_its_first_byte) {
    const auto invalid_at = [](const std::string& text) { return gptoss::find_invalid_utf8(text).value_or(9999); };
    CHECK_EQUAL(invalid_at("plain"), 9999u);
    CHECK_EQUAL(invalid_at("gr\xC3\xBC\xC3\x9F"), 9999u);
    CHECK_EQUAL(invalid_at("a\x80"), 1u);                // a continuation alone
    CHECK_EQUAL(invalid_at("ab\xC3"), 2u);               // cut off
    CHECK_EQUAL(invalid_at("\xE2\x82"), 0u);             // cut off
    CHECK_EQUAL(invalid_at("\xC3("), 0u);                // no continuation
    CHECK_EQUAL(invalid_at("\xC0\xAF"), 0u);             // longer than need be
    CHECK_EQUAL(invalid_at("\xE0\x80\xAF"), 0u);         // longer than need be
    CHECK_EQUAL(invalid_at("\xF0\x80\x80\xAF"), 0u);     // longer than need be
    CHECK_EQUAL(invalid_at("\xED\xA0\x80"), 0u);         // a surrogate
    CHECK_EQUAL(invalid_at("\xF4\x90\x80\x80"), 0u);     // beyond U+10FFFF
    CHECK_EQUAL(invalid_at("\xF8\x88\x80\x80\x80"), 0u); // five bytes
    CHECK_EQUAL(invalid_at("\xFF"), 0u);
}

TEST(words_numbers_and_spaces_are_split_as_o200k_base_splits_them) {
    check_pieces({"Hello", ",", " world", "!"});
    check_pieces({"Camel", "Case", " HTTPServer"});
    check_pieces({"don't", " we'll"});
    check_pieces({"123", "456", "7"});
    check_pieces({" ", " two", "  ", " three"});
    check_pieces({"line", "\n\n", "next", "  \n"});
    check_pieces({"a", " +=", " b", ";\n"});
    check_pieces({"na\xC3\xAFve", " \xE4\xBD\xA0\xE5\xA5\xBD"});
}

TEST(pieces_of_any_text_join_to_the_text) {
    std::mt19937 random(3);
    const std::string alphabet[] = {"a",
                                    "B",
                                    " ",
                                    "\n",
                                    "\r",
                                    "'",
                                    "s",
                                    "1",
                                    "/",
                                    "\t",
                                    "\xC3\xA9",
                                    "\xCC\x81",
                                    "\xE4\xBD\xA0",
                                    "\xF0\x9F\x98\x80",
                                    "\xC2\xA0",
                                    "ll",
                                    "T",
                                    "\xC7\x85"};
    for (int i = 0; i < 3000; i++) {
        std::string text;
        for (size_t j = random() % 30; j > 0; j--) {
            text += alphabet[random() % std::size(alphabet)];
        }
        std::string joined;
        for (const std::string& piece : pieces_of(text)) {
            joined += piece;
            CHECK(!gptoss::find_invalid_utf8(piece).has_value());
        }
        CHECK_EQUAL(joined, text);
    }
}

TEST(byte_pair_encoding_equals_its_slow_definition) {
    std::mt19937 random(4);
    for (int vocabulary = 0; vocabulary < 60; vocabulary++) {
        std::vector<std::string> tokens = {"a", "b", "c"};
        while (tokens.size() < 20) { // each a join of two that are there, as training makes them, and some orphans
            std::string joined = tokens[random() % tokens.size()] + tokens[random() % tokens.size()];
            if (random() % 8 == 0) {
                joined += "abc";
            }
            if (std::ranges::find(tokens, joined) == tokens.end()) {
                tokens.push_back(joined);
            }
        }
        const BytePairEncoding encoding({tokens.begin(), tokens.end()});
        for (int i = 0; i < 50; i++) {
            std::string piece;
            for (size_t j = 1 + random() % 40; j > 0; j--) {
                piece += "abc"[random() % 3];
            }
            if (std::ranges::find(tokens, piece) != tokens.end()) {
                continue; // a whole token is taken as it is
            }
            std::vector<uint32_t> ids;
            encoding.encode(piece, ids);
            CHECK(ids == slow_byte_pair_encoding(tokens, piece));
        }
    }
}

TEST(a_piece_that_is_a_token_is_that_token) {
    const BytePairEncoding encoding({"a", "b", "abab", "ba"}); // merges would give a, ba, b
    std::vector<uint32_t> ids = {7};
    encoding.encode("abab", ids);
    CHECK((ids == std::vector<uint32_t>{7, 2}));
}

TEST(a_byte_without_a_token_is_named) {
    const BytePairEncoding encoding({"a", "ab"});
    std::vector<uint32_t> ids;
    CHECK_FAILS(gptoss_status_unsupported_argument, "0xc3", encoding.encode("a\xC3\xA4", ids));
}

TEST(a_megabyte_of_one_letter_takes_no_quadratic_time) {
    const BytePairEncoding encoding({"a", "aa", "aaaa"});
    std::vector<uint32_t> ids;
    encoding.encode(std::string(1 << 20, 'a'), ids);
    CHECK_EQUAL(ids.size(), size_t{1} << 18);
}
