"""Where everything stands in a model.bin, and what makes the bytes of each place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gptoss.convert.checkpoint_config import CheckpointConfig
from gptoss.convert.checkpoint_weights import BlockWeights, ModelWeights, Projection
from gptoss.convert.file_header import SECTION_ALIGNMENT
from gptoss.convert.file_items import (
    BFloat16Item,
    BytesItem,
    ExpertMatrixItem,
    Item,
    RotaryHeadsItem,
    expert_bias,
)
from gptoss.convert.q8_items import Q8Matrix
from gptoss.convert.tensor_table import TENSOR_ALIGNMENT

ITEM_ALIGNMENT = 16
# Attention needs no 1 / sqrt(64), because query and key weights contain it, exactly in bf16.
QUERY_FACTOR = 0.5
KEY_FACTOR = 0.25


@dataclass(frozen=True)
class PlacedItem:
    """An item and the offset of its first byte in the file."""

    offset: int
    item: Item

    @property
    def end(self) -> int:
        """The offset behind the item's last byte."""
        return self.offset + self.item.num_bytes


def lay_out_file(
    header: bytes, config: CheckpointConfig, weights: ModelWeights
) -> list[PlacedItem]:
    """Place the header and all weights, in the order of the file."""
    placed: list[PlacedItem] = []
    end = 0
    for alignment, item in _items(header, config, weights):
        offset = end + -end % alignment
        placed.append(PlacedItem(offset, item))
        end = placed[-1].end
    return placed


def lay_out_q8_file(
    start: int, config: CheckpointConfig, weights: ModelWeights
) -> list[PlacedItem]:
    """Place all weights behind a table, dense matrices in 8 bits, from an offset on."""
    placed: list[PlacedItem] = []
    end = start
    for alignment, item in _q8_items(config, weights):
        offset = end + -end % alignment
        placed.append(PlacedItem(offset, item))
        end = placed[-1].end
    return placed


def _items(
    header: bytes, config: CheckpointConfig, weights: ModelWeights
) -> Iterator[tuple[int, Item]]:
    """Yield every item with its alignment."""
    yield 1, BytesItem(header)
    yield ITEM_ALIGNMENT, BFloat16Item(weights.embedding)
    for block in weights.blocks:
        yield from _shared_items(block)
    yield ITEM_ALIGNMENT, BFloat16Item(weights.final_norm)
    yield ITEM_ALIGNMENT, BFloat16Item(weights.unembedding)
    for block in weights.blocks:
        yield from _expert_items(block, config.num_experts)


def _shared_items(block: BlockWeights) -> Iterator[tuple[int, Item]]:
    yield ITEM_ALIGNMENT, BFloat16Item(block.attention_norm)
    yield ITEM_ALIGNMENT, RotaryHeadsItem(block.query.weight, QUERY_FACTOR)
    yield 1, RotaryHeadsItem(block.key.weight, KEY_FACTOR)
    yield 1, BFloat16Item(block.value.weight)
    yield 1, RotaryHeadsItem(block.query.bias, QUERY_FACTOR)
    yield 1, RotaryHeadsItem(block.key.bias, KEY_FACTOR)
    yield 1, BFloat16Item(block.value.bias)
    yield ITEM_ALIGNMENT, BFloat16Item(block.sinks)
    yield from _projection(block.attention_out)
    yield ITEM_ALIGNMENT, BFloat16Item(block.mlp_norm)
    yield from _projection(block.router)


def _projection(projection: Projection) -> Iterator[tuple[int, Item]]:
    yield ITEM_ALIGNMENT, BFloat16Item(projection.weight)
    yield 1, BFloat16Item(projection.bias)


def _expert_items(block: BlockWeights, num_experts: int) -> Iterator[tuple[int, Item]]:
    for expert in range(num_experts):
        # Each block's experts start on a page of Apple's GPUs, so that they can be mapped alone.
        first_alignment = SECTION_ALIGNMENT if expert == 0 else ITEM_ALIGNMENT
        yield first_alignment, ExpertMatrixItem(block.mlp1, expert)
        yield ITEM_ALIGNMENT, expert_bias(block.mlp1_bias, expert)
        yield ITEM_ALIGNMENT, ExpertMatrixItem(block.mlp2, expert)
        yield ITEM_ALIGNMENT, expert_bias(block.mlp2_bias, expert)


def _q8_items(config: CheckpointConfig, weights: ModelWeights) -> Iterator[tuple[int, Item]]:
    """Yield every item but the header with its alignment, in the order of `model_tensors`."""
    yield from _q8_matrix("embedding", BFloat16Item(weights.embedding))
    for index, block in enumerate(weights.blocks):
        yield from _q8_shared_items(index, block)
    yield TENSOR_ALIGNMENT, BFloat16Item(weights.final_norm)
    yield from _q8_matrix("unembedding", BFloat16Item(weights.unembedding))
    for block in weights.blocks:
        yield from _expert_items(block, config.num_experts)


def _q8_shared_items(index: int, block: BlockWeights) -> Iterator[tuple[int, Item]]:
    yield TENSOR_ALIGNMENT, BFloat16Item(block.attention_norm)
    yield from _q8_matrix(
        f"block {index}'s query, key and value",
        RotaryHeadsItem(block.query.weight, QUERY_FACTOR),
        RotaryHeadsItem(block.key.weight, KEY_FACTOR),
        BFloat16Item(block.value.weight),
    )
    yield TENSOR_ALIGNMENT, RotaryHeadsItem(block.query.bias, QUERY_FACTOR)
    yield 1, RotaryHeadsItem(block.key.bias, KEY_FACTOR)
    yield 1, BFloat16Item(block.value.bias)
    yield TENSOR_ALIGNMENT, BFloat16Item(block.sinks)
    yield from _q8_matrix(
        f"block {index}'s attention output", BFloat16Item(block.attention_out.weight)
    )
    yield TENSOR_ALIGNMENT, BFloat16Item(block.attention_out.bias)
    yield TENSOR_ALIGNMENT, BFloat16Item(block.mlp_norm)
    yield TENSOR_ALIGNMENT, BFloat16Item(block.router.weight)
    yield TENSOR_ALIGNMENT, BFloat16Item(block.router.bias)


def _q8_matrix(name: str, *sources: Item) -> Iterator[tuple[int, Item]]:
    for item in Q8Matrix(name, sources).items():
        yield TENSOR_ALIGNMENT, item
