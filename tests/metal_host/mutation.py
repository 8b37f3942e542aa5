"""Mutation of kernels: does anybody notice when a barrier is missing?

Each `threadgroup_barrier` and `simdgroup_barrier` is deleted in turn, and launches that are known
to be right are repeated without it, in trace mode. An error (a race, most of all) or another result
means that the barrier is needed and that these launches prove it. A barrier whose deletion nobody
notices is either not needed, or not tested.

    launches = [Launch("sum", {"threadgroups": (4, 1, 1), "threads_per_threadgroup": (96, 1, 1),
                               "buffers": {0: values, 1: output}})]
    report = mutate_barriers(Library("sum.metal", mode="trace"), launches)
    assert not report.survived and not report.unreached

Nothing is compiled again: the machine passes over the deleted barrier, which then neither waits nor
orders memory.
"""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from metal_host.kernel_library import Library, RunError
from metal_host.syntax import read_outlines
from metal_host.tokens import WORD

_BARRIERS = ("threadgroup_barrier", "simdgroup_barrier")


@dataclass(frozen=True, order=True)
class Barrier:
    """A barrier in the source of a kernel; several on one line count as one."""

    file: str  # its name, without folders
    line: int
    operation: str  # "threadgroup_barrier" or "simdgroup_barrier"

    def __str__(self) -> str:
        return f"{self.operation} at {self.file}:{self.line}"


@dataclass(frozen=True)
class Launch:
    """A launch that can be repeated: it remembers its buffers as they were when it was made."""

    kernel: str
    arguments: Mapping[str, Any]  # of Library.run, with the buffers

    def __post_init__(self) -> None:
        arguments = {**self.arguments, "buffers": _copied(self.arguments["buffers"])}
        object.__setattr__(self, "arguments", arguments)

    def run(
        self, library: Library, without_barrier: tuple[str, int] | None = None
    ) -> tuple[Any, dict[int, bytes]]:
        """The result, and what all its buffers hold afterwards."""
        buffers = _copied(self.arguments["buffers"])
        arguments = {**self.arguments, "buffers": buffers, "without_barrier": without_barrier}
        result = library.run(self.kernel, **arguments)
        return result, {
            index: buffer.tobytes()
            for index, buffer in buffers.items()
            if isinstance(buffer, np.ndarray)
        }


@dataclass
class MutationReport:
    """What became of each barrier's deletion."""

    caught: dict[Barrier, str] = field(default_factory=dict)  # and by what
    survived: list[Barrier] = field(default_factory=list)  # reached, but nobody noticed
    unreached: list[Barrier] = field(default_factory=list)  # by any of the launches

    def complaint(self) -> str:
        """A sentence for each barrier that survived or was not reached; empty if there is none."""
        lines = [
            f"{barrier}: deleted, and no launch noticed: remove it, or add a launch that needs it"
            for barrier in self.survived
        ]
        lines += [f"{barrier}: no launch reaches it" for barrier in self.unreached]
        return "\n".join(lines)


def read_barriers(source: Path) -> list[Barrier]:
    """The barriers in a source and in what it includes in quotes."""
    return sorted(
        {
            Barrier(outline.path.name, token.line, token.text)
            for outline in read_outlines(source)
            for token in outline.code
            if token.kind == WORD and token.text in _BARRIERS
        }
    )


def mutate_barriers(library: Library, launches: Sequence[Launch]) -> MutationReport:
    """Deletes each barrier of a library in turn, and repeats those launches that reach it.

    The library has to be in trace mode. A launch that fails as it stands is an error of the caller.
    """
    expected = [launch.run(library) for launch in launches]
    report = MutationReport()
    for barrier in read_barriers(Path(library.path)):
        place = (barrier.file, barrier.line)
        reaching = [
            (launch, outputs)
            for launch, (result, outputs) in zip(launches, expected, strict=True)
            if place in result.barriers
        ]
        if not reaching:
            report.unreached.append(barrier)
            continue
        noticed = next(filter(None, (_notice(library, place, *each) for each in reaching)), None)
        if noticed is None:
            report.survived.append(barrier)
        else:
            report.caught[barrier] = noticed
    return report


def _notice(
    library: Library, deleted: tuple[str, int], launch: Launch, expected: Mapping[int, bytes]
) -> str | None:
    """What is different without the barrier."""
    try:
        _, outputs = launch.run(library, without_barrier=deleted)
    except RunError as error:
        return str(error)
    for index, before in expected.items():
        if outputs[index] != before:
            return f"{launch.kernel}: buffer {index} has other bytes"
    return None


def _copied(buffers: Mapping[int, Any]) -> dict[int, Any]:
    """The same buffers, but of their own memory; what overlaps among them still does."""
    arrays = {i: b for i, b in buffers.items() if isinstance(b, np.ndarray)}
    copies: dict[int, Any] = dict(buffers)
    owners: list[tuple[int, int, np.ndarray[Any, Any]]] = []  # begin, end, copy of these bytes
    for i, array in sorted(arrays.items(), key=lambda item: (item[1].ctypes.data, -item[1].nbytes)):
        begin, end = array.ctypes.data, array.ctypes.data + array.nbytes
        owner = next((o for o in owners if o[0] <= begin and end <= o[1]), None)
        if owner is None:
            owner = (begin, end, np.frombuffer(bytearray(array.tobytes()), np.uint8))
            owners.append(owner)
        part = owner[2][begin - owner[0] : end - owner[0]]
        copies[i] = part.view(array.dtype).reshape(array.shape)
    for i, buffer in buffers.items():
        if isinstance(buffer, ctypes.Structure):
            copies[i] = type(buffer).from_buffer_copy(buffer)
    return copies
