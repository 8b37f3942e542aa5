"""The machine's test kernels, for each mode and compiler that this process can use."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

from metal_host import Library
from metal_host.sanitizer import is_loaded

KERNELS = Path(__file__).parent / "kernels"

# Asan mode: where the run time is loaded, as under `python -m metal_host.asan -m pytest`.
MODES = ["plain", "trace", *(["asan"] if is_loaded() else [])]

# The modes in which each access is checked, wherever it goes and whatever it reads or writes.
CHECKED_MODES = [mode for mode in MODES if mode != "plain"]

# (compiler's family, mode); g++ has no asan mode.
BUILDS = [
    (family, mode)
    for family, program in (("clang++", "clang++-19"), ("g++", "g++"))
    for mode in MODES
    if shutil.which(program) and (family, mode) != ("g++", "asan")
]


@cache
def machine_library(file: str, mode: str = "plain", compiler: str | None = None) -> Library:
    """kernels/machine_<file>.metal."""
    return Library(KERNELS / f"machine_{file}.metal", mode=mode, compiler=compiler)


def line_of(file: str, mark: str) -> str:
    """`machine_<file>.metal:12` for the line that ends in `// <mark>`."""
    lines = (KERNELS / f"machine_{file}.metal").read_text().splitlines()
    found = [number for number, line in enumerate(lines, 1) if line.endswith(f"// {mark}")]
    assert len(found) == 1, f"machine_{file}.metal has {len(found)} lines marked {mark}"
    return f"machine_{file}.metal:{found[0]}"
