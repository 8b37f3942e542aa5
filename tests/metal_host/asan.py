"""Python with AddressSanitizer's run time: only in there can libraries be used in asan mode.

`python -m metal_host.asan -m pytest tests/test_x.py` is `python -m pytest tests/test_x.py` with the
run time loaded before everything else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from metal_host.compiler import CompileError
from metal_host.sanitizer import environment


def main(arguments: Sequence[str]) -> None:
    """Becomes a Python process with these arguments."""
    if not arguments:
        raise SystemExit("usage: python -m metal_host.asan <arguments of python>")
    try:
        variables = environment()
    except CompileError as error:
        raise SystemExit(f"metal_host.asan: {error}") from None
    os.execve(sys.executable, [sys.executable, *arguments], {**os.environ, **variables})


if __name__ == "__main__":
    main(sys.argv[1:])
