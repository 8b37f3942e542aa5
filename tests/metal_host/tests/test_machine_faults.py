"""A thread that goes wrong ends the launch with an error, and never the process."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metal_host import RunError
from metal_host.sanitizer import is_loaded
from metal_host.tests.machine_libraries import CHECKED_MODES, MODES, line_of, machine_library

checked_modes = pytest.mark.parametrize("mode", CHECKED_MODES)
every_mode = pytest.mark.parametrize("mode", MODES)
needs_asan = pytest.mark.skipif(
    not is_loaded(), reason="only under `python -m metal_host.asan -m pytest`"
)


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """So that it is not in a test of random examples that the kernels do not compile."""
    for mode in MODES:
        machine_library("faults", mode)


def run(
    kernel: str, buffers: dict[int, Any], mode: str, threads: int = 1, **options: Any
) -> str | None:
    """The error of a launch, if there is one."""
    try:
        machine_library("faults", mode).run(
            kernel,
            threads=(threads, 1, 1),
            threads_per_threadgroup=(min(threads, 64), 1, 1),
            buffers=buffers,
            **options,
        )
    except RunError as error:
        return str(error)
    return None


def number(value: int) -> bytes:
    return int(value).to_bytes(4, "little", signed=True)


# ---- Device memory -----------------------------------------------------------------------------


def copy(n: int, input_offset: int, output_offset: int, mode: str) -> str | None:
    memory = np.full(n + 2, 7, np.float32)
    # The neighbours in the caller's array belong to it: nothing may change them.
    output = memory[1:-1]
    error = run(
        "copy",
        {
            0: np.arange(n, dtype=np.float32),
            1: output,
            2: number(input_offset),
            3: number(output_offset),
        },
        mode,
        threads=n,
    )
    assert memory[0] == memory[-1] == 7, "a kernel wrote into the caller's other memory"
    return error


# In plain mode, a read between a buffer's end and the next multiple of 16 bytes goes unseen.
@given(n=st.integers(1, 200), offset=st.integers(-300, 300), mode=st.sampled_from(CHECKED_MODES))
@settings(max_examples=60, deadline=None)
def test_each_read_outside_of_a_buffer_is_found(n: int, offset: int, mode: str) -> None:
    error = copy(n, offset, 0, mode)
    if offset == 0:
        assert error is None
    else:
        assert error is not None, "not found"
        assert line_of("faults", "read") in error
        first = (
            offset * 4 if offset < 0 else max(n, offset) * 4
        )  # of thread 0, or of the first that is outside
        assert re.search(
            rf"byte {first} of buffer 0 \('input'\), which has {n * 4} bytes", error
        ) or (mode == "trace" and "buffer 0 ('input')" in error), error


@given(n=st.integers(1, 200), offset=st.integers(-300, 300), mode=st.sampled_from(CHECKED_MODES))
@settings(max_examples=60, deadline=None)
def test_each_write_outside_of_a_buffer_is_found(n: int, offset: int, mode: str) -> None:
    error = copy(n, 0, offset, mode)
    if offset == 0:
        assert error is None
    else:
        assert error is not None, "not found"
        assert line_of("faults", "write") in error
        assert "buffer 1 ('output')" in error


@given(n=st.integers(1, 200), offset=st.integers(-60, 300))
@settings(max_examples=60, deadline=None)
def test_plain_mode_finds_writes_outside_of_a_buffer(n: int, offset: int) -> None:
    error = copy(n, 0, offset, "plain")
    assert (error is None) == (offset == 0)
    if error is not None:
        assert "buffer 1 ('output')" in error
        # At a page that is not there, the line is known; else guard bytes tell afterwards.
        assert line_of("faults", "write") in error or "something wrote to byte" in error


@given(n=st.integers(1, 50).map(lambda quarter: 4 * quarter), offset=st.integers(0, 300))
@settings(max_examples=30, deadline=None)
def test_plain_mode_finds_reads_beyond_buffers_of_whole_vectors(n: int, offset: int) -> None:
    memory = np.zeros(n, np.float32)
    error = run(
        "copy",
        {0: memory, 1: np.zeros(n, np.float32), 2: number(offset), 3: number(0)},
        "plain",
        threads=n,
    )
    assert (error is None) == (offset == 0)
    if error is not None:
        first = max(n, offset) * 4
        assert f"byte {first} of buffer 0 ('input'), which has {n * 4} bytes" in error
        assert line_of("faults", "read") in error


@checked_modes
def test_a_vector_that_is_partly_outside_is_found(mode: str) -> None:
    whole, part = np.zeros(8, np.float32), np.zeros(7, np.float32)
    error = run("copy_vectors", {0: part, 1: whole}, mode, threads=2)
    assert error is not None
    assert line_of("faults", "read of a vector") in error
    error = run("copy_vectors", {0: whole, 1: part}, mode, threads=2)
    assert error is not None
    assert line_of("faults", "write of a vector") in error
    assert "thread 1 " in error


@every_mode
def test_a_null_pointer_is_an_error(mode: str) -> None:
    error = run("through_a_null_pointer", {0: None, 1: np.zeros(1, np.float32)}, mode)
    assert error is not None
    assert line_of("faults", "null") in error


# ---- Threadgroup memory ------------------------------------------------------------------------


@every_mode
@pytest.mark.parametrize("index", [-1, -100, 4, 5, 100])
@pytest.mark.parametrize(
    ("kernel", "mark", "name"),
    [
        ("threadgroup_overrun", "write of a variable", "declared"),
        ("argument_overrun", "write of an argument", "argument"),
    ],
)
def test_writes_outside_of_threadgroup_variables_are_found(
    mode: str, kernel: str, mark: str, name: str, index: int
) -> None:
    error = run(
        kernel,
        {0: np.zeros(1, np.float32), 1: number(index)},
        mode,
        threadgroup_memory={0: 16},
    )
    assert error is not None
    assert f"kernel {kernel}, threadgroup (0, 0, 0)" in error
    if mode == "plain":
        assert f"byte {index * 4} of threadgroup memory '{name}', which has 16 bytes" in error
        assert "in asan or trace mode this names the line" in error
    else:
        assert line_of("faults", mark) in error
        assert name in error


# ---- Other faults ------------------------------------------------------------------------------


@every_mode
@pytest.mark.parametrize(("dividend", "divisor"), [(1, 0), (-(2**31), -1)])
def test_an_impossible_division_is_an_error(mode: str, dividend: int, divisor: int) -> None:
    output = np.zeros(1, np.int32)
    assert run("divide", {0: np.array([7, 2], np.int32), 1: output}, mode) is None
    assert output[0] == 3
    error = run("divide", {0: np.array([dividend, divisor], np.int32), 1: output}, mode)
    assert error is not None
    assert "division" in error
    assert line_of("faults", "division") in error


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "asan"])
def test_a_stack_that_is_used_up_is_an_error(mode: str) -> None:
    error = run("large_array", {0: np.zeros(1, np.float32), 1: number(5)}, mode)
    assert error is not None
    assert "kernel large_array" in error
    assert "beyond the thread's stack of" in error


@needs_asan
@pytest.mark.parametrize(
    ("kernel", "inputs", "mark", "words"),
    [
        ("shift", np.array([1, 32], np.int32), "shift", "a shift by more bits"),
        ("shift", np.array([1, -1], np.int32), "shift", "a shift by more bits"),
        ("add", np.array([2**31 - 1, 1], np.int32), "addition", "overflow in an addition"),
        ("convert", np.array([1e10], np.float32), "conversion", "outside of the integer type"),
        ("convert", np.array([np.nan], np.float32), "conversion", "outside of the integer type"),
        ("own_array", np.array([4, 0], np.int32), "own array", "index outside of an array"),
        ("misaligned", np.zeros(8, np.uint32), "misaligned", "misaligned pointer"),
    ],
)
def test_asan_mode_finds_undefined_behaviour(
    kernel: str, inputs: Any, mark: str, words: str
) -> None:
    error = run(kernel, {0: inputs, 1: np.zeros(4, np.uint32)}, "asan")
    assert error is not None
    assert words in error
    assert line_of("faults", mark) in error


@every_mode
def test_after_an_error_the_next_launch_is_as_good_as_the_first(mode: str) -> None:
    for _ in range(3):
        assert copy(40, 1, 0, mode) is not None
        assert copy(40, 0, 1, mode) is not None
        assert copy(40, 0, 0, mode) is None


@every_mode
def test_an_error_names_the_kernel_the_threadgroup_and_the_thread(mode: str) -> None:
    n = 130
    input_, output = np.zeros(n, np.float32), np.zeros(n - 1, np.float32)
    error = run("copy", {0: input_, 1: output, 2: number(0), 3: number(2048)}, mode, threads=n)
    assert error is not None
    assert error.startswith(
        "kernel copy, threadgroup (0, 0, 0), thread 0 (lane 0 of simdgroup 0): "
    )
