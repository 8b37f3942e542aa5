"""From a model.bin to a smaller one, whose dense matrices are in 8 bits."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gptoss.convert.checkpoint_weights import TensorRows
from gptoss.convert.file_header import SECTION_ALIGNMENT
from gptoss.convert.file_items import PIECE_BYTES, BFloat16Item, Item, Piece, Workspace
from gptoss.convert.file_layout import PlacedItem
from gptoss.convert.file_writer import Progress, weights_offset, write_items_with_table
from gptoss.convert.model_tensors import (
    EXPERT_ALIGNMENT,
    PlannedTensor,
    place_tensors,
    q8_matrix,
)
from gptoss.convert.output_file import check_destination
from gptoss.convert.problems import conversion_error
from gptoss.convert.q8_items import Q8Matrix
from gptoss.convert.safetensors_file import StoredTensor, TensorBytes
from gptoss.convert.source_file import SourceFile
from gptoss.convert.tensor_table import TENSOR_ALIGNMENT
from gptoss.errors import ConversionError

if TYPE_CHECKING:
    from gptoss.model import TensorInfo

# Where a header holds num_special_tokens, num_text_tokens, regex_size and tokens_size (u32 each);
# the special tokens' UUIDs of 16 bytes, the regex and the tokens follow.
TOKENIZER_SIZES_OFFSET = 132
# What a model may hold in 8 bits, apart from the blocks' projections.
DENSE_MATRICES = ("embedding.weight", "unembedding.weight")
DENSE_SUFFIXES = (".attn.qkv.weight", ".attn.out.weight")


@dataclass(frozen=True)
class RequantizationReport:
    """What a requantisation did."""

    source: Path
    destination: Path
    source_bytes: int
    num_bytes: int
    seconds: float
    num_quantized_tensors: int


def requantize(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str] | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> RequantizationReport:
    """Write a model.bin again, with its attention projections, embedding and unembedding in 8 bits.

    `destination` is by default the source's name with `-q8` before its suffix; `force` lets it
    replace a file, the source included. `progress(phase, bytes_done, bytes_total)` is called every
    few megabytes. As with `convert`, the file appears under its name only when it is complete.

    ConversionError, FileNotFoundError, ModelFormatError: the source cannot be read or requantised.
    """
    from gptoss.model import Model

    begin = time.monotonic()
    source = Path(source)
    destination = default_destination(source) if destination is None else Path(destination)
    # The library has validated what it tells of a file.
    tensors = Model(source, "cpu").tensors
    quantized = [tensor for tensor in tensors if _is_bf16_matrix(tensor)]
    if not quantized:
        raise ConversionError(f"The dense weights of {source} are in 8 bits already.")

    file = SourceFile(source)
    try:
        header = _read_header(file)
        planned = [planned for tensor in tensors for planned in _planned(tensor)]
        entries = place_tensors(planned, weights_offset(header, len(planned)))
        items = [item for tensor in tensors for item in _items(tensor, file)]
        placed = [
            PlacedItem(entry.offset, item) for entry, item in zip(entries, items, strict=True)
        ]
        problems = check_destination(destination, placed[-1].end, force)
        if problems:
            raise conversion_error(source, problems)
        write_items_with_table(
            header,
            entries,
            placed,
            destination,
            force,
            Workspace(),
            progress or (lambda phase, done, total: None),
        )
    finally:
        file.close()
    return RequantizationReport(
        source=source,
        destination=destination,
        source_bytes=file.num_bytes,
        num_bytes=placed[-1].end,
        seconds=time.monotonic() - begin,
        num_quantized_tensors=len(quantized),
    )


def default_destination(source: Path) -> Path:
    """Return the source's name with `-q8` before its suffix."""
    return source.with_name(f"{source.stem}-q8{source.suffix}")


def _read_header(file: SourceFile) -> bytes:
    """Read up to the end of the vocabulary."""
    start = file.read(0, TOKENIZER_SIZES_OFFSET + 16)
    num_special, _, regex_size, tokens_size = struct.unpack_from(
        "<4I", start, TOKENIZER_SIZES_OFFSET
    )
    return file.read(0, len(start) + 16 * num_special + regex_size + tokens_size)


def _is_bf16_matrix(tensor: TensorInfo) -> bool:
    is_dense = tensor.name in DENSE_MATRICES or tensor.name.endswith(DENSE_SUFFIXES)
    return is_dense and tensor.dtype == "bf16"


def _planned(tensor: TensorInfo) -> Iterator[PlannedTensor]:
    if _is_bf16_matrix(tensor):
        num_outputs, num_inputs = tensor.shape
        yield from q8_matrix(tensor.name, num_outputs, num_inputs)
        return
    if ".experts." not in tensor.name:
        alignment = TENSOR_ALIGNMENT
    elif tensor.name.endswith(".experts.0.mlp1_weight.blocks"):
        alignment = SECTION_ALIGNMENT
    else:
        alignment = EXPERT_ALIGNMENT
    yield PlannedTensor(tensor.name, tensor.dtype, tensor.shape, alignment)


@dataclass(frozen=True)
class _CopyItem:
    """A tensor's bytes as they are."""

    tensor: StoredTensor

    @property
    def num_bytes(self) -> int:
        """The size in the file."""
        return self.tensor.num_bytes

    def pieces(self, workspace: Workspace) -> Iterator[Piece]:
        """Yield some megabytes at a time."""
        for first in range(0, self.num_bytes, PIECE_BYTES):
            yield TensorBytes(self.tensor, first, min(PIECE_BYTES, self.num_bytes - first))


def _items(tensor: TensorInfo, file: SourceFile) -> Iterator[Item]:
    dtype = "BF16" if tensor.dtype == "bf16" else "U8"
    stored = StoredTensor(tensor.name, dtype, tensor.shape, file, tensor.offset, tensor.num_bytes)
    if _is_bf16_matrix(tensor):
        num_outputs, num_inputs = tensor.shape
        rows = BFloat16Item(TensorRows(stored, 0, num_outputs, num_inputs))
        yield from Q8Matrix(tensor.name, (rows,)).items()
    else:
        yield _CopyItem(stored)
