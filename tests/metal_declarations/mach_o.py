"""What a file for macOS defines and needs of others: enough of Mach-O to read its symbols."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

_MAGIC_64 = 0xFEEDFACF
_LC_SYMTAB = 2
_N_DEBUG, _N_TYPE, _N_EXTERNAL = 0xE0, 0x0E, 0x01
_N_UNDEFINED = 0
_N_WEAK_REFERENCE = 0x40


def _symbols(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name without the C compiler's underscore, kind and description of each."""
    content = path.read_bytes()
    magic, *_, num_commands, _, _, _ = struct.unpack_from("<8I", content)
    if magic != _MAGIC_64:
        raise ValueError(f"{path} is no 64-bit Mach-O file")
    offset = 32
    for _ in range(num_commands):
        command, size = struct.unpack_from("<2I", content, offset)
        if command == _LC_SYMTAB:
            first, count, names, _ = struct.unpack_from("<4I", content, offset + 8)
            for place in range(first, first + 16 * count, 16):
                name, kind, _, description, _ = struct.unpack_from("<IBBHQ", content, place)
                if not kind & _N_DEBUG:
                    end = content.index(b"\0", names + name)
                    text = content[names + name : end].decode()
                    yield text.removeprefix("_"), kind, description
        offset += size


def undefined_symbols(path: Path) -> dict[str, bool]:
    """By name: may the symbol be missing at run time?"""
    return {
        name: bool(description & _N_WEAK_REFERENCE)
        for name, kind, description in _symbols(path)
        if kind & _N_TYPE == _N_UNDEFINED
    }


def defined_symbols(path: Path) -> set[str]:
    """Names that other files of a link can refer to, those hidden from other libraries too."""
    return {
        name
        for name, kind, _ in _symbols(path)
        if kind & _N_TYPE != _N_UNDEFINED and kind & _N_EXTERNAL
    }
