"""Stored tokens of openai_harmony, for those who do not have it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import gptoss.harmony as harmony
import pytest
from gptoss.harmony import load_harmony_encoding
from harmony_golden_cases import read_goldens, render_case, write_goldens

CASES = read_goldens()
ENCODING = load_harmony_encoding("HarmonyGptOss")


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_renders_the_stored_tokens(case: dict[str, Any]) -> None:
    actual = render_case(
        harmony,
        ENCODING,
        case["messages"],
        next_turn_role=case["next_turn_role"],
        auto_drop_analysis=case["auto_drop_analysis"],
    )
    assert actual == {way: case[way] for way in actual}


class TestCoverage:
    """The stored cases have something of everything."""

    TEXT = "".join(
        ENCODING.decode(case["completion"])
        for case in CASES
        if isinstance(case["completion"][0], int)
    )

    @pytest.mark.parametrize(
        "part",
        [
            *("<|start|>user", "<|start|>assistant", "<|start|>system", "<|start|>developer"),
            *("<|start|>user:bob", "<|start|>functions.get_weather"),
            *(" to=functions.get_weather", " to=<|", "<|channel|>analysis", "<|channel|><|"),
            *("<|channel|>final json<|message|>", "<|call|>", "<|end|>"),
            *(" <|constrain|><|message|>", " <|constrain|>json<|message|>", " <|constrain|> json"),
            *("Knowledge cutoff: 2024-06", "Current date: ", "# Valid channels: "),
            *("Reasoning: low", "Reasoning: medium", "Reasoning: high"),
            *("Channel must be included for every message.", "Calls to these tools must go to"),
            *("# Instructions\n\n", "# Tools\n\n## ", "namespace functions {\n\n", "= () => any;"),
            *(
                "// Examples:\n// - ",
                "\n | ",
                " | null",
                ": string[]",
                "Array<any>",
                "Array<any>[]",
            ),
            *(
                "// default: ",
                ' // default: "',
                ": 1e25",
                ": 1.0",
                ": 0.00001",
                "123456789.1234568\n",
            ),
        ],
    )
    def test_of_the_rules(self, part: str) -> None:
        assert part in self.TEXT

    def test_of_the_ways_to_render(self) -> None:
        assert len(CASES) == 150
        assert {case["next_turn_role"] for case in CASES} == {role.value for role in harmony.Role}
        assert {case["auto_drop_analysis"] for case in CASES} == {True, False}
        returned = [
            case for case in CASES if case["training"][-1:] == [ENCODING.vocabulary.return_]
        ]
        assert len(returned) > 5

    def test_of_the_errors(self) -> None:
        outcomes = [tuple(message) for case in CASES for message in case["single"]]
        errors = {outcome for outcome in outcomes if isinstance(outcome[0], str)}
        assert ("RuntimeError", "Tools should have a name!") in errors
        texts = " ".join(text for _, text in errors)
        assert "SystemContent may only appear" in texts
        assert "DeveloperContent may only appear" in texts
        assert "HarmonyError" in {case["completion"][0] for case in CASES}


def test_dropped_analysis_is_among_the_cases() -> None:
    start = ENCODING.vocabulary.start
    num_dropped = [
        len(case["messages"]) - case["conversation"].count(start)
        for case in CASES
        if case["conversation"][:1] == [start]
    ]
    assert sum(num_dropped) > 5


def test_writing_is_deterministic(tmp_path: Path) -> None:
    write_goldens(CASES, tmp_path / "first")
    write_goldens(read_goldens(tmp_path / "first"), tmp_path / "second")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_the_package_still_renders_the_stored_tokens(repository: Path) -> None:
    package = pytest.importorskip("openai_harmony")
    path = repository / "scripts" / "make-harmony-goldens.py"
    spec = importlib.util.spec_from_file_location("make_harmony_goldens", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    encoding = package.load_harmony_encoding("HarmonyGptOss")
    assert [script.make_case(package, encoding, n) for n in range(script.NUM_CASES)] == CASES
