"""Rules about kernels' signatures: what is bound where, and by what name."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from metal_host.findings import Finding
from metal_host.lint_source import Sources
from metal_host.syntax import Attribute, Declaration, Parameter, spelled
from metal_host.tokens import WORD

MAX_BUFFERS = 31

_POSITIONS = {
    "thread_position_in_grid",
    "thread_position_in_threadgroup",
    "threadgroup_position_in_grid",
    "threads_per_threadgroup",
    "dispatch_threads_per_threadgroup",
    "threads_per_grid",
    "threadgroups_per_grid",
}
_INDICES = {
    "thread_index_in_threadgroup",
    "thread_index_in_simdgroup",
    "thread_index_in_quadgroup",
    "simdgroup_index_in_threadgroup",
    "quadgroup_index_in_threadgroup",
    "simdgroups_per_threadgroup",
    "dispatch_simdgroups_per_threadgroup",
    "quadgroups_per_threadgroup",
    "dispatch_quadgroups_per_threadgroup",
    "threads_per_simdgroup",
}
_BOUND = {"buffer", "threadgroup"}
_ELSEWHERE = {
    "host_name",
    "function_constant",
    "kernel",
    "max_total_threads_per_threadgroup",
    "maybe_unused",
    "unroll",
}

# Metal's section 5.2.3.6: attributes whose parameters must have one type.
_SAME_TYPE = (
    {"thread_position_in_grid", "threads_per_grid"},
    {
        "thread_position_in_threadgroup",
        "threads_per_threadgroup",
        "dispatch_threads_per_threadgroup",
    },
)


def unknown_attribute(sources: Sources) -> Iterator[Finding]:
    """Every [[attribute]] is one that Metal has: a misspelt one is a warning to most compilers, and
    binds nothing."""
    known = _POSITIONS | _INDICES | _BOUND | _ELSEWHERE
    outline = sources.main
    for _, attributes in outline.attributes(0, len(outline.code)):
        for attribute in attributes:
            if attribute.name not in known and not attribute.name.startswith("clang::"):
                text = f"[[{attribute.name}]] is no attribute of kernels and what they use"
                yield sources.finding(attribute.line, "unknown_attribute", text)


def kernel_parameter(sources: Sources) -> Iterator[Finding]:
    """Every parameter of a kernel says by one attribute what it is, and its type is one that the
    attribute allows.

    Without [[buffer(n)]], Metal numbers parameters by itself; written out, the host's code and the
    kernel can be compared. Only kernels have such attributes.
    """
    for function in sources.main.functions:
        for parameter in function.parameters:
            if not function.is_kernel:
                if parameter.attributes:
                    text = (
                        f"[[{parameter.attributes[0].name}]] on a parameter of {function.name}, "
                        "which is no kernel"
                    )
                    yield sources.finding(parameter.line, "kernel_parameter", text)
                continue
            for text in _parameter_faults(parameter):
                text = f"{function.name}: {text}"
                yield sources.finding(parameter.line, "kernel_parameter", text)


def _parameter_faults(parameter: Parameter) -> Iterator[str]:
    name = parameter.name or spelled(parameter.type)
    own = [attribute for attribute in parameter.attributes if attribute.name != "function_constant"]
    if len(own) != 1:
        yield f"parameter {name} needs one attribute, it has {len(own)}"
        return
    attribute = own[0]
    indirect = any(token.text in ("*", "&") for token in parameter.type)
    space = parameter.address_space
    if attribute.name == "buffer":
        if space not in ("device", "constant") or not indirect:
            where = "device or constant memory"
            yield f"[[buffer]] parameter {name} must be a pointer or reference to {where}"
    elif attribute.name == "threadgroup":
        if space != "threadgroup" or not indirect:
            where = "threadgroup memory"
            yield f"[[threadgroup]] parameter {name} must be a pointer or reference to {where}"
    elif attribute.name in _POSITIONS | _INDICES:
        widths = "[23]?" if attribute.name in _POSITIONS else ""
        type_text = spelled([token for token in parameter.type if token.text != "const"])
        if not re.fullmatch(rf"(uint|ushort){widths}", type_text):
            wanted = "uint or ushort, or a vector of 2 or 3" if widths else "uint or ushort"
            yield f"[[{attribute.name}]] parameter {name} must be {wanted}, not {type_text}"
    else:
        yield f"[[{attribute.name}]] says nothing about parameter {name}"


def position_types(sources: Sources) -> Iterator[Finding]:
    """Vectors of positions in one kernel have one length, and those that Metal pairs have one type.

    So says the specification about [[thread_position_in_grid]] and its relatives; Apple's compiler
    checks it.
    """
    for function in sources.main.functions:
        types = {
            attribute.name: spelled([token for token in parameter.type if token.text != "const"])
            for parameter in function.parameters
            for attribute in parameter.attributes
            if attribute.name in _POSITIONS
        }
        lengths = {text[-1] for text in types.values() if text[-1].isdigit()}
        if len(lengths) > 1:
            text = f"{function.name}: vectors of positions have different lengths: {_listed(types)}"
            yield sources.finding(function.line, "position_types", text)
        for group in _SAME_TYPE:
            chosen = {name: text for name, text in types.items() if name in group}
            if len(set(chosen.values())) > 1:
                text = f"{function.name}: these must have one type: {_listed(chosen)}"
                yield sources.finding(function.line, "position_types", text)


def _listed(types: dict[str, str]) -> str:
    return ", ".join(f"{text} [[{name}]]" for name, text in types.items())


def buffer_index(sources: Sources) -> Iterator[Finding]:
    """Indices of buffers and of threadgroup memory are unique in a kernel, and below 31.

    Two parameters on one index would read the same buffer; Metal has 31 of them.
    """
    for function in sources.main.functions:
        seen: dict[tuple[str, str], str] = {}
        for parameter in function.parameters:
            for attribute in parameter.attributes:
                if attribute.name not in _BOUND:
                    continue
                index = attribute.arguments or ""
                key = (attribute.name, index)
                if key in seen:
                    text = (
                        f"{function.name}: {seen[key]} and {parameter.name} are both "
                        f"[[{attribute.name}({index})]]"
                    )
                    yield sources.finding(attribute.line, "buffer_index", text)
                seen[key] = parameter.name
                if not index or (index.isdigit() and int(index) >= MAX_BUFFERS):
                    text = (
                        f"{function.name}: [[{attribute.name}({index})]] must have an index from "
                        "0 to 30"
                    )
                    yield sources.finding(attribute.line, "buffer_index", text)


def kernel_result(sources: Sources) -> Iterator[Finding]:
    """A kernel is written `kernel void name(...)`: it returns nothing, and the host device finds it
    by these words."""
    code = sources.main.code
    for token, following in itertools.pairwise(code):
        if token.text == "kernel" and following.text not in ("void", "decltype", "]", "("):
            text = f"'kernel {following.text}': a kernel is written 'kernel void name(...)'"
            yield sources.finding(token.line, "kernel_result", text)
    for function in sources.main.functions:
        if any(attribute.name == "kernel" for attribute in function.attributes):
            text = f"{function.name}: write 'kernel void' instead of [[kernel]]"
            yield sources.finding(function.line, "kernel_result", text)
        if function.is_kernel and function.scope:
            text = f"{function.name}: a kernel cannot be a member of {function.scope}"
            yield sources.finding(function.line, "kernel_result", text)


def kernel_name(sources: Sources) -> Iterator[Finding]:
    """Every kernel of a file has a name of its own, and a template of kernels has explicit
    instantiations with names.

    Kernels cannot be overloaded; a template without instantiation is not in the library; the name
    of an instantiation without host_name is mangled.
    """
    names: dict[str, int] = {}
    instantiated: set[str] = set()
    for declaration in sources.main.declarations:
        if not declaration.explicit_instantiation:
            continue
        words = [token.text for token in declaration.tokens if token.kind == WORD]
        instantiated.update(words)
        host_names = [
            attribute for attribute in declaration.attributes if attribute.name == "host_name"
        ]
        if "kernel" in words and len(host_names) != 1:
            text = 'an instantiation of a kernel needs one [[host_name("...")]]'
            yield sources.finding(declaration.line, "kernel_name", text)
        for attribute in host_names:
            yield from _claim(sources, names, (attribute.arguments or "").strip('"'), attribute)
    macros = {token.text for token in sources.meaningful if token.directive}
    for function in sources.main.functions:
        if not function.is_kernel:
            continue
        if function.template is None:
            line = Attribute(function.name, None, function.line)
            yield from _claim(sources, names, function.name, line)
        elif function.name not in instantiated | macros:
            text = (
                f"{function.name} is a template of kernels without explicit instantiation: no "
                "library has it"
            )
            yield sources.finding(function.line, "kernel_name", text)


def _claim(
    sources: Sources, names: dict[str, int], name: str, place: Attribute
) -> Iterator[Finding]:
    if name in names:
        text = f"the kernel name {name} is taken in line {names[name]}"
        yield sources.finding(place.line, "kernel_name", text)
    names.setdefault(name, place.line)


def function_constant(sources: Sources) -> Iterator[Finding]:
    """A function constant is a scalar at program scope in constant memory without a value; indices
    are unique."""
    seen: dict[str, str] = {}
    for outline in sources.outlines:
        for declaration in outline.declarations:
            for attribute in declaration.attributes:
                if attribute.name != "function_constant":
                    continue
                index, name = attribute.arguments or "", declaration.tokens[-1].text
                faults = list(_function_constant_faults(declaration))
                if index in seen and seen[index] != name:
                    both = f"the function constants {seen[index]} and {name}"
                    faults.append(f"{both} have the same index {index}")
                seen[index] = name
                if outline is sources.main:
                    for text in faults:
                        yield sources.finding(attribute.line, "function_constant", text)


def _function_constant_faults(declaration: Declaration) -> Iterator[str]:
    words = [token.text for token in declaration.tokens]
    if "constant" not in words or declaration.scope:
        yield "a function constant is declared in constant memory, at program scope"
    if "=" in words:
        yield "a function constant has no value in the source: the pipeline gives it"


def unattached_attribute(sources: Sources) -> Iterator[Finding]:
    """An attribute of parameters on anything else, such as a member of an argument structure, binds
    nothing."""
    for declaration in sources.main.declarations:
        for attribute in declaration.attributes:
            if attribute.name in _POSITIONS | _INDICES | _BOUND:
                text = f"[[{attribute.name}]] belongs on a parameter of a kernel"
                yield sources.finding(attribute.line, "unattached_attribute", text)


RULES = (
    unknown_attribute,
    kernel_parameter,
    position_types,
    buffer_index,
    kernel_result,
    kernel_name,
    function_constant,
    unattached_attribute,
)
