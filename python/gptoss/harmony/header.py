"""The header of a message, between `<|start|>` and `<|message|>`, as `openai_harmony` reads it.

This is the strict reading, whose quirks programs rely on: the tokens become one string, special
tokens by their names, and that is split into words. `header_repair` reads what this refuses.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from gptoss.harmony.content import TextContent
from gptoss.harmony.errors import HarmonyError
from gptoss.harmony.messages import Author, Message, Role
from gptoss.harmony.rust_quoting import quote
from gptoss.harmony.vocabulary import CHANNEL_MARKER, CONSTRAIN_MARKER

_ROLES: dict[str, Role] = {role.value: role for role in Role}

# What Rust splits words at, and what it trims: not what Python's str.split and str.strip do.
ASCII_WHITESPACE = " \t\n\x0c\r"
WHITESPACE = (
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
    "\u200a\u2028\u2029\u202f\u205f\u3000"
)
_TO_SPACE = str.maketrans(dict.fromkeys(ASCII_WHITESPACE, " "))
# Longer ones are not repeated, and are not to be kept.
_LONGEST_CACHED_HEADER = 500  # characters
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


def parse_header(text: str, role: Role | None) -> Header:
    """Read a header; `role` is the author's where the header itself need not say it.

    HarmonyError, in the words of openai-harmony 0.0.8: it is malformed.
    """
    if len(text) > _LONGEST_CACHED_HEADER:
        return _parse_header.__wrapped__(text, role)
    return _parse_header(text, role)


@lru_cache(maxsize=1024)  # a conversation has few different headers
def _parse_header(text: str, role: Role | None) -> Header:
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
        rest = quote(" ".join(words))
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
