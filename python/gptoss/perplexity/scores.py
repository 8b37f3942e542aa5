"""What single predictions are worth, and what many of them come to, with standard errors."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Logits = npt.NDArray[np.float32]
    Numbers = npt.NDArray[np.float64]

# Rows that are widened to fp64 at a time: 13 MB of the 20b's vocabulary.
_ROWS_AT_A_TIME = 8


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error, as if the values were independent; NaN for a single one."""

    mean: float
    standard_error: float

    @classmethod
    def of(cls, values: Numbers) -> Estimate:
        """Of a sample."""
        error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return cls(float(values.mean()), float(error))


@dataclass
class Scores:
    """Of every prediction of one model, in nats."""

    losses: list[float] = field(default_factory=list)
    """The negative logarithm of the probability of the token that came."""

    @property
    def loss(self) -> Estimate:
        """The mean negative log-likelihood of a token."""
        return Estimate.of(np.array(self.losses))

    @property
    def perplexity(self) -> Estimate:
        """exp(loss); the error is that of the first order."""
        loss = self.loss
        value = math.exp(loss.mean)
        return Estimate(value, value * loss.standard_error)

    def add(self, logits: Logits, tokens: list[int]) -> None:
        """Predictions, [n, V], and the tokens that came."""
        for first in range(0, len(tokens), _ROWS_AT_A_TIME):
            rows = log_softmax(logits[first : first + _ROWS_AT_A_TIME])
            came = tokens[first : first + len(rows)]
            self.losses += (-rows[np.arange(len(rows)), came]).tolist()


@dataclass
class Comparison:
    """Of every prediction of a model with the reference's at the same place."""

    divergences: list[float] = field(default_factory=list)
    """KL(reference || model), in nats."""
    agreements: list[bool] = field(default_factory=list)
    """Whether both find the same token likeliest."""
    max_logit_difference: float = 0.0

    def add(self, reference: Logits, logits: Logits) -> None:
        """Predictions of both, [n, V]."""
        for first in range(0, len(logits), _ROWS_AT_A_TIME):
            part = slice(first, first + _ROWS_AT_A_TIME)
            p, q = log_softmax(reference[part]), log_softmax(logits[part])
            # Rounding can make it a little less than nothing.
            self.divergences += np.maximum((np.exp(p) * (p - q)).sum(axis=-1), 0.0).tolist()
            self.agreements += (p.argmax(axis=-1) == q.argmax(axis=-1)).tolist()
            difference = float(np.abs(reference[part] - logits[part]).max())
            if not difference <= self.max_logit_difference:  # NaN is worse than anything
                self.max_logit_difference = difference

    @property
    def divergence(self) -> Estimate:
        """The mean KL divergence."""
        return Estimate.of(np.array(self.divergences))

    def divergence_quantile(self, share: float) -> float:
        """The KL divergence that this share of the predictions stays within."""
        return float(np.quantile(self.divergences, share))

    @property
    def same_likeliest(self) -> Estimate:
        """The share of predictions that agree on the likeliest token."""
        return Estimate.of(np.array(self.agreements, np.float64))


def log_softmax(logits: npt.NDArray[Any]) -> Numbers:
    """The natural logarithms of the probabilities, [n, V], in fp64."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return wide
