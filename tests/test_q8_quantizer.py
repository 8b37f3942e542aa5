"""8-bit dense weights: what the quantiser makes of any bf16 numbers."""

from __future__ import annotations

import numpy as np
import pytest
from checkpoints import bf16_from_float32, float32_from_bf16
from gptoss.convert.q8 import dequantize, quantize
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

LARGEST = 127 * 65504  # what the largest fp16 scale is enough for
# Finite bf16 numbers up to 2^22, of either sign, subnormal ones included.
MAGNITUDES = st.integers(0, 0x4A80)
SIGNS = st.sampled_from([0, 0x8000])
NUMBERS = st.builds(lambda magnitude, sign: magnitude | sign, MAGNITUDES, SIGNS)
BLOCKS = st.lists(NUMBERS, min_size=32, max_size=32)


def blocks_of(*blocks: list[int]) -> NDArray[np.uint16]:
    return np.array(blocks, np.uint16)


@given(st.lists(BLOCKS, min_size=1, max_size=4))
def test_every_weight_is_at_most_half_a_scale_off(blocks: list[list[int]]) -> None:
    weights = blocks_of(*blocks)
    quantized = quantize(weights)
    values = float32_from_bf16(weights).astype(np.float64)
    scales = quantized.scales.astype(np.float64)
    found = dequantize(quantized.codes, quantized.scales).reshape(values.shape)
    # fp32 division may send what lies in the middle to either side.
    assert (np.abs(found - values) <= scales[:, None] * (0.5 + 1e-5)).all()
    assert np.abs(quantized.codes.astype(np.int32)).max() <= 127
    assert np.isfinite(scales).all()
    assert (scales >= 0).all()
    assert ((scales == 0) == (np.abs(values).max(axis=1) == 0)).all()


@given(BLOCKS)
def test_the_scale_is_the_largest_magnitude_over_127(block: list[int]) -> None:
    weights = blocks_of(block)
    largest = np.abs(float32_from_bf16(weights)).max()
    scale = quantize(weights).scales[0]
    nearest = np.float16(largest / np.float32(127))
    if largest <= 127.5 * np.float32(nearest):
        assert scale == nearest
    else:  # a subnormal number that rounding made too small
        assert scale == np.nextafter(nearest, np.float16(np.inf))
        assert scale < 2.0**-14


@given(BLOCKS, st.integers(1, 3))
def test_a_block_does_not_depend_on_its_neighbours(block: list[int], count: int) -> None:
    alone = quantize(blocks_of(block))
    together = quantize(blocks_of(*[[0x7F00 >> 1] * 32, *[block] * count]))
    for index in range(1, count + 1):
        np.testing.assert_array_equal(together.codes[32 * index : 32 * index + 32], alone.codes)
        assert together.scales[index] == alone.scales[0]


def test_many_slices_are_as_one() -> None:
    weights = bf16_from_float32(np.random.default_rng(0).standard_normal((40, 2880)) * 0.05)
    whole = quantize(weights)
    rows = [quantize(row) for row in weights]
    np.testing.assert_array_equal(whole.codes, np.concatenate([row.codes for row in rows]))
    np.testing.assert_array_equal(whole.scales, np.concatenate([row.scales for row in rows]))


def test_numbers_that_are_multiples_of_a_power_of_two_are_exact() -> None:
    random = np.random.default_rng(1)
    codes = random.integers(-127, 128, (64, 32))
    codes[:, 5] = 127
    values = (codes * 2.0 ** random.integers(-12, 3, (64, 1))).astype(np.float32)
    quantized = quantize(bf16_from_float32(values))
    np.testing.assert_array_equal(quantized.codes.reshape(64, 32), codes)
    np.testing.assert_array_equal(dequantize(quantized.codes, quantized.scales), values.ravel())


def test_the_smallest_numbers_get_the_smallest_scale() -> None:
    weights = bf16_from_float32(np.array([2.0**-26, 2.0**-24, 1.4 * 127 * 2.0**-24, 0] * 8))
    quantized = quantize(weights)
    assert quantized.scales[0] == np.float16(2 * 2.0**-24)  # 1.4 rounds to 1, which is too small
    assert abs(int(quantized.codes[2])) <= 127
    tiny = quantize(np.full(32, 1, np.uint16))  # the smallest bf16 number
    assert tiny.scales[0] == np.float16(2.0**-24)
    assert not tiny.codes.any()


def test_the_largest_numbers() -> None:
    largest = bf16_from_float32(np.full(32, LARGEST * 0.995))
    assert quantize(largest).codes[0] == 127
    with pytest.raises(ValueError, match="no fp16 scale is large enough"):
        quantize(bf16_from_float32(np.full(32, LARGEST * 1.01)))


@pytest.mark.parametrize("bits", [0x7F80, 0xFF80, 0x7FC0, 0x7F81])
def test_infinities_and_nan_are_refused(bits: int) -> None:
    weights = np.zeros(96, np.uint16)
    weights[70] = bits
    with pytest.raises(ValueError, match="an infinity or a NaN"):
        quantize(weights)


def test_nothing_is_nothing() -> None:
    quantized = quantize(np.zeros((0, 64), np.uint16))
    assert len(quantized.codes) == len(quantized.scales) == 0
