"""Tables, and the counts that fill them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """One table of the report, as Markdown."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""  # what a reader has to know, behind the table

    def markdown(self) -> str:
        """The table below its title, and the note below it."""
        lines = [
            f"### {self.title}",
            "",
            "| " + " | ".join(self.header) + " |",
            "|" + "---|" + "---:|" * (len(self.header) - 1),
            *("| " + " | ".join(row) + " |" for row in self.rows),
        ]
        return "\n".join([*lines, "", self.note] if self.note else lines) + "\n"


@dataclass(frozen=True)
class Counts:
    """What one launch asked of memory: all its buffers together, without buffer 0 (arguments)."""

    requested: int  # bytes, summed over the accesses of simdgroups; lanes that share one count once
    per_threadgroup: int  # bytes that each threadgroup needs, summed over threadgroups
    minimum: int  # every byte that is needed, once
    threadgroup_memory: int  # bytes of threadgroup memory read and written, summed over simdgroups

    @property
    def ratio(self) -> float:
        """1 if nothing was asked for twice."""
        return self.requested / self.minimum


def count(result: Any, skip: Sequence[int] = (0,)) -> Counts:
    """Sums the traffic of a launch in trace mode over its buffers, those of `skip` left out."""
    buffers = [traffic for index, traffic in result.traffic.items() if index not in skip]
    memory = result.threadgroup_traffic
    return Counts(
        sum(t.simdgroup_bytes_read + t.simdgroup_bytes_written for t in buffers),
        sum(t.threadgroup_bytes_read + t.threadgroup_bytes_written for t in buffers),
        sum(t.distinct_bytes_read + t.distinct_bytes_written for t in buffers),
        memory.simdgroup_bytes_read + memory.simdgroup_bytes_written,
    )


def megabytes(count_of_bytes: float) -> str:
    return f"{count_of_bytes / 1e6:.2f} MB"
