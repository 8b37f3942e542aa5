"""metal/numbers.h: every bf16, half and 8-bit code, and the order of floats by integers."""

from pathlib import Path

import numpy as np
from metal_kernels import launch
from numpy.typing import NDArray
from reference import Array, bf16_to_float

KERNELS = Path(__file__).parent / "kernels" / "numbers.metal"


def run(kernel: str, num_threads: int, *buffers: Array) -> None:
    launch(
        str(KERNELS),
        kernel,
        threads=(num_threads, 1, 1),
        threads_per_threadgroup=(256, 1, 1),
        buffers=dict(enumerate(buffers)),
    )


def sortable(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    output = np.zeros(len(values), np.uint32)
    run("sortable", len(values), values, output)
    return output


def to_half(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """By float_to_half; float4_to_half4 has to agree."""
    padded = np.resize(values, -(-len(values) // 4) * 4)
    singly, at_once = np.zeros(len(padded), np.float16), np.zeros(len(padded), np.float16)
    run("to_half", len(padded) // 4, padded, singly, at_once)
    np.testing.assert_array_equal(singly.view(np.uint16), at_once.view(np.uint16))
    return singly[: len(values)]


def test_every_bf16_is_read_exactly() -> None:
    bits = np.arange(65536, dtype=np.uint16)
    singly, at_once = np.zeros(65536, np.float32), np.zeros(65536, np.float32)
    run("from_bf16", 65536 // 4, bits, singly, at_once)
    np.testing.assert_array_equal(singly.view(np.uint32), bf16_to_float(bits).view(np.uint32))
    np.testing.assert_array_equal(at_once.view(np.uint32), bf16_to_float(bits).view(np.uint32))


def test_every_8_bit_code_is_read_exactly() -> None:
    codes = np.arange(-128, 128).astype(np.int8)
    values = np.zeros(256, np.float32)
    run("from_int8", 64, codes, values)
    np.testing.assert_array_equal(values, codes)


def test_every_finite_half_comes_back_and_midpoints_round_to_even() -> None:
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    halves = np.sort(halves[np.isfinite(halves)])
    exact = halves.astype(np.float32)
    np.testing.assert_array_equal(to_half(exact), halves)
    midpoints = ((exact[:-1] + exact[1:]) / 2).astype(np.float32)
    np.testing.assert_array_equal(to_half(midpoints), midpoints.astype(np.float16))


def test_what_half_cannot_hold_saturates() -> None:
    values = np.array([65504, 65519, 65520, 1e30, np.inf, -65520, -1e30, -np.inf], np.float32)
    largest = np.float16(65504)
    np.testing.assert_array_equal(to_half(values), [largest] * 5 + [-largest] * 3)


def test_sortable_bits_order_floats() -> None:
    """Through all exponents, both signs, subnormals and infinities."""
    bits = np.arange(0, 2**32, 65521, dtype=np.uint64).astype(np.uint32)
    values = np.concatenate(
        [bits.view(np.float32), np.array([np.inf, -np.inf, 1e-45, -1e-45], np.float32)]
    )
    values = np.unique(values[~np.isnan(values)])
    order = sortable(values).astype(np.int64)
    assert (np.diff(order) > 0).all()
    assert order[0] > 0, "0 has to be free to mean none"


def test_sortable_bits_know_one_zero_and_place_nan_at_the_ends() -> None:
    plus, minus = np.array([0x7FC00000, 0xFFFFFFFF], np.uint32).view(np.float32)
    low, minus_zero, zero, high, nan, minus_nan = sortable(
        np.array([-np.inf, -0.0, 0.0, np.inf, plus, minus], np.float32)
    ).tolist()
    assert minus_zero == zero
    assert 0 < minus_nan < low < zero < high < nan
