"""The tensors of a model whose dense matrices are in 8 bits, in the order of the file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gptoss.convert.checkpoint_config import HEAD_DIM, MXFP4_BLOCK
from gptoss.convert.file_header import SECTION_ALIGNMENT
from gptoss.convert.q8 import BLOCK_LENGTH
from gptoss.convert.tensor_table import TENSOR_ALIGNMENT, TableEntry

EXPERT_ALIGNMENT = 16
BYTES_PER_ELEMENT = {
    "bf16": 2,
    "mxfp4_blocks": 1,
    "mxfp4_scales": 1,
    "q8_codes": 1,
    "q8_scales": 2,
}


@dataclass(frozen=True)
class ModelShape:
    """The sizes that the tensors follow from."""

    vocabulary_size: int
    num_blocks: int
    num_experts: int
    embedding_dim: int
    mlp_dim: int
    num_heads: int
    num_kv_heads: int


@dataclass(frozen=True)
class PlannedTensor:
    """A tensor that has no place yet."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    alignment: int

    @property
    def num_bytes(self) -> int:
        """What it takes in the file."""
        return math.prod(self.shape) * BYTES_PER_ELEMENT[self.dtype]


def place_tensors(tensors: Iterable[PlannedTensor], start: int) -> list[TableEntry]:
    """Place tensors from an offset on. The checksums are missing."""
    entries = []
    end = start
    for tensor in tensors:
        offset = end + -end % tensor.alignment
        end = offset + tensor.num_bytes
        entries.append(
            TableEntry(tensor.name, tensor.dtype, tensor.shape, offset, tensor.num_bytes, 0)
        )
    return entries


def q8_matrix(name: str, num_outputs: int, num_inputs: int) -> Iterator[PlannedTensor]:
    """Yield the codes and the scales of a matrix; `name` ends in ".weight"."""
    codes = (num_outputs, num_inputs)
    scales = (num_outputs, num_inputs // BLOCK_LENGTH)
    yield PlannedTensor(f"{name}.codes", "q8_codes", codes, TENSOR_ALIGNMENT)
    yield PlannedTensor(f"{name}.scales", "q8_scales", scales, TENSOR_ALIGNMENT)


def q8_model_tensors(shape: ModelShape) -> Iterator[PlannedTensor]:
    """Yield all tensors of a model."""
    yield from q8_matrix("embedding.weight", shape.vocabulary_size, shape.embedding_dim)
    for block in range(shape.num_blocks):
        yield from _shared_tensors(f"block.{block}", shape)
    yield _bf16("norm.scale", shape.embedding_dim)
    yield from q8_matrix("unembedding.weight", shape.vocabulary_size, shape.embedding_dim)
    for block in range(shape.num_blocks):
        for expert in range(shape.num_experts):
            yield from _expert_tensors(f"block.{block}.mlp.experts.{expert}", shape, expert == 0)


def _bf16(name: str, *shape: int) -> PlannedTensor:
    return PlannedTensor(name, "bf16", shape, TENSOR_ALIGNMENT)


def _shared_tensors(prefix: str, shape: ModelShape) -> Iterator[PlannedTensor]:
    width = shape.embedding_dim
    attention_dim = HEAD_DIM * shape.num_heads
    qkv_dim = attention_dim + 2 * HEAD_DIM * shape.num_kv_heads
    yield _bf16(f"{prefix}.attn.norm.scale", width)
    yield from q8_matrix(f"{prefix}.attn.qkv.weight", qkv_dim, width)
    yield _bf16(f"{prefix}.attn.qkv.bias", qkv_dim)
    yield _bf16(f"{prefix}.attn.sinks", shape.num_heads)
    yield from q8_matrix(f"{prefix}.attn.out.weight", width, attention_dim)
    yield _bf16(f"{prefix}.attn.out.bias", width)
    yield _bf16(f"{prefix}.mlp.norm.scale", width)
    yield _bf16(f"{prefix}.mlp.gate.weight", shape.num_experts, width)
    yield _bf16(f"{prefix}.mlp.gate.bias", shape.num_experts)


def _expert_tensors(prefix: str, shape: ModelShape, is_first: bool) -> Iterator[PlannedTensor]:
    alignment = SECTION_ALIGNMENT if is_first else EXPERT_ALIGNMENT
    matrices = (
        ("mlp1", 2 * shape.mlp_dim, shape.embedding_dim),
        ("mlp2", shape.embedding_dim, shape.mlp_dim),
    )
    for name, rows, columns in matrices:
        blocks = columns // MXFP4_BLOCK
        yield PlannedTensor(
            f"{prefix}.{name}_weight.blocks", "mxfp4_blocks", (rows, blocks, 16), alignment
        )
        yield PlannedTensor(
            f"{prefix}.{name}_weight.scales", "mxfp4_scales", (rows, blocks), EXPERT_ALIGNMENT
        )
        yield PlannedTensor(f"{prefix}.{name}_bias", "bf16", (rows,), EXPERT_ALIGNMENT)
        alignment = EXPERT_ALIGNMENT
