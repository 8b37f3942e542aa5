"""`gptoss generate` at a terminal, and how it stops: Ctrl-C, a reader that goes away."""

from __future__ import annotations

import itertools
import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gptoss
import pytest
from generate_command import COMMAND, DATED, SUM, SUMMARY, generate_json
from gptoss.cli.generate import DEMO_NOTICE
from gptoss.cli.main import main


def run_on_a_terminal(*arguments: str, **variables: str) -> tuple[int, str]:
    """Exit code and everything that the command writes to a terminal of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment |= {"TERM": "xterm-256color", **variables}
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *arguments], stdin=follower, stdout=follower, stderr=follower, env=environment
    ) as process:
        os.close(follower)
        written = b""
        try:
            while data := os.read(leader, 4096):
                written += data
        except OSError:  # Linux ends a terminal that nobody holds any more with EIO
            pass
        os.close(leader)
        return process.wait(timeout=60), written.decode().replace("\r\n", "\n")


class TestTerminal:
    def test_the_analysis_is_dimmed_and_the_answer_plain(self) -> None:
        code, text = run_on_a_terminal(*SUM, *DATED)
        assert code == 0
        body = text.removeprefix(DEMO_NOTICE).replace("\x1b[0m\x1b[2m", "")
        match = re.fullmatch(r"\x1b\[2m(.+?)\x1b\[0m\n\n(.+?)\n\x1b\[2m(.+?)\x1b\[0m\n", body)
        assert match is not None, body
        analysis, answer, summary = match.groups()
        assert "7+8=15" in analysis
        assert answer == "47 + 38 = 85."
        assert SUMMARY.fullmatch(summary)

    def test_no_color_is_respected(self) -> None:
        code, text = run_on_a_terminal(*SUM, *DATED, NO_COLOR="1")
        assert code == 0
        assert "\x1b" not in text
        assert "\nanalysis: " in text
        assert "\n\n47 + 38 = 85.\n[prefill " in text

    def test_no_prompt_is_a_usage_error_instead_of_a_wait(self) -> None:
        code, text = run_on_a_terminal()
        assert code == 2
        assert "give the prompt with -p TEXT, or pipe it in" in text


@pytest.fixture(scope="module")
def endless_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model without the ability to stop: the logits of the stop tokens are always zero."""
    demo = gptoss.Model()
    content = bytearray(demo.path.read_bytes())
    unembedding = next(t for t in demo.tensors if t.name == "unembedding.weight")
    row_size = 2 * demo.config.embedding_dim
    for name in ("<|return|>", "<|call|>", "<|endoftext|>"):
        start = unembedding.offset + row_size * demo.tokenizer.encode_special_token(name)
        content[start : start + row_size] = bytes(row_size)
    path = tmp_path_factory.mktemp("endless") / "model.bin"
    path.write_bytes(content)
    return path


class TestStopping:
    def start(self, model: Path) -> subprocess.Popen[bytes]:
        """Starts an answer without end and waits for its first byte."""
        process = subprocess.Popen(
            [*COMMAND, str(model), "--raw", "-p", "I am", "--temperature", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert os.read(process.stdout.fileno(), 1)
        return process

    def test_ctrl_c_ends_cleanly_with_exit_code_130(self, endless_model: Path) -> None:
        process = self.start(endless_model)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
        assert process.returncode == 130
        assert b"Traceback" not in error
        assert b"ended: interrupted" in error

    def test_a_reader_that_goes_away_ends_it(self, endless_model: Path) -> None:
        process = self.start(endless_model)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        error = process.stderr.read()
        process.stderr.close()
        assert process.wait(timeout=60) == 141
        assert error == b""

    def test_ctrl_c_before_the_first_token_ends_cleanly(self) -> None:
        process = subprocess.Popen(
            [*COMMAND, "--raw", "-p", "one two " * 5000],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        assert process.stderr.readline()  # the notice: the model is loaded, the prompt to come
        process.send_signal(signal.SIGINT)
        output, error = process.communicate(timeout=60)
        assert (process.returncode, output) == (130, b"")
        assert b"Traceback" not in error

    def interrupt_after(self, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Makes Ctrl-C arrive after some tokens."""
        stream = gptoss.Context.stream

        def interrupted(*arguments: Any, **options: Any) -> Iterator[int]:
            yield from itertools.islice(stream(*arguments, **options), count)
            raise KeyboardInterrupt

        monkeypatch.setattr(gptoss.Context, "stream", interrupted)

    def test_ctrl_c_ends_the_line_of_what_was_written(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tokens = generate_json(capsys, *SUM)["tokens"]
        self.interrupt_after(len(tokens) - 2, monkeypatch)
        assert main(["generate", *SUM, *DATED]) == 130
        captured = capsys.readouterr()
        assert captured.out == "47 + 38 = 85\n"
        assert "ended: interrupted; greedy]" in captured.err

    def test_ctrl_c_leaves_what_was_written_as_json(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tokens = generate_json(capsys, *SUM)["tokens"]
        self.interrupt_after(10, monkeypatch)
        assert main(["generate", "--json", *SUM, *DATED]) == 130
        report = json.loads(capsys.readouterr().out)
        assert report["finish_reason"] == "interrupted"
        assert report["tokens"] == tokens[:10]

    def test_ctrl_c_in_prefill_ends_without_a_rate(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def interrupted(context: gptoss.Context, progress: object = None) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(gptoss.Context, "process", interrupted)
        assert main(["generate", *SUM, *DATED]) == 130
        captured = capsys.readouterr()
        assert captured.out == ""
        assert re.search(r"\[prefill \d+ tokens, decode 0 tokens; ended: int", captured.err)


class TestPrefillProgress:
    def test_a_long_prefill_shows_how_far_it_is(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("gptoss.cli.generate.PREFILL_PROGRESS_DELAY", 0.0)
        monkeypatch.setattr("gptoss.cli.terminal.is_terminal", lambda stream: True)
        arguments = ["generate", "--raw", "-p", "one two " * 600, "--max-tokens", "1"]
        assert main(arguments) == 0
        error = capsys.readouterr().err
        assert re.search(r"\r\x1b\[Kprefill: \d+ of \d+ tokens, [\d.]+ tokens/s, \d+ s left", error)
        assert error.rpartition("\r\x1b[K")[2].startswith("\x1b[2m[prefill ")
