"""What the tests of the shim share: kernels compiled by both compilers, launched over arrays."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from metal_host import CompileError, Library, sanitizer
from metal_host.compiler import cache_folder, find_compiler
from numpy.typing import NDArray

KERNELS = Path(__file__).parent / "kernels"

Array: TypeAlias = NDArray[Any]

CLANG = "clang++"
GCC = "g++"
both_compilers = pytest.mark.parametrize("compiler", [CLANG, GCC])


@cache
def library(path: Path, compiler: str = CLANG, mode: str = "plain") -> Library:
    """The kernels of a file, by one of two compilers; the test is skipped where it is missing."""
    if mode == "asan" and not sanitizer.is_loaded():
        pytest.skip("asan mode is tested under `python -m metal_host.asan -m pytest`")
    try:
        find_compiler(mode, compiler)
    except CompileError as error:
        pytest.skip(str(error))
    return Library(path, mode, compiler=compiler)


def shim_kernels(name: str, compiler: str = CLANG, mode: str = "plain") -> Library:
    """kernels/shim_<name>.metal."""
    return library(KERNELS / f"shim_{name}.metal", compiler, mode)


def kernels_of(text: str, compiler: str = CLANG, mode: str = "plain") -> Library:
    """Kernels whose source a test has written itself.

    They lie where the next run of the tests finds them again, so that they are compiled once.
    """
    digest = hashlib.sha256(text.encode()).hexdigest()[:20]
    path = cache_folder() / "shim_tests" / digest / "shim_generated.metal"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_text(text)
        draft.replace(path)
    return library(path, compiler, mode)


def aligned(values: Array) -> Array:
    """A copy at a multiple of 32 bytes, as long4 needs it."""
    memory = np.zeros(values.nbytes + 32, np.uint8)
    start = -memory.ctypes.data % 32
    copy = memory[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def run_each(
    compiled: Library, kernel: str, *buffers: Array, threads: int, group: int = 256
) -> None:
    """One thread for each element; `buffers` are buffers 0, 1 and so on."""
    compiled.run(
        kernel,
        threads=(threads, 1, 1),
        threads_per_threadgroup=(min(group, threads), 1, 1),
        buffers=dict(enumerate(buffers)),
    )


def run_simdgroup(compiled: Library, kernel: str, *buffers: Array, lanes: int = 32) -> None:
    """One threadgroup of one simdgroup."""
    compiled.run(
        kernel,
        threadgroups=(1, 1, 1),
        threads_per_threadgroup=(lanes, 1, 1),
        buffers=dict(enumerate(buffers)),
    )


def assert_same_bits(actual: Array, expected: Array, describe: Callable[[Any], str]) -> None:
    """Element by element; any NaN equals any NaN. `describe(index)` says which element it is."""
    assert actual.dtype == expected.dtype, "the test compares arrays of different types"
    bits = np.dtype(f"u{actual.dtype.itemsize}")
    same = actual.view(bits) == expected.view(bits)
    if np.issubdtype(actual.dtype, np.floating):
        same |= np.isnan(actual) & np.isnan(expected)
    if not same.all():
        index = tuple(int(i) for i in np.argwhere(~same)[0])
        pytest.fail(
            f"{describe(index if len(index) > 1 else index[0])}: {actual[index]!r}, "
            f"expected {expected[index]!r}; {int((~same).sum())} of {same.size} differ"
        )
