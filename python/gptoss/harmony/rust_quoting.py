"""Text quoted as Rust's `{:?}` quotes it, which the package's error texts contain."""

from __future__ import annotations

import unicodedata

# What Unicode 16's property Grapheme_Extend has beside the categories Mn and Me.
_OTHER_GRAPHEME_EXTEND = frozenset(
    "\u09be\u09d7\u0b3e\u0b57\u0bbe\u0bd7\u0cc0\u0cc2\u0cc7\u0cc8\u0cca\u0ccb\u0cd5\u0cd6\u0d3e\u0d57"
    "\u0dcf\u0ddf\u1715\u1734\u1b35\u1b3b\u1b3d\u1b43\u1b44\u1baa\u1bf2\u1bf3\u200c\u302e\u302f\ua953"
    "\ua9c0\uff9e\uff9f\U000111c0\U00011235\U0001133e\U0001134d\U00011357\U000114b0\U000114bd"
    "\U000115af\U000116b6\U00011930\U0001193d\U00016ff0\U00016ff1\U0001d165\U0001d166\U0001d16d"
    "\U0001d16e\U0001d16f\U0001d170\U0001d171\U0001d172"
)
_SHORT_ESCAPES = {
    "\0": "\\0",
    "\t": "\\t",
    "\n": "\\n",
    "\r": "\\r",
    '"': '\\"',
    "\\": "\\\\",
}


def quote(text: str) -> str:
    """Quote a text.

    Which characters are printable is for Python's Unicode tables to say: those that are newer are
    escaped.
    """
    return f'"{"".join(map(_escape, text))}"'


def _escape(character: str) -> str:
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    # Characters that extend the one before them would change how the quote looks.
    extends = unicodedata.category(character) in ("Mn", "Me") or character in _OTHER_GRAPHEME_EXTEND
    if extends or not character.isprintable():
        return f"\\u{{{ord(character):x}}}"
    return character
