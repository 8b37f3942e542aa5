"""Models with dense weights in 8 bits: their logits, on whichever backend the tests run."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import gptoss
import pytest
from checkpoints import Checkpoint, Tensor
from engine_cases import (
    checkpoint_of,
    kl_divergence,
    model_path,
    processed_context,
    random_tokens,
    shape_of,
)
from gptoss.convert import requantize
from gptoss.convert.q8 import dequantize, quantize
from metal_backend import Prompt, assert_logits_agree, decisive_prompt

DENSE = ("embedding.weight", "unembedding.weight", ".attn.qkv.weight", ".attn.out.weight")
NUM_TOKENS = 70
# The CPU backend's default precision rounds the factors of products: up to 0.0092 was seen.
MAX_LOGIT_DIFFERENCE = 0.03
_directory = tempfile.TemporaryDirectory(prefix="gptoss-test-q8-")


@functools.cache
def q8_path(shape_name: str) -> Path:
    path = Path(_directory.name) / f"{shape_name}.bin"
    requantize(model_path(shape_name), path)
    return path


def dequantized(checkpoint: Checkpoint) -> Checkpoint:
    """What a model in 8 bits holds: exactly, because the format's other changes are of rows, and
    multiply by powers of two.
    """

    def rounded(tensor: Tensor) -> Tensor:
        quantized = quantize(tensor.data)
        values = dequantize(quantized.codes, quantized.scales)
        return Tensor("F32", values.reshape(tensor.shape))

    return {
        name: rounded(tensor) if name.endswith(DENSE) else tensor
        for name, tensor in checkpoint.items()
    }


@functools.cache
def prompt(shape_name: str) -> Prompt:
    checkpoint = dequantized(checkpoint_of(shape_name))
    return decisive_prompt(shape_of(shape_name), checkpoint, NUM_TOKENS)


@pytest.mark.parametrize("num_tokens", [1, 2, 20, NUM_TOKENS])
@pytest.mark.parametrize("shape_name", ["tiny", "one_head", "odd_hidden_size"])
def test_logits_are_those_of_the_dequantised_weights(shape_name: str, num_tokens: int) -> None:
    """A prompt of one row, of few and of many, against float64."""
    model = gptoss.Model(q8_path(shape_name))
    context = processed_context(model, prompt(shape_name).tokens[:num_tokens])
    expected = prompt(shape_name).logits[num_tokens - 1]
    assert_logits_agree(context.logits(), expected, "against float64", MAX_LOGIT_DIFFERENCE)


def test_tokens_one_by_one_agree_with_a_prompt() -> None:
    model = gptoss.Model(q8_path("tiny"))
    context = gptoss.Context(model)
    for token in prompt("tiny").tokens:
        context.append([token])
        context.process()
    expected = prompt("tiny").logits[-1]
    assert_logits_agree(context.logits(), expected, "against float64", MAX_LOGIT_DIFFERENCE)


def test_the_distribution_is_close_to_that_of_bf16() -> None:
    """Of random weights, which are harder than trained ones: docs/accuracy.md has the figures."""
    tokens = random_tokens(NUM_TOKENS)
    small = gptoss.Model(q8_path("rings_without_routing"))
    plain = gptoss.Model(model_path("rings_without_routing"))
    divergence = kl_divergence(
        processed_context(plain, tokens).logits(), processed_context(small, tokens).logits()
    )
    assert divergence < 1e-2
