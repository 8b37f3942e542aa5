"""Compiles .metal files, on all processors. Needs no numpy.

`python -m metal_host compile metal/*.metal --mode plain --mode trace` fills the cache ahead;
`python -m metal_host build metal/*.metal --mode plain --output DIR` writes DIR/plain/<name>.so.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from metal_host.compiled_library import CompiledLibrary, compile_library, write_folder
from metal_host.compiler import MODES, CompileError, build_machine, cache_folder, find_compiler
from metal_host.syntax import SourceError


def main(arguments: Sequence[str]) -> int:
    """0: everything compiles."""
    parsed = _parse(arguments)
    start = time.monotonic()
    errors: list[str] = []

    def compile_one(mode: str, file: Path) -> CompiledLibrary | None:
        start = time.monotonic()
        try:
            library = compile_library(file, mode)
        except (CompileError, SourceError) as error:
            errors.append(f"{file} ({mode}): {error}")
            return None
        if parsed.command == "compile":
            print(f"{time.monotonic() - start:6.1f} s  {file} ({mode})", flush=True)
        return library

    for mode in parsed.mode or ["plain"]:
        try:
            # Before the files that would all have to wait for it.
            build_machine(find_compiler(mode), mode)
        except CompileError as error:
            print(error, file=sys.stderr)
            return 1
        with ThreadPoolExecutor(parsed.jobs) as pool:
            compiled = list(pool.map(lambda file, mode=mode: compile_one(mode, file), parsed.files))
        libraries = [library for library in compiled if library is not None]
        if parsed.command == "build" and not errors:
            write_folder(parsed.output / mode, libraries, [file.stem for file in parsed.files])
    if parsed.command == "build" and not errors:
        for mode in set(MODES) - set(
            parsed.mode or ["plain"]
        ):  # of an earlier build, and out of date
            shutil.rmtree(parsed.output / mode, ignore_errors=True)
    print(*errors, sep="\n", file=sys.stderr, end="\n" if errors else "")
    if parsed.command == "compile":
        print(f"the cache is {cache_folder()}")
    elif not errors:
        seconds = time.monotonic() - start
        print(f"{len(parsed.files)} Metal files in {parsed.output} after {seconds:.1f} s")
    return 1 if errors else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m metal_host",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    compiling = commands.add_parser("compile", help="compile .metal files into the cache")
    building = commands.add_parser("build", help="write libraries that a program can load")
    building.add_argument("--output", type=Path, required=True, metavar="DIR")
    for command in (compiling, building):
        command.add_argument("files", nargs="+", type=Path, metavar="FILE")
        command.add_argument(
            "--mode", action="append", choices=MODES, help="may be repeated; without it: plain"
        )
        command.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
