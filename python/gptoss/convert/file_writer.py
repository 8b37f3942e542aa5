"""Writing placed items to a file, in either layout of model.bin."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gptoss.convert.file_header import SECTION_ALIGNMENT
from gptoss.convert.file_items import PIECE_BYTES, Workspace
from gptoss.convert.file_layout import PlacedItem
from gptoss.convert.output_file import OutputFile
from gptoss.convert.safetensors_file import TensorBytes
from gptoss.convert.tensor_table import (
    TABLE_ALIGNMENT,
    TableEntry,
    table_bytes,
    with_table,
)

# Called with the name of the phase, the bytes done and the bytes in all.
Progress = Callable[[str, int, int], None]


def write_items(
    items: Sequence[PlacedItem],
    destination: Path,
    force: bool,
    workspace: Workspace,
    progress: Progress,
) -> None:
    """Write version 1.0: the first item is the header. What can be copied is not even read."""
    total = items[-1].end
    with OutputFile(destination, force) as output:
        for placed in items:
            output.write(bytes(placed.offset - output.num_bytes))
            for piece in placed.item.pieces(workspace):
                if isinstance(piece, TensorBytes):
                    _copy(piece, output, workspace)
                else:
                    output.write(piece)
                progress("writing", output.num_bytes, total)
            assert output.num_bytes == placed.end, placed
        output.commit()


def write_items_with_table(
    header: bytes,
    entries: Sequence[TableEntry],
    items: Sequence[PlacedItem],
    destination: Path,
    force: bool,
    workspace: Workspace,
    progress: Progress,
) -> None:
    """Write the layout with a table: `entries` without checksums, which are computed on the way.

    `header` is everything before the table. The items follow it, and make the entries' bytes.
    """
    total = items[-1].end
    checksums = _Checksums(entries)
    with OutputFile(destination, force) as output:
        for placed in items:
            output.write(bytes(placed.offset - output.num_bytes))
            for piece in placed.item.pieces(workspace):
                if isinstance(piece, TensorBytes):
                    piece.tensor.file.prefetch(piece.offset + piece.num_bytes, PIECE_BYTES)
                    content = workspace.read(piece)
                else:
                    content = np.ascontiguousarray(piece).reshape(-1).view(np.uint8)
                checksums.add(output.num_bytes, content)
                output.write(content)
                progress("writing", output.num_bytes, total)
            assert output.num_bytes == placed.end, placed
        output.replace_start(with_table(header, checksums.entries(), total))
        output.commit()


def weights_offset(header: bytes, num_tensors: int) -> int:
    """Return where the weights begin behind a header and its table."""
    end = len(header) + -len(header) % TABLE_ALIGNMENT + table_bytes(num_tensors)
    return end + -end % SECTION_ALIGNMENT


class _Checksums:
    """CRC-32 of every tensor, while the file's bytes come by in order."""

    def __init__(self, entries: Sequence[TableEntry]) -> None:
        self._entries = entries
        self._values = [0] * len(entries)
        self._index = 0

    def add(self, offset: int, content: NDArray[np.uint8]) -> None:
        """Note bytes that stand at an offset of the file."""
        end = offset + len(content)
        while self._index < len(self._entries):
            entry = self._entries[self._index]
            first, last = max(entry.offset, offset), min(entry.offset + entry.num_bytes, end)
            if first < last:
                part = content[first - offset : last - offset]
                self._values[self._index] = zlib.crc32(part.data, self._values[self._index])
            if entry.offset + entry.num_bytes > end:
                return
            self._index += 1

    def entries(self) -> list[TableEntry]:
        """Return the entries with their checksums."""
        assert self._index == len(self._entries)
        return [
            replace(entry, checksum=value)
            for entry, value in zip(self._entries, self._values, strict=True)
        ]


def _copy(stored: TensorBytes, output: OutputFile, workspace: Workspace) -> None:
    """Copy bytes of the checkpoint within the system or, where it cannot, through memory."""
    file = stored.tensor.file
    # What lies behind is soon needed: the disk reads it while these bytes are written.
    file.prefetch(stored.offset + stored.num_bytes, PIECE_BYTES)
    num_copied = output.copy(file.fileno(), stored.offset, stored.num_bytes)
    if num_copied < stored.num_bytes:
        rest = TensorBytes(
            stored.tensor, stored.first_byte + num_copied, stored.num_bytes - num_copied
        )
        output.write(workspace.read(rest))
