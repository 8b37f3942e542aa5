"""The outline of a Metal source: functions, their parameters, attributes and bodies, and the
declarations between them.

Not a parser of C++: brackets are paired, scopes are entered, and a head followed by parentheses and
a brace is a function. Kernels are written plainly enough for that, and what is not is found by the
compilers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from metal_host.tokens import NUMBER, STRING, WORD, Token, tokenize

ADDRESS_SPACES = frozenset(
    {"device", "threadgroup", "constant", "thread", "threadgroup_imageblock"}
)
_OPENING = {"(": ")", "[": "]", "{": "}"}
_NOT_A_NAME = frozenset(
    {"if", "for", "while", "switch", "return", "sizeof", "decltype", "alignas", "static_assert"}
)


class SourceError(ValueError):
    """A source whose outline cannot be read: unbalanced brackets, a missing file."""


@dataclass(frozen=True)
class Attribute:
    """One of the entries of `[[name(arguments), name]]`."""

    name: str
    arguments: str | None  # the text between its parentheses
    line: int


@dataclass(frozen=True)
class Parameter:
    """A parameter of a function: `device const float* input [[buffer(1)]]`."""

    name: str  # empty where it has none
    type: list[Token]  # everything before the name, and array brackets after it
    attributes: list[Attribute]
    line: int

    @property
    def type_text(self) -> str:
        return spelled(self.type)

    @property
    def address_space(self) -> str | None:
        return next((token.text for token in self.type if token.text in ADDRESS_SPACES), None)


@dataclass(frozen=True)
class Function:
    """A function with a body. Positions index the outline's code tokens."""

    name: str
    line: int
    template: list[Token] | None  # its template parameters, or None
    head: list[Token]  # what stands before the name: qualifiers and the type of its result
    attributes: list[Attribute]
    parameters: list[Parameter]
    body: tuple[int, int]  # positions of { and }
    scope: str  # the struct that it is a member of, or empty

    @property
    def is_kernel(self) -> bool:
        return any(token.text == "kernel" for token in self.head) or any(
            attribute.name == "kernel" for attribute in self.attributes
        )


@dataclass(frozen=True)
class Declaration:
    """Anything else that ends in a semicolon outside of functions."""

    tokens: list[Token]  # without its attributes, template parameters and the semicolon
    attributes: list[Attribute]
    scope: str
    explicit_instantiation: bool

    @property
    def line(self) -> int:
        return self.tokens[0].line


@dataclass(frozen=True)
class ThreadgroupVariable:
    """`threadgroup float tile[32][33];` in a function's body; positions are of `threadgroup` and of
    the semicolon."""

    name: str
    type: list[Token]
    extents: list[Token]  # with their brackets
    start: int
    end: int
    outermost: bool  # directly in the function's body, as Metal demands
    initialized: bool


@dataclass
class Outline:
    """What a file declares, in its order."""

    path: Path
    text: str
    tokens: list[Token] = field(init=False)
    code: list[Token] = field(init=False)  # without spaces, comments and directives
    functions: list[Function] = field(init=False, default_factory=list)
    declarations: list[Declaration] = field(init=False, default_factory=list)
    struct_heads: list[list[Token]] = field(
        init=False, default_factory=list
    )  # `struct Name : Base`

    def __post_init__(self) -> None:
        self.tokens = tokenize(self.text)
        self.code = [token for token in self.tokens if token.is_code]
        self.partner = self._pair_brackets()
        self._read_scope(0, len(self.code), "")

    @cached_property
    def includes(self) -> list[tuple[int, str]]:
        """Lines and names of the quoted includes."""
        found = re.finditer(r'(?m)^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"', self.text)
        return [(self.text.count("\n", 0, match.start()) + 1, match[1]) for match in found]

    def _pair_brackets(self) -> dict[int, int]:
        """Position of every bracket's partner, both ways."""
        partner: dict[int, int] = {}
        open_brackets: list[int] = []
        for position, token in enumerate(self.code):
            if token.text in _OPENING:
                open_brackets.append(position)
            elif token.text in _OPENING.values():
                if not open_brackets or _OPENING[self.code[open_brackets[-1]].text] != token.text:
                    raise SourceError(
                        f"{self.path}:{token.line}: '{token.text}' closes nothing that is open"
                    )
                opening = open_brackets.pop()
                partner[opening], partner[position] = position, opening
        if open_brackets:
            token = self.code[open_brackets[-1]]
            raise SourceError(f"{self.path}:{token.line}: '{token.text}' is never closed")
        return partner

    def skip_angles(self, position: int) -> int:
        """The position after the `>` that closes the `<` at `position`."""
        depth = 0
        while position < len(self.code):
            text = self.code[position].text
            if text in ("(", "[", "{"):
                position = self.partner[position]
            depth += (text == "<") - (text == ">")
            position += 1
            if depth == 0:
                return position
            if text == ";":
                break
        raise SourceError(
            f"{self.path}:{self.code[position - 1].line}: '<' of a template is never closed"
        )

    def is_attribute(self, position: int) -> bool:
        """Whether `[[` starts here."""
        return (
            self.code[position].text == "["
            and position + 1 < len(self.code)
            and self.code[position + 1].text == "["
            and self.partner[position] == self.partner[position + 1] + 1
        )

    def attributes(self, start: int, end: int) -> Iterator[tuple[int, list[Attribute]]]:
        """Every `[[...]]` between two positions: where it starts and what it says."""
        position = start
        while position < end:
            if self.is_attribute(position):
                close = self.partner[position + 1]
                yield (
                    position,
                    [self._attribute(*piece) for piece in self.split(position + 2, close)],
                )
                position = self.partner[position]
            position += 1

    def _attribute(self, start: int, end: int) -> Attribute:
        opening = next((i for i in range(start, end) if self.code[i].text == "("), end)
        arguments = self.code[opening + 1 : self.partner[opening]] if opening < end else None
        return Attribute(
            name="".join(token.text for token in self.code[start:opening]),
            arguments=None if arguments is None else spelled(arguments),
            line=self.code[start].line,
        )

    def split(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The pieces between commas that are in no bracket and no template's angles."""
        first, position = start, start
        while position < end:
            text = self.code[position].text
            if text in _OPENING:
                position = self.partner[position]
            elif text == "<" and self._opens_template(position):
                position = self.skip_angles(position) - 1
            elif text == ",":
                yield first, position
                first = position + 1
            position += 1
        if first < end:
            yield first, end

    def _opens_template(self, position: int) -> bool:
        """Whether `<` is a template's: it follows a word, and a `>` closes it before the statement
        ends."""
        if position == 0 or self.code[position - 1].kind != WORD:
            return False
        try:
            after = self.skip_angles(position)
        except SourceError:
            return False
        return all(token.text not in ("&&", "||", "{") for token in self.code[position:after])

    def _read_scope(self, position: int, end: int, scope: str) -> None:
        """Reads the declarations of a file, a namespace or a struct."""
        while position < end:
            text = self.code[position].text
            if text in (";", "}"):
                position += 1
            elif text in ("public", "private", "protected") and self.code[position + 1].text == ":":
                position += 2
            else:
                position = self._read_declaration(position, end, scope)

    def _read_declaration(self, start: int, end: int, scope: str) -> int:
        """Reads one declaration or definition and returns the position after it."""
        template: list[Token] | None = None
        position = start
        explicit_instantiation = False
        while position < end and self.code[position].text == "template":
            if self.code[position + 1].text == "<":
                after = self.skip_angles(position + 1)
                template = self.code[position + 2 : after - 1]
                position = after
            else:
                explicit_instantiation = True
                position += 1
        first = position
        found_attributes: list[Attribute] = []
        plain: list[Token] = []  # without attributes
        parameters: int | None = (
            None  # position of the parenthesis that may open a function's parameters
        )
        initialized = False
        while position < end:
            token = self.code[position]
            if self.is_attribute(position):
                found_attributes += next(self.attributes(position, end))[1]
                position = self.partner[position] + 1
                continue
            if token.text == ";":
                break
            if (
                token.text == "("
                and parameters is None
                and self._may_name_function(position, first)
            ):
                parameters = position
            if token.text == "{":
                if plain and plain[0].text == "namespace":
                    self._read_scope(position + 1, self.partner[position], scope)
                    return self.partner[position] + 1
                if plain and plain[0].text == "extern":
                    self._read_scope(position + 1, self.partner[position], scope)
                    return self.partner[position] + 1
                is_struct = (
                    any(word.text in ("struct", "class", "union") for word in plain)
                    and parameters is None
                )
                if is_struct and not initialized:
                    self.struct_heads.append(plain)
                    name = next(
                        (
                            word.text
                            for word in plain[1:]
                            if word.kind == WORD and word.text != "alignas"
                        ),
                        "",
                    )
                    self._read_scope(position + 1, self.partner[position], name)
                elif parameters is not None and not initialized:
                    return self._read_function(
                        first, parameters, position, template, found_attributes, scope
                    )
                position = self.partner[position] + 1
                continue
            if token.text in ("(", "["):
                close = self.partner[position]
                plain += self.code[position : close + 1]
                position = close + 1
                continue
            initialized = initialized or (
                token.text == "=" and not any(word.text == "operator" for word in plain)
            )
            plain.append(token)
            position += 1
        if plain:
            self.declarations.append(
                Declaration(plain, found_attributes, scope, explicit_instantiation)
            )
        return position + 1

    def _may_name_function(self, opening: int, first: int) -> bool:
        if opening == first:
            return False
        before = self.code[opening - 1]
        if any(token.text == "operator" for token in self.code[max(first, opening - 3) : opening]):
            return True
        return before.kind == WORD and before.text not in _NOT_A_NAME

    def _read_function(
        self,
        first: int,
        opening: int,
        body: int,
        template: list[Token] | None,
        attributes: list[Attribute],
        scope: str,
    ) -> int:
        operator = next((i for i in range(first, opening) if self.code[i].text == "operator"), None)
        name_at = opening - 1 if operator is None else operator
        self.functions.append(
            Function(
                name="".join(token.text for token in self.code[name_at:opening]),
                line=self.code[name_at].line,
                template=template,
                head=self._without_attributes(first, name_at),
                attributes=attributes,
                parameters=[
                    self._parameter(*piece)
                    for piece in self.split(opening + 1, self.partner[opening])
                ],
                body=(body, self.partner[body]),
                scope=scope,
            )
        )
        return self.partner[body] + 1

    def _without_attributes(self, start: int, end: int) -> list[Token]:
        kept: list[Token] = []
        position = start
        while position < end:
            if self.is_attribute(position):
                position = self.partner[position]
            else:
                kept.append(self.code[position])
            position += 1
        return kept

    def _parameter(self, start: int, end: int) -> Parameter:
        attributes: list[Attribute] = []
        kept: list[int] = []
        position = start
        while position < end and self.code[position].text != "=":
            if self.is_attribute(position):
                attributes += next(self.attributes(position, end))[1]
                position = self.partner[position] + 1
            else:
                kept.append(position)
                position += 1
        name_at = self._declared_name(kept)
        return Parameter(
            name="" if name_at is None else self.code[name_at].text,
            type=[self.code[i] for i in kept if i != name_at],
            attributes=attributes,
            line=self.code[start].line,
        )

    def _declared_name(self, positions: list[int]) -> int | None:
        """The position of the name that a parameter declares: the last word, unless it is the type
        itself."""
        words = [i for i in positions if self.code[i].kind == WORD]
        outside = [i for i in words if not self._within_square_brackets(i, positions)]
        if not outside:
            return None
        last = outside[-1]
        before = self.code[last - 1].text if last > positions[0] else ""
        qualifiers = ADDRESS_SPACES | {
            "const",
            "volatile",
            "",
            "::",
            "<",
            ",",
            "typename",
            "unsigned",
            "signed",
        }
        return None if before in qualifiers else last

    def _within_square_brackets(self, position: int, positions: list[int]) -> bool:
        return any(self.code[i].text == "[" and i < position < self.partner[i] for i in positions)

    def threadgroup_variables(self, function: Function) -> Iterator[ThreadgroupVariable]:
        """What a function's body declares in threadgroup memory; pointers and references to it are
        not meant."""
        start, end = function.body
        position, depth = start, 0
        while position < end:
            token = self.code[position]
            depth += (token.text == "{") - (token.text == "}")
            at_statement = self.code[position - 1].text in ("{", "}", ";", "static")
            if token.text == "threadgroup" and at_statement:
                semicolon = next(
                    i for i in range(position, end + 1) if self.code[i].text in (";", "}")
                )
                declared = self.code[position:semicolon]
                pointer = any(part.text in ("*", "&") for part in self._before_extents(declared))
                if not pointer:
                    yield from self._threadgroup_declarators(position, semicolon, depth == 1)
                position = semicolon
            position += 1

    @staticmethod
    def _before_extents(declared: list[Token]) -> list[Token]:
        """The part of a declaration before its first array bracket or initializer."""
        for index, token in enumerate(declared):
            if token.text in ("[", "="):
                return declared[:index]
        return declared

    def _threadgroup_declarators(
        self, start: int, semicolon: int, outermost: bool
    ) -> Iterator[ThreadgroupVariable]:
        type_tokens: list[Token] | None = None
        for first, last in self.split(start + 1, semicolon):
            equals = next((i for i in range(first, last) if self.code[i].text == "="), last)
            extents = next((i for i in range(first, equals) if self.code[i].text == "["), equals)
            name = self.code[extents - 1]
            if type_tokens is None:
                type_tokens = self.code[first : extents - 1]
            yield ThreadgroupVariable(
                name=name.text,
                type=type_tokens,
                extents=self.code[extents:equals],
                start=start,
                end=semicolon,
                outermost=outermost,
                initialized=equals < last,
            )


def spelled(tokens: list[Token]) -> str:
    """Tokens as text, with single spaces where words or numbers would otherwise run together."""
    result = ""
    for token in tokens:
        joins = (
            token.kind in (WORD, NUMBER, STRING)
            and result
            and (result[-1].isalnum() or result[-1] in "_*&>,")
        )
        result += " " + token.text if joins else token.text
    return result


def read_outlines(path: Path) -> list[Outline]:
    """A file and everything that it includes in quotes, each once, included files first."""
    outlines: dict[Path, Outline] = {}

    def visit(file: Path, wanted_by: str) -> None:
        file = file.resolve()
        if file in outlines:
            return
        if not file.is_file():
            raise SourceError(
                f"{wanted_by}: the included file {file.name} does not exist beside it"
            )
        outline = Outline(file, file.read_text())
        outlines[file] = outline  # before its includes, so that a circle of includes ends
        for line, name in outline.includes:
            visit(file.parent / name, f"{file}:{line}")
        outlines[file] = outlines.pop(file)  # moves it behind what it includes

    visit(path, str(path))
    return list(outlines.values())
