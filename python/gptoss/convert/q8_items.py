"""The items that a dense matrix in 8 bits consists of: its codes, and behind them its scales."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gptoss.convert.file_items import Item, Piece, Workspace
from gptoss.convert.q8 import BLOCK_LENGTH, quantize
from gptoss.convert.safetensors_file import TensorBytes
from gptoss.errors import ConversionError


@dataclass
class Q8Matrix:
    """A matrix on its way to 8 bits. The scales wait in memory until the codes are written."""

    name: str  # for people
    sources: Sequence[Item]  # its rows in bf16, one stretch after the other
    scales: list[NDArray[np.float16]] = field(default_factory=list)

    @property
    def num_elements(self) -> int:
        """Weights of the matrix."""
        return sum(source.num_bytes for source in self.sources) // 2

    def items(self) -> tuple[Q8CodesItem, Q8ScalesItem]:
        """Return the two items, in the order in which they are to be made."""
        return Q8CodesItem(self), Q8ScalesItem(self)


@dataclass(frozen=True)
class Q8CodesItem:
    """The codes of a matrix."""

    matrix: Q8Matrix

    @property
    def num_bytes(self) -> int:
        """The size in the file."""
        return self.matrix.num_elements

    def pieces(self, workspace: Workspace) -> Iterator[Piece]:
        """Quantise some rows at a time."""
        self.matrix.scales.clear()
        for source in self.matrix.sources:
            for piece in source.pieces(workspace):
                stored = workspace.read(piece) if isinstance(piece, TensorBytes) else piece
                try:
                    quantized = quantize(stored.reshape(-1).view("<u2"))
                except ValueError as error:
                    raise ConversionError(
                        f"The tensor {self.matrix.name} cannot be written in 8 bits: {error}."
                    ) from None
                self.matrix.scales.append(quantized.scales)
                yield quantized.codes


@dataclass(frozen=True)
class Q8ScalesItem:
    """The scales of a matrix whose codes were made before."""

    matrix: Q8Matrix

    @property
    def num_bytes(self) -> int:
        """The size in the file."""
        return self.matrix.num_elements // BLOCK_LENGTH * 2

    def pieces(self, workspace: Workspace) -> Iterator[Piece]:
        """Yield what the codes left."""
        yield from self.matrix.scales
        self.matrix.scales.clear()
