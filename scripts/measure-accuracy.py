#!/usr/bin/env python3
"""Prints how far the engine's logits are from the exact model's, as a Markdown table.

Each row is a random checkpoint and a prompt. The first figures compare with the numpy reference in
fp64, which is the exact model; the last ones with the same reference whose keys and values are
rounded to fp16 like the engine's cache, which leaves what the engine itself adds. Tokens whose
router margin is below 1e-3 are set aside: there, rounding decides which expert a token goes to.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import gptoss
import reference
from engine_cases import (
    ENGINE_SHAPES,
    kl_divergence,
    model,
    random_tokens,
    reference_output,
)

MIN_ROUTER_MARGIN = 1e-3


@dataclass(frozen=True)
class Row:
    """The logits after every token from `first` to `last` (exclusive)."""

    name: str
    shape_name: str = "tiny"
    first: int = 0
    last: int = 300
    embedding_scale: float = 1.0


ROWS = [
    Row("one token", last=1),
    Row("prompt of 5 tokens", first=4, last=5),
    Row("prompt of 130 tokens", first=129, last=130),
    Row("prompt of 300 tokens", first=299),
    Row("each of 300 tokens, decoded"),
    Row("positions 4,180 to 4,199, decoded", first=4180, last=4200),
    Row("embedding times 0.02", embedding_scale=0.02),
    *(Row(name.replace("_", " "), shape_name=name) for name in ENGINE_SHAPES if name != "tiny"),
    Row("one block of the real widths", shape_name="real_widths", last=20),
]


def logits_of(row: Row) -> NDArray[np.float32]:
    tokens = random_tokens(row.last)
    context = gptoss.Context(model(row.shape_name, row.embedding_scale))
    context.append(tokens[: row.first])
    rows = []
    for token in tokens[row.first :]:
        context.append(token)
        rows.append(context.logits())
    return np.array(rows)


@dataclass(frozen=True)
class Comparison:
    """Over the tokens whose experts are decided."""

    num_compared: int
    max_difference: float
    mean_kl: float
    max_kl: float
    same_argmax: bool


def compare(row: Row, output: reference.Output, actual: NDArray[Any]) -> Comparison:
    expected = output.logits[row.first : row.last]
    decided = output.router_margins[row.first : row.last] > MIN_ROUTER_MARGIN
    kl = kl_divergence(expected, actual)[decided]
    runner_up, best = np.sort(expected, axis=-1)[:, -2:].T
    clear = decided & (best - runner_up > 0.01)
    return Comparison(
        num_compared=int(decided.sum()),
        max_difference=float(np.abs(expected - actual)[decided].max()),
        mean_kl=float(kl.mean()),
        max_kl=float(kl.max()),
        same_argmax=bool((expected.argmax(-1) == actual.argmax(-1))[clear].all()),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.parse_args()
    print(
        "| case | tokens compared | max logit difference | mean KL | max KL | same argmax "
        "| max logit difference, same cache | mean KL, same cache |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in ROWS:
        actual = logits_of(row)
        reference_arguments = (row.shape_name, row.last, row.embedding_scale)
        exact = compare(row, reference_output(*reference_arguments), actual)
        same_cache = compare(row, reference_output(*reference_arguments, np.float16), actual)
        print(
            f"| {row.name} | {exact.num_compared} of {len(actual)} | {exact.max_difference:.1e} "
            f"| {exact.mean_kl:.1e} | {exact.max_kl:.1e} | {'yes' if exact.same_argmax else 'NO'} "
            f"| {same_cache.max_difference:.1e} | {same_cache.mean_kl:.1e} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
