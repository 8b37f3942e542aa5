"""Types of command line arguments. What they refuse is a usage error, exit code 2."""

from __future__ import annotations

import argparse
import math

BACKENDS = ("auto", "cpu", "metal")


def add_precision_options(parser: argparse._ActionsContainer) -> None:
    """`--exact` and `--fast`, which exclude each other."""
    add = parser.add_mutually_exclusive_group().add_argument
    add(
        "--exact",
        action="store_true",
        help="fp32 activations in every product, which is slower on the CPU",
    )
    add(
        "--fast",
        action="store_true",
        help="8-bit activations in the experts' products: faster on the CPU, less exact",
    )


def precision_of(arguments: argparse.Namespace) -> str:
    """What `--exact`, `--fast`, or the absence of both, means for gptoss.Model."""
    return "exact" if arguments.exact else "fast" if arguments.fast else "default"


def positive_integer(text: str) -> int:
    """An integer from 1."""
    return _integer(text, 1, 2**32 - 1)


def whole_number(text: str) -> int:
    """An integer from 0."""
    return _integer(text, 0, 2**32 - 1)


def seed(text: str) -> int:
    """An unsigned integer of 64 bits."""
    return _integer(text, 0, 2**64 - 1)


def non_negative_number(text: str) -> float:
    """A finite number from 0."""
    value = _number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, not {text}")
    return value


def probability(text: str) -> float:
    """A number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to 1, not {text}")
    return value


def positive_probability(text: str) -> float:
    """A number above 0, up to 1."""
    value = probability(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value


def well_formed_text(text: str) -> str:
    """Text; bytes of the command line that are not UTF-8 become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def calendar_date(text: str) -> str:
    """A date as YYYY-MM-DD."""
    from datetime import datetime

    try:
        return datetime.strptime(text, "%Y-%m-%d").date().isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a date as YYYY-MM-DD, not {text!r}") from None


def _integer(text: str, low: int, high: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be an integer, not {text!r}") from None
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"must be from {low} to {high}, not {text}")
    return value


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a finite number, not {text!r}")
    return value
