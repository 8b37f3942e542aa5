"""HarmonyEncoding beside rendering and parsing: text and tokens, special tokens, loading."""

from __future__ import annotations

import copy
import itertools
import pickle
import random
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gptoss
import gptoss.harmony as harmony
import numpy as np
import pytest
from gptoss.harmony import (
    HarmonyEncoding,
    HarmonyEncodingName,
    HarmonyError,
    Message,
    Role,
    load_harmony_encoding,
    raise_disallowed_special_token,
)
from gptoss.tokenizer import Tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from random_conversations import TEXTS

ENCODING = load_harmony_encoding("HarmonyGptOss")
NAMES = sorted(ENCODING.special_tokens_set)

# Bytes at the borders of what UTF-8 allows where.
UTF8_BORDERS = [
    *(0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1),
    *(0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF),
]


def byte_tokens(data: bytes) -> list[int]:
    """Tokens of one byte each."""
    return [ENCODING.vocabulary.tokenizer.encode_single_token(bytes([byte])) for byte in data]


class TestLoading:
    def test_gives_the_same_encoding_for_the_name_and_the_enum(self) -> None:
        assert load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS) is ENCODING
        assert load_harmony_encoding("HarmonyGptOss") is ENCODING
        assert ENCODING.name == str(HarmonyEncodingName.HARMONY_GPT_OSS) == "HarmonyGptOss"

    @pytest.mark.parametrize("name", ["o200k_harmony", "", 3])
    def test_refuses_another_name(self, name: Any) -> None:
        with pytest.raises(ValueError, match=f"^Invalid HarmonyEncodingName: {name}$"):
            load_harmony_encoding(name)

    def test_from_two_threads_at_once_makes_one(self) -> None:
        code = (
            "from concurrent.futures import ThreadPoolExecutor\n"
            "from gptoss.harmony import load_harmony_encoding\n"
            "with ThreadPoolExecutor(8) as pool:\n"
            "    encodings = set(pool.map(load_harmony_encoding, ['HarmonyGptOss'] * 8))\n"
            "assert len(encodings) == 1\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

    def test_again_takes_no_time(self) -> None:
        start = time.perf_counter()
        for _ in range(100):
            load_harmony_encoding("HarmonyGptOss")
        assert time.perf_counter() - start < 1

    def test_of_a_vocabulary_that_is_not_harmonys(self) -> None:
        with pytest.raises(ValueError, match=r"no special token '<\|start\|>'"):
            HarmonyEncoding.from_tokenizer(Tokenizer([b"a"], [], "."))


class TestAnImmutableValue:
    def test_is_its_own_copy(self) -> None:
        assert copy.copy(ENCODING) is ENCODING
        assert copy.deepcopy([ENCODING])[0] is ENCODING

    def test_is_pickled_by_its_name(self) -> None:
        data = pickle.dumps(ENCODING)
        assert len(data) < 200
        assert pickle.loads(data) is ENCODING

    def test_of_another_vocabulary_is_pickled_with_it(self) -> None:
        encoding = HarmonyEncoding.from_tokenizer(gptoss.Model().tokenizer)
        twin = pickle.loads(pickle.dumps(encoding))
        message = Message.from_role_and_content(Role.USER, "Hello")
        assert twin.render(message) == encoding.render(message) != ENCODING.render(message)

    def test_gives_sets_and_lists_that_may_be_changed(self) -> None:
        ENCODING.special_tokens_set.clear()
        ENCODING.stop_tokens().clear()
        assert len(ENCODING.special_tokens_set) == 1091
        assert len(ENCODING.stop_tokens()) == 3

    def test_renders_the_same_in_many_threads(self) -> None:
        encoding = HarmonyEncoding.from_tokenizer(gptoss.Model().tokenizer)
        messages = [Message.from_role_and_content(Role.USER, text) for text in TEXTS * 4]
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(encoding.render, messages))
        assert results == [encoding.render(message) for message in messages]

    def test_says_what_it_is(self) -> None:
        assert repr(ENCODING) == "<gptoss.harmony.HarmonyEncoding: 201089 tokens>"


class TestSpecialTokens:
    def test_that_have_a_name_of_their_own(self) -> None:
        named = [name for name in NAMES if not name.startswith("<|reserved_")]
        assert {name: ENCODING.encode(name, allowed_special="all") for name in named} == {
            "<|startoftext|>": [199998],
            "<|endoftext|>": [199999],
            "<|return|>": [200002],
            "<|constrain|>": [200003],
            "<|channel|>": [200005],
            "<|start|>": [200006],
            "<|end|>": [200007],
            "<|message|>": [200008],
            "<|call|>": [200012],
        }

    def test_are_the_last_1091_tokens(self) -> None:
        special = [token for token in range(201100) if ENCODING.is_special_token(token)]
        assert special == list(range(199998, 201089))
        assert {ENCODING.decode([token]) for token in special} == ENCODING.special_tokens_set

    def test_that_stop(self) -> None:
        assert ENCODING.stop_tokens() == [200002, 200007, 200012]
        assert ENCODING.stop_tokens_for_assistant_actions() == [200002, 200012]


class TestEncode:
    def test_without_special_tokens(self) -> None:
        assert ENCODING.encode("Hello there") == [13225, 1354]
        assert ENCODING.encode("") == []

    @pytest.mark.parametrize("name", ["<|end|>", "<|reserved_200000|>", "<|endoftext|>"])
    def test_refuses_a_special_token(self, name: str) -> None:
        with pytest.raises(HarmonyError) as raised:
            ENCODING.encode(f"a {name} b")
        assert str(raised.value) == (
            f"Encountered text corresponding to disallowed special token '{name}'.\n"
            "If you want this text to be encoded as a special token, pass it to "
            f"`allowed_special`, e.g. `allowed_special={{'{name}', ...}}`.\n"
            "If you want this text to be encoded as normal text, disable the check for this token "
            f"by passing `disallowed_special=(enc.special_tokens_set - {{'{name}'}})`.\n"
            "To disable this check for all special tokens, pass `disallowed_special=()`.\n"
        )

    def test_takes_the_special_tokens_that_are_allowed(self) -> None:
        text = "<|start|>a<|end|>"
        assert ENCODING.encode(text, allowed_special="all") == [200006, 64, 200007]
        assert ENCODING.encode(text, allowed_special={"<|start|>", "<|end|>"}) == [
            *(200006, 64, 200007)
        ]
        with pytest.raises(HarmonyError, match=r"disallowed special token '<\|end\|>'"):
            ENCODING.encode(text, allowed_special={"<|start|>"})
        ordinary = ENCODING.encode("a<|end|>", disallowed_special=())
        assert max(ordinary) < 199998
        assert ENCODING.encode(text, allowed_special={"<|start|>"}, disallowed_special=()) == [
            *(200006, *ordinary)
        ]

    def test_disallows_any_text(self) -> None:
        with pytest.raises(HarmonyError, match="disallowed special token 'b'"):
            ENCODING.encode("abc", disallowed_special={"b", "x"})
        with pytest.raises(HarmonyError, match="disallowed special token 'bc'"):
            ENCODING.encode("abc", disallowed_special={"b", "bc"})
        with pytest.raises(HarmonyError, match=r"disallowed special token 'a\.c'"):
            ENCODING.encode("abc a.c", disallowed_special=["a.c"])
        with pytest.raises(HarmonyError, match="disallowed special token '<"):
            ENCODING.encode("<|end|>", allowed_special="all", disallowed_special={"<|end|>"})

    def test_does_not_know_other_names(self) -> None:
        assert ENCODING.encode("<|nope|>", allowed_special={"<|nope|>"}) == ENCODING.encode(
            "<|nope|>"
        )

    def test_replaces_lone_surrogates(self) -> None:
        assert ENCODING.encode("a\ud800b<|end|>\udc00", allowed_special="all") == [
            *ENCODING.encode("a\ufffdb"),
            200007,
            *ENCODING.encode("\ufffd"),
        ]

    @given(st.lists(st.one_of(st.text(), st.sampled_from(NAMES)), max_size=8))
    def test_is_undone_by_decode(self, pieces: list[str]) -> None:
        text = "".join(pieces)
        assert ENCODING.decode_utf8(ENCODING.encode(text, allowed_special="all")) == text
        assert ENCODING.decode_utf8(ENCODING.encode(text, disallowed_special=())) == text

    @pytest.mark.parametrize("text", ["<|start|>a<|end|>", "<|reserved_", "<|", "a<|end|>"])
    def test_takes_linear_time(self, text: str) -> None:
        long_text = text * (2_000_000 // len(text))
        start = time.process_time()
        ENCODING.encode(long_text, allowed_special="all")
        assert time.process_time() - start < 20

    def test_raises_what_the_function_raises(self) -> None:
        with pytest.raises(HarmonyError, match="disallowed special token 'x'"):
            raise_disallowed_special_token("x")


class TestDecode:
    def test_special_tokens_are_their_names(self) -> None:
        assert ENCODING.decode([200006, 64, 200007]) == "<|start|>a<|end|>"
        assert ENCODING.decode_utf8([200006, 64, 200007]) == "<|start|>a<|end|>"

    def test_a_character_of_several_tokens(self) -> None:
        tokens = byte_tokens("é😀".encode())
        assert ENCODING.decode(tokens) == ENCODING.decode_utf8(tokens) == "é😀"

    def test_invalid_utf8_is_replaced_or_an_error(self) -> None:
        tokens = byte_tokens(b"a\xe2\x82b")
        assert ENCODING.decode(tokens) == "a\ufffdb"
        assert ENCODING.decode(tokens, errors="ignore") == "ab"
        with pytest.raises(UnicodeDecodeError):
            ENCODING.decode(tokens, errors="strict")

    @pytest.mark.parametrize(
        ("data", "problem"),
        [
            (b"ab\x80", "invalid utf-8 sequence of 1 bytes from index 2"),
            (b"\xe2\x82a", "invalid utf-8 sequence of 2 bytes from index 0"),
            (b"\xf0\x9f\x98a", "invalid utf-8 sequence of 3 bytes from index 0"),
            (b"\xed\xa0\x80", "invalid utf-8 sequence of 1 bytes from index 0"),
            (b"a\xf0\x9f\x98", "incomplete utf-8 byte sequence from index 1"),
        ],
    )
    def test_invalid_utf8_in_the_words_of_rust(self, data: bytes, problem: str) -> None:
        with pytest.raises(HarmonyError) as raised:
            ENCODING.decode_utf8(byte_tokens(data))
        assert str(raised.value) == f"Could not decode tokens: Invalid utf-8 sequence: {problem}"

    @pytest.mark.parametrize("token", [201089, 2**32 - 1])
    def test_a_token_that_there_is_not(self, token: int) -> None:
        with pytest.raises(HarmonyError, match=f"^Invalid token for decoding: {token}$"):
            ENCODING.decode([1, token])
        problem = f"^Could not decode tokens: Invalid token error: Invalid token for .*: {token}$"
        with pytest.raises(HarmonyError, match=problem):
            ENCODING.decode_utf8([1, token])

    @pytest.mark.parametrize("decode", [ENCODING.decode, ENCODING.decode_utf8])
    def test_what_is_no_token(self, decode: Callable[[Any], str]) -> None:
        for value in (-1, 2**32):
            with pytest.raises(OverflowError, match=r"^out of range integral type conversion att"):
                decode([1, value])
        with pytest.raises(OverflowError, match=r"^Python int too large to convert to C long$"):
            decode([2**64])
        with pytest.raises(TypeError, match=r"^argument 'tokens': 'float' object cannot be inter"):
            decode([1, 2.0])
        with pytest.raises(TypeError, match=r"^argument 'token': 'str' object cannot be inter"):
            ENCODING.is_special_token("a")  # type: ignore[arg-type]

    def test_takes_any_iterable_of_integers(self) -> None:
        tokens = ENCODING.encode("Hello there")
        for values in (tuple(tokens), iter(tokens), np.array(tokens, dtype=np.uint32)):
            assert ENCODING.decode(values) == "Hello there"
        assert ENCODING.decode([True]) == ENCODING.decode([1])
        assert ENCODING.decode([]) == ENCODING.decode_utf8([]) == ""

    @given(st.lists(st.integers(0, 201088)))
    def test_gives_the_bytes_of_the_tokens(self, tokens: list[int]) -> None:
        data = ENCODING.vocabulary.tokenizer.decode_bytes(tokens)
        assert ENCODING.decode(tokens) == data.decode("utf-8", "replace")


class TestAgainstThePackage:
    """The same from openai_harmony."""

    def test_special_tokens(self, package: Any, oracle: Any) -> None:
        assert oracle.special_tokens_set == ENCODING.special_tokens_set
        for token in range(199990, 201100):
            assert oracle.is_special_token(token) == ENCODING.is_special_token(token)
        for token in range(199998, 201089):
            assert oracle.decode([token]) == ENCODING.decode([token])
        assert sorted(oracle.stop_tokens()) == ENCODING.stop_tokens()
        assert sorted(oracle.stop_tokens_for_assistant_actions()) == (
            ENCODING.stop_tokens_for_assistant_actions()
        )
        assert package.HarmonyEncodingName.HARMONY_GPT_OSS.value == oracle.name == ENCODING.name

    def test_every_token(self, oracle: Any) -> None:
        assert oracle.decode(range(201089)) == ENCODING.decode(range(201089))

    @pytest.mark.slow
    def test_every_character(self, oracle: Any) -> None:
        """Alone, repeated, and between letters, digits, marks, blanks."""
        for first in range(0, 0x110000, 256):
            characters = [
                chr(code) for code in range(first, first + 256) if not 0xD800 <= code < 0xE000
            ]
            text = "\n".join(f"{c} {c}{c}a{c}b 1{c}A{c}\u0301 {c}'s" for c in characters)
            expected = oracle.encode(text, disallowed_special=())
            assert ENCODING.encode(text) == expected, hex(first)

    @settings(max_examples=300)
    @given(
        st.lists(
            st.one_of(
                st.text(max_size=10),
                st.sampled_from(TEXTS),
                st.sampled_from(["a", " ", "\n", "'", "1", "é", "\u0301", "👩‍", "\u00a0"]).flatmap(
                    lambda run: st.integers(1, 60).map(lambda count: run * count)
                ),
            ),
            max_size=6,
        ).map("".join)
    )
    def test_text(self, oracle: Any, text: str) -> None:
        tokens = oracle.encode(text, disallowed_special=())
        assert ENCODING.encode(text, disallowed_special=()) == tokens
        assert ENCODING.decode(tokens) == oracle.decode(tokens)

    @settings(max_examples=100)
    @given(st.text(st.characters(), max_size=20))
    def test_text_with_surrogates(self, oracle: Any, text: str) -> None:
        assert oracle.encode(text) == ENCODING.encode(text)

    @settings(max_examples=200)
    @given(
        st.lists(st.one_of(st.sampled_from([*NAMES[:20], "<|", "|>", "x"]), st.text(max_size=3))),
        st.one_of(st.just("all"), st.sets(st.sampled_from([*NAMES[:20], "x"]))),
        st.one_of(st.just("all"), st.sets(st.sampled_from([*NAMES[:20], "x"]))),
    )
    def test_text_with_special_tokens(
        self, oracle: Any, pieces: list[str], allowed: Any, disallowed: Any
    ) -> None:
        def encode(encoding: Any) -> Any:
            return outcome(
                lambda: encoding.encode(
                    "".join(pieces), allowed_special=allowed, disallowed_special=disallowed
                )
            )

        assert encode(ENCODING) == encode(oracle)

    def test_invalid_utf8(self, oracle: Any) -> None:
        rng = random.Random(0)
        sequences = [
            *itertools.product(UTF8_BORDERS, repeat=1),
            *itertools.product(UTF8_BORDERS, repeat=2),
            *(rng.choices(UTF8_BORDERS, k=rng.randint(3, 6)) for _ in range(4000)),
        ]
        for sequence in sequences:
            tokens = byte_tokens(bytes(sequence))
            assert ENCODING.decode(tokens) == oracle.decode(tokens)
            assert outcome(lambda: ENCODING.decode_utf8(tokens)) == outcome(  # noqa: B023
                lambda: oracle.decode_utf8(tokens)  # noqa: B023
            )

    @pytest.mark.parametrize(
        "call",
        [
            lambda encoding: encoding.encode(3),
            lambda encoding: encoding.encode(b"a"),
            lambda encoding: encoding.encode(b"a", disallowed_special=()),
            lambda encoding: encoding.encode("a", allowed_special=[1]),
            lambda encoding: encoding.encode("a", allowed_special=["\ud800"]),
            lambda encoding: encoding.encode("a", allowed_special=3),
            lambda encoding: encoding.encode("a", disallowed_special=3),
            lambda encoding: encoding.encode("a", disallowed_special=[""]),
            lambda encoding: encoding.decode([1], errors="nope"),
            lambda encoding: encoding.decode(byte_tokens(b"\xff"), errors="nope"),
            lambda encoding: encoding.decode("a"),
            lambda encoding: encoding.decode(None),
            lambda encoding: encoding.decode_utf8([1, "a", -1]),
            lambda encoding: encoding.decode_utf8([1, -1, "a"]),
            lambda encoding: encoding.decode_utf8([-(2**70)]),
            lambda encoding: encoding.is_special_token(1.0),
            lambda encoding: encoding.is_special_token(-1),
            lambda encoding: encoding.is_special_token(2**70),
            lambda encoding: encoding.render(None),
            lambda encoding: encoding.render_conversation(None),
            lambda encoding: encoding.render_conversation(None, {}),
            lambda encoding: encoding.render_conversation_for_completion(None, "user"),
        ],
    )
    def test_wrong_arguments(self, oracle: Any, call: Callable[[Any], Any]) -> None:
        ours, theirs = outcome(lambda: call(ENCODING)), outcome(lambda: call(oracle))
        assert isinstance(ours, tuple) == isinstance(theirs, tuple)
        assert ours == theirs

    @pytest.mark.parametrize("role", ["user", harmony.StreamState.HEADER])
    def test_a_role_that_is_none(self, package: Any, oracle: Any, role: Any) -> None:
        ours = outcome(
            lambda: ENCODING.render_conversation_for_completion(harmony.Conversation(), role)
        )
        theirs = outcome(
            lambda: oracle.render_conversation_for_completion(package.Conversation(), role)
        )
        assert ours == theirs

    @pytest.mark.parametrize("value", [0, 1, None, "", "x", True, False, np.False_, np.True_])
    def test_settings_that_were_assigned(self, package: Any, oracle: Any, value: Any) -> None:
        def render(module: Any, encoding: Any) -> list[list[int]]:
            config, options = module.RenderConversationConfig(), module.RenderOptions()
            config.auto_drop_analysis = options.conversation_has_function_tools = value
            message = module.Message.from_role_and_content(module.Role.ASSISTANT, "a")
            messages = [message.model_copy().with_channel(c) for c in ("analysis", "final")]
            conversation = module.Conversation.from_messages(messages)
            settings = module.Message.from_role_and_content("system", module.SystemContent())
            return [
                encoding.render_conversation(conversation, config),
                encoding.render(settings, options),
            ]

        assert render(harmony, ENCODING) == render(package, oracle)


@pytest.fixture(scope="session")
def package() -> Any:
    return pytest.importorskip("openai_harmony")


@pytest.fixture(scope="session")
def oracle(package: Any) -> Any:
    return package.load_harmony_encoding("HarmonyGptOss")


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        return type(error).__name__, str(error)
