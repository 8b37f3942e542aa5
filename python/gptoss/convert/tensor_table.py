"""The table of tensors of a model.bin in our own layout (docs/model-format.md)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

TABLE_LAYOUT_UUID = UUID("af21ecd2-0873-4a1a-8723-f9067a5d4f5f").bytes
LAYOUT_UUID_OFFSET = 100
TABLE_ALIGNMENT = 64
TENSOR_ALIGNMENT = 64
DATA_TYPES = ("bf16", "mxfp4_blocks", "mxfp4_scales", "q8_codes", "q8_scales")
MAX_DIMS = 4

# Number of tensors, bytes of an entry, bytes of the file.
_TABLE_HEADER = struct.Struct("<IIQ")
# Name, data type, number of dimensions, shape, offset, bytes, CRC-32, zero.
_ENTRY = struct.Struct("<64sII4QQQII")
_CHECKSUM = struct.Struct("<I")


@dataclass(frozen=True)
class TableEntry:
    """What the table says about one tensor."""

    name: str
    dtype: str  # one of DATA_TYPES
    shape: tuple[int, ...]
    offset: int
    num_bytes: int
    checksum: int  # CRC-32 of its bytes


def table_bytes(num_tensors: int) -> int:
    """Return what a table takes, with the checksum behind it."""
    return _TABLE_HEADER.size + num_tensors * _ENTRY.size + _CHECKSUM.size


def with_table(header: bytes, entries: Sequence[TableEntry], file_bytes: int) -> bytes:
    """Return a file's bytes up to the end of the table.

    `header` is what stands before it, up to the end of the vocabulary and without padding; its
    layout is replaced by the one with a table.
    """
    start = LAYOUT_UUID_OFFSET
    head = header[:start] + TABLE_LAYOUT_UUID + header[start + len(TABLE_LAYOUT_UUID) :]
    head += bytes(-len(head) % TABLE_ALIGNMENT)
    table = _TABLE_HEADER.pack(len(entries), _ENTRY.size, file_bytes)
    content = head + table + b"".join(map(_pack_entry, entries))
    return content + _CHECKSUM.pack(zlib.crc32(content))


def _pack_entry(entry: TableEntry) -> bytes:
    name = entry.name.encode("ascii")
    assert 0 < len(name) < 64, entry
    shape = entry.shape + (0,) * (MAX_DIMS - len(entry.shape))
    return _ENTRY.pack(
        name,
        DATA_TYPES.index(entry.dtype),
        len(entry.shape),
        *shape,
        entry.offset,
        entry.num_bytes,
        entry.checksum,
        0,
    )


def read_table(content: bytes, offset: int) -> list[TableEntry]:
    """Read the table that begins at `offset`, of a file that the library has accepted."""
    num_tensors, entry_bytes, _ = _TABLE_HEADER.unpack_from(content, offset)
    offset += _TABLE_HEADER.size
    entries = []
    for start in range(offset, offset + num_tensors * entry_bytes, entry_bytes):
        name, dtype, num_dims, *shape, place, num_bytes, checksum, _ = _ENTRY.unpack_from(
            content, start
        )
        entries.append(
            TableEntry(
                name.rstrip(b"\0").decode("ascii"),
                DATA_TYPES[dtype],
                tuple(shape[:num_dims]),
                place,
                num_bytes,
                checksum,
            )
        )
    return entries
