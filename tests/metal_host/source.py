"""A Metal source as C++: what macros cannot rewrite, and the signatures of its kernels.

Every rewriting keeps the lines where they are, so that the compiler, the sanitizers and the errors
of a launch name the lines of the .metal file:

- `threadgroup float tile[8];` in a kernel's body becomes a reference into threadgroup memory;
- `constant uint size [[function_constant(3)]];` a reference to a value that each launch sets, and a
  constant that is computed from such constants one that each launch computes;
- explicit instantiations of kernels, and attributes that C++ does not know, become blanks;
- quoted includes name the rewritten copies of the files beside the source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from metal_host.syntax import (
    Attribute,
    Declaration,
    Function,
    Outline,
    Parameter,
    SourceError,
    read_outlines,
    spelled,
)
from metal_host.tokens import STRING, WORD, Token

# Attributes of kernels' parameters, besides buffer(n) and threadgroup(n); bindings.h has them all.
POSITIONS = frozenset(
    {
        "dispatch_quadgroups_per_threadgroup",
        "dispatch_simdgroups_per_threadgroup",
        "dispatch_threads_per_threadgroup",
        "quadgroup_index_in_threadgroup",
        "quadgroups_per_threadgroup",
        "simdgroup_index_in_threadgroup",
        "simdgroups_per_threadgroup",
        "thread_execution_width",
        "thread_index_in_quadgroup",
        "thread_index_in_simdgroup",
        "thread_index_in_threadgroup",
        "thread_position_in_grid",
        "thread_position_in_threadgroup",
        "threadgroup_position_in_grid",
        "threadgroups_per_grid",
        "threads_per_grid",
        "threads_per_simdgroup",
        "threads_per_threadgroup",
    }
)

# Of C++, and of use to its compiler: these stay.
_OF_CPP = frozenset({"maybe_unused", "likely", "unlikely", "nodiscard", "fallthrough", "noreturn"})


@dataclass(frozen=True)
class KernelParameter:
    """A parameter as the source declares it: `buffer(1)`, `device const float*`, `input`."""

    attribute: str
    type: str
    name: str


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be launched."""

    name: str  # its function's, or the host_name of an instantiation
    parameters: tuple[KernelParameter, ...]
    line: int
    registration: str  # the C++ that makes it known to the launcher


@dataclass(frozen=True)
class HostSource:
    """What the compiler is given for one .metal file."""

    kernels: dict[str, Kernel]
    files: dict[str, str]  # name -> text; MAIN_FILE includes the others
    sources: tuple[Path, ...]  # the .metal file and what it includes

    MAIN_FILE = "kernels.cpp"


@dataclass(frozen=True)
class _Edit:
    start: int  # in characters
    end: int
    replacement: str


def read_source(path: Path) -> HostSource:
    """Reads a .metal file and what it includes in quotes, and rewrites all of it."""
    if not path.is_file():
        raise SourceError(f"there is no file {path}")
    outlines = read_outlines(path)
    names = {
        outline.path: HostSource.MAIN_FILE
        if outline is outlines[-1]
        else f"{i}_{outline.path.name}"
        for i, outline in enumerate(outlines)
    }
    constants = _find_launch_constants(outlines)
    kernels: dict[str, Kernel] = {}
    for outline in outlines:
        for kernel in _kernels(outline):
            if kernel.name in kernels:
                raise SourceError(
                    f"{outline.path}:{kernel.line}: there is another kernel {kernel.name} in line "
                    f"{kernels[kernel.name].line}"
                )
            kernels[kernel.name] = kernel
    files = {
        names[outline.path]: f'#line 1 "{outline.path}"\n{_rewrite(outline, constants, names)}\n'
        for outline in outlines
    }
    registrations = "".join(
        f"[[maybe_unused]] static const bool metal_host_kernel_{i} = {kernel.registration};\n"
        for i, kernel in enumerate(kernels.values())
    )
    files[HostSource.MAIN_FILE] = (
        f'#include "kernel_unit.h"\n{files[HostSource.MAIN_FILE]}'
        f'#line 1 "registration of the kernels of {path.name}"\n'
        f'#include "kernel_unit_end.h"\n{registrations}'
    )
    return HostSource(kernels, files, tuple(outline.path for outline in outlines))


# ---- Constants ---------------------------------------------------------------------------------


def _find_launch_constants(outlines: list[Outline]) -> dict[str, Declaration]:
    """Constants whose value a launch decides: function constants, and what they decide."""
    found: dict[str, Declaration] = {}
    for outline in outlines:
        for declaration in outline.declarations:
            if _function_constant(declaration) is not None:
                found[declaration.tokens[-1].text] = declaration
            elif any(token.text == "constant" for token in declaration.tokens[:3]):
                words = {token.text for token in _until_semicolon(outline, declaration)}
                if declaration.scope or not words & found.keys():
                    continue
                equals = _equals(declaration)
                name = declaration.tokens[equals - 1]
                if name.kind != WORD or equals + 1 >= len(declaration.tokens):
                    raise SourceError(
                        f"{outline.path}:{declaration.line}: a constant that depends on function "
                        "constants has to be a number, declared as `constant type name = ...;`; "
                        "compute others in the kernel"
                    )
                found[name.text] = declaration
    return found


def _function_constant(declaration: Declaration) -> Attribute | None:
    return next((a for a in declaration.attributes if a.name == "function_constant"), None)


def _until_semicolon(outline: Outline, declaration: Declaration) -> list[Token]:
    """All of a declaration, with what it has in braces."""
    start, end = declaration.tokens[0].offset, _semicolon_after(outline, declaration.tokens[-1])
    return [token for token in outline.code if start <= token.offset < end]


def _equals(declaration: Declaration) -> int:
    """Where the `=` of `constant float scale = ...` is; or the end, if there is none."""
    words = [token.text for token in declaration.tokens]
    return words.index("=") if "=" in words else len(words)


def _constant_type(declared: list[Token]) -> str:
    """The type of `constant uint2 size` or `constexpr constant uint2 size`, without the name."""
    return spelled([t for t in declared[:-1] if t.text not in ("constant", "static", "const")])


def _rewrite_constants(outline: Outline, constants: dict[str, Declaration]) -> Iterator[_Edit]:
    for declaration in outline.declarations:
        if declaration not in constants.values():
            continue
        start, end = declaration.tokens[0].offset, _semicolon_after(outline, declaration.tokens[-1])
        attribute = _function_constant(declaration)
        if attribute is not None:
            name = declaration.tokens[-1].text
            type_ = _constant_type(declaration.tokens)
            replacement = f"METAL_HOST_FUNCTION_CONSTANT({name}, {attribute.arguments}, {type_})"
            yield _Edit(start, end, replacement)
        else:
            equals = _equals(declaration)
            name = declaration.tokens[equals - 1].text
            type_ = _constant_type(declaration.tokens[:equals])
            expression = declaration.tokens[equals].offset
            yield _Edit(start, expression + 1, f"METAL_HOST_COMPUTED_CONSTANT({name}, {type_})")
            yield _Edit(end, end, f" METAL_HOST_COMPUTED_END({name}, {type_})")


def _semicolon_after(outline: Outline, token: Token) -> int:
    return next(t.offset for t in outline.code if t.offset > token.offset and t.text == ";")


# ---- Kernels -----------------------------------------------------------------------------------


def _kernels(outline: Outline) -> Iterator[Kernel]:
    templates: dict[str, Function] = {}
    for function in outline.functions:
        if not function.is_kernel:
            continue
        if _depth(outline, function.body[0]) != 0:
            raise SourceError(
                f"{outline.path}:{function.line}: kernel {function.name} is inside a namespace or "
                "struct: move it out, so that its name is its own"
            )
        if [token.text for token in function.head if token.text != "kernel"] != ["void"]:
            raise SourceError(
                f"{outline.path}:{function.line}: kernel {function.name} has to be declared as "
                f"`kernel void {function.name}(...)`"
            )
        if function.template is None:
            host_name = _host_name(function.attributes) or function.name
            yield _kernel(outline, function, host_name, function.name, function.line)
        else:
            templates[function.name] = function
    for declaration in outline.declarations:
        if _is_kernel_instantiation(declaration):
            yield _instantiation(outline, declaration, templates)


def _depth(outline: Outline, position: int) -> int:
    """How many braces are open before a position."""
    return sum(
        1
        for i, token in enumerate(outline.code[:position])
        if token.text == "{" and outline.partner[i] > position
    )


def _host_name(attributes: list[Attribute]) -> str | None:
    argument = next((a.arguments for a in attributes if a.name == "host_name"), None)
    return None if argument is None else argument.strip().strip('"')


def _is_kernel_instantiation(declaration: Declaration) -> bool:
    is_kernel = any(token.text == "kernel" for token in declaration.tokens) or any(
        attribute.name == "kernel" for attribute in declaration.attributes
    )
    return declaration.explicit_instantiation and is_kernel


def _instantiation(
    outline: Outline,
    declaration: Declaration,
    templates: dict[str, Function],
) -> Kernel:
    """`template [[host_name("f_4")]] kernel decltype(f<4>) f<4>;` or `... void f<4>(...);`."""
    where = f"{outline.path}:{declaration.line}"
    host_name = _host_name(declaration.attributes)
    if host_name is None:
        raise SourceError(
            f'{where}: an instantiation of a kernel needs [[host_name("...")]]: '
            "it has no other name that a launch could give"
        )
    tokens = declaration.tokens
    for first, token in enumerate(tokens[:-1]):
        in_decltype = first >= 2 and tokens[first - 2].text == "decltype"
        if token.text in templates and tokens[first + 1].text == "<" and not in_decltype:
            expression = spelled(tokens[first : _after_angles(tokens, first + 1)])
            function = templates[token.text]
            return _kernel(outline, function, host_name, expression, declaration.line)
    raise SourceError(f"{where}: no kernel template of this file is instantiated here")


def _after_angles(tokens: list[Token], opening: int) -> int:
    """The index after the `>` that closes the `<` at `opening`."""
    depth = 0
    for index in range(opening, len(tokens)):
        depth += (tokens[index].text == "<") - (tokens[index].text == ">")
        if depth == 0:
            return index + 1
    return len(tokens)


def _kernel(
    outline: Outline,
    function: Function,
    name: str,
    expression: str,
    line: int,
) -> Kernel:
    attributes: list[str] = []
    parameters: list[KernelParameter] = []
    for parameter in function.parameters:
        attribute = _binding_attribute(outline, function, parameter)
        attributes.append(_attribute_type(attribute, parameter))
        arguments = "" if attribute.arguments is None else f"({attribute.arguments})"
        parameters.append(
            KernelParameter(attribute.name + arguments, parameter.type_text, parameter.name)
        )
    most_threads = next(
        (a.arguments for a in function.attributes if a.name == "max_total_threads_per_threadgroup"),
        "0",
    )
    names = ", ".join(f'"{parameter.name}"' for parameter in parameters)
    registration = (
        f"metal_host::register_kernel<{', '.join(['&::' + expression, *attributes])}>"
        f'("{name}", {most_threads}, {{{names}}})'
    )
    return Kernel(name, tuple(parameters), line, registration)


def _binding_attribute(outline: Outline, function: Function, parameter: Parameter) -> Attribute:
    known = [a for a in parameter.attributes if a.name in POSITIONS | {"buffer", "threadgroup"}]
    if len(known) == 1:
        return known[0]
    found = ", ".join(f"[[{a.name}]]" for a in parameter.attributes) or "none"
    raise SourceError(
        f"{outline.path}:{parameter.line}: parameter {parameter.name or '(unnamed)'} of kernel "
        f"{function.name} needs one attribute that says what it is bound to: buffer(n), "
        f"threadgroup(n) or a position; found: {found}"
    )


def _attribute_type(attribute: Attribute, parameter: Parameter) -> str:
    """The class in bindings.h for an attribute."""
    if attribute.name in POSITIONS:
        return f"metal_host::attribute::{attribute.name}"
    name = {"buffer": "buffer", "threadgroup": "threadgroup_memory"}[attribute.name]
    bound = f"metal_host::attribute::{name}<({attribute.arguments})>"
    condition = next((a for a in parameter.attributes if a.name == "function_constant"), None)
    if condition is None:
        return bound
    return (
        f"metal_host::attribute::conditional<{bound}, "
        f"metal_host::attribute::condition<decltype([] {{ return bool({condition.arguments}); }})>>"
    )


# ---- Rewriting ---------------------------------------------------------------------------------


def _rewrite(outline: Outline, constants: dict[str, Declaration], names: dict[Path, str]) -> str:
    edits = [
        *_blank_attributes(outline),
        *_rewrite_constants(outline, constants),
        *_rewrite_threadgroup_variables(outline),
        *_blank_instantiations(outline),
        *_rename_includes(outline, names),
    ]
    # Of two edits that overlap (an attribute within a declaration), the longer one counts.
    edits.sort(key=lambda edit: (edit.start, -edit.end))
    pieces: list[str] = []
    position = 0
    for edit in edits:
        if edit.start < position:
            continue
        replaced = outline.text[edit.start : edit.end]
        lines = "\n" * (replaced.count("\n") - edit.replacement.count("\n"))
        pieces += [outline.text[position : edit.start], edit.replacement, lines]
        position = edit.end
    return "".join([*pieces, outline.text[position:]])


def _blank_attributes(outline: Outline) -> Iterator[_Edit]:
    for position, attributes in outline.attributes(0, len(outline.code)):
        if not all(attribute.name in _OF_CPP for attribute in attributes):
            end = outline.code[outline.partner[position]].offset + 1
            yield _Edit(outline.code[position].offset, end, " ")


def _rewrite_threadgroup_variables(outline: Outline) -> Iterator[_Edit]:
    for function in outline.functions:
        variables = list(outline.threadgroup_variables(function))
        for variable in variables:
            start = outline.code[variable.start]
            where = f"{outline.path}:{start.line}: threadgroup variable {variable.name}"
            if not function.is_kernel:
                raise SourceError(f"{where}: only a kernel can declare one, and pass it on")
            if sum(other.start == variable.start for other in variables) > 1:
                raise SourceError(f"{where}: declare one variable a line, not several at once")
            if variable.initialized:
                raise SourceError(f"{where} has an initialiser: threadgroup memory cannot have one")
            type_ = spelled(variable.type)
            extents = spelled(variable.extents)
            yield _Edit(
                start.offset,
                outline.code[variable.end].offset,
                f"METAL_HOST_THREADGROUP({variable.name}, ({extents}), {type_})",
            )
    for token in outline.tokens:
        if token.directive and token.text == "threadgroup":
            directive = outline.text.splitlines()[token.line - 1]
            if re.search(r"\bthreadgroup\s+[\w:<>, ]+\s+\w+\s*(\[|;)", directive):
                raise SourceError(
                    f"{outline.path}:{token.line}: a macro that declares a threadgroup variable: "
                    "declare it in the kernel itself"
                )


def _blank_instantiations(outline: Outline) -> Iterator[_Edit]:
    for declaration in outline.declarations:
        if _is_kernel_instantiation(declaration):
            end = _semicolon_after(outline, declaration.tokens[-1])
            before = [
                token
                for token in outline.code
                if token.text == "template" and token.offset < declaration.tokens[0].offset
            ]
            yield _Edit(before[-1].offset, end + 1, "")


def _rename_includes(outline: Outline, names: dict[Path, str]) -> Iterator[_Edit]:
    for token in outline.tokens:
        if token.kind == STRING and token.directive:
            line = outline.text.splitlines()[token.line - 1]
            if re.match(r"\s*#\s*include\b", line):
                target = (outline.path.parent / token.text.strip('"')).resolve()
                yield _Edit(token.offset, token.offset + len(token.text), f'"{names[target]}"')
