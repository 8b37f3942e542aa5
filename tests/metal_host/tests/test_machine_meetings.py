"""Threads meet at barriers and simdgroup operations, whatever the order; else it is an error."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metal_host import Library, RunError
from metal_host.tests.machine_libraries import BUILDS, MODES, line_of, machine_library
from numpy.typing import NDArray

ORDERS = [None, 0, 1, 2, 3]


@pytest.fixture(params=BUILDS, ids="-".join)
def library(request: pytest.FixtureRequest) -> Library:
    """The kernels, by every compiler and in every mode that this process has."""
    compiler, mode = request.param
    return machine_library("meetings", mode, compiler)


@pytest.fixture(scope="module")
def plain() -> Library:
    return machine_library("meetings")


# ---- Meetings ----------------------------------------------------------------------------------


def reversed_groups(values: NDArray[np.uint32], size: int) -> NDArray[np.uint32]:
    return np.concatenate(
        [values[start : start + size][::-1] for start in range(0, len(values), size)]
    )


@given(
    threads=st.integers(1, 3000),
    size=st.integers(1, 1024),
    repetitions=st.integers(0, 3),
    seed=st.none() | st.integers(0, 1 << 63),
)
@settings(max_examples=40, deadline=None)
def test_barriers_separate_what_is_before_them_from_what_is_after(
    threads: int, size: int, repetitions: int, seed: int | None
) -> None:
    values = np.arange(threads, dtype=np.uint32)
    machine_library("meetings").run(
        "reverse",
        threads=(threads, 1, 1),
        threads_per_threadgroup=(size, 1, 1),
        buffers={0: values, 1: bytes(ctypes.c_uint32(repetitions))},
        order_seed=seed,
    )
    expected = np.arange(threads, dtype=np.uint32)
    for _ in range(repetitions):
        expected = reversed_groups(expected, size)
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("seed", ORDERS)
@pytest.mark.parametrize("threads", [1, 31, 32, 33, 64, 100])
def test_lanes_that_left_take_no_part(library: Library, threads: int, seed: int | None) -> None:
    sums = np.zeros((32, threads), np.uint32)
    library.run(
        "leave_one_by_one",
        threads=(threads, 1, 1),
        threads_per_threadgroup=(threads, 1, 1),
        buffers={0: sums},
        order_seed=seed,
    )
    for i in range(threads):
        lanes = min(32, threads - i // 32 * 32)
        expected = [lanes - n if i % 32 >= n else 0 for n in range(32)]
        assert sums[:, i].tolist() == expected, f"thread {i}"


@pytest.mark.parametrize("seed", ORDERS)
def test_exchanges_that_follow_each_other_keep_apart(library: Library, seed: int | None) -> None:
    output = np.zeros((96, 4), np.uint32)
    library.run(
        "exchange_in_a_row",
        threadgroups=(1, 1, 1),
        threads_per_threadgroup=(96, 1, 1),
        buffers={0: output},
        order_seed=seed,
    )
    lanes = np.arange(96) % 32
    expected = np.stack([lanes ^ 1, lanes ^ 3, lanes ^ 7, np.full(96, 7)], axis=1)
    np.testing.assert_array_equal(output, expected)


# ---- Orders ------------------------------------------------------------------------------------


def arrivals(library: Library, seed: int | None) -> NDArray[np.uint32]:
    order = np.zeros(4 * 64, np.uint32)
    library.run(
        "arrivals",
        threadgroups=(4, 1, 1),
        threads_per_threadgroup=(64, 1, 1),
        buffers={0: np.zeros(1, np.uint32), 1: order},
        order_seed=seed,
    )
    assert sorted(order.tolist()) == list(range(256))
    return order


def test_a_seed_draws_the_order_of_threadgroups_simdgroups_and_lanes(library: Library) -> None:
    threadgroups, simdgroups, lanes = set(), set(), set()
    for seed in range(10):
        order = arrivals(library, seed).reshape(4, 2, 32).astype(np.int64)
        threadgroups.add(tuple(np.argsort(order.min(axis=(1, 2))).tolist()))
        simdgroups.add(tuple(np.argsort(order[0].min(axis=1)).tolist()))
        lanes.add(tuple(np.argsort(order[0, 0]).tolist()))
    assert len(threadgroups) > 5, f"10 seeds, and the threadgroups came as {threadgroups}"
    assert len(simdgroups) == 2, f"10 seeds, and the simdgroups came as {simdgroups}"
    assert len(lanes) == 10, f"10 seeds, and the lanes came as {lanes}"


def test_the_same_seed_is_the_same_order_in_every_mode(plain: Library) -> None:
    first = arrivals(plain, 5)
    for mode in MODES:
        np.testing.assert_array_equal(arrivals(machine_library("meetings", mode), 5), first)


def test_without_a_seed_threads_come_in_turn(library: Library) -> None:
    order = arrivals(library, None).reshape(4, 64)
    assert (order // 64 == np.arange(4)[:, None]).all(), "threadgroups are not in turn"
    np.testing.assert_array_equal(order, arrivals(library, None).reshape(4, 64))


# ---- Divergence --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize(
    ("kernel", "marks", "words"),
    [
        (
            "half_of_the_lanes_sum",
            ["sum of even lanes", "after the sum of even lanes"],
            ["simd_sum", "threadgroup_barrier", "lanes of one simdgroup diverge"],
        ),
        ("lanes_at_two_sums", ["sum here", "sum there"], ["simd_sum at", "diverge"]),
        ("lanes_at_different_operations", ["max or min"], ["simd_max", "simd_min", "diverge"]),
        (
            "threads_at_two_barriers",
            ["first simdgroup", "other simdgroups"],
            ["threads of one threadgroup diverge"],
        ),
        (
            "one_thread_returns_before_a_barrier",
            ["without thread 37"],
            ["reached by 63 of 64 threads", "thread 37 has returned from the kernel"],
        ),
        (
            "one_simdgroup_skips_a_barrier",
            ["without simdgroup 0"],
            ["reached by 32 of 64 threads", "thread 0 has returned from the kernel"],
        ),
        (
            "a_barrier_where_others_sum",
            ["lower lanes", "upper lanes"],
            ["lanes of one simdgroup diverge", "simd_sum", "threadgroup_barrier"],
        ),
        (
            "lanes_at_simdgroup_barriers",
            ["seven lanes", "the others"],
            ["lanes of one simdgroup diverge", "simdgroup_barrier"],
        ),
        ("uneven_loops", ["in the loop", "after the loop"], ["simd_sum", "threadgroup_barrier"]),
    ],
)
def test_divergence_is_an_error_that_names_both_places(
    library: Library, kernel: str, marks: list[str], words: list[str], seed: int | None
) -> None:
    with pytest.raises(RunError) as caught:
        library.run(
            kernel,
            threadgroups=(1, 1, 1),
            threads_per_threadgroup=(64, 1, 1),
            buffers={0: np.zeros(64, np.uint32)},
            order_seed=seed,
        )
    text = str(caught.value)
    assert text.startswith(f"kernel {kernel}, threadgroup (0, 0, 0)")
    for expected in [*(line_of("meetings", mark) for mark in marks), *words]:
        assert expected in text, f"{expected!r} is not in: {text}"


def test_a_library_can_be_used_after_an_error(library: Library) -> None:
    for _ in range(3):
        with pytest.raises(RunError):
            library.run(
                "lanes_at_two_sums",
                threadgroups=(1, 1, 1),
                threads_per_threadgroup=(64, 1, 1),
                buffers={0: np.zeros(64, np.uint32)},
            )
        arrivals(library, 1)


# ---- Barriers that are left out ----------------------------------------------------------------


@pytest.mark.parametrize("mark", ["reverse, written", "reverse, read"])
def test_a_barrier_can_be_left_out_of_a_run(plain: Library, mark: str) -> None:
    """Without it, threads read what others have not written yet, or have overwritten."""
    file, line = line_of("meetings", mark).split(":")

    def run(without: tuple[str, int] | None) -> NDArray[np.uint32]:
        values = np.arange(64, dtype=np.uint32)
        plain.run(
            "reverse",
            threads=(64, 1, 1),
            threads_per_threadgroup=(64, 1, 1),
            buffers={0: values, 1: np.full(1, 2, np.uint32)},
            order_seed=1,
            without_barrier=without,
        )
        return values

    np.testing.assert_array_equal(run(None), np.arange(64))
    assert (run((file, int(line))) != np.arange(64)).any()
    np.testing.assert_array_equal(run((file, int(line) + 1)), np.arange(64))
    np.testing.assert_array_equal(run(("other_" + file, int(line))), np.arange(64))
