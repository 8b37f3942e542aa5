"""Quantising dense weights to 8 bits: 32 codes along a row share an fp16 scale.

A block's scale is its largest magnitude over 127, rounded to the nearest fp16 number; if that is so
small that the largest magnitude would need a code above 127, the next fp16 number. Each code is the
weight over the scale, rounded to nearest even. A block of zeros has the scale 0, and codes 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK_LENGTH = 32
MAX_CODE = 127
# Numbers that are quantised at a time: few enough for a processor's cache.
SLICE_LENGTH = 32 * 1024
BFLOAT16_MAGNITUDE = np.uint16(0x7FFF)
BFLOAT16_INFINITY = 0x7F80


@dataclass(frozen=True)
class QuantizedRows:
    """What a stretch of weights became."""

    codes: NDArray[np.int8]  # [elements]
    scales: NDArray[np.float16]  # [elements / 32]


def quantize(weights: NDArray[np.uint16]) -> QuantizedRows:
    """Quantise bf16 numbers whose rows are whole blocks: their number is a multiple of 32.

    ValueError: a number is infinite, NaN or too large for any scale.
    """
    flat = np.ascontiguousarray(weights).reshape(-1)
    codes = np.empty(len(flat), np.int8)
    scales = np.empty(len(flat) // BLOCK_LENGTH, np.float16)
    for first in range(0, len(flat), SLICE_LENGTH):
        part = slice(first, min(first + SLICE_LENGTH, len(flat)))
        blocks = slice(part.start // BLOCK_LENGTH, part.stop // BLOCK_LENGTH)
        _quantize_slice(flat[part], codes[part], scales[blocks])
    return QuantizedRows(codes, scales)


def dequantize(codes: NDArray[np.int8], scales: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return the values that codes stand for, each exactly. [elements]."""
    blocks = codes.reshape(-1, BLOCK_LENGTH).astype(np.float32)
    blocks *= scales.reshape(-1, 1).astype(np.float32)
    return blocks.reshape(-1)


def _quantize_slice(
    weights: NDArray[np.uint16], codes: NDArray[np.int8], scales: NDArray[np.float16]
) -> None:
    blocks = weights.reshape(-1, BLOCK_LENGTH)
    largest_bits = _largest_magnitudes(blocks)
    if int(largest_bits.max(initial=0)) >= BFLOAT16_INFINITY:
        raise ValueError("it holds an infinity or a NaN")
    largest = (largest_bits.astype(np.uint32) << 16).view(np.float32)
    scales[:] = _scales(largest)
    # 1 in place of 0, so that zeros are divided by something.
    divisors = scales.astype(np.float32)
    divisors[divisors == 0] = 1
    values = (blocks.astype(np.uint32) << 16).view(np.float32)
    values /= divisors[:, None]
    np.rint(values, out=values)
    codes.reshape(-1, BLOCK_LENGTH)[:] = values


def _largest_magnitudes(blocks: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return the largest magnitude of each block, as bf16: in the order of their bits."""
    halves: NDArray[np.uint16] = blocks & BFLOAT16_MAGNITUDE
    while halves.shape[1] > 1:
        middle = halves.shape[1] // 2
        halves = np.maximum(halves[:, :middle], halves[:, middle:])
    largest: NDArray[np.uint16] = halves[:, 0]
    return largest


def _scales(largest: NDArray[np.float32]) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        scales: NDArray[np.float16] = (largest / np.float32(MAX_CODE)).astype(np.float16)
    if np.isinf(scales).any():
        raise ValueError(
            f"it holds {float(largest.max()):g}, for which no fp16 scale is large enough"
        )
    # Among the subnormal numbers rounding may take off so much that the code would not fit.
    too_small = largest > (MAX_CODE + 0.5) * scales.astype(np.float32)
    if too_small.any():
        scales[too_small] = np.nextafter(scales[too_small], np.float16(np.inf))
    return scales
