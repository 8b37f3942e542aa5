"""Ring caches rewind exactly: whatever a context went through, its logits are a fresh context's."""

from __future__ import annotations

import copy

import gptoss
import pytest
from engine_cases import assert_same_logits, model, processed_context, random_tokens
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

# Window 17: a ring is short, and rewinds leave it soon. Window 1: a ring of nothing but the token.
SHAPES_WITH_RINGS = ["short_window", "window_of_one", "tiny", "five_blocks"]


@pytest.mark.parametrize("shape_name", SHAPES_WITH_RINGS)
@pytest.mark.parametrize("shared", [1, 16, 17, 18, 130, 500, 899])
def test_rewind_after_reset(shape_name: str, shared: int) -> None:
    """A prompt of 900 tokens, then one that shares its beginning: past the window, and far back."""
    first = random_tokens(900)
    second = first[:shared] + random_tokens(40, seed=6)
    context = processed_context(model(shape_name), first, max_batch_tokens=64)
    context.reset()
    context.append(second)
    fresh = processed_context(model(shape_name), second).logits()
    assert_same_logits(context.logits(), fresh)


@pytest.mark.parametrize("shape_name", SHAPES_WITH_RINGS)
def test_rewind_by_truncation_while_decoding(shape_name: str) -> None:
    """As speculative decoding does: a few tokens forward, some of them taken back, and again."""
    context = processed_context(model(shape_name), random_tokens(140), max_batch_tokens=16)
    for step in range(12):
        context.append(random_tokens(9, seed=step))
        context.process()
        context.truncate(context.num_tokens - step % 9)
        context.append(step)
    fresh = processed_context(model(shape_name), context.tokens).logits()
    assert_same_logits(context.logits(), fresh)


@pytest.mark.parametrize("shape_name", SHAPES_WITH_RINGS)
def test_returning_to_the_end_of_a_prompt_costs_one_token(shape_name: str) -> None:
    """However long the answer was: this is what regenerating an answer does."""
    prompt = random_tokens(300)
    context = processed_context(model(shape_name), prompt, max_batch_tokens=32)
    logits = context.logits()
    context.sample(max_output_tokens=400, seed=1)
    context.truncate(300)
    assert context.num_cached_tokens >= 299
    assert_same_logits(context.logits(), logits)


@pytest.mark.parametrize("shape_name", SHAPES_WITH_RINGS)
def test_returning_to_the_end_of_a_prompt_that_replaced_another(shape_name: str) -> None:
    """Of the same length, so that what was kept of the first one must be forgotten."""
    first = random_tokens(300)
    second = first[:100] + random_tokens(200, seed=6)
    context = processed_context(model(shape_name), first, max_batch_tokens=32)
    context.reset()
    context.append(second)
    context.sample(max_output_tokens=200, seed=1)
    context.truncate(300)
    fresh = processed_context(model(shape_name), second).logits()
    assert_same_logits(context.logits(), fresh)


@pytest.mark.parametrize("back", [1, 2, 3, 17])
@pytest.mark.parametrize("shape_name", SHAPES_WITH_RINGS)
@pytest.mark.parametrize("then", [[], [5]], ids=["same", "other"])
def test_returning_to_shortly_before_the_end_of_a_prompt(
    shape_name: str, back: int, then: list[int]
) -> None:
    """What is kept of the rings there reaches one window back and no further."""
    context = processed_context(model(shape_name), random_tokens(300), max_batch_tokens=32)
    context.sample(max_output_tokens=200, seed=1)
    context.truncate(300 - back)
    context.append(then)
    fresh = processed_context(model(shape_name), context.tokens).logits()
    assert_same_logits(context.logits(), fresh)


@pytest.mark.parametrize("shape_name", SHAPES_WITH_RINGS)
def test_next_turn_after_an_answer_whose_analysis_is_dropped(shape_name: str) -> None:
    """Harmony drops the analysis from the history: the shared prefix ends where the prompt did."""
    prompt = random_tokens(300)
    context = processed_context(model(shape_name), prompt, max_batch_tokens=32)
    answer = context.sample(max_output_tokens=400, seed=1)
    context.reset()
    context.append([*prompt, (answer[0] + 1) % 464, *answer[350:]])
    assert context.num_cached_tokens >= 299
    fresh = processed_context(model(shape_name), context.tokens).logits()
    assert_same_logits(context.logits(), fresh)


@pytest.mark.parametrize("turn", [0, 1, 7, 23, 38])
def test_rewind_to_any_turn_of_a_long_conversation(turn: int) -> None:
    """Of more turns than the cache keeps snapshots: then every other one, so two turns at most."""
    context = gptoss.Context(model("short_window"), max_batch_tokens=64)
    ends = []
    for seed in range(40):
        context.append(random_tokens(50, seed=seed))
        context.process()
        ends.append(context.num_tokens)
    kept = context.tokens[: ends[turn]]
    context.truncate(len(kept))
    assert context.num_cached_tokens >= len(kept) - 2 * 50
    assert_same_logits(context.logits(), processed_context(model("short_window"), kept).logits())


@pytest.mark.parametrize("shared", [1000, 2500, 4999])
def test_rewind_in_a_long_prompt_reprocesses_a_bounded_part(shared: int) -> None:
    """Snapshots of the rings are taken every 2,048 tokens, so no rewind costs more than that."""
    prompt = random_tokens(5000)
    context = processed_context(model("short_window"), prompt)
    context.reset()
    context.append(prompt[:shared])
    context.append((prompt[shared] + 1) % 464)
    assert shared - context.num_cached_tokens <= 2048 + 512
    fresh = processed_context(model("short_window"), context.tokens).logits()
    assert_same_logits(context.logits(), fresh)


@pytest.mark.parametrize("stop_at", [0, 64, 128, 256])
@pytest.mark.parametrize("shape_name", SHAPES_WITH_RINGS)
def test_interrupted_processing_leaves_no_trace(shape_name: str, stop_at: int) -> None:
    """Aborted in the middle of a piece, when its first block has written to the cache already.

    Then rewound across the piece, and overwritten with other tokens.
    """
    first = random_tokens(400)
    for kept in (80, 99, 100, 101, 150):
        context = processed_context(model(shape_name), first[:100], max_batch_tokens=64)
        context.append(first[100:])

        def abort(processed: int, total: int, context: gptoss.Context = context) -> None:
            if processed == stop_at:
                context.abort()

        with pytest.raises(gptoss.AbortedError):
            context.process(progress=abort)
        assert context.num_cached_tokens == 100 + stop_at
        context.truncate(kept)
        context.append(random_tokens(30, seed=kept))
        fresh = processed_context(model(shape_name), context.tokens).logits()
        assert_same_logits(context.logits(), fresh)


class ContextMachine(RuleBasedStateMachine):
    """Random work on a context. `expected` is what its tokens have to be.

    Tokens come from a tiny alphabet of beginnings, so that a reset is often followed by a prompt
    that shares a long prefix with what the cache still holds.
    """

    shape_name = "short_window"
    alphabet = random_tokens(220, seed=11)

    @initialize(max_batch_tokens=st.sampled_from([1, 5, 16, 64, 512]))
    def create(self, max_batch_tokens: int) -> None:
        self.context = gptoss.Context(
            model(self.shape_name), context_length=700, max_batch_tokens=max_batch_tokens
        )
        self.expected: list[int] = []

    def room(self) -> int:
        return self.context.max_tokens - len(self.expected)

    @rule(count=st.integers(0, 220))
    def append_a_beginning(self, count: int) -> None:
        self.append(self.alphabet[:count])

    @rule(tokens=st.lists(st.integers(0, 463), max_size=40))
    def append_tokens(self, tokens: list[int]) -> None:
        self.append(tokens)

    def append(self, tokens: list[int]) -> None:
        if len(tokens) > self.room():
            with pytest.raises(gptoss.ContextOverflowError):
                self.context.append(tokens)
        else:
            self.context.append(tokens)
            self.expected += tokens

    @rule(fraction=st.floats(0, 1))
    def truncate(self, fraction: float) -> None:
        length = round(fraction * len(self.expected))
        self.context.truncate(length)
        del self.expected[length:]

    @rule()
    def reset(self) -> None:
        self.context.reset()
        self.expected = []

    @rule()
    def swap_with_a_copy(self) -> None:
        """The original goes on with something else, which must not matter."""
        original, self.context = self.context, copy.copy(self.context)
        original.reset()
        original.append(self.alphabet[::-1])
        original.process()

    @precondition(lambda self: self.expected)
    @rule()
    def process(self) -> None:
        pending = len(self.expected) - self.context.num_cached_tokens
        totals: set[int] = set()
        self.context.process(progress=lambda processed, total: totals.add(total))
        assert totals == ({pending} if pending else set())
        assert self.context.num_cached_tokens == len(self.expected)

    @precondition(lambda self: self.expected)
    @rule(piece=st.integers(0, 8))
    def process_and_abort(self, piece: int) -> None:
        """In the middle of a piece, after its first block."""
        calls = 0

        def abort(processed: int, total: int) -> None:
            nonlocal calls
            if calls == piece and processed < total:
                self.context.abort()
            calls += 1

        try:
            self.context.process(progress=abort)
        except gptoss.AbortedError:
            assert self.context.num_cached_tokens < len(self.expected)
        else:
            assert self.context.num_cached_tokens == len(self.expected)

    @precondition(lambda self: self.expected and self.room())
    @rule(count=st.integers(1, 30), seed=st.integers(0, 3))
    def sample(self, count: int, seed: int) -> None:
        sampled = self.context.sample(max_output_tokens=count, seed=seed)
        assert len(sampled) == min(count, self.room())
        self.expected += sampled
        assert self.context.num_cached_tokens == len(self.expected) - 1

    @precondition(lambda self: self.expected)
    @rule()
    def compare_with_a_fresh_context(self) -> None:
        fresh = processed_context(model(self.shape_name), self.expected)
        assert_same_logits(self.context.logits(), fresh.logits())

    @invariant()
    def holds_what_it_was_given(self) -> None:
        if hasattr(self, "context"):
            assert self.context.tokens == self.expected
            assert self.context.num_tokens == len(self.expected)
            assert 0 <= self.context.num_cached_tokens <= len(self.expected)

    def teardown(self) -> None:
        if getattr(self, "expected", None):
            self.compare_with_a_fresh_context()


class WindowOfOneMachine(ContextMachine):
    shape_name = "window_of_one"


class LongWindowMachine(ContextMachine):
    shape_name = "tiny"


for machine in (ContextMachine, WindowOfOneMachine, LongWindowMachine):
    machine.TestCase.settings = settings(
        deadline=None, max_examples=30, stateful_step_count=25, derandomize=True
    )

TestShortWindow = ContextMachine.TestCase
TestWindowOfOne = WindowOfOneMachine.TestCase
TestLongWindow = LongWindowMachine.TestCase
