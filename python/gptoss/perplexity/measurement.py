"""Runs models over the windows of a text, a piece at a time, so that logits take little memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gptoss.context import Context
from gptoss.perplexity.scores import Comparison, Estimate, Scores

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from gptoss.model import Model
    from gptoss.perplexity.windows import Window

# The logits that are held of one model at a time: 124 tokens of the 20b. There are two copies, the
# engine's and this one.
MAX_LOGIT_BYTES = 100_000_000


@dataclass
class Measurement:
    """What a text says about a model; the reference's part is None without one."""

    scores: Scores = field(default_factory=Scores)
    reference: Scores | None = None
    comparison: Comparison | None = None

    @property
    def log_ratio(self) -> Estimate:
        """ln(perplexity / the reference's), from the differences token by token."""
        import numpy as np

        assert self.reference is not None
        return Estimate.of(np.array(self.scores.losses) - np.array(self.reference.losses))


def measure(
    model: Model,
    windows: Sequence[Window],
    reference: Model | None = None,
    progress: Callable[[int, Measurement], None] | None = None,
) -> Measurement:
    """Scores the windows with the model, and compares it with the reference if there is one.

    Both models work on the same piece in turn, so neither's logits have to be kept. `progress` is
    called with the number of windows that are done.

    ValueError: the models' vocabularies differ.
    """
    measurement = Measurement()
    models = [model]
    if reference is not None:
        require_same_vocabulary(model, reference)
        measurement.reference, measurement.comparison = Scores(), Comparison()
        models.append(reference)
    length = max(len(window.tokens) for window in windows)
    contexts = [Context(each, length) for each in models]
    piece = max(1, MAX_LOGIT_BYTES // (4 * model.config.vocabulary_size))
    for done, window in enumerate(windows, start=1):
        predictions = [_predictions(context, window, piece) for context in contexts]
        first = window.first_scored
        for logits, *others in zip(*predictions, strict=True):
            came = window.tokens[first : first + len(logits)]
            first += len(logits)
            measurement.scores.add(logits, came)
            for expected in others:
                assert measurement.reference is not None
                assert measurement.comparison is not None
                measurement.reference.add(expected, came)
                measurement.comparison.add(expected, logits)
        if progress is not None:
            progress(done, measurement)
    return measurement


def _predictions(context: Context, window: Window, piece: int) -> Iterator[npt.NDArray[np.float32]]:
    """The logits for the window's scored tokens, some rows at a time."""
    context.reset()
    tokens = window.tokens[:-1]  # nothing is asked about what follows the last one
    first = window.first_scored - 1  # the logits after this token are for the first one that counts
    context.append(tokens[:first])
    if first:
        context.process()
    while first < len(tokens):
        context.append(tokens[first : first + piece])
        yield context.logits_from(first)
        first += piece


def require_same_vocabulary(model: Model, reference: Model) -> None:
    """ValueError unless the same tokens mean the same text in both models."""
    ours, theirs = model.tokenizer, reference.tokenizer
    names = f"{model.path} and {reference.path}"
    if ours.num_tokens != theirs.num_tokens or ours.num_text_tokens != theirs.num_text_tokens:
        raise ValueError(
            f"The vocabularies of {names} differ: {ours.num_text_tokens} text and "
            f"{ours.num_special_tokens} special tokens against {theirs.num_text_tokens} and "
            f"{theirs.num_special_tokens}. Only models with the same tokens can be compared."
        )
    for token in range(ours.num_tokens):
        if ours.token_bytes(token) != theirs.token_bytes(token):
            raise ValueError(
                f"The vocabularies of {names} differ: token {token} is "
                f"{ours.token_bytes(token)!r} in one and {theirs.token_bytes(token)!r} in the "
                "other. Only models with the same tokens can be compared."
            )
