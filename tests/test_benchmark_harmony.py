"""scripts/benchmark-harmony.py runs, compares both packages, and says so in text and in JSON."""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import gptoss.harmony
import pytest
from harmony_benchmark.samples import Samples
from harmony_benchmark.workloads import render_rows, stream_rows, text_rows

QUICK = ["--scale", "0.002", "--repeat", "1", "--only"]

RunScript = Callable[..., str]


@pytest.fixture
def run_script(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> RunScript:
    """Runs the script in this process, which has loaded what it needs, and gives what it prints."""
    path = repository / "scripts" / "benchmark-harmony.py"

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [str(path), *arguments])
        runpy.run_path(str(path), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.fixture
def _both_packages() -> None:
    pytest.importorskip("openai_harmony", reason="openai-harmony is not installed")


@pytest.mark.usefixtures("_both_packages")
def test_a_table_has_a_line_for_each_row(repository: Path) -> None:
    """As a user runs it, without the vocabulary that openai-harmony would download."""
    rows = ["render-small", "stream", "stream-all", "stream-all-long", "stream-many", "decode"]
    command = [sys.executable, str(repository / "scripts" / "benchmark-harmony.py")]
    command += [*QUICK, "render-small", "stream", "decode"]
    environment = dict(os.environ)
    environment.pop("TIKTOKEN_ENCODINGS_BASE", None)
    process = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert process.returncode == 0, process.stderr
    _machine, versions, heading, *lines = process.stdout.splitlines()
    assert "openai-harmony 0.0.8" in versions
    assert heading.split() == ["row", "what", "openai_harmony", "gptoss.harmony", "ratio"]
    assert [line.split()[0] for line in lines] == rows
    for line in lines:
        assert "x (" in line


@pytest.mark.usefixtures("_both_packages")
def test_json_has_all_that_the_table_was_made_of(run_script: RunScript) -> None:
    report: dict[str, Any] = json.loads(run_script(*QUICK, "load", "header-one", "--json"))
    assert report["versions"]["openai-harmony"] == "0.0.8"
    assert {"date", "machine", "repeat", "scale"} <= report.keys()
    keys = ["load-first", "load-encode", "load-later", "load-memory", "header-one"]
    assert [row["key"] for row in report["rows"]] == keys
    for row in report["rows"]:
        medians = row["medians"]
        assert all(row["samples"][name] == [medians[name]] for name in medians)  # one run
        assert row["ratio"] == medians["openai_harmony"] / medians["gptoss.harmony"]
        assert row["ratio_range"] == [row["ratio"], row["ratio"]]


def test_one_module_alone_has_no_ratio(run_script: RunScript) -> None:
    output = run_script(*QUICK, "encode", "--modules", "gptoss.harmony")
    assert "encode " in output
    assert "x (" not in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "nothing"], "No row begins with nothing."),
        (["--modules", "no_such_harmony"], "No module named 'no_such_harmony'"),
    ],
)
def test_a_wrong_name_is_said(run_script: RunScript, arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        run_script("--modules", "gptoss.harmony", *arguments)


def test_results_that_differ_stop_the_benchmark(
    run_script: RunScript, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OtherEncoding:
        def decode(self, tokens: list[int]) -> str:
            return "something else"

    class OtherHarmony(ModuleType):
        def load_harmony_encoding(self, name: str) -> OtherEncoding:
            return OtherEncoding()

    monkeypatch.setitem(sys.modules, "other_harmony", OtherHarmony("other_harmony"))
    message = "decode: gptoss.harmony and other_harmony do not give the same result."
    with pytest.raises(SystemExit, match=message):
        run_script(*QUICK, "decode", "--modules", "gptoss.harmony", "other_harmony")


class TestSamples:
    def test_they_are_the_same_in_every_run(self) -> None:
        first, second = Samples(), Samples()
        assert first.completion(100) == second.completion(100)
        assert first.long_text(100) == second.long_text(100)
        conversations = [
            samples.large_conversation(gptoss.harmony, 9, 2) for samples in (first, second)
        ]
        assert conversations[0] == conversations[1]

    def test_they_have_the_sizes_that_the_table_says(self) -> None:
        encoding = gptoss.harmony.load_harmony_encoding("HarmonyGptOss")

        def encode(text: str) -> list[int]:
            return encoding.encode(text, allowed_special="all")

        large = Samples().large_conversation(gptoss.harmony, 200, 20)
        assert len(large.messages) == 200
        rendered = encoding.render_conversation_for_completion(large, gptoss.harmony.Role.ASSISTANT)
        assert 45_000 < len(rendered) < 51_000
        rows = {
            row.key: row
            for row in [
                *render_rows(1.0),
                *stream_rows(1.0, encode, encoding.stop_tokens()),
                *text_rows(1.0, encode),
            ]
        }
        assert 49_000 < rows["stream"].num_items <= 50_000
        assert rows["stream-all-long"].num_items == 5_000
        call = encode(Samples.calls(1))
        assert encoding.decode(call[14:]) == "{}<|call|>"  # the header has 14 tokens
