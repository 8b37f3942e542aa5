"""Random weights in the place of a checkpoint's: any shape, and numbers of a trained model's size.

Every tensor is drawn so that what it computes stays near 1: norms' gains are 1, a projection's rows
have length 1, so that its outputs are as large as its inputs, and scores, expert outputs and
routing logits spread as a token's do. The embedding is larger, so that tokens stay as different in
the last block as in the first, which is what spreads them evenly over the experts: with one of
size 1, what all tokens have in common makes up half of the last routing logits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gptoss.bench.shapes import Shape
from gptoss.convert.bfloat16 import bfloat16_from_float32
from gptoss.convert.checkpoint import OPENAI_LAYOUT, Checkpoint
from gptoss.convert.mxfp4 import BLOCK_LENGTH
from gptoss.convert.safetensors_file import SafetensorsFile, StoredTensor

# Random bytes are drawn once. A tensor is made of stretches of them that begin at places drawn for
# the tensor, which is as fast as copying and, to a matrix product, as good as drawing each number.
POOL_BYTES = 2**24
STRETCH_BYTES = 2**20
# Where a stretch may begin: on a cache line.
PLACE_BYTES = 64
# A tensor's number stands in the high bits of its offset.
TENSOR_SHIFT = 48
# The mean square of the sixteen values that an MXFP4 code may have.
MEAN_SQUARE_OF_CODES = 2 * sum(x * x for x in (0.5, 1, 1.5, 2, 3, 4, 6)) / 16
SCALE_BIAS = 127
EMBEDDING_DEVIATION = 4.0


@dataclass(frozen=True)
class Normal:
    """bf16 numbers from a normal distribution."""

    mean: float
    deviation: float


@dataclass(frozen=True)
class Codes:
    """MXFP4 codes, each of the sixteen as likely."""


@dataclass(frozen=True)
class Scales:
    """MXFP4 scale bytes: `least` or the next one, each as likely."""

    least: int


Distribution = Normal | Codes | Scales


def expert_scales(num_inputs: int) -> Scales:
    """The scales with which an expert's row, times that many inputs of size 1, gives about 1."""
    # The mean square of 2^s and 2^(s + 1) is 2.5 * 4^s.
    exponent = -0.5 * math.log2(num_inputs * MEAN_SQUARE_OF_CODES * 2.5)
    return Scales(SCALE_BIAS + round(exponent))


class RandomFile(SafetensorsFile):
    """Stands for the .safetensors file of a checkpoint; a seed makes the same tensors everywhere.

    There is nothing that the system could copy or read ahead: `fileno` is no file's.
    """

    def __init__(self, seed: int) -> None:
        self.path = Path("random weights")
        self._seed = seed
        self._distributions: list[Distribution] = []
        # random_raw is what numpy promises never to change.
        raw = np.random.SFC64(np.random.SeedSequence(seed)).random_raw(POOL_BYTES // 8)
        self._pool = np.asarray(raw, "<u8").view(np.uint8)
        self._filled: dict[Distribution, NDArray[np.uint8]] = {}
        self._places: dict[int, NDArray[np.int64]] = {}

    def fileno(self) -> int:
        """Return what no system call accepts."""
        return -1

    def prefetch(self, offset: int, num_bytes: int) -> None:
        """Do nothing."""

    def tensor(self, name: str, shape: tuple[int, ...], distribution: Distribution) -> StoredTensor:
        """Add a tensor."""
        dtype, size = ("BF16", 2) if isinstance(distribution, Normal) else ("U8", 1)
        offset = len(self._distributions) << TENSOR_SHIFT
        self._distributions.append(distribution)
        return StoredTensor(name, dtype, shape, self, offset, size * math.prod(shape))

    def read_into(self, offset: int, buffer: NDArray[Any]) -> None:
        """Fill a contiguous array with a tensor's bytes."""
        number, position = offset >> TENSOR_SHIFT, offset & ((1 << TENSOR_SHIFT) - 1)
        pool = self._pool_of(self._distributions[number])
        target = buffer.reshape(-1).view(np.uint8)
        while len(target) > 0:
            stretch, within = divmod(position, STRETCH_BYTES)
            count = min(len(target), STRETCH_BYTES - within)
            place = self._place(number, stretch) + within
            target[:count] = pool[place : place + count]
            target, position = target[count:], position + count

    def _place(self, tensor: int, stretch: int) -> int:
        """Where in the pool a stretch of a tensor begins."""
        places = self._places.get(tensor)
        if places is None or len(places) <= stretch:
            generator = np.random.SFC64(np.random.SeedSequence([self._seed, tensor]))
            count = 1 << (stretch + 1).bit_length()
            possible = (POOL_BYTES - STRETCH_BYTES) // PLACE_BYTES
            raw = np.asarray(generator.random_raw(count), np.uint64)
            places = (raw % np.uint64(possible)).astype(np.int64) * PLACE_BYTES
            self._places[tensor] = places
        return int(places[stretch])

    def _pool_of(self, distribution: Distribution) -> NDArray[np.uint8]:
        if isinstance(distribution, Codes):
            return self._pool
        filled = self._filled.get(distribution)
        if filled is None:
            if isinstance(distribution, Normal):
                quantiles = _NORMAL_QUANTILES * np.float32(distribution.deviation)
                numbers = bfloat16_from_float32(quantiles + np.float32(distribution.mean))
                filled = numbers[self._pool.view("<u2")].astype("<u2").view(np.uint8)
            else:
                filled = (self._pool & np.uint8(1)) + np.uint8(distribution.least)
            self._filled[distribution] = filled
        return filled


def _quantiles() -> NDArray[np.float32]:
    normal = NormalDist()
    return np.array([normal.inv_cdf((n + 0.5) / 65536) for n in range(65536)], np.float32)


_NORMAL_QUANTILES = _quantiles()


def random_checkpoint(shape: Shape, seed: int) -> Checkpoint:
    """Every tensor of a checkpoint of this shape, in OpenAI's layout."""
    file = RandomFile(seed)
    tensors = {tensor.name: tensor for tensor in _tensors(file, shape.config)}
    return Checkpoint(file.path, OPENAI_LAYOUT, shape.config, tensors, [file])


def _tensors(file: RandomFile, config: dict[str, Any]) -> Iterator[StoredTensor]:
    size, width = config["hidden_size"], config["intermediate_size"]
    experts, rows = config["num_experts"], config["vocab_size"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config["head_dim"]
    qkv_rows = head_dim * (heads + 2 * kv_heads)
    gain, bias = Normal(1.0, 0.05), Normal(0.0, 0.02)

    def weight(name: str, outputs: int, inputs: int) -> StoredTensor:
        return file.tensor(name, (outputs, inputs), Normal(0.0, inputs**-0.5))

    yield file.tensor("embedding.weight", (rows, size), Normal(0.0, EMBEDDING_DEVIATION))
    yield weight("unembedding.weight", rows, size)
    yield file.tensor("norm.scale", (size,), gain)
    for block in range(config["num_hidden_layers"]):
        attention, mlp = f"block.{block}.attn", f"block.{block}.mlp"
        yield file.tensor(f"{attention}.norm.scale", (size,), gain)
        yield weight(f"{attention}.qkv.weight", qkv_rows, size)
        yield file.tensor(f"{attention}.qkv.bias", (qkv_rows,), bias)
        yield file.tensor(f"{attention}.sinks", (heads,), Normal(0.0, 1.0))
        yield weight(f"{attention}.out.weight", size, head_dim * heads)
        yield file.tensor(f"{attention}.out.bias", (size,), bias)
        yield file.tensor(f"{mlp}.norm.scale", (size,), gain)
        yield weight(f"{mlp}.gate.weight", experts, size)
        yield file.tensor(f"{mlp}.gate.bias", (experts,), bias)
        for name, outputs, inputs in (("mlp1", 2 * width, size), ("mlp2", size, width)):
            blocks = (experts, outputs, inputs // BLOCK_LENGTH)
            yield file.tensor(f"{mlp}.{name}_weight.blocks", (*blocks, BLOCK_LENGTH // 2), Codes())
            yield file.tensor(f"{mlp}.{name}_weight.scales", blocks, expert_scales(inputs))
            yield file.tensor(f"{mlp}.{name}_bias", (experts, outputs), bias)
