"""What repetitions of a measurement say together."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Samples:
    """One figure of several repetitions; at least one."""

    values: tuple[float, ...]

    @staticmethod
    def speeds(num_tokens: int, seconds: Sequence[float]) -> Samples:
        """Tokens a second of repetitions that took so long."""
        return Samples(tuple(num_tokens / each for each in seconds))

    @property
    def median(self) -> float:
        """The middle, which one slow repetition does not move."""
        return statistics.median(self.values)

    @property
    def mean(self) -> float:
        """The average."""
        return statistics.fmean(self.values)

    @property
    def standard_deviation(self) -> float:
        """Of the repetitions as a sample; 0 for a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the greatest."""
        return min(self.values), max(self.values)

    def as_json(self) -> dict[str, float]:
        """The figures under documented names."""
        least, greatest = self.spread
        return {
            "median": self.median,
            "min": least,
            "max": greatest,
            "mean": self.mean,
            "standard_deviation": self.standard_deviation,
        }
