"""File and line of places in compiled kernels: what the marks in the tracer's texts stand for.

The tracer knows the address of the instruction that accessed memory, and writes it into its text
as `<pc /path/of/kernels.so 0x1234>`, where the addresses of the calls that lead there may follow.
Only the debug information knows the line, and `addr2line` (of binutils, which both compilers need
to link) reads it.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from metal_host.tools import run_tool

_MARK = re.compile(r"<pc (?P<library>[^<>]*?) (?P<addresses>0x[0-9a-f]+(?: 0x[0-9a-f]+)*)>")

# Not the kernels' own: the shim of the Metal standard library, and the machine.
_HOST = Path(__file__).resolve().parent
_NOT_OF_KERNELS = (_HOST / "include", _HOST / "runtime")


def resolve_locations(text: str) -> str:
    """The text with `scale.metal:12` in place of each mark.

    What is inlined there from elsewhere counts as the innermost line that is in the kernels'
    source: an access within simdgroup_load is shown at the kernel's call of it.
    """
    places: dict[str, str] = {}
    for mark in _MARK.finditer(text):
        frames = _read_frames(mark["library"], mark["addresses"].split())
        places[mark[0]] = _describe([frame for call in frames for frame in call])
    return _MARK.sub(lambda mark: places[mark[0]], text)


def _read_frames(library: str, addresses: list[str]) -> list[list[tuple[str, int]]]:
    """For each address file and line, and those of the calls that were inlined around it."""
    command = ["addr2line", "--inlines", "--addresses", f"--exe={library}", *addresses]
    try:
        lines = run_tool(command).stdout.splitlines()
    except FileNotFoundError:
        return []  # the text is of use without the line as well
    frames: list[list[tuple[str, int]]] = []
    for line in lines:
        if re.fullmatch(r"0x[0-9a-f]+", line):
            frames.append([])
        else:
            file, _, number = line.partition(" (discriminator")[0].rpartition(":")
            frames[-1].append((file, int(number) if number.isdigit() else 0))
    return frames


def _describe(frames: Iterable[tuple[str, int]]) -> str:
    known = [(Path(file).resolve(), line) for file, line in frames if line != 0]
    of_kernels = [
        (file, line)
        for file, line in known
        if not any(file.is_relative_to(folder) for folder in _NOT_OF_KERNELS)
    ]
    for file, line in of_kernels or known:
        return f"{file.name}:{line}"
    return "an unknown line"
