"""The shipped o200k_base, and .tiktoken files."""

from __future__ import annotations

import hashlib
import importlib
import re

import pytest
from gptoss.vocabulary import (
    O200K_BASE_NUM_TOKENS,
    O200K_BASE_REGEX,
    format_tiktoken,
    load_o200k_base,
    pack_tokens,
    parse_tiktoken,
    unpack_tokens,
)
from hypothesis import given
from hypothesis import strategies as st

# Of o200k_base.tiktoken as OpenAI publishes it; tiktoken checks its download with the same hash.
O200K_BASE_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"


def test_the_shipped_vocabulary_is_o200k_base() -> None:
    text = format_tiktoken(load_o200k_base())
    assert hashlib.sha256(text).hexdigest() == O200K_BASE_SHA256


def test_the_shipped_vocabulary_round_trips_through_a_tiktoken_file() -> None:
    tokens = load_o200k_base()
    assert len(tokens) == O200K_BASE_NUM_TOKENS
    assert parse_tiktoken(format_tiktoken(tokens)) == tokens


def test_callers_may_change_what_they_got() -> None:
    load_o200k_base().clear()
    assert len(load_o200k_base()) == O200K_BASE_NUM_TOKENS


def test_the_pattern_is_that_of_tiktoken(monkeypatch: pytest.MonkeyPatch) -> None:
    openai_public = importlib.import_module("tiktoken_ext.openai_public")
    # Without this it would download the vocabulary; the pattern is in its source.
    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", lambda url, expected_hash: {})
    assert openai_public.o200k_base()["pat_str"] == O200K_BASE_REGEX


@given(st.lists(st.binary(min_size=1, max_size=255)))
def test_packing_loses_nothing(tokens: list[bytes]) -> None:
    assert unpack_tokens(pack_tokens(tokens), len(tokens)) == tokens


@given(st.lists(st.binary(min_size=1, max_size=20)), st.randoms(use_true_random=False))
def test_the_order_of_lines_does_not_matter(tokens: list[bytes], random: object) -> None:
    lines = format_tiktoken(tokens).splitlines()
    random.shuffle(lines)  # type: ignore[attr-defined]
    assert parse_tiktoken(b"\r\n\n".join(lines)) == tokens


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"IQ== 0\nIg==", "line 2 is not 'BASE64 RANK': 'Ig=='"),
        (b"IQ== 0 1", "line 1 is not 'BASE64 RANK': 'IQ== 0 1'"),
        (b"IQ== zero", "line 1 is not 'BASE64 RANK'"),
        (b"I!== 0", "line 1 is not 'BASE64 RANK'"),
        (b"I 0", "line 1 is not 'BASE64 RANK'"),
        (b"\xff\xfe 0", "line 1 is not 'BASE64 RANK'"),
        (b"IQ== 0\nIg== 0", "line 2 gives rank 0 a second time"),
        (b"IQ== 0\nIg== 2", "2 tokens must have the ranks 0 to 1, but rank 1 is missing or empty"),
        (b"IQ== -1", "1 tokens must have the ranks 0 to 0, but rank 0 is missing or empty"),
    ],
)
def test_damaged_tiktoken_files(text: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        parse_tiktoken(text)
