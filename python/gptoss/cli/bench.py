"""`gptoss bench`: how fast a model runs on this machine, and what the machine allows."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gptoss.cli.arguments import (
    BACKENDS,
    add_precision_options,
    positive_integer,
    precision_of,
    whole_number,
)

if TYPE_CHECKING:
    from gptoss import Model
    from gptoss.bench.report import Report
    from gptoss.bench.roofline import Roofline
    from gptoss.bench.trials import Trial
    from gptoss.cli.terminal import ProgressLine

DESCRIPTION = """\
Measures prefill (pp512: a prompt of 512 tokens) and decoding (tg64: 64 tokens, one after the other)
in tokens per second: the median of some repetitions, after a warm-up. Options that take a LIST take
several values, separated by commas, and every combination is measured. Tokens are random, and
nothing is sampled.
"""

EPILOG = """\
examples:
  gptoss bench                                   the built-in demo model
  gptoss bench gpt-oss-20b.bin -p 512,2048 -n 64 -d 0,4096
  gptoss bench --shape 20b --roofline            random weights in the real size: no checkpoint
  gptoss bench --shape 20b --blocks 4 -n 32      the same with 4 of its 24 blocks: 4.2 GB
  gptoss bench gpt-oss-20b.bin -p 0 -s 1,4       one sequence, and four that decode at once
  gptoss bench gpt-oss-20b.bin --json > report.json

--roofline measures first how fast this machine reads memory and multiplies, and prints each result
as a share of these limits. --shape writes its random weights once into the user's cache folder, or
into --synthetic-file, says where they are, and uses them again; nothing is ever downloaded.
"""

SHAPE_NAMES = ("20b", "120b", "demo")
DENSE_TYPES = ("bf16", "q8")
Element = TypeVar("Element")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `bench` to the command line."""
    parser = subparsers.add_parser(
        "bench",
        help="measure prefill and decoding on this machine",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", nargs="?", metavar="MODEL", help="a model.bin; without it the demo model")
    lists: list[tuple[str, str, Callable[[str], int], list[int] | None, str]] = [
        ("-p", "--prompt", whole_number, [512], "tokens of a prompt; 0: no prefill (512)"),
        ("-n", "--generate", whole_number, [64], "tokens to decode; 0: none (64)"),
        ("-d", "--depth", whole_number, [0], "tokens that are in the context before (0)"),
        ("-s", "--sequences", positive_integer, [1], "contexts that decode at once (1)"),
        ("-b", "--batch", positive_integer, [512], "most tokens of a prompt in one piece (512)"),
        ("-t", "--threads", positive_integer, None, "of the CPU backend (one per processor)"),
    ]
    for short, name, element, default, text in lists:
        add(short, name, metavar="LIST", type=_list_of(element), default=default, help=text)
    add("-r", "--repetitions", metavar="N", type=positive_integer, default=5, help="of each (5)")
    add("--no-warm-up", action="store_true", help="measure from the first touch of the weights on")
    add("--backend", choices=BACKENDS, default="auto", help="where to run (auto: the fastest here)")
    add_precision_options(parser)
    add("--roofline", action="store_true", help="measure the machine's limits, too (CPU only)")
    add("--json", action="store_true", help="print one JSON object instead of the table")
    synthetic = parser.add_argument_group("random weights instead of MODEL")
    add = synthetic.add_argument
    add("--shape", choices=SHAPE_NAMES, help="the model whose sizes they have")
    add("--blocks", metavar="N", type=positive_integer, help="fewer or more layers than it has")
    add("--dense", choices=DENSE_TYPES, help="type of the weights outside of the experts (bf16)")
    add("--synthetic-file", metavar="FILE", type=Path, help="where they are to be kept")
    parser.set_defaults(parser=parser)


def _list_of(element: Callable[[str], Element]) -> Callable[[str], list[Element]]:
    """A type of arguments: values that are separated by commas."""

    def parse(text: str) -> list[Element]:
        return [element(part) for part in text.split(",")]

    return parse


def run(arguments: argparse.Namespace) -> int:
    """Runs `gptoss bench`; returns the exit code."""
    _check_usage(arguments)

    from gptoss.cli.terminal import ProgressLine

    trials = _trials(arguments)
    path, description = _model_file(arguments)
    line = ProgressLine(sys.stderr)
    try:
        return _measure(arguments, trials, path, description, line)
    finally:
        line.clear()


def _check_usage(arguments: argparse.Namespace) -> None:
    error = arguments.parser.error
    if arguments.shape is None:
        for name in ("blocks", "dense", "synthetic_file"):
            if getattr(arguments, name) is not None:
                error(f"--{name.replace('_', '-')} needs --shape")
    elif arguments.model is not None:
        error("give either MODEL or --shape")
    if not any(arguments.prompt) and not any(arguments.generate):
        error("-p 0 and -n 0 leave nothing to measure")


def _trials(arguments: argparse.Namespace) -> list[Trial]:
    from gptoss.bench.trials import plan_trials

    return plan_trials(
        prompts=arguments.prompt,
        generated=arguments.generate,
        depths=arguments.depth,
        sequences=arguments.sequences,
        batches=arguments.batch,
        threads=arguments.threads or [None],
    )


def _model_file(arguments: argparse.Namespace) -> tuple[Path | None, str]:
    """The file to load, None for the demo model, and what it is."""
    if arguments.shape is None:
        path = arguments.model
        return (Path(path), "") if path is not None else (None, "the built-in demo model")

    from gptoss.bench.shapes import SHAPES
    from gptoss.bench.synthetic_file import plan_file, provide_file
    from gptoss.cli.termination import termination_as_exception
    from gptoss.convert.progress_bar import ProgressBar

    shape = SHAPES[arguments.shape]
    if arguments.blocks is not None:
        shape = shape.with_blocks(arguments.blocks)
    progress = ProgressBar(sys.stderr)
    try:
        with termination_as_exception():
            plan = plan_file(shape, arguments.dense or "bf16")
            path = provide_file(plan, arguments.synthetic_file, progress, _tell)
    finally:
        progress.close()
    return path, f"random weights, {shape.name}, {shape.num_blocks} blocks, {plan.dense}"


def _tell(sentence: str) -> None:
    print(f"gptoss: {sentence}", file=sys.stderr)


def _measure(
    arguments: argparse.Namespace,
    trials: list[Trial],
    path: Path | None,
    description: str,
    line: ProgressLine,
) -> int:
    import json

    from gptoss.bench.machine import peak_resident_bytes
    from gptoss.bench.report import as_json, describe_end, describe_results, describe_setup
    from gptoss.cli.termination import exit_code

    report: Report | None = None
    code = 0
    try:
        line.show("loading")
        start = time.perf_counter()
        model = _load(arguments, path, trials[0].threads)
        report = _new_report(arguments, model, description, time.perf_counter() - start)
        if not arguments.json:
            line.clear()
            print(describe_setup(report), flush=True)
        _run_trials(arguments, path, model, trials, report, line)
    except KeyboardInterrupt as interrupt:
        # What is measured already took its time, and is true.
        if report is None or not report.results:
            raise
        report.interrupted = True
        code = exit_code(interrupt)
    line.clear()
    report.peak_resident_bytes = peak_resident_bytes()
    if arguments.json:
        print(json.dumps(as_json(report), indent=2))
    else:
        print(f"\n{describe_results(report.results)}\n\n{describe_end(report)}")
    if report.interrupted:
        _tell(f"interrupted after {len(report.results)} of {len(trials)} tests.")
    return code


def _load(arguments: argparse.Namespace, path: Path | None, threads: int | None) -> Model:
    from gptoss import Model

    return Model(
        path, backend=arguments.backend, threads=threads, precision=precision_of(arguments)
    )


def _new_report(
    arguments: argparse.Namespace, model: Model, description: str, load_seconds: float
) -> Report:
    from dataclasses import asdict

    from gptoss import _native
    from gptoss.bench.report import MeasuredModel, Report
    from gptoss.selftest.machine import describe_machine

    commit, compiler = _native.build_info()
    size = model.memory.weights
    config = asdict(model.config)
    return Report(
        machine=describe_machine(model.backend),
        commit=commit,
        compiler=compiler,
        instruction_set=model.instruction_set,
        precision=model.precision,
        model=MeasuredModel(model.path, description, size, config, load_seconds),
        repetitions=arguments.repetitions,
    )


def _run_trials(
    arguments: argparse.Namespace,
    path: Path | None,
    model: Model,
    trials: list[Trial],
    report: Report,
    line: ProgressLine,
) -> None:
    from gptoss.bench.report import Result
    from gptoss.bench.runner import Runner
    from gptoss.bench.work import WeightBytes, work_of

    if arguments.roofline and model.backend != "cpu":
        raise ValueError(
            f"--roofline measures the limits of the CPU, not of {model.backend}: use --backend cpu."
        )
    for trial in trials:
        _check_length(trial, model)
    weights = WeightBytes.of(model.tensors, model.config)
    threads, runner, roofline = trials[0].threads, None, None
    for number, trial in enumerate(trials, start=1):
        heading = f"{number} of {len(trials)}, {trial.name}"
        if runner is None or trial.threads != threads:
            if trial.threads != threads:
                model, threads = _load(arguments, path, trial.threads), trial.threads
            runner = Runner(model, line.show)
            if not arguments.no_warm_up:
                runner.warm_up()
            if arguments.roofline:
                roofline = _measure_roofline(arguments, model, report, line)
        seconds = []
        for repetition in range(arguments.repetitions):
            line.show(f"{heading}: {repetition + 1} of {arguments.repetitions}")
            seconds.append(runner.repetition(trial))
        work = work_of(trial, model.config, weights)
        report.results.append(Result(trial, model.threads, tuple(seconds), work, roofline))


def _check_length(trial: Trial, model: Model) -> None:
    if trial.context_length > model.max_context_length:
        raise ValueError(
            f"{trial.name} needs {trial.context_length} tokens in a context, more than the "
            f"{model.max_context_length} of this model."
        )


def _measure_roofline(
    arguments: argparse.Namespace, model: Model, report: Report, line: ProgressLine
) -> Roofline:
    from gptoss.bench.report import describe_roofline
    from gptoss.bench.roofline import measure_roofline

    line.show("measuring the machine's limits")
    roofline = measure_roofline(model)
    report.rooflines.append(roofline)
    if not arguments.json:
        line.clear()
        print(describe_roofline(roofline), flush=True)
    return roofline
