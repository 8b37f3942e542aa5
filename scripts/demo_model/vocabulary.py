"""The demo model's tokenizer: the first ranks of o200k_base, then sixteen special tokens.

The ranks below 448 hold every byte and the commonest short pieces, so any text can be written, in
more tokens.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import tiktoken

NUM_TEXT_TOKENS = 448
NUM_SPECIAL_TOKENS = 16
NUM_TOKENS = NUM_TEXT_TOKENS + NUM_SPECIAL_TOKENS

# The special tokens keep the order of the full vocabulary, where the first one is 199998.
_SPECIAL_TOKEN_OFFSETS = {
    "<|startoftext|>": 0,
    "<|endoftext|>": 1,
    "<|return|>": 4,
    "<|constrain|>": 5,
    "<|channel|>": 7,
    "<|start|>": 8,
    "<|end|>": 9,
    "<|message|>": 10,
    "<|call|>": 14,
}

# How o200k_base cuts text into words before the merges.
_WORD_PATTERN = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)


class DemoTokenizer:
    """The interface of `gptoss.Tokenizer` over the truncated vocabulary."""

    def __init__(self, vocabulary_path: Path) -> None:
        self.rank_lines = _first_lines(vocabulary_path, NUM_TEXT_TOKENS)
        ranks = {}
        for line in self.rank_lines:
            text, rank = line.split()
            ranks[base64.b64decode(text)] = int(rank)
        if sorted(ranks.values()) != list(range(NUM_TEXT_TOKENS)):
            raise ValueError(
                f"{vocabulary_path} does not start with the ranks 0 to {NUM_TEXT_TOKENS - 1}."
            )
        self.special_tokens = {
            name: NUM_TEXT_TOKENS + offset for name, offset in _SPECIAL_TOKEN_OFFSETS.items()
        }
        self._encoding = tiktoken.Encoding(
            "demo", pat_str=_WORD_PATTERN, mergeable_ranks=ranks, special_tokens=self.special_tokens
        )
        self._cache: dict[str, list[int]] = {}

    def encode(self, text: str, /) -> list[int]:
        """Encode ordinary text. Prompts repeat their texts, so they are remembered."""
        tokens = self._cache.get(text)
        if tokens is None:
            tokens = self._encoding.encode_ordinary(text)
            if len(self._cache) < 200_000:
                self._cache[text] = tokens
        return tokens

    def encode_special_token(self, name: str, /) -> int:
        """Find the token of a special token's name."""
        return self.special_tokens[name]

    def decode(self, tokens: Sequence[int], /) -> str:
        """Decode tokens to text."""
        return self._encoding.decode(list(tokens))


def _first_lines(path: Path, count: int) -> list[bytes]:
    with path.open("rb") as file:
        return [file.readline().strip() for _ in range(count)]
