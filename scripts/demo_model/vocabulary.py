"""The demo model's tokenizer: the first ranks of o200k_base, then sixteen special tokens.

The ranks below 448 hold every byte and the commonest short pieces, so any text can be written, in
more tokens. The special tokens keep the order of the full vocabulary, where the first is 199998.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from gptoss.tokenizer import Tokenizer
from gptoss.vocabulary import O200K_BASE_REGEX, parse_tiktoken

NUM_TEXT_TOKENS = 448
NUM_SPECIAL_TOKENS = 16
NUM_TOKENS = NUM_TEXT_TOKENS + NUM_SPECIAL_TOKENS


def read_demo_tokenizer(vocabulary_path: Path) -> Tokenizer:
    """Make the tokenizer from the file o200k_base.tiktoken; ValueError: it is something else."""
    with vocabulary_path.open("rb") as file:
        text = b"".join(islice(file, NUM_TEXT_TOKENS))
    try:
        text_tokens = parse_tiktoken(text)
    except ValueError as error:
        raise ValueError(f"{vocabulary_path} is no vocabulary: {error}.") from error
    if len(text_tokens) != NUM_TEXT_TOKENS:
        raise ValueError(
            f"{vocabulary_path} has {len(text_tokens)} tokens; the demo model takes the first "
            f"{NUM_TEXT_TOKENS} of o200k_base."
        )
    return Tokenizer(text_tokens, [None] * NUM_SPECIAL_TOKENS, O200K_BASE_REGEX)
