"""What the commands need of a terminal: dimmed text, harmless text, a line that shows progress."""

from __future__ import annotations

import os
import time
from typing import TextIO

_DIM = "\x1b[2m"
_RESET = "\x1b[0m"
_CLEAR_LINE = "\r\x1b[K"

# Control characters would let a model's answer drive the terminal. Tab and line feed may stay.
_CONTROL_CHARACTERS = {
    code: "\ufffd" for code in [*range(0x20), *range(0x7F, 0xA0)] if chr(code) not in "\t\n"
}


def is_terminal(stream: TextIO) -> bool:
    """Whether a person sees this stream directly."""
    return stream.isatty()


def has_styles(stream: TextIO) -> bool:
    """Whether text may be dimmed: on a terminal, unless NO_COLOR or TERM=dumb says otherwise."""
    dumb = os.environ.get("TERM") == "dumb"
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and not dumb


def dim(text: str) -> str:
    """The text in the terminal's faint style, and the style's end: no interrupt leaves it on."""
    return f"{_DIM}{text}{_RESET}" if text else ""


def harmless(text: str) -> str:
    """The text with its control characters, escape sequences included, made visible as U+FFFD."""
    return text.translate(_CONTROL_CHARACTERS)


class ProgressLine:
    """One line on a terminal that says how far something is; nothing on any other stream.

    It appears after `delay` seconds, changes at most ten times a second, and is gone after `clear`.
    """

    def __init__(self, stream: TextIO, delay: float = 0.0) -> None:
        self._stream = stream
        self._enabled = is_terminal(stream)
        self._start = time.monotonic()
        self._next_update = self._start + delay
        self._shown = False

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    @property
    def is_due(self) -> bool:
        """Whether `show` would show something now: lets callers skip making the text."""
        return self._enabled and time.monotonic() >= self._next_update

    def show(self, text: str) -> None:
        """Replaces the line, if it is due."""
        if self.is_due:
            self._stream.write(_CLEAR_LINE + text)
            self._stream.flush()
            self._shown = True
            self._next_update = time.monotonic() + 0.1

    def clear(self) -> None:
        """Removes the line."""
        if self._shown:
            self._stream.write(_CLEAR_LINE)
            self._stream.flush()
            self._shown = False


def format_bytes(count: float) -> str:
    """A number of bytes with a binary unit: `512 bytes`, `1.8 MiB`, `12.8 GiB`."""
    if count < 1024:
        return f"{count:.0f} bytes"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"


def format_duration(seconds: float) -> str:
    """A time as a person reads it: `8 s`, `2:05 min`, `1:02:05 h`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes}:{rest:02} min"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02} h"
