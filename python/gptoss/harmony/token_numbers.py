"""The check that a value is a token, with the errors of openai_harmony 0.0.8."""

from __future__ import annotations

import operator
from collections.abc import Iterable

_LARGEST_TOKEN = 2**32 - 1
_LARGEST_LONG = 2**63 - 1


def as_tokens(values: Iterable[int]) -> list[int]:
    """The values as a list, if all are integers from 0 to 2^32 - 1.

    TypeError: one is no integer. OverflowError: one is out of range.
    """
    tokens = list(values)
    if not tokens:
        return tokens
    if set(map(type, tokens)) == {int} and min(tokens) >= 0 and max(tokens) <= _LARGEST_TOKEN:
        return tokens
    return [as_token(token, "tokens") for token in tokens]  # raises for the first that is none


def as_token(value: int, argument: str = "token") -> int:
    """The value, if it is an integer from 0 to 2^32 - 1; `argument` names it in a TypeError."""
    if type(value) is int and 0 <= value <= _LARGEST_TOKEN:
        return value
    try:
        token = operator.index(value)
    except TypeError as error:
        raise TypeError(f"argument {argument!r}: {error}") from None
    if not -_LARGEST_LONG - 1 <= token <= _LARGEST_LONG:
        raise OverflowError("Python int too large to convert to C long")
    if not 0 <= token <= _LARGEST_TOKEN:
        raise OverflowError("out of range integral type conversion attempted")
    return token
