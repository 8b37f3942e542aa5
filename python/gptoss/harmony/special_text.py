"""Text that spells special tokens: how it is found, and the errors where it must not be.

The texts of the errors are those of openai_harmony 0.0.8.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NoReturn

from gptoss.harmony.errors import HarmonyError


@functools.lru_cache(maxsize=16)
def any_of(texts: frozenset[str]) -> re.Pattern[str]:
    """The regex of any of the texts, the longest one where several match."""
    return re.compile(_alternatives(sorted(texts)))


def _alternatives(texts: Sequence[str]) -> str:
    """The regex of sorted texts; what several begin with is compared once, not for each of them."""
    first, last = texts[0], texts[-1]
    pairs = enumerate(zip(first, last, strict=False))
    prefix = first[: next((index for index, (a, b) in pairs if a != b), len(first))]
    rests = [text[len(prefix) :] for text in texts]
    if len(rests) == 1:
        return re.escape(prefix)
    groups = groupby(rests, key=lambda rest: rest[:1])
    # In reverse: the longer text before the one that it begins with.
    branches = [_alternatives(list(group)) for _, group in groups][::-1]
    return f"{re.escape(prefix)}(?:{'|'.join(branches)})"


def check_text(text: object) -> None:
    """TypeError: the text is no str."""
    if not isinstance(text, str):
        kind = type(text).__name__
        raise TypeError(f"argument 'text': {kind!r} object cannot be converted to 'PyString'")


def check_allowed_special(names: Iterable[object]) -> None:
    """ValueError: one of the names is no str, or has a lone surrogate."""
    for name in names:
        problem = None
        if not isinstance(name, str):
            kind = type(name).__name__
            problem = f"TypeError: {kind!r} object cannot be converted to 'PyString'"
        else:
            try:
                name.encode()
            except UnicodeEncodeError as error:
                problem = f"UnicodeEncodeError: {error}"
        if problem:
            raise ValueError(f"invalid allowed_special: {problem}")


def raise_disallowed_special_token(token: str) -> NoReturn:
    """Raise the HarmonyError of a text that has a disallowed special token."""
    raise HarmonyError(
        f"Encountered text corresponding to disallowed special token {token!r}.\n"
        "If you want this text to be encoded as a special token, "
        f"pass it to `allowed_special`, e.g. `allowed_special={{'{token}', ...}}`.\n"
        "If you want this text to be encoded as normal text, disable the check for this token "
        f"by passing `disallowed_special=(enc.special_tokens_set - {{'{token}'}})`.\n"
        "To disable this check for all special tokens, pass `disallowed_special=()`.\n"
    )
