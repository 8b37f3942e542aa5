"""A short benchmark: how fast a prompt is processed, and how fast tokens come."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gptoss.context import Context

if TYPE_CHECKING:
    from gptoss import Model

PIECE_TOKENS = 512
MOST_PIECES = 4
NUM_DECODED = 128
MOST_SECONDS = 5.0
"""For each of the two; what was done by then counts."""
WARM_UP_TOKENS = 64


@dataclass(frozen=True)
class Benchmark:
    """What was measured. Speeds are in tokens a second."""

    prefill_tokens: int
    prefill_speed: float
    decode_tokens: int
    decode_depth: int
    """Tokens in the context when decoding began."""
    decode_speed: float


def run_benchmark(model: Model) -> Benchmark:
    """Measures prefill in pieces of 512 tokens, and then greedy decoding behind them."""
    generator = random.Random(1)
    count = model.tokenizer.num_text_tokens
    # What is slow once only (kernels that are compiled, pages that are read) comes before.
    warm_up = Context(model)
    warm_up.append([generator.randrange(count) for _ in range(WARM_UP_TOKENS)])
    warm_up.sample(2, temperature=0)

    room = model.max_context_length - NUM_DECODED
    piece = min(PIECE_TOKENS, room)
    context = Context(model)
    start = time.perf_counter()
    for _ in range(max(1, min(MOST_PIECES, room // piece))):
        context.append([generator.randrange(count) for _ in range(piece)])
        context.process()
        if time.perf_counter() - start > MOST_SECONDS:
            break
    prefill_seconds = time.perf_counter() - start
    depth = context.num_tokens

    tokens = 0
    start = time.perf_counter()
    for _ in context.stream(NUM_DECODED, temperature=0):
        tokens += 1
        if time.perf_counter() - start > MOST_SECONDS:
            break
    decode_seconds = time.perf_counter() - start
    return Benchmark(depth, depth / prefill_seconds, tokens, depth, tokens / decode_seconds)
