"""The `gptoss` command: runs a subcommand and turns errors into sentences and exit codes.

Exit codes: 0 done; 1 an error, told in one sentence on stderr; 2 wrong usage; 130 stopped by
Ctrl-C; 141 whoever read the output went away.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from gptoss.cli import bench, convert, generate, inspect, perplexity, requantize, selftest

# In the order of the help. A command's module has add_parser(subparsers) and run(arguments) -> int,
# and imports what is slow to load (numpy, the engine) only in run.
COMMANDS: dict[str, ModuleType] = {
    "generate": generate,
    "convert": convert,
    "requantize": requantize,
    "inspect": inspect,
    "bench": bench,
    "perplexity": perplexity,
    "selftest": selftest,
}

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

EPILOG = """\
first steps:
  gptoss generate -p "What can you do?"        the built-in demo model, offline
  gptoss generate model.bin -p "Why is the sky blue?"

the real weights (20b: 14 GB), ready to use:
  hf download openai/gpt-oss-20b metal/model.bin --local-dir gpt-oss-20b
  gptoss generate gpt-oss-20b/metal/model.bin -p "Why is the sky blue?"
or converted from the original checkpoint:
  hf download openai/gpt-oss-20b --include "original/*" --local-dir gpt-oss-20b
  gptoss convert gpt-oss-20b/original gpt-oss-20b.bin

`gptoss COMMAND --help` explains a command.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (default: the process's) and returns its exit code.

    SystemExit: raised by argparse for --help, --version (code 0) and wrong usage (code 2).
    """
    _prepare_output()
    parser = build_parser()
    arguments = parser.parse_args(argv)
    try:
        if arguments.command is None:
            parser.print_help()
            code = 0
        else:
            code = COMMANDS[arguments.command].run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Python would report the same fault again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        print(f"gptoss: {sentence}", file=sys.stderr)
        return EXIT_ERROR
    assert isinstance(code, int)
    return code


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="gptoss",
        description="Runs OpenAI's gpt-oss-20b and gpt-oss-120b on this machine.",
        epilog=EPILOG,
        formatter_class=_HelpFormatter,
    )
    parser.add_argument(
        "--version", action=_ShowVersion, nargs=0, help="show the version number and exit"
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for module in COMMANDS.values():
        module.add_parser(subparsers)
    return parser


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Leaves room for the longest command, whose indentation argparse forgets to count."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self._action_max_length = 4 + max(map(len, COMMANDS))


class _ShowVersion(argparse.Action):
    """Like argparse's own, but looks the version up only when asked for it: that takes a while."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from gptoss import __version__

        print(f"gptoss {__version__}")
        parser.exit()


def _sentence(error: Exception) -> str | None:
    """What to tell the user, or None for a defect of this program, which deserves its traceback."""
    from gptoss.errors import GptossError

    if isinstance(error, MemoryError):
        text = str(error) or "There is not enough memory."
    elif isinstance(error, OSError) and error.strerror is not None:
        text = error.strerror.removesuffix(".") + "."
        if error.filename is not None and str(error.filename) not in text:
            text = f"{error.filename}: {text}"
    elif isinstance(error, GptossError | OSError | ValueError):
        text = str(error)
    else:
        return None
    return " ".join(text.split())


def _prepare_output() -> None:
    """Makes stdout and stderr take any text, in a locale without UTF-8 and when they are closed."""
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.FileIO(os.devnull, "w"))
    if sys.stderr is None:
        sys.stderr = io.TextIOWrapper(io.FileIO(os.devnull, "w"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
