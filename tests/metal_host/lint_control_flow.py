"""The rule about simdgroup operations and barriers: all threads that take part have to arrive."""

from __future__ import annotations

from collections.abc import Iterator

from metal_host.divergence import BARRIER, LANES, Program
from metal_host.findings import Finding
from metal_host.lint_source import Sources


def divergent_operation(sources: Sources) -> Iterator[Finding]:
    """Simdgroup operations and barriers stand where all threads of the simdgroup (of the
    threadgroup) arrive.

    Metal leaves undefined what a simdgroup operation returns where some lanes are inactive, and a
    barrier that not all threads reach hangs or is ignored. The host device finds at run time what
    happens in a run; this looks at all paths, but follows names only: see divergence.py.
    """
    functions = [
        (outline, function) for outline in sources.outlines for function in outline.functions
    ]
    for divergence in Program(functions).analyse():
        if divergence.name == BARRIER:
            where = "the threads of a simdgroup" if divergence.kind & LANES else "simdgroups"
        else:
            where = "the threads of a simdgroup"
        text = (
            f"{divergence.function.name}: {divergence.name} below a condition that differs "
            f"between {where}"
        )
        line = divergence.outline.code[divergence.position].line
        path = sources.path if divergence.outline is sources.main else divergence.outline.path
        yield Finding(path, line, "divergent_operation", text)


RULES = (divergent_operation,)
