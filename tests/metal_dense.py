"""Dense weights in the two formats of the Metal kernels, for their tests and measurements."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from metal_kernels import int8_blocks_to_float, random_bf16, random_int8_blocks
from reference import Array, bf16_to_float

Format = Literal["bf16", "int8"]
FORMATS: tuple[Format, ...] = ("bf16", "int8")


@dataclass(frozen=True)
class DenseWeights:
    buffers: dict[int, Array]  # 1: the weights, 2: their scales, where the format has them
    values: Array  # [rows, columns] in float64


def random_weights(
    rng: np.random.Generator, weight_format: Format, rows: int, columns: int
) -> DenseWeights:
    """Weights around 1 / sqrt(columns), so that products stay around the input's magnitude."""
    scale = columns**-0.5
    if weight_format == "bf16":
        bits = random_bf16(rng, rows, columns, scale=scale)
        return DenseWeights({1: bits}, bf16_to_float(bits).astype(np.float64))
    codes, scales = random_int8_blocks(rng, rows, columns, scale=scale)
    return DenseWeights({1: codes, 2: scales}, int8_blocks_to_float(codes, scales))


def few_rows_form(num_rows: int, forms: tuple[int, ...]) -> int:
    """The form of a few-row kernel to launch: the smallest that holds all rows."""
    return next(form for form in forms if num_rows <= form)
