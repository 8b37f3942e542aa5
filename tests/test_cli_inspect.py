"""`gptoss inspect`: what a model file holds and needs, and what --verify finds wrong in it."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gptoss
import pytest
from gptoss.cli import verify
from gptoss.cli.main import main
from gptoss.cli.verify import MAX_PROBLEMS, Verification, verify_file

TOKENIZER_OFFSET = 148  # of the special tokens' UUIDs; the regex and the text tokens follow


@pytest.fixture(scope="module")
def demo() -> gptoss.Model:
    return gptoss.Model()


@pytest.fixture
def damaged(tmp_path: Path, demo: gptoss.Model) -> Callable[[int, bytes], Path]:
    """Makes a copy of the demo model with other bytes at an offset."""

    def make(offset: int, data: bytes) -> Path:
        content = bytearray(demo.path.read_bytes())
        content[offset : offset + len(data)] = data
        path = tmp_path / "damaged.bin"
        path.write_bytes(content)
        return path

    return make


def inspect(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["inspect", *arguments]) == 0
    return capsys.readouterr().out


def inspect_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    report = json.loads(inspect(capsys, "--json", *arguments))
    assert isinstance(report, dict)
    return report


def tensor(model: gptoss.Model, name: str) -> gptoss.TensorInfo:
    return next(tensor for tensor in model.tensors if tensor.name == name)


class TestText:
    def test_shows_header_tokenizer_tensors_and_memory(
        self, demo: gptoss.Model, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = inspect(capsys)
        assert text.startswith(f"{demo.path} (the built-in demo model)\n")
        assert re.search(rf"\n  size +{demo.path.stat().st_size} bytes", text)
        for name, value in asdict(demo.config).items():
            assert re.search(rf"\n  {name} +{value:.7g}\n", text)
        assert f"<|start|> {demo.tokenizer.encode_special_token('<|start|>')}" in text
        assert demo.tokenizer.regex in text
        assert re.search(r"\n  embedding\.weight +bf16 +\d+ x \d+ +\d+ +[\d.]+ KiB\n", text)
        assert re.search(rf"\n  {demo.max_context_length}( +[\d.]+ \w+){{3}}( +yes)?\n", text)

    def test_a_file_that_is_given_is_no_demo(
        self, demo: gptoss.Model, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert inspect(capsys, str(demo.path)).startswith(f"{demo.path}\n")

    def test_one_block_and_one_expert_stand_for_all(
        self, demo: gptoss.Model, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = inspect(capsys)
        assert "block.0.mlp.experts.0.mlp1_weight.blocks" in text
        assert "block.1." not in text
        assert "experts.1." not in text
        shown = len(re.findall(r"\n  (?:block|norm|embedding|unembedding)\.", text))
        assert f"and {len(demo.tensors) - shown} more" in text

    def test_tensors_lists_them_all(
        self, demo: gptoss.Model, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = inspect(capsys, "--tensors")
        for info in demo.tensors:
            assert re.search(rf"\n  {re.escape(info.name)} +{info.dtype} .* {info.offset} ", text)


class TestJson:
    def test_says_the_same_as_the_model(
        self, demo: gptoss.Model, capsys: pytest.CaptureFixture[str]
    ) -> None:
        report = inspect_json(capsys)
        assert report["path"] == str(demo.path)
        assert report["is_demo"] is True
        assert report["num_bytes"] == demo.path.stat().st_size
        assert report["config"] == asdict(demo.config)
        tokenizer = report["tokenizer"]
        assert tokenizer["num_text_tokens"] == demo.tokenizer.num_text_tokens
        assert tokenizer["num_special_tokens"] == demo.tokenizer.num_special_tokens
        assert tokenizer["regex"] == demo.tokenizer.regex
        for name, token in tokenizer["special_tokens"].items():
            assert demo.tokenizer.encode_special_token(name) == token
        assert report["memory"]["weights_bytes"] == demo.memory.weights
        assert "tensors" not in report
        assert "verification" not in report

    def test_tensors_are_those_of_the_model(
        self, demo: gptoss.Model, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tensors = inspect_json(capsys, "--tensors")["tensors"]
        expected = [{**asdict(info), "shape": list(info.shape)} for info in demo.tensors]
        assert tensors == expected

    def test_counts_the_parameters(
        self, demo: gptoss.Model, capsys: pytest.CaptureFixture[str]
    ) -> None:
        report = inspect_json(capsys)
        c = demo.config
        width, heads = c.embedding_dim, c.num_heads * c.head_dim
        qkv = heads + 2 * c.num_kv_heads * c.head_dim
        attention = width + qkv * (width + 1) + c.num_heads + width * (heads + 1)
        router = width + c.num_experts * (width + 1)
        expert = 2 * c.mlp_dim * (width + 1) + width * (c.mlp_dim + 1)
        vocabulary = c.vocabulary_size * width
        blocks = c.num_blocks * (attention + router)
        assert report["num_parameters"] == (
            2 * vocabulary + width + blocks + c.num_blocks * c.num_experts * expert
        )
        assert report["num_active_parameters"] == (
            vocabulary + width + blocks + c.num_blocks * c.num_active_experts * expert
        )


class TestContextLengths:
    def test_memory_for_lengths_that_are_asked_for(
        self, demo: gptoss.Model, capsys: pytest.CaptureFixture[str]
    ) -> None:
        memory = inspect_json(capsys, "--context-length", "100", "4000")["memory"]
        assert [context["context_length"] for context in memory["contexts"]] == [100, 4000]
        for context in memory["contexts"]:
            needed = demo.memory_needed(context["context_length"], backend="auto")
            assert context["kv_cache_bytes"] == needed.kv_cache
            assert context["workspace_bytes"] == needed.workspace
            assert context["total_bytes"] == needed.total
            assert context["fits"] == needed.fits

    def test_by_default_those_up_to_the_maximum(
        self, demo: gptoss.Model, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lengths = [c["context_length"] for c in inspect_json(capsys)["memory"]["contexts"]]
        limit = demo.max_context_length
        assert lengths == [n for n in (4096, 32768) if n < limit] + [limit]

    def test_one_above_the_maximum_is_told_with_it(
        self, demo: gptoss.Model, capsys: pytest.CaptureFixture[str]
    ) -> None:
        limit = demo.max_context_length
        assert main(["inspect", "--context-length", str(limit + 1)]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert f"{limit + 1} tokens is above this model's maximum of {limit}" in captured.err


class TestVerify:
    def problems(self, path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
        assert main(["inspect", str(path), "--verify", "--json"]) == 1
        verification = json.loads(capsys.readouterr().out)["verification"]
        assert verification["num_problems"] == len(verification["problems"])
        problems: list[str] = verification["problems"]
        return problems

    def test_a_sound_file_has_no_problem_and_its_hash(
        self, demo: gptoss.Model, capsys: pytest.CaptureFixture[str]
    ) -> None:
        content = demo.path.read_bytes()
        assert inspect_json(capsys, "--verify")["verification"] == {
            "num_bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "num_checksums": 0,
            "num_problems": 0,
            "problems": [],
        }
        text = inspect(capsys, "--verify")
        assert f"sha256 {hashlib.sha256(content).hexdigest()}" in text
        assert text.endswith("\n  no problem found\n")

    @pytest.mark.parametrize("value", [0x7F80, 0xFF80, 0x7FC0, 0xFFFF])
    def test_infinities_and_nan_are_found(
        self,
        value: int,
        demo: gptoss.Model,
        damaged: Callable[[int, bytes], Path],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        info = tensor(demo, "block.1.attn.qkv.weight")
        offset = info.offset + 2 * 77
        path = damaged(offset, struct.pack("<HH", value, value))
        assert self.problems(path, capsys) == [
            "block.1.attn.qkv.weight has 2 values that are infinite or not a number, "
            f"the first at offset {offset}."
        ]

    def test_scales_that_the_format_cannot_hold_are_found(
        self,
        demo: gptoss.Model,
        damaged: Callable[[int, bytes], Path],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        info = tensor(demo, "block.0.mlp.experts.1.mlp2_weight.scales")
        path = damaged(info.offset + 3, bytes([14, 13, 255, 0]))
        assert self.problems(path, capsys) == [
            "block.0.mlp.experts.1.mlp2_weight.scales has 2 values that are below 14, "
            f"the first at offset {info.offset + 4}."
        ]

    def test_padding_that_is_not_zero_is_found(
        self,
        demo: gptoss.Model,
        damaged: Callable[[int, bytes], Path],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        offset = demo.tensors[0].offset - 1
        assert self.problems(damaged(offset, b"\1"), capsys) == [
            f"Padding that must be zero has 1 other bytes from offset {offset} on."
        ]

    def test_equal_tokens_are_found(
        self,
        demo: gptoss.Model,
        damaged: Callable[[int, bytes], Path],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        tokenizer = demo.tokenizer
        # The first tokens are single bytes, each behind its length of two bytes.
        start = TOKENIZER_OFFSET + 16 * tokenizer.num_special_tokens
        start += len(tokenizer.regex.encode()) + 1
        path = damaged(start, b"\1\0" + tokenizer.token_bytes(1))
        assert self.problems(path, capsys) == [
            f"The bytes {tokenizer.token_bytes(1)!r} are 2 text tokens.",
            "1 of the 256 single bytes are no text token: some text cannot be encoded.",
        ]

    def test_problems_are_text_too(
        self,
        demo: gptoss.Model,
        damaged: Callable[[int, bytes], Path],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        path = damaged(demo.tensors[0].offset - 1, b"\1")
        assert main(["inspect", str(path), "--verify"]) == 1
        output = capsys.readouterr().out
        assert "\n  problem: Padding that must be zero" in output
        assert "no problem found" not in output

    def test_pieces_add_up_to_the_file(
        self,
        demo: gptoss.Model,
        damaged: Callable[[int, bytes], Path],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """In pieces much smaller than a tensor: the same hash, and each problem told once."""
        info = tensor(demo, "embedding.weight")
        path = damaged(info.offset, b"\xff\xff" * (info.num_bytes // 2))
        monkeypatch.setattr(verify, "CHUNK_BYTES", 1000)
        calls: list[tuple[int, int]] = []
        model = gptoss.Model(path)
        result = verify_file(path, model.tensors, model.tokenizer, lambda *call: calls.append(call))
        size = path.stat().st_size
        assert result.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert result.problems == [
            f"embedding.weight has {info.num_bytes // 2} values that are infinite or not a number, "
            f"the first at offset {info.offset}."
        ]
        assert calls == sorted(calls)
        assert calls[-1] == (size, size)

    def test_progress_is_shown_on_a_terminal(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("gptoss.cli.inspect.VERIFY_PROGRESS_DELAY", 0.0)
        monkeypatch.setattr("gptoss.cli.terminal.is_terminal", lambda stream: True)
        assert main(["inspect", "--verify"]) == 0
        error = capsys.readouterr().err
        assert re.match(
            r"\r\x1b\[Kverifying: [\d.]+ \w+ of [\d.]+ MiB \(\d+ %\), [\d.]+ \w+/s, \d+ s left",
            error,
        )
        assert error.endswith("\r\x1b[K")

    def test_of_many_problems_the_first_are_kept(self) -> None:
        result = Verification()
        for number in range(MAX_PROBLEMS + 7):
            result.add(str(number))
        assert result.num_problems == MAX_PROBLEMS + 7
        assert result.problems == [str(number) for number in range(MAX_PROBLEMS)]


class TestModelErrors:
    def test_a_truncated_file_is_told(
        self, demo: gptoss.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "short.bin"
        path.write_bytes(demo.path.read_bytes()[:-1000])
        assert main(["inspect", str(path), "--verify"]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("gptoss: ")
        assert captured.err.count("\n") == 1

    def test_a_directory_is_told(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["inspect", str(tmp_path)]) == 1
        assert str(tmp_path) in capsys.readouterr().err
