"""Types that are read from JSON as Rust's serde reads them, to the letter of its errors.

`openai_harmony` sends every conversation through JSON into Rust structures; what does not fit comes
back as an error. This module has the rules of serde 1.0.219 for those types. A `JsonType` reads
itself from a `Source`: the JSON text (see `json_reader`), or a value that was read before anybody
knew its type (`Buffered`; serde does that to find the tag of an enum, or the fields of a flattened
structure). Errors in buffered values have no place of their own: they get the place where the text
stands when the innermost value that is read from the text itself has been left.
"""

# ruff: noqa: D102  what overrides a method is documented with that method

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from gptoss.harmony.json_text import float_text, reread_number
from gptoss.harmony.rust_quoting import quote

_MAX_UNSIGNED = 2**64 - 1
_MIN_SIGNED = -(2**63)
# How a type reads the value of a member whose key it has seen.
ReadValue: TypeAlias = "Callable[[JsonType], Any]"
Elements: TypeAlias = "Iterator[Source]"
Members: TypeAlias = "Iterator[tuple[str, ReadValue]]"


class DataError(Exception):
    """What serde_json says, and after how many bytes of the text, where that is known yet."""

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


class Object(list[tuple[str, Any]]):
    """The members of a buffered JSON object, in their order and with keys that come twice."""


# Types -----------------------------------------------------------------------------------------


class JsonType:
    """A type to read; the base of all refuses every value.

    `expected` is what errors call the type. `enters` says which brackets the type looks behind: an
    array or object that it does not enter is refused at its bracket.
    """

    expected = ""
    enters = ""

    def read(self, source: Source) -> Any:
        """Read a value of this type; DataError if there is none."""
        return source.read(self)

    def from_scalar(self, value: Any) -> Any:
        """Make the value of this type from None, a bool, a number or a str."""
        raise mismatch(value, self.expected)

    def from_sequence(self, elements: Elements) -> Any:
        """Make the value of this type from an array."""
        raise mismatch([], self.expected)

    def from_mapping(self, members: Members) -> Any:
        """Make the value of this type from an object."""
        raise mismatch(Object(), self.expected)


class Boolean(JsonType):
    """`bool`."""

    expected = "a boolean"

    def from_scalar(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise mismatch(value, self.expected)
        return value


class String(JsonType):
    """`String`."""

    expected = "a string"

    def from_scalar(self, value: Any) -> str:
        if not isinstance(value, str):
            raise mismatch(value, self.expected)
        return value


class Variant(String):
    """The name of one of an enum's variants."""

    expected = "variant identifier"

    def __init__(self, *names: str) -> None:
        self._names = names

    def from_scalar(self, value: Any) -> str:
        name = super().from_scalar(value)
        if name not in self._names:
            choices = ", ".join(f"`{choice}`" for choice in self._names)
            raise DataError(f"unknown variant `{name}`, expected one of {choices}")
        return name


class Enum(JsonType):
    """An enum of names, written as the name or, just as well, as `{name: null}`."""

    def __init__(self, *names: str) -> None:
        self._variant = Variant(*names)

    def read(self, source: Source) -> str:
        value = source.buffer()
        if isinstance(value, str):
            return self._variant.from_scalar(value)
        if not isinstance(value, Object):
            raise mismatch(value, "string or map")
        if len(value) != 1:
            raise DataError("invalid value: map, expected map with a single key")
        [(key, content)] = value
        name = self._variant.from_scalar(key)
        if content is not None and content != Object():
            raise mismatch(content, "unit")
        return name


class Option(JsonType):
    """`Option<T>`: null or a value of the type; a field that may be absent."""

    def __init__(self, inner: JsonType) -> None:
        self._inner = inner

    def read(self, source: Source) -> Any:
        return None if source.take_null() else self._inner.read(source)


class Array(JsonType):
    """`Vec<T>`."""

    expected = "a sequence"
    enters = "["

    def __init__(self, inner: JsonType) -> None:
        self._inner = inner

    def from_sequence(self, elements: Elements) -> list[Any]:
        return [self._inner.read(element) for element in elements]


class Dictionary(JsonType):
    """`BTreeMap<String, T>`; of a key that comes twice the last value counts."""

    expected = "a map"
    enters = "{"

    def __init__(self, inner: JsonType) -> None:
        self._inner = inner

    def from_mapping(self, members: Members) -> dict[str, Any]:
        return {key: read_value(self._inner) for key, read_value in members}


class Value(JsonType):
    """`serde_json::Value`: anything; a key that comes twice keeps its place and the last value."""

    def read(self, source: Source) -> Any:
        return _plain(source.buffer())


class Structure(JsonType):
    """A structure, from an object or from an array of its fields in their order.

    Other members of an object are read over. `build` gets every field under its name.
    """

    enters = "[{"

    def __init__(
        self, name: str, fields: Mapping[str, JsonType], build: Callable[..., Any]
    ) -> None:
        self.expected = f"struct {name}"
        self._fields = fields
        self._build = build

    def from_sequence(self, elements: Elements) -> Any:
        count = len(self._fields)
        values = {}
        for position, (name, field_type) in enumerate(self._fields.items()):
            element = next(elements, None)
            if element is None:
                plural = "" if count == 1 else "s"
                raise DataError(
                    f"invalid length {position},"
                    f" expected {self.expected} with {count} element{plural}"
                )
            values[name] = field_type.read(element)
        return self._build(**values)

    def from_mapping(self, members: Members) -> Any:
        values: dict[str, Any] = {}
        for key, read_value in members:
            if key in values:
                raise DataError(f"duplicate field `{key}`")
            if key in self._fields:
                values[key] = read_value(self._fields[key])
            else:
                read_value(_IGNORED)
        for name, field_type in self._fields.items():
            if name not in values:
                if not isinstance(field_type, Option):
                    raise DataError(f"missing field `{name}`")
                values[name] = None
        return self._build(**values)


class Tagged(JsonType):
    """An enum of structures, told apart by the member `type` or by an array's first element."""

    enters = "[{"

    def __init__(self, name: str, variants: Mapping[str, JsonType]) -> None:
        self.expected = f"internally tagged enum {name}"
        self._variants = variants
        self._tag = Variant(*variants)

    def read(self, source: Source) -> Any:
        # The structure is read when its brackets have been left: its errors are placed by what
        # encloses the enum.
        tag, content = source.read(self)
        return self._variants[tag].read(Buffered(content))

    def from_sequence(self, elements: Elements) -> tuple[str, list[Any]]:
        element = next(elements, None)
        if element is None:
            raise DataError("missing field `type`")
        return self._tag.read(element), [element.buffer() for element in elements]

    def from_mapping(self, members: Members) -> tuple[str, Object]:
        tag: str | None = None
        content = Object()
        for key, read_value in members:
            if key != "type":
                content.append((key, read_value(BUFFER)))
            elif tag is None:
                tag = read_value(self._tag)
            else:
                raise DataError("duplicate field `type`")
        if tag is None:
            raise DataError("missing field `type`")
        return tag, content


class _Buffer(JsonType):
    def read(self, source: Source) -> Any:
        return source.buffer()


class _Ignored(JsonType):
    def read(self, source: Source) -> None:
        source.ignore()


# Reads any value for later, as Buffered takes it.
BUFFER = _Buffer()
_IGNORED = _Ignored()


# Sources ---------------------------------------------------------------------------------------


class Source(ABC):
    """Where a value is read from."""

    @abstractmethod
    def read(self, json_type: JsonType) -> Any:
        """Read a value of the type by its `from_` methods."""

    @abstractmethod
    def take_null(self) -> bool:
        """Whether the value is null, which is then read."""

    @abstractmethod
    def buffer(self) -> Any:
        """Read any value: None, bool, int, float, str, list or Object, and so on inside."""

    @abstractmethod
    def ignore(self) -> None:
        """Read over the value."""


class Buffered(Source):
    """A value that `Source.buffer` gave."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def read(self, json_type: JsonType) -> Any:
        value = self._value
        if isinstance(value, Object):
            if "{" not in json_type.enters:
                raise mismatch(value, json_type.expected)
            return json_type.from_mapping(
                (key, Buffered(member)._read_value) for key, member in value
            )
        if isinstance(value, list):
            if "[" not in json_type.enters:
                raise mismatch(value, json_type.expected)
            elements = iter(value)
            result = json_type.from_sequence(Buffered(element) for element in elements)
            if left := sum(1 for _ in elements):
                read = len(value) - left
                plural = "" if read == 1 else "s"
                raise DataError(
                    f"invalid length {len(value)}, expected {read} element{plural} in sequence"
                )
            return result
        return json_type.from_scalar(value)

    def _read_value(self, json_type: JsonType) -> Any:
        return json_type.read(self)

    def take_null(self) -> bool:
        return self._value is None

    def buffer(self) -> Any:
        return self._value

    def ignore(self) -> None:
        pass


# Errors ----------------------------------------------------------------------------------------


def mismatch(value: Any, expected: str) -> DataError:
    """The error about a value that is not of the expected type."""
    return DataError(f"invalid type: {_unexpected(value)}, expected {expected}")


def _unexpected(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"boolean `{str(value).lower()}`"
    if isinstance(value, int) and _MIN_SIGNED <= value <= _MAX_UNSIGNED:
        return f"integer `{value}`"
    if isinstance(value, int | float):
        return f"floating point `{float_text(reread_number(repr(value)))}`"
    if isinstance(value, str):
        return f"string {quote(value)}"
    return "map" if isinstance(value, Object) else "sequence"


def _plain(value: Any) -> Any:
    """A buffered value with dictionaries for its objects."""
    if isinstance(value, Object):
        return {key: _plain(member) for key, member in value}
    if isinstance(value, list):
        return [_plain(element) for element in value]
    return value
