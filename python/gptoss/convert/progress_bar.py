"""How far a conversion is: a bar on a terminal, a line every few seconds in a log."""

from __future__ import annotations

import time
from typing import TextIO

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 5.0


class ProgressBar:
    """A `Progress` callback that shows bytes, rate and time left on a stream.

    On a terminal it is a bar that moves; otherwise it is a line at most every five seconds, and one
    at the end of each phase that took longer than that.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._phase = ""
        self._bar: tqdm | None = None
        self._phase_begin = self._last_line = 0.0

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Show that `done` of `total` bytes of a phase are done."""
        if phase != self._phase:
            self.close()
            self._phase = phase
            self._phase_begin = self._last_line = time.monotonic()
            if self._is_terminal:
                self._bar = tqdm(
                    desc=phase,
                    total=total,
                    file=self._stream,
                    unit="B",
                    unit_scale=True,
                    dynamic_ncols=True,
                    leave=False,
                )
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        else:
            self._write_line(done, total)

    def close(self) -> None:
        """Remove the bar from the terminal."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _write_line(self, done: int, total: int) -> None:
        now = time.monotonic()
        lines_were_written = self._last_line > self._phase_begin
        is_last_line = done == total and lines_were_written
        if now - self._last_line < SECONDS_BETWEEN_LINES and not is_last_line:
            return
        meter = tqdm.format_meter(
            done,
            total,
            now - self._phase_begin,
            ncols=79,
            prefix=self._phase,
            unit="B",
            unit_scale=True,
            bar_format="{desc}: {percentage:.0f}% {n_fmt}/{total_fmt}, {rate_fmt}, "
            "{remaining} left",
        )
        print(meter, file=self._stream, flush=True)
        self._last_line = now
