"""The JSON arguments of a tool call, read strictly and without ever raising.

What a model wrote is untrusted: whatever is wrong with it comes back as a sentence that the client
can send to the model as the tool's reply.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

# As deep as serde_json reads, and so openai-harmony: far from every recursion limit.
MAX_DEPTH = 128
# What CPython converts by default since it limits this; above, the time is quadratic.
MAX_DIGITS = 4300

_BLANK = " \t\r\n\ufeff"  # JSON's white space, and the byte order mark
_BLANKS = re.compile(f"[{_BLANK}]*")
_FENCE = re.compile(r"```(?:json)?[ \t]*\r?\n", re.IGNORECASE)
_STRING = r'"(?:[^"\\]+|\\.)*"?'
_STRING_OR_BRACKET = re.compile(rf"{_STRING}|(?P<open>[\[{{])|(?P<close>[\]}}])", re.DOTALL)
_STRING_OR_NUMBER = re.compile(
    rf"{_STRING}|(?P<number>-?(?:Infinity|[0-9][-+.0-9eE]*)|NaN)", re.DOTALL
)
# An escaped backslash and a proper pair are stepped over; what stands alone is no character.
_LONE_SURROGATE = re.compile(
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2}|[\ud800-\udfff])"
)
_FOUND_LENGTH = 20  # characters that an error quotes

_KINDS: dict[type, str] = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


def read_arguments(text: str) -> tuple[dict[str, Any] | None, str | None]:
    """The arguments that a call's text holds, or None and a sentence that says what is wrong.

    White space and a Markdown code fence around all of the JSON are no fault. Of equal keys the
    last one counts, as in every JSON library. Not JSON are NaN and Infinity; refused beside it are
    a value that is no object, more than 128 levels, integers of more than 4300 digits, numbers
    beyond a float's range, and escapes that are no characters. No text at all is an error, too:
    that is what a call looks like that was cut off.
    """
    try:
        return _read_object(text), None
    except _FaultError as fault:
        return None, f"The arguments are not usable: {fault}."
    except RecursionError:  # the caller has used up its own stack
        return None, "The arguments are not usable: they are nested too deeply for this thread."


class _FaultError(Exception):
    """What is wrong, as a part of a sentence."""


class _NumberError(Exception):
    """A number or a constant that was not accepted, and why."""

    def __init__(self, spelling: str, reason: str) -> None:
        super().__init__(spelling, reason)
        self.spelling = spelling
        self.reason = reason


def _parse_integer(spelling: str) -> int:
    if len(spelling.lstrip("-")) > MAX_DIGITS:
        raise _NumberError(spelling, f"an integer has more than {MAX_DIGITS} digits")
    try:
        return int(spelling)
    except ValueError:  # the program has set a lower limit
        raise _NumberError(spelling, "an integer has more digits than Python converts") from None


def _parse_float(spelling: str) -> float:
    value = float(spelling)
    if math.isinf(value):
        raise _NumberError(spelling, "a number is beyond the range of a float")
    return value


def _parse_constant(spelling: str) -> float:
    raise _NumberError(spelling, f"JSON has no {spelling}")


_DECODER = json.JSONDecoder(
    parse_int=_parse_integer, parse_float=_parse_float, parse_constant=_parse_constant
)


def _read_object(text: str) -> dict[str, Any]:
    start, end = _skip_blank(text, 0), len(text.rstrip(_BLANK))
    if start >= end:  # what was cut off must not be run as if it were complete
        raise _FaultError("there are none; a call without arguments sends {}")
    fence = _FENCE.match(text, start)
    if fence and text.endswith("```", fence.end(), end):
        start, end = _skip_blank(text, fence.end()), end - len("```")
    _check_depth(text)
    try:
        value, stop = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        reason = error.msg.removesuffix(" at").removesuffix(" starting")
        raise _FaultError(_at(text, error.pos, reason[:1].lower() + reason[1:])) from None
    except _NumberError as error:
        raise _FaultError(_at(text, _find_number(text, error.spelling), error.reason)) from None
    stop = _skip_blank(text, stop)
    if stop < end:
        raise _FaultError(_at(text, stop, "there is more text after the JSON"))
    for match in _LONE_SURROGATE.finditer(text, start):
        if match["lone"]:
            raise _FaultError(_at(text, match.start(), "half of a surrogate pair is no character"))
    if not isinstance(value, dict):
        raise _FaultError(f"expected a JSON object, found {_KINDS[type(value)]}")
    return value


def _skip_blank(text: str, position: int) -> int:
    match = _BLANKS.match(text, position)
    return match.end() if match else position


def _find_number(text: str, spelling: str) -> int:
    """Where a number first stands that json has read, so that all before it is well-formed."""
    numbers = (match for match in _STRING_OR_NUMBER.finditer(text) if match["number"])
    return next(match.start() for match in numbers if match["number"].startswith(spelling))


def _check_depth(text: str) -> None:
    """Refuse deep nesting before json meets it: its own limit depends on the caller's stack."""
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        if match["open"]:
            depth += 1
            if depth > MAX_DEPTH:
                reason = f"the JSON has more than {MAX_DEPTH} levels"
                raise _FaultError(_at(text, match.start(), reason))
        elif match["close"]:
            depth -= 1


def _at(text: str, position: int, reason: str) -> str:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    found = text[position : position + _FOUND_LENGTH]
    return f"{reason} (line {line}, column {column}: {repr(found) if found else 'end of text'})"
