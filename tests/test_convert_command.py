"""`gptoss convert` and scripts/create-local-model.py as a user runs them."""

from __future__ import annotations

import argparse
import io
import os
import runpy
import stat
import sys
from pathlib import Path

import pytest
from checkpoints import (
    TINY,
    Tensor,
    hugging_face_tensors,
    random_checkpoint,
    write_hugging_face_checkpoint,
    write_openai_checkpoint,
    write_safetensors,
    write_vocabulary,
)
from gptoss.cli import convert as command
from gptoss.convert.byte_counts import format_bytes
from gptoss.convert.progress_bar import ProgressBar

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "create-local-model.py"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "checkpoint"
    write_openai_checkpoint(directory, TINY, random_checkpoint(TINY, seed=1))
    write_vocabulary(directory, TINY.num_text_tokens)
    return directory


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return command.run(parser.parse_args(["convert", *map(str, arguments)]))


def test_a_conversion_tells_what_it_did(source: Path, capfd: pytest.CaptureFixture[str]) -> None:
    vocabulary = source / "vocabulary.tiktoken"
    assert run(source, "--vocabulary", vocabulary) == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    first, *rest = captured.out.splitlines()
    assert first.startswith(f"{source / 'model.bin'}: 404480 bytes in ")
    assert rest == [
        f"  from {source} (OpenAI's original layout)",
        f"  vocabulary: {vocabulary}",
    ]
    assert (source / "model.bin").stat().st_size == 404480


def test_quantising_rounding_and_leftovers_are_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint = random_checkpoint(TINY, seed=2)
    write_hugging_face_checkpoint(tmp_path, TINY, checkpoint, experts="bf16", shards=1)
    vocabulary = write_vocabulary(tmp_path, TINY.num_text_tokens)
    tensors = hugging_face_tensors(TINY, checkpoint, experts="bf16")
    norm = tensors["model.norm.weight"]
    tensors |= {"model.norm.weight": Tensor("F32", norm.float32()), "left.over": norm}
    write_safetensors(tmp_path / "model.safetensors", tensors)
    assert run(tmp_path, tmp_path / "out.bin", "--vocabulary", vocabulary) == 0
    captured = capfd.readouterr()
    assert captured.err == (
        "gptoss: warning: 1 tensors of the checkpoint have no place in a gpt-oss model and "
        "were left out: left.over.\n"
    )
    assert captured.out.splitlines()[3:] == [
        "  4 unquantised expert tensors became MXFP4, with a relative error (root mean square) of "
        "0.00 %",
        "  1 fp16 or fp32 tensors were rounded to bf16",
    ]


def test_errors_go_to_stderr_with_exit_code_1(
    source: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(source / "absent") == 1
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == f"gptoss: {source / 'absent'} does not exist.\n"


def test_force_replaces_a_file(source: Path, capfd: pytest.CaptureFixture[str]) -> None:
    destination = source / "out.bin"
    destination.touch()
    arguments = [source, destination, "--vocabulary", source / "vocabulary.tiktoken"]
    assert run(*arguments) == 1
    assert "exists: use --force to replace it" in capfd.readouterr().err
    assert run(*arguments, "--force") == 0
    assert destination.stat().st_size == 404480


def test_an_interrupt_after_the_last_byte_tells_that_the_file_is_complete(
    source: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The last thing to happen is the sync of the folder, when the file has its name already."""
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise KeyboardInterrupt
        real_fsync(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    destination = source / "out.bin"
    assert run(source, destination, "--vocabulary", source / "vocabulary.tiktoken") == 130
    assert capfd.readouterr().err == f"gptoss: interrupted, {destination} was complete already.\n"
    assert destination.stat().st_size == 404480
    assert list(source.glob(".*.partial")) == []


def test_the_script_takes_openai_s_flags(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        run(source, tmp_path / "command.bin", "--vocabulary", source / "vocabulary.tiktoken") == 0
    )
    arguments = ["-s", source, "-d", tmp_path / "script.bin"]
    arguments += ["--vocabulary", source / "vocabulary.tiktoken"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert caught.value.code == 0
    assert (tmp_path / "script.bin").read_bytes() == (tmp_path / "command.bin").read_bytes()


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 bytes"),
        (999_999, "999999 bytes"),
        (1_968_128, "1.97 MB"),
        (13_761_264_768, "13.76 GB"),
    ],
)
def test_byte_counts(num_bytes: int, text: str) -> None:
    assert format_bytes(num_bytes) == text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_bytes_rate_and_time_left() -> None:
    terminal = Terminal()
    progress = ProgressBar(terminal)
    progress("checking scales", 10**9, 10**9)
    progress("writing", 0, 4 * 10**9)
    progress("writing", 10**9, 4 * 10**9)
    progress.close()
    shown = terminal.getvalue()
    assert "checking scales" in shown
    assert "writing" in shown
    assert "/4.00G" in shown
    assert "B/s" in shown
    assert not shown.endswith("B/s]")  # the bar is gone at the end


def test_a_log_gets_a_line_every_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    log = io.StringIO()
    progress = ProgressBar(log)
    progress("checking scales", 1, 1)
    for second in range(13):
        now = 100.0 + second
        progress("writing", second * 10**9, 12 * 10**9)
    progress.close()
    assert log.getvalue().splitlines() == [
        "writing: 42% 5.00G/12.0G, 1.00GB/s, 00:07 left",
        "writing: 83% 10.0G/12.0G, 1.00GB/s, 00:02 left",
        "writing: 100% 12.0G/12.0G, 1.00GB/s, 00:00 left",
    ]
