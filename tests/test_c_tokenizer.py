"""The tokenizer of the C library: tiktoken's tokens for every text, and none for other bytes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import gptoss
import pytest
import tiktoken
from checkpoints import Shape, random_checkpoint, write_openai_checkpoint
from gptoss import _native
from gptoss.convert import convert
from gptoss.vocabulary import O200K_BASE_REGEX, format_tiktoken, load_o200k_base
from hypothesis import given, settings
from hypothesis import strategies as st

NUM_SPECIAL_TOKENS = 16
CHARACTERS = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]


@dataclass(frozen=True)
class Tokenizers:
    """The C library's and tiktoken's, of one vocabulary."""

    native: _native.Model
    expected: tiktoken.Encoding

    def check(self, text: str) -> None:
        assert self.native.encode_text(text.encode()) == self.expected.encode_ordinary(text)


def load(path: Path) -> _native.Model:
    return _native.Model(os.fsencode(path), _native.Backend.cpu, 1, _native.Precision.default)


def tokenizers_of(model_path: Path, text_tokens: Sequence[bytes]) -> Tokenizers:
    ranks = {token: rank for rank, token in enumerate(text_tokens)}
    expected = tiktoken.Encoding(
        "expected", pat_str=O200K_BASE_REGEX, mergeable_ranks=ranks, special_tokens={}
    )
    return Tokenizers(load(model_path), expected)


def convert_vocabulary(directory: Path, text_tokens: Sequence[bytes]) -> Path:
    """A model file with this vocabulary and as few weights as there can be."""
    shape = Shape(
        num_blocks=1,
        num_experts=1,
        num_active_experts=1,
        hidden_size=32,
        intermediate_size=32,
        num_heads=1,
        num_kv_heads=1,
        vocabulary_size=len(text_tokens) + NUM_SPECIAL_TOKENS,
    )
    write_openai_checkpoint(directory, shape, random_checkpoint(shape, seed=1))
    vocabulary = directory / "vocabulary.tiktoken"
    vocabulary.write_bytes(format_tiktoken(text_tokens))
    convert(directory, directory / "model.bin", vocabulary=vocabulary)
    return directory / "model.bin"


def boundary_vocabulary() -> list[bytes]:
    """Its tokens show where text was split.

    Besides single bytes it has the last byte of each character with the first one of each. Two
    neighbours of which one takes several bytes are joined by such a token if and only if they are
    in the same piece; in o200k_base most of the pairs that a wrong split would part never merge.
    """
    ascii_bytes = range(0x80)
    last_bytes = [*ascii_bytes, *range(0x80, 0xC0)]
    first_bytes = [*ascii_bytes, *range(0xC2, 0xF5)]
    pairs = [bytes(pair) for pair in product(last_bytes, first_bytes)]
    return [*(bytes([byte]) for byte in range(256)), *pairs]


@pytest.fixture(scope="module")
def o200k_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert_vocabulary(tmp_path_factory.mktemp("o200k"), load_o200k_base())


@pytest.fixture(scope="module")
def o200k(o200k_path: Path) -> Tokenizers:
    return tokenizers_of(o200k_path, load_o200k_base())


@pytest.fixture(scope="module")
def boundaries(tmp_path_factory: pytest.TempPathFactory) -> Tokenizers:
    text_tokens = boundary_vocabulary()
    path = convert_vocabulary(tmp_path_factory.mktemp("boundaries"), text_tokens)
    return tokenizers_of(path, text_tokens)


@pytest.fixture(scope="module")
def demo() -> Tokenizers:
    path = gptoss.Model().path
    return tokenizers_of(path, load_o200k_base()[: load(path).num_text_tokens()])


@pytest.fixture(scope="module", params=["demo", "o200k", "boundaries"])
def tokenizers(request: pytest.FixtureRequest) -> Tokenizers:
    fixture = request.getfixturevalue(request.param)
    assert isinstance(fixture, Tokenizers)
    return fixture


# --- Texts ---

# One or more characters of each kind that the split pattern tells apart, in one to four bytes.
KINDS = [
    *("A", "Ż", "ǅ", "𐐀"),  # upper and title case
    *("b", "s", "t", "ß", "ſ", "𐐨"),  # lower case; the long s folds to an s
    *("ʰ", "ª", "語", "ก", "𠀀"),  # letters without case
    *("\u0301", "\u0903", "\U000e0100"),  # marks
    *("7", "²", "Ⅷ", "𝟘"),  # numbers
    *(" ", "\u00a0", "\u3000", "\t"),  # white space
    *("\r", "\n", "\u0085", "\u2028"),  # and newlines, of which the pattern knows two
    *("/", "'", "-", "€", "😀", "\u200b", "\u200d", "\0"),  # everything else
]
CONTRACTIONS = ["'s", "'T", "'re", "'Ve", "'m", "'LL", "'d", "'ſ", "'x", "'r", "'l", "'"]
WORDS = ["Hello", " world", "iPhone", "HTTPServer", "日本語", "Straße", "  ", "\r\n\r\n", "12345"]
SPECIAL = ["<|start|>", "<|endoftext|>", "<|return|>"]

PIECES = st.one_of(
    st.sampled_from(KINDS),
    st.sampled_from(CONTRACTIONS + WORDS + SPECIAL),
    st.sampled_from(KINDS).flatmap(lambda kind: st.integers(1, 9).map(lambda n: kind * n)),
    st.characters(codec="utf-8"),
)
TEXTS = st.one_of(st.text(st.characters(codec="utf-8")), st.lists(PIECES, max_size=30).map("".join))


# --- The same tokens as tiktoken's ---


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_any_text(tokenizers: Tokenizers, text: str) -> None:
    tokenizers.check(text)


def test_each_sequence_of_three_kinds_of_characters(boundaries: Tokenizers) -> None:
    for pieces in product(KINDS, repeat=3):
        boundaries.check("".join(pieces))


@pytest.mark.slow
def test_each_character_in_its_neighbourhoods(boundaries: Tokenizers) -> None:
    """Fails when tiktoken's version of Unicode is another: run scripts/make-unicode-classes.py."""
    for start in range(0, len(CHARACTERS), 64):
        text = "".join(f"a{c}A{c}a1{c}1-{c}- {c}" for c in CHARACTERS[start : start + 64])
        boundaries.check(text)


@pytest.mark.slow
def test_each_character_alone_and_between_letters(
    o200k: Tokenizers, boundaries: Tokenizers
) -> None:
    for character in CHARACTERS:
        o200k.check(character)
        o200k.check(f"a{character}b")
        boundaries.check(f"a{character}b")


def test_each_token_of_the_vocabulary_as_text(o200k: Tokenizers) -> None:
    for token in load_o200k_base():
        o200k.check(token.decode("utf-8", "replace"))


def test_each_contraction_behind_and_before_each_kind(tokenizers: Tokenizers) -> None:
    for before, contraction, behind in product(KINDS, CONTRACTIONS, KINDS):
        tokenizers.check(before + contraction + behind)


@pytest.mark.parametrize("kind", [*KINDS, "ab", "aB", "a ", "Ⅷ\u0301", "A\u0301", " \n", "'s"])
def test_long_runs_are_fast(tokenizers: Tokenizers, kind: str) -> None:
    text = kind * (100_000 // len(kind))
    tokenizers.native.encode_text(b"a")  # builds the tables
    begin = time.process_time()
    tokens = tokenizers.native.encode_text(text.encode())
    seconds = time.process_time() - begin
    assert seconds < 5, "a fraction of a second is usual; what is quadratic takes minutes"
    # tiktoken gives up on blank runs that are much longer, and is no faster.
    assert tokens == tokenizers.expected.encode_ordinary(text)


def test_a_run_of_blanks_that_tiktoken_gives_up_on(o200k: Tokenizers) -> None:
    blanks = b" " * 1_100_000
    tokens = o200k.native.encode_text(blanks + b"end")
    assert b"".join(map(o200k.native.token_bytes, tokens)) == blanks + b"end"


def test_no_text_has_no_tokens(tokenizers: Tokenizers) -> None:
    assert tokenizers.native.encode_text(b"") == []


def test_spellings_of_special_tokens_are_ordinary_text(tokenizers: Tokenizers) -> None:
    tokens = tokenizers.native.encode_text("".join(SPECIAL).encode())
    assert max(tokens) < tokenizers.native.num_text_tokens()


def test_threads_may_start_together(o200k_path: Path) -> None:
    model = load(o200k_path)
    with ThreadPoolExecutor(8) as pool:
        texts = [f"text number {number}".encode() for number in range(64)]
        results = list(pool.map(model.encode_text, texts))
    assert results == [model.encode_text(text) for text in texts]


# --- What is not text ---


INVALID_UTF8 = [
    *(b"\x80", b"\xbf", b"\xfe", b"\xff", b"\xf8\x88\x80\x80\x80"),  # start no character
    *(b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xe2(\xa1", b"\xf0(\x8c\xbc"),  # cut off
    *(b"\xc0\x80", b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf"),  # longer than need be
    *(b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf4\x90\x80\x80"),  # surrogates, beyond the last
]


@pytest.mark.parametrize("data", INVALID_UTF8)
def test_the_place_of_invalid_utf8_is_named(demo: Tokenizers, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not UTF-8: expected a character at byte offset 3 of "):
        demo.native.encode_text("aä".encode() + data + b"z")


@settings(max_examples=300, deadline=None)
@given(data=st.one_of(st.binary(), st.tuples(TEXTS.map(str.encode), st.binary()).map(b"".join)))
def test_bytes_are_refused_where_python_refuses_them(demo: Tokenizers, data: bytes) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        with pytest.raises(ValueError, match=f"byte offset {error.start} of {len(data)},"):
            demo.native.encode_text(data)
    else:
        demo.check(text)


def test_another_split_pattern_is_refused(tmp_path: Path) -> None:
    data = gptoss.Model().path.read_bytes()
    pattern = O200K_BASE_REGEX.encode()
    assert data.count(pattern) == 1
    path = tmp_path / "other-pattern.bin"
    path.write_bytes(data.replace(pattern, pattern.replace(b"{1,3}", b"{1,2}")))
    with pytest.raises(ValueError, match="another pattern than o200k_base's"):
        load(path).encode_text(b"text")
