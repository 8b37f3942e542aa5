"""The race detector names both accesses of every race in kernels/races.metal, and nothing else."""

from typing import Any

import numpy as np
import pytest
from metal_host import Library, Result, RunError
from metal_host.tests.trace_libraries import (
    COMPILERS,
    ORDERS,
    kernel_names,
    marked_lines,
    named_lines,
    trace_library,
)

FILE = "races.metal"
NAMES = kernel_names(FILE)
RIGHT = [name for name in NAMES if name.endswith("_fixed")]
WRONG = [name for name in NAMES if not name.endswith("_fixed")]

# Those that are right (or wrong) in a grid of several threadgroups only.
SEVERAL_THREADGROUPS = ("device_", "neighbours", "atomics", "threadgroup_memory_of_the_next")


def run(library: Library, kernel: str, order: int | None, **arguments: Any) -> Result:
    num_threadgroups = 4 if kernel.startswith(SEVERAL_THREADGROUPS) else 1
    indices = [
        int(parameter.attribute.removeprefix("buffer(").removesuffix(")"))
        for parameter in library.kernels[kernel].parameters
        if parameter.attribute.startswith("buffer(")
    ]
    return library.run(
        kernel,
        threadgroups=(num_threadgroups, 1, 1),
        threads_per_threadgroup=(96, 1, 1),
        buffers={index: np.zeros(4 * 96 * 3, np.uint32) for index in indices},
        order_seed=order,
        **arguments,
    )


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kernel", WRONG)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_each_race_is_found_with_the_lines_of_both_accesses(
    compiler: str, kernel: str, order: int | None
) -> None:
    with pytest.raises(RunError) as raised:
        run(trace_library(FILE, compiler), kernel, order)

    text = str(raised.value)
    assert "data race on " in text
    assert f"kernel {kernel}," in text
    assert named_lines(text, FILE) == marked_lines(FILE, kernel, "race"), text


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kernel", RIGHT)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_what_is_ordered_is_no_race(compiler: str, kernel: str, order: int | None) -> None:
    run(trace_library(FILE, compiler), kernel, order)


def test_the_error_names_memory_threads_and_what_is_missing() -> None:
    with pytest.raises(RunError) as raised:
        run(trace_library(FILE, COMPILERS[0]), "parts_of_a_word", None)

    (line,) = marked_lines(FILE, "parts_of_a_word", "race")
    assert str(raised.value) == (
        "kernel parts_of_a_word, threadgroup (0, 0, 0), thread 41 (lane 9 of simdgroup 1): data "
        "race on threadgroup memory 'values', byte 82: thread 40 (lane 8 of simdgroup 1) writes it "
        f"at {line}, thread 41 (lane 9 of simdgroup 1) writes it at {line}, and no "
        "simdgroup_barrier or threadgroup_barrier with mem_flags::mem_threadgroup lies between them"
    )


def test_the_error_names_both_threadgroups_where_these_race() -> None:
    kernel = "device_write_and_write_across_threadgroups"
    with pytest.raises(RunError) as raised:
        run(trace_library(FILE, COMPILERS[0]), kernel, None)

    (line,) = marked_lines(FILE, kernel, "race")
    assert str(raised.value).endswith(
        "data race on buffer 0 ('output'), byte 0: thread 0 (lane 0 of simdgroup 0) of threadgroup "
        f"0 writes it at {line}, thread 0 (lane 0 of simdgroup 0) of threadgroup 1 writes it at "
        f"{line}, and nothing orders different threadgroups of one launch"
    )


def test_memory_that_is_bound_twice_is_one_memory() -> None:
    values = np.zeros(4 * 96, np.uint32)
    with pytest.raises(RunError, match="data race on buffer 0"):
        trace_library(FILE, COMPILERS[0]).run(
            "device_write_then_read_in_simdgroup_fixed",
            threadgroups=(1, 1, 1),
            threads_per_threadgroup=(96, 1, 1),
            buffers={0: values, 1: values[1:97]},
        )


def test_an_error_leaves_nothing_behind_for_the_next_launch() -> None:
    library = trace_library(FILE, COMPILERS[0])
    for kernel in ("write_then_read_without_barrier", "device_write_and_write_across_threadgroups"):
        with pytest.raises(RunError):
            run(library, kernel, 1)
        run(library, "write_then_read_without_barrier_fixed", 1)
