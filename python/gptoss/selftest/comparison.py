"""A model end to end: what one backend computes, beside what another one does."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gptoss.context import Context, process_batch

if TYPE_CHECKING:
    import numpy.typing as npt

    from gptoss import Model

    Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Limits:
    """How far logits may differ."""

    difference: float
    clear_lead: float
    """Where the best logit is so far ahead, both have to agree on it."""

    def scaled(self, factor: float) -> Limits:
        """Wider ones."""
        return Limits(self.difference * factor, self.clear_lead * factor)


LIMITS = Limits(5e-3, 0.02)
"""Of the demo model."""
OTHER_MODELS_FACTOR = 10
"""The logits of large models are larger, and pass through many more blocks."""
SMALL_BATCH = 31
"""Rows of a batch that other kernels process than larger ones."""

SHARE_TOLERANCE = 0.02
"""How far a random number may fall outside a token's share of the probability, to be drawn from
logits that differ by less than the limit."""

PREFILLS = (1, 5, 130, 300)
CHUNKS = (7, 41, 1, 83, 2, 166)  # of the longest of these
NUM_DECODED = 24
REWOUND_TO = 150


@dataclass(frozen=True)
class Comparison:
    """What became of one part."""

    name: str
    passed: bool
    largest_difference: float
    """Of logits."""
    tolerance: float
    message: str
    """What is wrong, if it did not pass."""


class _Part:
    """One comparison while it is made."""

    def __init__(self, name: str, limits: Limits) -> None:
        self.name = name
        self.limits = limits
        self.largest = 0.0
        self.messages: list[str] = []

    def logits(self, what: str, actual: Logits, expected: Logits) -> None:
        """They may differ by the tolerance, and agree on the best where it is far ahead."""
        difference = float(np.max(np.abs(actual.astype(np.float64) - expected)))
        # NaN is worse than anything.
        self.largest = difference if not difference <= self.largest else self.largest
        if not difference < self.limits.difference:
            token = int(np.argmax(np.abs(actual.astype(np.float64) - expected)))
            self.messages.append(
                f"{what}: the logit of token {token} is {actual[token]:.6g}, "
                f"expected {expected[token]:.6g}"
            )
        best, second = (int(token) for token in np.argsort(expected)[[-1, -2]])
        if (
            expected[best] - expected[second] > self.limits.clear_lead
            and int(np.argmax(actual)) != best
        ):
            self.messages.append(
                f"{what}: the likeliest token is {int(np.argmax(actual))}, expected {best}, which "
                f"is ahead by {expected[best] - expected[second]:.3g}"
            )

    def fail(self, message: str) -> None:
        self.messages.append(message)

    def result(self) -> Comparison:
        message = "; ".join(self.messages[:2])
        return Comparison(self.name, not message, self.largest, self.limits.difference, message)


def compare(
    tested: Model, reference: Model, progress: Callable[[int, int, str], object]
) -> list[Comparison]:
    """Compares the backends of two models of one file, part by part.

    Calls `progress(done, in all, what comes next)`. The context of both has to have room for some
    400 tokens. What a backend raises is told as that part's failure, and ends the comparison.
    """
    suite = _Suite(tested, reference)
    results: list[Comparison] = []
    for index, (name, run) in enumerate(suite.parts):
        progress(index, len(suite.parts), name)
        factor = 1 if tested.is_demo else OTHER_MODELS_FACTOR
        part = _Part(name, LIMITS.scaled(factor))
        try:
            run(part)
        except Exception as error:
            part.fail(f"{type(error).__name__}: {error}")
            results.append(part.result())
            break
        results.append(part.result())
    return results


class _Suite:
    """The parts, in an order in which each token goes through the reference once.

    The reference may be slow: every prefill is the beginning of the next one.
    """

    def __init__(self, tested: Model, reference: Model) -> None:
        self.tested = tested
        # Text tokens, the same at every run; what they say does not matter.
        generator = random.Random(20)
        count = tested.tokenizer.num_text_tokens
        self.prompt = [generator.randrange(count) for _ in range(max(PREFILLS))]
        self.other = [generator.randrange(count) for _ in range(20)]
        self.reference = Context(reference)
        self.expected: dict[int, Logits] = {}
        self.processed = Context(tested, max_batch_tokens=SMALL_BATCH)
        self.parts: list[tuple[str, Callable[[_Part], None]]] = [
            ("prefill of 1, 5, 130 and 300 tokens", self.prefills),
            ("300 tokens in ragged chunks", self.chunks),
            ("two sequences at once", self.together),
            (f"{NUM_DECODED} greedy tokens", self.greedy),
            (f"{NUM_DECODED} sampled tokens", self.sampled),
            ("rewinds behind the window", self.rewinds),
        ]

    def expect(self, num_tokens: int) -> Logits:
        """The reference's logits behind the first tokens of the prompt; in ascending order."""
        if num_tokens not in self.expected:
            self.reference.append(self.prompt[self.reference.num_tokens : num_tokens])
            self.expected[num_tokens] = self.reference.logits()
        return self.expected[num_tokens]

    def context(self, num_tokens: int) -> Context:
        """Of the backend that is tested, with the prompt's beginning."""
        context = Context(self.tested)
        context.append(self.prompt[:num_tokens])
        return context

    def prefills(self, part: _Part) -> None:
        for num_tokens in PREFILLS:
            actual = self.context(num_tokens).logits()
            part.logits(f"{num_tokens} tokens", actual, self.expect(num_tokens))

    def chunks(self, part: _Part) -> None:
        for size in CHUNKS:
            first = self.processed.num_tokens
            self.processed.append(self.prompt[first : first + size])
            self.processed.process()
        part.logits("after the last chunk", self.processed.logits(), self.expect(300))

    def together(self, part: _Part) -> None:
        """The second one goes on alone, so that each has to have its own cache."""
        first, second = self.context(130), self.context(1)
        process_batch([first, second])
        part.logits("the first sequence", first.logits(), self.expect(130))
        part.logits("the second one", second.logits(), self.expect(1))
        second.append(self.prompt[1:5])
        part.logits("the second one after 5 tokens", second.logits(), self.expect(5))

    def greedy(self, part: _Part) -> None:
        """Tokens may part where the best two are as good as equal."""

        def is_fair(logits: Logits, token: int, _: int) -> bool:
            return bool(logits.max() - logits[token] <= part.limits.clear_lead)

        self.decode(part, is_fair, temperature=0)

    def sampled(self, part: _Part) -> None:
        """Tokens may part where the random number falls between two."""
        seed = 7

        def is_fair(logits: Logits, token: int, position: int) -> bool:
            weights = np.exp(logits.astype(np.float64) - logits.max())
            ends = np.cumsum(weights) / weights.sum()
            begin = ends[token] - weights[token] / weights.sum()
            number = uniform_random(seed, position)
            return bool(begin - SHARE_TOLERANCE <= number <= ends[token] + SHARE_TOLERANCE)

        self.decode(part, is_fair, temperature=1, seed=seed)

    def decode(
        self,
        part: _Part,
        is_fair: Callable[[Logits, int, int], bool],
        temperature: float,
        seed: int = 0,
    ) -> None:
        """Has the reference go along with the tested backend's tokens, and judge each."""
        context, reference = copy.copy(self.processed), copy.copy(self.reference)
        for token in context.sample(NUM_DECODED, temperature=temperature, seed=seed):
            position = reference.num_tokens
            if not is_fair(reference.logits(), token, position):
                part.fail(f"token {position} is {token}, which the reference would not choose")
                return
            reference.append(token)
        part.logits("behind them", context.logits(), reference.logits())

    def rewinds(self, part: _Part) -> None:
        contexts = (self.processed, self.reference)
        for context in contexts:
            context.truncate(REWOUND_TO)
            context.append(self.other)
        part.logits("behind other tokens", contexts[0].logits(), contexts[1].logits())
        for context in contexts:
            context.truncate(REWOUND_TO)
            context.append(self.prompt[REWOUND_TO:300])
        part.logits("behind the same again", contexts[0].logits(), self.expect(300))


def uniform_random(seed: int, position: int) -> float:
    """The number in [0, 1) that the engine draws for a position (source/sampler.cpp)."""
    mask = 2**64 - 1

    def mix(value: int) -> int:
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & mask
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB & mask
        return value ^ (value >> 31)

    golden_gamma = 0x9E3779B97F4A7C15
    mixed = mix((seed + golden_gamma) & mask)
    return (mix((mixed + (position + 1) * golden_gamma) & mask) >> 11) * 2.0**-53
