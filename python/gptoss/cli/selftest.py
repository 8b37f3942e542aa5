"""`gptoss selftest`: does this machine's device compute what it should, and how fast?"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gptoss import Model
    from gptoss.cli.terminal import ProgressLine
    from gptoss.selftest.report import Report

DESCRIPTION = """\
Checks gptoss on this machine, and prints one report to paste into an issue.

With the Metal backend, every kernel runs on the GPU and is compared with float64; then a model runs
end to end and is compared with the CPU backend: prefill, decoding, rewinds, two sequences at once.
With the CPU backend, the model runs in several threads and is compared with itself in one. A short
benchmark follows. Where the chip is known and the model is a real one, its speed stands beside what
the chip should reach.
"""

EPILOG = """\
examples:
  gptoss selftest                       the built-in demo model; under two minutes on a Mac
  gptoss selftest gpt-oss-20b.bin       a real model: its speed, too. The CPU's part takes minutes
  gptoss selftest --json > report.json
  gptoss selftest --predict             what to expect of each of Apple's chips

Exit code 0 if everything passed, 1 if anything did not.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `selftest` to the command line."""
    parser = subparsers.add_parser(
        "selftest",
        help="check gptoss and the GPU on this machine, and print a report",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", nargs="?", metavar="MODEL", help="a model.bin; without it the demo model")
    add(
        "--backend",
        choices=("auto", "cpu", "metal"),
        default="auto",
        help="what to check (metal where there is one)",
    )
    add("--json", action="store_true", help="print the report as one JSON object")
    add(
        "--predict",
        action="store_true",
        help="run nothing; print the speed that each of Apple's chips should reach",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs `gptoss selftest`; returns the exit code, 1 if anything failed."""
    if arguments.predict:
        from gptoss.selftest.prediction import table

        print(table())
        return 0
    return _test(arguments)


def _test(arguments: argparse.Namespace) -> int:
    import json

    from gptoss.cli.terminal import ProgressLine
    from gptoss.selftest.report import as_json, describe

    line = ProgressLine(sys.stderr)
    start = time.perf_counter()
    try:
        report = _run_all(arguments, line)
    finally:
        line.clear()
    report.seconds = time.perf_counter() - start
    print(json.dumps(as_json(report), indent=2) if arguments.json else describe(report))
    return 0 if report.passed else 1


def _run_all(arguments: argparse.Namespace, line: ProgressLine) -> Report:
    """Every part; what a backend raises is a part's failure, not the command's."""
    from gptoss import Model
    from gptoss.errors import BackendError
    from gptoss.selftest.benchmark import run_benchmark
    from gptoss.selftest.comparison import compare
    from gptoss.selftest.kernels import KernelCheck, check_kernels
    from gptoss.selftest.machine import describe_machine, has_metal, num_processors
    from gptoss.selftest.prediction import Shape
    from gptoss.selftest.report import Report

    backend = arguments.backend
    if backend == "auto":
        backend = "metal" if has_metal() else "cpu"
        if backend == "cpu":
            print(
                "gptoss: the Metal backend is not in this build, or has no device here: checking "
                "the CPU backend.",
                file=sys.stderr,
            )
    machine = describe_machine(backend)
    # A GPU is compared with the most exact there is; the CPU backend with itself, as it is used.
    reference = Model(
        arguments.model,
        backend="cpu",
        threads=None if backend == "metal" else 1,
        precision="exact" if backend == "metal" else "default",
    )
    report = Report(
        machine=machine,
        model=_name(reference),
        is_demo=reference.is_demo,
        shape=Shape.of("model", reference.config),
        compared_with="the CPU backend" if backend == "metal" else "the CPU backend in one thread",
    )

    def show_kernel(done: int, total: int, check: KernelCheck) -> None:
        line.show(f"kernels: {done} of {total}, {check.kernel}")

    def show_part(done: int, total: int, name: str) -> None:
        line.show(f"end to end: {done} of {total}, {name}")

    try:
        if backend == "metal":
            line.show("kernels: compiling")
            report.kernels = check_kernels(backend, show_kernel)
        threads = None if backend == "metal" else max(2, num_processors())
        tested = Model(arguments.model, backend=backend, threads=threads)
        report.comparisons = compare(tested, reference, show_part)
        line.show("benchmark")
        report.benchmark = run_benchmark(tested)
    except (BackendError, MemoryError) as error:
        report.problems.append(str(error) or "There is not enough memory.")
    return report


def _name(model: Model) -> str:
    return "the built-in demo model" if model.is_demo else str(model.path)
