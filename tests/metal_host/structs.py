"""Structs of a C header as ctypes classes: tests fill the very arguments that kernels read."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import Any

from metal_host.syntax import SourceError

# What both compilers lay out alike.
_TYPES: dict[str, Any] = {
    "uint32_t": ctypes.c_uint32,
    "int32_t": ctypes.c_int32,
    "uint64_t": ctypes.c_uint64,
    "int64_t": ctypes.c_int64,
    "uint16_t": ctypes.c_uint16,
    "int16_t": ctypes.c_int16,
    "uint8_t": ctypes.c_uint8,
    "int8_t": ctypes.c_int8,
    "float": ctypes.c_float,
}


def read_structs(path: str | Path) -> dict[str, type[ctypes.Structure]]:
    """The structs of a header. Members are numbers or arrays of them, or earlier structs."""
    path = Path(path)
    text = _without_comments(path.read_text())
    types: dict[str, Any] = dict(_TYPES)
    structs: dict[str, type[ctypes.Structure]] = {}
    for match in re.finditer(r"\bstruct\s+(\w+)\s*\{([^{}]*)\}\s*;", text):
        line = text.count("\n", 0, match.start()) + 1
        fields = _read_members(match[2], types, f"{path}:{line}: struct {match[1]}")
        struct = type(match[1], (ctypes.Structure,), {"_fields_": fields})
        structs[match[1]] = struct
        types[match[1]] = struct
    return structs


def _without_comments(text: str) -> str:
    return re.sub(r"//[^\n]*|/\*.*?\*/", lambda m: "\n" * m[0].count("\n"), text, flags=re.DOTALL)


def _read_members(body: str, types: dict[str, Any], where: str) -> list[tuple[str, Any]]:
    fields: list[tuple[str, Any]] = []
    for statement in filter(None, (part.strip() for part in body.split(";"))):
        match = re.fullmatch(r"(\w+)\s+(\w+(?:\s*\[\s*\d+\s*\])*(?:\s*,\s*\w+)*)", statement)
        if match is None or match[1] not in types:
            raise SourceError(
                f"{where}: cannot read the member `{statement}`: members are "
                f"{', '.join(_TYPES)}, arrays of them with a number as size, or earlier structs"
            )
        for declarator in match[2].split(","):
            name, *extents = re.findall(r"\w+", declarator)
            member = types[match[1]]
            for extent in reversed(extents):
                member = member * int(extent)
            fields.append((name, member))
    return fields
