"""Running a test: contexts at its depth, and repetitions that start from copies of them."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gptoss.bench.trials import Trial
from gptoss.context import Context, process_batch

if TYPE_CHECKING:
    from gptoss import Model

# Enough to choose every expert of every block, so that all weights are mapped and in memory.
WARM_UP_TOKENS = 128
SEED = 1
# Called with what is being done.
Notice = Callable[[str], None]


class Runner:
    """Runs tests on one model. Tokens are random, the same at every run, and never sampled:
    what is measured is the model, up to the logits, as llama-bench does.
    """

    def __init__(self, model: Model, notice: Notice) -> None:
        self._model = model
        self._notice = notice
        self._random = random.Random(SEED)
        self._prefix: Context | None = None
        self._prefix_key = (0, 0)  # its depth and the size of its batches

    def warm_up(self) -> None:
        """Read all weights once, and compile and allocate what is needed once."""
        self._notice("warm-up")
        count = min(WARM_UP_TOKENS, self._model.max_context_length - 1)
        context = Context(self._model)
        context.append(self._tokens(count))
        context.process()
        context.append(self._tokens(1))
        context.process()

    def repetition(self, trial: Trial) -> float:
        """Seconds that the test takes once."""
        contexts = self._contexts(trial)
        if trial.kind == "prefill":
            contexts[0].append(self._tokens(trial.num_tokens))
            return _seconds(contexts[0].process)
        pieces = [self._tokens(trial.num_tokens) for _ in contexts]

        def decode() -> None:
            for step in range(trial.num_tokens):
                for context, tokens in zip(contexts, pieces, strict=True):
                    context.append(tokens[step])
                if len(contexts) == 1:
                    contexts[0].process()
                else:
                    process_batch(contexts)

        return _seconds(decode)

    def _contexts(self, trial: Trial) -> list[Context]:
        """Contexts of the trial's depth, processed, one for each sequence.

        They are copies of one: what they decode differs, and each has keys and values of its own.
        """
        key = (trial.depth, trial.batch_tokens)
        if self._prefix is None or self._prefix_key != key:
            self._prefix, self._prefix_key = Context(self._model, 0, trial.batch_tokens), key
            if trial.depth:
                self._notice(f"filling the context with {trial.depth} tokens")
                self._prefix.append(self._tokens(trial.depth))
                self._prefix.process()
        return [copy.copy(self._prefix) for _ in range(trial.sequences)]

    def _tokens(self, count: int) -> list[int]:
        size = self._model.tokenizer.num_text_tokens
        return [self._random.randrange(size) for _ in range(count)]


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
