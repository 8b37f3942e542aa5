"""What a test asks of a machine: bytes of weights and cache to read, and arithmetic to do.

Counted from the model's own tensors, so a file with 8-bit weights counts with their size. A weight
counts once for each batch that it works on; an expert only where it is chosen. With S tokens in a
batch, each expert of X as likely as the others, `X (1 - (1 - A / X)^S)` of them are chosen by one
or more, which is exact for one token, and the mean for several. Keys and values count once for each
batch of their sequence that sees them. Activations are not counted: they stay in caches.

Of the last block, tokens whose logits nobody wants need their keys and values only, and its experts
and its attention count without them.
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
        tokens = trial.sequences * batch.num_tokens
        num_bytes += weights.dense + tokens * weights.embedding_row
        for block in range(config.num_blocks):
            is_last = block + 1 == config.num_blocks
            attending = batch.num_logits if is_last else batch.num_tokens  # of each sequence
            first = batch.position + batch.num_tokens - attending
            rows = trial.sequences * attending
            touched = experts_touched(rows, config) / config.num_experts
            num_bytes += touched * weights.experts / config.num_blocks
            num_bytes += trial.sequences * cache_bytes(block, first, attending, config)
            operations += tokens * key_value_operations(config) + rows * other_operations(config)
            scores = trial.sequences * keys_seen(block, first, attending, config)
            operations += scores * 4 * config.num_heads * config.head_dim
        logit_rows = trial.sequences * batch.num_logits
        num_bytes += weights.unembedding if logit_rows else 0
        operations += logit_rows * 2 * config.vocabulary_size * config.embedding_dim
    return Work(num_bytes, operations)


@dataclass(frozen=True)
class _Batch:
    position: int
    """Of the first token."""
    num_tokens: int
    """Of each sequence."""
    num_logits: int
    """Of each sequence: 1 or, before the last piece of a prompt, 0."""


def _batches(trial: Trial) -> Iterator[_Batch]:
    step = trial.batch_tokens if trial.kind == "prefill" else 1
    for first in range(0, trial.num_tokens, step):
        count = min(step, trial.num_tokens - first)
        last = first + count == trial.num_tokens
        yield _Batch(trial.depth + first, count, int(last or trial.kind == "decode"))


def experts_touched(num_tokens: int, config: ModelConfig) -> float:
    """How many experts of a block one or more of so many tokens choose, on average."""
    idle = (1 - config.num_active_experts / config.num_experts) ** num_tokens
    return config.num_experts * (1 - idle)


def key_value_operations(config: ModelConfig) -> int:
    """Of a block's products that make a token's keys and values: two for each weight."""
    return 2 * config.embedding_dim * 2 * config.head_dim * config.num_kv_heads


def other_operations(config: ModelConfig) -> int:
    """Of a block's other products for a token: queries, attention's output, router, experts."""
    attention = 2 * config.embedding_dim * config.head_dim * config.num_heads
    router = config.embedding_dim * config.num_experts
    experts = config.num_active_experts * 3 * config.embedding_dim * config.mlp_dim
    return 2 * (attention + router + experts)


def keys_seen(block: int, position: int, num_tokens: int, config: ModelConfig) -> int:
    """Keys of a block that the tokens from `position` on see, each itself included, summed up."""
    if not _is_sliding(block):
        return num_tokens * (2 * position + num_tokens + 1) // 2
    window = config.attention_window
    # Of the tokens that see less than a whole window: the first window - position ones.
    narrow = max(0, min(num_tokens, window - position))
    return narrow * (2 * position + narrow + 1) // 2 + (num_tokens - narrow) * window


def cache_bytes(block: int, position: int, num_tokens: int, config: ModelConfig) -> int:
    """Keys and values of a block that one or more of the tokens from `position` on see."""
    if num_tokens == 0:
        return 0
    keys = position + num_tokens
    if _is_sliding(block):
        keys = min(keys, config.attention_window - 1 + num_tokens)
    return keys * 2 * CACHE_BYTES_PER_NUMBER * config.num_kv_heads * config.head_dim


def _is_sliding(block: int) -> bool:
    return block % 2 == 0
