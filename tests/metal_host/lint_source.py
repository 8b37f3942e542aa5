"""What the rules of the lint look at: the outline of one file, and of what it includes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from metal_host.findings import Finding
from metal_host.syntax import Function, Outline, read_outlines
from metal_host.tokens import COMMENT, NUMBER, SPACE, STRING, WORD, Token

_CONDITIONAL = re.compile(r"#\s*(if|ifdef|ifndef|elif|else|endif)\b(.*)", re.DOTALL)


@dataclass(frozen=True)
class Call:
    """`name(first, second)` in a function's body; positions index the outline's code."""

    name: str
    at: int
    arguments: list[tuple[int, int]]
    qualified: bool  # `metal::name(...)`


@dataclass
class Sources:
    """One file, and everything it includes."""

    path: Path
    outlines: list[Outline]  # included files first, the file itself last

    @classmethod
    def read(cls, path: Path) -> Sources:
        """Reads a file and what it includes in quotes."""
        return cls(path, read_outlines(path))

    @property
    def main(self) -> Outline:
        """The file itself."""
        return self.outlines[-1]

    def finding(self, line: int, rule: str, text: str) -> Finding:
        """A finding in the file itself."""
        return Finding(self.path, line, rule, text)

    @cached_property
    def guards(self) -> dict[int, str]:
        """Offsets of the file's tokens, and the conditions of the #if lines around each, joined."""
        guards: dict[int, str] = {}
        stack: list[str] = []
        directive = ""
        for token in self.main.tokens:
            if token.directive:
                directive += token.text if token.kind != WORD else f" {token.text} "
            elif directive and (token.kind == SPACE and "\n" in token.text):
                _enter(stack, directive)
                directive = ""
            guards[token.offset] = " && ".join(stack)
        return guards

    @cached_property
    def meaningful(self) -> list[Token]:
        """The file's tokens without spaces and comments, but with those of directives: macros have
        them, too."""
        return [token for token in self.main.tokens if token.kind not in (SPACE, COMMENT)]

    def calls(self, outline: Outline, function: Function) -> Iterator[Call]:
        """The calls in a function's body, of anything that looks like one."""
        start, end = function.body
        code = outline.code
        for position in range(start, end):
            token = code[position]
            if token.kind != WORD or token.text in _NO_CALL:
                continue
            opening = position + 1
            if code[opening].text == "<":
                closing = _template_call(outline, opening)
                if closing is None:
                    continue
                opening = closing
            if code[opening].text == "(":
                arguments = list(outline.split(opening + 1, outline.partner[opening]))
                qualified = code[position - 1].text == "::" and code[position - 2].text == "metal"
                yield Call(token.text, position, arguments, qualified)


_NO_CALL = frozenset(
    {"if", "for", "while", "switch", "return", "sizeof", "static_assert", "decltype", "alignof"}
)


def _template_call(outline: Outline, position: int) -> int | None:
    """The position after `<...>` if a parenthesis follows it, so that `a < b` is no call."""
    depth = 0
    for index in range(position, len(outline.code) - 1):
        text, kind = outline.code[index].text, outline.code[index].kind
        depth += (text == "<") - (text == ">")
        if depth == 0:
            return index + 1 if outline.code[index + 1].text == "(" else None
        if kind not in (WORD, NUMBER, STRING) and text not in "<>,:::*&+-/%":
            return None
    return None


def _enter(stack: list[str], directive: str) -> None:
    match = _CONDITIONAL.match(directive)
    if match is None:
        return
    word, condition = match[1], " ".join(match[2].split())
    if word in ("if", "ifdef", "ifndef"):
        stack.append(condition)
    elif word == "elif" and stack:
        stack[-1] = condition
    elif word == "else" and stack:
        stack[-1] = f"not ({stack[-1]})"
    elif word == "endif" and stack:
        stack.pop()
