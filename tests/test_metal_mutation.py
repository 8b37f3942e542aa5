"""No barrier of a Metal kernel is left out by the tests that delete barriers.

Each family of kernels has its tests named test_every_barrier_is_needed, which delete the barriers
that their launches reach. Here all of these run once more, but without deleting anything: together
they have to reach every barrier in metal/, those of headers among them.
"""

import importlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from metal_host import mutation
from metal_host.mutation import Barrier, read_barriers

TESTS = Path(__file__).parent
METAL = TESTS.parent / "metal"
NAME = "test_every_barrier_is_needed"

MODULES = [
    path.stem
    for path in sorted(TESTS.glob("test_metal_*.py"))
    if f"def {NAME}(" in path.read_text("utf-8")
]


def parameters_of(test: Any) -> Iterator[dict[str, Any]]:
    """The arguments of each of the runs that pytest.mark.parametrize makes of a test."""
    choices: list[list[dict[str, Any]]] = []
    for mark in getattr(test, "pytestmark", []):
        if mark.name == "parametrize":
            names, values = mark.args[:2]
            names = [name.strip() for name in names.split(",")] if isinstance(names, str) else names
            choices.append(
                [dict(zip(names, [v] if len(names) == 1 else v, strict=True)) for v in values]
            )
    for chosen in itertools.product(*choices):
        yield {name: value for each in chosen for name, value in each.items()}


def test_every_barrier_is_deleted_by_some_test(monkeypatch: pytest.MonkeyPatch) -> None:
    deleted: set[tuple[str, int]] = set()

    def instead_of_deleting(_library: Any, place: tuple[str, int], *_: Any) -> str:
        deleted.add(place)
        return "not tried here"

    monkeypatch.setattr(mutation, "_notice", instead_of_deleting)
    for module in MODULES:
        test = getattr(importlib.import_module(module), NAME)
        for arguments in parameters_of(test):
            test(**arguments)

    sources = [*METAL.glob("*.metal"), *METAL.glob("*.h")]
    barriers: set[Barrier] = {barrier for source in sources for barrier in read_barriers(source)}
    assert barriers, f"no barrier found in {METAL}"
    left_out = sorted(b for b in barriers if (b.file, b.line) not in deleted)
    assert not left_out, "no test of deleted barriers reaches " + ", ".join(map(str, left_out))
