"""The converter's output, byte for byte."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Literal
from uuid import UUID

import numpy as np
import pytest
from checkpoints import (
    SHAPES,
    TINY,
    Checkpoint,
    Shape,
    Tensor,
    bf16,
    checkpoint_hash,
    hugging_face_config,
    hugging_face_tensors,
    random_checkpoint,
    write_hugging_face_checkpoint,
    write_openai_checkpoint,
    write_safetensors,
    write_vocabulary,
)
from gptoss.convert import convert
from gptoss.vocabulary import O200K_BASE_REGEX, load_o200k_base
from numpy.typing import NDArray

# Offset, behind the text tokens, and UUID of the special tokens that have one.
SPECIAL_UUIDS = {
    2: "07d7da55-b346-4cff-8b37-7cefacf8a3e8",  # <|untrusted|>
    4: "f799ff69-1992-43c4-a3d8-d831f475dc75",  # <|return|>
    5: "c0bb14c7-6022-49da-ad08-792d67e8b470",  # <|constrain|>
    7: "fd3dda11-c8ab-4033-876e-d93deb172c93",  # <|channel|>
    8: "55a77c2f-8a01-4c54-8ac2-313bfc7e208d",  # <|start|>
    9: "fcac2f6d-4705-4f6b-b228-642accac7238",  # <|end|>
    10: "16e40431-f47f-4b22-b59b-8b278fc30a54",  # <|message|>
    14: "1220f796-e388-4de5-b487-fe2eb5fe03c0",  # <|call|>
    15: "e15ba702-28c4-4292-ab8f-ffa434709128",  # <|refusal|>
}


class DirectWriter:
    """A model.bin built in memory from a whole checkpoint, as the format's tables say."""

    def __init__(self, shape: Shape, checkpoint: Checkpoint) -> None:
        self.shape, self.checkpoint, self.content = shape, checkpoint, bytearray()

    def pad(self, alignment: int) -> None:
        self.content += bytes(-len(self.content) % alignment)

    def put(self, name: str, alignment: int = 16) -> None:
        self.pad(alignment)
        self.content += self.checkpoint[name].data.tobytes()

    def header(self) -> None:
        shape = self.shape
        low, high = (
            32
            * math.log(shape.initial_context_length / (rotations * 2 * math.pi))
            / math.log(shape.rope_theta)
            for rotations in (shape.rope_ntk_beta, shape.rope_ntk_alpha)
        )
        self.content += b"GPT-OSS v1.0" + struct.pack("<I", 0)
        self.content += UUID("df52dc86-1789-4ed0-a295-66f10508145b").bytes
        self.content += struct.pack(
            "<I", int(shape.initial_context_length * shape.rope_scaling_factor)
        )
        self.content += struct.pack(
            "<III", shape.num_blocks, shape.num_experts, shape.num_active_experts
        )
        self.content += struct.pack("<II", shape.hidden_size, shape.intermediate_size)
        self.content += struct.pack("<f", shape.swiglu_limit)
        self.content += struct.pack("<III", 64, shape.num_heads, shape.num_kv_heads)
        self.content += struct.pack("<I", shape.sliding_window)
        self.content += struct.pack("<ff", shape.rope_theta, 1 / shape.rope_scaling_factor)
        self.content += struct.pack("<ff", -low / (high - low), 1 / (high - low))
        self.content += struct.pack("<ff", 0.1 * math.log(shape.rope_scaling_factor) + 1, 1e-5)
        self.content += UUID("229177a8-5775-4268-bfd8-d588b351c56d").bytes

    def tokenizer(self) -> None:
        tokens = load_o200k_base()[: self.shape.num_text_tokens]
        regex = O200K_BASE_REGEX.encode() + b"\0"
        tokens_size = sum(2 + len(token) for token in tokens)
        self.content += UUID("7401aded-2a95-40cb-b782-9ccebaafe72b").bytes
        self.content += struct.pack("<IIII", 16, len(tokens), len(regex), tokens_size)
        for index in range(16):
            uuid = SPECIAL_UUIDS.get(index)
            self.content += UUID(uuid).bytes if uuid else bytes(16)
        self.content += regex
        for token in tokens:
            self.content += struct.pack("<H", len(token)) + token
        self.pad(16384)

    def qkv(self, name: str) -> None:
        """Row 2j + s of a head is row 32s + j; queries are halved, keys quartered."""
        rows = self.checkpoint[name].float32()
        query_and_key = 64 * (self.shape.num_heads + self.shape.num_kv_heads)
        written = rows.copy()
        for row in range(query_and_key):
            head, within = divmod(row, 64)
            pair, second = divmod(within, 2)
            factor = 0.5 if head < self.shape.num_heads else 0.25
            written[row] = factor * rows[64 * head + 32 * second + pair]
        self.content += bf16(written).data.tobytes()

    def write(self) -> bytes:
        self.header()
        self.tokenizer()
        self.put("embedding.weight")
        for n in range(self.shape.num_blocks):
            self.put(f"block.{n}.attn.norm.scale")
            self.pad(16)
            self.qkv(f"block.{n}.attn.qkv.weight")
            self.qkv(f"block.{n}.attn.qkv.bias")
            self.put(f"block.{n}.attn.sinks")
            self.put(f"block.{n}.attn.out.weight")
            self.put(f"block.{n}.attn.out.bias", alignment=1)
            self.put(f"block.{n}.mlp.norm.scale")
            self.put(f"block.{n}.mlp.gate.weight")
            self.put(f"block.{n}.mlp.gate.bias", alignment=1)
        self.put("norm.scale")
        self.put("unembedding.weight")
        for n in range(self.shape.num_blocks):
            self.pad(16384)
            for expert in range(self.shape.num_experts):
                for matrix in ("mlp1", "mlp2"):
                    for kind, offset in (
                        ("_weight.blocks", 0),
                        ("_weight.scales", 14),
                        ("_bias", 0),
                    ):
                        self.pad(16)
                        values = self.checkpoint[f"block.{n}.mlp.{matrix}{kind}"].data[expert]
                        self.content += (values + values.dtype.type(offset)).tobytes()
        return bytes(self.content)


def converted(directory: Path, shape: Shape) -> bytes:
    vocabulary = write_vocabulary(directory / "words.tiktoken", shape.num_text_tokens)
    destination = directory / "out.bin"
    convert(directory, destination, vocabulary=vocabulary)
    return destination.read_bytes()


@pytest.mark.parametrize("name", SHAPES)
def test_output_is_what_the_format_says(tmp_path: Path, name: str) -> None:
    shape = SHAPES[name]
    checkpoint = random_checkpoint(shape, seed=1)
    write_openai_checkpoint(tmp_path, shape, checkpoint)
    assert converted(tmp_path, shape) == DirectWriter(shape, checkpoint).write()


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("experts", ["mxfp4", "bf16"])
def test_hugging_face_layout_gives_the_same_bytes(
    tmp_path: Path, name: str, experts: Literal["mxfp4", "bf16"]
) -> None:
    """The bf16 experts are exact in MXFP4, so that quantising them gives the original codes."""
    shape = SHAPES[name]
    checkpoint = random_checkpoint(shape, seed=2)
    write_hugging_face_checkpoint(tmp_path, shape, checkpoint, experts, shards=3)
    assert converted(tmp_path, shape) == DirectWriter(shape, checkpoint).write()


def test_output_equals_that_of_openai_s_converter(tmp_path: Path) -> None:
    """The hash is of the file that gpt_oss/metal/scripts/create-local-model.py wrote.

    It was run on this checkpoint, with the whole o200k_base vocabulary; the checkpoint has more
    rows than tokens, as the real ones have.
    """
    shape = Shape(
        num_experts=5,
        num_active_experts=4,
        hidden_size=32,
        num_heads=2,
        num_kv_heads=1,
        vocabulary_size=200100,
    )
    checkpoint = random_checkpoint(shape, seed=20)
    assert (
        checkpoint_hash(checkpoint)
        == "fef41dd375ad37893ceee82a51185cb488c76e27036399b45cec8aeb2f283e4b"
    )
    write_openai_checkpoint(tmp_path, shape, checkpoint)
    convert(tmp_path)
    assert (
        hashlib.sha256((tmp_path / "model.bin").read_bytes()).hexdigest()
        == "cd21f55d8dbb7045910f398297b73fa5f19018702dcca3d9f4388c48043b250c"
    )


def test_other_numbers_of_the_config_reach_the_header(tmp_path: Path) -> None:
    shape = Shape(
        num_active_experts=3,
        sliding_window=5,
        initial_context_length=2048,
        rope_theta=10000.5,
        rope_scaling_factor=8,
        rope_ntk_alpha=1.5,
        rope_ntk_beta=16,
        swiglu_limit=5.5,
    )
    checkpoint = random_checkpoint(shape, seed=3)
    expected = DirectWriter(shape, checkpoint).write()
    write_openai_checkpoint(tmp_path / "openai", shape, checkpoint)
    write_hugging_face_checkpoint(tmp_path / "hugging_face", shape, checkpoint)
    assert converted(tmp_path / "openai", shape) == expected
    assert converted(tmp_path / "hugging_face", shape) == expected


def test_subnormal_queries_and_keys_are_rounded_to_even(tmp_path: Path) -> None:
    """Halving a bf16 number is exact except for subnormal ones; -0 stays -0."""
    checkpoint = random_checkpoint(TINY, seed=4)
    bits = checkpoint["block.0.attn.qkv.weight"].data
    bits[:] = np.resize(np.array([1, 2, 3, 5, 6, 7, 0x7F, 0x81, 0x8000, 0x8003, 0x100]), bits.shape)
    write_openai_checkpoint(tmp_path, TINY, checkpoint)
    assert converted(tmp_path, TINY) == DirectWriter(TINY, checkpoint).write()


def stored_as(
    directory: Path, checkpoint: Checkpoint, store: Callable[[str, Tensor], Tensor]
) -> None:
    write_openai_checkpoint(directory, TINY, checkpoint)
    changed = {name: store(name, tensor) for name, tensor in checkpoint.items()}
    write_safetensors(directory / "model.safetensors", changed)


def test_dense_fp32_tensors_are_rounded_to_bf16_and_reported(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(TINY, seed=5)
    random = np.random.default_rng(6)

    def nearby_float32(name: str, tensor: Tensor) -> Tensor:
        if tensor.dtype != "BF16":
            return tensor
        # Less than half a unit in the last place of bf16 away, so that rounding leads back.
        values = tensor.float32()
        noise = random.uniform(-0.49, 0.49, values.shape) * 2.0**-8
        exact_powers_of_two = np.frexp(values)[0] == np.copysign(0.5, values)
        noise[exact_powers_of_two] *= 0.5
        return Tensor("F32", (values + np.ldexp(noise, np.frexp(values)[1])).astype(np.float32))

    stored_as(tmp_path, checkpoint, nearby_float32)
    vocabulary = write_vocabulary(tmp_path / "words.tiktoken", TINY.num_text_tokens)
    report = convert(tmp_path, tmp_path / "out.bin", vocabulary=vocabulary)
    assert (tmp_path / "out.bin").read_bytes() == DirectWriter(TINY, checkpoint).write()
    assert report.num_rounded_tensors == sum(t.dtype == "BF16" for t in checkpoint.values())


def test_dense_fp16_tensors_are_rounded_to_bf16(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(TINY, seed=7)

    def as_float16(name: str, tensor: Tensor) -> Tensor:
        return (
            tensor if tensor.dtype == "U8" else Tensor("F16", tensor.float32().astype(np.float16))
        )

    stored_as(tmp_path, checkpoint, as_float16)
    rounded = {
        name: tensor if tensor.dtype == "U8" else bf16(as_float16(name, tensor).float32())
        for name, tensor in checkpoint.items()
    }
    assert converted(tmp_path, TINY) == DirectWriter(TINY, rounded).write()


def test_tensors_larger_than_the_buffer_are_streamed_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small buffer stands for large tensors: pieces of 1 row, of 1 head and of 1000 bytes."""
    monkeypatch.setattr("gptoss.convert.file_items.PIECE_BYTES", 1000)
    monkeypatch.setattr("gptoss.convert.conversion.PIECE_BYTES", 1000)
    monkeypatch.setattr("gptoss.convert.file_items.QUANTIZED_ROWS", 7)
    checkpoint = random_checkpoint(TINY, seed=8)
    write_openai_checkpoint(tmp_path / "openai", TINY, checkpoint)
    write_hugging_face_checkpoint(tmp_path / "bf16", TINY, checkpoint, experts="bf16")
    expected = DirectWriter(TINY, checkpoint).write()
    assert converted(tmp_path / "openai", TINY) == expected
    assert converted(tmp_path / "bf16", TINY) == expected


def test_report_says_what_was_done(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(TINY, seed=9)
    write_hugging_face_checkpoint(tmp_path, TINY, checkpoint, experts="bf16", shards=1)
    vocabulary = write_vocabulary(tmp_path, TINY.num_text_tokens)
    report = convert(tmp_path, vocabulary=vocabulary)
    assert report.destination == tmp_path / "model.bin"
    assert report.num_bytes == report.destination.stat().st_size
    assert report.layout == "Hugging Face's layout"
    assert report.vocabulary == str(vocabulary)
    assert report.num_quantized_tensors == 2 * TINY.num_blocks
    assert report.quantization_error == 0
    assert report.num_rounded_tensors == 0
    assert report.warnings == ()


def test_quantisation_error_is_relative_to_the_weights(tmp_path: Path) -> None:
    """Normal numbers lose about 11 % in MXFP4."""
    shape = Shape(hidden_size=256, intermediate_size=256)
    tensors = hugging_face_tensors(shape, random_checkpoint(shape, seed=10), experts="bf16")
    random = np.random.default_rng(11)
    written: dict[str, NDArray[np.float32]] = {}
    for name, tensor in tensors.items():
        if name.endswith(("gate_up_proj", "down_proj")):
            tensors[name] = bf16(random.standard_normal(tensor.shape, dtype=np.float32) * 1e-3)
            written[name] = tensors[name].float32()
    write_safetensors(tmp_path / "model.safetensors", tensors)
    (tmp_path / "config.json").write_text(json.dumps(hugging_face_config(shape, "bf16")))
    vocabulary = write_vocabulary(tmp_path, shape.num_text_tokens)
    report = convert(tmp_path, vocabulary=vocabulary)
    assert 0.09 < report.quantization_error < 0.13


def test_progress_counts_every_byte_of_both_phases(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(TINY, seed=12)
    write_openai_checkpoint(tmp_path, TINY, checkpoint)
    vocabulary = write_vocabulary(tmp_path, TINY.num_text_tokens)
    calls: list[tuple[str, int, int]] = []
    report = convert(tmp_path, vocabulary=vocabulary, progress=lambda *call: calls.append(call))
    phases = {phase: [call for call in calls if call[0] == phase] for phase, _, _ in calls}
    assert list(phases) == ["checking scales", "writing"]
    scale_bytes = sum(t.data.nbytes for name, t in checkpoint.items() if name.endswith(".scales"))
    for phase, total in (("checking scales", scale_bytes), ("writing", report.num_bytes)):
        done = [call[1] for call in phases[phase]]
        assert done == sorted(done)
        assert done[-1] == total
        assert {call[2] for call in phases[phase]} == {total}
