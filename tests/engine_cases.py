"""Random models for tests of the engine, and what the reference says about them.

A model is made as a user makes one: a checkpoint in OpenAI's layout through the converter into a
model.bin. Models and reference logits are cached for the whole run, because many tests share them.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gptoss
import numpy as np
import reference
from checkpoints import (
    SHAPES,
    TINY,
    Checkpoint,
    Shape,
    openai_config,
    random_checkpoint,
    write_openai_checkpoint,
    write_vocabulary,
)
from gptoss.convert import convert
from numpy.typing import NDArray

ENGINE_SHAPES: dict[str, Shape] = {
    **SHAPES,
    # Gates below the limit's negative are common here, so that a lower clamp would be visible.
    "small_swiglu_limit": replace(TINY, swiglu_limit=1.0),
}

# As wide as the blocks of the 20b and the 120b, with fewer of them and fewer experts.
REAL_WIDTHS = Shape(
    num_blocks=1,
    num_experts=3,
    num_active_experts=2,
    hidden_size=2880,
    intermediate_size=2880,
    num_heads=64,
    num_kv_heads=8,
)

# Rings that wrap soon, and no router has a choice: rounding cannot send a token to other experts.
RINGS_WITHOUT_ROUTING = replace(
    TINY, num_blocks=3, sliding_window=17, num_experts=2, num_active_experts=2
)

# As many launches as the 20b, all of them small.
BLOCKS_OF_THE_20B = replace(TINY, num_blocks=24, num_experts=32, num_active_experts=4)

_shapes = {
    **ENGINE_SHAPES,
    "real_widths": REAL_WIDTHS,
    "rings_without_routing": RINGS_WITHOUT_ROUTING,
    "blocks_of_the_20b": BLOCKS_OF_THE_20B,
}

_directory = tempfile.TemporaryDirectory(prefix="gptoss-test-models-")


def shape_of(shape_name: str) -> Shape:
    return _shapes[shape_name]


def model_path(shape_name: str = "tiny", embedding_scale: float = 1.0) -> Path:
    return _model_path(shape_name, embedding_scale)


def model(
    shape_name: str = "tiny", embedding_scale: float = 1.0, precision: str = "default"
) -> gptoss.Model:
    return _model(shape_name, embedding_scale, precision)


@functools.cache
def _model_path(shape_name: str, embedding_scale: float) -> Path:
    checkpoint = checkpoint_of(shape_name, embedding_scale)
    name = f"{shape_name}-embedding-times-{embedding_scale}"
    return convert_checkpoint(name, _shapes[shape_name], checkpoint)


@functools.cache
def _model(shape_name: str, embedding_scale: float, precision: str) -> gptoss.Model:
    return gptoss.Model(_model_path(shape_name, embedding_scale), threads=2, precision=precision)


@functools.cache
def reference_output(
    shape_name: str,
    num_tokens: int = 300,
    embedding_scale: float = 1.0,
    cache_dtype: type | None = None,
) -> reference.Output:
    """After each of `random_tokens(num_tokens)`, in fp64."""
    checkpoint = checkpoint_of(shape_name, embedding_scale)
    shape = _shapes[shape_name]
    return reference_of(shape, checkpoint, random_tokens(num_tokens), cache_dtype)


def reference_of(
    shape: Shape,
    checkpoint: Checkpoint,
    tokens: Sequence[int],
    cache_dtype: type | None = None,
    first_position: int = 0,
) -> reference.Output:
    tensors = {name: tensor.data for name, tensor in checkpoint.items()}
    return reference.forward(
        tensors,
        openai_config(shape),
        tokens,
        cache_dtype=cache_dtype,
        first_position=first_position,
    )


@functools.cache
def checkpoint_of(shape_name: str, embedding_scale: float = 1.0) -> Checkpoint:
    return random_checkpoint(_shapes[shape_name], seed=1, embedding_scale=embedding_scale)


def convert_checkpoint(name: str, shape: Shape, checkpoint: Checkpoint) -> Path:
    source = Path(_directory.name) / name
    write_openai_checkpoint(source, shape, checkpoint)
    destination = Path(_directory.name) / f"{name}.bin"
    vocabulary = write_vocabulary(source, shape.num_text_tokens)
    convert(source, destination, vocabulary=vocabulary)
    return destination


def random_tokens(num_tokens: int, seed: int = 5, vocabulary_size: int = 464) -> list[int]:
    """Of a seed, a longer prompt begins with the shorter one."""
    random = np.random.default_rng(seed)
    return [int(token) for token in random.integers(0, vocabulary_size, num_tokens)]


def processed_context(model: gptoss.Model, tokens: Sequence[int], **options: Any) -> gptoss.Context:
    context = gptoss.Context(model, **options)
    context.append(tokens)
    context.process()
    return context


def assert_same_logits(actual: NDArray[Any], expected: NDArray[Any]) -> None:
    """However the work was cut. The CPU backend sums in one order; a GPU's depends on the cut."""
    if gptoss.device_info().backend == "cpu":
        np.testing.assert_array_equal(actual, expected)
    else:
        np.testing.assert_allclose(actual, expected, rtol=0, atol=5e-3)


def log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(axis=-1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def kl_divergence(expected: NDArray[Any], actual: NDArray[Any]) -> NDArray[np.float64]:
    """Of the next-token distributions, in nats, one per row."""
    p, q = log_softmax(expected), log_softmax(actual)
    divergence: NDArray[np.float64] = (np.exp(p) * (p - q)).sum(axis=-1)
    return divergence
