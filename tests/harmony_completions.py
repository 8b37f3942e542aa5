"""Completions as token ids: how to write them, random ones, and what is wrong with some."""

import random
from collections.abc import Sequence
from typing import Any

from gptoss.harmony import Message, Role, StreamableParser, load_harmony_encoding
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

ENCODING = load_harmony_encoding("HarmonyGptOss")
VOCABULARY = ENCODING.vocabulary

START, MESSAGE, CHANNEL, CONSTRAIN = 200006, 200008, 200005, 200003
END, RETURN, CALL = 200007, 200002, 200012
END_OF_TEXT, START_OF_TEXT, RESERVED = 199999, 199998, 200013
STOP_TOKENS = (END, RETURN, CALL)
SPECIAL_TOKENS = (
    *(START, MESSAGE, CHANNEL, CONSTRAIN, *STOP_TOKENS),
    *(END_OF_TEXT, START_OF_TEXT, RESERVED),
)
NUM_TOKENS = 201089  # ids 0 to 201088

# " \xf0\x9f", the start of a character, and single bytes that are no character.
START_OF_EMOJI = 9552
CONTINUATION_BYTE = 222  # 0x80
PARTIAL_TOKENS = (START_OF_EMOJI, 95, 96, 97, 126, 127, 187, 223, 240, CONTINUATION_BYTE)


def spelled(text: str) -> list[int]:
    """The tokens of a text in which the names of special tokens are these tokens."""
    return ENCODING.encode(text, allowed_special="all")


def plain(text: str) -> list[int]:
    """The tokens of a text in which the names of special tokens are ordinary text."""
    return ENCODING.encode(text, disallowed_special=())


def token_bytes(token: int) -> bytes:
    """The bytes of a token, of U+FFFD for one outside the vocabulary."""
    if token >= NUM_TOKENS:
        return "\ufffd".encode()
    return VOCABULARY.tokenizer.token_bytes(token)


def text_of(messages: Sequence[Message]) -> str:
    """The contents of messages, joined."""
    return "".join(getattr(content, "text", "") for m in messages for content in m.content)


def observed(parser: Any) -> dict[str, Any]:
    """What either package's parser shows, but for the content of an unfinished message."""
    role = parser.current_role
    return {
        "state": parser.state.value,
        "role": None if role is None else role.value,
        "recipient": parser.current_recipient,
        "channel": parser.current_channel,
        "content_type": parser.current_content_type,
        "tokens": list(parser.tokens),
        "messages": [message.to_dict() for message in parser.messages],
    }


def parser_for(role: Role | None, *, strict: bool) -> StreamableParser:
    return StreamableParser(ENCODING, role, strict=strict)


def streamed(
    tokens: Sequence[int], role: Role | None, *, strict: bool = False
) -> tuple[StreamableParser, list[str | None]]:
    """A parser that read the tokens one by one and the end, and the delta after each."""
    parser = parser_for(role, strict=strict)
    deltas = []
    for token in tokens:
        parser.process(token)
        deltas.append(parser.last_content_delta)
    parser.process_eos()
    deltas.append(parser.last_content_delta)
    return parser, deltas


# Any tokens, in an order that is often nearly right.

_HEADER_WORDS = [
    *("assistant", "user", "tool", "system", "developer", "functions.f", "foo", "user:bob"),
    *(" to=a", " to=functions.get", "to=", "to=to=", "analysis", "commentary", "final"),
    *(" json", "code", " extra", " ", "  ", "\n", "\t", "\x0b", "\x0c", "\r\n", "\x1c", "\x85"),
    *(
        "\u00a0",
        "\u2028",
        "\u3000",
        '"q"',
        "\\",
        "'",
        "<",
        "<|channel|>",
        "<|constrain|>",
        "<|end|>",
    ),
    *("é\u0301", "\u0903", "\uff9e", "\U000e0001", "\u200b", "\u200d", "\u00ad", "\ue000", "\x00"),
    *("\ufffd", "😀"),
]
_HEADER_WORD_TOKENS = [plain(word) for word in _HEADER_WORDS]
_ROLE_TOKENS = _HEADER_WORD_TOKENS[:8]
_CHANNEL_TOKENS = [plain(word) for word in ("analysis", "commentary", "final")]


def _joined(parts: SearchStrategy[list[int]], max_size: int) -> SearchStrategy[list[int]]:
    return st.lists(parts, max_size=max_size).map(lambda lists: [t for part in lists for t in part])


def any_token() -> SearchStrategy[int]:
    """A number that may be a token of this vocabulary, or of another one."""
    return st.one_of(
        st.sampled_from(SPECIAL_TOKENS),
        st.sampled_from(PARTIAL_TOKENS),
        st.integers(0, NUM_TOKENS - 1),
        st.integers(NUM_TOKENS, 2**32 - 1),
    )


def completions(*, known: bool = False) -> SearchStrategy[list[int]]:
    """Messages of which any part may be missing, doubled or strange.

    `known`: all tokens are of the vocabulary.
    """
    words = st.sampled_from(_HEADER_WORD_TOKENS)
    partial = st.sampled_from(PARTIAL_TOKENS).map(lambda token: [token])
    header_parts = st.one_of(
        words,
        words,
        st.sampled_from(_CHANNEL_TOKENS).map(lambda name: [CHANNEL, *name]),
        st.sampled_from([[CHANNEL], [CONSTRAIN], [CONSTRAIN, *plain("json")]]),
        partial,
        *(() if known else (st.integers(NUM_TOKENS, 2**32 - 1).map(lambda token: [token]),)),
    )
    content_parts = st.one_of(
        words,
        partial,
        st.integers(0, NUM_TOKENS - 1).map(lambda token: [token]),
        st.sampled_from(SPECIAL_TOKENS).map(lambda token: [token]),
    )
    messages = st.tuples(
        st.sampled_from([[START], [START], [START], []]),
        st.sampled_from([*_ROLE_TOKENS, []]),
        _joined(header_parts, 4),
        st.sampled_from([[MESSAGE], [MESSAGE], [MESSAGE], []]),
        _joined(content_parts, 6),
        st.sampled_from([[END], [RETURN], [CALL], []]),
    ).map(lambda parts: [token for part in parts for token in part])
    return _joined(messages, 3)


def roles() -> SearchStrategy[Role | None]:
    return st.none() | st.sampled_from(Role)


# Valid completions and their mutations, from a seeded generator: many and fast.

_HEADERS = [
    spelled(header)
    for header in (
        "<|channel|>analysis<|message|>",
        "<|channel|>final<|message|>",
        "<|channel|>commentary<|message|>",
        "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>",
        " to=functions.get_weather<|channel|>commentary <|constrain|>json<|message|>",
        "<|channel|>analysis to=python code<|message|>",
    )
]
_CONTENTS = [
    plain(text)
    for text in (
        "We need to think about it.",
        "The answer is 4. 😊👋🏾 日本語",
        '{"location": "Tokyo", "unit": "c"}',
        "final analysis of the commentary, assistant to=functions.x user",
        "  spaced\n\nlines\t",
        "Let me call functions.get_weather now",
        "<|channel|> spelled <|message|>",
        "x = [1, 2]\nprint(x)",
        "",
    )
]
_NEXT = spelled("<|start|>assistant")


def valid_completion(generator: random.Random) -> list[int]:
    """One to three messages of the assistant, after a prompt that ends with its role."""
    tokens: list[int] = []
    for index in range(generator.choice((1, 1, 2, 2, 3))):
        tokens += _NEXT if index else []
        tokens += generator.choice(_HEADERS)
        tokens += generator.choice(_CONTENTS)
        tokens.append(generator.choice(STOP_TOKENS))
    return tokens


def mutate(tokens: list[int], generator: random.Random) -> None:
    """Delete, double, swap or insert one token; special tokens more often than others."""
    choice = generator.random()
    special = [index for index, token in enumerate(tokens) if token in SPECIAL_TOKENS]
    is_special = generator.random() < 0.7 and bool(special)
    if len(tokens) < 2:
        choice = 1.0
    place = generator.choice(special) if is_special else generator.randrange(len(tokens) or 1)
    if choice < 0.3:
        del tokens[place]
    elif choice < 0.55:
        tokens.insert(place, tokens[place])
    elif choice < 0.8:
        other = place - 1 if generator.random() < 0.7 else generator.randrange(len(tokens))
        tokens[place], tokens[other] = tokens[other], tokens[place]
    else:
        tokens.insert(place, generator.choice(SPECIAL_TOKENS))
