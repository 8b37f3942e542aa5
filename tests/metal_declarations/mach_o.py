"""What an object file for macOS needs of others: enough of Mach-O to read its undefined symbols."""

from __future__ import annotations

import struct
from pathlib import Path

_MAGIC_64 = 0xFEEDFACF
_LC_SYMTAB = 2
_N_TYPE, _N_UNDEFINED = 0x0E, 0
_N_WEAK_REFERENCE = 0x40


def undefined_symbols(path: Path) -> dict[str, bool]:
    """By name, without the C compiler's underscore: may the symbol be missing at run time?"""
    content = path.read_bytes()
    magic, *_, num_commands, _, _, _ = struct.unpack_from("<8I", content)
    if magic != _MAGIC_64:
        raise ValueError(f"{path} is no 64-bit Mach-O file")
    symbols: dict[str, bool] = {}
    offset = 32
    for _ in range(num_commands):
        command, size = struct.unpack_from("<2I", content, offset)
        if command == _LC_SYMTAB:
            first, count, names, _ = struct.unpack_from("<4I", content, offset + 8)
            for place in range(first, first + 16 * count, 16):
                name, kind, _, description, _ = struct.unpack_from("<IBBHQ", content, place)
                if kind & _N_TYPE == _N_UNDEFINED:
                    end = content.index(b"\0", names + name)
                    text = content[names + name : end].decode()
                    symbols[text.removeprefix("_")] = bool(description & _N_WEAK_REFERENCE)
        offset += size
    return symbols
