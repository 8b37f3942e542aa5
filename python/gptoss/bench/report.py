"""The results of a benchmark as a table for people and as an object for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gptoss.bench.roofline import Roofline, Shares, shares
from gptoss.bench.samples import Samples
from gptoss.bench.trials import Trial
from gptoss.bench.work import Work
from gptoss.convert.byte_counts import format_bytes
from gptoss.selftest.machine import Machine

# Raised when a field of the JSON object changes its meaning or goes.
JSON_FORMAT = 1


@dataclass(frozen=True)
class Result:
    """A trial, and the seconds that its repetitions took."""

    trial: Trial
    threads: int
    seconds: tuple[float, ...]
    work: Work
    roofline: Roofline | None

    @property
    def speed(self) -> Samples:
        """Tokens a second, of all sequences together."""
        return Samples.speeds(self.trial.total_tokens, self.seconds)

    @property
    def shares(self) -> Shares | None:
        """Of the machine's limits, that the median repetition reached; None: not measured."""
        if self.roofline is None:
            return None
        return shares(self.work, Samples(self.seconds).median, self.roofline)


@dataclass(frozen=True)
class MeasuredModel:
    """What ran."""

    path: Path
    description: str
    """"the built-in demo model", "random weights, 20b, 24 blocks, bf16" or ""."""
    num_bytes: int
    config: dict[str, int | float]
    load_seconds: float


@dataclass
class Report:
    """Everything that a benchmark found out, as far as it came."""

    machine: Machine
    commit: str
    compiler: str
    instruction_set: str
    precision: str
    model: MeasuredModel
    repetitions: int
    rooflines: list[Roofline] = field(default_factory=list)
    """One for each number of threads."""
    results: list[Result] = field(default_factory=list)
    peak_resident_bytes: int = 0
    interrupted: bool = False


# As text.


def describe_setup(report: Report) -> str:
    """What is measured and where: the lines above the table."""
    machine, model = report.machine, report.model
    build = ", ".join(
        part for part in (report.commit and f"commit {report.commit}", report.compiler) if part
    )
    kind = f" ({model.description})" if model.description else ""
    instructions = f", {report.instruction_set}" if report.instruction_set else ""
    return "\n".join(
        (
            f"gptoss     {machine.version}{f' ({build})' if build else ''}",
            f"model      {model.path}{kind}, {format_bytes(model.num_bytes)}, "
            f"loaded in {model.load_seconds:.3f} s",
            f"backend    {machine.backend}{instructions}, precision {report.precision}",
            f"machine    {machine.device}, {machine.processors} processors, "
            f"{format_bytes(machine.physical_bytes)}, {machine.operating_system}",
        )
    )


def describe_roofline(roofline: Roofline) -> str:
    """The machine's limits."""
    mapped = roofline.mapped_read_bytes_per_second
    int8 = roofline.int8_operations_per_second
    parts = [
        f"reads {format_bytes(roofline.read_bytes_per_second)}/s"
        + (f" ({format_bytes(mapped)}/s of the mapped file)" if mapped else ""),
        f"{roofline.fp32_operations_per_second / 1e9:.0f} GFLOPS in fp32",
    ]
    if int8 is not None:
        parts.append(f"{int8 / 1e9:.0f} GOPS in int8")
    return f"limits     {', '.join(parts)}; {_threads(roofline.threads)}"


def describe_results(results: Sequence[Result]) -> str:
    """The table, in Markdown and aligned."""
    header = ["test", "threads", "batch", "tokens/s", "min", "max"]
    has_shares = any(result.roofline is not None for result in results)
    if has_shares:
        header += ["of read", "of fp32", "of int8", "MB/token", "Mop/token"]
    rows = [_row(result, has_shares) for result in results]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    aligned = [
        [header[0].ljust(widths[0]), *map(str.rjust, header[1:], widths[1:])],
        ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])],
        *([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in aligned)


def describe_end(report: Report) -> str:
    """What stands below the table."""
    count = report.repetitions
    repetitions = f"median of {count} repetitions" if count > 1 else "one repetition"
    return (
        f"{repetitions}; peak resident memory {format_bytes(report.peak_resident_bytes)}, "
        "the mapped file included"
    )


def _row(result: Result, has_shares: bool) -> list[str]:
    trial, speed = result.trial, result.speed
    batch = str(trial.batch_tokens) if trial.kind == "prefill" else str(trial.sequences)
    row = [trial.name, str(result.threads), batch, *map(_speed, (speed.median, *speed.spread))]
    if has_shares:
        reached, tokens = result.shares, trial.total_tokens
        if reached is None:
            return [*row, "-", "-", "-", "-", "-"]
        row += [_percent(reached.read), _percent(reached.fp32), _percent(reached.int8)]
        row.append(f"{result.work.num_bytes / tokens / 1e6:.0f}")
        row.append(f"{result.work.operations / tokens / 1e6:.0f}")
    return row


def _speed(value: float) -> str:
    return f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


# As JSON.


def as_json(report: Report) -> dict[str, Any]:
    """One object; docs/command-line.md says what its fields are."""
    machine = report.machine
    return {
        "format": JSON_FORMAT,
        "gptoss": {
            "version": machine.version,
            "commit": report.commit or None,
            "compiler": report.compiler or None,
            "python": machine.python,
        },
        "machine": {
            "device": machine.device,
            "operating_system": machine.operating_system,
            "processors": machine.processors,
            "physical_bytes": machine.physical_bytes,
            "power_mode": machine.power_mode,
        },
        "backend": machine.backend,
        "instruction_set": report.instruction_set or None,
        "precision": report.precision,
        "model": asdict(report.model) | {"path": str(report.model.path)},
        "repetitions": report.repetitions,
        "rooflines": [asdict(each) for each in report.rooflines],
        "results": [_result_as_json(result) for result in report.results],
        "peak_resident_bytes": report.peak_resident_bytes,
        "interrupted": report.interrupted,
    }


def _result_as_json(result: Result) -> dict[str, Any]:
    trial, reached = result.trial, result.shares
    return {
        "test": trial.name,
        "kind": trial.kind,
        "tokens": trial.num_tokens,
        "sequences": trial.sequences,
        "depth": trial.depth,
        "batch_tokens": trial.batch_tokens,
        "threads": result.threads,
        "tokens_per_second": result.speed.as_json(),
        "seconds": list(result.seconds),
        "bytes_per_token": result.work.num_bytes / trial.total_tokens,
        "operations_per_token": result.work.operations / trial.total_tokens,
        "shares": None if reached is None else asdict(reached),
    }
