"""What no front end on Linux says about a Metal source, because it is legal C++, legal OpenCL or a
matter of the GPU.

Each rule is a function of the sources: its docstring says what it forbids and why. Rules read
tokens and the outline of a file (tokens.py, syntax.py), never its text, so comments and strings
cannot fool them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from metal_host import lint_addresses, lint_attributes, lint_control_flow, lint_language
from metal_host.findings import Finding
from metal_host.lint_source import Sources
from metal_host.syntax import SourceError

Rule = Callable[[Sources], Iterator[Finding]]

RULES: dict[str, Rule] = {
    rule.__name__: rule
    for module in (lint_language, lint_attributes, lint_addresses, lint_control_flow)
    for rule in module.RULES
}


def lint(path: Path) -> list[Finding]:
    """What the rules find in a .metal file or header; in what it includes, they find it when that
    is linted."""
    try:
        sources = Sources.read(path)
    except SourceError as error:
        return [Finding(path, 1, "source", str(error))]
    return sorted({finding for rule in RULES.values() for finding in rule(sources)})
