"""Rules about address spaces that have to be written, and about threadgroup memory.

Metal wants an address space on every pointer and reference ("pointer type must have explicit
address space qualifier"). OpenCL has generic pointers, so its front end takes them.
"""

from __future__ import annotations

from collections.abc import Iterator

from metal_host.findings import Finding
from metal_host.lint_source import Sources
from metal_host.syntax import ADDRESS_SPACES, Declaration, Function, Outline, spelled
from metal_host.tokens import WORD, Token

_SAID = ADDRESS_SPACES | {
    "auto"
}  # auto takes over the address space of what it is initialised with
_STATEMENT_STARTS = frozenset({"{", "}", ";"})
_QUALIFIERS = frozenset({"const", "volatile", "constexpr", "static", "inline"})
_NO_TYPE = frozenset(
    {"return", "else", "case", "goto", "delete", "do", "break", "continue", "using", "typedef"}
)
_INDIRECT = frozenset({"*", "&", "&&"})


def missing_address_space(sources: Sources) -> Iterator[Finding]:
    """Every pointer and reference says where it points: parameters, variables, members, results,
    casts."""
    outline = sources.main
    for function in outline.functions:
        for line, what in [
            *_parameters(function),
            *_results(function),
            *_local_variables(outline, function),
            *_types_in_brackets(outline, *function.body),
        ]:
            text = (
                f"{what} in {function.name}: Metal needs device, threadgroup, constant or thread "
                "there"
            )
            yield sources.finding(line, "missing_address_space", text)
    for declaration in outline.declarations:
        if _declares_plain_pointer(declaration):
            what = f"'{spelled(declaration.tokens)}' has no address space"
            text = f"{what}: Metal needs device, threadgroup, constant or thread there"
            yield sources.finding(declaration.line, "missing_address_space", text)


def _outside_angles(tokens: list[Token]) -> list[Token]:
    depth, kept = 0, []
    for token in tokens:
        depth += (token.text == "<") - (token.text == ">")
        if depth == 0 and token.text != ">":
            kept.append(token)
    return kept


def _parameters(function: Function) -> Iterator[tuple[int, str]]:
    for parameter in function.parameters:
        tokens = _outside_angles(parameter.type)
        indirect = any(token.text in _INDIRECT or token.text == "[" for token in tokens)
        if indirect and not any(token.text in _SAID for token in tokens):
            yield (
                parameter.line,
                f"the parameter {parameter.name or parameter.type_text} has no address space",
            )


def _results(function: Function) -> Iterator[tuple[int, str]]:
    tokens = _outside_angles(function.head)
    if function.name.startswith("operator"):
        tokens = tokens[:-1] if tokens and tokens[-1].text == "operator" else tokens
    if any(token.text in _INDIRECT for token in tokens) and not any(
        token.text in _SAID for token in tokens
    ):
        yield function.line, "the result has no address space"


def _local_variables(outline: Outline, function: Function) -> Iterator[tuple[int, str]]:
    """`const float* p = ...;` at the start of a statement: a product is none, because nothing would
    use it."""
    code = outline.code
    start, end = function.body
    for position in range(start + 1, end):
        before = code[position - 1]
        starts_for = before.text == "(" and code[position - 2].text in ("for", "if", "while")
        if before.text not in _STATEMENT_STARTS and not starts_for:
            continue
        name = _plain_pointer(outline, position, end)
        if name is not None:
            yield code[position].line, f"the variable {name} has no address space"


def _plain_pointer(outline: Outline, position: int, end: int) -> str | None:
    """The name of a pointer or reference that is declared here without an address space."""
    code = outline.code
    while position < end and code[position].text in _QUALIFIERS:
        position += 1
    if code[position].kind != WORD or code[position].text in _SAID | _NO_TYPE:
        return None
    position += 1
    while position < end and (code[position].text == "::" or code[position - 1].text == "::"):
        position += 1
    if code[position].text == "<":
        closing = _closing_angle(outline, position, end)
        if closing is None:
            return None
        position = closing + 1
    seen = False
    while position < end and code[position].text in _INDIRECT | {"const", "volatile"} | _SAID:
        if code[position].text in _SAID:
            return None
        seen = seen or code[position].text in _INDIRECT
        position += 1
    if not seen or code[position].kind != WORD:
        return None
    return (
        code[position].text
        if code[position + 1].text in ("=", ";", ",", "[", "(", "{", ":")
        else None
    )


def _closing_angle(outline: Outline, position: int, end: int) -> int | None:
    depth = 0
    for index in range(position, end):
        text = outline.code[index].text
        depth += (text == "<") - (text == ">")
        if depth == 0:
            return index
        if text in (";", "{", "&&", "||"):
            return None
    return None


def _types_in_brackets(outline: Outline, start: int, end: int) -> Iterator[tuple[int, str]]:
    """Casts and template arguments: `(float*)p`, `reinterpret_cast<const uint4*>(p)`."""
    code = outline.code
    for position in range(start, end):
        if code[position].text not in ("*", "&") or code[position + 1].text not in (")", ">"):
            continue
        first = position
        while first > start and (code[first].kind == WORD or code[first].text in ("*", "&", "::")):
            first -= 1
        inside = code[first + 1 : position + 1]
        if code[first].text not in ("(", "<", ",") or len(inside) < 2 or inside[0].kind != WORD:
            continue
        if not any(token.text in _SAID for token in inside):
            yield code[position].line, f"the type '{spelled(inside)}' has no address space"


def _declares_plain_pointer(declaration: Declaration) -> bool:
    """A member, an alias or a prototype with a pointer that says nothing."""
    tokens = _outside_angles(declaration.tokens)
    if not tokens or tokens[0].text in ("enum", "static_assert", "friend"):
        return False
    initializer = next(
        (i for i, token in enumerate(tokens) if token.text == "=" and tokens[0].text != "using"),
        None,
    )
    tokens = tokens[:initializer]
    pieces: list[list[Token]] = [[]]  # of a prototype, each parameter on its own
    for token in tokens:
        if token.text in ("(", ",", ")"):
            pieces.append([])
        else:
            pieces[-1].append(token)
    return any(
        any(token.text in _INDIRECT for token in piece)
        and not any(token.text in _SAID for token in piece)
        for piece in pieces
        if not any(token.text == "operator" for token in piece)
    )


def threadgroup_scope(sources: Sources) -> Iterator[Finding]:
    """Threadgroup variables stand directly in the body of a kernel, and have no initial value.

    Metal allocates them with the threadgroup, before any thread runs: a function has none of its
    own, and nobody would write the value.
    """
    for function in sources.main.functions:
        for variable in sources.main.threadgroup_variables(function):
            line = sources.main.code[variable.start].line
            if not function.is_kernel:
                text = (
                    f"the threadgroup variable {variable.name} in {function.name}, which is no "
                    "kernel: pass a pointer"
                )
                yield sources.finding(line, "threadgroup_scope", text)
            elif not variable.outermost:
                text = (
                    f"the threadgroup variable {variable.name} in an inner block: declare it in "
                    f"{function.name}'s body"
                )
                yield sources.finding(line, "threadgroup_scope", text)
            if variable.initialized:
                text = (
                    f"the threadgroup variable {variable.name} cannot have an initial value: a "
                    "thread must write it"
                )
                yield sources.finding(line, "threadgroup_scope", text)
    for declaration in sources.main.declarations:
        tokens = declaration.tokens
        pointer = any(token.text in _INDIRECT for token in tokens)
        if (
            tokens[0].text == "threadgroup"
            and not pointer
            and not any(token.text == "(" for token in tokens)
        ):
            text = (
                f"'{spelled(tokens)}' outside of a kernel: threadgroup variables are declared in "
                "a kernel's body"
            )
            yield sources.finding(declaration.line, "threadgroup_scope", text)


def program_scope(sources: Sources) -> Iterator[Finding]:
    """Variables outside of functions are in constant memory, and say so: static members, too."""
    for declaration in sources.main.declarations:
        words = [token.text for token in declaration.tokens]
        if words[0] in (
            "using",
            "typedef",
            "static_assert",
            "enum",
            "struct",
            "class",
            "union",
            "namespace",
            "friend",
        ):
            continue
        member = declaration.scope != ""
        stored = (
            "static" in words or "constexpr" in words
            if member
            else "=" in words or "constexpr" in words
        )
        prototype = "(" in words and "=" not in words
        if (
            stored
            and not prototype
            and "constant" not in words
            and not declaration.explicit_instantiation
        ):
            text = (
                f"'{spelled(declaration.tokens)}': a variable outside of functions must be in "
                "constant memory"
            )
            yield sources.finding(declaration.line, "program_scope", text)


RULES = (missing_address_space, threadgroup_scope, program_scope)
