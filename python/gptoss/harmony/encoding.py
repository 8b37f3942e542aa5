"""`HarmonyEncoding`: what the format does with a vocabulary, in the words of `openai_harmony`.

Names, arguments, defaults, exceptions and their texts are those of openai_harmony 0.0.8.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any, Literal

from pydantic import BaseModel

from gptoss.harmony.errors import HarmonyError
from gptoss.harmony.json_passage import reread_conversation, reread_message
from gptoss.harmony.messages import Conversation, Message, Role
from gptoss.harmony.parser import StreamableParser
from gptoss.harmony.plain_conversation import is_plain_conversation, is_plain_message
from gptoss.harmony.rendering import Renderer, RenderingError
from gptoss.harmony.repairs import ParsedMessages
from gptoss.harmony.special_text import (
    any_of,
    check_allowed_special,
    check_text,
    raise_disallowed_special_token,
)
from gptoss.harmony.token_numbers import as_token, as_tokens
from gptoss.harmony.vocabulary import HarmonyVocabulary
from gptoss.tokenizer import Tokenizer
from gptoss.vocabulary import O200K_BASE_REGEX, load_o200k_base

_NUM_SPECIAL_TOKENS = 1091  # 199998 to 201088


class HarmonyEncodingName(str, Enum):
    """The encodings that `load_harmony_encoding` knows."""

    HARMONY_GPT_OSS = "HarmonyGptOss"

    def __str__(self) -> str:
        return str(self.value)


class RenderConversationConfig(BaseModel):
    """How a conversation is rendered.

    `auto_drop_analysis`: leave out the analysis before the first final message, if the assistant's
    last message is on the channel `final`.
    """

    auto_drop_analysis: bool = True


class RenderOptions(BaseModel):
    """How a single message is rendered.

    `conversation_has_function_tools`: the conversation, which is not there to be looked at, has
    tools in the namespace `functions`; a system message says where calls to them must go.
    """

    conversation_has_function_tools: bool = False


class HarmonyEncoding:
    """Messages to tokens, tokens to messages, text to tokens and back, for one vocabulary.

    Made by `load_harmony_encoding` for the vocabulary of gpt-oss, by `from_tokenizer` for that of
    any model. Immutable: shared by threads, its own copy; the pickle of gpt-oss's is only a name.
    """

    def __init__(self, vocabulary: HarmonyVocabulary) -> None:
        self._vocabulary = vocabulary
        self._renderer = Renderer(vocabulary)
        self._token_texts = _TokenTexts(vocabulary.tokenizer)
        self._special_tokens = vocabulary.tokenizer.special_tokens
        self._special_names = frozenset(self._special_tokens)

    @classmethod
    def from_tokenizer(cls, tokenizer: Tokenizer) -> HarmonyEncoding:
        """The encoding for the vocabulary of a model, such as `model.tokenizer`.

        ValueError: the vocabulary lacks one of the format's special tokens.
        """
        return cls(HarmonyVocabulary(tokenizer))

    @property
    def name(self) -> str:
        """The name of the format, whatever the vocabulary."""
        return HarmonyEncodingName.HARMONY_GPT_OSS.value

    @property
    def vocabulary(self) -> HarmonyVocabulary:
        """The format's tokens, and the tokenizer."""
        return self._vocabulary

    # Messages to tokens.

    def render_conversation_for_completion(
        self,
        conversation: Conversation,
        next_turn_role: Role,
        config: RenderConversationConfig | None = None,
    ) -> list[int]:
        """The tokens of a conversation, and the start of the message that is to be written next.

        HarmonyError: a tool has no name, or settings are in a message of another role. ValueError:
        the conversation has what JSON cannot say, such as a lone surrogate.
        """
        drop_analysis = _drops_analysis(config)
        messages, role = _plain_messages(conversation), _plain_role(next_turn_role)
        try:
            return self._renderer.render_conversation_for_completion(
                messages, role, auto_drop_analysis=drop_analysis
            )
        except RenderingError as error:
            raise HarmonyError(str(error)) from None

    def render_conversation(
        self, conversation: Conversation, config: RenderConversationConfig | None = None
    ) -> list[int]:
        """The tokens of a conversation.

        RuntimeError: a tool has no name, or settings are in a message of another role. ValueError:
        the conversation has what JSON cannot say, such as a lone surrogate.
        """
        drop_analysis = _drops_analysis(config)
        messages = _plain_messages(conversation)
        try:
            return self._renderer.render_conversation(messages, auto_drop_analysis=drop_analysis)
        except RenderingError as error:
            raise RuntimeError(str(error)) from None

    def render_conversation_for_training(
        self, conversation: Conversation, config: RenderConversationConfig | None = None
    ) -> list[int]:
        """The tokens of a conversation; the model's last answer ends in `<|return|>`.

        Errors as in `render_conversation`.
        """
        drop_analysis = _drops_analysis(config)
        messages = _plain_messages(conversation)
        try:
            return self._renderer.render_conversation_for_training(
                messages, auto_drop_analysis=drop_analysis
            )
        except RenderingError as error:
            raise RuntimeError(str(error)) from None

    def render(self, message: Message, render_options: RenderOptions | None = None) -> list[int]:
        """The tokens of one message; errors as in `render_conversation`."""
        has_function_tools = _has_function_tools(render_options)
        plain = message if is_plain_message(message) else reread_message(message)
        try:
            return self._renderer.render_message(plain, has_function_tools=has_function_tools)
        except RenderingError as error:
            raise RuntimeError(str(error)) from None

    # Tokens to messages.

    def parse_messages_from_completion_tokens(
        self, tokens: Sequence[int], role: Role | None = None, *, strict: bool = True
    ) -> ParsedMessages:
        """The messages of a completion, a list with the `repairs` that `strict=False` made.

        `role`: the author of the first message where the prompt has begun its header. HarmonyError
        (`strict` only): the tokens are malformed. TypeError, OverflowError: a token is no integer
        from 0 to 2^32 - 1.
        """
        checked = as_tokens(tokens)
        parser = StreamableParser(self, role, strict=strict)
        parser.process_many(checked).process_eos()
        return ParsedMessages(parser.messages, parser.repairs)

    # Tokens to text.

    def decode_utf8(self, tokens: Iterable[int]) -> str:
        """The text of the tokens, special ones by their names.

        HarmonyError: the bytes are not UTF-8, or the vocabulary has no such token. TypeError,
        OverflowError: a token is no integer from 0 to 2^32 - 1.
        """
        checked = as_tokens(tokens)
        try:
            return self._decode_bytes(checked).decode()
        except UnicodeDecodeError as error:
            raise HarmonyError(
                f"Could not decode tokens: Invalid utf-8 sequence: {_invalid_utf8(error)}"
            ) from None
        except _UnknownTokenError as error:
            raise HarmonyError(f"Could not decode tokens: Invalid token error: {error}") from None

    def decode(self, tokens: Iterable[int], errors: str = "replace") -> str:
        """The text of the tokens; `errors` says what becomes of invalid UTF-8, as in bytes.decode.

        HarmonyError: the vocabulary has no such token. TypeError, OverflowError: a token is no
        integer from 0 to 2^32 - 1.
        """
        checked = as_tokens(tokens)
        try:
            return self._decode_bytes(checked).decode("utf-8", errors)
        except _UnknownTokenError as error:
            raise HarmonyError(str(error)) from None

    def _decode_bytes(self, tokens: list[int]) -> bytes:
        text = "".join(map(self._token_texts.__getitem__, tokens))
        return text.encode("utf-8", "surrogateescape")

    # Text to tokens.

    def encode(
        self,
        text: str,
        *,
        allowed_special: Literal["all"] | AbstractSet[str] = frozenset(),
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> list[int]:
        """The tokens of a text, in which the names of allowed special tokens become those tokens.

        `allowed_special`: names of special tokens, or "all". `disallowed_special`: what the text
        must not contain; "all" is every name of a special token that is not allowed, () nothing.
        A name that is neither is ordinary text. A lone surrogate becomes U+FFFD.

        HarmonyError: the text has something disallowed. ValueError: an allowed special token is
        no str, or the text cannot be encoded (see gptoss.Tokenizer.encode).
        """
        known = self._special_names
        allowed = known if allowed_special == "all" else allowed_special
        if disallowed_special != "all":
            disallowed = frozenset(disallowed_special or ())
        elif allowed is known:
            disallowed = frozenset()
        else:
            disallowed = known.difference(allowed) if allowed else known
        if disallowed and (found := any_of(disallowed).search(text)):
            raise_disallowed_special_token(found.group())
        check_text(text)
        if allowed is not known:
            names = list(allowed)
            check_allowed_special(names)
            allowed = known.intersection(names)
        return self._encode_with_special_tokens(text, allowed)

    def _encode_with_special_tokens(self, text: str, allowed: AbstractSet[str]) -> list[int]:
        tokens: list[int] = []
        start = 0
        if allowed:
            for found in any_of(frozenset(allowed)).finditer(text):
                tokens += self._vocabulary.encode(text[start : found.start()])
                tokens.append(self._special_tokens[found.group()])
                start = found.end()
        tokens += self._vocabulary.encode(text[start:])
        return tokens

    # Special tokens.

    @property
    def special_tokens_set(self) -> set[str]:
        """The names of all special tokens, as a copy."""
        return set(self._special_names)

    def is_special_token(self, token: int) -> bool:
        """Whether the token is a special one; False also for one outside the vocabulary.

        TypeError, OverflowError: it is no integer from 0 to 2^32 - 1.
        """
        tokenizer = self._vocabulary.tokenizer
        return tokenizer.num_text_tokens <= as_token(token) < tokenizer.num_tokens

    def stop_tokens(self) -> list[int]:
        """The tokens that end a message: `<|return|>`, `<|end|>` and `<|call|>`."""
        return sorted(self._vocabulary.stop_tokens)

    def stop_tokens_for_assistant_actions(self) -> list[int]:
        """The tokens after which the model waits for an answer: `<|return|>` and `<|call|>`."""
        return sorted((self._vocabulary.return_, self._vocabulary.call))

    # An immutable value.

    def __copy__(self) -> HarmonyEncoding:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> HarmonyEncoding:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self is _gpt_oss.encoding:
            return load_harmony_encoding, (self.name,)
        return HarmonyEncoding.from_tokenizer, (self._vocabulary.tokenizer,)

    def __repr__(self) -> str:
        return f"<gptoss.harmony.HarmonyEncoding: {self._vocabulary.tokenizer.num_tokens} tokens>"


# The encoding of gpt-oss.


class _GptOss:
    """The encoding of gpt-oss, made when first asked for, once."""

    def __init__(self) -> None:
        self.encoding: HarmonyEncoding | None = None
        self._making = threading.Lock()

    def load(self) -> HarmonyEncoding:
        with self._making:
            if self.encoding is None:
                names = [None] * _NUM_SPECIAL_TOKENS
                tokenizer = Tokenizer(load_o200k_base(), names, O200K_BASE_REGEX)
                tokenizer.encode("a")  # makes the tables of tiktoken
                self.encoding = HarmonyEncoding.from_tokenizer(tokenizer)
        return self.encoding


_gpt_oss = _GptOss()


def load_harmony_encoding(name: str | HarmonyEncodingName) -> HarmonyEncoding:
    """The encoding of gpt-oss: "HarmonyGptOss" is the only name.

    The vocabulary comes with this package. The first call takes some tenths of a second, all others
    give the same encoding at once, in whatever thread. ValueError: another name.
    """
    text = name if isinstance(name, str) else str(name)
    if text != HarmonyEncodingName.HARMONY_GPT_OSS.value:
        raise ValueError(f"Invalid HarmonyEncodingName: {text}")
    return _gpt_oss.load()


# Arguments.


def _drops_analysis(config: RenderConversationConfig | None) -> bool:
    return True if config is None else _as_bool(config.auto_drop_analysis, otherwise=True)


def _has_function_tools(options: RenderOptions | None) -> bool:
    if options is None:
        return False
    return _as_bool(options.conversation_has_function_tools, otherwise=False)


def _as_bool(value: object, *, otherwise: bool) -> bool:
    """A bool, numpy's too; what else an assignment made of a setting is as if it were not there."""
    kind = type(value)
    is_numpy = kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_")
    return bool(value) if kind is bool or is_numpy else otherwise


def _plain_messages(conversation: Conversation) -> list[Message]:
    if is_plain_conversation(conversation):
        return conversation.messages
    return reread_conversation(conversation).messages


def _plain_role(role: Role) -> Role:
    value = str(role.value)
    try:
        return Role(value)
    except ValueError:
        raise ValueError(f"unknown role: {value}") from None


class _UnknownTokenError(Exception):
    """A token outside the vocabulary."""


class _TokenTexts(dict[int, str]):
    """The text of each token, filled in as tokens are met.

    Bytes that are not UTF-8 in themselves are surrogates (the error handler "surrogateescape"), so
    that what they are together can be told from the joined texts.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __missing__(self, token: int) -> str:
        if token >= self._tokenizer.num_tokens:
            raise _UnknownTokenError(f"Invalid token for decoding: {token}")
        text = self._tokenizer.token_bytes(token).decode("utf-8", "surrogateescape")
        self[token] = text
        return text


def _invalid_utf8(error: UnicodeDecodeError) -> str:
    """What Rust says about the first invalid bytes."""
    if error.reason == "unexpected end of data":
        return f"incomplete utf-8 byte sequence from index {error.start}"
    length = error.end - error.start
    return f"invalid utf-8 sequence of {length} bytes from index {error.start}"
