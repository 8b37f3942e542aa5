"""The tokens of a Metal source: what every other reading of a kernel's text starts from.

A tokenizer and not a set of expressions over text, because comments, strings, line numbers and
brackets are then right by construction. Nothing is lost: the texts of all tokens, joined, are the
source.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SPACE, COMMENT, WORD, NUMBER, STRING, MARK = (
    "space",
    "comment",
    "word",
    "number",
    "string",
    "mark",
)

# Two closing angle brackets stay two tokens, so that `vec<vec<T, 4>>` needs no special case.
_PATTERN = re.compile(
    r"""
      (?P<space>   (?: \s | \\\r?\n )+ )
    | (?P<comment> // (?: \\\r?\n | [^\n] )* | /\* .*? (?: \*/ | \Z ) )
    | (?P<string>  (?: u8 | [uUL] )? (?: "(?: \\. | [^"\\\n] )*" | '(?: \\. | [^'\\\n] )*' ) )
    | (?P<number>  \.?[0-9] (?: [eEpP][+-] | '[0-9A-Fa-f] | [\w.] )* )
    | (?P<word>    [^\W\d]\w* )
    | (?P<mark>    <<= | \.\.\. | :: | -> | \+\+ | -- | && | \|\| | == | != | <= | >= | << | \#\#
                 | [-+*/%&|^]= | . )
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Token:
    """A piece of source text, and where it stands."""

    kind: str
    text: str
    line: int  # of its first character, from 1
    offset: int  # of its first character, in characters
    directive: bool  # part of a preprocessor directive

    @property
    def is_code(self) -> bool:
        """Whether a compiler's parser would see it: neither space nor comment nor directive."""
        return self.kind not in (SPACE, COMMENT) and not self.directive


def tokenize(text: str) -> list[Token]:
    """All tokens of a source, spaces and comments among them."""
    tokens: list[Token] = []
    line = 1
    directive = False
    line_is_blank = True  # nothing but space and comments so far on this logical line
    for match in _PATTERN.finditer(text):
        kind, piece = match.lastgroup or MARK, match[0]
        if kind == SPACE and "\n" in re.sub(r"\\\r?\n", "", piece):
            directive, line_is_blank = False, True
        elif kind not in (SPACE, COMMENT):
            directive = directive or (piece == "#" and line_is_blank)
            line_is_blank = False
        tokens.append(Token(kind, piece, line, match.start(), directive and kind != SPACE))
        line += piece.count("\n")
    return tokens
