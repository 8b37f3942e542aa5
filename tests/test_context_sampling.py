"""What sample and stream return: where an answer ends, log-probabilities, arguments."""

from __future__ import annotations

import math
from typing import Any

import gptoss
import numpy as np
import pytest
from engine_cases import log_softmax, model, processed_context, random_tokens

PROMPT = random_tokens(20)
VOCABULARY_SIZE = 464


# --- Where an answer ends ---


def test_sample_returns_as_many_tokens_as_asked_for() -> None:
    context = processed_context(model(), PROMPT)
    answer = context.sample(12)
    assert len(answer) == 12
    assert context.tokens == PROMPT + answer
    assert context.finish_reason == "length"


def test_sample_is_one_token_by_default() -> None:
    assert len(processed_context(model(), PROMPT).sample()) == 1


def test_sampling_nothing_is_allowed() -> None:
    context = processed_context(model(), PROMPT)
    assert context.sample(0) == []
    assert (context.finish_reason, context.log_probabilities) == ("length", [])
    assert context.num_tokens == len(PROMPT)


def test_sample_processes_what_is_pending() -> None:
    context = gptoss.Context(model())
    context.append(PROMPT)
    assert context.sample(5, seed=2) == processed_context(model(), PROMPT).sample(5, seed=2)


def test_stop_token_is_the_last_one_returned() -> None:
    answer = processed_context(model(), PROMPT).sample(30, seed=1)
    stop = answer[12]
    first = answer.index(stop)
    context = processed_context(model(), PROMPT)
    assert context.sample(30, seed=1, stop_tokens=[stop]) == answer[: first + 1]
    assert context.finish_reason == "stop"
    # The stop token itself is processed where the next token's work was queued before it was read.
    assert context.num_tokens - context.num_cached_tokens <= (context.model.backend == "cpu")


def test_any_of_several_stop_tokens_stops() -> None:
    answer = processed_context(model(), PROMPT).sample(30, seed=1)
    absent = next(token for token in range(VOCABULARY_SIZE) if token not in answer)
    context = processed_context(model(), PROMPT)
    stopped = context.sample(30, seed=1, stop_tokens=(absent, answer[5], answer[3]))
    assert stopped == answer[: min(answer.index(answer[5]), answer.index(answer[3])) + 1]


def test_stop_token_that_arrives_last_is_a_stop() -> None:
    answer = processed_context(model(), PROMPT).sample(5, seed=1)
    length = answer.index(answer[4]) + 1
    context = processed_context(model(), PROMPT)
    context.sample(length, seed=1, stop_tokens=[answer[4]])
    assert context.finish_reason == "stop"


def test_sampling_ends_where_the_context_is_full() -> None:
    context = processed_context(model(), PROMPT, context_length=len(PROMPT) + 7)
    unlimited = processed_context(model(), PROMPT)
    assert context.sample(100, seed=1) == unlimited.sample(7, seed=1)
    assert context.finish_reason == "context_length"
    assert context.num_tokens == context.max_tokens


def test_sampling_exactly_what_fits_ends_by_length() -> None:
    context = processed_context(model(), PROMPT, context_length=len(PROMPT) + 7)
    assert len(context.sample(7)) == 7
    assert context.finish_reason == "length"


def test_sampling_into_a_full_context_is_an_overflow() -> None:
    context = processed_context(model(), PROMPT, context_length=len(PROMPT))
    with pytest.raises(gptoss.ContextOverflowError, match=str(len(PROMPT))):
        context.sample()
    with pytest.raises(gptoss.ContextOverflowError, match=str(len(PROMPT))):
        next(context.stream(5))
    context.truncate(len(PROMPT) - 1)
    assert len(context.sample()) == 1


def test_huge_max_output_tokens_costs_nothing() -> None:
    context = processed_context(model(), PROMPT, context_length=len(PROMPT) + 7)
    assert len(context.sample(2**62)) == 7


# --- Log-probabilities ---


def test_log_probabilities_are_of_the_distribution_of_the_model() -> None:
    """Whatever options bent the distribution that the tokens were drawn from."""
    options: dict[str, Any] = {
        "temperature": 2.0,
        "top_k": 50,
        "repetition_penalty": 1.5,
        "logit_bias": {3: 10.0},
        "seed": 6,
    }
    context = processed_context(model(), PROMPT)
    answer = context.sample(20, **options)
    again = processed_context(model(), PROMPT)
    expected = []
    for token in answer:
        expected.append(log_softmax(again.logits())[token])
        again.append(token)
    np.testing.assert_allclose(context.log_probabilities, expected, rtol=0, atol=1e-5)
    assert all(isinstance(value, float) for value in context.log_probabilities)


def test_log_probabilities_are_of_the_last_call() -> None:
    context = processed_context(model(), PROMPT)
    assert context.log_probabilities == []
    context.sample(5)
    assert len(context.log_probabilities) == 5
    context.sample(2)
    assert len(context.log_probabilities) == 2


def test_log_probability_of_a_certain_token_is_zero_and_never_above() -> None:
    context = processed_context(model(), PROMPT)
    context.sample(200, temperature=3.0)
    assert max(context.log_probabilities) <= 0


# --- Streaming ---


def test_stream_yields_what_sample_returns() -> None:
    sampled = processed_context(model(), PROMPT)
    answer = sampled.sample(20, seed=4, temperature=0.9, presence_penalty=1.0)
    streamed = processed_context(model(), PROMPT)
    tokens = list(streamed.stream(20, seed=4, temperature=0.9, presence_penalty=1.0))
    assert tokens == answer
    assert streamed.tokens == sampled.tokens
    assert streamed.finish_reason == sampled.finish_reason == "length"
    assert streamed.log_probabilities == sampled.log_probabilities


def test_stream_yields_each_token_before_it_samples_the_next() -> None:
    context = processed_context(model(), PROMPT)
    for count, token in enumerate(context.stream(5), start=1):
        assert context.num_tokens == len(PROMPT) + count
        assert context.tokens[-1] == token
        assert len(context.log_probabilities) == count


def test_stream_that_is_left_early_keeps_what_it_yielded() -> None:
    context = processed_context(model(), PROMPT)
    stream = context.stream(20, seed=4)
    first = [next(stream), next(stream)]
    del stream
    assert context.tokens == PROMPT + first
    rest = context.sample(18, seed=4)
    assert first + rest == processed_context(model(), PROMPT).sample(20, seed=4)


def test_stream_stops_at_a_stop_token_and_at_the_limit() -> None:
    answer = processed_context(model(), PROMPT).sample(8, seed=1)
    context = processed_context(model(), PROMPT)
    assert (
        list(context.stream(30, seed=1, stop_tokens=[answer[7]]))
        == (answer[: answer.index(answer[7]) + 1])
    )
    assert context.finish_reason == "stop"
    short = processed_context(model(), PROMPT, context_length=len(PROMPT) + 3)
    assert list(short.stream(30, seed=1)) == answer[:3]
    assert short.finish_reason == "context_length"


def test_stream_without_a_number_goes_on_until_the_context_is_full() -> None:
    context = processed_context(model(), PROMPT, context_length=len(PROMPT) + 7)
    assert len(list(context.stream(seed=1))) == 7
    assert context.finish_reason == "context_length"


def test_stream_checks_its_arguments() -> None:
    with pytest.raises(ValueError, match="temperature"):
        next(processed_context(model(), PROMPT).stream(5, temperature=-1))


# --- Arguments ---


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_p", math.nan),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("top_k", -1),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", -1.0),
        ("presence_penalty", math.nan),
        ("frequency_penalty", math.inf),
        ("seed", -1),
        ("seed", 2**64),
        ("max_output_tokens", -1),
        ("stop_tokens", [464]),
        ("stop_tokens", [-1]),
        ("logit_bias", {464: 1.0}),
        ("logit_bias", {-1: 1.0}),
        ("logit_bias", {1: math.nan}),
        ("logit_bias", {1: math.inf}),
    ],
)
def test_argument_out_of_range_is_named_and_nothing_is_sampled(name: str, value: Any) -> None:
    context = processed_context(model(), PROMPT)
    with pytest.raises(ValueError, match=name.replace("_", "[_ ]") + "|outside the .*vocabulary"):
        context.sample(**{name: value})
    assert context.tokens == PROMPT


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "warm"),
        ("top_k", 1.5),
        ("seed", 1.5),
        ("seed", None),
        ("max_output_tokens", 2.5),
        ("stop_tokens", 5),
        ("stop_tokens", ["a"]),
    ],
)
def test_argument_of_a_wrong_type_is_a_type_error(name: str, value: Any) -> None:
    context = processed_context(model(), PROMPT)
    with pytest.raises(TypeError):
        context.sample(**{name: value})
    assert context.tokens == PROMPT
