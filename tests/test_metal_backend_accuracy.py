"""Prompts of any length, in any pieces: the Metal backend agrees with float64 and with the CPU."""

from __future__ import annotations

import gptoss
import pytest
from engine_cases import model_path, processed_context
from metal_backend import (
    assert_logits_agree,
    cpu_logits,
    metal_logits,
    metal_model,
    prompt,
)

pytestmark = pytest.mark.usefixtures("metal_backend")

LENGTHS = [1, 5, 130, 300]
SHAPES = [
    "tiny",
    "one_expert",
    "three_active_experts",
    "all_experts_active",
    "odd_hidden_size",
    "one_head",
    "sixteen_heads",
    "window_of_one",
    "short_window",
    "small_swiglu_limit",
]


def test_model_says_that_it_runs_on_metal() -> None:
    model = metal_model("tiny")
    assert model.backend == "metal"
    assert model.memory.weights == model_path("tiny").stat().st_size


@pytest.mark.parametrize("num_tokens", LENGTHS)
@pytest.mark.parametrize("shape_name", SHAPES)
def test_logits_after_a_prompt(shape_name: str, num_tokens: int) -> None:
    tokens = prompt(shape_name).tokens[:num_tokens]
    logits = metal_logits(shape_name, tokens)
    assert_logits_agree(logits, prompt(shape_name).logits[num_tokens - 1], "against float64")
    cpu = cpu_logits(shape_name, tokens)
    assert_logits_agree(logits, cpu, "against the CPU backend")


# 1: all rows through the kernels for one row; 7: those for few rows; 33: those for many, with a
# ragged end; 299: a last piece of one row.
@pytest.mark.parametrize("max_batch_tokens", [1, 7, 33, 64, 299])
@pytest.mark.parametrize("shape_name", ["tiny", "short_window", "odd_hidden_size"])
def test_prefill_in_pieces(shape_name: str, max_batch_tokens: int) -> None:
    num_tokens = 300 if max_batch_tokens > 1 else 40
    tokens = prompt(shape_name).tokens[:num_tokens]
    logits = metal_logits(shape_name, tokens, max_batch_tokens=max_batch_tokens)
    expected = prompt(shape_name).logits[num_tokens - 1]
    assert_logits_agree(logits, expected, "against float64")


@pytest.mark.parametrize("num_tokens", [2, 8, 9, 31, 32, 33, 63, 64, 65, 96, 128, 129])
def test_lengths_around_the_sizes_of_tiles(num_tokens: int) -> None:
    tokens = prompt("tiny").tokens[:num_tokens]
    expected = prompt("tiny").logits[num_tokens - 1]
    assert_logits_agree(metal_logits("tiny", tokens), expected, f"after {num_tokens} tokens")


def test_two_metal_models_in_one_process_do_not_disturb_each_other() -> None:
    tokens = prompt("tiny").tokens[:30]
    first = processed_context(gptoss.Model(model_path("tiny"), backend="metal"), tokens[:20])
    second = processed_context(gptoss.Model(model_path("tiny"), backend="metal"), tokens)
    first.append(tokens[20:])
    assert_logits_agree(first.logits(), prompt("tiny").logits[29], "the first model")
    assert_logits_agree(second.logits(), prompt("tiny").logits[29], "the second model")


def test_five_blocks() -> None:
    """Rounding grows from block to block."""
    expected = prompt("five_blocks", 60)
    logits = metal_logits("five_blocks", expected.tokens, max_batch_tokens=31)
    assert_logits_agree(logits, expected.logits[-1], "against float64")
