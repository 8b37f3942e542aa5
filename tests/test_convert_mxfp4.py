"""The MXFP4 quantiser against a slow one that says what it means."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from checkpoints import dequantize_mxfp4, float32_from_bf16
from gptoss.convert.bfloat16 import all_finite, bfloat16_from_float32, float32_from_bfloat16
from gptoss.convert.mxfp4 import QuantizedMatrix, quantize_transposed
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

MAGNITUDES = [Fraction(value) for value in ("0", "1/2", "1", "3/2", "2", "3", "4", "6")]
LARGEST = 2.0**117  # from here on, a block's scale byte exceeds 241
LARGEST_EXPONENT_FIELD = 127 + 116


def rows_of_numbers(rows: int, columns: int) -> st.SearchStrategy[NDArray[np.float32]]:
    """Numbers of similar size, at any scale from subnormal to the largest allowed.

    With few mantissa bits, many of them lie halfway between two magnitudes.
    """

    def build(random_bits: bytes, exponent: int, mantissa_bits: int) -> NDArray[np.float32]:
        bits = np.frombuffer(random_bits, np.uint32)
        sign = bits & 0x80000000
        mantissa = bits & (0x7FFFFF >> (23 - mantissa_bits) << (23 - mantissa_bits))
        exponents = np.maximum(exponent - (bits >> 23 & 7).astype(np.int64), 0).astype(np.uint32)
        return (sign | exponents << 23 | mantissa).view(np.float32).reshape(rows, columns)

    size = 4 * rows * columns
    return st.builds(
        build,
        st.binary(min_size=size, max_size=size),
        st.integers(0, LARGEST_EXPONENT_FIELD),
        st.sampled_from([0, 1, 2, 3, 7, 23]),
    )


def quantize_rows(values: NDArray[np.float32]) -> QuantizedMatrix:
    """The quantiser for a matrix [rows, columns]."""
    return quantize_transposed(np.ascontiguousarray(values.T))


def slow_quantize(block: list[float]) -> tuple[int, list[int]]:
    """The scale byte and the codes of 32 numbers, in exact arithmetic."""
    largest = max(abs(Fraction(value)) for value in block)
    exponent = -127
    while largest >= Fraction(2) ** (exponent + 3):
        exponent += 1
    codes = []
    for value in block:
        scaled = abs(Fraction(value)) / Fraction(2) ** exponent
        distances = [abs(scaled - magnitude) for magnitude in MAGNITUDES]
        nearest = [code for code in range(8) if distances[code] == min(distances)]
        code = next((code for code in nearest if code % 2 == 0), nearest[0])
        codes.append(code + (8 if math.copysign(1, value) < 0 else 0))
    return exponent + 127, codes


@given(rows_of_numbers(1, 32))
def test_a_block_gets_the_scale_and_codes_of_exact_arithmetic(block: NDArray[np.float32]) -> None:
    quantized = quantize_rows(block)
    scale, codes = slow_quantize(block[0].tolist())
    assert quantized.scales.tolist() == [[scale]]
    packed = quantized.blocks[0, 0]
    assert np.stack([packed & 15, packed >> 4], axis=-1).ravel().tolist() == codes


@given(
    arrays(np.uint8, (3, 2, 16)),
    arrays(np.uint8, (3, 2), elements=st.integers(0, 239)),
)
def test_what_is_exact_in_mxfp4_stays_as_it_is(
    blocks: NDArray[np.uint8], scales: NDArray[np.uint8]
) -> None:
    values = dequantize_mxfp4(blocks, scales)
    quantized = quantize_rows(values)
    again = dequantize_mxfp4(quantized.blocks, quantized.scales)
    assert np.array_equal(again, values)
    assert np.array_equal(np.signbit(again), np.signbit(values))
    assert quantized.squared_error == 0


@given(rows_of_numbers(2, 64))
def test_errors_are_those_of_the_numbers_that_the_codes_stand_for(
    values: NDArray[np.float32],
) -> None:
    quantized = quantize_rows(values)
    written = dequantize_mxfp4(quantized.blocks, quantized.scales).astype(np.float64)
    exact = values.astype(np.float64)
    assert quantized.squared_error == pytest.approx(((written - exact) ** 2).sum(), rel=1e-6)
    assert quantized.squared_sum == pytest.approx((exact**2).sum(), rel=1e-6)


def test_a_block_of_zeros_has_zero_codes_and_the_smallest_scale() -> None:
    quantized = quantize_rows(np.zeros((1, 32), np.float32))
    assert not quantized.blocks.any()
    assert not quantized.scales.any()
    assert quantized.squared_error == quantized.squared_sum == 0


def test_blocks_do_not_influence_each_other() -> None:
    values = np.ones((2, 64), np.float32)
    values[0, 40] = 1000
    quantized = quantize_rows(values)
    assert quantized.scales.tolist() == [[125, 134], [125, 125]]
    assert np.unique(quantized.blocks[1]).tolist() == [0x66]  # 4 * 2^-2 = 1


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_infinities_and_nans_are_refused(value: float) -> None:
    values = np.ones((2, 64), np.float32)
    values[1, 63] = value
    with pytest.raises(ValueError, match="an infinity or a NaN"):
        quantize_rows(values)


def test_numbers_whose_scale_does_not_fit_are_refused() -> None:
    values = np.zeros((1, 32), np.float32)
    values[0, 3] = -np.nextafter(np.float32(LARGEST), np.float32(0))
    assert quantize_rows(values).scales.tolist() == [[241]]
    values[0, 3] = -LARGEST
    with pytest.raises(ValueError, match=r"1\.66e\+35, which needs the scale byte 242"):
        quantize_rows(values)


@given(arrays(np.float32, 8, elements=st.floats(width=32, allow_nan=False)))
def test_bf16_rounds_to_nearest_even(values: NDArray[np.float32]) -> None:
    rounded = bfloat16_from_float32(values)
    for value, result in zip(values.tolist(), rounded.tolist(), strict=True):
        below = int(np.float32(value).view(np.uint32)) >> 16  # towards zero
        remainder = int(np.float32(value).view(np.uint32)) & 0xFFFF
        up = remainder > 0x8000 or (remainder == 0x8000 and below % 2 == 1)
        assert result == below + up


@given(arrays(np.uint16, 16))
def test_bf16_survives_widening_and_rounding(bits: NDArray[np.uint16]) -> None:
    widened = float32_from_bfloat16(bits)
    assert np.array_equal(widened, float32_from_bf16(bits), equal_nan=True)
    assert np.array_equal(
        float32_from_bfloat16(bfloat16_from_float32(widened)), widened, equal_nan=True
    )
    assert all_finite(bits) == bool(np.isfinite(widened).all())
