"""`gptoss convert`: a checkpoint in SafeTensors becomes a model.bin."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from gptoss.convert import ConversionReport, Progress

DESCRIPTION = """\
Makes a model.bin from a gpt-oss checkpoint in SafeTensors: OpenAI's original layout, Hugging
Face's, or a fine-tuned model whose unquantised experts are quantised to MXFP4 on the way.
"""

EPILOG = """\
examples:
  hf download openai/gpt-oss-20b --include "original/*" --local-dir gpt-oss-20b
  gptoss convert gpt-oss-20b gpt-oss-20b.bin
  gptoss convert my-fine-tune                        writes my-fine-tune/model.bin
  gptoss convert small small.bin --vocabulary small.tiktoken
  gptoss convert gpt-oss-20b 20b-q8.bin --dense q8   1.7 GB less, and faster

It needs as much free disk as the checkpoint takes (13.8 GB for 20b, 65 GB for 120b) and less than
1 GB of memory. DST appears only when it is complete: an interrupted conversion leaves nothing.
"""

EXIT_ERROR = 1
EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_TERMINATED = 128 + signal.SIGTERM


class _Terminated(KeyboardInterrupt):
    """SIGTERM arrived: like Ctrl-C, it must reach the code that removes the unfinished file."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `convert` to the command line."""
    parser = subparsers.add_parser(
        "convert",
        help="make a model.bin from a checkpoint in SafeTensors",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        metavar="SRC",
        type=Path,
        help="directory with config.json and .safetensors files, or with these in original/",
    )
    parser.add_argument(
        "destination",
        metavar="DST",
        type=Path,
        nargs="?",
        help="file to write (default: SRC/model.bin)",
    )
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that scripts/create-local-model.py has as well."""
    parser.add_argument(
        "--vocabulary",
        metavar="FILE",
        type=Path,
        help=".tiktoken or tokenizer.json file (default: tokenizer.json beside the checkpoint, "
        "else o200k_base, which is built in)",
    )
    parser.add_argument(
        "--dense",
        choices=("bf16", "q8"),
        default="bf16",
        help="format of attention projections, embedding and unembedding: as the checkpoint has "
        "them, or in 8 bits with a scale for each 32, which only gptoss reads (bf16)",
    )
    parser.add_argument("--force", action="store_true", help="replace DST if it exists")


def run(arguments: argparse.Namespace) -> int:
    """Convert, and return the exit code: 0, 1 for an error, 130 after Ctrl-C, 143 after SIGTERM."""
    from gptoss.convert import convert

    source: Path = arguments.source
    destination: Path = arguments.destination or source / "model.bin"

    def work(progress: Progress) -> str:
        report = convert(
            source,
            destination,
            vocabulary=arguments.vocabulary,
            dense=arguments.dense,
            force=arguments.force,
            progress=progress,
        )
        for warning in report.warnings:
            print(f"gptoss: warning: {warning}", file=sys.stderr)
        return _summary(report)

    return run_interruptibly(work, destination)


def run_interruptibly(work: Callable[[Progress], str], destination: Path) -> int:
    """Run what writes a file, with a progress bar, and print the summary that it returns.

    Returns the exit code; Ctrl-C and SIGTERM stop it and leave no unfinished file.
    """
    from gptoss.convert import ConversionError
    from gptoss.convert.progress_bar import ProgressBar

    progress = ProgressBar(sys.stderr)
    before = _identity(destination)
    previous_handler = signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        summary = work(progress)
    except ConversionError as error:
        progress.close()
        print(f"gptoss: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt as interrupt:
        progress.close()
        if _identity(destination) != before:
            outcome = f"{destination} was complete already"
        elif before is not None:
            outcome = f"{destination} is as it was, and the unfinished file was removed"
        else:
            outcome = f"nothing was written to {destination}; the unfinished file was removed"
        print(f"gptoss: interrupted, {outcome}.", file=sys.stderr)
        return EXIT_TERMINATED if isinstance(interrupt, _Terminated) else EXIT_INTERRUPTED
    finally:
        progress.close()
        signal.signal(signal.SIGTERM, previous_handler)
    print(summary)
    return 0


def _raise_terminated(signal_number: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what changes when a file is replaced; None without a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _summary(report: ConversionReport) -> str:
    from gptoss.convert.byte_counts import format_bytes

    lines = [
        f"{report.destination}: {format_bytes(report.num_bytes)} in {report.seconds:.1f} s "
        f"({format_bytes(report.num_bytes / report.seconds)}/s)",
        f"  from {report.source} ({report.layout})",
        f"  vocabulary: {report.vocabulary}",
    ]
    if report.num_quantized_tensors:
        lines.append(
            f"  {report.num_quantized_tensors} unquantised expert tensors became MXFP4, with a "
            f"relative error (root mean square) of {100 * report.quantization_error:.2f} %"
        )
    if report.num_rounded_tensors:
        lines.append(f"  {report.num_rounded_tensors} fp16 or fp32 tensors were rounded to bf16")
    return "\n".join(lines)
