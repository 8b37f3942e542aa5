"""The report of `gptoss selftest`: what it says, and when it says that something failed."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from gptoss.selftest.benchmark import Benchmark
from gptoss.selftest.chips import find_chip
from gptoss.selftest.comparison import Comparison
from gptoss.selftest.kernels import KernelCheck
from gptoss.selftest.machine import Machine, count_gpu_cores, describe_power
from gptoss.selftest.prediction import SHAPES, decode_speed
from gptoss.selftest.report import Report, as_json, describe

MACHINE = Machine(
    backend="metal",
    device="Apple M2 Max",
    gpu_cores=38,
    chip=find_chip("Apple M2 Max", 38),
    operating_system="macOS 14.5",
    physical_bytes=64 << 30,
    recommended_bytes=48 << 30,
    power_mode="automatic, AC Power",
    processors=12,
    version="0.1.0",
    python="3.12.1",
)
PASSED = KernelCheck("norm_half", "3 rows of 2880", True, 2.4e-4, 2e-3, "", 0.1)
FAILED = KernelCheck("embed", "6 tokens", False, math.nan, 0.0, "element 3 is 7", 0.1)
COMPARED = Comparison("24 greedy tokens", True, 1e-3, 5e-3, "")


def report(**changes: object) -> Report:
    complete = Report(
        machine=MACHINE,
        model="gpt-oss-20b.bin",
        is_demo=False,
        shape=SHAPES[0],
        compared_with="the CPU backend",
        kernels=[PASSED],
        comparisons=[COMPARED],
        benchmark=Benchmark(2048, 900.0, 128, 2048, 70.0),
        seconds=61.2,
    )
    return replace(complete, **changes)  # type: ignore[arg-type]


def test_a_report_says_what_somebody_else_has_to_know() -> None:
    text = describe(report())
    for part in [
        "gptoss selftest: passed",
        "Apple M2 Max, 38 GPU cores, 400 GB/s",
        "64.0 GiB, 48.0 GiB for the GPU",
        "macOS 14.5",
        "automatic, AC Power",
        "0.1.0, Python 3.12.1",
        "1 of 1 checks of 1 kernels passed",
        "norm_half (3 rows of 2880), 0.00024 of 0.002",
        "passed  24 greedy tokens: logits within 0.001 of 0.005",
        "prefill  900.0 tokens/s (2048 tokens); predicted 1017",
        "decode   70.0 tokens/s (128 tokens behind 2048); predicted 76",
    ]:
        assert part in text
    assert "what failed" not in text


def test_the_share_of_the_bandwidth_is_that_of_the_bytes_that_decoding_reads() -> None:
    speeds = report().speeds
    assert speeds is not None
    assert speeds.bandwidth_share == pytest.approx(
        70 * SHAPES[0].bytes_per_token(2048 + 64) / 400e9
    )
    assert speeds.predicted_decode == decode_speed(SHAPES[0], MACHINE.chip, 2048 + 64)  # type: ignore[arg-type]
    assert "66% of the memory's bandwidth (the kernels are expected to reach 75%)" in describe(
        report()
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kernels": [PASSED, FAILED]}, "embed (6 tokens): element 3 is 7"),
        (
            {"comparisons": [replace(COMPARED, passed=False, message="token 3 is 9")]},
            "24 greedy tokens: token 3 is 9",
        ),
        ({"problems": ["The GPU stopped answering."]}, "The GPU stopped answering."),
    ],
)
def test_any_failure_fails_the_report_and_is_told(
    changes: dict[str, object], sentence: str
) -> None:
    failed = report(**changes)
    assert not failed.passed
    assert failed.failures == [sentence]
    text = describe(failed)
    assert text.startswith("gptoss selftest: FAILED")
    assert text.endswith(f"what failed\n  {sentence}")
    assert as_json(failed)["passed"] is False


def test_json_has_no_numbers_that_are_none() -> None:
    text = json.dumps(as_json(report(kernels=[PASSED, FAILED])), allow_nan=False)
    parsed = json.loads(text)
    assert parsed["kernels"][1]["largest_difference"] is None
    assert parsed["kernels"][1]["message"] == "element 3 is 7"
    assert parsed["machine"]["chip"]["bandwidth"] == 400
    assert parsed["speeds"]["decode"] == 70.0


def test_a_demo_model_and_an_unknown_chip_are_not_judged() -> None:
    demo = report(is_demo=True)
    assert "too small to say how fast this GPU is" in describe(demo)
    assert "predicted" not in describe(demo)
    unknown = report(machine=replace(MACHINE, chip=None, device="host device"))
    assert "predicted" not in describe(unknown)
    assert unknown.speeds is not None
    assert unknown.speeds.bandwidth_share is None


def test_what_a_path_holds_does_not_drive_the_terminal() -> None:
    assert "\x1b" not in describe(report(model="\x1b[2Jmodel.bin"))


@pytest.mark.parametrize(
    ("settings", "supply", "expected"),
    [
        (" lowpowermode         0\n", "Now drawing from 'AC Power'\n", "automatic, AC Power"),
        (
            " lowpowermode         1\n",
            "Now drawing from 'Battery Power'",
            "low power, Battery Power",
        ),
        (" sleep 1\n powermode            2\n", "", "high power"),
        ("", "", "not known"),
    ],
)
def test_power_modes_are_read_from_pmset(settings: str, supply: str, expected: str) -> None:
    assert describe_power(settings, supply) == expected


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ('{"SPDisplaysDataType": [{"_name": "Apple M2", "sppci_cores": "10"}]}', 10),
        ('{"SPDisplaysDataType": [{"_name": "a display"}, {"sppci_cores": "38"}]}', 38),
        ('{"SPDisplaysDataType": []}', None),
        ("", None),
    ],
)
def test_gpu_cores_are_read_from_the_system_profiler(profile: str, expected: int | None) -> None:
    assert count_gpu_cores(profile) == expected
