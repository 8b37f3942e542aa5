"""Quantising to MXFP4, the format of gpt-oss's expert weights, as the OCP Microscaling standard has
it.

A block is 32 neighbouring numbers of a row: 32 codes of 4 bits and one scale byte, which is a power
of two with bias 127. A code is a sign (bit 3) and one of eight magnitudes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK_LENGTH = 32
MAGNITUDES = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
# The exponent of the largest magnitude, 6 = 1.5 * 2^2: a block's largest number is scaled to [4,
# 8).
LARGEST_EXPONENT = 2
# model.bin holds every scale byte plus 14, and what exceeded 255 would wrap.
SCALE_OFFSET = 14
MAX_SCALE = 255 - SCALE_OFFSET


@dataclass(frozen=True)
class QuantizedRows:
    """Rows of numbers in MXFP4, and what was lost."""

    blocks: NDArray[np.uint8]  # [rows, columns / 32, 16], element 2j in the low nibble of byte j
    scales: NDArray[np.uint8]  # [rows, columns / 32]
    squared_error: float  # summed over all elements
    squared_sum: float  # of the numbers before


def quantize_rows(values: NDArray[np.float32]) -> QuantizedRows:
    """Quantise [rows, columns], columns a multiple of 32, to the nearest codes, ties to the even.

    A block's scale is 2^(floor(log2 m) - 2) for its largest magnitude m, but not below 2^-127. What
    exceeds 6 times the scale becomes that. Raises ValueError for an infinity, a NaN, and a number
    so large that its scale byte exceeds 241 (2^117 and above).
    """
    rows, columns = values.shape
    blocked = values.reshape(rows, columns // BLOCK_LENGTH, BLOCK_LENGTH)
    magnitude = np.abs(blocked)
    largest = magnitude.max(axis=-1)
    # A float32's exponent field is floor(log2 m) + 127, and 0 for zero and subnormals.
    exponent = (largest.view(np.uint32) >> 23).astype(np.int32)
    largest_scale = int(exponent.max(initial=0)) - LARGEST_EXPONENT
    if largest_scale > MAX_SCALE:
        if exponent.max() == 255:
            raise ValueError("it holds an infinity or a NaN")
        raise ValueError(
            f"it holds {largest.max():.3g}, which needs the scale byte {largest_scale}: the "
            f"largest that model.bin can hold is {MAX_SCALE}"
        )
    scales = np.maximum(exponent - LARGEST_EXPONENT, 0)
    # Both factors are powers of two, within float32's range: nothing is rounded before the codes.
    scale_factor = np.ldexp(np.float32(1), scales - 127)[..., None]
    magnitude *= np.ldexp(np.float32(1), 127 - scales)[..., None]
    codes = _nearest_magnitude(magnitude)
    error = magnitude - MAGNITUDES[codes]
    error *= scale_factor
    codes |= np.signbit(blocked).astype(np.uint8) << np.uint8(3)
    return QuantizedRows(
        blocks=codes[..., 0::2] | (codes[..., 1::2] << np.uint8(4)),
        scales=scales.astype(np.uint8),
        squared_error=_sum_of_squares(error),
        squared_sum=_sum_of_squares(values),
    )


def _nearest_magnitude(magnitude: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the codes of the nearest magnitudes, ties to the even code, of numbers below 8."""
    # Magnitudes are 1/2 apart up to 2, then 1 apart up to 4, then 2 apart. Each grid gives the
    # right code in its own range and a larger one outside, so the right one is the least.
    code = np.rint(magnitude * 2)
    np.minimum(code, np.rint(magnitude) + 2, out=code)
    np.minimum(code, np.rint(magnitude / 2) + 4, out=code)
    np.minimum(code, 7, out=code)
    return code.astype(np.uint8)


def _sum_of_squares(values: NDArray[np.float32]) -> float:
    # In float64: the squares of representable numbers overflow and underflow float32.
    return float(np.square(values, dtype=np.float64).sum())
