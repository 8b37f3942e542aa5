"""The hand-written declarations, as clang reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metal_declarations.zig import INCLUDE, OLDEST_MACOS, syntax_tree


class UncheckedError(Exception):
    """A declaration of a kind that the check does not know."""


@dataclass(frozen=True)
class Availability:
    """Since when something exists, and since when it is deprecated: versions of macOS."""

    introduced: str | None = None  # None: since before such notes
    deprecated: str | None = None


@dataclass(frozen=True)
class Type:
    """A type as it is written, and its encoding of the Objective-C runtime."""

    name: str
    encoding: str


@dataclass(frozen=True)
class Method:
    """A method, or one of a property's."""

    owner: str
    selector: str
    of_class: bool
    result: Type
    arguments: tuple[Type, ...]
    availability: Availability

    def __str__(self) -> str:
        return f"{'+' if self.of_class else '-'}[{self.owner} {self.selector}]"


@dataclass(frozen=True)
class Owner:
    """A class or a protocol."""

    name: str
    is_protocol: bool
    parents: tuple[str, ...]  # of a class its superclass, of a protocol those that it includes
    availability: Availability


@dataclass(frozen=True)
class Enumerator:
    name: str
    enumeration: str
    encoding: str
    value: int


@dataclass(frozen=True)
class Struct:
    name: str
    fields: tuple[str, ...]
    encoding: str


@dataclass(frozen=True)
class Function:
    name: str
    result: Type
    arguments: tuple[Type, ...]
    availability: Availability


@dataclass(frozen=True)
class Constant:
    name: str
    type: Type
    availability: Availability


@dataclass(frozen=True)
class Typedef:
    name: str
    type: str


@dataclass
class Declarations:
    """All that a header and the headers beside it declare."""

    methods: list[Method] = field(default_factory=list)
    owners: list[Owner] = field(default_factory=list)
    enumerators: list[Enumerator] = field(default_factory=list)
    structs: list[Struct] = field(default_factory=list)
    functions: list[Function] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)
    typedefs: list[Typedef] = field(default_factory=list)


def read_declarations(zig: Path, include: Path = INCLUDE) -> Declarations:
    """What <Metal/Metal.h> and the headers beside it in a folder declare."""
    tree = syntax_tree(zig, include)
    return _Reader(tree, include).found


def is_old(version: str | None) -> bool:
    """Whether what came with a version of macOS is on the oldest system that the build runs on."""
    return version is None or _numbers(version) <= _numbers(OLDEST_MACOS)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def plain_type(name: str) -> str:
    """A type's name without ownership, nullability and chance blanks; `const` comes first."""
    qualifiers = (
        "_Nonnull|_Nullable|__strong|__autoreleasing|__unsafe_unretained|NS_RETURNS_RETAINED"
    )
    name = re.sub(rf"\b(?:{qualifiers})\b", " ", name)
    name = re.sub(r"\s+", " ", name).strip()
    name = re.sub(r"^(\w[\w<> ]*?) const \*", r"const \1 *", name)
    return re.sub(r"\s*([*<>(),^])\s*", r"\1", name)


_ENCODINGS = {
    **{"void": "v", "bool": "Z", "double": "d", "const char *": "^c", "void *": "^v"},
    **{"const void *": "^v", "unsigned long": "Q", "unsigned long long": "Q", "long": "q"},
}


class _Reader:
    """Walks the top level of a syntax tree, in order: clang names a file only where it changes."""

    def __init__(self, tree: dict[str, Any], include: Path) -> None:
        self.found = Declarations()
        self._include = include
        self._file = ""
        self._encodings = {plain_type(name): code for name, code in _ENCODINGS.items()}
        self._anonymous: dict[str, Any] = {}  # the last struct without a name
        for node in _without_linkage(tree["inner"]):
            self._follow_files(node.get("loc", {}))
            if Path(self._file).is_relative_to(include):
                self._read(node)
            self._follow_files({key: value for key, value in node.items() if key != "loc"})

    def _follow_files(self, node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("file"), str) and "offset" in node:
                self._file = node["file"]
            for key, value in node.items():
                if key != "includedFrom":
                    self._follow_files(value)
        elif isinstance(node, list):
            for each in node:
                self._follow_files(each)

    def _read(self, node: dict[str, Any]) -> None:
        kind = node["kind"]
        if kind in ("ObjCProtocolDecl", "ObjCInterfaceDecl"):
            if "inner" in node:  # else it is announced only
                self._read_owner(node)
        elif kind == "EnumDecl":
            self._read_enumeration(node)
        elif kind == "CXXRecordDecl" and "name" not in node:
            self._anonymous = node
        elif kind == "TypedefDecl":
            self._read_typedef(node)
        elif kind == "FunctionDecl":
            arguments = [each for each in node.get("inner", []) if each["kind"] == "ParmVarDecl"]
            result, desugared = (
                node["type"].get(key, node["type"]["qualType"]).partition("(")[0]
                for key in ("qualType", "desugaredQualType")
            )
            self.found.functions.append(
                Function(
                    node["name"],
                    self._type({"qualType": result, "desugaredQualType": desugared}),
                    tuple(self._type(each["type"]) for each in arguments),
                    self._availability(node),
                )
            )
        elif kind == "VarDecl":
            self.found.constants.append(
                Constant(node["name"], self._type(node["type"]), self._availability(node))
            )
        else:
            raise UncheckedError(
                f"{self._file} has a {kind} {node.get('name', '')}: check.py must learn it"
            )

    def _read_owner(self, node: dict[str, Any]) -> None:
        name = node["name"]
        is_protocol = node["kind"] == "ObjCProtocolDecl"
        parents = node.get("protocols", []) if is_protocol else [node["super"]]
        availability = self._availability(node)
        self.found.owners.append(
            Owner(name, is_protocol, tuple(each["name"] for each in parents), availability)
        )
        for member in node.get("inner", []):
            if member["kind"] != "ObjCMethodDecl":
                continue
            arguments = [each for each in member.get("inner", []) if each["kind"] == "ParmVarDecl"]
            own = self._availability(member)
            # clang demands a guard for what is newer itself, and not for all that a newer protocol
            # has: there, each method has to say so.
            inherited = availability.introduced if is_old(availability.introduced) else None
            self.found.methods.append(
                Method(
                    name,
                    member["name"],
                    not member["instance"],
                    self._type(member["returnType"]),
                    tuple(self._type(each["type"]) for each in arguments),
                    Availability(own.introduced or inherited, own.deprecated),
                )
            )

    def _read_enumeration(self, node: dict[str, Any]) -> None:
        encoding = self._encodings[node["fixedUnderlyingType"]["desugaredQualType"]]
        for name in (node["name"], f"enum {node['name']}"):
            self._encodings[name] = encoding
        for member in node["inner"]:
            if member["kind"] == "EnumConstantDecl":
                value = next(
                    int(e["value"]) for e in member["inner"] if e["kind"] == "ConstantExpr"
                )
                self.found.enumerators.append(
                    Enumerator(member["name"], node["name"], encoding, value)
                )

    def _read_typedef(self, node: dict[str, Any]) -> None:
        name, type_name = node["name"], node["type"]["qualType"]
        if type_name in (f"enum {name}", f"struct {name}"):
            if type_name.startswith("struct"):
                fields = [each for each in self._anonymous["inner"] if each["kind"] == "FieldDecl"]
                members = "".join(self._type(each["type"]).encoding for each in fields)
                encoding = f"{{{name}={members}}}"
                self._encodings[name] = encoding
                names = tuple(each["name"] for each in fields)
                self.found.structs.append(Struct(name, names, encoding))
            return
        self._encodings[name] = self._type(node["type"]).encoding
        self.found.typedefs.append(Typedef(name, plain_type(type_name)))

    def _type(self, node: dict[str, Any]) -> Type:
        name = plain_type(node["qualType"])
        desugared = plain_type(node.get("desugaredQualType", node["qualType"]))
        for each in (name, desugared):
            if each in self._encodings:
                return Type(name, self._encodings[each])
            if self._encodings.get(each.removesuffix("*")) == "@":  # a pointer to a named pointer
                return Type(name, "^@")
        return Type(name, _encoding_of_object(desugared))

    def _availability(self, node: dict[str, Any]) -> Availability:
        """That of API_AVAILABLE(macos(1.2)) or API_DEPRECATED("...", macos(1.2, 3.4)).

        The syntax tree says where the attribute is, and not what.
        """
        for attribute in node.get("inner", []):
            if attribute["kind"] == "AvailabilityAttr":
                place = attribute["range"]["begin"]["expansionLoc"]
                text = Path(self._file).read_text()[place["offset"] :]
                versions = re.search(r"\bmacos\(([\d.]+)(?:, ([\d.]+))?\)", text)
                if versions is None:
                    raise UncheckedError(f"{self._file}: availability without macos(...)")
                return Availability(versions[1], versions[2])
        return Availability()


def _without_linkage(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Declarations, also those in extern "C"."""
    for node in nodes:
        if node["kind"] == "LinkageSpecDecl":
            # Its own place comes before those of what it holds.
            yield from (
                {**inner, "loc": {"specification": node.get("loc"), "own": inner.get("loc")}}
                for inner in node.get("inner", [])
            )
        else:
            yield node


def _encoding_of_object(name: str) -> str:
    name = name.removeprefix("const ").removesuffix("const")
    if "(^)" in name:
        return "@?"
    if name in ("instancetype", "ObjectType", "KeyType") or re.fullmatch(r"id(<\w+>)?", name):
        return "@"
    if re.fullmatch(r"\w+(<.*>)?\*", name):
        return "^@" if name[:-1] in ("ObjectType", "KeyType") else "@"
    if re.fullmatch(r"\w+(<.*>)?\*\*", name):
        return "^@"
    raise UncheckedError(f"what is the encoding of the type {name}?")
