"""Rewinds and snapshots on Metal, past the window: whatever a context went through, it is as a
fresh one.

The rules of the cache are tested with all backends (test_context_cache.py). This is about the
memory behind it: rings that are saved, restored and copied while the GPU may still use them.
"""

from __future__ import annotations

import copy

import gptoss
import pytest
from engine_cases import processed_context, random_tokens
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from metal_backend import assert_logits_agree, cpu_logits, cpu_model, metal_model

pytestmark = pytest.mark.usefixtures("metal_backend")

SHAPE = "rings_without_routing"


def assert_as_fresh(context: gptoss.Context, what: str) -> None:
    assert_logits_agree(context.logits(), cpu_logits(SHAPE, context.tokens), what)


@pytest.mark.parametrize("shared", [1, 16, 17, 18, 64, 149])
def test_rewind_after_reset(shared: int) -> None:
    first = random_tokens(150)
    context = processed_context(metal_model(SHAPE), first, max_batch_tokens=40)
    context.reset()
    context.append(first[:shared] + random_tokens(30, seed=6))
    assert_as_fresh(context, f"rewound to {shared} of 150")


@pytest.mark.parametrize("back", [0, 1, 2, 16, 17])
def test_returning_to_the_end_of_a_prompt_after_an_answer(back: int) -> None:
    """The answer has overwritten the rings: the snapshot brings them back, not a new prefill."""
    context = processed_context(metal_model(SHAPE), random_tokens(60), max_batch_tokens=31)
    context.sample(40, seed=1)
    context.truncate(60 - back)
    context.append(3)
    if back == 0:
        assert context.num_cached_tokens == 60
    assert_as_fresh(context, f"{back} before the end of the prompt")


def test_speculative_decoding_takes_tokens_back() -> None:
    context = processed_context(metal_model(SHAPE), random_tokens(25))
    for step in range(6):
        context.append(random_tokens(5, seed=step))
        context.process()
        context.truncate(context.num_tokens - step % 5)
        context.append(step)
    assert_as_fresh(context, "after 6 rounds")


def test_copies_share_nothing() -> None:
    original = processed_context(metal_model(SHAPE), random_tokens(50), max_batch_tokens=31)
    original.sample(20, seed=1)
    duplicate = copy.copy(original)
    original.truncate(50)
    original.append(random_tokens(40, seed=2))
    duplicate.append(random_tokens(30, seed=3))
    original.process()
    duplicate.process()
    assert_as_fresh(original, "the original")
    assert_as_fresh(duplicate, "the copy")
    duplicate.truncate(50)
    duplicate.append(1)
    assert_as_fresh(duplicate, "the copy, back at the prompt's end")


def test_copy_outlives_the_original() -> None:
    original = processed_context(metal_model(SHAPE), random_tokens(50), max_batch_tokens=31)
    original.sample(5, seed=1)
    duplicate = copy.copy(original)
    del original
    assert_as_fresh(duplicate, "the copy")


def test_cache_that_grows_keeps_what_it_holds() -> None:
    context = processed_context(metal_model(SHAPE), random_tokens(20))
    for end in (33, 70, 140, 290):
        context.append(random_tokens(end)[context.num_tokens :])
        context.process()
    assert_as_fresh(context, "grown to 290 tokens")


class LockstepMachine(RuleBasedStateMachine):
    """The same is done to a context on Metal and to one on the CPU."""

    def both(self) -> tuple[gptoss.Context, gptoss.Context]:
        return self.metal, self.cpu

    def room(self) -> int:
        return 200 - self.cpu.num_tokens

    @initialize(max_batch_tokens=st.sampled_from([5, 16, 33, 200]), num_tokens=st.integers(1, 60))
    def create(self, max_batch_tokens: int, num_tokens: int) -> None:
        self.metal, self.cpu = (
            gptoss.Context(model, context_length=200, max_batch_tokens=max_batch_tokens)
            for model in (metal_model(SHAPE), cpu_model(SHAPE))
        )
        self.append_new(num_tokens, 5)

    @precondition(lambda self: self.room() > 0)
    @rule(count=st.integers(1, 40), seed=st.integers(0, 3))
    def append_new(self, count: int, seed: int) -> None:
        tokens = random_tokens(min(count, self.room()), seed)
        for context in self.both():
            context.append(tokens)

    @rule(share=st.floats(0, 1))
    def truncate(self, share: float) -> None:
        num_tokens = int(share * self.cpu.num_tokens)
        for context in self.both():
            context.truncate(num_tokens)

    @rule(share=st.floats(0, 1), seed=st.integers(0, 3))
    def start_over_with_a_beginning(self, share: float, seed: int) -> None:
        kept = self.cpu.tokens[: int(share * self.cpu.num_tokens)]
        for context in self.both():
            context.reset()
            context.append([*kept, *random_tokens(3, seed)][:200])

    @rule()
    def go_on_with_copies(self) -> None:
        self.metal, self.cpu = (copy.copy(context) for context in self.both())

    @precondition(lambda self: self.cpu.num_tokens and self.room() > 0)
    @rule(count=st.integers(1, 20), seed=st.integers(0, 3))
    def sample(self, count: int, seed: int) -> None:
        """What Metal sampled is what both hold: on an edge, the CPU might draw another token."""
        sampled = self.metal.sample(count, seed=seed)
        self.cpu.append(sampled)

    @precondition(lambda self: self.cpu.num_tokens)
    @rule()
    def compare(self) -> None:
        assert self.metal.tokens == self.cpu.tokens
        cached = self.metal.num_cached_tokens
        assert_logits_agree(
            self.metal.logits(),
            self.cpu.logits(),
            f"after {self.metal.num_tokens} tokens, {cached} of them cached",
        )

    def teardown(self) -> None:
        if hasattr(self, "cpu") and self.cpu.num_tokens:
            self.compare()


LockstepMachine.TestCase.settings = settings(
    deadline=None, max_examples=15, stateful_step_count=15, derandomize=True
)
TestLockstep = pytest.mark.slow(LockstepMachine.TestCase)
