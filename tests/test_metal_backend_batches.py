"""Batches of 1 to 40 spans of mixed lengths on Metal: each context gets what it gets alone."""

from __future__ import annotations

import gptoss
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from metal_backend import Prompt, assert_logits_agree, logits_while_decoding, metal_model, prompt

pytestmark = pytest.mark.usefixtures("metal_backend")

SHAPE = "rings_without_routing"
NUM_PROMPTS = 5  # contexts take turns with them
MAX_TOKENS = 100


def prompt_of(index: int) -> Prompt:
    return prompt(SHAPE, MAX_TOKENS, index % NUM_PROMPTS)


def assert_batch_is_right(
    cached_and_new: list[tuple[int, int]], max_batch_tokens: int, shape_name: str = SHAPE
) -> None:
    """Contexts that hold some tokens already and have some to process, possibly none."""
    contexts = []
    for index, (cached, new) in enumerate(cached_and_new):
        tokens = prompt_of(index).tokens
        context = gptoss.Context(metal_model(shape_name), max_batch_tokens=max_batch_tokens)
        if cached:
            context.append(tokens[:cached])
            context.process()
        context.append(tokens[cached : cached + new])
        contexts.append(context)

    gptoss.process_batch(contexts)

    for index, context in enumerate(contexts):
        assert context.num_cached_tokens == context.num_tokens
        expected = prompt_of(index).logits[context.num_tokens - 1]
        what = f"context {index} of {len(contexts)}, (cached, new) {cached_and_new}"
        assert_logits_agree(context.logits(), expected, what)


prefill_or_decode = st.tuples(st.integers(0, 40), st.one_of(st.integers(1, 40), st.just(1)))


@pytest.mark.slow
@settings(max_examples=8)
@given(
    spans=st.lists(prefill_or_decode, min_size=1, max_size=12),
    max_batch_tokens=st.sampled_from([7, 33, 64, 512]),
)
@example(spans=[(17, 1), (0, 1), (16, 2), (0, 50)], max_batch_tokens=512)
@example(spans=[(18, 0), (0, 3)], max_batch_tokens=512)
def test_spans_of_mixed_lengths(spans: list[tuple[int, int]], max_batch_tokens: int) -> None:
    assert_batch_is_right(spans, max_batch_tokens)


@pytest.mark.parametrize("num_contexts", [1, 2, 31, 32, 40])
def test_batch_that_decodes_one_token_of_each_context(num_contexts: int) -> None:
    assert_batch_is_right([(1 + index % 25, 1) for index in range(num_contexts)], 512)


def test_forty_prompts_of_mixed_lengths() -> None:
    assert_batch_is_right([(0, 1 + 7 * index % 23) for index in range(40)], 512)


def test_long_prompt_beside_contexts_that_decode() -> None:
    assert_batch_is_right([(30, 1), (0, 100), (45, 1), (17, 1), (3, 2)], 64)


def test_contexts_go_on_alone_after_a_batch() -> None:
    contexts = [gptoss.Context(metal_model(SHAPE)) for _ in range(4)]
    for index, context in enumerate(contexts):
        context.append(prompt_of(index).tokens[: 15 + index])
    gptoss.process_batch(contexts)
    for index, context in enumerate(contexts):
        expected = prompt_of(index)
        rows = slice(context.num_tokens, context.num_tokens + 5)
        logits = logits_while_decoding(context, expected.tokens[rows])
        assert_logits_agree(logits, expected.logits[rows], f"context {index}")


def test_contexts_with_routers_that_choose() -> None:
    shape_name = "three_active_experts"
    contexts = []
    for index in range(9):
        context = gptoss.Context(metal_model(shape_name))
        context.append(prompt(shape_name, 60, index % 3).tokens[: 1 + 6 * index])
        contexts.append(context)
    gptoss.process_batch(contexts)
    for index, context in enumerate(contexts):
        expected = prompt(shape_name, 60, index % 3).logits[6 * index]
        assert_logits_agree(context.logits(), expected, f"context {index}")
