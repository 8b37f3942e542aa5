"""Compares the declarations with what is known of Apple's SDK."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metal_declarations.declarations import (
    Availability,
    Constant,
    Declarations,
    Enumerator,
    Function,
    Method,
    Owner,
    Struct,
    Type,
    Typedef,
    plain_type,
)
from metal_declarations.sdk import MetalCpp, Scan

# Types that the scan does not have, each looked up by a person: why they are right nevertheless.
REVIEWED_TYPES = {
    "CFTimeInterval": "of CoreFoundation; methods that return it are encoded as returning a double",
    "MTLAutoreleasedComputePipelineReflection": "no scan has typedefs that carry __autoreleasing",
}


def check(declarations: Declarations, folder: Path) -> list[str]:
    """Every difference, as a sentence that names the declaration."""
    return list(_Check(Scan(folder), MetalCpp(folder)).findings(declarations))


class _Check:
    def __init__(self, scan: Scan, metal_cpp: MetalCpp) -> None:
        self._scan = scan
        self._metal_cpp = metal_cpp

    def findings(self, declarations: Declarations) -> Iterator[str]:
        protocols = {owner.name: owner.is_protocol for owner in declarations.owners}
        for owner in declarations.owners:
            yield from self._owner(owner)
        for method in declarations.methods:
            yield from self._method(method, protocols[method.owner])
        for enumerator in declarations.enumerators:
            yield from self._enumerator(enumerator)
        for struct in declarations.structs:
            yield from self._struct(struct)
        for function in declarations.functions:
            yield from self._function(function)
        for constant in declarations.constants:
            yield from self._constant(constant)
        for typedef in declarations.typedefs:
            yield from self._typedef(typedef)

    def _owner(self, owner: Owner) -> Iterator[str]:
        known = self._scan.owner(owner.name, owner.is_protocol)
        if known is None:
            yield f"there is no {'protocol' if owner.is_protocol else 'class'} {owner.name}"
            return
        parents = known["implements"] if owner.is_protocol else [known.get("super")]
        yield from _compare(owner.name, "inherits from", list(owner.parents), parents)
        # The scan dates methods, not their owners, which are as old as the oldest. What Foundation
        # has always had has no date; in Metal, that is of other systems.
        dates = {method.get("introduced") for method in known["methods"]}
        if owner.name.startswith("MTL"):
            dates.discard(None)
        oldest = None if None in dates else min(dates, key=_version)
        yield from _compare(owner.name, "is there since", owner.availability.introduced, oldest)

    def _method(self, method: Method, of_protocol: bool) -> Iterator[str]:
        known = next(
            (
                each
                for each in (self._scan.owner(method.owner, of_protocol) or {"methods": []})[
                    "methods"
                ]
                if each["selector"] == method.selector and each["class_method"] == method.of_class
            ),
            None,
        )
        if known is None:
            yield f"there is no {method}"
            return
        yield from _compare_types(
            str(method), (method.result, *method.arguments), (known["retval"], *known["args"])
        )
        yield from _compare_availability(str(method), method.availability, known)
        if method.owner.startswith("MTL") and method.selector not in self._metal_cpp.selectors:
            yield f"metal-cpp has no selector of {method}"

    def _enumerator(self, enumerator: Enumerator) -> Iterator[str]:
        known = self._scan.find("enum", enumerator.name)
        if known is None:
            yield f"there is no enumerator {enumerator.name}"
            return
        yield from _compare(enumerator.name, "is", enumerator.value, known["value"])
        yield from _compare(enumerator.name, "is one of", enumerator.enumeration, known["enum"])
        encoding = self._scan.find("enum_type", enumerator.enumeration)["type"]
        yield from _compare(enumerator.enumeration, "is encoded as", enumerator.encoding, encoding)
        if enumerator.name.startswith("MTL"):
            value = self._metal_cpp.enumerators.get(enumerator.name)
            yield from _compare(f"{enumerator.name} of metal-cpp", "is", enumerator.value, value)

    def _struct(self, struct: Struct) -> Iterator[str]:
        known = self._scan.find("structs", struct.name)
        if known is None:
            yield f"there is no struct {struct.name}"
            return
        yield from _compare(
            struct.name, "has the members", list(struct.fields), known["fieldnames"]
        )
        yield from _compare(struct.name, "is encoded as", struct.encoding, known["typestr"])

    def _function(self, function: Function) -> Iterator[str]:
        known = self._scan.find("functions", function.name)
        if known is None:
            yield f"there is no function {function.name}"
            return
        arguments = [each for each in known["args"] if each["typestr"] != "v"]  # (void)
        yield from _compare_types(
            function.name, (function.result, *function.arguments), (known["retval"], *arguments)
        )
        yield from _compare_availability(function.name, function.availability, known)

    def _constant(self, constant: Constant) -> Iterator[str]:
        known = self._scan.find("externs", constant.name)
        if known is None:
            yield f"there is no constant {constant.name}"
            return
        yield from _compare_types(constant.name, (constant.type,), (known,))
        yield from _compare_availability(constant.name, constant.availability, known)

    def _typedef(self, typedef: Typedef) -> Iterator[str]:
        known = self._scan.find("typedefs", typedef.name)
        if known is not None:
            yield from _compare(typedef.name, "is", typedef.type, plain_type(known))
        elif typedef.name not in REVIEWED_TYPES:
            yield f"there is no type {typedef.name}"


def _compare(name: str, what: str, declared: object, known: object) -> Iterator[str]:
    if declared != known:
        yield f"{name} {what} {known}, and is declared as {declared}"


def _compare_types(
    name: str, declared: tuple[Type, ...], known: tuple[dict[str, Any], ...]
) -> Iterator[str]:
    yield from _compare(name, "has as many arguments as", len(declared) - 1, len(known) - 1)
    for i, (own, other) in enumerate(zip(declared, known, strict=False)):
        place = f"argument {i} of {name}" if i else f"the result of {name}"
        if other.get("type_name"):
            yield from _compare(place, "is of type", own.name, plain_type(other["type_name"]))
        if (
            "?" not in other["typestr"] or other["typestr"] == "@?"
        ):  # of a generic class's parameter
            yield from _compare(place, "is encoded as", own.encoding, other["typestr"])


def _compare_availability(
    name: str, declared: Availability, known: dict[str, Any]
) -> Iterator[str]:
    yield from _compare(name, "is there since", declared.introduced, known.get("introduced"))
    yield from _compare(name, "is deprecated since", declared.deprecated, known.get("deprecated"))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
