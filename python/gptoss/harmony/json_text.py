"""JSON values spelled as `openai_harmony` spells them, in the text that the models were trained on.

The package reads a tool's parameters with Rust's serde_json (1.0.140, without `float_roundtrip`)
and prints their default values with it. Next to Python's `json` this leaves out blanks and needless
escapes, lays out floats in another way, and reads some decimals as the nearest float's neighbour.
"""

from __future__ import annotations

import json
import math
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

_MAX_UNSIGNED = 2**64 - 1
_MIN_SIGNED = -(2**63)
_LARGEST_POWER_OF_TEN = 308

_quote = json.JSONEncoder(ensure_ascii=False).encode


def json_text(value: JsonValue) -> str:
    """The compact JSON of a value that `json.loads` returned.

    OverflowError: a number is so large that serde_json refuses it.
    """
    if isinstance(value, str):
        return _quote(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if _MIN_SIGNED <= value <= _MAX_UNSIGNED:
            return str(value)
        return float_text(reread_number(str(value)))
    if isinstance(value, float):
        return float_text(reread_number(repr(value)))
    if isinstance(value, list):
        return f"[{','.join(map(json_text, value))}]"
    members = (f"{_quote(key)}:{json_text(member)}" for key, member in value.items())
    return f"{{{','.join(members)}}}"


def reread_number(text: str) -> float:
    """The float that serde_json makes of a number that Python's `json` wrote.

    It multiplies or divides the digits, as many as fit into 64 bits, with or by a power of ten:
    two roundings, where Python's `float` makes one.

    OverflowError: the number is too large for serde_json.
    """
    try:
        sign, digits, exponent = Decimal(text).as_tuple()
    except InvalidOperation:  # an exponent of nineteen digits
        if "e-" not in text.lower():
            raise OverflowError(f"The number {text} is too large for a float.") from None
        return -0.0 if text.startswith("-") else 0.0
    assert isinstance(exponent, int)  # JSON has neither infinity nor NaN
    significand = 0
    for position, digit in enumerate(digits):
        if significand * 10 + digit > _MAX_UNSIGNED:
            exponent += len(digits) - position
            break
        significand = significand * 10 + digit
    value = float(significand)
    if value == 0:
        return -value if sign else value
    if exponent >= 0:
        if exponent > _LARGEST_POWER_OF_TEN or math.isinf(value := value * float(f"1e{exponent}")):
            raise OverflowError(f"The number {text} is too large for a float.")
    else:
        while value and exponent < -_LARGEST_POWER_OF_TEN:
            value /= 1e308
            exponent += _LARGEST_POWER_OF_TEN
        value /= float(f"1e{-exponent}")
    return -value if sign else value


def float_text(value: float) -> str:
    """The shortest text that reads back as the same float, laid out as by the Rust crate ryu.

    In decimals, at least one of them after the point, from 0.00001 to below 1e16; otherwise with
    an exponent that has neither a plus sign nor leading zeros.
    """
    if value == 0:
        return repr(value)
    magnitude = abs(value)
    sign = "-" if value < 0 else ""
    mantissa, _, exponent_text = repr(magnitude).partition("e")
    if not exponent_text:
        # Python writes decimals from 0.0001 to below 1e16.
        return sign + mantissa
    exponent = int(exponent_text)
    if exponent == -5:
        return f"{sign}0.0000{mantissa.replace('.', '')}"
    return f"{sign}{mantissa}e{exponent}"
