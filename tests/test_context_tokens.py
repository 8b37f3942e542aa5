"""What a context holds: append, truncate, reset, copies, limits and honest bookkeeping."""

from __future__ import annotations

import copy
import pickle

import gptoss
import numpy as np
import pytest
from engine_cases import assert_same_logits, model, model_path, processed_context, random_tokens
from hypothesis import given, settings
from hypothesis import strategies as st

# --- Appending ---


def test_new_context_is_empty() -> None:
    context = gptoss.Context(model())
    assert (context.tokens, context.num_tokens, context.num_cached_tokens) == ([], 0, 0)
    assert context.finish_reason is None


def test_context_length_defaults_to_the_maximum_of_the_model() -> None:
    assert gptoss.Context(model()).max_tokens == model().max_context_length
    assert gptoss.Context(model(), context_length=100).max_tokens == 100


def test_context_longer_than_the_model_allows_is_refused() -> None:
    limit = model().max_context_length
    with pytest.raises(ValueError, match=str(limit)):
        gptoss.Context(model(), context_length=limit + 1)


@pytest.mark.parametrize("argument", ["context_length", "max_batch_tokens"])
def test_negative_sizes_are_refused(argument: str) -> None:
    with pytest.raises(ValueError, match=argument):
        gptoss.Context(model(), **{argument: -1})


def test_append_takes_one_token_text_bytes_or_tokens() -> None:
    context = gptoss.Context(model())
    tokenizer = model().tokenizer
    context.append(3)
    context.append("sun")
    context.append(b"sun")
    context.append([1, 2])
    context.append((1, 2))
    context.append(np.array([1, 2]))
    context.append(range(1, 3))
    sun = tokenizer.encode("sun")
    assert context.tokens == [3, *sun, *sun, 1, 2, 1, 2, 1, 2, 1, 2]
    assert context.num_tokens == len(context.tokens)


def test_append_takes_numpy_integers() -> None:
    context = gptoss.Context(model())
    context.append(np.int64(7))
    assert context.tokens == [7]


def test_appended_text_never_becomes_a_special_token() -> None:
    context = gptoss.Context(model())
    context.append("<|start|>")
    assert max(context.tokens) < model().tokenizer.num_text_tokens


def test_tokens_are_a_copy() -> None:
    context = gptoss.Context(model())
    context.append([1, 2])
    context.tokens.append(3)
    assert context.tokens == [1, 2]


@pytest.mark.parametrize("nothing", ["", b"", [], ()])
def test_appending_nothing_changes_nothing(nothing: str | bytes | list[int] | tuple[()]) -> None:
    context = processed_context(model(), [1, 2])
    context.append(nothing)
    assert (context.num_tokens, context.num_cached_tokens) == (2, 2)


@pytest.mark.parametrize("token", [-1, 464, 2**32, 2**64])
def test_token_outside_the_vocabulary_is_refused_and_nothing_is_appended(token: int) -> None:
    context = gptoss.Context(model())
    with pytest.raises(ValueError, match="464"):
        context.append([1, token])
    with pytest.raises(ValueError, match="464"):
        context.append(token)
    assert context.tokens == []


@pytest.mark.parametrize("wrong", [1.5, None, [1, 1.5], [1, "a"], object(), np.ones((2, 2))])
def test_append_of_anything_else_is_a_type_error(wrong: object) -> None:
    context = gptoss.Context(model())
    with pytest.raises(TypeError):
        context.append(wrong)  # type: ignore[arg-type]
    assert context.tokens == []


def test_append_past_the_limit_says_the_numbers_and_appends_nothing() -> None:
    context = gptoss.Context(model(), context_length=10)
    context.append(random_tokens(7))
    with pytest.raises(gptoss.ContextOverflowError, match=r"\b4\b.*\b7\b.*\b11\b.*\b10\b"):
        context.append(random_tokens(4))
    assert context.num_tokens == 7
    context.append(random_tokens(3))
    assert context.num_tokens == context.max_tokens == 10


def test_full_context_can_be_processed() -> None:
    context = processed_context(model(), random_tokens(10), context_length=10)
    expected = processed_context(model(), random_tokens(10)).logits()
    assert_same_logits(context.logits(), expected)


# --- Processing ---


def test_empty_context_cannot_be_processed() -> None:
    with pytest.raises(gptoss.GptossError, match="empty"):
        gptoss.Context(model()).process()
    with pytest.raises(gptoss.GptossError, match="empty"):
        gptoss.Context(model()).logits()
    with pytest.raises(gptoss.GptossError, match="empty"):
        gptoss.Context(model()).sample()


def test_logits_processes_what_is_pending() -> None:
    context = gptoss.Context(model())
    context.append(random_tokens(20))
    logits = context.logits()
    assert context.num_cached_tokens == 20
    assert_same_logits(logits, processed_context(model(), random_tokens(20)).logits())


def test_logits_are_a_copy() -> None:
    context = processed_context(model(), random_tokens(5))
    first = context.logits()
    expected = first.copy()
    first[:] = 0
    assert_same_logits(context.logits(), expected)


def test_processing_twice_does_nothing_the_second_time() -> None:
    context = processed_context(model(), random_tokens(20))
    assert totals_of_progress(context) == set()


def test_progress_counts_from_none_to_all_of_the_pending_tokens() -> None:
    context = processed_context(model(), random_tokens(50), max_batch_tokens=30)
    context.append(random_tokens(100))
    calls: list[tuple[int, int]] = []
    context.process(progress=lambda processed, total: calls.append((processed, total)))
    assert {total for _, total in calls} == {100}
    assert [processed for processed, _ in calls] == sorted(processed for processed, _ in calls)
    assert {processed for processed, _ in calls} == {0, 30, 60, 90, 100}


def test_exception_in_the_progress_callback_stops_processing_and_arrives() -> None:
    def stop(processed: int, total: int) -> None:
        if processed:
            raise LookupError("enough")

    context = gptoss.Context(model(), max_batch_tokens=30)
    context.append(random_tokens(100))
    with pytest.raises(LookupError, match="enough"):
        context.process(progress=stop)
    assert 0 < context.num_cached_tokens < 100
    assert_same_logits(context.logits(), processed_context(model(), random_tokens(100)).logits())


# --- The cache and what it says about itself ---


def totals_of_progress(context: gptoss.Context) -> set[int]:
    """How many tokens process() says that it processes."""
    totals: set[int] = set()
    context.process(progress=lambda processed, total: totals.add(total))
    return totals


def test_appended_tokens_are_not_cached_until_they_are_processed() -> None:
    context = gptoss.Context(model())
    context.append(random_tokens(20))
    assert context.num_cached_tokens == 0
    context.process()
    assert context.num_cached_tokens == 20
    context.append(random_tokens(4))
    assert context.num_cached_tokens == 20
    assert totals_of_progress(context) == {4}


def test_sampled_token_is_not_cached_until_it_is_processed() -> None:
    context = processed_context(model(), random_tokens(20))
    context.sample(max_output_tokens=3)
    assert (context.num_tokens, context.num_cached_tokens) == (23, 22)
    assert totals_of_progress(context) == {1}
    assert context.num_cached_tokens == 23


def test_only_what_follows_a_shared_prefix_is_processed() -> None:
    prompt = random_tokens(60)
    context = processed_context(model(), prompt)
    context.reset()
    assert (context.num_tokens, context.num_cached_tokens) == (0, 0)
    context.append(prompt[:40])
    other = [(token + 1) % 464 for token in prompt[40:50]]
    context.append(other)
    assert context.num_cached_tokens == 40
    assert totals_of_progress(context) == {10}
    expected = processed_context(model(), prompt[:40] + other).logits()
    assert_same_logits(context.logits(), expected)


def test_same_prompt_again_needs_only_its_last_token() -> None:
    """Of the last token nothing but the logits is missing, and computing them takes the token."""
    prompt = random_tokens(60)
    context = processed_context(model(), prompt)
    logits = context.logits()
    context.reset()
    context.append(prompt)
    assert context.num_cached_tokens == 59
    assert totals_of_progress(context) == {1}
    assert_same_logits(context.logits(), logits)


def test_conversation_whose_answer_is_appended_again_is_cached() -> None:
    """As a server does, which is sent the whole conversation with every turn."""
    prompt = random_tokens(60)
    context = processed_context(model(), prompt)
    answer = context.sample(max_output_tokens=8, seed=3)
    context.reset()
    context.append(prompt + answer + random_tokens(5, seed=9))
    assert context.num_cached_tokens == 67
    expected = processed_context(model(), context.tokens).logits()
    assert_same_logits(context.logits(), expected)


def test_nothing_is_shared_with_a_prompt_that_differs_at_its_first_token() -> None:
    context = processed_context(model(), [1, 2, 3])
    context.reset()
    context.append([2, 2, 3])
    assert context.num_cached_tokens == 0
    expected = processed_context(model(), [2, 2, 3]).logits()
    assert_same_logits(context.logits(), expected)


# --- Truncating ---


def test_truncate_keeps_the_first_tokens() -> None:
    tokens = random_tokens(50)
    context = processed_context(model(), tokens)
    context.truncate(30)
    assert context.tokens == tokens[:30]
    expected = processed_context(model(), tokens[:30]).logits()
    assert_same_logits(context.logits(), expected)


def test_truncate_to_the_present_length_changes_nothing() -> None:
    context = processed_context(model(), random_tokens(50))
    context.truncate(50)
    assert context.num_cached_tokens == 50


def test_truncate_to_nothing_is_a_reset() -> None:
    context = processed_context(model(), random_tokens(50))
    context.truncate(0)
    assert context.tokens == []


def test_truncate_drops_a_sampled_token_and_keeps_the_logits() -> None:
    context = processed_context(model(), random_tokens(50))
    logits = context.logits()
    context.sample()
    context.truncate(50)
    assert context.num_cached_tokens == 50
    assert_same_logits(context.logits(), logits)


@pytest.mark.parametrize("num_tokens", [51, 2**63, -1])
def test_truncate_to_more_than_there_is_is_refused(num_tokens: int) -> None:
    context = processed_context(model(), random_tokens(50))
    with pytest.raises(ValueError, match=r"\b50\b|at least 0"):
        context.truncate(num_tokens)
    assert context.num_tokens == 50


# --- Copies ---


def test_copy_continues_as_the_original_would() -> None:
    tokens = random_tokens(200)
    original = processed_context(model("short_window"), tokens[:150])
    twin = copy.copy(original)
    assert (twin.tokens, twin.num_cached_tokens) == (original.tokens, original.num_cached_tokens)
    assert twin.max_tokens == original.max_tokens
    for context in (twin, original):
        context.append(tokens[150:])
    assert_same_logits(twin.logits(), original.logits())


def test_copies_are_independent() -> None:
    tokens = random_tokens(200)
    original = processed_context(model("short_window"), tokens[:150])
    twin = copy.copy(original)
    twin.append([7] * 50)
    twin.process()
    assert original.num_tokens == 150
    original.append(tokens[150:])
    expected = processed_context(model("short_window"), tokens).logits()
    assert_same_logits(original.logits(), expected)
    expected = processed_context(model("short_window"), tokens[:150] + [7] * 50).logits()
    assert_same_logits(twin.logits(), expected)


def test_copy_of_an_unprocessed_context_has_the_same_to_do() -> None:
    context = processed_context(model(), random_tokens(20))
    context.append([1, 2])
    twin = copy.copy(context)
    assert (twin.num_tokens, twin.num_cached_tokens) == (22, 20)
    assert_same_logits(twin.logits(), context.logits())


def test_copy_outlives_the_original() -> None:
    context = processed_context(model(), random_tokens(20))
    twin = copy.copy(context)
    expected = context.logits()
    del context
    assert_same_logits(twin.logits(), expected)


def test_deepcopy_shares_the_model() -> None:
    context = processed_context(model(), random_tokens(20))
    twin = copy.deepcopy(context)
    assert_same_logits(twin.logits(), context.logits())


def test_context_keeps_its_model_alive() -> None:
    context = processed_context(gptoss.Model(model_path()), random_tokens(20))
    expected = processed_context(model(), random_tokens(20)).logits()
    assert_same_logits(context.logits(), expected)


def test_pickling_a_context_is_refused_with_a_reason() -> None:
    with pytest.raises(TypeError, match=r"(?i)context.*(tokens|memory|cache)"):
        pickle.dumps(gptoss.Context(model()))


def test_pickling_a_model_is_refused_with_a_reason() -> None:
    with pytest.raises(TypeError, match=r"(?i)model.*(path|file|memory)"):
        pickle.dumps(model())


# --- Growth ---


@settings(deadline=None, max_examples=15, derandomize=True)
@given(cuts=st.lists(st.integers(1, 400), min_size=1, max_size=6))
def test_cache_grows_without_a_trace(cuts: list[int]) -> None:
    """Whatever pieces a context grew by, past the sizes at which its memory is moved."""
    tokens = random_tokens(sum(cuts))
    context = gptoss.Context(model("short_window"))
    for cut in cuts:
        context.append(tokens[context.num_tokens : context.num_tokens + cut])
        context.process()
    expected = processed_context(model("short_window"), tokens).logits()
    assert_same_logits(context.logits(), expected)


def test_memory_of_a_context_grows_with_its_tokens_not_with_its_limit() -> None:
    num_bytes = [model().kv_cache_bytes(length) for length in (256, 1024, 4096, 131072)]
    assert num_bytes == sorted(set(num_bytes))
    # Full attention: 2 (keys, values) x 2 heads x 64 x fp16 a token in one of the two blocks.
    assert num_bytes[3] - num_bytes[2] == (131072 - 4096) * 2 * 2 * 64 * 2


def test_kv_cache_bytes_of_more_than_the_model_allows_is_refused() -> None:
    with pytest.raises(ValueError, match="131072"):
        model().kv_cache_bytes(131073)
