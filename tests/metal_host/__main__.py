"""`python -m metal_host compile metal/*.metal --mode plain --mode trace`: fills the cache ahead."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from metal_host.compiler import MODES, CompileError, build_machine, cache_folder, find_compiler
from metal_host.kernel_library import compile_library
from metal_host.syntax import SourceError


def main(arguments: Sequence[str]) -> int:
    """0: everything compiles."""
    parser = argparse.ArgumentParser(prog="python -m metal_host", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    compiling = commands.add_parser("compile", help="compile .metal files into the cache")
    compiling.add_argument("files", nargs="+", type=Path, metavar="FILE")
    compiling.add_argument(
        "--mode", action="append", choices=MODES, help="may be repeated; without it: plain"
    )
    compiling.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parsed = parser.parse_args(arguments)
    modes = parsed.mode or ["plain"]

    def compile_one(work: tuple[str, Path]) -> str | None:
        mode, file = work
        start = time.monotonic()
        try:
            compile_library(file, mode)
        except (CompileError, SourceError) as error:
            return f"{file} ({mode}): {error}"
        print(f"{time.monotonic() - start:6.1f} s  {file} ({mode})", flush=True)
        return None

    try:
        for mode in modes:
            build_machine(
                find_compiler(mode), mode
            )  # before the files that would all have to wait for it
    except CompileError as error:
        print(error, file=sys.stderr)
        return 1
    with ThreadPoolExecutor(parsed.jobs) as pool:
        work = [(mode, file) for mode in modes for file in parsed.files]
        errors = [error for error in pool.map(compile_one, work) if error is not None]
    print(*errors, sep="\n", file=sys.stderr, end="\n" if errors else "")
    print(f"the cache is {cache_folder()}")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
