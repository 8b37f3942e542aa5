"""Rules about the language: what Metal 3.0 has not, although C++ has it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from metal_host.dialect_source import VECTOR_TYPES
from metal_host.findings import Finding
from metal_host.lint_source import Sources
from metal_host.syntax import ADDRESS_SPACES, spelled
from metal_host.tokens import NUMBER, WORD

_FORBIDDEN = {
    "double": "Metal has no double: use float",
    "virtual": "Metal has no virtual functions",
    "new": "Metal has no memory to allocate",
    "delete": "Metal has no memory to allocate",
    "throw": "Metal has no exceptions",
    "try": "Metal has no exceptions",
    "catch": "Metal has no exceptions",
    "noexcept": "Metal has no exceptions, and no noexcept",
    "goto": "Metal has no goto",
    "dynamic_cast": "Metal has no type information at run time",
    "typeid": "Metal has no type information at run time",
    "thread_local": "Metal has none: a variable in a function is the thread's own",
    "register": "Metal has no register variables",
    "wchar_t": "Metal has no wide characters",
    "concept": "Metal 3 is C++ 14: no concepts",
    "requires": "Metal 3 is C++ 14: no concepts; use metal::enable_if_t",
    "consteval": "Metal 3 is C++ 14",
    "constinit": "Metal 3 is C++ 14",
    "char8_t": "Metal 3 is C++ 14",
    "co_await": "Metal 3 is C++ 14",
    "co_return": "Metal 3 is C++ 14",
    "co_yield": "Metal 3 is C++ 14",
    "asm": "Metal has no inline assembly",
}

# Names that came after Metal 3.0, and when.
_NEWER = {
    **dict.fromkeys(("bfloat", "bfloat2", "bfloat3", "bfloat4", "simdgroup_bfloat8x8"), "3.1"),
    **dict.fromkeys(
        ("memory_order_seq_cst", "memory_order_acquire", "memory_order_release"), "3.2"
    ),
    **dict.fromkeys(("atomic_thread_fence", "thread_scope_device", "coherent"), "3.2"),
}

# Words that mean something in Metal wherever they stand, so nothing can be called by them.
RESERVED = (
    ADDRESS_SPACES
    | VECTOR_TYPES
    | {f"packed_{name}" for name in VECTOR_TYPES}
    | {"kernel", "vertex", "fragment", "ray_data", "object_data"}
    | {"half", "bfloat", "uchar", "ushort", "uint", "ulong", "size_t", "ptrdiff_t", "sampler"}
    | {"int8_t", "int16_t", "int32_t", "int64_t", "uint8_t", "uint16_t", "uint32_t", "uint64_t"}
    | {
        f"texture{kind}"
        for kind in (
            "1d",
            "2d",
            "3d",
            "cube",
            "_buffer",
            "1d_array",
            "2d_array",
            "2d_ms",
            "cube_array",
        )
    }
    | {f"depth{kind}" for kind in ("2d", "2d_array", "2d_ms", "cube", "cube_array")}
    | {"atomic_int", "atomic_uint", "atomic_bool", "atomic_float", "atomic_ulong"}
    | {
        f"{kind}{columns}x{rows}"
        for kind in ("half", "float")
        for columns in (2, 3, 4)
        for rows in (2, 3, 4)
    }
    | {"as_type", "is_function_constant_defined"}
)

# Words after which a type is no name that is being declared.
_TYPE_QUALIFIERS = ADDRESS_SPACES | frozenset(
    [
        "const",
        "volatile",
        "constexpr",
        "static",
        "inline",
        "return",
        "typename",
        "operator",
        "unsigned",
        "signed",
        "kernel",
        "else",
        "extern",
        "sizeof",
        "case",
        "template",
        "class",
        "long",
    ]
)


def double_literal(sources: Sources) -> Iterator[Finding]:
    """A floating-point literal needs the suffix f or h.

    Compiled as C++ on the host, 1.0 is a double and draws the arithmetic around it into double
    precision: results that no GPU gives. Macros count, too.
    """
    for token in sources.meaningful:
        text = token.text.lower()
        if token.kind != NUMBER:
            continue
        is_float = "p" in text if text.startswith("0x") else any(mark in text for mark in ".e")
        if is_float and text[-1] not in "fh":
            yield sources.finding(
                token.line,
                "double_literal",
                f"{text} is a double: Metal has none; write {text}f, or {text}h for half",
            )


def forbidden_word(sources: Sources) -> Iterator[Finding]:
    """Words of C++ that Metal's specification excludes (section 1.4.4), or that came after C++ 14.

    Apple's compiler refuses most of them; clang for OpenCL takes some.
    """
    tokens = sources.meaningful
    for previous, token in zip([None, *tokens], tokens, strict=False):
        if token.kind != WORD or token.text not in _FORBIDDEN:
            continue
        if token.text == "delete" and previous is not None and previous.text == "=":
            continue
        yield sources.finding(
            token.line, "forbidden_word", f"'{token.text}': {_FORBIDDEN[token.text]}"
        )
    for token, following in itertools.pairwise(tokens):
        if token.text == "std" and following.text == "::":
            text = "'std::': Metal has no C++ standard library; its own names are in metal::"
            yield sources.finding(token.line, "forbidden_word", text)
        literal = token.kind == NUMBER and re.search(r"(?i)ll(u?)$|ull$", token.text)
        if literal or (token.text == "long" and following.text == "long"):
            text = (
                f"'{token.text if literal else 'long long'}': Metal has no long long; long has 64 "
                "bits"
            )
            yield sources.finding(token.line, "forbidden_word", text)


def lambda_expression(sources: Sources) -> Iterator[Finding]:
    """No lambda expressions: Metal has them since version 3.2 only."""
    outline = sources.main
    code = outline.code
    for position, token in enumerate(code):
        if token.text != "[" or position == 0 or outline.is_attribute(position):
            continue
        before = code[position - 1].text
        closing = outline.partner[position]
        after = code[closing + 1].text if closing + 1 < len(code) else ""
        if before in ("=", "(", ",", "return", "{", ";", "}", "&&", "||", "?", ":") and after in (
            "(",
            "{",
        ):
            yield sources.finding(
                token.line, "lambda_expression", "a lambda expression: Metal has none before 3.2"
            )


def inheritance(sources: Sources) -> Iterator[Finding]:
    """No base classes: the specification excludes them."""
    for head in sources.main.struct_heads:
        if any(token.text == ":" for token in head):
            text = (
                f"'{spelled(head)}': Metal's specification excludes derived classes; hold the "
                "base as a member"
            )
            yield sources.finding(head[0].line, "inheritance", text)


def static_local(sources: Sources) -> Iterator[Finding]:
    """No static variables in functions: Metal refuses them, and on the host all threads would share
    them."""
    for function in sources.main.functions:
        for token in sources.main.code[slice(*function.body)]:
            if token.text == "static":
                text = (
                    f"a static variable in {function.name}: Metal has none; a table is a constant "
                    "at program scope"
                )
                yield sources.finding(token.line, "static_local", text)


def newer_language(sources: Sources) -> Iterator[Finding]:
    """Names that came after Metal 3.0 only between #if lines that ask __METAL_VERSION__ or
    __HAVE_BFLOAT__.

    The kernels have to compile on macOS 13, and on M1 and M2, which have no bfloat arithmetic.
    """
    for token in sources.main.code:
        if token.text not in _NEWER:
            continue
        guard = sources.guards[token.offset]
        if "__METAL_VERSION__" not in guard and "__HAVE_BFLOAT__" not in guard:
            text = (
                f"'{token.text}' came with Metal {_NEWER[token.text]}: put it between #if "
                "__METAL_VERSION__ >= ..."
            )
            yield sources.finding(token.line, "newer_language", text)


def reserved_name(sources: Sources) -> Iterator[Finding]:
    """Nothing is called by a word that Metal reserves: `half`, `device`, `fragment`, `sampler`,
    `thread`.

    On the host, most of them are ordinary words, so the mistake would be met on a Mac.
    """
    code = sources.main.code
    for previous, token, following in zip(code, code[1:], code[2:], strict=False):
        if token.text not in RESERVED or following.text not in (
            "=",
            ";",
            ",",
            ")",
            "[",
            "{",
            ":",
            "(",
        ):
            continue
        after_type = previous.kind == WORD and previous.text not in _TYPE_QUALIFIERS
        after_mark = previous.text in ("*", "&", ">") and following.text != "("
        if after_type or after_mark:
            text = (
                f"'{token.text}' is a word of Metal's: a variable, function or type needs another "
                "name"
            )
            yield sources.finding(token.line, "reserved_name", text)


def recursion(sources: Sources) -> Iterator[Finding]:
    """No function may call itself, not even by way of others: the GPU has no stack for it.

    Functions are told apart by name and number of parameters, so a template that calls a smaller
    instance of itself is reported, too: write a loop.
    """
    callees: dict[tuple[str, int], set[tuple[str, int]]] = {}
    lines: dict[tuple[str, int], int] = {}
    for outline in sources.outlines:
        for function in outline.functions:
            key = (function.name, len(function.parameters))
            calls = {
                (call.name, len(call.arguments))
                for call in sources.calls(outline, function)
                if not call.qualified
            }
            callees.setdefault(key, set()).update(calls)
            if outline is sources.main:
                lines[key] = function.line
    for key, line in lines.items():
        circle = _circle(key, callees)
        if circle:
            text = (
                f"{key[0]} calls itself ({' -> '.join(name for name, _ in circle)}): Metal has no "
                "recursion; write a loop"
            )
            yield sources.finding(line, "recursion", text)


def _circle(
    start: tuple[str, int], callees: dict[tuple[str, int], set[tuple[str, int]]]
) -> list[tuple[str, int]]:
    """A way from a function back to itself, or nothing."""
    paths = [[start]]
    seen = set()
    while paths:
        path = paths.pop()
        for callee in sorted(callees.get(path[-1], ())):
            if callee == start:
                return [*path, callee]
            if callee in callees and callee not in seen:
                seen.add(callee)
                paths.append([*path, callee])
    return []


def overload_on_address_space(sources: Sources) -> Iterator[Finding]:
    """No two functions may differ by address spaces alone.

    Metal allows it; on the host, where address spaces mean nothing, they would be one function,
    defined twice.
    """
    seen: dict[str, int] = {}
    for function in sources.main.functions:
        parameters = [
            spelled([token for token in parameter.type if token.text not in ADDRESS_SPACES])
            for parameter in function.parameters
        ]
        name = f"{function.scope}::{function.name}"
        signature = f"{name}({', '.join(parameters)}) {spelled(function.template or [])}"
        if signature in seen:
            text = (
                f"{function.name} differs from the one in line {seen[signature]} by address "
                "spaces alone: rename it"
            )
            yield sources.finding(function.line, "overload_on_address_space", text)
        seen.setdefault(signature, function.line)


def system_include(sources: Sources) -> Iterator[Finding]:
    """Of system headers, only Metal's own, unless __METAL_VERSION__ excludes them from Metal; and
    metal_stdlib first."""
    found = False
    for line_number, line in enumerate(sources.main.text.splitlines(), 1):
        match = re.match(r"\s*#\s*include\s*<([^>]+)>", line)
        if match is None:
            continue
        found = found or match[1] == "metal_stdlib"
        offset = sum(len(part) + 1 for part in sources.main.text.split("\n")[: line_number - 1])
        offsets = [at for at in sources.guards if at <= offset + line.index("#")]
        guard = sources.guards[offsets[-1]] if offsets else ""
        if not match[1].startswith("metal_") and "__METAL_VERSION__" not in guard:
            text = f"<{match[1]}> is not one of Metal's headers"
            yield sources.finding(line_number, "system_include", text)
    if not found and sources.path.suffix == ".metal":
        yield sources.finding(1, "system_include", "a kernel's file must include <metal_stdlib>")


RULES = (
    double_literal,
    forbidden_word,
    lambda_expression,
    inheritance,
    static_local,
    newer_language,
    reserved_name,
    recursion,
    overload_on_address_space,
    system_include,
)
