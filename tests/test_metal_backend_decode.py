"""Decoding on Metal: across the window's edge, greedy, sampled, streamed, stopped, copied."""

from __future__ import annotations

import copy
from typing import Any

import gptoss
import numpy as np
import pytest
from engine_cases import log_softmax, processed_context
from metal_backend import (
    assert_logits_agree,
    cpu_model,
    logits_while_decoding,
    metal_model,
    prompt,
)

pytestmark = pytest.mark.usefixtures("metal_backend")


@pytest.mark.parametrize(
    ("shape_name", "first", "end", "max_batch_tokens"),
    [
        ("tiny", 110, 150, 31),  # across the edge of the window of 128
        ("tiny", 110, 150, 64),  # behind pieces of many rows
        ("short_window", 0, 60, 1),  # a ring that wraps three times
        ("window_of_one", 0, 30, 1),
        ("odd_hidden_size", 0, 20, 1),
        ("sixteen_heads", 0, 20, 1),
        ("three_active_experts", 0, 20, 1),
        ("one_expert", 0, 20, 1),
    ],
)
def test_decoding_agrees_with_the_reference_at_every_position(
    shape_name: str, first: int, end: int, max_batch_tokens: int
) -> None:
    expected = prompt(shape_name)
    context = gptoss.Context(metal_model(shape_name), max_batch_tokens=max_batch_tokens)
    if first:
        context.append(expected.tokens[:first])
        context.process()
    logits = logits_while_decoding(context, expected.tokens[first:end])
    assert_logits_agree(logits, expected.logits[first:end], f"decoding from {first}")


@pytest.mark.slow
def test_decoding_far_past_the_window() -> None:
    """Splits of a long context, and a ring that has wrapped twice."""
    expected = prompt("all_experts_active", 1200)
    context = processed_context(metal_model("all_experts_active"), expected.tokens[:1190])
    logits = logits_while_decoding(context, expected.tokens[1190:])
    assert_logits_agree(logits, expected.logits[1190:], "decoding after 1,190 tokens")


@pytest.mark.parametrize("shape_name", ["tiny", "short_window", "sixteen_heads"])
def test_greedy_tokens_are_those_of_the_cpu_backend(shape_name: str) -> None:
    tokens = prompt(shape_name).tokens[:30]
    expected = processed_context(cpu_model(shape_name), tokens).sample(40, temperature=0.0)
    actual = processed_context(metal_model(shape_name), tokens).sample(40, temperature=0.0)
    assert actual == expected


SAMPLING: dict[str, dict[str, Any]] = {
    "plain": {},
    "hot": {"temperature": 1.7},
    "top_p": {"top_p": 0.8},
    "top_k": {"top_k": 20},
    "min_p": {"min_p": 0.05},
    "penalties": {
        "repetition_penalty": 1.3,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.4,
    },
    "bias": {"logit_bias": {7: 6.0, 9: float("-inf")}},
    "everything": {
        "temperature": 0.8,
        "top_p": 0.9,
        "top_k": 50,
        "min_p": 0.01,
        "repetition_penalty": 1.1,
        "logit_bias": {3: 2.0},
    },
}


@pytest.mark.parametrize("options", SAMPLING.values(), ids=SAMPLING)
def test_sampled_tokens_are_those_of_the_cpu_backend(options: dict[str, Any]) -> None:
    """One generator and one order of steps: a draw differs only where it falls on an edge."""
    tokens = prompt("tiny").tokens[:20]
    contexts = [processed_context(model, tokens) for model in (metal_model(), cpu_model())]
    actual, expected = (context.sample(16, seed=11, **options) for context in contexts)
    assert actual == expected
    np.testing.assert_allclose(
        contexts[0].log_probabilities, contexts[1].log_probabilities, atol=2e-3
    )


def test_calls_of_any_length_give_the_same_tokens() -> None:
    """What was queued ahead in one call is neither lost nor drawn twice in the next."""
    tokens = prompt("tiny").tokens[:20]
    whole = processed_context(metal_model(), tokens).sample(24, seed=4, top_p=0.9)
    cut = processed_context(metal_model(), tokens)
    pieces = [cut.sample(count, seed=4, top_p=0.9) for count in (1, 2, 1, 7, 13)]
    streamed = processed_context(metal_model(), tokens)
    assert [token for piece in pieces for token in piece] == whole
    assert list(streamed.stream(24, seed=4, top_p=0.9)) == whole
    assert cut.tokens == streamed.tokens == tokens + whole


@pytest.mark.parametrize("num_tokens", [1, 2, 9])
def test_what_follows_a_call_is_as_if_nothing_had_been_queued_ahead(num_tokens: int) -> None:
    """After sampling, after leaving a stream, and after a stop: append and go on."""
    tokens = prompt("tiny").tokens[:20]
    sampled = processed_context(metal_model(), tokens)
    answer = sampled.sample(num_tokens, seed=4)
    left = processed_context(metal_model(), tokens)
    for _, _token in zip(range(num_tokens), left.stream(seed=4), strict=False):
        pass
    stopped = processed_context(metal_model(), tokens)
    stopped.sample(50, seed=4, stop_tokens=answer[-1:])

    then = [5, 6, 7]
    expected = processed_context(cpu_model(), tokens + answer + then).logits()
    for name, context in (("sampled", sampled), ("left", left), ("stopped", stopped)):
        assert context.tokens == tokens + answer, name
        context.append(then)
        assert_logits_agree(context.logits(), expected, name)


def test_other_options_in_the_next_call_are_honoured() -> None:
    """A stream that goes on must be the same one: greedy after hot, another seed, a new stop."""
    tokens = prompt("tiny").tokens[:20]
    contexts = [processed_context(model, tokens) for model in (metal_model(), cpu_model())]
    for options in (
        {"temperature": 2.0, "seed": 1},
        {"temperature": 0.0},
        {"temperature": 1.0, "seed": 2},
        {"temperature": 1.0, "seed": 3, "top_k": 5},
        {"temperature": 1.0, "seed": 3, "top_k": 5, "logit_bias": {8: 20.0}},
    ):
        actual, expected = (context.sample(3, **options) for context in contexts)
        assert actual == expected, options


def test_stop_token_ends_the_answer_and_its_successors_are_not_sampled() -> None:
    tokens = prompt("tiny").tokens[:20]
    answer = processed_context(metal_model(), tokens).sample(20, temperature=0.0)
    stop = answer[7]
    context = processed_context(metal_model(), tokens)
    expected = answer[: answer.index(stop) + 1]
    assert context.sample(20, temperature=0.0, stop_tokens=[stop]) == expected
    assert context.finish_reason == "stop"
    assert context.tokens == tokens + expected


def test_answer_that_fills_the_context() -> None:
    tokens = prompt("tiny").tokens[:20]
    context = processed_context(metal_model(), tokens, context_length=29)
    assert len(context.sample(50, temperature=0.0)) == 9
    assert context.finish_reason == "context_length"
    with pytest.raises(gptoss.ContextOverflowError, match="29"):
        context.sample(1)


def test_log_probabilities_are_of_the_distribution_of_the_model() -> None:
    tokens = prompt("tiny").tokens[:20]
    context = processed_context(metal_model(), tokens)
    answer = context.sample(8, temperature=3.0, top_k=40, seed=2)
    beside = processed_context(cpu_model(), tokens)
    rows = np.array([beside.logits(), *logits_while_decoding(beside, answer[:-1])])
    expected = log_softmax(rows)[np.arange(len(answer)), answer]
    np.testing.assert_allclose(context.log_probabilities, expected, atol=2e-3)


def test_copies_made_while_decoding_go_their_own_ways() -> None:
    tokens = prompt("tiny").tokens[:20]
    original = processed_context(metal_model(), tokens)
    original.sample(6, seed=1)
    duplicate = copy.copy(original)
    beginning = original.tokens
    first, second = original.sample(6, temperature=0.0), duplicate.sample(6, seed=9)
    cpu = processed_context(cpu_model(), beginning)
    assert first == copy.copy(cpu).sample(6, temperature=0.0)
    assert second == cpu.sample(6, seed=9)


def test_two_streams_of_one_model_take_turns() -> None:
    """Each has work queued while the other one's is read."""
    tokens = prompt("tiny").tokens
    contexts = [processed_context(metal_model(), tokens[:n]) for n in (10, 25)]
    expected = [copy.copy(context).sample(12, seed=3) for context in contexts]
    streams = [context.stream(12, seed=3) for context in contexts]
    actual = [list(pair) for pair in zip(*streams, strict=True)]
    assert [list(tokens) for tokens in zip(*actual, strict=True)] == expected
