"""`gptoss perplexity`: its report, its options, and what it refuses."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import gptoss
import pytest
from gptoss.cli.main import main
from gptoss.perplexity.measurement import measure
from gptoss.perplexity.windows import cut_windows

TEXT = "I am a tiny model. What is 47 + 38? It is 85. What can you do? " * 20
WINDOW = ("--context-length", "64")


@pytest.fixture(scope="module")
def demo() -> gptoss.Model:
    return gptoss.Model(backend="cpu")


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


def perplexity(
    capsys: pytest.CaptureFixture[str], demo: gptoss.Model, text: str, *options: str
) -> dict[str, Any]:
    assert main(["perplexity", str(demo.path), text, *WINDOW, "--json", *options]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    report = json.loads(captured.out)
    assert isinstance(report, dict)
    return report


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["perplexity", *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("gptoss: ")
    assert captured.err.count("\n") == 1
    return captured.err


class TestReport:
    def test_json_holds_what_was_measured_and_how(
        self, demo: gptoss.Model, text: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        report = perplexity(capsys, demo, text)
        tokens = demo.tokenizer.encode(TEXT)
        scores = measure(demo, windows := cut_windows(tokens, 64)).scores
        assert report.pop("seconds") > 0
        assert report == {
            "model": {
                "path": str(demo.path),
                "backend": gptoss.device_info().backend,
                "threads": gptoss.Model().threads,
                "precision": gptoss.Model().precision,
            },
            "text": {"file": text, "tokens": len(tokens)},
            "windows": len(windows),
            "context_length": 64,
            "stride": None,
            "predictions": 31 * len(windows),
            "perplexity": {
                "mean": pytest.approx(scores.perplexity.mean, rel=1e-3),
                "standard_error": pytest.approx(scores.perplexity.standard_error, rel=1e-2),
            },
            "nats_per_token": {
                "mean": pytest.approx(scores.loss.mean, rel=1e-3),
                "standard_error": pytest.approx(scores.loss.standard_error, rel=1e-2),
            },
            "against": None,
        }

    def test_json_of_a_comparison(
        self, demo: gptoss.Model, text: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        against = perplexity(capsys, demo, text, "--against", str(demo.path))["against"]
        assert against["model"]["path"] == str(demo.path)
        assert against["model"]["precision"] == "exact"
        divergence = against["kl_divergence"]
        assert list(divergence) == ["mean", "standard_error", "median", "quantile_99", "maximum"]
        assert 0 <= divergence["median"] <= divergence["quantile_99"] <= divergence["maximum"]
        assert against["same_likeliest"]["mean"] > 0.99
        assert set(against) == {
            "model",
            "perplexity",
            "log_ratio",
            "kl_divergence",
            "same_likeliest",
            "max_logit_difference",
        }

    def test_text_has_the_same_figures(
        self, demo: gptoss.Model, text: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        value = perplexity(capsys, demo, text)["perplexity"]["mean"]
        arguments = [str(demo.path), text, *WINDOW, "--against", str(demo.path)]
        assert main(["perplexity", *arguments]) == 0
        output = capsys.readouterr().out
        assert f"perplexity                {value:.4f} +- " in output
        for part in ("nats per token", "against ", "KL divergence", "same likeliest token"):
            assert part in output

    def test_a_single_prediction_has_no_standard_error(
        self, demo: gptoss.Model, text: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        options = ("--context-length", "3", "--windows", "1")
        report = perplexity(capsys, demo, text, *options)
        assert report["predictions"] == 1
        assert report["perplexity"]["standard_error"] is None


class TestOptions:
    def test_stdin_is_a_file_named_with_a_dash(
        self,
        demo: gptoss.Model,
        text: str,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        expected = perplexity(capsys, demo, text)["perplexity"]
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
        assert perplexity(capsys, demo, "-")["perplexity"] == expected

    def test_windows_and_stride(
        self, demo: gptoss.Model, text: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        report = perplexity(capsys, demo, text, "--stride", "8", "--windows", "5")
        assert (report["windows"], report["stride"]) == (5, 8)
        assert report["predictions"] == 5 * 8

    def test_exact_concerns_the_model_and_never_the_reference(
        self, demo: gptoss.Model, text: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        against = ("--against-backend", "cpu", "--backend", "cpu")
        report = perplexity(capsys, demo, text, *against)
        assert report["model"]["precision"] == "default"
        assert report["against"]["model"]["precision"] == "exact"
        report = perplexity(capsys, demo, text, *against, "--exact")
        assert report["model"]["precision"] == "exact"
        assert report["against"]["kl_divergence"]["maximum"] == 0

    def test_special_tokens_are_text_unless_asked_for(
        self, demo: gptoss.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "conversation.txt"
        path.write_text("<|start|>user<|message|>What is 47 + 38?<|end|>" * 20, encoding="utf-8")
        as_text = perplexity(capsys, demo, str(path))
        as_tokens = perplexity(capsys, demo, str(path), "--special-tokens")
        assert as_tokens["text"]["tokens"] < as_text["text"]["tokens"]

    def test_two_references_are_wrong_usage(self, demo: gptoss.Model, text: str) -> None:
        both = ["--against", str(demo.path), "--against-backend", "cpu"]
        with pytest.raises(SystemExit) as end:
            main(["perplexity", str(demo.path), text, *both])
        assert end.value.code == 2


class TestRefusals:
    def test_a_file_that_is_not_there(
        self, demo: gptoss.Model, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert "missing.txt" in refusal(capsys, str(demo.path), "missing.txt")

    def test_an_empty_file(
        self, demo: gptoss.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "empty.txt"
        path.touch()
        assert f"{path} is empty" in refusal(capsys, str(demo.path), str(path))

    def test_bytes_that_are_no_utf_8_with_their_place(
        self, demo: gptoss.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "latin-1.txt"
        path.write_bytes("Zürich".encode("latin-1"))
        error = refusal(capsys, str(demo.path), str(path))
        assert "not text in UTF-8: found the byte 0xfc at offset 1" in error

    def test_a_text_that_does_not_fill_a_window(
        self, demo: gptoss.Model, text: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        error = refusal(capsys, str(demo.path), text, "--context-length", "5000")
        assert "one window takes 5000" in error

    def test_a_window_above_the_model_s_maximum(
        self, demo: gptoss.Model, text: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        error = refusal(capsys, str(demo.path), text, "--context-length", "1000000")
        assert "above this model's maximum of 131072" in error
