"""Model files with dense weights in 8 bits: what `convert` and `requantize` write."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import gptoss
import numpy as np
import pytest
from checkpoints import (
    SHAPES,
    TINY,
    Shape,
    random_checkpoint,
    write_openai_checkpoint,
    write_vocabulary,
)
from gptoss.cli.main import main
from gptoss.cli.verify import verify_file
from gptoss.convert import ConversionError, convert, requantize
from gptoss.convert.q8 import quantize
from gptoss.convert.tensor_table import TABLE_LAYOUT_UUID

DENSE = ("embedding.weight", "unembedding.weight", ".attn.qkv.weight", ".attn.out.weight")
ELEMENT_BYTES = {"bf16": 2, "mxfp4_blocks": 1, "mxfp4_scales": 1, "q8_codes": 1, "q8_scales": 2}


def write_checkpoint(folder: Path, shape: Shape) -> tuple[Path, Path]:
    """The checkpoint and its vocabulary."""
    source = folder / "checkpoint"
    write_openai_checkpoint(source, shape, random_checkpoint(shape, seed=3))
    return source, write_vocabulary(source, shape.num_text_tokens)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model in bf16, and what `convert --dense q8` makes of the same checkpoint."""
    folder = tmp_path_factory.mktemp("q8")
    source, vocabulary = write_checkpoint(folder, TINY)
    plain, small = folder / "plain.bin", folder / "small.bin"
    convert(source, plain, vocabulary=vocabulary)
    convert(source, small, vocabulary=vocabulary, dense="q8")
    return plain, small


def contents(path: Path) -> Iterator[tuple[gptoss.TensorInfo, bytes]]:
    content = path.read_bytes()
    for tensor in gptoss.Model(path, "cpu").tensors:
        yield tensor, content[tensor.offset : tensor.offset + tensor.num_bytes]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def problems_of(path: Path) -> list[str]:
    model = gptoss.Model(path, "cpu")
    return verify_file(path, model.tensors, model.tokenizer, lambda done, total: None).problems


def test_dense_matrices_are_quantised_and_all_else_is_the_same(files: tuple[Path, Path]) -> None:
    plain, small = files
    found = {tensor.name: (tensor, content) for tensor, content in contents(small)}
    for tensor, content in contents(plain):
        if tensor.name.endswith(DENSE):
            expected = quantize(np.frombuffer(content, "<u2"))
            codes, code_bytes = found.pop(f"{tensor.name}.codes")
            scales, scale_bytes = found.pop(f"{tensor.name}.scales")
            assert (codes.dtype, scales.dtype) == ("q8_codes", "q8_scales")
            assert codes.shape == tensor.shape
            assert scales.shape == (tensor.shape[0], tensor.shape[1] // 32)
            assert code_bytes == expected.codes.tobytes()
            assert scale_bytes == expected.scales.tobytes()
        else:
            same, same_bytes = found.pop(tensor.name)
            assert (same.dtype, same.shape) == (tensor.dtype, tensor.shape)
            assert same_bytes == content
    assert not found


@pytest.mark.parametrize("shape_name", ["tiny", "one_head", "odd_hidden_size"])
def test_requantising_gives_the_bytes_of_converting(tmp_path: Path, shape_name: str) -> None:
    source, vocabulary = write_checkpoint(tmp_path, SHAPES[shape_name])
    plain, small = tmp_path / "plain.bin", tmp_path / "small.bin"
    convert(source, plain, vocabulary=vocabulary)
    convert(source, small, vocabulary=vocabulary, dense="q8")
    calls: list[tuple[str, int, int]] = []
    report = requantize(plain, progress=lambda *call: calls.append(call))
    assert report.destination == tmp_path / "plain-q8.bin"
    assert report.destination.read_bytes() == small.read_bytes()
    assert report.num_bytes == small.stat().st_size
    assert report.num_quantized_tensors == 2 + 2 * SHAPES[shape_name].num_blocks
    assert calls[-1] == ("writing", report.num_bytes, report.num_bytes)
    assert names(tmp_path) == ["checkpoint", "plain-q8.bin", "plain.bin", "small.bin"]


def test_the_table_as_documented(files: tuple[Path, Path]) -> None:
    """Read here as docs/model-format.md says, independently of the package."""
    content = files[1].read_bytes()
    assert content[100:116] == TABLE_LAYOUT_UUID
    num_special, _, regex_size, tokens_size = struct.unpack_from("<4I", content, 132)
    table = math.ceil((148 + 16 * num_special + regex_size + tokens_size) / 64) * 64
    num_tensors, entry_bytes, file_bytes = struct.unpack_from("<IIQ", content, table)
    assert (entry_bytes, file_bytes) == (128, len(content))
    tensors = gptoss.Model(files[1], "cpu").tensors
    assert len(tensors) == num_tensors
    end = table + 16 + 128 * num_tensors
    assert struct.unpack_from("<I", content, end)[0] == zlib.crc32(content[:end])
    end += 4
    names = ["bf16", "mxfp4_blocks", "mxfp4_scales", "q8_codes", "q8_scales"]
    for index, tensor in enumerate(tensors):
        entry = struct.unpack_from("<64sII4QQQII", content, table + 16 + 128 * index)
        name, dtype, num_dims, *shape, offset, num_bytes, checksum, zero = entry
        assert name.rstrip(b"\0").decode() == tensor.name
        assert names[dtype] == tensor.dtype
        assert tuple(shape[:num_dims]) == tensor.shape
        assert shape[num_dims:] == [0] * (4 - num_dims)
        assert (offset, num_bytes, zero) == (tensor.offset, tensor.num_bytes, 0)
        assert num_bytes == math.prod(tensor.shape) * ELEMENT_BYTES[tensor.dtype]
        assert offset % (16 if ".experts." in tensor.name else 64) == 0
        if tensor.name.endswith(".experts.0.mlp1_weight.blocks"):
            assert offset % 16384 == 0
        assert zlib.crc32(content[offset : offset + num_bytes]) == checksum
        assert not any(content[end:offset])  # padding
        end = offset + num_bytes
    assert end == len(content)


class TestVerify:
    def test_a_sound_file_has_no_problem(
        self, files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["inspect", str(files[1]), "--verify"]) == 0
        assert "checksums of tensors are right\n  no problem found" in capsys.readouterr().out

    def test_a_damaged_tensor_is_named(self, files: tuple[Path, Path], tmp_path: Path) -> None:
        damaged = tmp_path / "damaged.bin"
        for name in ("block.1.attn.out.weight.codes", "block.0.mlp.experts.1.mlp2_weight.blocks"):
            content = bytearray(files[1].read_bytes())
            tensor = next(t for t in gptoss.Model(files[1], "cpu").tensors if t.name == name)
            content[tensor.offset + 7] ^= 1
            damaged.write_bytes(content)
            (problem,) = problems_of(damaged)
            assert problem.startswith(f"{name} has the checksum ")
            assert problem.endswith(": it is damaged.")

    @pytest.mark.parametrize(
        ("name", "content", "problem"),
        [
            ("embedding.weight.codes", b"\x80", "1 values that are -128"),
            ("embedding.weight.scales", b"\x00\x7c", "1 values that are infinite, negative or not"),
            ("embedding.weight.scales", b"\x01\x80", "1 values that are infinite, negative or not"),
        ],
    )
    def test_values_that_no_writer_makes(
        self, files: tuple[Path, Path], tmp_path: Path, name: str, content: bytes, problem: str
    ) -> None:
        damaged = bytearray(files[1].read_bytes())
        tensor = next(t for t in gptoss.Model(files[1], "cpu").tensors if t.name == name)
        damaged[tensor.offset : tensor.offset + len(content)] = content
        path = tmp_path / "damaged.bin"
        path.write_bytes(damaged)
        assert problem in problems_of(path)[0]


class TestRequantizeCommand:
    def test_writes_beside_the_model_and_says_what_it_saved(
        self, files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        plain = tmp_path / "model.bin"
        plain.write_bytes(files[0].read_bytes())
        assert main(["requantize", str(plain)]) == 0
        output = capsys.readouterr().out
        assert "model-q8.bin: " in output
        assert " less, in " in output
        assert (tmp_path / "model-q8.bin").read_bytes() == files[1].read_bytes()

    def test_replaces_nothing_without_force(
        self, files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        destination = tmp_path / "there.bin"
        destination.write_bytes(b"precious")
        assert main(["requantize", str(files[0]), str(destination)]) == 1
        assert "exists: use --force to replace it." in capsys.readouterr().err
        assert destination.read_bytes() == b"precious"
        assert main(["requantize", str(files[0]), str(destination), "--force"]) == 0
        assert destination.read_bytes() == files[1].read_bytes()
        assert names(tmp_path) == ["there.bin"]

    def test_what_is_no_model_is_told_in_a_sentence(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "no.bin").write_bytes(b"no model")
        assert main(["requantize", str(tmp_path / "no.bin")]) == 1
        assert "is not a valid model file" in capsys.readouterr().err
        assert main(["requantize", str(tmp_path / "missing.bin")]) == 1
        assert "missing.bin" in capsys.readouterr().err

    def test_an_interrupt_leaves_nothing(self, files: tuple[Path, Path], tmp_path: Path) -> None:
        def interrupt(phase: str, done: int, total: int) -> None:
            if done > total // 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            requantize(files[0], tmp_path / "small.bin", progress=interrupt)
        assert names(tmp_path) == []


def test_what_is_in_8_bits_already_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="are in 8 bits already"):
        requantize(files[1], tmp_path / "again.bin")


def test_a_weight_that_no_scale_fits_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    content = bytearray(files[0].read_bytes())
    tensor = gptoss.Model(files[0], "cpu").tensors[0]
    content[tensor.offset : tensor.offset + 2] = struct.pack("<H", 0x7F80)
    broken = tmp_path / "broken.bin"
    broken.write_bytes(content)
    with pytest.raises(
        ConversionError,
        match=r"embedding\.weight cannot be written in 8 bits: it holds an infinity or a NaN",
    ):
        requantize(broken)
    assert names(tmp_path) == ["broken.bin"]


def test_a_truncated_file_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    content = files[1].read_bytes()
    path = tmp_path / "truncated.bin"
    for size in (len(content) - 1, len(content) // 2, 20000, 147):
        path.write_bytes(content[:size])
        with pytest.raises(gptoss.ModelFormatError, match="truncated"):
            gptoss.Model(path, "cpu")
