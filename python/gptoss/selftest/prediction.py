"""How fast a model should be on a chip: what has to be read and multiplied, by what it can do.

Decode is bound by memory. A token reads the weights of its active experts, the attention's
matrices, the unembedding, and the keys and values before it; besides, each dispatch waits for the
one before it. Prefill is bound by arithmetic, or by reading every expert once for each piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gptoss.selftest.chips import CHIPS, Chip

if TYPE_CHECKING:
    from gptoss.model import ModelConfig

# The assumptions.
BANDWIDTH_EFFICIENCY = 0.75
"""Share of the memory's bandwidth that the kernels reach. A quantised matrix-vector product has
reached 0.79 on an M1 Max (github.com/ggml-org/llama.cpp/pull/1642)."""
ULTRA_BANDWIDTH_EFFICIENCY = 0.65
"""The same where two dies share the memory."""
SECONDS_PER_DISPATCH = 4e-6
"""Between the end of one dispatch and the full speed of the next behind a barrier. An estimate."""
DISPATCHES_PER_BLOCK = 7
OTHER_DISPATCHES = 4  # embedding, unembedding, sampling
PREFILL_EFFICIENCY = 0.45
"""Share of the arithmetic that prefill reaches. Dense products of peers reach 0.6 to 0.7; tiles of
experts that are not full, and attention, take the rest."""
PIECE_TOKENS = 512
"""Of a prompt, processed at once."""

BF16_BYTES = 2
MXFP4_BYTES = 17 / 32  # of a weight: 4 bits, and a scale byte for 32 of them
CACHE_BYTES = 2


@dataclass(frozen=True)
class Shape:
    """What the speed of a model depends on."""

    name: str
    num_blocks: int
    num_experts: int
    num_active_experts: int = 4
    embedding_dim: int = 2880
    mlp_dim: int = 2880
    head_dim: int = 64
    num_heads: int = 64
    num_kv_heads: int = 8
    attention_window: int = 128
    vocabulary_size: int = 201_088

    @staticmethod
    def of(name: str, config: ModelConfig) -> Shape:
        """The shape of a model."""
        return Shape(
            name,
            config.num_blocks,
            config.num_experts,
            config.num_active_experts,
            config.embedding_dim,
            config.mlp_dim,
            config.head_dim,
            config.num_heads,
            config.num_kv_heads,
            config.attention_window,
            config.vocabulary_size,
        )

    @property
    def attention_weights(self) -> int:
        """Of one block: projections to queries, keys and values, and from their result."""
        heads = 2 * self.num_heads + 2 * self.num_kv_heads
        return heads * self.head_dim * self.embedding_dim

    @property
    def expert_weights(self) -> int:
        """Of one expert: gate, up and down."""
        return 3 * self.embedding_dim * self.mlp_dim

    @property
    def router_weights(self) -> int:
        """Of one block."""
        return self.num_experts * self.embedding_dim

    @property
    def unembedding_weights(self) -> int:
        """Also those of the embedding."""
        return self.vocabulary_size * self.embedding_dim

    def weight_bytes(self, num_experts: int) -> float:
        """That are read if so many experts of each block are in use, without the unembedding."""
        dense = (self.attention_weights + self.router_weights) * BF16_BYTES
        return self.num_blocks * (dense + num_experts * self.expert_weights * MXFP4_BYTES)

    @property
    def file_bytes(self) -> float:
        """Of all weights."""
        return self.weight_bytes(self.num_experts) + 2 * self.unembedding_weights * BF16_BYTES

    def cache_bytes(self, depth: int) -> int:
        """Keys and values that a token reads behind `depth` others; even blocks slide."""
        sliding = (self.num_blocks + 1) // 2
        keys = sliding * min(depth, self.attention_window) + (self.num_blocks - sliding) * depth
        return keys * 2 * self.num_kv_heads * self.head_dim * CACHE_BYTES

    def bytes_per_token(self, depth: int) -> float:
        """That decoding one token behind `depth` others has to read."""
        unembedding = self.unembedding_weights * BF16_BYTES
        return self.weight_bytes(self.num_active_experts) + unembedding + self.cache_bytes(depth)

    def multiply_adds(self, num_tokens: int) -> float:
        """Of processing a prompt; logits, and most of the last block, of its last token only."""
        active = self.num_active_experts * self.expert_weights
        block = self.attention_weights + self.router_weights + active
        keys_and_values = 2 * self.num_kv_heads * self.head_dim * self.embedding_dim
        linear = (self.num_blocks - 1) * block + keys_and_values
        sliding = self.num_blocks // 2  # of all blocks but the last
        mean_keys = sliding * min(num_tokens / 2, self.attention_window)
        mean_keys += (self.num_blocks - 1 - sliding) * num_tokens / 2
        attention = 2 * self.num_heads * self.head_dim * mean_keys
        last = block - keys_and_values + self.unembedding_weights
        return num_tokens * (linear + attention) + last


SHAPES = (Shape("20b", 24, 32), Shape("120b", 36, 128))


def effective_bandwidth(chip: Chip) -> float:
    """Bytes a second that kernels should reach."""
    is_ultra = chip.name.endswith("Ultra")
    efficiency = ULTRA_BANDWIDTH_EFFICIENCY if is_ultra else BANDWIDTH_EFFICIENCY
    return chip.bandwidth * 1e9 * efficiency


def decode_speed(shape: Shape, chip: Chip, depth: int) -> float:
    """Tokens a second behind `depth` tokens."""
    dispatches = DISPATCHES_PER_BLOCK * shape.num_blocks + OTHER_DISPATCHES
    reading = shape.bytes_per_token(depth) / effective_bandwidth(chip)
    return 1 / (reading + dispatches * SECONDS_PER_DISPATCH)


def prefill_speed(shape: Shape, chip: Chip, num_tokens: int) -> float:
    """Tokens a second of a prompt of `num_tokens`."""
    num_pieces = -(-num_tokens // PIECE_TOKENS)
    chosen = PIECE_TOKENS * shape.num_active_experts
    num_experts = min(shape.num_experts, chosen)  # so many rows leave hardly an expert out
    reading = num_pieces * shape.weight_bytes(num_experts) / effective_bandwidth(chip)
    multiplying = 2 * shape.multiply_adds(num_tokens) / (chip.flops * PREFILL_EFFICIENCY)
    return num_tokens / max(reading, multiplying)


def fits(shape: Shape, chip: Chip) -> bool:
    """Whether a machine with the most memory that the chip has can hold the model."""
    return shape.file_bytes < 0.75 * chip.most_memory * 1e9 + 3e9


# The table of docs/performance.md.

PROMPT_TOKENS = 2048
DEPTHS = (1024, 32_768)


def table() -> str:
    """Predictions for every chip, in Markdown."""
    speeds = [f"{shape.name} {what}" for shape in SHAPES for what in _column_names()]
    rows = [["chip", "GPU cores", "GB/s", "TFLOPS", *speeds]]
    rows.append(["---"] + ["---:"] * (len(rows[0]) - 1))
    for chip in CHIPS:
        cells = [chip.name, str(chip.gpu_cores), str(chip.bandwidth), f"{chip.flops / 1e12:.1f}"]
        for shape in SHAPES:
            cells += _speeds(shape, chip)
        rows.append(cells)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def _column_names() -> list[str]:
    return [f"prefill {PROMPT_TOKENS:,}"] + [f"decode at {depth:,}" for depth in DEPTHS]


def _speeds(shape: Shape, chip: Chip) -> list[str]:
    if not fits(shape, chip):
        return ["-"] * (1 + len(DEPTHS))
    speeds = [prefill_speed(shape, chip, PROMPT_TOKENS)]
    speeds += [decode_speed(shape, chip, depth) for depth in DEPTHS]
    return [f"{speed:.0f}" for speed in speeds]
