"""The `gptoss` command as a whole: help, version, exit codes, errors as sentences."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys

import gptoss
import pytest
from gptoss.cli import generate
from gptoss.cli.main import COMMANDS, main
from gptoss.errors import ModelFormatError


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


class TestHelp:
    def test_no_argument_prints_the_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([]) == 0
        output = capsys.readouterr().out
        assert output.startswith("usage: gptoss")
        assert "hf download openai/gpt-oss-20b" in output
        for command in COMMANDS:
            assert re.search(rf"^    {command}( |$)", output, re.MULTILINE)

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_explains_itself_with_examples(
        self, command: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as exit_info:
            main([command, "--help"])
        assert exit_info.value.code == 0
        output = capsys.readouterr().out
        assert output.startswith(f"usage: gptoss {command}")
        assert "examples:" in output
        assert f"\n  gptoss {command}" in output

    def test_the_version_is_the_package_s(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as exit_info:
            main(["--version"])
        assert exit_info.value.code == 0
        assert capsys.readouterr().out == f"gptoss {gptoss.__version__}\n"

    def test_python_m_gptoss_is_the_command(self) -> None:
        result = run_python("-m", "gptoss", "--version")
        assert (result.returncode, result.stdout) == (0, f"gptoss {gptoss.__version__}\n")

    def test_help_loads_nothing_that_is_slow_to_load(self) -> None:
        code = (
            "import sys\n"
            "from gptoss.cli.main import main\n"
            "main([])\n"
            "slow = {'numpy', 'tiktoken', 'pydantic', 'gptoss._native', 'gptoss.harmony'}\n"
            "slow &= set(sys.modules)\n"
            "sys.exit(f'loaded {slow}' if slow else 0)\n"
        )
        result = run_python("-c", code)
        assert (result.returncode, result.stderr) == (0, "")


class TestUsageErrors:
    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["nonsense"], "invalid choice: 'nonsense'"),
            (["generate", "--nonsense"], "unrecognized arguments: --nonsense"),
            (["generate", "-p", "x", "--effort", "huge"], "invalid choice: 'huge'"),
            (["generate", "-p", "x", "--temperature", "-1"], "must be 0 or more, not -1"),
            (["generate", "-p", "x", "--temperature", "nan"], "must be a finite number, not 'nan'"),
            (["generate", "-p", "x", "--temperature", "hot"], "must be a number, not 'hot'"),
            (["generate", "-p", "x", "--top-p", "0"], "must be above 0, not 0"),
            (["generate", "-p", "x", "--top-p", "1.5"], "must be from 0 to 1, not 1.5"),
            (["generate", "-p", "x", "--min-p", "2"], "must be from 0 to 1, not 2"),
            (["generate", "-p", "x", "--top-k", "-1"], "must be from 0 to 4294967295, not -1"),
            (["generate", "-p", "x", "--max-tokens", "0"], "must be from 1 to 4294967295, not 0"),
            (["generate", "-p", "x", "--max-tokens", "many"], "must be an integer, not 'many'"),
            (["generate", "-p", "x", "--seed", str(2**64)], "must be from 0 to"),
            (["generate", "-p", "x", "--date", "2026-02-30"], "a date as YYYY-MM-DD"),
            (["generate", "-p", "x", "--date", "today"], "a date as YYYY-MM-DD, not 'today'"),
            (["generate", "-p", ""], "the prompt is empty"),
            (["generate", "-p", "x", "--raw", "--effort", "low"], "--effort has no meaning with"),
            (["generate", "-p", "x", "--raw", "--system", ""], "--system has no meaning with"),
            (["inspect", "--context-length", "0"], "must be from 1 to"),
        ],
    )
    def test_are_told_with_exit_code_2(
        self, arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as exit_info:
            main(arguments)
        assert exit_info.value.code == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("usage: gptoss")
        assert complaint in captured.err


class TestErrors:
    def outcome(
        self,
        error: BaseException,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> tuple[int, str]:
        def fail(arguments: argparse.Namespace) -> int:
            raise error

        monkeypatch.setattr(generate, "run", fail)
        code = main(["generate", "-p", "x"])
        captured = capsys.readouterr()
        assert captured.out == ""
        return code, captured.err

    @pytest.mark.parametrize(
        ("error", "sentence"),
        [
            (ModelFormatError("The file is short."), "The file is short."),
            (ValueError("A sentence\nin two lines."), "A sentence in two lines."),
            (FileNotFoundError("x.bin is not there."), "x.bin is not there."),
            (FileNotFoundError(2, "There is no file x.bin.", "x.bin"), "There is no file x.bin."),
            (FileNotFoundError(2, "No such file or directory", "x.bin"), "x.bin: No such file"),
            (PermissionError(13, "Permission denied"), "Permission denied."),
            (MemoryError(), "There is not enough memory."),
            (MemoryError("The cache of 5 GiB does not fit."), "The cache of 5 GiB does not fit."),
        ],
    )
    def test_are_one_sentence_with_exit_code_1(
        self,
        error: BaseException,
        sentence: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        code, text = self.outcome(error, monkeypatch, capsys)
        assert code == 1
        assert text.startswith(f"gptoss: {sentence}")
        assert text.endswith(".\n")
        assert text.count("\n") == 1

    def test_ctrl_c_is_silent_with_exit_code_130(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.outcome(KeyboardInterrupt(), monkeypatch, capsys) == (130, "")

    def test_a_defect_of_the_program_keeps_its_traceback(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(ZeroDivisionError):
            self.outcome(ZeroDivisionError(), monkeypatch, capsys)
