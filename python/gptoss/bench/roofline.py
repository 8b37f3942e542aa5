"""What a machine can do at best, and which share of it a test reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gptoss.bench.work import Work

if TYPE_CHECKING:
    from gptoss import Model

SECONDS = 2.0


@dataclass(frozen=True)
class Roofline:
    """Limits of this machine with a model's threads and instruction set."""

    threads: int
    read_bytes_per_second: float
    """Of memory that no cache holds, in large pages where the system has them."""
    mapped_read_bytes_per_second: float | None
    """Of the model's file where it is mapped; None: it is too small to tell."""
    fp32_operations_per_second: float
    int8_operations_per_second: float | None
    """None: the instruction set has nothing for it."""

    @property
    def read_limit(self) -> float:
        """The better of the two figures for reading."""
        return max(self.read_bytes_per_second, self.mapped_read_bytes_per_second or 0.0)


def measure_roofline(model: Model) -> Roofline:
    """Measure for some seconds. ValueError: the model's backend is not the CPU's."""
    threads, read, mapped, fp32, int8 = model._native.measure_roofline(SECONDS)
    return Roofline(threads, read, mapped or None, fp32, int8 or None)


@dataclass(frozen=True)
class Shares:
    """Of each limit, 1 being all of it."""

    read: float
    fp32: float
    int8: float | None


def shares(work: Work, seconds: float, roofline: Roofline) -> Shares:
    """Of work that took so long. All arithmetic counts, whichever numbers it is done in."""
    operations = work.operations / seconds
    int8 = roofline.int8_operations_per_second
    return Shares(
        work.num_bytes / seconds / roofline.read_limit,
        operations / roofline.fp32_operations_per_second,
        None if int8 is None else operations / int8,
    )
