"""The tokens that structure a Harmony message, and the text of every other token.

Source of the names: OpenAI's "Harmony response format", section "Special tokens".
"""

from __future__ import annotations

from contextlib import suppress

from gptoss.tokenizer import Tokenizer

CHANNEL_MARKER = "<|channel|>"
CONSTRAIN_MARKER = "<|constrain|>"


class TokenTexts(dict[int, "str | None"]):
    """The text of each token that is whole characters in itself, filled in as tokens are met.

    None stands for every token that needs a closer look: one that ends inside a character, a
    special token, a number outside the vocabulary.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __missing__(self, token: int) -> str | None:
        text = None
        if 0 <= token < self._tokenizer.num_text_tokens:
            with suppress(UnicodeDecodeError):
                text = self._tokenizer.token_bytes(token).decode("utf-8")
        if 0 <= token < self._tokenizer.num_tokens:  # never more entries than the vocabulary has
            self[token] = text
        return text


class HarmonyVocabulary:
    """A tokenizer as Harmony sees it; immutable but for a cache, and shared by threads.

    ValueError: the tokenizer lacks one of the format's special tokens.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.start = tokenizer.encode_special_token("<|start|>")
        self.message = tokenizer.encode_special_token("<|message|>")
        self.channel = tokenizer.encode_special_token(CHANNEL_MARKER)
        self.constrain = tokenizer.encode_special_token(CONSTRAIN_MARKER)
        self.end = tokenizer.encode_special_token("<|end|>")
        self.return_ = tokenizer.encode_special_token("<|return|>")
        self.call = tokenizer.encode_special_token("<|call|>")
        self.end_of_text = tokenizer.encode_special_token("<|endoftext|>")
        # What ends a message.
        self.stop_tokens = frozenset((self.end, self.return_, self.call))
        self.texts = TokenTexts(tokenizer)
        # In a header these two are read by their names.
        self.header_texts = TokenTexts(tokenizer)
        self.header_texts[self.channel] = CHANNEL_MARKER
        self.header_texts[self.constrain] = CONSTRAIN_MARKER

    def encode(self, text: str) -> list[int]:
        """Encode ordinary text: the spelling of a special token is ordinary text here."""
        return self.tokenizer.encode(text)
