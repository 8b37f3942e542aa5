"""half and bfloat: every value, every way of rounding, the same by both compilers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from metal_host.tests.shim_support import (
    Array,
    assert_same_bits,
    both_compilers,
    run_each,
    shim_kernels,
)

ALL_HALVES = np.arange(65536, dtype=np.uint16).view(np.float16)


def upper_halves_as_floats(bits: Array) -> Array:
    """The values of bfloats, given as their bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


ALL_BFLOATS = upper_halves_as_floats(np.arange(65536, dtype=np.uint16))


def floats_around(values: Array) -> Array:
    """Floats at which rounding to the 16-bit format with these values may go wrong.

    The values themselves, the ties between neighbours, and the floats next to both.
    """
    finite = np.unique(values[np.isfinite(values)].astype(np.float64))
    ties = (finite[1:] + finite[:-1]) / 2
    overflow = finite[-1] + (finite[-1] - finite[-2]) / 2  # what rounds to infinity by the format
    with np.errstate(over="ignore"):
        centres = np.concatenate([finite, ties, [overflow, -overflow]]).astype(np.float32)
    special = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-45, 3e38], np.float32)
    infinity = np.float32(np.inf)
    with np.errstate(over="ignore", under="ignore"):
        near = [centres, np.nextafter(centres, infinity), np.nextafter(centres, -infinity)]
    all_of_them = np.concatenate([*near, special])
    return np.concatenate([all_of_them, np.zeros(-len(all_of_them) % 4, np.float32)])


def nearest_bfloats(values: Array) -> Array:
    """The bits of the bfloat nearest to each float, ties to even bits: by distances in float64."""
    lower = (values.view(np.uint32) >> 16).astype(np.uint32)  # towards zero
    upper = lower + 1
    with np.errstate(invalid="ignore", over="ignore"):
        exact = np.abs(values.astype(np.float64))
        below = np.abs(upper_halves_as_floats(lower).astype(np.float64))
        above = np.abs(upper_halves_as_floats(upper).astype(np.float64))
        # What lies beyond the largest bfloat is where the next one would be.
        above = np.where(np.isinf(above), 2.0**128, above)
        choose_upper = (above - exact < exact - below) | (
            (above - exact == exact - below) & (lower % 2 == 1)
        )
    chosen = np.where(choose_upper & np.isfinite(values), upper, lower).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), chosen).astype(np.uint16)


@both_compilers
@pytest.mark.parametrize(("kernel", "width"), [("half_to_float", 1), ("half4_to_float4", 4)])
def test_every_half_converts_to_its_value(compiler: str, kernel: str, width: int) -> None:
    output = np.full(65536, 7, np.float32)
    run_each(shim_kernels("half", compiler), kernel, ALL_HALVES, output, threads=65536 // width)
    assert_same_bits(output, ALL_HALVES.astype(np.float32), lambda i: f"half 0x{i:04X}")


@both_compilers
@pytest.mark.parametrize(("kernel", "width"), [("float_to_half", 1), ("float4_to_half4", 4)])
def test_floats_round_to_the_nearest_half(compiler: str, kernel: str, width: int) -> None:
    values = floats_around(ALL_HALVES)
    output = np.full(len(values), 7, np.float16)
    run_each(shim_kernels("half", compiler), kernel, values, output, threads=len(values) // width)
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    assert_same_bits(output, expected, lambda i: f"half({values[i]!r})")


@both_compilers
def test_every_bfloat_converts_to_its_value(compiler: str) -> None:
    output = np.full(65536, 7, np.float32)
    bits = np.arange(65536, dtype=np.uint16)
    run_each(shim_kernels("half", compiler), "bfloat_to_float", bits, output, threads=65536)
    assert_same_bits(output, ALL_BFLOATS, lambda i: f"bfloat 0x{i:04X}")


@both_compilers
@pytest.mark.parametrize(("kernel", "width"), [("float_to_bfloat", 1), ("float4_to_bfloat4", 4)])
def test_floats_round_to_the_nearest_bfloat(compiler: str, kernel: str, width: int) -> None:
    values = floats_around(ALL_BFLOATS)
    output = np.full(len(values), 7, np.uint16)
    run_each(shim_kernels("half", compiler), kernel, values, output, threads=len(values) // width)
    assert_same_bits(
        upper_halves_as_floats(output),
        upper_halves_as_floats(nearest_bfloats(values)),
        lambda i: f"bfloat({values[i]!r})",
    )


def test_a_nan_does_not_become_infinite_when_its_lower_bits_are_cut_off() -> None:
    signaling = np.array([0x7F800001, 0xFF800001], np.uint32).view(np.float32)
    output = np.zeros(2, np.uint16)
    run_each(shim_kernels("half"), "float_to_bfloat", signaling, output, threads=2)
    assert np.isnan(upper_halves_as_floats(output)).all(), [hex(bits) for bits in output]


def pairs_of_halves() -> tuple[Array, Array]:
    """Every half with a random one, and pairs of similar size, whose sums round."""
    random = np.random.default_rng(4)
    anything = random.integers(0, 65536, 65536, dtype=np.uint16).view(np.float16)
    similar = (np.arange(65536) + random.integers(-4096, 4096, 65536)).astype(np.uint16)
    return np.tile(ALL_HALVES, 2), np.concatenate([anything, similar.view(np.float16)])


@both_compilers
def test_every_operation_of_halves_rounds_to_half(compiler: str) -> None:
    a, b = pairs_of_halves()
    output = np.full((len(a), 8), 7, np.float16)
    run_each(shim_kernels("half", compiler), "half_arithmetic", a, b, output, threads=len(a))
    with np.errstate(all="ignore"):
        expected = [
            a + b,
            a - b,
            a * b,
            a / b,
            a * b + a,
            np.sqrt(np.abs(a)),
            (a + b) * np.float16(2),
        ]
    names = ["a + b", "a - b", "a * b", "a / b", "a * b + a", "sqrt(abs(a))", "(a + b) * 2"]
    for column, (name, values) in enumerate(zip(names, expected, strict=True)):

        def describe(i: int, operation: str = name) -> str:
            return f"{operation} of {a[i]}, {b[i]}"

        assert_same_bits(output[:, column].copy(), values, describe)
    ordered = ~(np.isnan(a) | np.isnan(b)) & ~((a == 0) & (b == 0))
    assert (output[ordered, 7] == np.maximum(a, b)[ordered]).all()


@both_compilers
def test_vectors_of_halves_compute_as_halves_do(compiler: str) -> None:
    a, b = pairs_of_halves()
    output = np.full((len(a) // 4, 5, 4), 7, np.float16)
    run_each(shim_kernels("half", compiler), "half4_arithmetic", a, b, output, threads=len(a) // 4)
    with np.errstate(all="ignore"):
        expected = np.stack([a + b, a - b, a * b, a / b, a * b + a]).reshape(5, -1, 4)

    def describe(index: Any) -> str:
        element = 4 * index[0] + index[2]
        return f"operation {index[1]} of {a[element]}, {b[element]}"

    assert_same_bits(output, expected.transpose(1, 0, 2).copy(), describe)


@both_compilers
def test_a_half_and_a_float_make_a_float(compiler: str) -> None:
    random = np.random.default_rng(5)
    a = ALL_HALVES
    b = random.standard_normal(65536, dtype=np.float32)
    output = np.zeros(65536, np.float32)
    run_each(shim_kernels("half", compiler), "mixed_arithmetic", a, b, output, threads=65536)
    with np.errstate(all="ignore"):
        expected = a.astype(np.float32) * b + a.astype(np.float32)
    assert_same_bits(output, expected, lambda i: f"{a[i]} * {b[i]} + {a[i]}")


@both_compilers
def test_every_operation_of_bfloats_rounds_to_bfloat(compiler: str) -> None:
    random = np.random.default_rng(6)
    a_bits = np.arange(65536, dtype=np.uint16)
    b_bits = (a_bits + random.integers(-600, 600, 65536)).astype(np.uint16)
    output = np.zeros((65536, 4), np.uint16)
    compiled = shim_kernels("half", compiler)
    run_each(compiled, "bfloat_arithmetic", a_bits, b_bits, output, threads=65536)
    a, b = upper_halves_as_floats(a_bits), upper_halves_as_floats(b_bits)
    with np.errstate(all="ignore"):
        expected = np.stack([a + b, a - b, a * b, a / b], axis=1)
    assert_same_bits(
        upper_halves_as_floats(output),
        upper_halves_as_floats(nearest_bfloats(expected)),
        lambda i: f"operation {i[1]} of {a[i[0]]}, {b[i[0]]}",
    )


@both_compilers
def test_literals_and_constants_of_half(compiler: str) -> None:
    output = np.zeros(14, np.float16)
    run_each(shim_kernels("half", compiler), "half_constants", output, threads=1)
    limits = np.finfo(np.float16)
    expected = np.array(
        [
            *(0.1, 65504, 1e-7, 12, limits.max, limits.max, limits.min),
            *(limits.smallest_normal, limits.smallest_subnormal, limits.eps),
            *(np.inf, 1, 0.1, 2048),
        ],
        np.float16,
    )
    assert_same_bits(output, expected, lambda i: f"constant {i}")
