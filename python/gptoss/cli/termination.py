"""SIGTERM as an exception, so that it reaches the code that removes an unfinished file."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_TERMINATED = 128 + signal.SIGTERM


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived: what Ctrl-C would undo is to be undone."""


@contextlib.contextmanager
def termination_as_exception() -> Iterator[None]:
    """While it lasts, SIGTERM raises Terminated."""
    previous_handler = signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous_handler)


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """The shell's convention for the signal that stopped the process."""
    return EXIT_TERMINATED if isinstance(interrupt, Terminated) else EXIT_INTERRUPTED


def _raise_terminated(signal_number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated
