"""Lenient parsing of damaged completions: no error, no text lost, and streaming agrees.

What "no text is lost" means. Take the fields of all messages in order, each as a header spells it:
author, `to=` recipient, channel, content type, then the text. The tokens of the completion that are
text and not white space alone must all be found there:

- A token is found if its bytes are. White space is left out of both sides, because a header has no
  field for it: `<|channel|> final` and `<|channel|>final` say the same.
- `to=` and the name of a marker that is spelled in plain text count as found wherever they stood in
  a header: they are read as syntax, and every field above is spelled with them.
- A token that is part of a character is found if the whole character is. If the character is torn
  (the rest of its bytes is gone, or text stands between), it is found as U+FFFD, of which there
  must be as many as there are torn places in the completion, or more. A special token inside a
  character tears it where it ends a message or belongs to a header, and does not elsewhere.
- The role that the parser was given, alone in a header that ended at once, is no message.
"""

import codecs
import random
from collections.abc import Sequence

import pytest
from gptoss.harmony import Message, RepairKind, Role
from harmony_completions import (
    ENCODING,
    END,
    NUM_TOKENS,
    VOCABULARY,
    any_token,
    mutate,
    parser_for,
    roles,
    streamed,
    text_of,
    token_bytes,
    valid_completion,
)
from hypothesis import given, settings
from hypothesis import strategies as st

NUM_MUTATIONS = 100_000
_TEXTS = VOCABULARY.texts


def without_space(text: str) -> str:
    return "".join(text.split())


def spelled_fields(messages: Sequence[Message], role: Role) -> str:
    """All that messages say, as headers and contents spell it, without white space."""
    parts = ["to=", "<|channel|>", "<|constrain|>", role.value]
    for message in messages:
        author = message.author
        parts += [author.role.value, f":{author.name}" if author.name is not None else ""]
        parts += [f"to={message.recipient or ''}", f"<|channel|>{message.channel or ''}"]
        parts += [message.content_type or "", text_of([message])]
    return without_space("".join(parts))


def lost_text(tokens: Sequence[int], messages: Sequence[Message], role: Role) -> list[str]:
    """The text of those tokens that are found in no message."""
    said = spelled_fields(messages, role)
    lost: list[str] = []
    undecoded = b""
    is_crossed = False  # a special token stands inside the character
    num_torn = 0
    for token in tokens:
        if ENCODING.is_special_token(token):
            is_crossed = bool(undecoded)
            continue
        text = _TEXTS[token]
        if text is None or undecoded:
            data = undecoded + token_bytes(token)
            text, length = codecs.utf_8_decode(data, "replace", False)
            undecoded = data[length:]
        pieces = text.split("\ufffd")
        num_torn += len(pieces) - 1
        if is_crossed and text:
            is_crossed = False
            if text[0] not in said:
                num_torn += 2
                pieces = text[1:].split("\ufffd")
        lost += [piece for piece in pieces if without_space(piece) not in said]
    num_torn += bool(undecoded)
    # Torn characters may be of words that a header says twice and that are read once.
    return lost if not num_torn or "\ufffd" in said else [*lost, "\ufffd"]


class TestLostText:
    """The check itself finds what is lost."""

    def test_a_missing_word_is_found_out(self) -> None:
        message = Message.from_role_and_content(Role.USER, "one three")
        assert lost_text(ENCODING.encode("one two three"), [message], Role.USER) == [" two"]

    def test_a_missing_character_is_found_out(self) -> None:
        message = Message.from_role_and_content(Role.USER, "one ")
        assert lost_text(ENCODING.encode("one 👋🏾"), [message], Role.USER) == ["👋", "🏾"]

    def test_a_character_that_a_special_token_tore_may_be_whole_or_not(self) -> None:
        tokens = ENCODING.encode("👋🏾")
        tokens.insert(len(tokens) - 1, END)
        for text, lost in (("👋🏾", []), ("👋\ufffd\ufffd", []), ("👋", ["\ufffd"])):
            message = Message.from_role_and_content(Role.USER, text)
            assert lost_text(tokens, [message], Role.USER) == lost

    def test_a_torn_character_must_show(self) -> None:
        tokens = ENCODING.encode("👋🏾")[:-1]
        shown = Message.from_role_and_content(Role.USER, "👋\ufffd")
        hidden = Message.from_role_and_content(Role.USER, "👋")
        assert lost_text(tokens, [shown], Role.USER) == []
        assert lost_text(tokens, [hidden], Role.USER) == ["\ufffd"]


def check(tokens: list[int], role: Role | None, generator: random.Random) -> None:
    parser, deltas = streamed(tokens, role)
    messages = parser.messages
    assert lost_text(tokens, messages, role or Role.ASSISTANT) == []
    assert "".join(delta or "" for delta in deltas) == text_of(messages)
    assert parser.tokens == tokens
    assert all(0 <= repair.position <= len(tokens) for repair in parser.repairs)
    positions = [repair.position for repair in parser.repairs]
    assert positions == sorted(positions)
    cut = generator.randrange(len(tokens) + 1)
    other = parser_for(role, strict=False).process_many(tokens[:cut])
    first = other.last_content_delta
    other.process_many(tokens[cut:])
    assert (first or "") + (other.last_content_delta or "") == "".join(d or "" for d in deltas[:-1])
    other.process_eos()
    assert other.messages == messages
    assert other.repairs == parser.repairs


@pytest.mark.slow
def test_mutated_completions() -> None:
    generator = random.Random(20250805)
    mutations = 0
    while mutations < NUM_MUTATIONS:
        tokens = valid_completion(generator)
        role: Role | None = Role.ASSISTANT
        if generator.random() < 0.3:
            role, tokens = None, [VOCABULARY.start, *VOCABULARY.encode("assistant"), *tokens]
        # One more mutation at a time: what is a little wrong and what is no more to be recognised.
        for _ in range(generator.randrange(1, 6)):
            mutate(tokens, generator)
            mutations += 1
            check(tokens, role, generator)


@given(
    tokens=st.lists(any_token(), max_size=40),
    role=roles(),
    generator=st.randoms(use_true_random=False),
)
@settings(max_examples=1000)
def test_any_tokens(tokens: list[int], role: Role | None, generator: random.Random) -> None:
    parser, deltas = streamed(tokens, role)
    assert "".join(delta or "" for delta in deltas) == text_of(parser.messages)
    assert lost_text(tokens, parser.messages, role or Role.ASSISTANT) == []
    num_unknown = sum(token >= NUM_TOKENS for token in tokens)
    said = spelled_fields(parser.messages, role or Role.ASSISTANT)
    assert said.count("\ufffd") >= num_unknown
    unknown = [repair for repair in parser.repairs if repair.kind is RepairKind.UNKNOWN_TOKEN]
    assert len(unknown) == num_unknown
    cut = generator.randrange(len(tokens) + 1)
    other = parser_for(role, strict=False).process_many(tokens[:cut]).process_many(tokens[cut:])
    assert other.process_eos().messages == parser.messages
    assert other.repairs == parser.repairs
