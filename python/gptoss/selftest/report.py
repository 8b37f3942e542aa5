"""The report of a self-test: what to paste into an issue."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from gptoss.cli.terminal import format_bytes, harmless
from gptoss.selftest.benchmark import Benchmark
from gptoss.selftest.comparison import Comparison
from gptoss.selftest.kernels import KernelCheck
from gptoss.selftest.machine import Machine
from gptoss.selftest.prediction import Shape, decode_speed, effective_bandwidth, prefill_speed


@dataclass
class Report:
    """Everything that a self-test found out, as far as it came."""

    machine: Machine
    model: str
    """Its path, or what it is."""
    is_demo: bool
    shape: Shape
    compared_with: str
    """What the end-to-end comparison compared this backend with."""
    kernels: list[KernelCheck] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    benchmark: Benchmark | None = None
    problems: list[str] = field(default_factory=list)
    """What kept a part from running, as sentences."""
    seconds: float = 0.0

    @property
    def failures(self) -> list[str]:
        """A sentence for each check that failed."""
        kernels = [
            f"{check.kernel} ({check.shape}): {check.message}"
            for check in self.kernels
            if not check.passed
        ]
        comparisons = [f"{each.name}: {each.message}" for each in self.comparisons if each.message]
        return kernels + comparisons + self.problems

    @property
    def passed(self) -> bool:
        """Whether everything ran and nothing failed."""
        return not self.failures

    @property
    def speeds(self) -> Speeds | None:
        """What was measured beside what is predicted; None before the benchmark."""
        return None if self.benchmark is None else judge(self, self.benchmark)


@dataclass(frozen=True)
class Speeds:
    """Tokens a second, and shares of what the chip's memory delivers; None: chip not known."""

    prefill: float
    decode: float
    predicted_prefill: float | None
    predicted_decode: float | None
    bandwidth_share: float | None
    """Of the memory's bandwidth, that decoding used."""
    predicted_share: float | None


def judge(report: Report, benchmark: Benchmark) -> Speeds:
    """The benchmark beside the prediction. A demo model is too small to be judged."""
    chip, shape = report.machine.chip, report.shape
    if chip is None or report.is_demo:
        return Speeds(benchmark.prefill_speed, benchmark.decode_speed, None, None, None, None)
    depth = benchmark.decode_depth + benchmark.decode_tokens // 2
    bandwidth = chip.bandwidth * 1e9
    return Speeds(
        benchmark.prefill_speed,
        benchmark.decode_speed,
        prefill_speed(shape, chip, benchmark.prefill_tokens),
        decode_speed(shape, chip, depth),
        shape.bytes_per_token(depth) * benchmark.decode_speed / bandwidth,
        effective_bandwidth(chip) / bandwidth,
    )


# As text.


def describe(report: Report) -> str:
    """The report as text for people."""
    lines = [
        f"gptoss selftest: {'passed' if report.passed else 'FAILED'}",
        "",
        *_describe_machine(report.machine),
        f"  model             {report.model}",
        f"  time              {report.seconds:.0f} s",
        "",
        *_describe_kernels(report),
        *_describe_comparisons(report),
        *_describe_speeds(report),
    ]
    if report.failures:
        lines += ["", "what failed"]
        lines += [f"  {failure}" for failure in report.failures]
    return harmless("\n".join(line.rstrip() for line in lines))


def _describe_machine(machine: Machine) -> list[str]:
    cores = f", {machine.gpu_cores} GPU cores" if machine.gpu_cores else ""
    bandwidth = f", {machine.chip.bandwidth} GB/s" if machine.chip else ""
    limit = machine.recommended_bytes
    usable = f", {format_bytes(limit)} for the GPU" if limit else ""
    return [
        f"  gptoss            {machine.version}, Python {machine.python}",
        f"  backend           {machine.backend}",
        f"  device            {machine.device}{cores}{bandwidth}",
        f"  memory            {format_bytes(machine.physical_bytes)}{usable}",
        f"  processors        {machine.processors}",
        f"  operating system  {machine.operating_system}",
        f"  power mode        {machine.power_mode}",
    ]


def _describe_kernels(report: Report) -> list[str]:
    if not report.kernels:
        return []
    passed = sum(check.passed for check in report.kernels)
    names = {check.kernel for check in report.kernels}
    # The one that comes nearest to its tolerance says the most.
    measured = [check for check in report.kernels if check.tolerance > 0]
    lines = [
        f"kernels against float64: {passed} of {len(report.kernels)} checks of {len(names)} "
        "kernels passed"
    ]
    if measured:
        worst = max(measured, key=_share_of_tolerance)
        lines.append(
            f"  nearest to its tolerance: {worst.kernel} ({worst.shape}), "
            f"{worst.largest_difference:.2g} of {worst.tolerance:.2g}"
        )
    return [*lines, ""]


def _share_of_tolerance(check: KernelCheck) -> float:
    share = check.largest_difference / check.tolerance
    return math.inf if math.isnan(share) else share


def _describe_comparisons(report: Report) -> list[str]:
    if not report.comparisons:
        return []
    lines = [f"end to end, compared with {report.compared_with}"]
    for each in report.comparisons:
        verdict = "passed" if each.passed else "FAILED"
        lines.append(
            f"  {verdict}  {each.name}: logits within {each.largest_difference:.2g} "
            f"of {each.tolerance:.2g}"
        )
    return [*lines, ""]


def _describe_speeds(report: Report) -> list[str]:
    speeds, benchmark = report.speeds, report.benchmark
    if speeds is None or benchmark is None:
        return []
    lines = [
        "speed",
        f"  prefill  {speeds.prefill:.1f} tokens/s ({benchmark.prefill_tokens} tokens)"
        + _predicted(speeds.predicted_prefill),
        f"  decode   {speeds.decode:.1f} tokens/s ({benchmark.decode_tokens} tokens behind "
        f"{benchmark.decode_depth})" + _predicted(speeds.predicted_decode),
    ]
    if speeds.bandwidth_share is not None and speeds.predicted_share is not None:
        lines.append(
            f"           {speeds.bandwidth_share:.0%} of the memory's bandwidth "
            f"(the kernels are expected to reach {speeds.predicted_share:.0%})"
        )
    elif report.is_demo and report.machine.chip is not None:
        lines.append(
            "           The demo model is too small to say how fast this GPU is: give a real one."
        )
    return lines


def _predicted(speed: float | None) -> str:
    return "" if speed is None else f"; predicted {speed:.0f}"


# As JSON.


def as_json(report: Report) -> dict[str, Any]:
    """The same as one object. Numbers that are none (NaN) are null."""
    machine = asdict(report.machine)
    speeds = report.speeds
    result = {
        "passed": report.passed,
        "machine": machine,
        "model": {"path": report.model, "is_demo": report.is_demo},
        "kernels": [asdict(check) for check in report.kernels],
        "compared_with": report.compared_with,
        "comparisons": [asdict(each) for each in report.comparisons],
        "benchmark": None if report.benchmark is None else asdict(report.benchmark),
        "speeds": None if speeds is None else asdict(speeds),
        "failures": report.failures,
        "seconds": report.seconds,
    }
    finite: dict[str, Any] = _without_nan(result)
    return finite


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
