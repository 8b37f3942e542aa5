"""scripts/measure-metal-traffic.py: what it offers, and what it says when it is used wrongly."""

import subprocess
import sys
from pathlib import Path

import pytest
from metal_traffic.frame import Table

SCRIPT = Path(__file__).parents[1] / "scripts" / "measure-metal-traffic.py"


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False
    )


def test_a_family_that_does_not_exist_is_an_error_that_lists_those_that_do() -> None:
    result = run("dense", "dance")
    assert result.returncode == 2
    assert "no family dance" in result.stderr
    assert "dense" in result.stderr.rsplit("there are", 1)[1]


def test_a_folder_that_is_no_checkout_of_the_reference_is_an_error(tmp_path: Path) -> None:
    result = run("--reference", str(tmp_path), "dense")
    assert result.returncode == 1
    assert "checkout of https://github.com/openai/gpt-oss" in result.stderr


@pytest.mark.parametrize("note", ["", "What a reader has to know."])
def test_a_table_is_markdown(note: str) -> None:
    lines = Table("Title", ["kernel", "bytes"], [["embed", "1"]], note).markdown().splitlines()
    assert lines[:5] == ["### Title", "", "| kernel | bytes |", "|---|---:|", "| embed | 1 |"]
    assert lines[5:] == (["", note] if note else [])
