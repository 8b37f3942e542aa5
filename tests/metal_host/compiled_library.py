"""The compiled kernels of a .metal file, in the cache or in a folder of their own."""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from metal_host.compiler import build_kernels, build_machine, find_compiler
from metal_host.source import Kernel, read_source


@dataclass(frozen=True)
class CompiledLibrary:
    """Where the compiled kernels of a file are, and the machine that they are linked with."""

    kernels: dict[str, Kernel]
    machine: Path  # a shared object, as is the next
    binary: Path


def compile_library(path: Path, mode: str, compiler: str | None = None) -> CompiledLibrary:
    """Compiles a .metal file, unless the cache has it."""
    source = read_source(path.resolve())
    chosen = find_compiler(mode, compiler)
    machine = build_machine(chosen, mode)
    binary = build_kernels(chosen, source, path.stem, mode, machine)
    return CompiledLibrary(source.kernels, machine, binary)


def write_folder(folder: Path, libraries: Iterable[CompiledLibrary], names: Iterable[str]) -> None:
    """Makes `folder` hold the libraries as <name>.so, and their machine beside them.

    A program that loads them needs nothing else, wherever the folder is moved. Files that have not
    changed are left alone, what else lies in the folder is deleted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted: dict[str, Path] = {}
    for library, name in zip(libraries, names, strict=True):
        wanted[f"{name}.so"] = library.binary
        wanted[library.machine.name] = library.machine
    for name, source in wanted.items():
        target = folder / name
        if not target.exists() or not filecmp.cmp(source, target, shallow=False):
            _replace(source, target)
    for path in folder.iterdir():
        if path.name not in wanted:
            path.unlink()


def _replace(source: Path, target: Path) -> None:
    """Copies by way of a new file: a program may have loaded the old one."""
    handle, copy = tempfile.mkstemp(dir=target.parent)
    os.close(handle)
    shutil.copy(source, copy)
    Path(copy).replace(target)
