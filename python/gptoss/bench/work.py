"""What a test asks of a machine: bytes of weights and cache to read, and arithmetic to do.

Counted from the model's own tensors, so a file with 8-bit weights counts with their size. A weight
counts once for each batch that it works on; an expert only where it is chosen. With S tokens in a
batch, each expert of X as likely as the others, `X (1 - (1 - A / X)^S)` of them are chosen by one
or more, which is exact for one token, and the mean for several. Keys and values count once for each
batch of their sequence that sees them. Activations are not counted: they stay in caches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gptoss.bench.trials import Trial

if TYPE_CHECKING:
    from gptoss import ModelConfig, TensorInfo

CACHE_BYTES_PER_NUMBER = 2  # keys and values are fp16 on every backend


@dataclass(frozen=True)
class WeightBytes:
    """Sizes of a model's weights, by how often a batch reads them."""

    dense: int
    """Norms, attention, routers: once for a batch."""
    experts: int
    """Of all blocks and experts."""
    unembedding: int
    """With the final norm: once for a batch that needs logits."""
    embedding_row: float
    """Of one token."""

    @staticmethod
    def of(tensors: Sequence[TensorInfo], config: ModelConfig) -> WeightBytes:
        """The sizes that a file's table of tensors gives."""
        sizes = {"dense": 0, "experts": 0, "unembedding": 0, "embedding": 0}
        for tensor in tensors:
            sizes[_use(tensor.name)] += tensor.num_bytes
        return WeightBytes(
            sizes["dense"],
            sizes["experts"],
            sizes["unembedding"],
            sizes["embedding"] / config.vocabulary_size,
        )


def _use(name: str) -> str:
    if name.startswith("embedding."):
        return "embedding"
    if not name.startswith("block."):
        return "unembedding"
    return "experts" if ".experts." in name else "dense"


@dataclass(frozen=True)
class Work:
    """Of one repetition of a trial."""

    num_bytes: float
    """To read."""
    operations: float
    """Multiplications and additions of matrix products, attention included."""


def work_of(trial: Trial, config: ModelConfig, weights: WeightBytes) -> Work:
    """All that a repetition reads and computes."""
    num_bytes = operations = 0.0
    for batch in _batches(trial):
        rows = trial.sequences * batch.num_tokens
        touched = experts_touched(rows, config) / config.num_experts
        logit_rows = trial.sequences if batch.needs_logits else 0
        num_bytes += weights.dense + touched * weights.experts + rows * weights.embedding_row
        num_bytes += weights.unembedding if logit_rows else 0
        num_bytes += trial.sequences * cache_bytes(batch.position, batch.num_tokens, config)
        operations += rows * operations_per_token(config)
        operations += logit_rows * 2 * config.vocabulary_size * config.embedding_dim
        scores = trial.sequences * keys_seen(batch.position, batch.num_tokens, config)
        operations += scores * 4 * config.num_heads * config.head_dim
    return Work(num_bytes, operations)


@dataclass(frozen=True)
class _Batch:
    position: int
    """Of the first token."""
    num_tokens: int
    """Of each sequence."""
    needs_logits: bool


def _batches(trial: Trial) -> Iterator[_Batch]:
    step = trial.batch_tokens if trial.kind == "prefill" else 1
    for first in range(0, trial.num_tokens, step):
        count = min(step, trial.num_tokens - first)
        last = first + count == trial.num_tokens
        yield _Batch(trial.depth + first, count, last or trial.kind == "decode")


def experts_touched(num_tokens: int, config: ModelConfig) -> float:
    """How many experts of a block one or more of so many tokens choose, on average."""
    idle = (1 - config.num_active_experts / config.num_experts) ** num_tokens
    return config.num_experts * (1 - idle)


def operations_per_token(config: ModelConfig) -> int:
    """Of the matrices of all blocks: two for each weight that works on the token."""
    heads = config.head_dim * config.num_heads
    key_values = 2 * config.head_dim * config.num_kv_heads
    attention = config.embedding_dim * (2 * heads + key_values)
    router = config.embedding_dim * config.num_experts
    experts = config.num_active_experts * 3 * config.embedding_dim * config.mlp_dim
    return 2 * config.num_blocks * (attention + router + experts)


def keys_seen(position: int, num_tokens: int, config: ModelConfig) -> int:
    """Keys that each of the tokens from `position` on sees, itself included, of all blocks."""
    everything = num_tokens * (2 * position + num_tokens + 1) // 2
    window = config.attention_window
    # Of the tokens that see less than a whole window: the first window - position ones.
    narrow = max(0, min(num_tokens, window - position))
    sliding = narrow * (2 * position + narrow + 1) // 2 + (num_tokens - narrow) * window
    num_sliding = (config.num_blocks + 1) // 2
    return num_sliding * sliding + (config.num_blocks - num_sliding) * everything


def cache_bytes(position: int, num_tokens: int, config: ModelConfig) -> int:
    """Keys and values that one or more of the tokens from `position` on see, of all blocks."""
    everything = position + num_tokens
    sliding = min(everything, config.attention_window - 1 + num_tokens)
    num_sliding = (config.num_blocks + 1) // 2
    keys = num_sliding * sliding + (config.num_blocks - num_sliding) * everything
    return keys * 2 * CACHE_BYTES_PER_NUMBER * config.num_kv_heads * config.head_dim
