"""The trials of a benchmark, as llama-bench names them: `pp512`, `tg64`, at depths, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True)
class Trial:
    """Tokens that are processed behind `depth` others, or sampled one by one, by one model."""

    kind: str
    """"prefill" or "decode"."""
    num_tokens: int
    """Of each sequence."""
    depth: int
    """Tokens in each context when the clock starts."""
    sequences: int
    """Contexts that decode at once, each its own tokens."""
    batch_tokens: int
    """The most tokens of a prompt that are processed in one piece."""
    threads: int | None
    """None: one per processor, or whatever the backend takes."""

    @property
    def name(self) -> str:
        """As "pp512", "tg64 @ d4096" or "tg64 x 4"."""
        name = f"{'pp' if self.kind == 'prefill' else 'tg'}{self.num_tokens}"
        if self.sequences > 1:
            name += f" x {self.sequences}"
        return f"{name} @ d{self.depth}" if self.depth else name

    @property
    def total_tokens(self) -> int:
        """Of all sequences: what a speed counts."""
        return self.num_tokens * self.sequences

    @property
    def context_length(self) -> int:
        """Tokens that each context has at the end."""
        return self.depth + self.num_tokens


def plan_trials(
    *,
    prompts: Sequence[int],
    generated: Sequence[int],
    depths: Sequence[int],
    sequences: Sequence[int],
    batches: Sequence[int],
    threads: Sequence[int | None],
) -> list[Trial]:
    """Every combination, those of one model (threads) together; 0 tokens is no trial.

    Several sequences only decode: several prompts at once are no other work than a longer one. So
    prompts are not multiplied by `sequences`, nor is decoding by `batches`.
    """
    trials = []
    for num_threads, depth in product(threads, depths):
        for batch, count in product(batches, prompts):
            if count:
                trials.append(Trial("prefill", count, depth, 1, batch, num_threads))
        for count, at_once in product(generated, sequences):
            if count:
                trials.append(Trial("decode", count, depth, at_once, batches[0], num_threads))
    return list(dict.fromkeys(trials))
