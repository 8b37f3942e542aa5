"""Snippets with one mistake each, and how the checks of sources are asked about them.

They stand in kernels/slips/*.txt, a file for each module of rules: a heading `==== rule/name: what
the finding says`, the `---- wrong` way, whose faulty lines end in `// here`, and the `---- right`
way, which must be clean.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from metal_host.findings import Finding, report

FOLDER = Path(__file__).parent / "kernels" / "slips"
HEADER = "#include <metal_stdlib>\nusing namespace metal;\n"
MARK = "// here"

# What a heading's "(statements of a kernel)" stands in.
KERNEL = """
kernel void k(device float* output [[buffer(0)]], // [n]
              constant uint& n [[buffer(1)]],
              uint index [[thread_index_in_threadgroup]],
              uint lane [[thread_index_in_simdgroup]],
              uint simdgroup [[simdgroup_index_in_threadgroup]]) {
    threadgroup float partials[32];
STATEMENTS
}
"""

_SLIP = re.compile(
    r"==== (?P<rule>\w+)/(?P<name>\w+)(?P<inside> \(statements of a kernel\))?: (?P<says>[^\n]+)\n"
    r"---- wrong\n(?P<wrong>.*?)"
    r"---- right\n(?P<right>.*?)\n*",
    re.DOTALL,
)


@dataclass(frozen=True)
class Slip:
    """A mistake, and the same done right."""

    rule: str
    name: str
    says: str  # part of the finding's sentence
    wrong: str
    right: str

    def __str__(self) -> str:
        return f"{self.rule}-{self.name}"


def read_slips(name: str) -> list[Slip]:
    """The slips of one file."""
    slips = []
    for text in re.split(r"\n(?===== )", (FOLDER / f"{name}.txt").read_text()):
        match = _SLIP.fullmatch(text)
        assert match is not None, f"{name}.txt: this is no slip:\n{text}"
        frame = KERNEL if match["inside"] else "STATEMENTS"
        slips.append(
            Slip(
                rule=match["rule"],
                name=match["name"],
                says=match["says"],
                wrong=frame.replace("STATEMENTS", match["wrong"]),
                right=frame.replace("STATEMENTS", match["right"]),
            )
        )
    return slips


def write(folder: Path, source: str, name: str = "snippet.metal") -> Path:
    """A file with the snippet, below Metal's header."""
    path = folder / name
    path.write_text(HEADER + source)
    return path


def assert_found(findings: list[Finding], path: Path, says: str) -> None:
    """Every marked line has a finding that says so, and no other line has one."""
    lines = enumerate(path.read_text().splitlines(), 1)
    expected = [number for number, line in lines if MARK in line]
    assert expected, "the snippet marks no line"
    found = sorted({finding.line for finding in findings if finding.path == path})
    assert found == expected, f"expected findings in lines {expected}:\n{report(findings)}"
    for line in expected:
        texts = [finding.text for finding in findings if finding.line == line]
        assert any(says in text for text in texts), f"none says {says!r}:\n{report(findings)}"
