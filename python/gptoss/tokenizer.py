"""Text to tokens and back, with the vocabulary and the split regex that a model file carries.

Encoding is tiktoken's byte-pair encoding, built from the model's own vocabulary at the first
`encode` (about 0.3 s for 200,000 tokens). Decoding is a table lookup and never needs it.
"""

from __future__ import annotations

import codecs
import operator
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, SupportsIndex, overload

from gptoss.errors import ModelFormatError
from gptoss.vocabulary import O200K_BASE_GROUPED_REGEX, O200K_BASE_REGEX

if TYPE_CHECKING:
    import tiktoken

# The special tokens of o200k_harmony that have a name, by their id there. A model file names only
# those that its format has a UUID for; the others are known by their distance from the first one.
_FIRST_SPECIAL_TOKEN = 199998
_HARMONY_NAMES = {
    199998: "<|startoftext|>",
    199999: "<|endoftext|>",
    200002: "<|return|>",
    200003: "<|constrain|>",
    200005: "<|channel|>",
    200006: "<|start|>",
    200007: "<|end|>",
    200008: "<|message|>",
    200012: "<|call|>",
}


class NativeTokenTable(Protocol):
    """What `Tokenizer.from_native` needs of a model: the tokenizer queries of the native module."""

    def tokenizer_regex(self) -> str:
        """The split regex."""

    def num_text_tokens(self) -> int:
        """How many tokens stand for text; their ids are 0 to this number, exclusive."""

    def num_special_tokens(self) -> int:
        """How many special tokens follow the text tokens."""

    def token_bytes(self, token: int, /) -> bytes:
        """The bytes of one text token."""

    def all_text_tokens(self) -> list[bytes]:
        """The bytes of every text token, in the order of their ids."""

    def special_token_name(self, token: int, /) -> str | None:
        """The name of a special token, or None where the file gives it none."""


class Tokenizer:
    """Text to tokens and back for one vocabulary; immutable, shared by threads, picklable.

    The ids of the text tokens come first, from 0, then those of the special tokens.

    `text_tokens`: the bytes of each text token.
    `special_token_names`: a name for each special token, or None for the name that OpenAI's
    o200k_harmony has at the same distance from its first one, which is `<|reserved_N|>` for most.
    `regex`: splits text into the pieces within which tokens are merged.
    """

    def __init__(
        self,
        text_tokens: Sequence[bytes],
        special_token_names: Sequence[str | None],
        regex: str,
    ) -> None:
        self._text_tokens = text_tokens
        self._num_text_tokens = len(text_tokens)
        self._special_names = _complete_names(special_token_names)
        self._special_tokens = {
            name: self._num_text_tokens + index for index, name in enumerate(self._special_names)
        }
        self._regex = regex
        self._encoding: tiktoken.Encoding | None = None
        self._bytes_without_token: frozenset[int] = frozenset()
        # Whether no text can be lost: so it is with every gpt-oss model, but for a damaged file.
        self._encodes_all_text = False
        self._building = threading.Lock()

    @classmethod
    def from_native(cls, model: NativeTokenTable) -> Tokenizer:
        """The tokenizer of a model of the native module; keeps that model alive."""
        table = _NativeTextTokens(model)
        num_tokens = len(table) + model.num_special_tokens()
        names = [model.special_token_name(token) for token in range(len(table), num_tokens)]
        return cls(table, names, model.tokenizer_regex())

    # What there is.

    @property
    def num_tokens(self) -> int:
        """Text and special tokens together."""
        return self._num_text_tokens + len(self._special_names)

    @property
    def num_text_tokens(self) -> int:
        """Tokens that stand for text: the ids below this number."""
        return self._num_text_tokens

    @property
    def num_special_tokens(self) -> int:
        """Special tokens: the ids from `num_text_tokens` on."""
        return len(self._special_names)

    @property
    def special_tokens(self) -> dict[str, int]:
        """The id of each special token by its name, as a copy."""
        return dict(self._special_tokens)

    @property
    def regex(self) -> str:
        """The regex that splits text into the pieces within which tokens are merged."""
        return self._regex

    # Text to tokens.

    def encode(self, text: str) -> list[int]:
        """The tokens of ordinary text: the spelling of a special token is ordinary text here.

        A lone surrogate, which UTF-8 cannot hold, is encoded as U+FFFD, as tiktoken does.

        ValueError: the text has a byte that the vocabulary has no token for, or tiktoken gives up
        on it (a run of a million blanks). ModelFormatError: the model's vocabulary or regex cannot
        encode text at all.
        """
        if not isinstance(text, str):
            raise TypeError(f"encode takes text as str, not {type(text).__name__}.")
        if not text:
            return []
        encoding = self._encoding or self._build_encoding()
        if not self._encodes_all_text:
            self._require_tokens_for_bytes(text)
        try:
            tokens = encoding.encode_ordinary(text)
        except BaseException as error:
            if not _is_rust_panic(error):
                raise
            raise ValueError(
                f"tiktoken could not split a text of {len(text)} characters into tokens: {error}. "
                "A run of a million blanks does this; so does a model file with a damaged regex."
            ) from error
        if not self._encodes_all_text and encoding.decode_bytes(tokens) != _utf8(text):
            raise ModelFormatError(
                f"The model's split regex leaves out parts of the text: {self._regex!r} must match "
                "every character. The model file is damaged or was not made for text."
            )
        return tokens

    def _require_tokens_for_bytes(self, text: str) -> None:
        # tiktoken panics for a byte without a token.
        data = _utf8(text)
        if not self._bytes_without_token.isdisjoint(data):
            missing = next(byte for byte in data if byte in self._bytes_without_token)
            raise ValueError(
                f"The text has the byte 0x{missing:02x} in UTF-8, for which this model's "
                "vocabulary has no token."
            )

    def encode_single_token(self, data: bytes) -> int:
        """The text token whose bytes are exactly `data`; ValueError where there is none."""
        encoding = self._encoding or self._build_encoding()
        try:
            return encoding.encode_single_token(data)
        except KeyError:
            raise ValueError(f"No token of this vocabulary is exactly {data!r}.") from None

    def encode_special_token(self, name: str) -> int:
        """The id of a special token by its name, such as `<|start|>`.

        ValueError where the vocabulary has no such token.
        """
        try:
            return self._special_tokens[name]
        except KeyError:
            named = [known for known in self._special_names if not known.startswith("<|reserved_")]
            raise ValueError(
                f"This model has no special token {name!r}; it has {', '.join(named) or 'none'}."
            ) from None

    # Tokens to text.

    def token_bytes(self, token: SupportsIndex) -> bytes:
        """The bytes of one token: a text token's own, a special token's name in ASCII.

        ValueError where the vocabulary has no such token.
        """
        index = operator.index(token)
        if 0 <= index < self._num_text_tokens:
            return self._text_tokens[index]
        if self._num_text_tokens <= index < self.num_tokens:
            return self._special_names[index - self._num_text_tokens].encode()
        raise ValueError(
            f"Token {index} is outside the vocabulary of {self.num_tokens} tokens "
            f"(0 to {self.num_tokens - 1})."
        )

    def decode_bytes(self, tokens: SupportsIndex | Iterable[SupportsIndex]) -> bytes:
        """The bytes of one token or of several; ValueError for one outside the vocabulary."""
        if isinstance(tokens, Iterable):
            return b"".join(map(self.token_bytes, tokens))
        return self.token_bytes(tokens)

    def decode(
        self, tokens: SupportsIndex | Iterable[SupportsIndex], errors: str = "replace"
    ) -> str:
        """The text of one token or of several; ValueError for one outside the vocabulary.

        A token may end inside a character. `errors` says what becomes of bytes that are not UTF-8,
        as in `bytes.decode`: by default U+FFFD. Use `decode_stream` to decode token by token.
        """
        return self.decode_bytes(tokens).decode("utf-8", errors)

    def decode_stream(self) -> StreamDecoder:
        """A decoder for tokens that arrive one by one."""
        return StreamDecoder(self)

    # An immutable value: copies share it, a pickle holds the tables.

    def __copy__(self) -> Tokenizer:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Tokenizer:
        return self

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[list[bytes], list[str], str]]:
        return Tokenizer, (list(self._text_tokens), self._special_names, self._regex)

    def __repr__(self) -> str:
        counts = f"{self.num_text_tokens} text and {self.num_special_tokens} special tokens"
        return f"<gptoss.Tokenizer: {counts}>"

    def _build_encoding(self) -> tiktoken.Encoding:
        import tiktoken

        with self._building:
            if self._encoding is not None:
                return self._encoding
            # Backwards, so that of two equal tokens the first one encodes.
            tokens = list(self._text_tokens)
            ranks = dict(zip(reversed(tokens), range(len(tokens) - 1, -1, -1), strict=True))
            ranks.pop(b"", None)
            if not ranks:
                raise ModelFormatError("The model's vocabulary is empty: it has no token for text.")
            self._bytes_without_token = frozenset(
                byte for byte in range(256) if bytes([byte]) not in ranks
            )
            self._encodes_all_text = (
                self._regex == O200K_BASE_REGEX and not self._bytes_without_token
            )
            try:
                is_o200k = self._regex == O200K_BASE_REGEX
                self._encoding = tiktoken.Encoding(
                    "gptoss",
                    pat_str=O200K_BASE_GROUPED_REGEX if is_o200k else self._regex,
                    mergeable_ranks=ranks,
                    special_tokens={},
                )
            except ValueError as error:
                raise ModelFormatError(
                    f"The model's split regex {self._regex!r} is not one: {error}."
                ) from error
            return self._encoding


class StreamDecoder:
    """Text of tokens that arrive one by one; the start of a character waits for its end.

    What all calls return, joined, is what `Tokenizer.decode` returns for all tokens at once.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, tokens: SupportsIndex | Iterable[SupportsIndex]) -> str:
        """The text that one more token, or several, completes; often empty."""
        return self._utf8.decode(self._tokenizer.decode_bytes(tokens))

    def flush(self) -> str:
        """The end of the stream: U+FFFD if it stopped inside a character, else nothing.

        The decoder is ready for another stream then.
        """
        rest = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return rest


class _NativeTextTokens(Sequence[bytes]):
    """The text tokens of a native model: single ones when asked for, all at once when iterated."""

    def __init__(self, model: NativeTokenTable) -> None:
        self._model = model
        self._num_tokens = model.num_text_tokens()

    def __len__(self) -> int:
        return self._num_tokens

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(index, slice):
            return self._model.all_text_tokens()[index]
        return self._model.token_bytes(index)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._model.all_text_tokens())


def _complete_names(names: Sequence[str | None]) -> list[str]:
    """One unique name for each special token; what the file says wins over the table's name."""
    complete: list[str] = []
    taken = {name for name in names if name is not None}
    used: set[str] = set()
    for index, given in enumerate(names):
        token = _FIRST_SPECIAL_TOKEN + index
        reserved = f"<|reserved_{token}|>"
        name = given
        if name is None:
            name = _HARMONY_NAMES.get(token, reserved)
            name = reserved if name in taken else name
        if name in used:
            name = reserved  # a damaged file may give one name twice
        used.add(name)
        complete.append(name)
    return complete


def _utf8(text: str) -> bytes:
    """The bytes that tiktoken encodes: U+FFFD in place of a lone surrogate."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _is_rust_panic(error: BaseException) -> bool:
    """Whether tiktoken panicked where it should have raised; that class cannot be imported."""
    return type(error).__name__ == "PanicException"
