"""How `gptoss generate` shows an answer: live text, the line of figures after it, and JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TextIO

from gptoss.cli.message_stream import MessageStream
from gptoss.cli.terminal import dim, harmless, has_styles, is_terminal
from gptoss.harmony_minimal import Message, split_channels
from gptoss.tokenizer import Tokenizer


@dataclass
class Answer:
    """What the model wrote, and how long it took (seconds)."""

    prompt_tokens: list[int]
    tokens: list[int] = field(default_factory=list)
    finish_reason: str | None = None  # stop, tool_call, length, context_length, interrupted
    load_seconds: float = 0.0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0

    def timing(self) -> dict[str, float | int | None]:
        """Seconds and tokens per second of loading, prefill and decode."""
        return {
            "load_seconds": self.load_seconds,
            "prefill_tokens": len(self.prompt_tokens),
            "prefill_seconds": self.prefill_seconds,
            "prefill_tokens_per_second": _rate(len(self.prompt_tokens), self.prefill_seconds),
            "decode_tokens": len(self.tokens),
            "decode_seconds": self.decode_seconds,
            "decode_tokens_per_second": _rate(len(self.tokens), self.decode_seconds),
        }

    def summary(self, sampling: str) -> str:
        """One line of figures for a person; `sampling` is its last word."""
        timing = self.timing()
        parts = []
        for phase in ("prefill", "decode"):
            rate = timing[f"{phase}_tokens_per_second"]
            speed = "" if rate is None else f" at {rate:.1f} tokens/s"
            parts.append(f"{phase} {timing[f'{phase}_tokens']} tokens{speed}")
        return f"[{', '.join(parts)}; ended: {self.finish_reason}; {sampling}]"


def messages_as_json(tokens: list[int], tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """The messages of a completion: role, channel, recipient, content_type and content of each."""
    return [
        {
            "role": message.role,
            "channel": message.channel,
            "recipient": message.recipient,
            "content_type": message.content_type,
            "content": message.content,
        }
        for message in split_channels(tokens, tokenizer)
    ]


class TextPrinter:
    """Writes a plain completion as it arrives."""

    def __init__(self, tokenizer: Tokenizer, output: TextIO) -> None:
        self._decoder = tokenizer.decode_stream()
        self._output = output
        self._terminal = is_terminal(output)

    def feed(self, token: int) -> None:
        """Writes what one more token completes."""
        self._write(self._decoder.feed(token))

    def finish(self) -> None:
        """Writes the rest; on a terminal also ends the line."""
        self._write(self._decoder.flush() + ("\n" if self._terminal else ""))

    def _write(self, text: str) -> None:
        if text:
            self._output.write(harmless(text) if self._terminal else text)
            self._output.flush()


class MessagePrinter:
    """Writes messages as they arrive: on a terminal all of them, elsewhere all but the analysis.

    Whatever is no analysis is for the user: the final answer, a call, a remark before a call, and
    text that the model put into no channel.
    """

    def __init__(self, tokenizer: Tokenizer, output: TextIO) -> None:
        self._stream = MessageStream(tokenizer)
        self._output = output
        self._terminal = is_terminal(output)
        self._styled = has_styles(output)
        self._message: Message | None = None
        self._at_line_start = True
        self.answer_began = False

    def feed(self, token: int) -> None:
        """Writes what one more token completes."""
        for message, text in self._stream.feed(token):
            self._show(message, text)
        self._output.flush()

    def finish(self) -> None:
        """Writes the rest of the message that the end came in; a header cut short is no text."""
        for message, text in self._stream.finish():
            if message is self._message:
                self._show(message, text)
        self._end_message()
        self._output.flush()

    def _show(self, message: Message, text: str) -> None:
        if message is not self._message:
            self._end_message()
            self._begin_message(message)
        self._write(text, _is_analysis(message))

    def _begin_message(self, message: Message) -> None:
        analysis = _is_analysis(message)
        if self._message is not None and self._terminal:
            self._output.write("\n")
        self._message = message
        self.answer_began |= not analysis
        if message.recipient is not None:
            self._write(f"tool call: {message.recipient}(", analysis)
        elif analysis and not self._styled:
            self._write("analysis: ", analysis)

    def _end_message(self) -> None:
        if self._message is not None:
            if self._message.recipient is not None:
                self._write(")", _is_analysis(self._message))
            if not self._at_line_start:
                self._output.write("\n")
                self._at_line_start = True

    def _write(self, text: str, analysis: bool) -> None:
        if not text or (analysis and not self._terminal):
            return
        if self._terminal:
            text = harmless(text)
        self._output.write(dim(text) if analysis and self._styled else text)
        self._at_line_start = text.endswith("\n")


def _is_analysis(message: Message) -> bool:
    """Whether a message is thought, not answer. A call never is, whatever its channel."""
    return message.channel == "analysis" and message.recipient is None


def _rate(count: int, seconds: float) -> float | None:
    return count / seconds if count and seconds > 0 else None
