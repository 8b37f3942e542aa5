"""Atomic functions, with many threads at one object; in trace mode they are no races."""

from __future__ import annotations

import numpy as np
import pytest
from metal_host.tests.shim_support import CLANG, GCC, Array, run_each, shim_kernels

every_build = pytest.mark.parametrize(
    ("compiler", "mode"),
    [(CLANG, "plain"), (CLANG, "asan"), (CLANG, "trace"), (GCC, "plain"), (GCC, "trace")],
)

ALL_BITS = 2**32 - 1


@every_build
def test_read_modify_write(compiler: str, mode: str) -> None:
    value = np.random.default_rng(1).integers(0, 2**32, 500, dtype=np.uint32) | np.uint32(0x10)
    largest_int, smallest_int = 2**31 - 1, 2**31
    start = [0, 0, ALL_BITS, 0, 0, ALL_BITS, 0, 0, largest_int, smallest_int, 0, 0]
    counters = np.array(start, np.uint32)
    tickets = np.zeros(500, np.uint32)
    compiled = shim_kernels("atomic", compiler, mode)
    run_each(compiled, "read_modify_write", counters, value, tickets, threads=500, group=64)
    total = int(value.sum(dtype=np.uint64))
    expected = [
        *(total % 2**32, -total % 2**32, int(value.min()), int(value.max())),
        *(int(function.reduce(value)) for function in (np.bitwise_or, np.bitwise_and)),
        *(int(np.bitwise_xor.reduce(value)), 500),
        *(int(x) % 2**32 for x in (value.view(np.int32).min(), value.view(np.int32).max())),
        *(int(np.float32(250).view(np.uint32)), total % 2**32),
    ]
    assert counters.tolist() == expected
    assert sorted(tickets.tolist()) == list(range(500)), "two threads got the same ticket"


@every_build
def test_smallest_and_largest_of_64_bits(compiler: str, mode: str) -> None:
    value = np.random.default_rng(2).integers(0, 2**64, 300, dtype=np.uint64)
    output = np.array([2**64 - 1, 0], np.uint64)
    compiled = shim_kernels("atomic", compiler, mode)
    run_each(compiled, "smallest_and_largest", output, value, threads=300, group=64)
    assert output.tolist() == [value.min(), value.max()]


@every_build
def test_a_histogram_by_way_of_threadgroup_memory(compiler: str, mode: str) -> None:
    value = np.random.default_rng(3).integers(0, 1000, 640, dtype=np.uint32)
    counts = np.zeros(16, np.uint32)
    compiled = shim_kernels("atomic", compiler, mode)
    run_each(compiled, "histogram", value, counts, threads=640, group=128)
    np.testing.assert_array_equal(counts, np.bincount(value % 16, minlength=16))


@every_build
def test_stores_and_exchanges(compiler: str, mode: str) -> None:
    objects: list[Array] = [np.zeros(1, np.int32), np.zeros(1, np.float32), np.zeros(6, np.int32)]
    run_each(shim_kernels("atomic", compiler, mode), "single_thread", *objects, threads=1)
    assert objects[2].tolist() == [-5, 0, 7, 3, 5, 3]
    assert (objects[0][0], objects[1][0]) == (7, 1.5)
