"""What a check of a kernel's source says: a place and a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that is wrong, or that the checks cannot prove right."""

    path: Path
    line: int
    rule: str  # the rule's name: how to look up why it exists
    text: str  # a sentence: what was found, what was expected, what to do

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text} [{self.rule}]"


def report(findings: list[Finding]) -> str:
    """All findings, one a line, for the message of a failing test."""
    return "\n".join(str(finding) for finding in sorted(findings))
