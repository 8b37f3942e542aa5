"""Quantising to MXFP4, the format of gpt-oss's expert weights, as the OCP Microscaling standard has
it.

A block is 32 neighbouring numbers of a row: 32 codes of 4 bits and one scale byte, which is a power
of two with bias 127. A code is a sign (bit 3) and one of the
magnitudes 0, 0.5, 1, 1.5, 2, 3, 4 and 6.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK_LENGTH = 32
# The exponent of the largest magnitude, 6 = 1.5 * 2^2: a block's largest number is scaled to [4,
# 8).
LARGEST_EXPONENT = 2
# model.bin holds every scale byte plus 14, and what exceeded 255 would wrap.
SCALE_OFFSET = 14
MAX_SCALE = 255 - SCALE_OFFSET


@dataclass(frozen=True)
class QuantizedMatrix:
    """A matrix in MXFP4, and what was lost."""

    blocks: NDArray[np.uint8]  # [rows, columns / 32, 16], element 2j in the low nibble of byte j
    scales: NDArray[np.uint8]  # [rows, columns / 32]
    squared_error: float  # summed over all elements
    squared_sum: float  # of the numbers before


def quantize_transposed(values: NDArray[np.float32]) -> QuantizedMatrix:
    """Quantise a matrix that is given as [columns, rows], columns a multiple of 32.

    Codes are the nearest, ties to the even. A block's scale is 2^(floor(log2 m) - 2) for its
    largest magnitude m, but not below 2^-127. What exceeds 6 times the scale becomes that. Raises
    ValueError for an infinity, a NaN, and a number so large that its scale byte exceeds 241 (2^117
    and above).
    """
    columns, rows = values.shape
    blocked = values.reshape(columns // BLOCK_LENGTH, BLOCK_LENGTH, rows)
    magnitude = np.abs(blocked)
    scales = _scales(magnitude.max(axis=1))
    # A power of two, within float32's range: nothing is rounded before the codes.
    magnitude *= np.ldexp(np.float32(1), 127 - scales)[:, None]
    codes, nearest = _nearest(magnitude)
    # Over a block in float32, where all numbers are below 8; further in float64, where the squares
    # of all scales can be expressed.
    squared_scales = np.ldexp(1.0, 2 * (scales - 127))
    squared_sums = np.einsum("bkr,bkr->br", magnitude, magnitude)
    nearest -= magnitude
    squared_errors = np.einsum("bkr,bkr->br", nearest, nearest)
    codes |= np.signbit(blocked).view(np.uint8) << np.uint8(3)
    blocks = codes[:, 0::2] | (codes[:, 1::2] << np.uint8(4))
    return QuantizedMatrix(
        blocks=np.ascontiguousarray(blocks.transpose(2, 0, 1)),
        scales=scales.T.astype(np.uint8, order="C"),
        squared_error=float((squared_errors * squared_scales).sum()),
        squared_sum=float((squared_sums * squared_scales).sum()),
    )


def _scales(largest: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return the scale bytes of blocks with these largest magnitudes."""
    # A float32's exponent field is floor(log2 m) + 127, and 0 for zero and subnormals.
    exponents = (largest.view(np.uint32) >> 23).astype(np.int32)
    largest_scale = int(exponents.max()) - LARGEST_EXPONENT
    if largest_scale > MAX_SCALE:
        if exponents.max() == 255:
            raise ValueError("it holds an infinity or a NaN")
        raise ValueError(
            f"it holds {largest.max():.3g}, which needs the scale byte {largest_scale}: the "
            f"largest that model.bin can hold is {MAX_SCALE}"
        )
    return np.maximum(exponents - LARGEST_EXPONENT, 0)


def _nearest(
    magnitude: NDArray[np.float32],
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the codes 0 to 7 that are nearest to numbers below 8, and what they stand for."""
    # Magnitudes are 1/2 apart up to 2, then 1 apart up to 4, then 2 apart. Rounding to each of the
    # three grids gives the right code in its own range and one too large outside, so the least is
    # right; and so is, on the way back, the largest.
    codes = np.rint(magnitude * 2)
    grid = np.rint(magnitude)
    grid += 2
    np.minimum(codes, grid, out=codes)
    np.rint(magnitude / 2, out=grid)
    grid += 4
    np.minimum(codes, grid, out=codes)
    np.minimum(codes, 7, out=codes)
    nearest: NDArray[np.float32] = codes * np.float32(0.5)
    np.subtract(codes, 2, out=grid)
    np.maximum(nearest, grid, out=nearest)
    np.multiply(grid, 2, out=grid)
    grid -= 4
    np.maximum(nearest, grid, out=nearest)
    return codes.astype(np.uint8), nearest
