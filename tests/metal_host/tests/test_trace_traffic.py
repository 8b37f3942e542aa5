"""The traffic of kernels/traffic.metal, of which each number is known.

Two threadgroups of 64 threads run, so four simdgroups, if a test does not say otherwise.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from metal_host import Result, Traffic
from metal_host.tests.trace_libraries import COMPILERS, ORDERS, trace_library

NUM_THREADGROUPS = 2
NUM_SIMDGROUPS = 4
NUM_THREADS = 128


def run(
    compiler: str, order: int | None, kernel: str, *elements: int, **arguments: Any
) -> tuple[Result, list[np.ndarray[Any, Any]]]:
    """Runs a kernel with buffers of so many 4-byte elements."""
    buffers = [np.arange(size, dtype=np.uint32) for size in elements]
    result = trace_library("traffic.metal", compiler).run(
        kernel,
        threadgroups=(NUM_THREADGROUPS, 1, 1),
        threads_per_threadgroup=(64, 1, 1),
        buffers=dict(enumerate(buffers)),
        order_seed=order,
        **arguments,
    )
    return result, buffers


def reads(
    *,
    lanes: int,
    per_simdgroup: int,
    per_threadgroup: int,
    distinct: int,
    accesses: int,
    lines: int,
) -> Traffic:
    """Bytes, and what is not bytes, of a buffer that is only read."""
    return Traffic(lanes, 0, per_simdgroup, 0, per_threadgroup, 0, distinct, 0, accesses, lines)


def assert_traffic(actual: Traffic | None, expected: Traffic) -> None:
    assert actual is not None
    assert asdict(actual) == asdict(expected)


each_compiler_and_order = pytest.mark.parametrize(
    ("compiler", "order"), [(compiler, order) for compiler in COMPILERS for order in ORDERS]
)


@each_compiler_and_order
def test_consecutive_elements_share_lines(compiler: str, order: int | None) -> None:
    result, _ = run(compiler, order, "coalesced", NUM_THREADS, NUM_THREADS)
    # 32 lanes of 4 bytes: one line.
    assert_traffic(
        result.traffic[0],
        reads(lanes=512, per_simdgroup=512, per_threadgroup=512, distinct=512, accesses=4, lines=4),
    )
    assert_traffic(result.traffic[1], Traffic(0, 512, 0, 512, 0, 512, 0, 512, 4, 4))
    assert result.traffic[0].lines_per_access == 1.0


@each_compiler_and_order
def test_vectors_are_one_access_of_four_lines(compiler: str, order: int | None) -> None:
    result, _ = run(compiler, order, "coalesced_vectors", 4 * NUM_THREADS, 4 * NUM_THREADS)
    assert_traffic(
        result.traffic[0],
        reads(
            lanes=2048,
            per_simdgroup=2048,
            per_threadgroup=2048,
            distinct=2048,
            accesses=4,
            lines=16,
        ),
    )
    assert_traffic(result.traffic[1], Traffic(0, 2048, 0, 2048, 0, 2048, 0, 2048, 4, 16))


@each_compiler_and_order
def test_strided_elements_take_a_line_each(compiler: str, order: int | None) -> None:
    result, _ = run(compiler, order, "strided", 32 * NUM_THREADS, NUM_THREADS)
    assert_traffic(
        result.traffic[0],
        reads(
            lanes=512, per_simdgroup=512, per_threadgroup=512, distinct=512, accesses=4, lines=128
        ),
    )
    assert result.traffic[0].lines_per_access == 32.0


@each_compiler_and_order
def test_a_uniform_load_counts_once_a_simdgroup(compiler: str, order: int | None) -> None:
    result, _ = run(compiler, order, "uniform", 1, NUM_THREADS)
    assert_traffic(
        result.traffic[0],
        reads(lanes=512, per_simdgroup=16, per_threadgroup=8, distinct=4, accesses=4, lines=4),
    )


@each_compiler_and_order
def test_lines_begin_where_the_buffer_does(compiler: str, order: int | None) -> None:
    result, _ = run(compiler, order, "across_lines", 16 + NUM_THREADS, NUM_THREADS)
    assert_traffic(
        result.traffic[0],
        reads(lanes=512, per_simdgroup=512, per_threadgroup=512, distinct=512, accesses=4, lines=8),
    )


@each_compiler_and_order
def test_what_lanes_share_counts_once_whatever_their_order(
    compiler: str, order: int | None
) -> None:
    result, _ = run(compiler, order, "shared", NUM_THREADS // 2, NUM_THREADS)
    assert_traffic(
        result.traffic[0],
        reads(lanes=512, per_simdgroup=256, per_threadgroup=256, distinct=256, accesses=4, lines=4),
    )


@each_compiler_and_order
def test_what_is_read_again_counts_again_except_as_distinct(
    compiler: str, order: int | None
) -> None:
    result, (_, output) = run(compiler, order, "read_again", 32, NUM_THREADS)
    assert (output == 5 * sum(range(32))).all()
    assert_traffic(
        result.traffic[0],
        reads(
            lanes=5 * 512,
            per_simdgroup=5 * 512,
            per_threadgroup=NUM_THREADGROUPS * 128,
            distinct=128,
            accesses=20,
            lines=20,
        ),
    )


@each_compiler_and_order
def test_lanes_that_take_no_part_are_missing_from_an_access(
    compiler: str, order: int | None
) -> None:
    result, _ = run(compiler, order, "divergent", 32 * 32, NUM_THREADS)
    # Round i of the loop is one access, by the lanes from i on.
    triangle = 4 * (32 * 33) // 2
    assert_traffic(
        result.traffic[0],
        reads(
            lanes=NUM_SIMDGROUPS * triangle,
            per_simdgroup=NUM_SIMDGROUPS * triangle,
            per_threadgroup=NUM_THREADGROUPS * triangle,
            distinct=triangle,
            accesses=NUM_SIMDGROUPS * 32,
            lines=NUM_SIMDGROUPS * 32,
        ),
    )
    # Each branch writes the elements of its own lanes.
    assert_traffic(result.traffic[1], Traffic(0, 512, 0, 512, 0, 512, 0, 512, 8, 8))


@each_compiler_and_order
def test_lanes_that_have_met_since_are_in_different_accesses(
    compiler: str, order: int | None
) -> None:
    result, (_, output) = run(compiler, order, "separated", 32, NUM_THREADS)
    assert (output == sum(range(32))).all()
    assert_traffic(
        result.traffic[0],
        reads(
            lanes=512,
            per_simdgroup=512,
            per_threadgroup=NUM_THREADGROUPS * 128,
            distinct=128,
            accesses=NUM_SIMDGROUPS * 2,
            lines=NUM_SIMDGROUPS * 2,
        ),
    )


@each_compiler_and_order
def test_an_access_of_two_buffers_counts_for_both(compiler: str, order: int | None) -> None:
    result, _ = run(compiler, order, "either", 32, 32, NUM_THREADS)
    for buffer in (0, 1):
        assert_traffic(
            result.traffic[buffer],
            reads(
                lanes=256,
                per_simdgroup=256,
                per_threadgroup=NUM_THREADGROUPS * 64,
                distinct=64,
                accesses=4,
                lines=4,
            ),
        )


@each_compiler_and_order
def test_an_atomic_reads_and_writes_in_one_access(compiler: str, order: int | None) -> None:
    result, (counters,) = run(compiler, order, "counted", 2)
    assert counters.tolist() == [NUM_THREADS // 2, 1 + NUM_THREADS // 2]
    assert_traffic(result.traffic[0], Traffic(512, 512, 32, 32, 16, 16, 8, 8, 4, 4))


@each_compiler_and_order
def test_threadgroup_memory_is_counted_as_one(compiler: str, order: int | None) -> None:
    result, _ = run(compiler, order, "staged", NUM_THREADS, NUM_THREADS, threadgroup_memory={0: 16})
    assert_traffic(
        result.threadgroup_traffic,
        Traffic(
            bytes_read=NUM_THREADS * (4 + 16),
            bytes_written=NUM_THREADS * 4 + NUM_THREADGROUPS * 16,
            simdgroup_bytes_read=NUM_SIMDGROUPS * (128 + 16),
            simdgroup_bytes_written=NUM_SIMDGROUPS * 128 + NUM_THREADGROUPS * 16,
            threadgroup_bytes_read=NUM_THREADGROUPS * (256 + 16),
            threadgroup_bytes_written=NUM_THREADGROUPS * (256 + 16),
            # Both threadgroups have theirs in the same place.
            distinct_bytes_read=256 + 16,
            distinct_bytes_written=256 + 16,
            simdgroup_accesses=NUM_SIMDGROUPS * 3 + NUM_THREADGROUPS,
            lines=NUM_SIMDGROUPS * 3 + NUM_THREADGROUPS,
        ),
    )


def test_counts_are_of_the_last_launch_alone() -> None:
    first, _ = run(COMPILERS[0], None, "coalesced", NUM_THREADS, NUM_THREADS)
    again, _ = run(COMPILERS[0], None, "coalesced", NUM_THREADS, NUM_THREADS)
    assert again.traffic == first.traffic


def test_memory_bound_twice_counts_for_the_first_buffer() -> None:
    values = np.arange(NUM_THREADS, dtype=np.uint32)
    result = trace_library("traffic.metal", COMPILERS[0]).run(
        "coalesced",
        threadgroups=(2, 1, 1),
        threads_per_threadgroup=(64, 1, 1),
        buffers={0: values, 1: values},
    )
    assert_traffic(result.traffic[0], Traffic(512, 512, 512, 512, 512, 512, 512, 512, 8, 8))
    assert_traffic(result.traffic[1], Traffic(0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
