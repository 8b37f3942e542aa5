"""Which values differ between the threads of a simdgroup, and between simdgroups: followed through
a kernel's text.

A heuristic over names, without types. A value is as divergent as everything that it is made of;
what an assignment below a divergent condition leaves is divergent, too; a simdgroup's reduction
makes its result the same in all lanes. Calls are followed into the functions of the file and of
what it includes, with the arguments of that call. Of a structure, all members are taken for equally
divergent, save that members called lane, simdgroup or num_... are what they are called. What memory
holds is taken for the same whoever reads it: only the address makes it differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from metal_host.syntax import ADDRESS_SPACES, Function, Outline
from metal_host.tokens import WORD

# Bits: differs between the lanes of a simdgroup; differs between the simdgroups of a threadgroup.
UNIFORM, LANES, SIMDGROUPS = 0, 1, 2

DIVERGENT_ATTRIBUTES = {
    "thread_position_in_grid": LANES | SIMDGROUPS,
    "thread_position_in_threadgroup": LANES | SIMDGROUPS,
    "thread_index_in_threadgroup": LANES | SIMDGROUPS,
    "thread_index_in_simdgroup": LANES,
    "thread_index_in_quadgroup": LANES,
    "simdgroup_index_in_threadgroup": SIMDGROUPS,
    "quadgroup_index_in_threadgroup": LANES | SIMDGROUPS,
}

# The same in every lane, whatever went in.
_REDUCTIONS = frozenset(
    f"simd_{name}"
    for name in [
        "sum",
        "product",
        "min",
        "max",
        "and",
        "or",
        "xor",
        "all",
        "any",
        "ballot",
        "broadcast",
        "broadcast_first",
        "active_threads_mask",
    ]
)
_EXCHANGES = frozenset(
    f"simd_{name}"
    for name in [
        "shuffle",
        "shuffle_xor",
        "shuffle_up",
        "shuffle_down",
        "shuffle_rotate_up",
        "shuffle_rotate_down",
        "shuffle_and_fill_up",
        "shuffle_and_fill_down",
        "is_first",
        "prefix_inclusive_sum",
        "prefix_exclusive_sum",
        "prefix_inclusive_product",
        "prefix_exclusive_product",
    ]
)
_MATRIX_OPERATIONS = frozenset(
    {
        "simdgroup_load",
        "simdgroup_store",
        "simdgroup_multiply",
        "simdgroup_multiply_accumulate",
        "simdgroup_barrier",
    }
)
SIMDGROUP_OPERATIONS = _REDUCTIONS | _EXCHANGES | _MATRIX_OPERATIONS
BARRIER = "threadgroup_barrier"

_ASSIGNMENTS = frozenset({"=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">="})
_NOT_A_TYPE = frozenset({"return", "else", "case", "delete", "new"})


@dataclass(frozen=True)
class Divergence:
    """An operation that not all threads which it needs can be seen to reach."""

    outline: Outline
    function: Function
    position: int  # of the operation's name
    name: str
    kind: int  # the bits of the condition


@dataclass
class _Summary:
    """What a call of a function does."""

    result: int
    written: list[int]  # how divergent what each parameter refers to is at the end


@dataclass
class Program:
    """The functions of a file and of what it includes."""

    functions: list[tuple[Outline, Function]]
    found: set[tuple[int, int]] = field(default_factory=set)
    divergences: list[Divergence] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._by_key: dict[tuple[str, int], list[tuple[Outline, Function]]] = {}
        for outline, function in self.functions:
            self._by_key.setdefault((function.name, len(function.parameters)), []).append(
                (outline, function)
            )
        self._summaries: dict[tuple[int, tuple[int, ...], int], _Summary] = {}

    def analyse(self) -> list[Divergence]:
        """All divergences, starting from the kernels."""
        for outline, function in self.functions:
            if function.is_kernel:
                levels = tuple(
                    max(
                        (
                            DIVERGENT_ATTRIBUTES.get(own.name, UNIFORM)
                            for own in parameter.attributes
                        ),
                        default=UNIFORM,
                    )
                    for parameter in function.parameters
                )
                self._summary(outline, function, levels, UNIFORM)
        return self.divergences

    def call(self, name: str, levels: tuple[int, ...], context: int) -> _Summary | None:
        """What a call does, if the function is known: of several, all of it together."""
        summaries = [
            self._summary(outline, function, levels, context)
            for outline, function in self._by_key.get((name, len(levels)), ())
        ]
        if not summaries:
            return None
        result = UNIFORM
        written = [UNIFORM] * len(levels)
        for summary in summaries:
            result |= summary.result
            written = [a | b for a, b in zip(written, summary.written, strict=True)]
        return _Summary(result, written)

    def _summary(
        self, outline: Outline, function: Function, levels: tuple[int, ...], context: int
    ) -> _Summary:
        key = (id(function), levels, context)
        if key not in self._summaries:
            self._summaries[key] = _Summary(
                UNIFORM, [UNIFORM] * len(levels)
            )  # for a function that calls itself
            reader = _Reader(self, outline, function, levels)
            reader.statements(function.body[0] + 1, function.body[1], context)
            written = [
                reader.levels.get(parameter.name, UNIFORM)
                if parameter.address_space == "thread"
                and any(token.text in ("*", "&") for token in parameter.type)
                else UNIFORM
                for parameter in function.parameters
            ]
            self._summaries[key] = _Summary(reader.result, written)
        return self._summaries[key]

    def report(self, outline: Outline, function: Function, position: int, kind: int) -> None:
        """Notes an operation, once."""
        if (id(outline), position) not in self.found:
            self.found.add((id(outline), position))
            name = outline.code[position].text
            self.divergences.append(Divergence(outline, function, position, name, kind))


@dataclass
class _Loop:
    """Below which conditions threads have left a loop, and this round of it."""

    left: int = UNIFORM
    continued: int = UNIFORM


class _Reader:
    """Reads the statements of one function in order."""

    def __init__(
        self, program: Program, outline: Outline, function: Function, levels: tuple[int, ...]
    ) -> None:
        self.program = program
        self.outline = outline
        self.code = outline.code
        self.function = function
        self.levels = {
            parameter.name: level
            for parameter, level in zip(function.parameters, levels, strict=True)
        }  # by name of variable
        self.pointers = {p.name for p in function.parameters if _points_to_memory(p.type_text, "*")}
        self.references = {
            p.name for p in function.parameters if _points_to_memory(p.type_text, "&")
        }
        self.result = UNIFORM
        self.returned = UNIFORM  # below which condition threads have returned
        self.loops: list[_Loop] = []  # those that are open

    def statements(self, position: int, end: int, context: int) -> None:
        """Reads statements up to a position."""
        while position < end:
            position = self.statement(position, end, context)

    def statement(self, position: int, end: int, context: int) -> int:
        """Reads one statement and returns the position after it."""
        context |= self.returned
        for loop in self.loops:
            context |= loop.left | loop.continued
        text = self.code[position].text
        if text == "{":
            closing = self.outline.partner[position]
            self.statements(position + 1, closing, context)
            return closing + 1
        if text == ";":
            return position + 1
        if text == "if":
            return self._if(position, end, context)
        if text in ("for", "while", "switch"):
            return self._loop(position, end, context)
        if text == "do":
            return self._do(position, end, context)
        if text in ("case", "default"):
            return next(i for i in range(position, end) if self.code[i].text == ":") + 1
        semicolon = self._semicolon(position, end)
        if text == "return":
            self.result |= self.expression(position + 1, semicolon, context) | context
            if semicolon + 1 < self.function.body[1]:
                self.returned |= context
        elif text in ("break", "continue"):
            if self.loops and text == "break":
                self.loops[-1].left |= context
            elif self.loops:
                self.loops[-1].continued |= context
        else:
            self._simple(position, semicolon, context)
        return semicolon + 1

    def _semicolon(self, position: int, end: int) -> int:
        while position < end and self.code[position].text != ";":
            if self.code[position].text in ("(", "[", "{"):
                position = self.outline.partner[position]
            position += 1
        return position

    def _if(self, position: int, end: int, context: int) -> int:
        opening = position + (2 if self.code[position + 1].text == "constexpr" else 1)
        closing = self.outline.partner[opening]
        inner = context | self.expression(opening + 1, closing, context)
        before = dict(self.levels)
        after = self.statement(closing + 1, end, inner)
        taken, self.levels = self.levels, before
        if after < end and self.code[after].text == "else":
            after = self.statement(after + 1, end, inner)
        self._join(taken)
        return after

    def _join(self, other: dict[str, int]) -> None:
        """What is known where two ways meet."""
        for name, level in other.items():
            self.levels[name] = self.levels.get(name, UNIFORM) | level

    def _loop(self, position: int, end: int, context: int) -> int:
        opening = position + 1
        closing = self.outline.partner[opening]
        parts = list(self._parts(opening + 1, closing))
        if len(parts) == 3:
            self._simple(*parts[0], context)
        condition = parts[1] if len(parts) == 3 else parts[0]
        self.loops.append(_Loop())
        after = end
        for _ in range(2):  # what the end of the body assigns, its beginning reads
            before = dict(self.levels)
            self.loops[-1].continued = UNIFORM
            inner = context | self.expression(*condition, context)
            after = self.statement(closing + 1, end, inner)
            if len(parts) == 3:
                self._simple(*parts[2], inner | self.loops[-1].left)
            self._join(before)
        self.loops.pop()
        return after

    def _do(self, position: int, end: int, context: int) -> int:
        self.loops.append(_Loop())
        closing = position
        inner = context
        for _ in range(2):
            self.loops[-1].continued = UNIFORM
            after = self.statement(position + 1, end, inner)
            closing = self.outline.partner[after + 1]
            inner = context | self.expression(after + 2, closing, context)
        self.loops.pop()
        return closing + 2

    def _parts(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """What stands between the semicolons of a for."""
        first, position = start, start
        while position < end:
            if self.code[position].text in ("(", "[", "{"):
                position = self.outline.partner[position]
            elif self.code[position].text == ";":
                yield first, position
                first = position + 1
            position += 1
        yield first, end

    def _simple(self, start: int, end: int, context: int) -> None:
        """A declaration, an assignment or a call."""
        declaration = self._is_declaration(start, end)
        for first, last in self.outline.split(start, end):
            equals = next((i for i in range(first, last) if self._assigns(i, first)), last)
            level = self.expression(equals + 1, last, context) | context
            target = self._target(first, equals)
            whole = (
                target == first
                and target + 1 == equals
                and equals < last
                and self.code[equals].text == "="
            )
            if not declaration and not whole:
                level |= self.expression(first, equals, context)
            if target is None:
                continue
            name = self.code[target].text
            if declaration:
                self._declare(start, target, name)
                constructed = [
                    i for i in range(target + 1, equals) if self.code[i].text in ("(", "{")
                ]
                for opening in constructed:
                    level |= self.expression(opening + 1, self.outline.partner[opening], context)
                self.levels[name] = level if equals < last or constructed else UNIFORM
            elif equals < last or self._steps(first, last):
                element = target + 1 < equals and self.code[target + 1].text in ("[", "->")
                dereferenced = self.code[first].text == "*"
                in_memory = name in self.references or (
                    name in self.pointers and (element or dereferenced)
                )
                if not in_memory:
                    self.levels[name] = level if whole else self.levels.get(name, UNIFORM) | level

    def _is_declaration(self, start: int, end: int) -> bool:
        """Whether a type stands before the first name: two words in a row, or a word and `*`, `&`
        or `>` and a word."""
        position = start
        while position < end and self.code[position].text in ADDRESS_SPACES | {
            "const",
            "constexpr",
            "volatile",
        }:
            return True
        if (
            position + 1 >= end
            or self.code[position].kind != WORD
            or self.code[position].text in _NOT_A_TYPE
        ):
            return False
        position += 1
        while position + 1 < end and self.code[position].text == "::":
            position += 2
        if self.code[position].text == "<":
            depth = 0
            while position < end:
                depth += (self.code[position].text == "<") - (self.code[position].text == ">")
                position += 1
                if depth == 0:
                    break
        while position < end and self.code[position].text in ("*", "&", "const"):
            position += 1
        return position < end and self.code[position].kind == WORD

    def _declare(self, start: int, target: int, name: str) -> None:
        """Notes whether a name that is declared here stands for memory that threads share."""
        words = "".join(f" {token.text}" for token in self.code[start:target])
        for names, mark in ((self.pointers, "*"), (self.references, "&")):
            if _points_to_memory(words, mark):
                names.add(name)
            else:
                names.discard(name)
        if "threadgroup" in words and "*" not in words and "&" not in words:
            self.pointers.add(name)  # an array in threadgroup memory
            if self.code[target + 1].text != "[":
                self.references.add(name)

    def _assigns(self, position: int, first: int) -> bool:
        text = self.code[position].text
        if text == ">=":  # of >>=, which is two tokens
            return self.code[position - 1].text == ">" and position > first
        return text in _ASSIGNMENTS

    def _steps(self, first: int, last: int) -> bool:
        return any(self.code[i].text in ("++", "--") for i in range(first, last))

    def _target(self, first: int, end: int) -> int | None:
        """The variable that is declared or assigned to: the last word before an element, a member
        or the end."""
        words: list[int] = []
        position = first
        while position < end:
            text = self.code[position].text
            if text == "<" and words and self._closing_angle(position, end) is not None:
                position = self._closing_angle(position, end) or position
            elif text == "(" and not words:
                position += 1
                continue
            elif text in ("[", "(", "{", ".", "->", ")") and words:
                break
            elif self.code[position].kind == WORD:
                words.append(position)
            position += 1
        return words[-1] if words else None

    def _closing_angle(self, position: int, end: int) -> int | None:
        depth = 0
        for index in range(position, end):
            depth += (self.code[index].text == "<") - (self.code[index].text == ">")
            if depth == 0:
                return index
            if self.code[index].text in (";", "&&", "||", "?"):
                return None
        return None

    def expression(self, start: int, end: int, context: int) -> int:
        """How much the value of an expression differs; notes what it calls where that must not be
        called."""
        level = UNIFORM
        position = start
        while position < end:
            token = self.code[position]
            opening = self._call(position, end)
            if opening is not None:
                closing = self.outline.partner[opening]
                level |= self._call_level(position, opening, closing, context)
                position = closing + 1
                continue
            if token.text in ("[", "(", "{"):
                closing = self.outline.partner[position]
                level |= self.expression(position + 1, closing, context)
                position = closing + 1
                continue
            if token.kind == WORD and (
                position == start or self.code[position - 1].text not in (".", "->", "::")
            ):
                level |= self._value(position, end)
            if token.text in ("&&", "||", "?"):
                context |= level  # what follows is evaluated where this lets it
            position += 1
        return level

    def _value(self, position: int, end: int) -> int:
        """A variable, or a member of one: see the convention about names above."""
        level = self.levels.get(self.code[position].text, UNIFORM)
        if position + 2 < end and self.code[position + 1].text in (".", "->"):
            member = self.code[position + 2].text
            if member == "lane":
                return level & LANES
            if member == "simdgroup":
                return level & SIMDGROUPS
            if member.startswith("num_"):
                return UNIFORM
        return level

    def _call(self, position: int, end: int) -> int | None:
        """The parenthesis of a call that starts at a word, if one does."""
        if self.code[position].kind != WORD or position + 1 >= end:
            return None
        after = position + 1
        if self.code[after].text == "<":
            closing = self._closing_angle(after, end)
            if closing is None:
                return None
            after = closing + 1
        return after if after < end and self.code[after].text == "(" else None

    def _call_level(self, position: int, opening: int, closing: int, context: int) -> int:
        name = self.code[position].text
        pieces = list(self.outline.split(opening + 1, closing))
        levels = tuple(self.expression(first, last, context) for first, last in pieces)
        together = UNIFORM
        for level in levels:
            together |= level
        if name in SIMDGROUP_OPERATIONS and context & LANES:
            self.program.report(self.outline, self.function, position, context)
        if name == BARRIER and context != UNIFORM:
            self.program.report(self.outline, self.function, position, context)
        if name in _REDUCTIONS:
            return together & ~LANES
        if name in _EXCHANGES:
            return together | LANES
        summary = self.program.call(name, levels, context)
        if summary is None:
            return together
        for (first, last), level in zip(pieces, summary.written, strict=True):
            variable = last - 1  # `x` or `&x`
            if (
                self.code[variable].kind == WORD
                and variable - first <= 1
                and self.code[variable].text in self.levels
            ):
                self.levels[self.code[variable].text] |= level
        return summary.result


def _points_to_memory(type_text: str, mark: str) -> bool:
    return mark in type_text and any(
        space in type_text for space in ("device", "threadgroup", "constant")
    )
