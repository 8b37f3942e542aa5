"""What the tests of the Metal backend compare with, and how closely.

Every logit is within 5e-3 of float64 with the same fp16 cache, and of the CPU backend, and the
likeliest token the same wherever it leads by 0.02: however the work is cut, and whichever kernels
do it.

Where a router hesitates between two experts, rounding decides, and what follows is another model's
answer. So a prompt here is the one, of several drawn at random, whose routers hesitate the least.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gptoss
import numpy as np
import pytest
from checkpoints import Checkpoint, Shape
from engine_cases import (
    checkpoint_of,
    model_path,
    processed_context,
    random_tokens,
    reference_of,
    shape_of,
)
from numpy.typing import NDArray

MAX_LOGIT_DIFFERENCE = 5e-3
CLEAR_LEAD = 0.02
NUM_PROMPTS_TO_CHOOSE_FROM = 6


@dataclass(frozen=True)
class Prompt:
    """Tokens, and what float64 says after each of them."""

    tokens: list[int]
    logits: NDArray[np.float64]  # [tokens, vocabulary]


@functools.cache
def prompt(shape_name: str, num_tokens: int = 300, number: int = 0) -> Prompt:
    """A beginning of it is as good: nothing in `logits` depends on later tokens."""
    shape, checkpoint = shape_of(shape_name), checkpoint_of(shape_name)
    return decisive_prompt(shape, checkpoint, num_tokens, number * NUM_PROMPTS_TO_CHOOSE_FROM)


def decisive_prompt(
    shape: Shape, checkpoint: Checkpoint, num_tokens: int, first_seed: int = 0
) -> Prompt:
    best_margin, best = -1.0, None
    for seed in range(first_seed, first_seed + NUM_PROMPTS_TO_CHOOSE_FROM):
        tokens = random_tokens(num_tokens, seed, shape.vocabulary_size)
        output = reference_of(shape, checkpoint, tokens, np.float16)
        margin = float(output.router_margins.min())
        if margin > best_margin:
            best_margin, best = margin, Prompt(tokens, output.logits)
        if margin == np.inf:  # every expert is active: no router has a choice
            break
    assert best is not None
    return best


@functools.cache
def metal_model(shape_name: str = "tiny") -> gptoss.Model:
    return gptoss.Model(model_path(shape_name), backend="metal")


@functools.cache
def cpu_model(shape_name: str = "tiny") -> gptoss.Model:
    """In the GPU's precision: with its own, now and then another expert is chosen."""
    return gptoss.Model(model_path(shape_name), backend="cpu", threads=2, precision="exact")


def metal_logits(shape_name: str, tokens: Sequence[int], **options: Any) -> NDArray[np.float32]:
    return processed_context(metal_model(shape_name), tokens, **options).logits()


def cpu_logits(shape_name: str, tokens: Sequence[int]) -> NDArray[np.float32]:
    return processed_context(cpu_model(shape_name), tokens).logits()


def logits_while_decoding(context: gptoss.Context, tokens: Sequence[int]) -> NDArray[np.float32]:
    """After each of the tokens, which are appended and processed one at a time."""
    rows = []
    for token in tokens:
        context.append(token)
        rows.append(context.logits())
    return np.array(rows)


def assert_logits_agree(
    actual: NDArray[Any],
    expected: NDArray[Any],
    what: str,
    limit: float = MAX_LOGIT_DIFFERENCE,
) -> None:
    """Either [vocabulary] or [rows, vocabulary]."""
    actual, expected = np.atleast_2d(actual), np.atleast_2d(expected)
    assert actual.shape == expected.shape, f"{what}: {actual.shape}, expected {expected.shape}"
    assert np.isfinite(actual).all(), f"{what}: not all logits are finite"
    differences = np.abs(actual - expected).max(axis=-1)  # [rows]
    row = int(differences.argmax())
    assert differences[row] < limit, (
        f"{what}: the logits of row {row} of {len(actual)} are off by up to "
        f"{differences[row]:.3g}, token {np.abs(actual[row] - expected[row]).argmax()} the most; "
        f"{(differences >= limit).sum()} rows exceed {limit}"
    )
    runner_up, best = np.sort(expected, axis=-1)[:, -2:].T
    clear = best - runner_up > CLEAR_LEAD
    same = actual.argmax(axis=-1) == expected.argmax(axis=-1)
    assert (same | ~clear).all(), (
        f"{what}: another token is the likeliest in rows {np.flatnonzero(clear & ~same).tolist()}"
    )


@dataclass(frozen=True)
class CommandBuffer:
    """What the host device reports of a command buffer; one has one encoder."""

    label: str
    dispatches: int
    barriers: int
    unneeded_barriers: list[Any]
    kernels: list[str]
    bytes_read: int
    bytes_written: int


class Report:
    """The command buffers of the models that are loaded while this is in use (`report`)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._num_taken = 0

    def take(self) -> list[CommandBuffer]:
        """Those that have finished since the last call."""
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        new = lines[self._num_taken :]
        self._num_taken = len(lines)
        return [CommandBuffer(**json.loads(line)) for line in new]


def start_report(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    path = directory / "command-buffers.jsonl"
    monkeypatch.setenv("GPTOSS_METAL_HOST_REPORT", str(path))
    return Report(path)


def load_with_faults(
    faults: str, monkeypatch: pytest.MonkeyPatch, shape_name: str = "tiny"
) -> gptoss.Model:
    """A Metal model on a host device that fails so (tests/metal_device)."""
    with monkeypatch.context() as patch:
        patch.setenv("GPTOSS_METAL_HOST_FAULTS", faults)
        return gptoss.Model(model_path(shape_name), backend="metal")
