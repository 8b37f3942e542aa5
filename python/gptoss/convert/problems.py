"""Telling all problems of a conversion at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gptoss.errors import ConversionError


def conversion_error(source: Path, problems: Sequence[str]) -> ConversionError:
    """Return the exception for one or more problems, each a sentence."""
    if len(problems) == 1:
        return ConversionError(problems[0])
    heading = f"{source} cannot be converted, for {len(problems)} reasons:"
    return ConversionError("\n- ".join((heading, *problems)))
