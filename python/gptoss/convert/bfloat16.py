"""bf16 numbers, held as uint16, in numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BFLOAT16_INFINITY = 0x7F80


def float32_from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Widen bf16 numbers, which is exact."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def bfloat16_from_float32(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round to the nearest bf16, ties to the even one; what is too large becomes infinite.

    NaN stays NaN.
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded: NDArray[np.uint16] = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    # Rounding could carry a NaN's fraction into its sign.
    not_a_number = (bits & 0x7FFFFFFF) > 0x7F800000
    if not_a_number.any():
        rounded[not_a_number] = 0x7FC0
    return rounded


def all_finite(bits: NDArray[np.uint16]) -> bool:
    """Whether no bf16 number is infinite or NaN."""
    return not bool(((bits & BFLOAT16_INFINITY) == BFLOAT16_INFINITY).any())
