"""The header of a message, between `<|start|>` and `<|message|>`, as `openai_harmony` reads it.

This is the strict reading, whose quirks programs rely on: the tokens become one string, special
tokens by their names, and that is split into words. `header_repair` reads what this refuses.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import NamedTuple

from gptoss.harmony.content import TextContent
from gptoss.harmony.errors import HarmonyError
from gptoss.harmony.messages import Author, Message, Role

CHANNEL_MARKER = "<|channel|>"
CONSTRAIN_MARKER = "<|constrain|>"

_ROLES: dict[str, Role] = {role.value: role for role in Role}

# What Rust splits words at, and what it trims: not what Python's str.split and str.strip do.
ASCII_WHITESPACE = " \t\n\x0c\r"
WHITESPACE = (
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
    "\u200a\u2028\u2029\u202f\u205f\u3000"
)
_TO_SPACE = str.maketrans(dict.fromkeys(ASCII_WHITESPACE, " "))
# What Unicode 16's property Grapheme_Extend has beside the categories Mn and Me.
_OTHER_GRAPHEME_EXTEND = frozenset(
    "\u09be\u09d7\u0b3e\u0b57\u0bbe\u0bd7\u0cc0\u0cc2\u0cc7\u0cc8\u0cca\u0ccb\u0cd5\u0cd6\u0d3e\u0d57"
    "\u0dcf\u0ddf\u1715\u1734\u1b35\u1b3b\u1b3d\u1b43\u1b44\u1baa\u1bf2\u1bf3\u200c\u302e\u302f\ua953"
    "\ua9c0\uff9e\uff9f\U000111c0\U00011235\U0001133e\U0001134d\U00011357\U000114b0\U000114bd"
    "\U000115af\U000116b6\U00011930\U0001193d\U00016ff0\U00016ff1\U0001d165\U0001d166\U0001d16d"
    "\U0001d16e\U0001d16f\U0001d170\U0001d171\U0001d172"
)
_CHANNEL_END = frozenset(WHITESPACE + "<")


class Header(NamedTuple):
    """Who speaks, to whom, on which channel, in which form."""

    role: Role
    name: str | None = None
    recipient: str | None = None
    channel: str | None = None
    content_type: str | None = None

    def message(self, text: str) -> Message:
        """Make the message that has this header and `text` as its content."""
        return Message(
            author=Author(role=self.role, name=self.name),
            content=[TextContent(text=text)],
            channel=self.channel,
            recipient=self.recipient,
            content_type=self.content_type,
        )


@lru_cache(maxsize=1024)  # a conversation has few different headers
def parse_header(text: str, role: Role | None) -> Header:
    """Read a header; `role` is the author's where the header itself need not say it.

    HarmonyError, in the words of openai-harmony 0.0.8: it is malformed.
    """
    channel, text = _take_channel(text)
    if CONSTRAIN_MARKER in text:  # "to=f<|constrain|>json" is two words
        text = text.replace(CONSTRAIN_MARKER, f" {CONSTRAIN_MARKER}")
    words = [word for word in text.translate(_TO_SPACE).split(" ") if word]

    name = None
    if role is None:
        if not words:
            raise HarmonyError("message header did not contain a role")
        author = words[0]
        role = _ROLES.get(author)
        if role is None:
            # Whoever is no role is a tool, if there is more than its name.
            if len(words) == 1 and not author.startswith("to="):
                raise HarmonyError(f"Unknown role: {author}")
            role = Role.TOOL
            del words[0]
        if role is Role.TOOL:
            name = author
    if words and words[0] == role.value:
        del words[0]

    recipient = content_type = None
    if words:
        last = words.pop()
        if last.startswith("to="):
            recipient = last[3:]
        elif not words:
            recipient = last
        else:
            content_type = last
            recipient = words.pop().removeprefix("to=")
    if words:
        rest = _quote_as_rust(" ".join(words))
        raise HarmonyError(f"unexpected tokens remaining in message header: Some({rest})")
    return Header(role, name, recipient, channel, content_type)


def _take_channel(text: str) -> tuple[str | None, str]:
    """Cut the first channel out of a header; the rest is trimmed."""
    before, marker, after = text.partition(CHANNEL_MARKER)
    if not marker:
        return None, text.strip(WHITESPACE)
    end = next((i for i, char in enumerate(after) if char in _CHANNEL_END), len(after))
    if end == 0:
        raise HarmonyError("channel marker present but no channel value found in header")
    return after[:end], (before + after[end:]).strip(WHITESPACE)


def _quote_as_rust(text: str) -> str:
    """Quote a string as Rust's `{:?}` does, which the package's error texts contain."""
    return '"' + "".join(map(_escape_as_rust, text)) + '"'


def _escape_as_rust(char: str) -> str:
    short = {"\0": "\\0", "\t": "\\t", "\r": "\\r", "\n": "\\n", '"': '\\"', "\\": "\\\\"}.get(char)
    if short is not None:
        return short
    # Characters that extend the one before them would change how the quote looks.
    extends = unicodedata.category(char) in ("Mn", "Me") or char in _OTHER_GRAPHEME_EXTEND
    return f"\\u{{{ord(char):x}}}" if extends or not char.isprintable() else char
