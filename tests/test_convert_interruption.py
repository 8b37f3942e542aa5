"""Conversions that do not come to their end: nothing lost, nothing left behind, and a sentence."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from checkpoints import TINY, random_checkpoint, write_openai_checkpoint, write_vocabulary
from gptoss.convert import ConversionError, convert


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with its vocabulary.tiktoken."""
    directory = tmp_path_factory.mktemp("checkpoint")
    write_openai_checkpoint(directory, TINY, random_checkpoint(TINY, seed=1))
    write_vocabulary(directory, TINY.num_text_tokens)
    return directory


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "model.bin"


def convert_there(source: Path, destination: Path, **arguments: Any) -> None:
    convert(source, destination, vocabulary=source / "vocabulary.tiktoken", **arguments)


def at_half_time(action: Callable[[], object]) -> Callable[[str, int, int], None]:
    """A progress callback that acts once, when half of the file is written."""
    pending = [action]

    def progress(phase: str, done: int, total: int) -> None:
        if phase == "writing" and done > total / 2 and pending:
            pending.pop()()

    return progress


def fail(error: BaseException) -> Callable[[], None]:
    def raise_() -> None:
        raise error

    return raise_


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), RuntimeError("progress")])
def test_whatever_stops_a_conversion_leaves_nothing(
    source: Path, destination: Path, error: BaseException
) -> None:
    with pytest.raises(type(error)):
        convert_there(source, destination, progress=at_half_time(fail(error)))
    assert list(destination.parent.iterdir()) == []


def test_the_old_file_stays_until_the_new_one_is_complete(source: Path, destination: Path) -> None:
    destination.write_text("old")
    seen = []

    def look() -> None:
        seen.append(destination.read_text())
        seen.append(str(len(list(destination.parent.iterdir()))))

    convert_there(source, destination, force=True, progress=at_half_time(look))
    assert seen == ["old", "2"]
    assert destination.stat().st_size == 404480
    destination.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        convert_there(
            source, destination, force=True, progress=at_half_time(fail(KeyboardInterrupt()))
        )
    assert destination.read_text() == "old"
    assert list(destination.parent.iterdir()) == [destination]


def test_a_file_that_cannot_be_created(
    source: Path, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, mode: str) -> FileIO:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("gptoss.convert.output_file.FileIO", refuse)
    with pytest.raises(ConversionError, match="partial cannot be created: Permission denied"):
        convert_there(source, destination)


def test_an_interrupt_just_after_the_file_was_created(
    source: Path, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create_and_interrupt(path: Path, mode: str) -> FileIO:
        path.touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("gptoss.convert.output_file.FileIO", create_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        convert_there(source, destination)
    assert list(destination.parent.iterdir()) == []


@pytest.fixture
def no_sendfile(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on systems that cannot copy from file to file, so that fakes of FileIO see all bytes."""
    monkeypatch.setattr("gptoss.convert.output_file.HAS_SENDFILE_BETWEEN_FILES", False)


@pytest.mark.usefixtures("no_sendfile")
@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the quota is used up"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_errors_while_writing(
    source: Path,
    destination: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    reason: str,
) -> None:
    class FailingFile(FileIO):
        def write(self, content: Any) -> int:
            if self.tell() > 200_000:
                raise OSError(number, os.strerror(number))
            return super().write(content)

    monkeypatch.setattr("gptoss.convert.output_file.FileIO", FailingFile)
    with pytest.raises(ConversionError) as caught:
        convert_there(source, destination)
    assert f"Writing {destination} failed after " in str(caught.value)
    assert f"bytes: {reason}. The unfinished file was removed." in str(caught.value)
    assert list(destination.parent.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sends from file to file")
@pytest.mark.parametrize("limit", [None, 0, 1000])
def test_copies_within_the_system_and_through_memory_are_the_same(
    source: Path, destination: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None
) -> None:
    """sendfile may refuse (here: None), send nothing, or send less than was asked for."""
    convert_there(source, destination)
    expected = destination.read_bytes()
    real_sendfile = os.sendfile

    def sendfile(output: int, source: int, offset: int, count: int) -> int:
        if limit is None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real_sendfile(output, source, offset, min(count, limit)) if limit else 0

    monkeypatch.setattr("os.sendfile", sendfile)
    convert_there(source, destination, force=True)
    assert destination.read_bytes() == expected


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sends from file to file")
def test_a_disk_that_gets_full_while_copying_within_the_system(
    source: Path, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sendfile", lambda *arguments: fail(OSError(errno.ENOSPC, ""))())
    with pytest.raises(ConversionError, match="the disk is full"):
        convert_there(source, destination)
    assert list(destination.parent.iterdir()) == []


@pytest.mark.usefixtures("no_sendfile")
def test_writes_that_take_only_a_part_are_continued(
    source: Path, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert_there(source, destination)
    expected = destination.read_bytes()

    class ReluctantFile(FileIO):
        def write(self, content: Any) -> int:
            return super().write(memoryview(content)[:1000])

    monkeypatch.setattr("gptoss.convert.output_file.FileIO", ReluctantFile)
    convert_there(source, destination, force=True)
    assert destination.read_bytes() == expected


def test_errors_while_syncing(
    source: Path, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems tell only then that there is no space."""
    monkeypatch.setattr("os.fsync", lambda descriptor: fail(OSError(errno.ENOSPC, ""))())
    with pytest.raises(ConversionError, match="the disk is full"):
        convert_there(source, destination)
    assert list(destination.parent.iterdir()) == []


def test_a_destination_that_comes_into_being_meanwhile_is_not_replaced(
    source: Path, destination: Path
) -> None:
    with pytest.raises(ConversionError, match="came into being during the conversion"):
        convert_there(
            source, destination, progress=at_half_time(lambda: destination.write_text("other"))
        )
    assert destination.read_text() == "other"
    assert list(destination.parent.iterdir()) == [destination]


@pytest.mark.parametrize("meanwhile", [False, True])
def test_file_systems_without_links(
    source: Path, destination: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: bool
) -> None:
    def no_link(old: Path, new: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("os.link", no_link)
    if meanwhile:
        progress = at_half_time(lambda: destination.write_text("other"))
        with pytest.raises(ConversionError, match="came into being during the conversion"):
            convert_there(source, destination, progress=progress)
        assert destination.read_text() == "other"
    else:
        convert_there(source, destination)
        assert destination.stat().st_size == 404480
    assert list(destination.parent.iterdir()) == [destination]


def test_conversions_to_one_destination_do_not_disturb_each_other(
    source: Path, destination: Path
) -> None:
    """The second runs from begin to end in the middle of the first; then the first replaces it."""
    convert_there(source, destination)
    expected = destination.read_bytes()
    destination.unlink()
    sizes = []

    def second() -> None:
        convert_there(source, destination, force=True)
        sizes.append(destination.stat().st_size)

    convert_there(source, destination, force=True, progress=at_half_time(second))
    assert sizes == [404480]
    assert destination.read_bytes() == expected
    assert list(destination.parent.iterdir()) == [destination]


def test_a_dangling_link_is_an_existing_destination(source: Path, destination: Path) -> None:
    destination.symlink_to("nowhere")
    with pytest.raises(ConversionError, match="exists: use --force to replace it"):
        convert_there(source, destination)
    convert_there(source, destination, force=True)
    assert not destination.is_symlink()
    assert destination.stat().st_size == 404480


def test_the_file_has_the_usual_permissions(source: Path, destination: Path) -> None:
    ordinary = destination.with_name("ordinary")
    ordinary.touch()
    convert_there(source, destination)
    assert destination.stat().st_mode == ordinary.stat().st_mode


# A process that sends itself the signal when half of the file is written.
SIGNALLED = """
import os, signal, sys
from gptoss.convert import progress_bar

class SignallingBar(progress_bar.ProgressBar):
    def __call__(self, phase, done, total):
        if phase == "writing" and done > total / 2:
            os.kill(os.getpid(), getattr(signal, sys.argv.pop()))
        super().__call__(phase, done, total)

progress_bar.ProgressBar = SignallingBar
import argparse
from gptoss.cli import convert
parser = argparse.ArgumentParser()
convert.add_parser(parser.add_subparsers())
sys.exit(convert.run(parser.parse_args(["convert", *sys.argv[1:-1]])))
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("force", [False, True])
def test_signals_end_the_command_cleanly(
    source: Path, destination: Path, name: str, force: bool
) -> None:
    if force:
        destination.write_text("old")
    vocabulary = ["--vocabulary", str(source / "vocabulary.tiktoken")]
    arguments = [str(source), str(destination), *vocabulary, *(["--force"] if force else []), name]
    process = subprocess.run(
        [sys.executable, "-c", SIGNALLED, *arguments], capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 128 + getattr(signal, name)
    assert process.stdout == ""
    if force:
        outcome = f"{destination} is as it was, and the unfinished file was removed"
        assert destination.read_text() == "old"
    else:
        outcome = f"nothing was written to {destination}; the unfinished file was removed"
    assert process.stderr == f"gptoss: interrupted, {outcome}.\n"
    assert list(destination.parent.iterdir()) == ([destination] if force else [])


LIMITED = """
import resource, sys
from gptoss.convert import ConversionError, convert
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    convert(sys.argv[1], sys.argv[2], vocabulary=sys.argv[3])
except ConversionError as error:
    print(error)
"""


def test_a_real_limit_of_the_file_s_size(source: Path, destination: Path) -> None:
    vocabulary = source / "vocabulary.tiktoken"
    process = subprocess.run(
        [sys.executable, "-c", LIMITED, str(source), str(destination), str(vocabulary)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.stderr == ""
    assert f"Writing {destination} failed after " in process.stdout
    assert "the file system or a limit of the process allows no file of this size" in process.stdout
    assert list(destination.parent.iterdir()) == []
