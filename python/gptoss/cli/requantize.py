"""`gptoss requantize`: a model.bin becomes a smaller and faster one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gptoss.cli.convert import run_interruptibly

if TYPE_CHECKING:
    from gptoss.convert import Progress

DESCRIPTION = """\
Writes a model file again, with its attention projections, embedding and unembedding in 8 bits
instead of 16 (a code for each weight, a scale for each 32). The experts stay as they are. The file
has a table of tensors with checksums, which other programs than gptoss do not read.
"""

EPILOG = """\
examples:
  gptoss requantize gpt-oss-20b.bin                   writes gpt-oss-20b-q8.bin
  gptoss requantize gpt-oss-20b/metal/model.bin 20b-q8.bin
  gptoss inspect 20b-q8.bin --verify                  read it back and compare the checksums

It needs free disk for the new file (12.1 GB for 20b, 63 GB for 120b) and less than 0.3 GB of
memory. DST appears only when it is complete: an interrupted run leaves nothing.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `requantize` to the command line."""
    parser = subparsers.add_parser(
        "requantize",
        help="make a model file smaller and faster: dense weights in 8 bits",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", metavar="MODEL", type=Path, help="a model.bin")
    add(
        "destination",
        metavar="DST",
        type=Path,
        nargs="?",
        help="file to write (default: MODEL with -q8 before its suffix)",
    )
    add(
        "--dense",
        choices=("q8",),
        default="q8",
        help="format of attention projections, embedding and unembedding (q8, the only one)",
    )
    add("--force", action="store_true", help="replace DST if it exists")


def run(arguments: argparse.Namespace) -> int:
    """Requantise, and return the exit code, as `gptoss convert` does."""
    from gptoss.convert import requantize
    from gptoss.convert.byte_counts import format_bytes
    from gptoss.convert.requantize import default_destination

    source: Path = arguments.model
    destination: Path = arguments.destination or default_destination(source)

    def work(progress: Progress) -> str:
        report = requantize(source, destination, force=arguments.force, progress=progress)
        return (
            f"{report.destination}: {format_bytes(report.num_bytes)}, "
            f"{format_bytes(report.source_bytes - report.num_bytes)} less, in "
            f"{report.seconds:.1f} s ({format_bytes(report.source_bytes / report.seconds)}/s)\n"
            f"  {report.num_quantized_tensors} dense matrices in 8 bits"
        )

    return run_interruptibly(work, destination)
