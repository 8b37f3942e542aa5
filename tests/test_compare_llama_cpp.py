"""scripts/compare_llama_cpp.py drives both programs in turn and prints how their speeds compare."""

import json
import sys
from pathlib import Path

import compare_llama_cpp
import pytest

# Stands for either program: notes how it was called and prints what the test wants.
PROGRAM = """\
import sys
with open({log!r}, "a") as log:
    log.write({name!r} + " " + " ".join(sys.argv[1:]) + chr(10))
print({answer!r})
"""
LLAMA_ABOUT = {"build_commit": "abc", "cpu_info": "", "flash_attn": -1, "repack": True}
GPTOSS_ABOUT = {
    "gptoss": {"version": "1.2.3", "commit": None},
    "instruction_set": "baseline",
    "precision": "default",
    "machine": {"device": "a processor"},
}


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """Programs that take 2 and 0.5 seconds a token, and files for them."""
    answers = {
        "llama": [LLAMA_ABOUT | {"load_mode": "auto", "samples_ts": [0.5, 0.5]}],
        "gptoss": GPTOSS_ABOUT
        | {"results": [{"tokens": 32, "sequences": 1, "seconds": [16.0, 16.0]}]},
    }
    for name, answer in answers.items():
        program = PROGRAM.format(log=str(tmp_path / "log"), name=name, answer=json.dumps(answer))
        (tmp_path / f"{name}.py").write_text(program)
        (tmp_path / f"{name}.bin").write_bytes(b"weights")
    llama = tmp_path / "llama-bench"
    llama.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path / "llama.py"} "$@"\n')
    llama.chmod(0o755)
    command = ["compare", "--llama-bench", str(llama), "--rounds", "2"]
    command += ["--gptoss", f"{sys.executable} {tmp_path / 'gptoss.py'}"]
    return [*command, "--bf16", str(tmp_path / "llama.bin"), str(tmp_path / "gptoss.bin")]


def test_both_run_in_turn(
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [*options, "--rows", "decode", "--json"])
    compare_llama_cpp.main()
    report = json.loads(capsys.readouterr().out)
    (row,) = report["rows"]
    assert row["tokens_per_second"] == {"llama.cpp": [[0.5, 0.5]] * 2, "gptoss": [[2.0, 2.0]] * 2}
    assert row["ratios"] == [4.0, 4.0]
    assert report["llama.cpp"]["build_commit"] == "abc"
    calls = (tmp_path / "log").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["llama", "gptoss"] * 2
    assert not any("--fast" in call for call in calls)
    assert "-p 0 -n 32 -d 0" in calls[0]
    assert "-p 0 -n 32 -d 0 -s 1" in calls[1]


def test_fast_is_our_precision(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [*options, "--rows", "decode", "--rounds", "1", "--fast"])
    compare_llama_cpp.main()
    calls = (tmp_path / "log").read_text().splitlines()
    assert ["--fast" in call.split() for call in calls] == [False, True]


def test_table_has_a_line_for_each_row_that_has_files(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [*options, "--rows", "decode", "decode-q8", "four"])
    compare_llama_cpp.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| decode at depth 0 | bf16 | 0.50 (0.50 to 0.50) | 2.00 (")
    assert "| 4.00 x (4.00 to 4.00) |" in lines[2]
    # llama-bench has no such test.
    assert lines[3].startswith("| 4 sequences at once, total | bf16 | - | 2.00")
    assert lines[4] == ""
    assert "llama.cpp abc; gptoss 1.2.3" in lines[5]


def test_a_program_that_fails_is_an_error_with_its_words(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "llama.py").write_text("raise SystemExit('no such model')")
    monkeypatch.setattr(sys, "argv", options)
    with pytest.raises(SystemExit, match="no such model"):
        compare_llama_cpp.main()
