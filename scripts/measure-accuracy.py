#!/usr/bin/env python3
"""Prints how far the engine's logits are from the exact model's, as two Markdown tables.

Each row of the first is a random checkpoint and a prompt, in exact precision. The first figures
compare with the numpy reference in fp64, which is the exact model; the last ones with the same
reference whose keys and values are rounded to fp16 like the engine's cache, which leaves what the
engine itself adds. Tokens whose router margin is below 1e-3 are set aside: there, rounding decides
which expert a token goes to.

The second says what each precision costs, on every token, against the reference with the rounded
cache: a trained model on conversations, and a random block of the real width.
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
from demo_checkpoint import demo_checkpoint, demo_config, demo_conversations
from engine_cases import (
    ENGINE_SHAPES,
    kl_divergence,
    model_path,
    random_tokens,
    reference_output,
)
from gptoss.perplexity.scores import Comparison as Divergence

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
    path = model_path(row.shape_name, row.embedding_scale)
    context = gptoss.Context(gptoss.Model(path, "cpu", precision="exact"))
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


NUM_CONVERSATIONS = 9
PRECISIONS = ("fast", "default", "exact")


def demo_divergence(precision: str) -> Divergence:
    """Of every token of the conversations from fp64 with the same cache."""
    divergence = Divergence()
    model = gptoss.Model(backend="cpu", precision=precision)
    for tokens in demo_conversations(NUM_CONVERSATIONS):
        expected = reference.forward(
            demo_checkpoint(), demo_config(), tokens, cache_dtype=np.float16
        )
        add(divergence, model, tokens, expected)
    return divergence


def wide_divergence(precision: str) -> Divergence:
    """Of random tokens, on a random block as wide as the 20b's."""
    divergence = Divergence()
    expected = reference_output("real_widths", 40, cache_dtype=np.float16)
    model = gptoss.Model(model_path("real_widths"), "cpu", precision=precision)
    add(divergence, model, random_tokens(40), expected)
    return divergence


def add(
    divergence: Divergence, model: gptoss.Model, tokens: list[int], expected: reference.Output
) -> None:
    context = gptoss.Context(model)
    context.append(tokens)
    divergence.add(expected.logits, context.logits_from(0))


def print_precisions() -> None:
    print(
        "| model | precision | predictions | mean KL | median | 99 % | max | same likeliest token "
        "| max logit difference |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, measure in (
        ("demo model, held-out conversations", demo_divergence),
        ("one random block of the 20b's width", wide_divergence),
    ):
        for precision in PRECISIONS:
            result = measure(precision)
            mean = result.divergence
            print(
                f"| {name} | {precision} | {len(result.divergences)} "
                f"| {mean.mean:.1e} +- {mean.standard_error:.0e} "
                f"| {result.divergence_quantile(0.5):.1e} | {result.divergence_quantile(0.99):.1e} "
                f"| {result.divergence_quantile(1):.1e} | {100 * result.same_likeliest.mean:.2f} % "
                f"| {result.max_logit_difference:.1e} |",
                flush=True,
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--precisions", action="store_true", help="print the second table alone")
    if parser.parse_args().precisions:
        print_precisions()
        return 0
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
    print()
    print_precisions()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
