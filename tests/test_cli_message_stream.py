"""The live view of a completion shows the messages that its tokens hold, however they arrive."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from gptoss.cli.message_stream import MessageStream
from gptoss.harmony_minimal import Message, split_channels
from gptoss.tokenizer import Tokenizer
from gptoss.vocabulary import O200K_BASE_REGEX, load_o200k_base
from hypothesis import given, settings
from hypothesis import strategies as st

NUM_TEXT_TOKENS = 448
NUM_SPECIAL_TOKENS = 16
UNTIMED = settings(deadline=None)  # the first example builds the tokenizer


@lru_cache(maxsize=1)
def tokenizer() -> Tokenizer:
    tokens = load_o200k_base()[:NUM_TEXT_TOKENS]
    return Tokenizer(tokens, [None] * NUM_SPECIAL_TOKENS, O200K_BASE_REGEX)


def encode(*pieces: str) -> list[int]:
    """Tokens of pieces, those spelled `<|name|>` as special tokens."""
    tokens: list[int] = []
    for piece in pieces:
        if piece.startswith("<|"):
            tokens.append(tokenizer().encode_special_token(piece))
        else:
            tokens += tokenizer().encode(piece)
    return tokens


def collect(tokens: list[int]) -> list[Message]:
    """The messages that a stream's pieces add up to."""
    stream = MessageStream(tokenizer())
    headers: list[Message] = []
    texts: list[str] = []
    for piece in [*(piece for token in tokens for piece in stream.feed(token)), *stream.finish()]:
        message, text = piece
        if not headers or headers[-1] is not message:
            headers.append(message)
            texts.append("")
        texts[-1] += text
    return [replace(header, content=text) for header, text in zip(headers, texts, strict=True)]


MARKER_NAMES = ("start", "channel", "message", "constrain", "end", "call", "return", "endoftext")
MARKERS = st.sampled_from([f"<|{name}|>" for name in MARKER_NAMES])
WORDS = st.sampled_from(["assistant", "analysis", "final", " to=functions.f", "json", "é😀", " hi"])
COMPLETIONS = st.lists(st.one_of(MARKERS, WORDS), max_size=30).map(lambda pieces: encode(*pieces))
ANY_TOKENS = st.lists(st.integers(0, NUM_TEXT_TOKENS + NUM_SPECIAL_TOKENS - 1))


@UNTIMED
@given(st.one_of(COMPLETIONS, ANY_TOKENS))
def test_the_pieces_add_up_to_the_messages(tokens: list[int]) -> None:
    assert collect(tokens) == split_channels(tokens, tokenizer())


def test_text_comes_at_once_and_characters_whole() -> None:
    stream = MessageStream(tokenizer())
    header = encode("<|channel|>", "final", "<|message|>")
    assert [stream.feed(token) for token in header[:-1]] == [[]] * (len(header) - 1)
    ((message, text),) = stream.feed(header[-1])
    assert (message.channel, text) == ("final", "")
    pieces = [stream.feed(token) for token in encode("a😀")]
    assert [piece[0][1] for piece in pieces] == ["a", "", "", "", "😀"]
    assert all(piece[0][0] is message for piece in pieces)


def test_an_unfinished_character_is_shown_at_the_end() -> None:
    tokens = encode("<|channel|>", "final", "<|message|>", "😀")[:-1]
    assert [message.content for message in collect(tokens)] == ["\ufffd"]


def test_a_header_that_never_ended_is_text() -> None:
    assert [message.content for message in collect(encode("Hello", "<|return|>"))] == ["Hello"]


def test_a_header_inside_a_message_begins_another() -> None:
    first = ("<|channel|>", "analysis", "<|message|>", "a")
    tokens = encode(*first, "<|channel|>", "final", "<|message|>", "b")
    assert [message.content for message in collect(tokens)] == ["a", "b"]


def test_a_doubled_message_marker_is_one() -> None:
    tokens = encode("<|channel|>", "final", "<|message|>", "a", "<|message|>", "b")
    assert [message.content for message in collect(tokens)] == ["ab"]


def test_a_call_has_its_recipient() -> None:
    header = ["<|channel|>", "commentary to=functions.f ", "<|constrain|>", "json", "<|message|>"]
    (call,) = collect(encode(*header, "{}", "<|call|>"))
    assert (call.recipient, call.channel, call.content) == ("functions.f", "commentary", "{}")
    assert call.content_type == "<|constrain|>json"
