"""JSON text, read into types the way Rust's serde_json reads it, errors and their places included.

The rules are those of serde_json 1.0.140 with its feature preserve_order, which `openai_harmony`
uses. This is the path of errors and of odd values: it is meant to be followed, not to be fast.
"""

# ruff: noqa: D102  what overrides a method is documented with that method

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gptoss.harmony.json_text import reread_number
from gptoss.harmony.typed_json import (
    DataError,
    Elements,
    JsonType,
    Members,
    Object,
    Source,
    mismatch,
)

# Brackets in brackets; serde_json's limit is 128, which it does not reach.
_MAX_DEPTH = 127
_DIGITS = frozenset("0123456789")
_WORDS: dict[str, tuple[str, bool | None]] = {
    "n": ("null", None),
    "t": ("true", True),
    "f": ("false", False),
}
_ESCAPES = {
    '"': '"',
    "\\": "\\",
    "/": "/",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
}
_END_OF_STRING = "EOF while parsing a string"
_CONTROL_CHARACTER = "control character (\\u0000-\\u001F) found while parsing a string"
_BLANKS = re.compile("[ \n\t\r]*")
_UNESCAPED = re.compile('[^"\\\\\x00-\x1f]*')
_INTEGER = re.compile("-?[0-9]+")
_HEX = re.compile("[0-9A-Fa-f]{4}")


class JsonText(Source):
    """JSON text, read from front to back.

    Errors are placed as serde_json does it: after what has been read, or after the next byte.
    """

    def __init__(self, text: str) -> None:
        # One character for each byte of UTF-8: offsets count bytes.
        self._text = text.encode("utf-8").decode("latin-1")
        self._offset = 0
        self._depth = 0

    def read_all(self, json_type: JsonType) -> Any:
        """Read the value that is the whole text.

        ValueError: what serde_json says if there is none, with line and column.
        """
        try:
            value = json_type.read(self)
            if self._next_visible():
                raise self._error_at_next("trailing characters")
        except DataError as error:
            before = self._text[: error.offset]
            line = before.count("\n") + 1
            column = len(before) - (before.rfind("\n") + 1)
            raise ValueError(f"{error.message} at line {line} column {column}") from None
        return value

    def read(self, json_type: JsonType) -> Any:
        first = self._start_of_value()
        try:
            if first == "[":
                if first not in json_type.enters:
                    raise mismatch([], json_type.expected)
                return self._inside(lambda: json_type.from_sequence(self._elements()), "]")
            if first == "{":
                if first not in json_type.enters:
                    raise mismatch(Object(), json_type.expected)
                return self._inside(lambda: json_type.from_mapping(self._members()), "}")
            return json_type.from_scalar(self._scalar(first))
        except DataError as error:
            if error.offset is None:
                error.offset = self._offset
            raise

    def take_null(self) -> bool:
        if self._next_visible() != "n":
            return False
        self._scalar("n")
        return True

    def buffer(self) -> Any:
        # Not by `read`, which takes several of Python's stack frames for a level: parameters may
        # be nested 118 levels deep.
        first = self._start_of_value()
        if first == "[":
            self._enter()
            elements: list[Any] = []
            while self._has_element(not elements):
                elements.append(self.buffer())
            self._leave("]")
            return elements
        if first == "{":
            self._enter()
            members = Object()
            while self._has_member(not members):
                key = self._key()
                self._colon()
                members.append((key, self.buffer()))
            self._leave("}")
            return members
        return self._scalar(first)

    def ignore(self) -> None:
        # Laxer than `buffer`: any depth, any number, lone surrogates.
        open_brackets: list[str] = []
        while True:
            first = self._start_of_value()
            after_value = first not in ("[", "{")
            if after_value:
                self._ignore_scalar(first)
            else:
                self._offset += 1
                open_brackets.append(first)
            while open_brackets:
                closing = "]" if open_brackets[-1] == "[" else "}"
                found = self._next_visible()
                if found != closing:
                    break
                self._offset += 1
                open_brackets.pop()
                after_value = True
            if not open_brackets:
                return
            if not found:
                raise self._error_at_end_of(closing)
            if after_value:
                if found != ",":
                    raise self._error_at_next(f"expected `,` or `{closing}`")
                self._offset += 1
            if closing == "}":
                self._ignore_key()

    def _peek(self) -> str:
        """The next byte, or nothing at the end."""
        return self._text[self._offset : self._offset + 1]

    def _next_visible(self) -> str:
        """The next byte that is no blank, or nothing at the end; the blanks are read."""
        self._offset = self._match(_BLANKS).end()
        return self._peek()

    def _start_of_value(self) -> str:
        first = self._next_visible()
        if not first:
            raise self._error_at_next("EOF while parsing a value")
        return first

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self._text, self._offset)
        assert match is not None  # the patterns match nothing, too
        return match

    def _error(self, message: str) -> DataError:
        return DataError(message, self._offset)

    def _error_at_next(self, message: str) -> DataError:
        return DataError(message, min(self._offset + 1, len(self._text)))

    def _error_at_end_of(self, closing: str) -> DataError:
        kind = "a list" if closing == "]" else "an object"
        return self._error_at_next(f"EOF while parsing {kind}")

    # Brackets ----------------------------------------------------------------------------------

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error_at_next("recursion limit exceeded")
        self._offset += 1

    def _inside(self, read: Callable[[], Any], closing: str) -> Any:
        self._enter()
        try:
            result = read()
        except DataError:
            # serde_json looks for the closing bracket even so, which moves an error's place.
            with suppress(DataError):
                self._leave(closing)
            raise
        self._leave(closing)
        return result

    def _leave(self, closing: str) -> None:
        self._depth -= 1
        found = self._next_visible()
        if found == closing:
            self._offset += 1
        elif not found:
            raise self._error_at_end_of(closing)
        elif found == "," and closing == "]":
            self._offset += 1
            at_end = self._next_visible() == closing
            raise self._error_at_next("trailing comma" if at_end else "trailing characters")
        else:
            raise self._error_at_next("trailing comma" if found == "," else "trailing characters")

    def _elements(self) -> Elements:
        first = True
        while self._has_element(first):
            first = False
            yield self

    def _has_element(self, first: bool) -> bool:
        found = self._next_visible()
        if not found:
            raise self._error_at_end_of("]")
        if found == "]" or first:
            return found != "]"
        if found != ",":
            raise self._error_at_next("expected `,` or `]`")
        self._offset += 1
        if self._start_of_value() == "]":
            raise self._error_at_next("trailing comma")
        return True

    def _members(self) -> Members:
        first = True
        while self._has_member(first):
            first = False
            yield self._key(), self._read_value

    def _has_member(self, first: bool) -> bool:
        found = self._next_visible()
        if not found:
            raise self._error_at_end_of("}")
        if found == "}":
            return False
        if not first:
            if found != ",":
                raise self._error_at_next("expected `,` or `}`")
            self._offset += 1
            found = self._start_of_value()
            if found == "}":
                raise self._error_at_next("trailing comma")
        if found != '"':
            raise self._error_at_next("key must be a string")
        return True

    def _key(self) -> str:
        self._offset += 1
        return self._string()

    def _colon(self) -> None:
        found = self._next_visible()
        if not found:
            raise self._error_at_end_of("}")
        if found != ":":
            raise self._error_at_next("expected `:`")
        self._offset += 1

    def _read_value(self, json_type: JsonType) -> Any:
        self._colon()
        return json_type.read(self)

    # Scalars -----------------------------------------------------------------------------------

    def _scalar(self, first: str) -> Any:
        if first == '"':
            self._offset += 1
            return self._string()
        if first == "-" or first in _DIGITS:
            return self._number()
        if first not in _WORDS:
            raise self._error_at_next("expected value")
        word, value = _WORDS[first]
        for letter in word:
            if letter != self._take("EOF while parsing a value"):
                raise self._error("expected ident")
        return value

    def _take(self, message_at_end: str) -> str:
        """Read a byte."""
        taken = self._peek()
        if not taken:
            raise self._error(message_at_end)
        self._offset += 1
        return taken

    def _number(self) -> int | float:
        text = self._number_text("EOF while parsing a value")
        try:
            reread_number(text)
        except OverflowError:
            raise self._error("number out of range") from None
        if text == "-0" or not _INTEGER.fullmatch(text):
            return float(text)
        return int(text)

    def _number_text(self, message_at_end: str) -> str:
        start = self._offset
        if self._peek() == "-":
            self._offset += 1
        if self._digit(message_at_end) == "0":
            if self._peek() in _DIGITS:
                raise self._error_at_next("invalid number")
        else:
            self._skip_digits()
        if self._peek() == ".":
            self._offset += 1
            if self._peek() not in _DIGITS:
                raise self._error_at_next("invalid number" if self._peek() else message_at_end)
            self._skip_digits()
        if self._peek() in ("e", "E"):
            self._offset += 1
            if self._peek() in ("+", "-"):
                self._offset += 1
            self._digit(message_at_end)
            self._skip_digits()
        return self._text[start : self._offset]

    def _digit(self, message_at_end: str) -> str:
        digit = self._take(message_at_end)
        if digit not in _DIGITS:
            raise self._error("invalid number")
        return digit

    def _skip_digits(self) -> None:
        while self._peek() in _DIGITS:
            self._offset += 1

    def _string(self) -> str:
        """Read the rest of a string, after its first quotation mark."""
        pieces = []
        while True:
            unescaped = self._match(_UNESCAPED)
            self._offset = unescaped.end()
            pieces.append(unescaped.group().encode("latin-1").decode("utf-8"))
            found = self._take(_END_OF_STRING)
            if found == '"':
                return "".join(pieces)
            if found != "\\":
                raise self._error(_CONTROL_CHARACTER)
            pieces.append(self._escape())

    def _escape(self) -> str:
        letter = self._take(_END_OF_STRING)
        if letter in _ESCAPES:
            return _ESCAPES[letter]
        if letter != "u":
            raise self._error("invalid escape")
        unit = self._utf16_unit()
        if 0xDC00 <= unit <= 0xDFFF:
            raise self._error("lone leading surrogate in hex escape")
        if not 0xD800 <= unit <= 0xDBFF:
            return chr(unit)
        for expected in "\\u":
            if self._take(_END_OF_STRING) != expected:
                raise self._error("unexpected end of hex escape")
        low = self._utf16_unit()
        if not 0xDC00 <= low <= 0xDFFF:
            raise self._error("lone leading surrogate in hex escape")
        return chr(0x10000 + ((unit - 0xD800) << 10 | low - 0xDC00))

    def _utf16_unit(self) -> int:
        digits = self._text[self._offset : self._offset + 4]
        self._offset += len(digits)
        if len(digits) < 4:
            raise self._error(_END_OF_STRING)
        if not _HEX.match(digits):
            raise self._error("invalid escape")
        return int(digits, 16)

    # Values that are read over --------------------------------------------------------------------

    def _ignore_scalar(self, first: str) -> None:
        if first == '"':
            self._offset += 1
            self._ignore_string()
        elif first == "-" or first in _DIGITS:
            self._number_text("invalid number")
        else:
            self._scalar(first)

    def _ignore_key(self) -> None:
        found = self._next_visible()
        if not found:
            raise self._error_at_end_of("}")
        if found != '"':
            raise self._error_at_next("key must be a string")
        self._offset += 1
        self._ignore_string()
        self._colon()

    def _ignore_string(self) -> None:
        while True:
            self._offset = self._match(_UNESCAPED).end()
            if self._peek() not in ('"', "\\", ""):
                raise self._error(_CONTROL_CHARACTER)
            if self._take(_END_OF_STRING) == '"':
                return
            letter = self._take(_END_OF_STRING)
            if letter == "u":
                self._utf16_unit()
            elif letter not in _ESCAPES:
                raise self._error("invalid escape")
