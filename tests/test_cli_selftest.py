"""`gptoss selftest`: its report, its exit codes, and what it does without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from gptoss.cli.main import main
from gptoss.selftest import machine
from gptoss.selftest.machine import has_metal
from gptoss.selftest.prediction import table


def test_the_cpu_backend_is_compared_with_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", "--backend", "cpu", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] is True
    assert report["machine"]["backend"] == "cpu"
    assert report["compared_with"] == "the CPU backend in one thread"
    assert report["kernels"] == []
    assert len(report["comparisons"]) == 6
    assert all(each["passed"] for each in report["comparisons"])
    assert report["benchmark"]["decode_tokens"] == 128
    assert report["failures"] == []


def test_without_a_gpu_it_says_what_is_checked_instead(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "has_metal", lambda: False)
    assert main(["selftest"]) == 0
    output = capsys.readouterr()
    assert output.err == (
        "gptoss: the Metal backend is not in this build, or has no device here: checking the CPU "
        "backend.\n"
    )
    assert output.out.startswith("gptoss selftest: passed\n")
    assert "end to end, compared with the CPU backend in one thread" in output.out


@pytest.mark.skipif(has_metal(), reason="this build has the Metal backend")
def test_asking_for_metal_where_there_is_none_is_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["selftest", "--backend", "metal"]) == 1
    assert "Metal backend is not in this build" in capsys.readouterr().err


def test_a_model_file_that_is_none_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"no model")
    assert main(["selftest", str(path), "--backend", "cpu"]) == 1
    assert capsys.readouterr().err.startswith("gptoss: ")


def test_predictions_run_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", "--predict"]) == 0
    assert capsys.readouterr().out == table() + "\n"


@pytest.mark.slow
@pytest.mark.skipif(not has_metal(), reason="this build has no Metal backend")
def test_every_kernel_and_the_demo_model_pass_on_metal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["selftest", "--backend", "metal", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert len({check["kernel"] for check in report["kernels"]}) >= 50
    assert report["compared_with"] == "the CPU backend"


@pytest.mark.skipif(
    not has_metal() or sys.platform != "linux", reason="needs the host device's simulated faults"
)
def test_a_kernel_that_does_not_compile_fails_the_self_test() -> None:
    """It is told with its name; the model that needs it cannot run, which is told as well."""
    done = subprocess.run(
        [sys.executable, "-m", "gptoss", "selftest", "--json"],
        env={**os.environ, "GPTOSS_METAL_HOST_FAULTS": "compile:router"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    failed = {check["kernel"] for check in report["kernels"] if not check["passed"]}
    assert failed == {"router"}
    assert any("router" in sentence for sentence in report["failures"])
    assert not report["passed"]
