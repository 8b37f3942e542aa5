"""Experts for the tests and measurements of their Metal kernels: weights, routing, numpy twins.

A model file keeps each expert's tensors side by side (docs/model-format.md): the blocks, scale
bytes and bias of the gate-up matrix ("mlp1", E inputs and 2I outputs), then those of the down
matrix ("mlp2", I inputs and E outputs), each on a multiple of 16 bytes. Rows of tokens are "rows";
a (row, slot) is a "pair", slot being one of the row's active experts.
"""

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from metal_kernels import arguments, ceil_divide, random_bf16
from numpy.typing import NDArray
from reference import Array, bf16_to_float, mxfp4_to_float, swiglu, weigh_expert

SWIGLU_LIMIT = 7.0
STORED_SCALE_OFFSET = 14  # what a model file adds to the checkpoint's scale bytes


@dataclass
class Matrix:
    """One of the two matrices, of all experts, as views into the experts' bytes."""

    blocks: NDArray[np.uint8]  # [experts, outputs, inputs / 32, 16]
    scales: NDArray[np.uint8]  # [experts, outputs, inputs / 32], as stored
    bias: NDArray[np.uint16]  # bf16 [experts, outputs]
    offsets: tuple[int, int, int]  # of the three in an expert, in bytes

    @property
    def num_inputs(self) -> int:
        return 32 * int(self.blocks.shape[2])

    @property
    def num_outputs(self) -> int:
        return int(self.blocks.shape[1])

    def weights(self, expert: int) -> Array:
        """[outputs, inputs] in float64."""
        checkpoint_scales = self.scales[expert].astype(np.int32) - STORED_SCALE_OFFSET
        return mxfp4_to_float(self.blocks[expert], checkpoint_scales)

    def biases(self, expert: int) -> Array:
        return bf16_to_float(self.bias[expert]).astype(np.float64)


class Experts:
    """`num_experts` experts of one block, for hidden size E and expert width I."""

    def __init__(
        self,
        rng: np.random.Generator,
        num_experts: int,
        embedding_dim: int,
        mlp_dim: int,
        scale_bytes: tuple[int, int] | None = None,
    ) -> None:
        """Scale bytes are uniform from the first to the second of `scale_bytes`.

        Left out, they make products about as large as the activations.
        """
        self.num_experts = num_experts
        self.embedding_dim = embedding_dim
        self.mlp_dim = mlp_dim
        shapes = ((2 * mlp_dim, embedding_dim), (embedding_dim, mlp_dim))

        sizes = [
            size
            for outputs, inputs in shapes
            for size in (outputs * inputs // 2, outputs * inputs // 32, outputs * 2)
        ]
        starts = np.cumsum([0] + [ceil_divide(size, 16) * 16 for size in sizes])
        self.stride = int(starts[-1])
        self.bytes = np.zeros(num_experts * self.stride, np.uint8)
        experts = self.bytes.reshape(num_experts, self.stride)

        matrices = []
        for m, (outputs, inputs) in enumerate(shapes):
            offsets = [int(start) for start in starts[3 * m : 3 * m + 3]]
            blocks, scales, bias = (
                experts[:, offset : offset + size]
                for offset, size in zip(offsets, sizes[3 * m : 3 * m + 3], strict=True)
            )
            centre = 127 + STORED_SCALE_OFFSET - 1 - int(np.log2(inputs) / 2)
            low, high = scale_bytes or (centre - 2, centre + 1)
            blocks[:] = rng.integers(0, 256, blocks.shape, np.uint8)
            scales[:] = rng.integers(low, high + 1, scales.shape, np.uint8)
            bias[:] = random_bf16(rng, num_experts, outputs, scale=0.5).view(np.uint8)
            matrices.append(
                Matrix(
                    _view(blocks, np.uint8, num_experts, outputs, inputs // 32, 16),
                    _view(scales, np.uint8, num_experts, outputs, inputs // 32),
                    _view(bias, np.uint16, num_experts, outputs),
                    (offsets[0], offsets[1], offsets[2]),
                )
            )
        self.gate_up, self.down = matrices

    def arguments(self, matrix: Matrix, num_active: int, limit: float) -> ctypes.Structure:
        return arguments(
            "ExpertArguments",
            blocks_offset=matrix.offsets[0],
            scales_offset=matrix.offsets[1],
            bias_offset=matrix.offsets[2],
            expert_stride=self.stride,
            num_inputs=matrix.num_inputs,
            num_outputs=matrix.num_outputs,
            num_active=num_active,
            swiglu_limit=limit,
        )


def _view(rows: NDArray[np.uint8], dtype: Any, *shape: int) -> NDArray[Any]:
    """The same bytes, [experts, bytes], as another type and shape; experts keep their distance."""
    typed = rows.view(dtype)
    inner = np.cumprod((1, *shape[:0:-1]))[::-1][1:]
    strides = (rows.strides[0], *(int(n) * typed.itemsize for n in inner))
    return np.lib.stride_tricks.as_strided(typed, shape, strides)


@dataclass
class Routing:
    ids: NDArray[np.uint32]  # [rows, active], distinct in a row
    weights: NDArray[np.float32]  # [rows, active], positive with sum 1

    @property
    def num_rows(self) -> int:
        return int(self.ids.shape[0])

    @property
    def num_active(self) -> int:
        return int(self.ids.shape[1])


def random_routing(
    rng: np.random.Generator, num_rows: int, num_experts: int, num_active: int
) -> Routing:
    """Every choice of experts is as likely as any other."""
    ids = np.argsort(rng.random((num_rows, num_experts)), axis=1)[:, :num_active]
    return routing_to(rng, ids)


def routing_to(rng: np.random.Generator, ids: Array) -> Routing:
    """The given experts, with random weights."""
    exp = np.exp(rng.standard_normal(ids.shape))
    weights = exp / exp.sum(axis=1, keepdims=True)
    return Routing(np.ascontiguousarray(ids, np.uint32), weights.astype(np.float32))


def num_tiles(num_pairs: int, num_experts: int, tile_rows: int) -> int:
    """How many tiles a host that does not know the counts must dispatch."""
    return min(num_pairs, num_pairs // tile_rows + num_experts)


@dataclass
class Sorted:
    """What expert_sort makes of a routing."""

    offsets: NDArray[np.uint32]  # [experts + 1]
    permutation: NDArray[np.uint32]  # [pairs]
    tiles: NDArray[np.uint32]  # [tiles, 3]: expert, first, count


def sort_pairs(ids: Array, num_experts: int, tile_rows: int) -> Sorted:
    """The twin of expert_sort: pairs by expert, in their old order within each."""
    flat = ids.reshape(-1)
    counts = np.bincount(flat, minlength=num_experts)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    tiles = np.zeros((num_tiles(flat.size, num_experts, tile_rows), 3), np.uint32)
    t = 0
    for expert in range(num_experts):
        for first in range(offsets[expert], offsets[expert + 1], tile_rows):
            tiles[t] = expert, first, min(tile_rows, offsets[expert + 1] - first)
            t += 1
    return Sorted(
        offsets.astype(np.uint32), np.argsort(flat, kind="stable").astype(np.uint32), tiles
    )


@dataclass(frozen=True)
class Shape:
    num_experts: int
    embedding_dim: int
    mlp_dim: int
    num_active: int

    @staticmethod
    def strategy() -> st.SearchStrategy["Shape"]:
        """Any shape of the family: odd numbers of blocks, more than a simdgroup has lanes, ..."""

        def shape(blocks: tuple[int, int], experts: int, active: int) -> "Shape":
            return Shape(experts, 32 * blocks[0], 32 * blocks[1], min(active, experts))

        small, wide = st.integers(1, 9), st.sampled_from([31, 32, 33, 67])
        return st.builds(
            shape,
            st.tuples(small, small) | st.tuples(wide, small) | st.tuples(small, wide),
            st.integers(1, 7),
            st.integers(1, 6),
        ) | st.builds(shape, st.tuples(*[st.integers(1, 3)] * 2), st.just(128), st.integers(1, 130))


# ---- Twins, in float64 --------------------------------------------------------------------------


def expected_hidden(
    experts: Experts, routing: Routing, x: Array, limit: float = SWIGLU_LIMIT
) -> Array:
    """[rows, E] -> [rows, active, I]"""
    hidden = np.empty((*routing.ids.shape, experts.mlp_dim))
    matrix = experts.gate_up
    for expert in np.unique(routing.ids):
        row, slot = np.nonzero(routing.ids == expert)
        products = x[row].astype(np.float64) @ matrix.weights(expert).T + matrix.biases(expert)
        # A gate far below 0 makes exp overflow, and the sigmoid 0, as it should be.
        with np.errstate(over="ignore"):
            hidden[row, slot] = swiglu(products, limit)
    return hidden


def expected_outputs(experts: Experts, routing: Routing, hidden: Array) -> Array:
    """Weighted: [rows, active, I] -> [rows, active, E]"""
    outputs = np.empty((*routing.ids.shape, experts.embedding_dim))
    matrix = experts.down
    for expert in np.unique(routing.ids):
        row, slot = np.nonzero(routing.ids == expert)
        outputs[row, slot] = weigh_expert(
            hidden[row, slot].astype(np.float64),
            matrix.weights(expert),
            matrix.biases(expert),
            routing.weights[row, slot].astype(np.float64),
        )
    return outputs
