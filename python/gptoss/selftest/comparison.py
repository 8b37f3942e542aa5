"""A model end to end: what one backend computes, beside what another one does."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gptoss.context import Context, process_batch

if TYPE_CHECKING:
    import numpy.typing as npt

    from gptoss import Model

    Logits = npt.NDArray[np.float32]

DEMO_TOLERANCE = 5e-3
"""Of logits of the demo model."""
TOLERANCE = 5e-2
"""Of logits of other models: they are larger, and pass through many more blocks in half precision."""
MARGIN = 0.02
"""Where the best logit is so far ahead, both have to agree on it."""
SHARE_TOLERANCE = 0.02
"""How far a random number may fall outside a token's share of the probability, to be drawn from
logits that differ by less than the tolerance."""

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

    def __init__(self, name: str, tolerance: float) -> None:
        self.name = name
        self.tolerance = tolerance
        self.largest = 0.0
        self.messages: list[str] = []

    def logits(self, what: str, actual: Logits, expected: Logits) -> None:
        """They may differ by the tolerance, and agree on the best where it is far ahead."""
        difference = float(np.max(np.abs(actual.astype(np.float64) - expected)))
        # NaN is worse than anything.
        self.largest = difference if not difference <= self.largest else self.largest
        if not difference < self.tolerance:
            token = int(np.argmax(np.abs(actual.astype(np.float64) - expected)))
            self.messages.append(
                f"{what}: the logit of token {token} is {actual[token]:.6g}, "
                f"expected {expected[token]:.6g}"
            )
        best, second = (int(token) for token in np.argsort(expected)[[-1, -2]])
        if expected[best] - expected[second] > MARGIN and int(np.argmax(actual)) != best:
            self.messages.append(
                f"{what}: the likeliest token is {int(np.argmax(actual))}, expected {best}, which "
                f"is ahead by {expected[best] - expected[second]:.3g}"
            )

    def fail(self, message: str) -> None:
        self.messages.append(message)

    def result(self) -> Comparison:
        message = "; ".join(self.messages[:2])
        return Comparison(self.name, not message, self.largest, self.tolerance, message)


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
        part = _Part(name, suite.tolerance)
        try:
            run(part)
        except Exception as error:
            part.fail(f"{type(error).__name__}: {error}")
            results.append(part.result())
            break
        results.append(part.result())
    return results


class _Suite:
    """The parts, with the reference's results that several of them use."""

    def __init__(self, tested: Model, reference: Model) -> None:
        self.tested = tested
        self.tolerance = DEMO_TOLERANCE if tested.is_demo else TOLERANCE
        # Text tokens, the same at every run; what they say does not matter.
        generator = random.Random(20)
        count = tested.tokenizer.num_text_tokens
        self.prompt = [generator.randrange(count) for _ in range(max(PREFILLS))]
        self.other = [generator.randrange(count) for _ in range(20)]
        # Slow on a large model, so each token goes through it once: every prefill is the
        # beginning of the next one.
        self.reference = Context(reference)
        self.expected: dict[int, Logits] = {}
        self.parts: list[tuple[str, Callable[[_Part], None]]] = [
            ("prefill of 1, 5, 130 and 300 tokens", self.prefills),
            ("300 tokens in ragged chunks", self.chunks),
            ("two sequences at once", self.together),
            (f"{NUM_DECODED} greedy tokens", self.greedy),
            (f"{NUM_DECODED} sampled tokens", self.sampled),
            (f"rewind to {REWOUND_TO} tokens, and on with others", self.rewind),
        ]

    def expect(self, num_tokens: int) -> Logits:
        """The reference's logits behind the first tokens of the prompt; in ascending order."""
        if num_tokens not in self.expected:
            self.reference.append(self.prompt[self.reference.num_tokens : num_tokens])
            self.expected[num_tokens] = self.reference.logits()
        return self.expected[num_tokens]

    def context(self, num_tokens: int, max_batch_tokens: int = 0) -> Context:
        """Of the backend that is tested, with the prompt's beginning."""
        context = Context(self.tested, max_batch_tokens=max_batch_tokens)
        context.append(self.prompt[:num_tokens])
        return context

    def prefills(self, part: _Part) -> None:
        for num_tokens in PREFILLS:
            actual = self.context(num_tokens).logits()
            part.logits(f"{num_tokens} tokens", actual, self.expect(num_tokens))

    def chunks(self, part: _Part) -> None:
        context = Context(self.tested, max_batch_tokens=64)
        for size in CHUNKS:
            context.append(self.prompt[context.num_tokens : context.num_tokens + size])
            context.process()
        part.logits("after the last chunk", context.logits(), self.expect(context.num_tokens))

    def together(self, part: _Part) -> None:
        first, second = self.context(130), self.context(5)
        process_batch([first, second])
        part.logits("the first sequence", first.logits(), self.expect(130))
        part.logits("the second one", second.logits(), self.expect(5))
        # And on, so that each has its own cache.
        first.append(self.prompt[130:300])
        process_batch([first])
        part.logits("the first one after 300 tokens", first.logits(), self.expect(300))

    def greedy(self, part: _Part) -> None:
        """Tokens may part where the best two are as good as equal."""
        tokens = self.context(300).sample(NUM_DECODED, temperature=0)

        def is_fair(logits: Logits, token: int, _: int) -> bool:
            return bool(logits.max() - logits[token] <= MARGIN)

        self.follow(part, tokens, is_fair)

    def sampled(self, part: _Part) -> None:
        """Tokens may part where the random number falls between two."""
        seed = 7
        tokens = self.context(300).sample(NUM_DECODED, temperature=1, seed=seed)

        def is_fair(logits: Logits, token: int, position: int) -> bool:
            weights = np.exp(logits.astype(np.float64) - logits.max())
            ends = np.cumsum(weights) / weights.sum()
            begin = ends[token] - weights[token] / weights.sum()
            number = uniform_random(seed, position)
            return bool(begin - SHARE_TOLERANCE <= number <= ends[token] + SHARE_TOLERANCE)

        self.follow(part, tokens, is_fair)

    def follow(
        self,
        part: _Part,
        tokens: Sequence[int],
        is_fair: Callable[[Logits, int, int], bool],
    ) -> None:
        """Has the reference go along with the tested backend's tokens, and judge each."""
        self.expect(300)
        reference = copy.copy(self.reference)
        for token in tokens:
            logits = reference.logits()
            if not is_fair(logits, token, reference.num_tokens):
                part.fail(
                    f"token {reference.num_tokens} is {token}, which the reference would not choose"
                )
                return
            reference.append(token)
        actual = self.context(300)
        actual.append(tokens)
        part.logits("behind them", actual.logits(), reference.logits())

    def rewind(self, part: _Part) -> None:
        self.expect(300)
        contexts = (self.context(300), self.reference)
        for context in contexts:
            context.process()
            context.truncate(REWOUND_TO)
            context.append(self.other)
        part.logits("behind other tokens", contexts[0].logits(), contexts[1].logits())
        for context in contexts:
            context.truncate(REWOUND_TO)
            context.append(self.prompt[REWOUND_TO:300])
        part.logits("behind the same again", contexts[0].logits(), self.expected[300])


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
