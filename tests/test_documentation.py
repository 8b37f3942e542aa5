"""What the documents show is so: their Python runs and prints what stands beside it."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import shlex
import textwrap
from pathlib import Path
from typing import Any

import gptoss
import pytest
from gptoss import harmony
from gptoss.cli.main import build_parser
from gptoss.harmony import HarmonyError, RepairKind, Role, load_harmony_encoding

DOCUMENTS = ["README.md", "docs/harmony.md"]
# Their commands are not run: some download 14 GB, some need a Mac. But each is one that there is.
DOCUMENTS_WITH_COMMANDS = ["README.md", "docs/metal.md", "docs/command-line.md"]

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# In a block of the shell, at its prompt, or indented; without pipes and redirections.
COMMAND = re.compile(
    r"^(?:\$ |    )?(?:[^`|]*\| )?(gptoss [^|<>\n]*?) *(?:2?[|<>].*)?$", re.MULTILINE
)
# `print(x)  # what it prints`, or the comments on the lines after the print.
PRINTED = re.compile(r"(?:^print\(.*\)  |^)# (.*)$", re.MULTILINE)


def python_blocks(document: Path) -> list[str]:
    return BLOCK.findall(document.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_python_runs_and_prints_what_is_written_beside_it(repository: Path, name: str) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}  # a document is one program
    blocks = python_blocks(repository / name)
    assert blocks
    for block in blocks:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(compile(block, name, "exec"), namespace)
        expected = PRINTED.findall(block)
        if expected:
            assert output.getvalue().splitlines() == expected


@pytest.mark.parametrize("name", DOCUMENTS_WITH_COMMANDS)
def test_commands_are_ones_that_there_are(repository: Path, name: str) -> None:
    parser = build_parser()
    commands = COMMAND.findall((repository / name).read_text(encoding="utf-8"))
    assert commands
    for command in commands:
        _, *arguments = shlex.split(re.sub(r"  .*", "", command))  # a remark stands apart
        arguments = [re.sub(r"^\[(.*)\]$", r"\1", argument) for argument in arguments]
        assert is_usage(parser, arguments), f"{name} shows `{command}`, which is a usage error"


def is_usage(parser: argparse.ArgumentParser, arguments: list[str]) -> bool:
    try:
        parser.parse_args(arguments)
    except SystemExit as end:
        return end.code == 0
    return True


def test_the_example_of_the_package_runs() -> None:
    _, example, *_ = (harmony.__doc__ or "").split("\n\n")
    model = gptoss.Model()
    namespace = {**vars(harmony), "model": model, "context": gptoss.Context(model)}
    exec(textwrap.dedent(example), namespace)
    assert namespace["messages"]
    assert namespace["calls"] == []


def table_of_repairs(repository: Path) -> dict[str, tuple[str | None, str]]:
    """By the kind of repair: the completion that is the example, and what the package makes of it.

    None: the example is a description.
    """
    rows = {}
    text = (repository / "docs" / "harmony.md").read_text(encoding="utf-8")
    for line in text.splitlines():
        if match := re.fullmatch(r"\| `(\w+)` \| (.*) \| .* \| (.*) \|", line):
            kind, example, theirs = match.groups()
            completion = re.fullmatch(r"`([^`]*)`", example)
            rows[kind] = (completion and completion[1].replace("\\|", "|"), theirs)
    return rows


def encode_example(example: str) -> list[int]:
    text = example.replace("…", "<|channel|>analysis<|message|>Hm.<|end|>")
    return load_harmony_encoding("HarmonyGptOss").encode(text, allowed_special="all")


class TestTableOfRepairs:
    def test_has_all_kinds(self, repository: Path) -> None:
        assert set(table_of_repairs(repository)) == {kind.value for kind in RepairKind}

    def test_the_examples_are_repaired_so(self, repository: Path) -> None:
        encoding = load_harmony_encoding("HarmonyGptOss")
        for kind, (example, _) in table_of_repairs(repository).items():
            if example is not None:
                messages = encoding.parse_messages_from_completion_tokens(
                    encode_example(example), Role.ASSISTANT, strict=False
                )
                assert kind in [repair.kind.value for repair in messages.repairs]

    def test_the_errors_are_errors(self, repository: Path) -> None:
        encoding = load_harmony_encoding("HarmonyGptOss")
        for example, theirs in table_of_repairs(repository).values():
            if example is not None:
                try:
                    encoding.parse_messages_from_completion_tokens(
                        encode_example(example), Role.ASSISTANT
                    )
                except HarmonyError:
                    assert theirs == "error"
                else:
                    assert theirs != "error"
