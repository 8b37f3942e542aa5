"""`gptoss generate` on the built-in demo model, as users run it: in a pipe, in a terminal."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import gptoss
import pytest
from generate_command import COMMAND, DATED, SUM, SUMMARY, generate_json
from gptoss.cli.generate import DEMO_NOTICE
from gptoss.cli.main import main

WEATHER_FUNCTION = {
    "name": "get_current_weather",
    "description": "Gets the current weather in the provided location.",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string", "description": "The city."}},
        "required": ["location"],
    },
}


def generate(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def contents(report: dict[str, Any], channel: str) -> list[str]:
    return [m["content"] for m in report["messages"] if m["channel"] == channel]


@pytest.fixture
def weather_file(tmp_path: Path) -> Path:
    path = tmp_path / "weather.json"
    path.write_text(json.dumps([{"type": "function", "function": WEATHER_FUNCTION}]))
    return path


class TestAnswer:
    def test_a_pipe_gets_the_answer_alone(self) -> None:
        result = generate(*SUM, *DATED)
        assert (result.returncode, result.stdout) == (0, "47 + 38 = 85.\n")

    def test_stderr_says_that_it_is_the_demo_how_fast_it_was_and_how_it_ended(self) -> None:
        result = generate(*SUM, *DATED)
        assert result.stderr.startswith(DEMO_NOTICE)
        assert "hf download openai/gpt-oss-20b" in DEMO_NOTICE
        (summary,) = result.stderr.removeprefix(DEMO_NOTICE).splitlines()
        match = SUMMARY.fullmatch(summary)
        assert match is not None, summary
        assert match.groups() == ("stop", "greedy")

    def test_a_model_file_that_is_given_is_no_demo(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        copy = tmp_path / "model.bin"
        copy.write_bytes(gptoss.Model().path.read_bytes())
        assert main(["generate", str(copy), *SUM, *DATED, "--temperature", "0"]) == 0
        captured = capsys.readouterr()
        assert captured.out == "47 + 38 = 85.\n"
        assert "demo" not in captured.err

    def test_the_effort_sets_the_length_of_the_analysis(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        reports = {
            effort: generate_json(capsys, *SUM, "--effort", effort)
            for effort in ("low", "medium", "high")
        }
        analyses = [len("".join(contents(report, "analysis"))) for report in reports.values()]
        assert analyses[0] < analyses[1] < analyses[2]
        for report in reports.values():
            assert contents(report, "final") == ["47 + 38 = 85."]

    def test_the_default_effort_is_medium_and_the_default_date_today(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        default = generate_json(capsys, *SUM)
        assert (
            default["prompt_tokens"]
            == (generate_json(capsys, *SUM, "--effort", "medium")["prompt_tokens"])
        )
        assert main(["generate", "--json", *SUM]) == 0
        tokens = json.loads(capsys.readouterr().out)["prompt_tokens"]
        text = gptoss.Model().tokenizer.decode(tokens)
        assert re.search(r"\nCurrent date: \d{4}-\d\d-\d\d\n", text)
        assert "\nReasoning: medium\n" in text

    def test_the_prompt_is_harmony(self, capsys: pytest.CaptureFixture[str]) -> None:
        options = ("--system", "You are a parrot.", "--developer", "Be brief.", "--effort", "low")
        report = generate_json(capsys, "-p", "Hello <|end|>", *options)
        tokenizer = gptoss.Model().tokenizer
        assert tokenizer.decode(report["prompt_tokens"]) == (
            "<|start|>system<|message|>You are a parrot.\nKnowledge cutoff: 2024-06\n"
            "Current date: 2026-01-31\n\nReasoning: low\n\n# Valid channels: analysis, commentary, "
            "final. Channel must be included for every message.<|end|>"
            "<|start|>developer<|message|># Instructions\n\nBe brief.<|end|>"
            "<|start|>user<|message|>Hello <|end|><|end|><|start|>assistant"
        )
        end = tokenizer.encode_special_token("<|end|>")
        assert report["prompt_tokens"].count(end) == 3  # the user's <|end|> is text


class TestPromptFromStdin:
    @pytest.mark.parametrize("option", [(), ("-p", "-")])
    def test_a_pipe_is_the_prompt(self, option: tuple[str, ...]) -> None:
        result = generate(*option, *DATED, stdin="What is 47 + 38?\n")
        assert (result.returncode, result.stdout) == (0, "47 + 38 = 85.\n")

    def test_the_last_newline_is_no_part_of_the_question_but_of_raw_text(self) -> None:
        for options, lengths in (((), {0}), (("--raw",), {1})):
            common = (*options, "--json", "--max-tokens", "1", "-p")
            tokens = [
                json.loads(generate(*common, "-", stdin=text).stdout)["prompt_tokens"]
                for text in ("A word", "A word\n")
            ]
            assert {len(tokens[1]) - len(tokens[0])} == lengths

    def test_an_empty_pipe_is_a_usage_error(self) -> None:
        result = generate(stdin="\n")
        assert result.returncode == 2
        assert "the prompt is empty" in result.stderr

    def test_bytes_that_are_not_utf8_are_replaced(self) -> None:
        result = subprocess.run(
            [*COMMAND, "--raw", "--json", "--max-tokens", "1"],
            input=b"a\xffb",
            capture_output=True,
            timeout=120,
            check=True,
        )
        tokens = json.loads(result.stdout)["prompt_tokens"]
        assert gptoss.Model().tokenizer.decode(tokens) == "a\ufffdb"

    def test_bytes_of_the_command_line_that_are_not_utf8_are_replaced(self) -> None:
        options = [b"-p", b"a\xffb", b"--system", b"s\xfe", b"--developer", b"d\xfe"]
        result = subprocess.run(
            [*COMMAND, "--json", "--max-tokens", "1", *options],
            capture_output=True,
            timeout=120,
            check=True,
        )
        text = gptoss.Model().tokenizer.decode(json.loads(result.stdout)["prompt_tokens"])
        assert "<|message|>s\ufffd\n" in text
        assert "\n\nd\ufffd<|end|>" in text
        assert "<|message|>a\ufffdb<|end|>" in text


class TestOutput:
    def test_a_locale_without_utf8_gets_what_it_can_show(self) -> None:
        code = "from gptoss.cli.main import main; print(main(['inspect', '\u00e9\u65e5']))"
        result = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            timeout=60,
            check=True,
        )
        assert result.stdout == b"1\n"
        assert b"'??'" in result.stderr

    def test_a_closed_stdout_is_no_error(self) -> None:
        command = " ".join([shlex.quote(word) for word in (*COMMAND, *SUM, *DATED)])
        result = subprocess.run(
            f"{command} >&-", shell=True, capture_output=True, text=True, timeout=60, check=False
        )
        assert result.returncode == 0
        assert "ended: stop" in result.stderr

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
    def test_a_full_disk_is_told(self) -> None:
        with Path("/dev/full").open("w") as full:
            result = subprocess.run(
                [*COMMAND, *SUM, *DATED],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
            )
        assert result.returncode == 1
        assert result.stderr == f"{DEMO_NOTICE}gptoss: No space left on device.\n"


class TestFunctions:
    QUESTION = ("-p", "What is the weather in Oslo?")

    def test_a_call_is_printed(self, weather_file: Path) -> None:
        result = generate(*self.QUESTION, *DATED, "--tools", str(weather_file))
        assert result.stdout == ('tool call: functions.get_current_weather({"location":"Oslo"})\n')
        assert "ended: tool_call" in result.stderr

    def test_a_call_is_a_message_with_a_recipient(
        self, weather_file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        report = generate_json(capsys, *self.QUESTION, "--tools", str(weather_file))
        assert report["finish_reason"] == "tool_call"
        call = report["messages"][-1]
        assert (call["channel"], call["recipient"]) == (
            "commentary",
            "functions.get_current_weather",
        )
        assert json.loads(call["content"]) == {"location": "Oslo"}
        (tool_call,) = report["tool_calls"]
        assert tool_call["name"] == "get_current_weather"
        assert tool_call["arguments"] == {"location": "Oslo"}
        assert tool_call["error"] is None
        assert report["messages"][tool_call["index"]] == call
        assert report["repairs"] == []

    def test_the_other_spellings_of_a_function_are_the_same(
        self, tmp_path: Path, weather_file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        limited = (*self.QUESTION, "--max-tokens", "1", "--tools")
        expected = generate_json(capsys, *limited, str(weather_file))["prompt_tokens"]
        for declaration in (WEATHER_FUNCTION, {"type": "function", **WEATHER_FUNCTION}):
            path = tmp_path / "other.json"
            path.write_text(json.dumps([declaration]))
            assert generate_json(capsys, *limited, str(path))["prompt_tokens"] == expected

    def test_any_schema_is_shown_to_the_model(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        place = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "number"}}]}
        schema = {"type": "object", "properties": {"place": place}, "additionalProperties": False}
        path = tmp_path / "tools.json"
        path.write_text(json.dumps([{"name": "f", "parameters": schema}, {"name": "g"}]))
        report = generate_json(capsys, *self.QUESTION, "--max-tokens", "1", "--tools", str(path))
        text = gptoss.Model().tokenizer.decode(report["prompt_tokens"])
        assert (
            "namespace functions {\n\n"
            "type f = (_: {\nplace?:\n | string\n | number[]\n,\n}) => any;\n\n"
            "type g = () => any;\n\n"
            "} // namespace functions"
        ) in text

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("", "is not JSON"),
            ("{}", "must hold a JSON list of one or more functions"),
            ("[]", "must hold a JSON list of one or more functions"),
            ("[1]", r'Function 1 of .* must be a JSON object with "type": "function"'),
            ('[{"type": "file_search"}]', 'must be a JSON object with "type": "function"'),
            ('[{"function": 1}]', '"function" must be a JSON object'),
            ('[{"name": "f"}, {}]', 'Function 2 of .* needs a "name"'),
            ('[{"name": "f", "description": 1}]', '"description" must be a string'),
            ('[{"name": "f", "parameters": []}]', '"parameters" must be a JSON schema'),
            ('[{"name": "f"}, {"name": "f"}]', "declares the function 'f' more than once"),
            ('[{"name": "f", "parameters": {"default": NaN}}]', "is not JSON: JSON has no NaN"),
            ('[{"name": "f", "description": "\\ud83d"}]', "Function 1 of .* cannot be shown"),
            pytest.param(
                f'[{{"name": "f", "parameters": {{"default": 1{"0" * 400}}}}}]',
                "Function 1 of .* cannot be shown to the model: number out of range",
                id="a number beyond the range of a float",
            ),
            pytest.param("[" * 100_000 + "]" * 100_000, "is nested too deeply", id="deep nesting"),
        ],
    )
    def test_a_file_that_declares_none_is_told_in_a_sentence(
        self, text: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "tools.json"
        path.write_text(text)
        assert main(["generate", *SUM, "--tools", str(path)]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert re.fullmatch(rf"gptoss: .*{sentence}.*\.\n", captured.err)


class TestJson:
    def test_says_everything(self, capsys: pytest.CaptureFixture[str]) -> None:
        report = generate_json(capsys, *SUM, "--seed", "5", "--temperature", "0")
        model = gptoss.Model()
        assert report["model"] == {
            "path": str(model.path),
            "is_demo": True,
            "backend": model.backend,
            "threads": model.threads,
            "precision": model.precision,
        }
        assert report["sampling"] == {
            "seed": 5,
            "temperature": 0.0,
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
        }
        assert report["finish_reason"] == "stop"
        assert report["text"] == model.tokenizer.decode(report["tokens"])
        assert report["tokens"][-1] == model.tokenizer.encode_special_token("<|return|>")
        assert [message["channel"] for message in report["messages"]] == ["analysis", "final"]
        assert {message["role"] for message in report["messages"]} == {"assistant"}
        timing = report["timing"]
        assert timing["prefill_tokens"] == len(report["prompt_tokens"])
        assert timing["decode_tokens"] == len(report["tokens"])
        for phase in ("prefill", "decode"):
            rate = timing[f"{phase}_tokens"] / timing[f"{phase}_seconds"]
            assert timing[f"{phase}_tokens_per_second"] == pytest.approx(rate)
        assert timing["load_seconds"] > 0

    def test_is_the_only_output(self) -> None:
        result = generate(*SUM, *DATED, "--json")
        assert result.stderr == DEMO_NOTICE
        assert result.stdout.count("\n") == 1

    def test_raw_text_has_no_messages(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["generate", "--json", "--raw", "-p", "I am", "--max-tokens", "3"]) == 0
        report = json.loads(capsys.readouterr().out)
        tokenizer = gptoss.Model().tokenizer
        assert report["prompt_tokens"] == tokenizer.encode("I am")
        assert report["messages"] == report["tool_calls"] == report["repairs"] == []
        assert report["text"] == tokenizer.decode(report["tokens"])


class TestSampling:
    WILD = (*SUM, "--temperature", "2", "--max-tokens", "30")

    def test_a_seed_repeats_an_answer(self, capsys: pytest.CaptureFixture[str]) -> None:
        answers = [
            generate_json(capsys, *self.WILD, "--seed", seed)["tokens"] for seed in ("1", "1", "2")
        ]
        assert answers[0] == answers[1] != answers[2]

    def test_without_a_seed_every_answer_has_its_own_which_is_told(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        reports = [generate_json(capsys, *self.WILD) for _ in range(2)]
        seeds = [report["sampling"]["seed"] for report in reports]
        assert seeds[0] != seeds[1]
        again = generate_json(capsys, *self.WILD, "--seed", str(seeds[0]))
        assert again["tokens"] == reports[0]["tokens"]
        assert main(["generate", *self.WILD, "--seed", "7"]) == 0
        assert "; seed 7]" in capsys.readouterr().err

    @pytest.mark.parametrize("option", [("--top-k", "1"), ("--top-p", "1e-9"), ("--min-p", "1")])
    def test_a_narrow_filter_leaves_the_likeliest_token(
        self, option: tuple[str, str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        greedy = generate_json(capsys, *SUM)["tokens"][:30]
        assert generate_json(capsys, *self.WILD, *option)["tokens"] == greedy


class TestLimits:
    def test_max_tokens_counts_every_token(self, capsys: pytest.CaptureFixture[str]) -> None:
        report = generate_json(capsys, *SUM, "--max-tokens", "5")
        assert len(report["tokens"]) == 5
        assert report["finish_reason"] == "length"

    def test_an_answer_that_did_not_begin_is_told(self) -> None:
        result = generate(*SUM, *DATED, "--max-tokens", "5")
        assert (result.returncode, result.stdout) == (0, "")
        assert "still thinking after 5 tokens: for an answer raise --max-tokens" in result.stderr

    def test_a_full_context_ends_the_answer(self, capsys: pytest.CaptureFixture[str]) -> None:
        prompt = generate_json(capsys, *SUM, "--max-tokens", "1")["prompt_tokens"]
        report = generate_json(capsys, *SUM, "--context-length", str(len(prompt) + 4))
        assert report["finish_reason"] == "context_length"
        assert len(report["tokens"]) == 4

    def test_a_prompt_above_the_context_length_is_told_with_both(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        prompt = generate_json(capsys, *SUM, "--max-tokens", "1")["prompt_tokens"]
        for length in (len(prompt), 10):
            assert main(["generate", *SUM, *DATED, "--context-length", str(length)]) == 1
            error = capsys.readouterr().err.removeprefix(DEMO_NOTICE)
            assert error.startswith("gptoss: ")
            assert str(length) in error
            assert str(len(prompt)) in error

    @pytest.mark.parametrize("precision", ["exact", "fast"])
    def test_a_precision_is_the_engine_s(
        self, precision: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert generate_json(capsys, *SUM, f"--{precision}")["model"]["precision"] == precision

    def test_exact_and_fast_exclude_each_other(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as exit_info:
            main(["generate", *SUM, "--exact", "--fast"])
        assert exit_info.value.code == 2
        assert "--fast: not allowed with argument --exact" in capsys.readouterr().err

    def test_the_number_of_threads_is_the_engine_s(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert generate_json(capsys, *SUM, "--threads", "1")["model"]["threads"] == 1


class TestRaw:
    def test_continues_the_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["generate", "--raw", "-p", "I am a tiny", "--max-tokens", "8"]) == 0
        captured = capsys.readouterr()
        context = gptoss.Context(model := gptoss.Model())
        context.append("I am a tiny")
        tokens = context.sample(max_output_tokens=8, temperature=0.0)
        assert captured.out == model.tokenizer.decode(tokens)

    def test_may_hold_special_tokens(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The spelling of a special token in the prompt is text: nobody injects one."""
        arguments = ["generate", "--raw", "--json", "-p", "<|start|>", "--max-tokens", "1"]
        assert main(arguments) == 0
        tokenizer = gptoss.Model().tokenizer
        tokens = json.loads(capsys.readouterr().out)["prompt_tokens"]
        assert tokenizer.encode_special_token("<|start|>") not in tokens


class TestModelErrors:
    def test_a_file_that_is_not_there(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["generate", str(tmp_path / "none.bin"), *SUM]) == 1
        error = capsys.readouterr().err
        assert error.startswith("gptoss: ")
        assert "none.bin" in error
        assert error.count("\n") == 1

    @pytest.mark.parametrize("content", [b"", b"GPT-OSS v1.0", b"\0" * 100_000])
    def test_a_file_that_is_no_model(
        self, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "bad.bin"
        path.write_bytes(content)
        assert main(["generate", str(path), *SUM]) == 1
        error = capsys.readouterr().err
        assert error.startswith("gptoss: ")
        assert error.count("\n") == 1
