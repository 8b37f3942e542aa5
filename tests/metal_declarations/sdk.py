"""What the two packages say of Apple's SDK: see fetch.py."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from metal_declarations.fetch import FILES, METAL_CPP


class Scan:
    """PyObjC's scan of the SDK's headers."""

    def __init__(self, folder: Path) -> None:
        self._metal = _definitions(folder / FILES["Metal"])
        self._foundation = _definitions(folder / FILES["Cocoa"])

    def find(self, kind: str, name: str) -> Any:
        """A definition of a kind ("classes", "enum", ...), or None."""
        framework = self._metal if name.startswith("MTL") else self._foundation
        return framework[kind].get(name)

    def owner(self, name: str, is_protocol: bool) -> Any:
        return self.find("formal_protocols" if is_protocol else "classes", name)


def _definitions(path: Path) -> dict[str, Any]:
    text = path.read_text()
    definitions: dict[str, Any] = json.loads(text[text.index("{") :])["definitions"]
    return definitions


@dataclass(frozen=True)
class MetalCpp:
    """Apple's C++ headers, which send messages by selectors that they name."""

    folder: Path  # with METAL_CPP in it

    @cached_property
    def selectors(self) -> frozenset[str]:
        definition = r'_(?:MTL|NS)_PRIVATE_DEF_SEL\(\s*\w+,\s*"([^"]+)"\)'
        return frozenset(name for text in self._texts() for name in re.findall(definition, text))

    @cached_property
    def enumerators(self) -> dict[str, int]:
        """By the names that they have in Objective-C."""
        values: dict[str, int] = {}
        enumeration = r"_(MTL|NS)_(?:ENUM|OPTIONS)\([^)]*\)\s*\{([^}]*)\}"
        for text in self._texts():
            for prefix, body in re.findall(enumeration, text):
                for name, value in re.findall(r"(\w+)\s*=\s*([^,\n]+)", body):
                    number = _value(value, values, prefix)
                    if number is not None:
                        values[prefix + name] = number
        return values

    def _texts(self) -> Iterator[str]:
        for path in sorted((self.folder / METAL_CPP).rglob("*.hpp")):
            yield path.read_text()


def _value(expression: str, known: dict[str, int], prefix: str) -> int | None:
    """Of `3`, `-1`, `1 << 2` and the name of another enumerator; None of anything else."""
    expression = expression.strip()
    shift = re.fullmatch(r"(\d+)\s*<<\s*(\d+)", expression)
    if shift:
        return int(shift[1]) << int(shift[2])
    if re.fullmatch(r"-?(?:0x[0-9A-Fa-f]+|\d+)", expression):
        return int(expression, 0)
    return known.get(prefix + expression)
