"""The items of which a model.bin consists: each knows its size and makes its bytes in pieces."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gptoss.convert.bfloat16 import (
    all_finite,
    bfloat16_from_float32,
    float32_from_bfloat16,
)
from gptoss.convert.checkpoint_config import HEAD_DIM
from gptoss.convert.checkpoint_weights import ExpertMatrix, Mxfp4Experts, TensorRows
from gptoss.convert.mxfp4 import BLOCK_LENGTH, SCALE_OFFSET, QuantizedMatrix, quantize_transposed
from gptoss.convert.safetensors_file import StoredTensor, TensorBytes
from gptoss.errors import ConversionError

# Bytes that are read, transformed and written at a time.
PIECE_BYTES = 8 * 2**20
# Rows of a float matrix that are quantised at a time: few enough for a processor's cache.
QUANTIZED_ROWS = 128
MAX_QUANTIZING_THREADS = 8


@dataclass
class Workspace:
    """What the items share while they make bytes: a reused buffer, and what is to be reported."""

    buffer: NDArray[np.uint8] = field(default_factory=lambda: np.empty(PIECE_BYTES, np.uint8))
    squared_error: float = 0.0
    squared_sum: float = 0.0

    def read(self, stored: TensorBytes) -> NDArray[np.uint8]:
        """Read bytes of a tensor; they last until the next call."""
        if stored.num_bytes > len(self.buffer):
            self.buffer = np.empty(stored.num_bytes, np.uint8)
        content = self.buffer[: stored.num_bytes]
        stored.tensor.read_into(stored.first_byte, content)
        return content

    @property
    def relative_error(self) -> float:
        """The root mean square of all quantisation errors over that of the numbers before."""
        return math.sqrt(self.squared_error / self.squared_sum) if self.squared_sum else 0.0


# Bytes to write, or bytes of the checkpoint to copy as they are.
Piece = NDArray[Any] | TensorBytes


class Item(Protocol):
    """A stretch of a model.bin."""

    @property
    def num_bytes(self) -> int:
        """The size in the file."""

    def pieces(self, workspace: Workspace) -> Iterator[Piece]:
        """Make the bytes, in order; each piece is to be written before the next one is made."""


@dataclass(frozen=True)
class BytesItem:
    """Bytes that are there already."""

    content: bytes

    @property
    def num_bytes(self) -> int:
        """The size in the file."""
        return len(self.content)

    def pieces(self, workspace: Workspace) -> Iterator[Piece]:
        """Yield the content."""
        yield np.frombuffer(self.content, np.uint8)


@dataclass(frozen=True)
class BFloat16Item:
    """Rows as bf16, rounded if they are stored wider."""

    rows: TensorRows

    @property
    def num_bytes(self) -> int:
        """The size in the file."""
        return 2 * self.rows.num_rows * self.rows.row_length

    def pieces(self, workspace: Workspace) -> Iterator[Piece]:
        """Yield some rows at a time."""
        for first_row, num_rows in _row_pieces(self.rows, 1):
            if self.rows.tensor.dtype == "BF16":
                yield _stored_bytes(self.rows, first_row, num_rows)
            else:
                yield _read_bfloat16(workspace, self.rows, first_row, num_rows)


@dataclass(frozen=True)
class RotaryHeadsItem:
    """Query or key rows: within each head, pairs of rows that RoPE turns together become
    neighbours.

    New row 2j + s of a head is old row 32s + j. All numbers are multiplied by a power of two.
    """

    rows: TensorRows
    factor: float

    @property
    def num_bytes(self) -> int:
        """The size in the file."""
        return 2 * self.rows.num_rows * self.rows.row_length

    def pieces(self, workspace: Workspace) -> Iterator[Piece]:
        """Yield some heads at a time."""
        row_length = self.rows.row_length
        for first_row, num_rows in _row_pieces(self.rows, HEAD_DIM):
            stored = _read_bfloat16(workspace, self.rows, first_row, num_rows)
            halves = stored.reshape(num_rows // HEAD_DIM, 2, HEAD_DIM // 2, row_length)
            pairs = float32_from_bfloat16(halves.swapaxes(1, 2))
            pairs *= np.float32(self.factor)
            yield bfloat16_from_float32(pairs)


@dataclass(frozen=True)
class ExpertMatrixItem:
    """One matrix of one expert: MXFP4 codes, then, on a multiple of 16, scale bytes plus 14."""

    matrix: ExpertMatrix
    expert: int

    @property
    def num_bytes(self) -> int:
        """The size in the file."""
        _, rows, columns = self._shape()
        num_blocks = rows * columns // BLOCK_LENGTH
        # A multiple of 16, so that the scales follow without padding.
        return num_blocks * (BLOCK_LENGTH // 2) + num_blocks

    def _shape(self) -> tuple[int, int, int]:
        """Return experts, rows, columns."""
        if isinstance(self.matrix, Mxfp4Experts):
            experts, rows, blocks = self.matrix.scales.shape
            return experts, rows, blocks * BLOCK_LENGTH
        experts, columns, rows = self.matrix.weight.shape
        return experts, rows, columns

    def pieces(self, workspace: Workspace) -> Iterator[Piece]:
        """Yield codes, some megabytes at a time, and then the scales."""
        if isinstance(self.matrix, Mxfp4Experts):
            yield from self._stored_pieces(self.matrix.blocks)
            for scales in self._stored_pieces(self.matrix.scales):
                yield workspace.read(scales) + np.uint8(SCALE_OFFSET)
        else:
            yield from self._quantized_pieces(workspace, self.matrix.weight)

    def _stored_pieces(self, tensor: StoredTensor) -> Iterator[TensorBytes]:
        expert_bytes = tensor.num_bytes // tensor.shape[0]
        for first_byte in range(0, expert_bytes, PIECE_BYTES):
            num_bytes = min(PIECE_BYTES, expert_bytes - first_byte)
            yield TensorBytes(tensor, self.expert * expert_bytes + first_byte, num_bytes)

    def _quantized_pieces(
        self, workspace: Workspace, tensor: StoredTensor
    ) -> Iterator[NDArray[Any]]:
        _, num_rows, num_columns = self._shape()
        # Stored as [columns, rows], so that a few rows are strewn over the whole expert.
        stored = TensorRows(tensor, self.expert * num_columns, num_columns, num_rows)
        values = _read_floats(workspace, stored, 0, num_columns)

        def quantize(first_row: int) -> QuantizedMatrix:
            rows = slice(first_row, first_row + QUANTIZED_ROWS)
            return quantize_transposed(_as_float32(values[:, rows]))

        scales = []
        # numpy lets other threads run while it computes.
        with ThreadPoolExecutor(min(os.cpu_count() or 1, MAX_QUANTIZING_THREADS)) as pool:
            try:
                for quantized in pool.map(quantize, range(0, num_rows, QUANTIZED_ROWS)):
                    workspace.squared_error += quantized.squared_error
                    workspace.squared_sum += quantized.squared_sum
                    scales.append(quantized.scales)
                    yield quantized.blocks
            except ValueError as error:
                raise ConversionError(
                    f"The tensor {tensor.name} in {tensor.file.path.name} cannot be quantised: "
                    f"in expert {self.expert}, {error}."
                ) from None
        yield np.concatenate(scales) + np.uint8(SCALE_OFFSET)


def expert_bias(bias: StoredTensor, expert: int) -> BFloat16Item:
    """Return one expert's row of a bias [experts, rows]."""
    return BFloat16Item(TensorRows(bias, expert, 1, bias.shape[1]))


def _row_pieces(rows: TensorRows, multiple: int) -> Iterator[tuple[int, int]]:
    """Yield (first row, number of rows), multiples of `multiple`, of pieces of bounded size."""
    row_bytes = rows.row_length * rows.tensor.bytes_per_element
    step = max(1, PIECE_BYTES // (row_bytes * multiple)) * multiple
    for first_row in range(0, rows.num_rows, step):
        yield first_row, min(step, rows.num_rows - first_row)


def _stored_bytes(rows: TensorRows, first_row: int, num_rows: int) -> TensorBytes:
    """Return where some of the rows are stored."""
    row_bytes = rows.row_length * rows.tensor.bytes_per_element
    return TensorBytes(rows.tensor, (rows.first_row + first_row) * row_bytes, num_rows * row_bytes)


def _read_floats(
    workspace: Workspace, rows: TensorRows, first_row: int, num_rows: int
) -> NDArray[Any]:
    """Read rows as they are stored: uint16 for bf16, float16 or float32. [rows, row length]."""
    tensor = rows.tensor
    content = workspace.read(_stored_bytes(rows, first_row, num_rows))
    numpy_type: dict[str, np.dtype[Any]] = {
        "BF16": np.dtype("<u2"),
        "F16": np.dtype("<f2"),
        "F32": np.dtype("<f4"),
    }
    return content.view(numpy_type[tensor.dtype]).reshape(num_rows, rows.row_length)


def _as_float32(stored: NDArray[Any]) -> NDArray[np.float32]:
    """Widen what `_read_floats` gave, and make it contiguous."""
    if stored.dtype == np.uint16:
        return np.ascontiguousarray(float32_from_bfloat16(stored))
    return np.ascontiguousarray(stored, np.float32)


def _read_bfloat16(
    workspace: Workspace, rows: TensorRows, first_row: int, num_rows: int
) -> NDArray[np.uint16]:
    """Read rows as bf16. [rows, row length]."""
    stored = _read_floats(workspace, rows, first_row, num_rows)
    if stored.dtype == np.uint16:
        return stored
    rounded = bfloat16_from_float32(_as_float32(stored))
    if not all_finite(rounded):
        raise ConversionError(
            f"The tensor {rows.tensor.name} in {rows.tensor.file.path.name} holds an infinity, a "
            "NaN or a number too large for bf16."
        )
    return rounded
