"""metal/random.h: the CPU backend's random numbers, bit by bit."""

from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from metal_host import Library
from metal_sampling import uniform_random
from numpy.typing import NDArray

bits64 = st.integers(0, 2**64 - 1)
pairs = st.lists(st.tuples(bits64, bits64), min_size=1, max_size=70)


@cache
def library() -> Library:
    return Library(Path(__file__).parent / "kernels" / "random_numbers.metal")


def run(kernel: str, a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.uint64]:
    out = np.zeros(len(a), np.uint64)
    library().run(
        kernel,
        threads=(len(a), 1, 1),
        threads_per_threadgroup=(64, 1, 1),
        buffers={0: a, 1: b, 2: out},
    )
    return out


@settings(max_examples=50, deadline=None)
@given(pairs)
@example([(0, 0), (2**64 - 1, 2**64 - 1), (0, 2**64 - 1), (1, 131_071)])
def test_numbers_are_those_of_the_cpu(keys_and_counters: list[tuple[int, int]]) -> None:
    keys, counters = (
        np.array(column, np.uint64) for column in zip(*keys_and_counters, strict=True)
    )
    numbers = run("random_numbers", keys, counters)
    expected = [uniform_random(key, counter) for key, counter in keys_and_counters]
    assert [int(number) / 2**64 for number in numbers] == expected


@settings(max_examples=50, deadline=None)
@given(pairs)
@example([(2**64 - 1, 2**64 - 1), (2**32, 2**32), (2**32 - 1, 2**32 + 1), (0, 2**64 - 1)])
def test_high_half_of_a_product_is_exact(factors: list[tuple[int, int]]) -> None:
    a, b = (np.array(column, np.uint64) for column in zip(*factors, strict=True))
    assert run("high_halves", a, b).tolist() == [x * y >> 64 for x, y in factors]


def test_numbers_are_uniform_along_positions_and_along_seeds() -> None:
    """Chi-squared over 256 leading and 256 trailing values; 99.99 % of true ones are below 350."""
    many = np.arange(100_000, dtype=np.uint64)
    same = np.full_like(many, 7)
    for keys, counters in ((same, many), (many, same)):
        numbers = run("random_numbers", keys, counters)
        for shift in (56, 11):  # the lowest 11 bits are 0
            counted = np.bincount((numbers >> np.uint64(shift)).astype(np.uint8), minlength=256)
            expected = len(many) / 256
            assert ((counted - expected) ** 2 / expected).sum() < 350
