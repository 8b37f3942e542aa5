"""Harmony messages to tokens, and a completion's tokens back to messages.

Text and special tokens are distinct types up to the tokenizer, so no text, whoever wrote it, can
inject a special token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from gptoss.harmony_minimal.messages import ROLES, Message

CONSTRAIN = "<|constrain|>"
# The special tokens that structure a message, in the order of a rendered one.
_MARKERS = (
    "<|start|>",
    "<|channel|>",
    CONSTRAIN,
    "<|message|>",
    "<|end|>",
    "<|call|>",
    "<|return|>",
    "<|endoftext|>",
)


class Tokenizer(Protocol):
    """What rendering needs of a tokenizer; `gptoss.Tokenizer` has it."""

    def encode(self, text: str, /) -> list[int]:
        """Encode ordinary text; the spelling of a special token is ordinary text here."""

    def encode_special_token(self, name: str, /) -> int:
        """Find the token of a special token's name, such as `<|start|>`."""

    def decode(self, tokens: Sequence[int], /) -> str:
        """Decode tokens to text."""


@dataclass(frozen=True)
class Text:
    """Ordinary text. Each piece is tokenised on its own."""

    text: str


@dataclass(frozen=True)
class SpecialToken:
    """One special token by its name."""

    name: str


Piece: TypeAlias = Text | SpecialToken


def render_pieces(messages: Sequence[Message], next_role: str | None = "assistant") -> list[Piece]:
    """Render the conversation, then the start of the next message unless `next_role` is None."""
    pieces: list[Piece] = []
    for message in _drop_earlier_analysis(messages):
        pieces += _message_pieces(message)
    if next_role is not None:
        pieces += [SpecialToken("<|start|>"), Text(next_role)]
    return pieces


def render(
    messages: Sequence[Message], tokenizer: Tokenizer, next_role: str | None = "assistant"
) -> list[int]:
    """Render the conversation to tokens, ready for `Context.append`."""
    tokens: list[int] = []
    for piece in render_pieces(messages, next_role):
        if isinstance(piece, SpecialToken):
            tokens.append(tokenizer.encode_special_token(piece.name))
        else:
            tokens += tokenizer.encode(piece.text)
    return tokens


def _drop_earlier_analysis(messages: Sequence[Message]) -> list[Message]:
    """Drop what the model no longer reads: once it has answered, the analysis before that answer.

    Only the first final message counts: later analysis stays, and while a tool is being called all
    of it does. The models were trained on this rule.
    """
    channels = [message.channel for message in messages]
    last_assistant = next(
        (message for message in reversed(messages) if message.role == "assistant"), None
    )
    if last_assistant is None or last_assistant.channel != "final":
        return list(messages)
    first_final = channels.index("final")
    return [m for index, m in enumerate(messages) if m.channel != "analysis" or index > first_final]


def _message_pieces(message: Message) -> list[Piece]:
    author = message.name if message.role == "tool" else message.role
    assert author is not None  # Message checks it
    if message.role != "tool" and message.name:
        author = f"{message.role}:{message.name}"
    pieces: list[Piece] = [SpecialToken("<|start|>"), Text(author)]
    if message.recipient is not None and message.recipient != "all":
        pieces.append(Text(f" to={message.recipient}"))
    if message.channel is not None:
        pieces += [SpecialToken("<|channel|>"), Text(message.channel)]
    if message.content_type is not None:
        if message.content_type.startswith(CONSTRAIN):
            pieces += [
                Text(" "),
                SpecialToken(CONSTRAIN),
                Text(message.content_type[len(CONSTRAIN) :]),
            ]
        else:
            pieces.append(Text(f" {message.content_type}"))
    is_call = message.role == "assistant" and message.recipient is not None
    end = SpecialToken("<|call|>" if is_call else "<|end|>")
    return [*pieces, SpecialToken("<|message|>"), Text(message.content), end]


def split_channels(tokens: Sequence[int], tokenizer: Tokenizer) -> list[Message]:
    """Split an assistant's completion, the tokens after `<|start|>assistant`, into messages.

    Whatever the model wrote, finished or not, this returns messages and does not raise. A message
    whose header never ended has that header's text as its content.
    """
    markers = {tokenizer.encode_special_token(name): name for name in _MARKERS}
    messages: list[Message] = []
    header: list[tuple[str, list[int]]] = [("<|start|>", [])]  # the text after each marker
    content: list[int] | None = None  # None while in the header

    def finish() -> None:
        nonlocal header, content
        if content is not None or any(text for _, text in header):
            messages.append(
                _parse_message([(m, tokenizer.decode(t)) for m, t in header], content, tokenizer)
            )
        header, content = [("<|start|>", [])], None

    for token in tokens:
        marker = markers.get(token)
        if marker is None:
            (header[-1][1] if content is None else content).append(token)
        elif marker == "<|message|>":
            content = [] if content is None else content
        elif marker in ("<|channel|>", CONSTRAIN) and content is None:
            header.append((marker, []))
        else:
            finish()
    finish()
    return messages


def _parse_message(
    header: list[tuple[str, str]], content: list[int] | None, tokenizer: Tokenizer
) -> Message:
    """`header`: the text after each marker. The recipient may stand before or after the channel."""
    recipient = channel = content_type = None
    role = "assistant"
    for marker, text in header:
        words = text.split()
        if marker == CONSTRAIN:
            content_type = CONSTRAIN + (words.pop(0) if words else "")
        elif (
            marker == "<|channel|>" and channel is None and words and not words[0].startswith("to=")
        ):
            channel = words.pop(0)
        elif marker == "<|start|>" and words and words[0] in ROLES and words[0] != "tool":
            role = words.pop(0)
        for word in words:
            if word.startswith("to=") and recipient is None:
                recipient = word[len("to=") :]
            elif content_type is None and marker == "<|channel|>":
                content_type = word
    unfinished = "".join(text for _, text in header) if content is None else ""
    return Message(
        role=role,
        content=unfinished if content is None else tokenizer.decode(content),
        recipient=recipient or None,
        channel=channel,
        content_type=content_type,
    )
