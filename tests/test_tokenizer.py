"""The tokenizer: tiktoken's tokens, every token back to its bytes, streams of whole characters."""

from __future__ import annotations

import copy
import pickle
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import gptoss
import numpy as np
import pytest
import tiktoken
from gptoss.errors import ModelFormatError
from gptoss.tokenizer import Tokenizer
from gptoss.vocabulary import O200K_BASE_REGEX, load_o200k_base
from hypothesis import given, settings
from hypothesis import strategies as st

NUM_O200K_SPECIAL_TOKENS = 1091
NUM_DEMO_TEXT_TOKENS = 448

UNTIMED = settings(deadline=None)  # the first example builds the tokenizer


@lru_cache(maxsize=1)
def o200k() -> Tokenizer:
    return Tokenizer(load_o200k_base(), [None] * NUM_O200K_SPECIAL_TOKENS, O200K_BASE_REGEX)


@lru_cache(maxsize=1)
def truncated_o200k() -> Tokenizer:
    """The vocabulary of the demo model: the first ranks of o200k_base, with every single byte."""
    return Tokenizer(load_o200k_base()[:NUM_DEMO_TEXT_TOKENS], [None] * 16, O200K_BASE_REGEX)


@lru_cache(maxsize=1)
def demo_tokenizer() -> Tokenizer:
    return gptoss.Model().tokenizer


@lru_cache(maxsize=2)
def tiktoken_encoding(num_text_tokens: int) -> tiktoken.Encoding:
    ranks = {token: rank for rank, token in enumerate(load_o200k_base()[:num_text_tokens])}
    special = {"<|endoftext|>": num_text_tokens, "<|start|>": num_text_tokens + 1}
    return tiktoken.Encoding(
        "o200k", pat_str=O200K_BASE_REGEX, mergeable_ranks=ranks, special_tokens=special
    )


# Words, numbers, contractions, blanks, scripts and special tokens: what the regex splits on.
PIECES = st.sampled_from(
    [
        "I'm",
        "don't",
        "HELLO",
        " world",
        "1234567",
        "\r\n",
        "   ",
        "\t",
        "é",
        "e\u0301",
        "日本",
        "ไทย",
        "👩‍👩‍👧",
        "\u00a0",
        "\u200b",
        "//",
        "<|start|>",
        "<|endoftext|>",
        '{"a": [1]}',
        "ǅ",
        "ſ",
        "ß",
    ]
)
TEXTS = st.one_of(st.text(), st.lists(st.one_of(PIECES, st.text(max_size=3))).map("".join))


class TestEncode:
    @UNTIMED
    @given(TEXTS)
    def test_gives_the_tokens_of_tiktoken(self, text: str) -> None:
        expected = tiktoken_encoding(len(load_o200k_base())).encode_ordinary(text)
        assert o200k().encode(text) == expected

    @UNTIMED
    @given(TEXTS)
    def test_gives_the_tokens_of_tiktoken_with_a_truncated_vocabulary(self, text: str) -> None:
        expected = tiktoken_encoding(NUM_DEMO_TEXT_TOKENS).encode_ordinary(text)
        assert truncated_o200k().encode(text) == expected

    @UNTIMED
    @given(TEXTS)
    def test_is_undone_by_decode(self, text: str) -> None:
        assert o200k().decode(o200k().encode(text)) == text
        assert truncated_o200k().decode(truncated_o200k().encode(text)) == text

    @UNTIMED
    @given(st.data(), TEXTS, TEXTS)
    def test_never_gives_a_special_token(self, data: st.DataObject, a: str, b: str) -> None:
        for tokenizer in (o200k(), truncated_o200k()):
            name = data.draw(st.sampled_from(sorted(tokenizer.special_tokens)))
            tokens = tokenizer.encode(a + name + b)
            assert all(token < tokenizer.num_text_tokens for token in tokens)
            assert tokenizer.decode(tokens) == a + name + b

    def test_of_nothing_is_nothing(self) -> None:
        assert o200k().encode("") == []

    def test_replaces_a_lone_surrogate(self) -> None:
        assert o200k().encode("a\ud800b") == o200k().encode("a\ufffdb")

    def test_joins_a_surrogate_pair(self) -> None:
        assert o200k().encode("\ud83d\ude00") == o200k().encode("😀")

    @pytest.mark.parametrize("value", [b"bytes", 7, None, ["a"]])
    def test_refuses_what_is_not_text(self, value: object) -> None:
        with pytest.raises(TypeError, match="takes text as str, not "):
            o200k().encode(value)  # type: ignore[arg-type]

    @pytest.mark.parametrize("run", ["a", "_", " ", "\n", "é", "😀", "ab"])
    def test_takes_linear_time_on_a_long_run(self, run: str) -> None:
        """A quadratic merge takes minutes for this one, a linear one a tenth of a second."""
        text = run * (200_000 // len(run))
        start = time.process_time()
        tokens = o200k().encode(text)
        assert time.process_time() - start < 5
        assert o200k().decode(tokens) == text

    def test_gives_the_same_tokens_from_many_threads_at_once(self) -> None:
        tokenizer = Tokenizer(load_o200k_base()[:5000], [], O200K_BASE_REGEX)
        texts = ["one two three", "vier fünf", "1234567"] * 8
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(tokenizer.encode, texts))
        assert results == [tokenizer.encode(text) for text in texts]


class TestRoundTrip:
    def test_every_token_of_o200k_is_encoded_as_itself(self) -> None:
        tokenizer = o200k()
        for token in range(tokenizer.num_text_tokens):
            assert tokenizer.encode_single_token(tokenizer.decode_bytes(token)) == token

    def test_every_special_token_is_found_by_its_name(self) -> None:
        tokenizer = o200k()
        for token in range(tokenizer.num_text_tokens, tokenizer.num_tokens):
            assert tokenizer.encode_special_token(tokenizer.decode(token)) == token

    def test_a_token_that_is_not_there_is_named(self) -> None:
        with pytest.raises(ValueError, match=r"No token of this vocabulary is exactly b'qqqqqq'"):
            o200k().encode_single_token(b"qqqqqq")
        with pytest.raises(
            ValueError, match=r"no special token '<\|nope\|>'; it has .*<\|start\|>"
        ):
            o200k().encode_special_token("<|nope|>")


class TestDecode:
    @UNTIMED
    @given(st.lists(st.integers(0, 201088)))
    def test_joins_the_bytes_of_the_tokens(self, tokens: list[int]) -> None:
        tokenizer = o200k()
        data = b"".join(tokenizer.token_bytes(token) for token in tokens)
        assert tokenizer.decode_bytes(tokens) == data
        assert tokenizer.decode(tokens) == data.decode("utf-8", "replace")

    def test_takes_one_token_a_sequence_or_an_array(self) -> None:
        tokens = o200k().encode("Hello there")
        assert o200k().decode(tokens[0]) == "Hello"
        assert o200k().decode(np.int32(tokens[0])) == "Hello"
        assert o200k().decode(tuple(tokens)) == "Hello there"
        assert o200k().decode(np.array(tokens, dtype=np.uint32)) == "Hello there"
        assert o200k().decode(iter(tokens)) == "Hello there"

    def test_errors_can_be_strict(self) -> None:
        first_byte = o200k().encode_single_token(b"\xc3")
        assert o200k().decode(first_byte) == "\ufffd"
        with pytest.raises(UnicodeDecodeError):
            o200k().decode(first_byte, errors="strict")

    @pytest.mark.parametrize("token", [-1, 201089, 2**70])
    def test_refuses_a_token_outside_the_vocabulary(self, token: int) -> None:
        with pytest.raises(ValueError, match=rf"Token {token} .* 201089 tokens \(0 to 201088\)"):
            o200k().decode([0, token])

    def test_refuses_what_is_not_a_token(self) -> None:
        with pytest.raises(TypeError):
            o200k().decode([1.5])  # type: ignore[list-item]

    def test_does_not_need_tiktoken(self) -> None:
        code = (
            "import sys\n"
            "from gptoss.tokenizer import Tokenizer\n"
            "tokenizer = Tokenizer([b'a', b'b'], [None], '.')\n"
            "assert tokenizer.decode([0, 1, 2]) == 'ab<|startoftext|>'\n"
            "assert 'tiktoken' not in sys.modules\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


class TestDecodeStream:
    @UNTIMED
    @given(st.lists(st.integers(0, NUM_DEMO_TEXT_TOKENS + 15)))
    def test_gives_in_pieces_what_decode_gives_at_once(self, tokens: list[int]) -> None:
        tokenizer = truncated_o200k()
        decoder = tokenizer.decode_stream()
        pieces = [decoder.feed(token) for token in tokens]
        assert "".join(pieces) + decoder.flush() == tokenizer.decode(tokens)

    @UNTIMED
    @given(TEXTS, st.randoms(use_true_random=False))
    def test_any_split_of_the_tokens_gives_the_same_text(
        self, text: str, rng: random.Random
    ) -> None:
        tokenizer = truncated_o200k()
        tokens = tokenizer.encode(text)
        decoder = tokenizer.decode_stream()
        result, start = "", 0
        while start < len(tokens):
            end = start + rng.randint(0, 4)
            result += decoder.feed(tokens[start:end])
            start = end
        assert result + decoder.flush() == text

    def test_holds_back_the_start_of_a_character(self) -> None:
        decoder = truncated_o200k().decode_stream()
        token = truncated_o200k().encode_single_token
        fed = [decoder.feed(token(bytes([byte]))) for byte in "é😀".encode()]
        assert fed == ["", "é", "", "", "", "😀"]
        assert decoder.flush() == ""

    def test_flush_ends_an_unfinished_character_and_starts_anew(self) -> None:
        decoder = truncated_o200k().decode_stream()
        first_byte = truncated_o200k().encode_single_token(b"\xf0")
        assert decoder.feed(first_byte) == ""
        assert decoder.flush() == "\ufffd"
        assert decoder.feed(truncated_o200k().encode("a")) == "a"


class TestSpecialTokens:
    def test_have_the_names_of_o200k_harmony(self) -> None:
        tokenizer = o200k()
        assert {
            name: token
            for name, token in tokenizer.special_tokens.items()
            if not name.startswith("<|reserved_")
        } == {
            "<|startoftext|>": 199998,
            "<|endoftext|>": 199999,
            "<|return|>": 200002,
            "<|constrain|>": 200003,
            "<|channel|>": 200005,
            "<|start|>": 200006,
            "<|end|>": 200007,
            "<|message|>": 200008,
            "<|call|>": 200012,
        }
        assert tokenizer.encode_special_token("<|reserved_201088|>") == 201088

    def test_follow_a_shorter_vocabulary_in_the_same_order(self) -> None:
        assert truncated_o200k().encode_special_token("<|start|>") == NUM_DEMO_TEXT_TOKENS + 8
        assert truncated_o200k().encode_special_token("<|return|>") == NUM_DEMO_TEXT_TOKENS + 4

    def test_a_name_from_the_file_wins_over_the_usual_one(self) -> None:
        tokenizer = Tokenizer([b"a"], ["<|start|>", *[None] * 8], ".")
        assert tokenizer.encode_special_token("<|start|>") == 1
        assert tokenizer.decode(1 + 8) == "<|reserved_200006|>"

    def test_a_name_that_the_file_gives_twice_is_the_first_ones(self) -> None:
        tokenizer = Tokenizer([b"a"], [None, "<|call|>", "<|call|>"], ".")
        assert tokenizer.encode_special_token("<|call|>") == 2
        assert tokenizer.decode(3) == "<|reserved_200000|>"
        assert tokenizer.num_special_tokens == len(tokenizer.special_tokens) == 3

    def test_counts(self) -> None:
        tokenizer = o200k()
        assert tokenizer.num_text_tokens == 199998
        assert tokenizer.num_special_tokens == 1091
        assert tokenizer.num_tokens == 201089
        assert tokenizer.regex == O200K_BASE_REGEX
        assert repr(tokenizer) == "<gptoss.Tokenizer: 199998 text and 1091 special tokens>"


class TestDamagedVocabulary:
    """What a hostile model file may hold, as a sentence instead of a crash."""

    def test_a_byte_without_token(self) -> None:
        tokenizer = Tokenizer([b"a", b"b"], [], r"\S+")
        assert tokenizer.encode("abba") == [0, 1, 1, 0]
        with pytest.raises(ValueError, match=r"byte 0x63 in UTF-8, for which .* no token"):
            tokenizer.encode("abc")

    def test_equal_tokens(self) -> None:
        tokenizer = Tokenizer([b"a", b"b", b"a"], [], r"\S+")
        assert tokenizer.encode("aab") == [0, 0, 1]
        assert tokenizer.decode([2, 1]) == "ab"

    def test_an_empty_token(self) -> None:
        tokenizer = Tokenizer([b"a", b"", b"b"], [], r"\S+")
        assert tokenizer.encode("ab") == [0, 2]
        assert tokenizer.decode([0, 1, 2]) == "ab"

    def test_no_token(self) -> None:
        tokenizer = Tokenizer([], [None], r"\S+")
        with pytest.raises(ModelFormatError, match="vocabulary is empty"):
            tokenizer.encode("a")

    def test_a_regex_that_is_none(self) -> None:
        with pytest.raises(ModelFormatError, match=r"split regex '\(' is not one: "):
            Tokenizer([b"a"], [], "(").encode("a")

    def test_a_regex_that_leaves_out_text(self) -> None:
        with pytest.raises(ModelFormatError, match="leaves out parts of the text"):
            Tokenizer([b"a", b"b"], [], "a+").encode("aba")

    def test_a_regex_that_matches_nothing(self, capfd: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(ValueError, match="could not split a text of 1 characters"):
            Tokenizer([b"a"], [], "").encode("a")
        assert (
            "panicked" in capfd.readouterr().err
        )  # tiktoken's own words, kept off the test's output


class TestCopies:
    def test_a_pickle_is_the_same_tokenizer(self) -> None:
        tokenizer = truncated_o200k()
        twin = pickle.loads(pickle.dumps(tokenizer))
        assert twin.encode("Hello <|start|>") == tokenizer.encode("Hello <|start|>")
        assert twin.special_tokens == tokenizer.special_tokens
        assert twin.regex == tokenizer.regex
        tokens = range(tokenizer.num_tokens)
        assert [twin.token_bytes(t) for t in tokens] == [tokenizer.token_bytes(t) for t in tokens]

    def test_copies_share_an_immutable_value(self) -> None:
        assert copy.copy(o200k()) is o200k()
        assert copy.deepcopy([o200k()])[0] is o200k()


class FakeNativeModel:
    """The tokenizer queries of the native module, over a plain list."""

    def __init__(self) -> None:
        self.tables_read = 0

    def tokenizer_regex(self) -> str:
        return r"\S+|\s+"

    def num_text_tokens(self) -> int:
        return 3

    def num_special_tokens(self) -> int:
        return 3

    def token_bytes(self, token: int, /) -> bytes:
        return [b"a", b"b", b"ab"][token]

    def all_text_tokens(self) -> list[bytes]:
        self.tables_read += 1
        return [b"a", b"b", b"ab"]

    def special_token_name(self, token: int, /) -> str | None:
        return {4: "<|refusal|>"}.get(token)


class TestFromNative:
    def test_has_the_tokens_of_the_model(self) -> None:
        tokenizer = Tokenizer.from_native(FakeNativeModel())
        assert tokenizer.encode("abb") == [2, 1]
        assert tokenizer.decode([2, 1]) == "abb"
        assert tokenizer.special_tokens == {
            "<|startoftext|>": 3,
            "<|refusal|>": 4,
            "<|reserved_200000|>": 5,
        }

    def test_reads_the_whole_table_only_to_encode(self) -> None:
        model = FakeNativeModel()
        tokenizer = Tokenizer.from_native(model)
        tokenizer.decode([0, 1, 2, 3])
        assert model.tables_read == 0
        tokenizer.encode("ab")
        tokenizer.encode("ba")
        assert model.tables_read == 1

    def test_can_be_pickled(self) -> None:
        twin = pickle.loads(pickle.dumps(Tokenizer.from_native(FakeNativeModel())))
        assert twin.encode("abb") == [2, 1]
        assert twin.encode_special_token("<|refusal|>") == 4


class TestDemoModel:
    """The same through the native module: what a file carries arrives unchanged."""

    def test_every_token_is_that_of_o200k(self) -> None:
        tokenizer = demo_tokenizer()
        assert tokenizer.num_text_tokens == NUM_DEMO_TEXT_TOKENS
        for token, data in enumerate(load_o200k_base()[:NUM_DEMO_TEXT_TOKENS]):
            assert tokenizer.token_bytes(token) == data
            assert tokenizer.encode_single_token(data) == token

    def test_the_special_tokens_have_their_places(self) -> None:
        tokenizer = demo_tokenizer()
        for name in ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>"):
            expected = truncated_o200k().encode_special_token(name)
            assert tokenizer.encode_special_token(name) == expected

    @UNTIMED
    @given(TEXTS)
    def test_text_has_the_tokens_of_tiktoken(self, text: str) -> None:
        tokens = demo_tokenizer().encode(text)
        assert tokens == tiktoken_encoding(NUM_DEMO_TEXT_TOKENS).encode_ordinary(text)
        assert demo_tokenizer().decode(tokens) == text
