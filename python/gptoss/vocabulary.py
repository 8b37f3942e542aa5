"""The o200k_base vocabulary that every gpt-oss model was trained with, shipped inside the package.

The shipped file is `data/o200k_base.zlib`: one length byte per token, then the tokens' bytes, both
in rank order and compressed together. It is 1 MB instead of the 3.6 MB of OpenAI's
`o200k_base.tiktoken`, unpacks in a few hundredths of a second, and gives back that file byte for
byte (`format_tiktoken`).
"""

from __future__ import annotations

import base64
import binascii
import functools
import zlib
from collections.abc import Sequence
from importlib import resources
from itertools import accumulate, pairwise

O200K_BASE_NUM_TOKENS = 199998

# The pattern that splits text into the pieces on which byte pair encoding works, as published in
# tiktoken (tiktoken_ext/openai_public.py, MIT licence). It is written into every model.bin.
_ALTERNATIVES = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}",
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
    r"\s*[\r\n]+",
    r"\s+(?!\S)",
    r"\s+",
)
O200K_BASE_REGEX = "|".join(_ALTERNATIVES)

# The same for tiktoken, a fifth faster. Its regex engine tries the alternatives of a regex that has
# a look-ahead one after the other, but those in a group without one all at once.
O200K_BASE_GROUPED_REGEX = "|".join((f"(?:{'|'.join(_ALTERNATIVES[:5])})", *_ALTERNATIVES[5:]))


@functools.lru_cache(maxsize=1)
def _o200k_base() -> tuple[bytes, ...]:
    packed = resources.files("gptoss").joinpath("data/o200k_base.zlib").read_bytes()
    return tuple(unpack_tokens(packed, O200K_BASE_NUM_TOKENS))


def load_o200k_base() -> list[bytes]:
    """Return the 199,998 text tokens of o200k_base by token id; unpacked once per process."""
    return list(_o200k_base())


def pack_tokens(tokens: Sequence[bytes]) -> bytes:
    """Compress tokens of 1 to 255 bytes each into the shipped form."""
    return zlib.compress(bytes(map(len, tokens)) + b"".join(tokens), 9)


def unpack_tokens(packed: bytes, num_tokens: int) -> list[bytes]:
    """Return the tokens that `pack_tokens` compressed."""
    raw = zlib.decompress(packed)
    ends = list(accumulate(raw[:num_tokens], initial=num_tokens))
    return [raw[start:end] for start, end in pairwise(ends)]


def format_tiktoken(tokens: Sequence[bytes]) -> bytes:
    """Return the `.tiktoken` file of a vocabulary: a line "BASE64 RANK" for each token."""
    lines = (b"%s %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(tokens))
    return b"".join(lines)


def parse_tiktoken(text: bytes) -> list[bytes]:
    """Return the tokens of a `.tiktoken` file, indexed by rank.

    Raises ValueError, with the line's number, for a line that is no base64 text and rank, and for
    ranks that are not 0, 1, 2 ... without gap or repetition.
    """
    token_of_rank: dict[int, bytes] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        fields = line.split()
        try:
            encoded, rank_text = fields
            token, rank = base64.b64decode(encoded, validate=True), int(rank_text)
        except (ValueError, binascii.Error):
            shown = line[:60].decode("utf-8", "replace")
            raise ValueError(f"line {number} is not 'BASE64 RANK': {shown!r}") from None
        if rank in token_of_rank:
            raise ValueError(f"line {number} gives rank {rank} a second time")
        token_of_rank[rank] = token
    tokens = [token_of_rank.get(rank, b"") for rank in range(len(token_of_rank))]
    for rank, token in enumerate(tokens):
        if not token:
            raise ValueError(
                f"{len(tokens)} tokens must have the ranks 0 to {len(tokens) - 1}, "
                f"but rank {rank} is missing or empty"
            )
    return tokens
