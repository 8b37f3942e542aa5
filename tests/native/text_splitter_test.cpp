// Where text is cut into pieces: o200k_base's pattern, alternative by alternative. A bar marks each cut.
#include "text_splitter.h"

#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "unicode_classes.h"
#include "utf8.h"

using gptoss::TextSplitter;
using gptoss::UnicodeClass;

namespace {

std::string split(std::string_view text) {
    TextSplitter splitter(text);
    std::string result;
    for (std::string_view piece = splitter.next(); !piece.empty(); piece = splitter.next()) {
        result += result.empty() ? "" : "|";
        result += piece;
    }
    return result;
}

} // namespace

TEST(words_take_one_character_before_them) {
    CHECK_EQUAL(split("Hello, world"), "Hello|,| world");
    CHECK_EQUAL(split("(word)"), "(word|)");
    CHECK_EQUAL(split("\tword"), "\tword");
    CHECK_EQUAL(split("\nword"), "\n|word");
    CHECK_EQUAL(split("1word"), "1|word");
    CHECK_EQUAL(split("((word"), "((|word");
}

TEST(words_end_where_uppercase_follows_lowercase) {
    CHECK_EQUAL(split("camelCaseWord"), "camel|Case|Word");
    CHECK_EQUAL(split("HTTPServer"), "HTTPServer");
    CHECK_EQUAL(split("HTTP"), "HTTP");
    CHECK_EQUAL(split("aB"), "a|B");
    CHECK_EQUAL(split("Ǆa ǅA"), "Ǆa| ǅA"); // title case counts as upper case
}

TEST(letters_without_case_continue_both_runs) {
    CHECK_EQUAL(split("語Word"), "語Word");
    CHECK_EQUAL(split("word語Word"), "word語|Word");
    CHECK_EQUAL(split("日本語"), "日本語");
}

TEST(an_upper_run_gives_back_what_follows_its_last_caseless_letter) {
    CHECK_EQUAL(split("AªB"), "Aª|B");
    CHECK_EQUAL(split("AªBªC"), "AªBª|C");
    CHECK_EQUAL(split("AªBc"), "AªBc");
    CHECK_EQUAL(split("-AªB"), "-Aª|B");
}

TEST(a_mark_is_prefix_or_letter) {
    CHECK_EQUAL(split("e\u0301e\u0301"), "e\u0301e\u0301");
    CHECK_EQUAL(split("\u0301"), "\u0301");
    CHECK_EQUAL(split("\u0301AB"), "\u0301|AB"); // the lower run needs it, so it cannot be the prefix
    CHECK_EQUAL(split("\u0301Ab"), "\u0301Ab");
    CHECK_EQUAL(split("-\u0301-"), "-\u0301|-");
    CHECK_EQUAL(split("1\u0301"), "1|\u0301");
}

TEST(contractions_belong_to_their_word) {
    for (const std::string contraction : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'Re", "'vE", "'LL"}) {
        CHECK_EQUAL(split("we" + contraction + "x"), "we" + contraction + "|x");
        CHECK_EQUAL(split("WE" + contraction), "WE" + contraction);
    }
    CHECK_EQUAL(split("we'\u017F"), "we'\u017F"); // the long s
    CHECK_EQUAL(split("we'r"), "we|'r");
    CHECK_EQUAL(split("we'l"), "we|'l");
    CHECK_EQUAL(split("we'"), "we|'");
    CHECK_EQUAL(split("we'x"), "we|'x");
    CHECK_EQUAL(split("1's"), "1|'s");
    CHECK_EQUAL(split("we's't"), "we's|'t");
}

TEST(numbers_come_in_threes) {
    CHECK_EQUAL(split("1234567"), "123|456|7");
    CHECK_EQUAL(split(" 12"), " |12");
    CHECK_EQUAL(split("1²Ⅷ𝟘"), "1²Ⅷ|𝟘");
}

TEST(symbols_take_a_space_before_and_newlines_behind) {
    CHECK_EQUAL(split(" ...\r\n/x"), " ...\r\n/|x");
    CHECK_EQUAL(split("!\n\n /"), "!\n\n| /");
    CHECK_EQUAL(split("\t."), "\t|.");
    CHECK_EQUAL(split("😀\u200d😀"), "😀\u200d😀");
    CHECK_EQUAL(split(std::string_view("\0\0", 2)), std::string("\0\0", 2));
}

TEST(white_space_ends_at_its_last_newline) {
    CHECK_EQUAL(split(" \n \n x"), " \n \n| x");
    CHECK_EQUAL(split("\r\n"), "\r\n");
    CHECK_EQUAL(split("\u2028x"), "\u2028x"); // a line separator is no newline here
    CHECK_EQUAL(split(" \u2028\n"), " \u2028\n");
}

TEST(white_space_leaves_its_last_character_to_what_follows) {
    CHECK_EQUAL(split("a   b"), "a|  | b");
    CHECK_EQUAL(split("a  1"), "a| | |1");
    CHECK_EQUAL(split("a \u3000b"), "a| |\u3000b");
    CHECK_EQUAL(split("a   "), "a|   ");
    CHECK_EQUAL(split(" "), " ");
}

TEST(no_text_has_no_pieces) {
    CHECK_EQUAL(split(""), "");
}

TEST(pieces_leave_nothing_out) {
    const std::vector<std::string> parts = {"A", "b", "語", "\u0301", "7", " ", "\n", "\u3000", "-", "'", "s", "😀"};
    std::mt19937 random(7);
    for (int repetition = 0; repetition < 2000; repetition++) {
        std::string text;
        for (uint32_t length = random() % 30; length > 0; length--) {
            text += parts[random() % parts.size()];
        }
        TextSplitter splitter(text);
        std::string joined;
        for (std::string_view piece = splitter.next(); !piece.empty(); piece = splitter.next()) {
            joined += piece;
        }
        CHECK_EQUAL(joined, text);
    }
}

TEST(characters_have_the_class_of_their_category) {
    CHECK(gptoss::unicode_class(U'A') == UnicodeClass::kUppercase);
    CHECK(gptoss::unicode_class(U'ǅ') == UnicodeClass::kUppercase);
    CHECK(gptoss::unicode_class(U'z') == UnicodeClass::kLowercase);
    CHECK(gptoss::unicode_class(U'ß') == UnicodeClass::kLowercase);
    CHECK(gptoss::unicode_class(U'語') == UnicodeClass::kOtherLetter);
    CHECK(gptoss::unicode_class(0x0301) == UnicodeClass::kMark);
    CHECK(gptoss::unicode_class(U'9') == UnicodeClass::kNumber);
    CHECK(gptoss::unicode_class(U'²') == UnicodeClass::kNumber);
    CHECK(gptoss::unicode_class(0x3000) == UnicodeClass::kWhiteSpace);
    CHECK(gptoss::unicode_class(0) == UnicodeClass::kOther);
    CHECK(gptoss::unicode_class(U'😀') == UnicodeClass::kOther);
    CHECK(gptoss::unicode_class(0xE01EF) == UnicodeClass::kMark); // the last entry of the table
    CHECK(gptoss::unicode_class(0x10FFFF) == UnicodeClass::kOther);
}

TEST(every_character_survives_utf8) {
    for (char32_t code = 0; code <= 0x10FFFF; code++) {
        if (code == 0xD800) {
            code = 0xE000;
        }
        const auto continuation = [code](int shift) { return static_cast<char>(0x80 | (code >> shift & 0x3F)); };
        std::string text;
        if (code < 0x80) {
            text.push_back(static_cast<char>(code));
        } else if (code < 0x800) {
            text.push_back(static_cast<char>(0xC0 | code >> 6));
            text.push_back(continuation(0));
        } else if (code < 0x10000) {
            text.push_back(static_cast<char>(0xE0 | code >> 12));
            text.push_back(continuation(6));
            text.push_back(continuation(0));
        } else {
            text.push_back(static_cast<char>(0xF0 | code >> 18));
            text.push_back(continuation(12));
            text.push_back(continuation(6));
            text.push_back(continuation(0));
        }
        const std::optional<gptoss::Utf8Character> character = gptoss::decode_utf8(text, 0);
        CHECK(character.has_value() && character->code == code && character->num_bytes == text.size());
        text.pop_back();
        CHECK_EQUAL(gptoss::find_invalid_utf8("a" + text).has_value(), !text.empty());
    }
}

TEST(invalid_utf8_is_found_where_it_begins) {
    for (const char* invalid : {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xED\xBF\xBF",
                                "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80", "\xFE", "\xFF"}) {
        CHECK_EQUAL(gptoss::find_invalid_utf8("aä" + std::string(invalid) + "z").value_or(0), size_t{3});
    }
}
