"""Completion tokens to messages, one token at a time.

`StreamableParser` is openai-harmony's, with its states and, as long as `strict` is true, its
errors. What it adds: every property costs the same however much was read, the deltas are the
content, and `strict=False` reads whatever a model writes.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

from gptoss.harmony.errors import HarmonyError
from gptoss.harmony.header import Header, parse_header
from gptoss.harmony.header_repair import (
    MARKER,
    HeaderStart,
    HeaderText,
    RepairedHeader,
    repair_header,
    split_header_from_content,
)
from gptoss.harmony.messages import Message, Role
from gptoss.harmony.repairs import Repair, RepairKind
from gptoss.harmony.token_numbers import as_token, as_tokens
from gptoss.harmony.vocabulary import CHANNEL_MARKER, CONSTRAIN_MARKER

if TYPE_CHECKING:
    from gptoss.harmony.encoding import HarmonyEncoding

# No header of the format is longer; a lenient parser shows what goes on after that as content.
LONGEST_HEADER = 256  # tokens


class StreamState(Enum):
    """What a parser expects next."""

    EXPECT_START = "ExpectStart"
    HEADER = "Header"
    CONTENT = "Content"


class StreamableParser:
    """Reads a completion token by token; not to be used by two threads at once.

    `role`: the author of the first message, whose header the prompt has begun (`<|start|>` and the
    role, which rendering for completion ends with); None: the tokens begin with `<|start|>`.
    `strict`: malformed input is a HarmonyError, in the words of openai-harmony 0.0.8. Otherwise
    nothing that a model can write is an error, no text is dropped, and `repairs` says what was
    mended.

    Reading any property takes the same time however long the message is, and deltas are whole
    characters: joined, they are the contents of the messages.
    """

    # Plain attributes, because they are read at every token, where a property costs half a token.
    # They are for reading only.

    state: StreamState = StreamState.EXPECT_START
    """What the parser expects next."""
    current_role: Role | None = None
    """The author of the message being read; None where its header has not said it yet."""
    current_recipient: str | None = None
    """Whom the message being read is for; None before its content begins."""
    current_channel: str | None = None
    """The channel of the message being read; None before its content begins."""
    current_content_type: str | None = None
    """The content type of the message being read; None before its content begins."""
    last_content_delta: str | None = None
    """The text that the last token added, of whole characters; None if it added none.

    Where that token ended a message (`messages` grew), it is the end of that message's text; else
    it belongs to the message being read."""

    def __init__(
        self, encoding: HarmonyEncoding, role: Role | None, *, strict: bool = True
    ) -> None:
        self._encoding = encoding
        self._vocabulary = encoding.vocabulary
        self._texts = encoding.vocabulary.texts
        self._strict = strict
        self._default_role = Role.ASSISTANT if role is None else Role(role.value)
        self._header_start = HeaderStart.PROMPT
        self.state = StreamState.EXPECT_START if role is None else StreamState.HEADER
        self.current_role = None if role is None else self._default_role
        self.current_recipient = None
        self.current_channel = None
        self.current_content_type = None
        self.last_content_delta = None
        self._tokens: list[int] = []
        self._header_tokens: list[int] = []
        # In content, with nothing undecoded: a token of whole characters needs no thought.
        self._is_plain = False
        # The message being read: its header while in its content, the pieces of its text, how many
        # of them `_content` and `_content_tokens` have, the bytes of a character not complete yet.
        self._header: Header | None = None
        self._pieces: list[str] = []
        self._content = ""
        self._num_pieces_in_content = 0
        self._content_tokens: list[int] = []
        self._num_pieces_in_tokens = 0
        self._undecoded = b""
        # Headers given up before it, of messages that are to stand before it.
        self._abandoned: list[Header] = []
        # The complete messages; models of them are made when they are asked for.
        self._complete: list[tuple[Header, str]] = []
        self._messages: list[Message] = []
        self._repairs: list[Repair] = []
        self._is_at_end = False  # in `process_eos`

    # Reading.

    def process(self, token: int) -> StreamableParser:
        """Read one token; returns the parser itself.

        HarmonyError (`strict` only): the token does not fit here. TypeError, OverflowError: it is
        no integer from 0 to 2^32 - 1.
        """
        if type(token) is int and (text := self._texts[token]) is not None:
            if self._is_plain:
                self._tokens.append(token)
                self._pieces.append(text)
                self.last_content_delta = text
                return self
            if self.state is StreamState.HEADER and len(self._header_tokens) < LONGEST_HEADER:
                self._tokens.append(token)
                self._header_tokens.append(token)
                self.last_content_delta = None
                return self
        self._process_any(as_token(token))
        return self

    def process_many(self, tokens: Iterable[int]) -> StreamableParser:
        """Read several tokens, as `process` one after the other would, but faster.

        `last_content_delta` is then what all of them added. All are checked to be tokens before
        the first is read.
        """
        checked = as_tokens(tokens)
        texts = [self._texts[token] for token in checked]
        deltas: list[str] = []
        position = 0
        try:
            while position < len(checked):
                stop = position if texts[position] is None else self._end_of_run(texts, position)
                if stop == position:
                    self._process_any(checked[position])
                    deltas.append(self.last_content_delta or "")
                    position += 1
                    continue
                self._tokens += checked[position:stop]
                if self._is_plain:
                    pieces = cast("list[str]", texts[position:stop])
                    self._pieces += pieces
                    deltas += pieces
                else:
                    self._header_tokens += checked[position:stop]
                position = stop
        finally:
            self.last_content_delta = "".join(deltas) or None
        return self

    def _end_of_run(self, texts: list[str | None], begin: int) -> int:
        """Where the tokens end, from `begin` on, that are only added to what is being read."""
        if self._is_plain:
            end = len(texts)
        elif self.state is StreamState.HEADER:
            end = min(len(texts), begin + LONGEST_HEADER - len(self._header_tokens))
        else:
            return begin
        try:
            return texts.index(None, begin, end)
        except ValueError:
            return max(begin, end)

    def process_eos(self) -> StreamableParser:
        """Read the end of the completion, which ends a message as a stop token does.

        HarmonyError (`strict` only): it comes inside a header.
        """
        self.last_content_delta = None
        if self.state is StreamState.CONTENT:
            self._end_message()
        elif self.state is StreamState.HEADER:
            if self._strict:
                raise HarmonyError("Unexpected EOS while waiting for message header to complete")
            self._is_at_end = True
            self._end_header_without_message(is_end=True)
            self._is_at_end = False
        return self

    def _process_any(self, token: int) -> None:
        self._tokens.append(token)
        self.last_content_delta = None
        if self.state is StreamState.CONTENT:
            self._process_in_content(token)
        elif self.state is StreamState.HEADER:
            self._process_in_header(token)
        else:
            self._process_between_messages(token)

    def _process_between_messages(self, token: int) -> None:
        vocabulary = self._vocabulary
        if token == vocabulary.start:
            self._begin_header(HeaderStart.START_TOKEN)
        elif self._strict:
            raise HarmonyError(
                f"Unexpected token {token} while expecting start token {vocabulary.start}"
            )
        elif token in vocabulary.stop_tokens or token == vocabulary.end_of_text:
            self._repair(RepairKind.EXTRA_END, self._name(token))
        elif self._is_stray(token):
            self._repair(RepairKind.STRAY_TOKEN, self._name(token))
        else:
            # The header of the next message, or text that belongs to none.
            self._repair(RepairKind.MISSING_START)
            self._begin_header(HeaderStart.NOTHING)
            self._process_in_header(token)

    def _process_in_header(self, token: int) -> None:
        vocabulary = self._vocabulary
        if token == vocabulary.message:
            self._end_header()
        elif self._strict:
            self._header_tokens.append(token)
        elif token == vocabulary.start:
            if self._header_start is not HeaderStart.NOTHING:
                self._repair(RepairKind.REPEATED_START)
            self._end_header_without_message(is_end=False)
            self._begin_header(HeaderStart.START_TOKEN)
        elif token in vocabulary.stop_tokens or token == vocabulary.end_of_text:
            self._end_header_without_message(is_end=True, is_call=token in vocabulary.stop_tokens)
        elif self._is_stray(token):
            self._repair(RepairKind.STRAY_TOKEN, self._name(token))
        else:
            self._header_tokens.append(token)
            if len(self._header_tokens) > LONGEST_HEADER:
                self._end_overlong_header()

    def _process_in_content(self, token: int) -> None:
        vocabulary = self._vocabulary
        if token in vocabulary.stop_tokens:
            assert self._header is not None, "in content there is a header"
            if token == vocabulary.call and self._header.recipient is None and not self._strict:
                self._repair(RepairKind.MISSING_RECIPIENT, self._name(token))
            self._end_message()
            return
        if not self._strict and token >= vocabulary.tokenizer.num_text_tokens:
            if token in (vocabulary.start, vocabulary.channel):
                self._repair(RepairKind.MISSING_END)
                self._end_message()
                self._process_between_messages(token)
                return
            if token == vocabulary.end_of_text:
                self._repair(RepairKind.END_OF_TEXT, self._name(token))
                self._end_message()
                return
            if self._is_special(token):
                self._repair(RepairKind.STRAY_TOKEN, self._name(token))
                return
        self._add_to_content(token)

    # Headers.

    def _begin_header(self, start: HeaderStart) -> None:
        self.state = StreamState.HEADER
        self._header_start = start
        if not self._strict:  # there the role is unknown, or after an error still the first one
            self.current_role = None if start is HeaderStart.START_TOKEN else self._default_role
        self._header_tokens = []

    def _end_header(self) -> None:
        """`<|message|>`: the content begins."""
        self.state = StreamState.EXPECT_START
        if self._strict:
            header = parse_header(self._decode_whole_header(), self.current_role)
        else:
            text = self._decode_whole_header()
            repaired = repair_header(
                text, self._default_role, self._header_start, self._spelled_markers(text)
            )
            self._take_repairs(repaired)
            if repaired.text:
                aside = repaired.header._replace(recipient=None, content_type=None)
                self._add_message(aside, repaired.text)
                self.last_content_delta = repaired.text
            header = repaired.header
        self._begin_content(header)

    def _end_header_without_message(self, is_end: bool, is_call: bool = False) -> None:
        """A header that ended otherwise: what it ran on into is the content.

        `is_end`: by a stop token or the end of the completion. `is_call`: by a stop token, so that
        even a call without arguments is meant; what was cut off before that must not be run.
        """
        text = self._decode_header()
        repaired = split_header_from_content(text, self._default_role, self._header_start)
        header, content = repaired.header, repaired.text
        if not content and not is_call and header.recipient is not None:
            header, content = header._replace(recipient=None), f"to={header.recipient}"
        if not is_end and header == Header(self._default_role) and content.strip() == header.role:
            self._repair(RepairKind.REPEATED_ROLE, content)
            content = ""  # "assistant<|start|>assistant"
        # A role alone is no message, unless it says what the others do not.
        is_message = bool(content) or header != Header(self._default_role)
        if is_message or (is_end and self._tokens):
            self._note_missing_message(repaired)
            self._take_repairs(repaired)
        if is_message:
            self._add_message(header, content)
            self.last_content_delta = content or None
        self.state = StreamState.EXPECT_START
        self.current_role = None

    def _end_overlong_header(self) -> None:
        """So much text without `<|message|>` is content, to be shown as it comes."""
        text = self._decode_header(is_complete=False)
        repaired = split_header_from_content(text, self._default_role, self._header_start)
        self._note_missing_message(repaired)
        self._note_repairs(repaired)
        # Later, for a delta belongs to the message that a token ended: this text is the next one's.
        self._abandoned = repaired.abandoned_headers()
        self._begin_content(repaired.header)
        if repaired.text:
            self._add_text(repaired.text)

    def _note_missing_message(self, repaired: RepairedHeader) -> None:
        header = repaired.header
        has_fields = header.channel or header.recipient or header.content_type
        is_bare_text = bool(repaired.text) and not has_fields
        if self._header_start is HeaderStart.NOTHING and is_bare_text:
            self._repair(RepairKind.TEXT_BETWEEN_MESSAGES, repaired.text)
        else:
            self._repair(RepairKind.MISSING_MESSAGE)

    def _take_repairs(self, repaired: RepairedHeader) -> None:
        self._note_repairs(repaired)
        for header in repaired.abandoned_headers():
            self._add_message(header)

    def _note_repairs(self, repaired: RepairedHeader) -> None:
        for kind, text in repaired.repairs:
            self._repair(kind, text)

    def _spelled_markers(self, header: str) -> frozenset[int]:
        """Where in a header the model spelled a marker in plain text."""
        tokens, vocabulary = self._header_tokens, self._vocabulary
        num_markers = tokens.count(vocabulary.channel) + tokens.count(vocabulary.constrain)
        if header.count(CHANNEL_MARKER) + header.count(CONSTRAIN_MARKER) == num_markers:
            return frozenset()
        starts = (match.start() for match in MARKER.finditer(header))
        return frozenset(starts) - self._decode_header().marker_starts

    def _decode_whole_header(self) -> str:
        texts = [self._vocabulary.header_texts[token] for token in self._header_tokens]
        if None not in texts:
            return "".join(texts)  # type: ignore[arg-type]  # there is no None
        try:
            return self._vocabulary.tokenizer.decode(self._header_tokens, errors="strict")
        except ValueError as error:
            if self._strict:
                raise HarmonyError("could not decode header") from error
        num_repairs = len(self._repairs)
        text = self._decode_header().text
        if len(self._repairs) == num_repairs:  # all tokens are known
            self._repair(RepairKind.INVALID_UTF8, text)
        return text

    def _decode_header(self, is_complete: bool = True) -> HeaderText:
        """The text of the header's tokens.

        `is_complete`: the bytes of an incomplete character at the end become U+FFFD; otherwise they
        stay in `_undecoded`.
        """
        markers = (self._vocabulary.channel, self._vocabulary.constrain)
        text = ""
        token_ends, marker_starts = set(), set()
        undecoded = b""
        for token in self._header_tokens:
            if token in markers:
                text += undecoded.decode("utf-8", "replace")
                marker_starts.add(len(text))
                undecoded = b""
            data = undecoded + self._bytes(token)
            piece, length = codecs.utf_8_decode(data, "replace", False)
            undecoded = data[length:]
            text += piece
            token_ends.add(len(text))
        if is_complete:
            text += undecoded.decode("utf-8", "replace")
        else:
            self._undecoded = undecoded
        return HeaderText(text, token_ends, marker_starts)

    # Content.

    def _begin_content(self, header: Header) -> None:
        self.state = StreamState.CONTENT
        self.current_role = header.role
        self.current_recipient = header.recipient
        self.current_channel = header.channel
        self.current_content_type = header.content_type
        self._header = header
        self._is_plain = not self._undecoded

    def _add_to_content(self, token: int) -> None:
        data = self._undecoded + self._bytes(token)
        text, length = codecs.utf_8_decode(data, "replace", False)
        self._undecoded = data[length:]
        self._is_plain = not self._undecoded
        if text:
            self._add_text(text)

    def _add_text(self, text: str) -> None:
        self._pieces.append(text)
        self.last_content_delta = text

    def _end_message(self) -> None:
        if self._undecoded:  # the message ends inside a character
            self._add_text(self._undecoded.decode("utf-8", "replace"))
            self._undecoded = b""
        assert self._header is not None, "in content there is a header"
        for header in self._abandoned:
            self._add_message(header)
        self._abandoned = []
        self._add_message(self._header, self.current_content)
        self.state = StreamState.EXPECT_START
        self.current_role = None
        self.current_recipient = None
        self.current_channel = None
        self.current_content_type = None
        self._header = None
        self._is_plain = False
        self._pieces = []
        self._content = ""
        self._num_pieces_in_content = 0
        self._content_tokens = []
        self._num_pieces_in_tokens = 0

    def _add_message(self, header: Header, text: str = "") -> None:
        self._complete.append((header, text))

    # Tokens.

    def _bytes(self, token: int) -> bytes:
        try:
            return self._vocabulary.tokenizer.token_bytes(token)
        except ValueError:
            if not self._strict:
                self._repair(RepairKind.UNKNOWN_TOKEN, str(token))
            return "\ufffd".encode()

    def _name(self, token: int) -> str:
        return self._vocabulary.tokenizer.token_bytes(token).decode()

    def _is_special(self, token: int) -> bool:
        tokenizer = self._vocabulary.tokenizer
        return tokenizer.num_text_tokens <= token < tokenizer.num_tokens

    def _is_stray(self, token: int) -> bool:
        """Whether a token between messages or in a header is special but no part of either."""
        vocabulary = self._vocabulary
        markers = (vocabulary.channel, vocabulary.constrain, vocabulary.message)
        return self._is_special(token) and token not in markers

    def _repair(self, kind: RepairKind, text: str = "") -> None:
        position = len(self._tokens) - (0 if self._is_at_end else 1)
        self._repairs.append(Repair(kind, position, text))

    # What was read so far.

    @property
    def current_content(self) -> str:
        """The text of the message being read; empty between messages and in a header.

        While the caller keeps the string that was read before, the next one is a copy of it.
        """
        if self._num_pieces_in_content < len(self._pieces):
            # Appending to a string that nobody else holds happens in place.
            content, self._content = self._content, ""
            content += "".join(self._pieces[self._num_pieces_in_content :])
            self._content = content
            self._num_pieces_in_content = len(self._pieces)
        return self._content

    @property
    def messages(self) -> list[Message]:
        """The complete messages: a list of the caller's own, of messages that are shared."""
        for header, text in self._complete[len(self._messages) :]:
            self._messages.append(header.message(text))
        return self._messages.copy()

    @property
    def repairs(self) -> list[Repair]:
        """What was mended so far, in the order of the tokens; always empty if `strict`."""
        return self._repairs.copy()

    @property
    def tokens(self) -> list[int]:
        """All tokens read. The list is the parser's own and grows with it: copy it to keep it."""
        return self._tokens

    @property
    def state_data(self) -> dict[str, Any]:
        """The state as openai-harmony gives it: with the header and the tokens of the content.

        The content's tokens are those of its pieces, encoded anew. The lists are the parser's own
        and grow with it.
        """
        data: dict[str, Any] = {"state": self.state.value}
        if self.state is StreamState.HEADER:
            data["header_tokens"] = self._header_tokens
        elif self._header is not None:
            header = self._header
            author = {"role": header.role.value}
            if header.name is not None:
                author["name"] = header.name
            data["header"] = {
                "author": author,
                "recipient": header.recipient,
                "channel": header.channel,
                "content_type": header.content_type,
            }
            for piece in self._pieces[self._num_pieces_in_tokens :]:
                self._content_tokens += self._vocabulary.encode(piece)
            self._num_pieces_in_tokens = len(self._pieces)
            data["content_tokens"] = self._content_tokens
        return data

    # Copies read on independently; a pickle holds the encoding by its name.

    def __copy__(self) -> StreamableParser:
        twin = type(self).__new__(type(self))
        for name, value in self.__dict__.items():
            twin.__dict__[name] = value.copy() if isinstance(value, list) else value
        return twin

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_vocabulary"], state["_texts"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._vocabulary = self._encoding.vocabulary
        self._texts = self._vocabulary.texts
