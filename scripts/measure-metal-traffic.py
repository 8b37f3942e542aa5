"""Count what the Metal kernels ask of memory, at the width of gpt-oss-20b.

    python scripts/measure-metal-traffic.py                   # every family, a few minutes
    python scripts/measure-metal-traffic.py dense experts
    python scripts/measure-metal-traffic.py --reference ~/gpt-oss    # with its kernels beside ours

The kernels run on the host device (tests/metal_host) in trace mode, so the figures are exact, the
same on every machine, and no GPU is needed. Printed is Markdown for docs/performance.md.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "python"), str(ROOT / "scripts")]

import metal_traffic  # noqa: E402
from metal_traffic.reference import Reference  # noqa: E402


def main() -> None:
    families = [
        module.name
        for module in pkgutil.iter_modules(metal_traffic.__path__)
        if module.name not in ("frame", "reference")
    ]
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n", 1)[0],
        epilog="Runs without a GPU: the kernels run on the CPU, their accesses are counted.",
    )
    parser.add_argument(
        "families",
        nargs="*",
        metavar="family",
        help=f"what to measure: {', '.join(families)} (default: all)",
    )
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="CHECKOUT",
        help="a checkout of openai/gpt-oss, whose kernels are measured beside ours",
    )
    options = parser.parse_args()
    unknown = [family for family in options.families if family not in families]
    if unknown:
        parser.error(f"no family {', '.join(unknown)}; there are {', '.join(families)}")
    reference = Reference(options.reference) if options.reference else None
    for family in options.families or families:
        for table in importlib.import_module(f"metal_traffic.{family}").measure(reference):
            print(table.markdown(), flush=True)


if __name__ == "__main__":
    main()
