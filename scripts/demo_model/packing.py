"""Batches of prompts and exchanges without padded tokens, where exchanges share their prompt.

Row i of a batch is token i. The prompts' tokens come first, then the exchanges', sorted by length
and cut into buckets. Attention pads within a bucket only: prompts to the left, so that every prompt
ends at the same place, exchanges to the right.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from demo_model.conversations import Exchange, Prompt

_MINUS_INFINITY = float("-inf")


@dataclass(frozen=True)
class Bucket:
    """Sequences that attention pads to one length."""

    num_sequences: int
    length: int
    rows: slice  # of the batch
    places: Tensor  # [rows]: where each row stands in [num_sequences * length]
    prompt: Tensor  # [num_sequences]: which prompt it continues
    full_mask: Tensor  # [num_sequences, 1, length, keys], 0 or -inf
    sliding_mask: Tensor  # the same over the keys that a sliding layer keeps


@dataclass(frozen=True)
class Batch:
    """`targets[i]` is to be predicted at row `trained[i]`; it belongs to `sources[owners[i]]`."""

    tokens: Tensor  # [rows]
    positions: Tensor  # [rows], within the conversation
    prompts: Bucket
    exchanges: tuple[Bucket, ...]
    trained: Tensor  # [targets]
    targets: Tensor  # [targets]
    owners: Tensor  # [targets]
    sources: tuple[Exchange, ...]


def pack(
    groups: Sequence[tuple[Prompt, Sequence[Exchange]]], sliding_window: int, num_buckets: int = 3
) -> Batch:
    """Make a batch of prompts, each with the exchanges that continue it."""
    prompts = [prompt.tokens for prompt, _ in groups]
    exchanges = [
        (index, exchange) for index, (_, members) in enumerate(groups) for exchange in members
    ]
    exchanges.sort(key=lambda item: len(item[1].tokens))
    prompt_lengths = torch.tensor([len(prompt) for prompt in prompts])
    prompt_length = int(prompt_lengths.max())

    tokens: list[int] = []
    positions: list[int] = []
    places: list[int] = []
    for index, prompt in enumerate(prompts):
        tokens += prompt
        positions += range(len(prompt))
        end = (index + 1) * prompt_length
        places += range(end - len(prompt), end)
    prompt_bucket = _prompt_bucket(prompt_lengths, places, sliding_window)

    buckets = []
    trained: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    for start, stop in _cut([len(exchange.tokens) for _, exchange in exchanges], num_buckets):
        members = exchanges[start:stop]
        length = len(members[-1][1].tokens)
        first_row = len(tokens)
        places = []
        for member, (prompt_index, exchange) in enumerate(members):
            row = len(tokens)
            tokens += exchange.tokens
            first_position = len(prompts[prompt_index])
            positions += range(first_position, first_position + len(exchange.tokens))
            places += range(member * length, member * length + len(exchange.tokens))
            for offset in range(1, len(exchange.tokens)):
                if exchange.trained[offset]:
                    trained.append(row + offset - 1)
                    targets.append(exchange.tokens[offset])
                    owners.append(start + member)
        prompt_of = torch.tensor([prompt_index for prompt_index, _ in members])
        full, sliding = _exchange_masks(
            prompt_lengths[prompt_of], prompt_length, length, sliding_window
        )
        rows = slice(first_row, len(tokens))
        buckets.append(
            Bucket(len(members), length, rows, torch.tensor(places), prompt_of, full, sliding)
        )
    return Batch(
        tokens=torch.tensor(tokens),
        positions=torch.tensor(positions),
        prompts=prompt_bucket,
        exchanges=tuple(buckets),
        trained=torch.tensor(trained),
        targets=torch.tensor(targets),
        owners=torch.tensor(owners),
        sources=tuple(exchange for _, exchange in exchanges),
    )


def exact_answers(logits: Tensor, batch: Batch) -> Tensor:
    """Mark, float [exchanges], where the largest logit is right at every trained token.

    That is the case exactly when greedy decoding gives this answer, and it costs one forward pass.
    """
    right = (logits.argmax(-1) == batch.targets).float()
    return torch.ones(len(batch.sources)).scatter_reduce(0, batch.owners, right, "amin")


def _cut(lengths: list[int], num_buckets: int) -> list[tuple[int, int]]:
    """Cut into ranges of about equal numbers of tokens."""
    total, seen = sum(lengths), 0
    cuts = [0]
    for index, length in enumerate(lengths):
        seen += length
        if len(cuts) < num_buckets and seen >= total * len(cuts) / num_buckets:
            cuts.append(index + 1)
    cuts.append(len(lengths))
    return [(start, stop) for start, stop in itertools.pairwise(cuts) if start < stop]


def _prompt_bucket(lengths: Tensor, places: list[int], sliding_window: int) -> Bucket:
    length = int(lengths.max())
    index = torch.arange(length)
    distance = index[:, None] - index[None, :]
    # A short prompt's padding is hidden from all but itself: a row of -inf alone would be NaN.
    is_padding = (index[None, :] < (length - lengths)[:, None])[:, None, None, :] & (distance != 0)
    visible = (distance >= 0) & ~is_padding
    return Bucket(
        num_sequences=len(lengths),
        length=length,
        rows=slice(0, len(places)),
        places=torch.tensor(places),
        prompt=torch.arange(len(lengths)),
        full_mask=_mask(visible),
        sliding_mask=_mask(visible & (distance < sliding_window)),
    )


def _exchange_masks(
    prompt_lengths: Tensor, prompt_length: int, length: int, sliding_window: int
) -> tuple[Tensor, Tensor]:
    """Mask the keys of the padded prompt, then the exchange's own; prompt_lengths: [sequences]."""
    own = prompt_lengths[:, None] + torch.arange(length)  # [sequences, length], positions
    in_prompt = (
        torch.arange(prompt_length) - (prompt_length - prompt_lengths)[:, None]
    )  # negative: padding
    keys = torch.cat([in_prompt, own], 1)[:, None, None, :]
    queries = own[:, None, :, None]
    visible = (keys <= queries) & (keys >= 0)
    first = max(0, prompt_length - sliding_window + 1)
    sliding = (visible & (queries - keys < sliding_window))[..., first:]
    return _mask(visible), _mask(sliding)


def _mask(visible: Tensor) -> Tensor:
    return torch.zeros(visible.shape).masked_fill(~visible, _MINUS_INFINITY).contiguous()
