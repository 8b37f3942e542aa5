"""Any shape of the family on Metal: widths that are multiples of 32, heads, experts, windows."""

from __future__ import annotations

import itertools
from dataclasses import replace

import gptoss
import pytest
from checkpoints import TINY, Shape, random_checkpoint
from engine_cases import convert_checkpoint, processed_context
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from metal_backend import assert_logits_agree, decisive_prompt, logits_while_decoding

pytestmark = pytest.mark.usefixtures("metal_backend")

widths = st.integers(1, 12).map(lambda blocks: 32 * blocks)
_numbers = itertools.count()


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    num_experts = draw(st.one_of(st.integers(1, 8), st.sampled_from([32, 33, 127, 128])))
    num_kv_heads = draw(st.sampled_from([1, 2, 3, 8]))
    return replace(
        TINY,
        num_blocks=draw(st.integers(1, 3)),
        num_experts=num_experts,
        num_active_experts=draw(st.integers(1, min(num_experts, 8))),
        hidden_size=draw(widths),
        intermediate_size=draw(widths),
        num_kv_heads=num_kv_heads,
        num_heads=num_kv_heads * draw(st.sampled_from([1, 2, 3, 8])),
        sliding_window=draw(st.sampled_from([1, 2, 9, 17, 128])),
        vocabulary_size=draw(st.integers(300, 500)),
    )


# 35 tokens at once: the kernels for many rows; 6: those for few; then 3 times one row.
def assert_shape_works(shape: Shape) -> None:
    checkpoint = random_checkpoint(shape, seed=4)
    path = convert_checkpoint(f"metal-shape-{next(_numbers)}", shape, checkpoint)
    model = gptoss.Model(path, backend="metal")
    expected = decisive_prompt(shape, checkpoint, 44)
    context = processed_context(model, expected.tokens[:35])
    assert_logits_agree(context.logits(), expected.logits[34], f"35 tokens, {shape}")
    context.append(expected.tokens[35:41])
    assert_logits_agree(context.logits(), expected.logits[40], f"6 more tokens, {shape}")
    rows = logits_while_decoding(context, expected.tokens[41:])
    assert_logits_agree(rows, expected.logits[41:], f"3 more tokens one by one, {shape}")


@pytest.mark.slow
@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow])
@given(shape=shapes())
@example(shape=replace(TINY, num_experts=128, num_active_experts=128))
@example(shape=replace(TINY, hidden_size=32, intermediate_size=32, num_heads=1, num_kv_heads=1))
@example(shape=replace(TINY, hidden_size=32 * 33, intermediate_size=32 * 35, num_blocks=1))
def test_odd_shapes(shape: Shape) -> None:
    assert_shape_works(shape)


@pytest.mark.slow
def test_widths_of_the_real_models() -> None:
    assert_shape_works(
        Shape(
            num_blocks=1,
            num_experts=2,
            num_active_experts=2,
            hidden_size=2880,
            intermediate_size=2880,
            num_heads=64,
            num_kv_heads=8,
        )
    )
