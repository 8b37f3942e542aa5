"""AddressSanitizer's run time, which has to be loaded before a Python that is not built with it."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from metal_host.compiler import CompileError, find_compiler
from metal_host.tools import run_tool

# Leaks: Python's own would be reported. Signals: the machine turns those of kernels into errors.
# The stacks of fibers stay where they are: no copies of frames on the heap.
OPTIONS = {
    "detect_leaks": 0,
    "detect_stack_use_after_return": 0,
    "handle_segv": 0,
    "handle_sigbus": 0,
    "handle_sigfpe": 0,
    "use_sigaltstack": 0,
}


def is_loaded() -> bool:
    """Whether this process can run kernels in asan mode."""
    return hasattr(ctypes.CDLL(None), "__asan_init")


def check_loaded() -> None:
    """RuntimeError, with what to do, if this process cannot run kernels in asan mode."""
    if not is_loaded():
        raise RuntimeError(
            "asan mode needs AddressSanitizer's run time, which has to be loaded before Python: "
            "start `python -m metal_host.asan -m pytest ...` instead of `python -m pytest ...`"
        )


def environment() -> dict[str, str]:
    """Variables of the environment in which a new Python process can use asan mode."""
    runtimes = [f"libclang_rt.asan-{platform.machine()}.so", "libclang_rt.asan.so"]
    # The run time catches C++ exceptions only where the C++ library is loaded from the start, too.
    preloaded = [str(_library(runtimes)), str(_library(["libstdc++.so.6"]))]
    options = [f"{name}={value}" for name, value in OPTIONS.items()]
    if os.environ.get("ASAN_OPTIONS"):
        options.append(os.environ["ASAN_OPTIONS"])
    return {"LD_PRELOAD": " ".join(preloaded), "ASAN_OPTIONS": ":".join(options)}


def _library(names: Sequence[str]) -> Path:
    """The first of these files that the compiler has; it prints the bare name of what it lacks."""
    compiler = find_compiler("asan")
    for name in names:
        command = [compiler.path, f"-print-file-name={name}"]
        found = Path(run_tool(command).stdout.strip())
        if found.is_absolute() and found.exists():
            return found.resolve()
    raise CompileError(
        f"{compiler.path} has no {' or '.join(names)}: install the sanitizers that belong to it "
        "(Debian: libclang-rt-19-dev)"
    )
