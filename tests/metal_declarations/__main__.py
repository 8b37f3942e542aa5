"""`python -m metal_declarations fetch FOLDER`, then `python -m metal_declarations check FOLDER`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from metal_declarations.check import check
from metal_declarations.declarations import UncheckedError, read_declarations
from metal_declarations.fetch import FetchError, fetch
from metal_declarations.zig import ZigError, find_zig


def main(arguments: Sequence[str]) -> int:
    """0: every declaration is right."""
    parser = argparse.ArgumentParser(prog="python -m metal_declarations", description=__doc__)
    parser.add_argument("command", choices=("fetch", "check"))
    parser.add_argument("folder", type=Path, help="of what describes Apple's SDK")
    parsed = parser.parse_args(arguments)
    try:
        if parsed.command == "fetch":
            fetch(parsed.folder)
            return 0
        zig = find_zig()
        if zig is None:
            print("zig is missing: pip install '.[metal-check]'", file=sys.stderr)
            return 1
        declarations = read_declarations(zig)
        findings = check(declarations, parsed.folder)
    except (FetchError, UncheckedError, ZigError) as error:
        print(error, file=sys.stderr)
        return 1
    print(*findings, sep="\n", file=sys.stderr, end="\n" if findings else "")
    counts = {name: len(values) for name, values in vars(declarations).items()}
    print(", ".join(f"{number} {name}" for name, number in counts.items()), "checked")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
