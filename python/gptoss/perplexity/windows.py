"""A text's tokens, and the windows of them that a model is asked to predict.

As llama.cpp's perplexity does it: windows of the context's length that do not overlap, of which the
second half is scored, so that every prediction has at least half a window to go by. With a stride
windows begin that many tokens apart, and each scores its last ones, so that no token counts twice.
A last window that the text does not fill is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gptoss.tokenizer import Tokenizer

MIN_CONTEXT_LENGTH = 3  # the shortest window whose second half predicts a token of the window


@dataclass(frozen=True)
class Window:
    """Tokens that are processed as one context, from nothing."""

    tokens: list[int]
    first_scored: int
    """The index of the first token that is predicted for the score; the last one is the last."""

    @property
    def num_scored(self) -> int:
        """Predictions that count."""
        return len(self.tokens) - self.first_scored


def tokens_of_text(text: str, tokenizer: Tokenizer, special_tokens: bool = False) -> list[int]:
    """The tokens of a text; with `special_tokens` their spellings, `<|start|>`, are these."""
    if not special_tokens:
        return tokenizer.encode(text)
    names = tokenizer.special_tokens
    longest_first = sorted(names, key=len, reverse=True)
    tokens: list[int] = []
    for part in re.split(f"({'|'.join(map(re.escape, longest_first))})", text):
        tokens += [names[part]] if part in names else tokenizer.encode(part)
    return tokens


def cut_windows(
    tokens: list[int],
    context_length: int,
    stride: int | None = None,
    max_windows: int | None = None,
) -> list[Window]:
    """The windows of a text, the first `max_windows` of them.

    ValueError: a length that makes no sense, or a text that does not fill one window.
    """
    if context_length < MIN_CONTEXT_LENGTH:
        raise ValueError(
            f"A window of {context_length} tokens predicts nothing: take at least "
            f"{MIN_CONTEXT_LENGTH}."
        )
    if stride is not None and not 0 < stride < context_length:
        raise ValueError(
            f"A stride of {stride} tokens does not suit windows of {context_length}: take one from "
            f"1 to {context_length - 1}."
        )
    if len(tokens) < context_length:
        raise ValueError(
            f"The text has {len(tokens)} tokens, and one window takes {context_length}: give a "
            f"longer text or a shorter context length."
        )
    first_scored = context_length // 2 + 1 if stride is None else context_length - stride
    starts = range(0, len(tokens) - context_length + 1, stride or context_length)[:max_windows]
    return [Window(tokens[start : start + context_length], first_scored) for start in starts]
