"""Any header read as something: what the strict reading refuses, and what it misreads.

Nothing here fails and no word is dropped: what fits no field is handed back as text. The malformed
headers are those that gpt-oss writes; see docs/harmony.md for what becomes of each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from gptoss.harmony.header import ASCII_WHITESPACE, WHITESPACE, Header
from gptoss.harmony.messages import Role
from gptoss.harmony.repairs import RepairKind
from gptoss.harmony.vocabulary import CHANNEL_MARKER, CONSTRAIN_MARKER

_ROLE_OF_WORD = {role.value: role for role in Role}
_CHANNELS = ("analysis", "commentary", "final")
_CHANNELS_OF_CALLS = ("analysis", "commentary")
_MARKER = r"<\|(?:channel|constrain)\|>"
MARKER = re.compile(_MARKER)
# Words end at ASCII white space, channels at any, as in the strict reading.
_SPACE = f"[{re.escape(ASCII_WHITESPACE)}]"
_WORD_CHAR = f"[^{re.escape(ASCII_WHITESPACE)}]"
_CHANNEL_CHAR = f"[^{re.escape(WHITESPACE)}]"

# One piece of a whole header. A name ends at white space, at a marker, and at a "to=" that the
# model wrote without a space before it.
_PIECE = re.compile(
    rf"""
      (?P<space>{_SPACE}+)
    | <\|channel\|>(?P<channel>{_SPACE}*(?:(?!{_MARKER}|to=){_CHANNEL_CHAR})*)
    | <\|constrain\|>(?P<constrain>{_SPACE}*(?:(?!{_MARKER}|to=){_WORD_CHAR})*)
    | to=(?P<recipient>(?:(?!{_MARKER}){_WORD_CHAR})*)
    | (?P<word>(?:(?!{_MARKER}){_WORD_CHAR})+)
    """,
    re.VERBOSE,
)
# One piece of a header that runs on into the content, so of clearly bounded words only.
_PIECE_BEFORE_CONTENT = re.compile(
    r"""\s*(?:
      (?P<marker>(?=<))(?:
          <\|channel\|>\s?(?P<channel>(?:[A-Za-z_][\w-]*(?:\.[\w-]+)*)?)
        | <\|constrain\|>\s?(?P<constrain>(?:json|[A-Za-z][\w/+.-]*)?)
      )
    | to=(?P<recipient>
          [\w-]+(?:\.[\w-]+)+|[\w-]+(?=\s*\{)|python|browser|assistant|user|all
      )
    | (?P<content_type>json|code)
    )""",
    re.VERBOSE,
)
_AUTHOR = re.compile(rf"{_SPACE}*(?P<author>(?:(?!{_MARKER}|to=){_WORD_CHAR})*)")
_QUALIFIED_NAME = re.compile(r"[A-Za-z_][\w-]*(?:\.[\w-]+)+")
_NAME = re.compile(r"[A-Za-z_][\w-]*")
_GLUED_AUTHOR = re.compile(
    rf"(?P<role>{'|'.join(_ROLE_OF_WORD)})(?P<rest>{'|'.join(_CHANNELS)}|(?P=role))"
)
_CONTENT_TYPE_WORDS = frozenset(("json", "code", "text"))
# Whose tools are recognised wherever their names stand.
_NAMESPACES = ("functions.", "browser.")
_NO_TOOLS = frozenset((*_ROLE_OF_WORD, "all"))
# Longer ones are not repeated, and are not to be kept.
_LONGEST_CACHED_HEADER = 500


class HeaderStart(Enum):
    """What came before a header, which says what its first word is."""

    START_TOKEN = "start_token"  # <|start|>: the author, whatever it is
    PROMPT = "prompt"  # <|start|> and the author, in the prompt: neither is expected again
    NOTHING = "nothing"  # neither: the author, if it is a role


class HeaderText(NamedTuple):
    """The tokens of a header as text, special tokens by their names.

    `token_ends`: where in `text` a token ends; `marker_starts`: where a special token begins.
    """

    text: str
    token_ends: set[int]
    marker_starts: set[int]


class RepairedHeader(NamedTuple):
    """A header, and what else stood where it should have been.

    `text`: words that fit no field. Where the header ran on into the content, that is the content;
    else it is something to be kept apart from the content that follows. `abandoned_channels`:
    channels named before the one that holds, each that of a message without text. `repairs`: what
    was mended, and the words that it is about.
    """

    header: Header
    text: str = ""
    abandoned_channels: tuple[str, ...] = ()
    repairs: tuple[tuple[RepairKind, str], ...] = ()

    def abandoned_headers(self) -> list[Header]:
        """The headers of the messages of `abandoned_channels`."""
        role, name = self.header.role, self.header.name
        return [Header(role, name, channel=channel) for channel in self.abandoned_channels]


def repair_header(
    text: str, role: Role, start: HeaderStart, spelled_markers: frozenset[int] = frozenset()
) -> RepairedHeader:
    """Read a header that `<|message|>` ended; `role` is the author's if it does not say another.

    `spelled_markers`: where in `text` a marker is spelled in plain text instead of by its token.
    """
    if len(text) > _LONGEST_CACHED_HEADER:
        return _repair_header.__wrapped__(text, role, start, spelled_markers)
    return _repair_header(text, role, start, spelled_markers)


@lru_cache(maxsize=1024)  # a conversation has few different headers
def _repair_header(
    text: str, role: Role, start: HeaderStart, spelled_markers: frozenset[int]
) -> RepairedHeader:
    header = HeaderText(text, set(), set())
    return _HeaderReader(header, role, start, spelled_markers).read_header()


def split_header_from_content(text: HeaderText, role: Role, start: HeaderStart) -> RepairedHeader:
    """Read a header that no `<|message|>` ended: after its last known piece the content begins.

    A channel's name and the content's first word stand side by side without a space there: only
    the tokens tell them apart. And a marker that is spelled in plain text may be content.
    """
    return _HeaderReader(text, role, start).read_header_and_content()


class _HeaderReader:
    """Reads one header from left to right, collecting the fields and what is odd about them."""

    def __init__(
        self,
        text: HeaderText,
        role: Role,
        start: HeaderStart,
        spelled_markers: frozenset[int] = frozenset(),
    ) -> None:
        self.text, self.token_ends, self.marker_starts = text
        self.spelled_markers = spelled_markers
        self.start = start
        self.default_role = self.role = role
        self.name: str | None = None
        self.unknown_author: str | None = None  # a tool's bare name, or none at all
        self.recipient: str | None = None
        self.channel: str | None = None
        self.content_type: str | None = None
        self.abandoned_channels: list[str] = []
        self.repairs: list[tuple[RepairKind, str]] = []
        self.extra: list[str] = []  # with the white space before each

    def read_header(self) -> RepairedHeader:
        position = self._read_author()
        words: list[str] = []  # that no mark explains, with the white space before each
        words_before_recipient: list[str] = []
        space = ""
        while position < len(self.text):
            piece = _PIECE.match(self.text, position)
            assert piece is not None, "a marker, white space or anything else: one always matches"
            position = piece.end()
            if piece["word"] is not None or self._is_text(piece):
                words.append(space + piece[0])
            elif piece["space"] is None:
                if piece["recipient"]:
                    words_before_recipient = words.copy()
                    if not self._is_in_place(piece.start()):
                        self.repairs.append((RepairKind.MISPLACED_RECIPIENT, piece["recipient"]))
                self._read_piece(piece)
            space = piece["space"] or ""
        self._place_words(words, words_before_recipient)
        self._take_channel_for_recipient()
        self._judge_unknown_author()
        text = "".join(self.extra)
        if text:
            self.repairs.append((RepairKind.EXTRA_HEADER_TEXT, text))
        self._note_misrouted_call()
        return self._result(text)

    def _is_text(self, piece: re.Match[str]) -> bool:
        """Whether a marker that is spelled is only text: it is none that leaked into a call."""
        if piece.start() not in self.spelled_markers:
            return False
        leaked = (*_CHANNELS, "json")
        if self.recipient is None or (piece["channel"] or piece["constrain"]) not in leaked:
            return True
        self.repairs.append((RepairKind.SPELLED_TOKEN, piece[0]))
        return False

    def read_header_and_content(self) -> RepairedHeader:
        begin = position = self._read_author_before_content()
        while piece := _PIECE_BEFORE_CONTENT.match(self.text, position):
            if piece["marker"] is not None and piece.start("marker") not in self.marker_starts:
                break
            if piece["recipient"] is not None and self.channel == "final":
                break  # an answer calls nobody
            if piece["content_type"] is not None:
                is_open = self.recipient is not None and self.content_type is None
                if not is_open or piece.end() not in self.token_ends:
                    break  # the word is the first of the content
                self._take_content_type(piece["content_type"])
                position = piece.end()
                continue
            position = piece.end()
            channel = self._known_word(_CHANNELS, piece.start("channel"))
            if channel:
                self._take_channel(channel)
                position = piece.start("channel") + len(channel)
            else:
                self._read_piece(piece)
        content = self.text[position:]
        if position > begin:
            content = content.removeprefix(" ")
        self._take_channel_for_recipient()
        self._note_misrouted_call()
        return self._result("".join((*self.extra, content)))

    def _result(self, text: str) -> RepairedHeader:
        header = Header(self.role, self.name, self.recipient, self.channel, self.content_type)
        return RepairedHeader(header, text, tuple(self.abandoned_channels), tuple(self.repairs))

    # The author.

    def _read_author(self) -> int:
        match = _AUTHOR.match(self.text)
        assert match is not None, "an empty author always matches"
        author = match["author"]
        glued = _GLUED_AUTHOR.fullmatch(author)
        if glued is not None:
            self.role = _ROLE_OF_WORD[glued["role"]]
            if glued["rest"] in _CHANNELS:
                self._take_channel_without_token(glued["rest"])
            else:
                self.repairs.append((RepairKind.REPEATED_ROLE, glued["rest"]))
        elif self._is_channel_for_author(author):
            self.repairs.append((RepairKind.MISSING_ROLE, ""))
            self._take_channel_without_token(author)
        elif self.start is HeaderStart.START_TOKEN or author in _ROLE_OF_WORD:
            self._take_author(author)
            if self.start is HeaderStart.PROMPT:
                self.repairs.append((RepairKind.REPEATED_ROLE, author))
        else:
            return 0
        return match.end()

    def _is_channel_for_author(self, author: str) -> bool:
        """Whether the role was left out, and <|channel|> with it, as in `<|start|>final`."""
        starts_with_role = self.start is HeaderStart.START_TOKEN
        return starts_with_role and author in _CHANNELS and CHANNEL_MARKER not in self.text

    def _read_author_before_content(self) -> int:
        starts_with_role = self.start is HeaderStart.START_TOKEN
        begin = len(self.text) - len(self.text.lstrip())
        author = self._known_word(_ROLE_OF_WORD, begin)
        end = begin + len(author)
        # Without <|start|> a role's name may well be the first word of a sentence.
        if author and (starts_with_role or _PIECE_BEFORE_CONTENT.match(self.text, end)):
            self._take_author(author)
            channel = self._known_word(_CHANNELS, end)
            if channel and starts_with_role:
                self._take_channel_without_token(channel)
                end += len(channel)
            return end
        if starts_with_role:
            self.repairs.append((RepairKind.MISSING_ROLE, ""))
        return 0

    def _known_word(self, words: Iterable[str], position: int) -> str:
        """The word of `words` at a position, if a token ends where it does; else nothing."""
        for word in words:
            if self.text.startswith(word, position) and position + len(word) in self.token_ends:
                return word
        return ""

    def _take_author(self, author: str) -> None:
        role, colon, name = author.partition(":")
        if role in _ROLE_OF_WORD and role != Role.TOOL.value:
            self.role = _ROLE_OF_WORD[role]
            self.name = name if colon else None
        elif author:
            self.role = Role.TOOL  # written with its name alone
            self.name = author
            if author not in ("tool", "python") and not _QUALIFIED_NAME.fullmatch(author):
                self.unknown_author = author
        else:
            self.repairs.append((RepairKind.MISSING_ROLE, ""))

    def _judge_unknown_author(self) -> None:
        """A word in the author's place that is no role: a tool, unless the rest contradicts it."""
        author = self.unknown_author
        if author is None or self.recipient is not None:
            return
        if author.lower() in _ROLE_OF_WORD:
            self.role, self.name = _ROLE_OF_WORD[author.lower()], None
        elif self.extra:  # the first word of a text
            self.role, self.name = self.default_role, None
            self.extra.insert(0, author)
        else:
            return
        self.repairs.append((RepairKind.UNKNOWN_AUTHOR, author))

    # The other fields.

    def _read_piece(self, piece: re.Match[str]) -> None:
        if piece["channel"] is not None:
            self._take_channel(self._without_space(piece["channel"]))
        elif piece["constrain"] is not None:
            self._take_content_type(CONSTRAIN_MARKER + self._without_space(piece["constrain"]))
        else:
            self._take_recipient(piece["recipient"])

    def _without_space(self, name: str) -> str:
        bare = name.strip(ASCII_WHITESPACE)
        if bare and bare != name:
            self.repairs.append((RepairKind.SPACE_IN_HEADER, bare))
        return bare

    def _is_in_place(self, position: int) -> bool:
        """Whether a recipient may begin here: after white space, before any content type."""
        before = self.text[:position]
        is_apart = not before or before.endswith((*ASCII_WHITESPACE, CHANNEL_MARKER))
        return is_apart and self.content_type is None

    def _take_channel(self, channel: str) -> None:
        if not channel:
            self.repairs.append((RepairKind.EMPTY_CHANNEL, CHANNEL_MARKER))
            return
        if self.channel is not None:
            self.repairs.append((RepairKind.REPEATED_CHANNEL, channel))
            if self.channel != channel:
                self.abandoned_channels.append(self.channel)
        self.channel = channel

    def _take_channel_without_token(self, channel: str) -> None:
        self.repairs.append((RepairKind.MISSING_CHANNEL_TOKEN, channel))
        self.channel = channel

    def _take_recipient(self, recipient: str) -> None:
        if not recipient:
            self.repairs.append((RepairKind.EMPTY_RECIPIENT, "to="))
            return
        if self.recipient is not None:
            self.repairs.append((RepairKind.REPEATED_RECIPIENT, recipient))
            if recipient in _NO_TOOLS and self.recipient not in _NO_TOOLS:
                recipient, self.recipient = self.recipient, recipient  # a call stays a call
            if self.recipient != recipient:
                self.extra.append(f" to={self.recipient}")
        self.recipient = recipient

    def _take_content_type(self, content_type: str) -> None:
        if self.content_type is not None:
            self.repairs.append((RepairKind.REPEATED_CONTENT_TYPE, content_type))
            if self.content_type != content_type:
                self.extra.append(" " + self.content_type.removeprefix(CONSTRAIN_MARKER))
        self.content_type = content_type

    def _place_words(self, words: list[str], words_before_recipient: list[str]) -> None:
        """Words without a mark: a channel, a tool's name, a content type; all else is extra."""
        rest: list[str] = []
        for spaced in words:
            word = spaced.strip(WHITESPACE)
            if not word:  # white space that is not ASCII
                continue
            if word == self.role.value:
                self.repairs.append((RepairKind.REPEATED_ROLE, word))
            elif self.channel is None and word in _CHANNELS:
                self._take_channel_without_token(word)
            elif self.recipient is None and self._is_known_tool(word):
                self._take_recipient_without_to(word)
            else:
                rest.append(spaced)
        if len(rest) in (1, 2) and self._is_qualified_tool(rest[0].strip(WHITESPACE)):
            self._take_recipient_without_to(rest.pop(0).strip(WHITESPACE))
        if rest and self.content_type is None:
            last = rest[-1].strip(WHITESPACE)
            if len(rest) == 1 or last in _CONTENT_TYPE_WORDS:
                if self.recipient is None and last not in _CONTENT_TYPE_WORDS:
                    self.repairs.append((RepairKind.LONE_WORD, last))
                elif self.recipient is not None and rest[-1] in words_before_recipient:
                    self.repairs.append((RepairKind.MISPLACED_RECIPIENT, self.recipient))
                self.content_type = last
                rest.pop()
        if len(rest) == 1 and self._is_callee(rest[0].strip(WHITESPACE)):
            self._take_recipient_without_to(rest.pop().strip(WHITESPACE))
        self.extra += rest

    def _is_known_tool(self, word: str) -> bool:
        """Whether a word is a tool's name wherever it stands."""
        if self.channel == "final":
            return False
        return word.startswith(_NAMESPACES) or (
            word == "python" and self.channel in _CHANNELS_OF_CALLS
        )

    def _is_qualified_tool(self, word: str) -> bool:
        """Whether the first of few words is a tool's name; in an answer it may be a web site's."""
        if self.recipient is not None or self.channel == "final":
            return False
        return _QUALIFIED_NAME.fullmatch(word) is not None

    def _is_callee(self, word: str) -> bool:
        """Whether the one word left, as in `get_weather json`, is a tool's name."""
        if self.recipient is not None or self.channel not in _CHANNELS_OF_CALLS:
            return False
        is_json = self.content_type in ("json", CONSTRAIN_MARKER + "json")
        return is_json and word not in _CONTENT_TYPE_WORDS and _NAME.fullmatch(word) is not None

    def _take_recipient_without_to(self, name: str) -> None:
        self.repairs.append((RepairKind.MISSING_TO, name))
        self.recipient = name

    def _take_channel_for_recipient(self) -> None:
        """A tool in the channel's place: `<|channel|>functions.f <|constrain|>json`."""
        channel = self.channel or ""
        is_call = self.role is Role.ASSISTANT and self.content_type is not None
        if is_call and self.recipient is None and channel.startswith("functions."):
            self._take_recipient_without_to(channel)
            self.channel = None

    def _note_misrouted_call(self) -> None:
        # Built-in tools are called on the analysis channel, functions never.
        recipient = self.recipient or ""
        is_call = self.role is Role.ASSISTANT and recipient.startswith("functions.")
        if is_call and self.channel not in (None, "commentary"):
            self.repairs.append((RepairKind.MISROUTED_CALL, f"{recipient} on {self.channel}"))
