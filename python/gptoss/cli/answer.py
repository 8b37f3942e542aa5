"""What `gptoss generate` says about an answer in figures, and how it shows plain text live.

Messages are in gptoss.cli.messages, which is slower to import.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TextIO

from gptoss.cli.terminal import harmless, is_terminal
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


class TextPrinter:
    """Writes a plain completion as it arrives."""

    answer_began = True  # there is no analysis before it

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


def _rate(count: int, seconds: float) -> float | None:
    return count / seconds if count and seconds > 0 else None
