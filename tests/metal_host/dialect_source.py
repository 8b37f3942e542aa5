"""A Metal source as clang's C++ for OpenCL can read it: the few things that the two languages spell
differently.

Rewritten, token by token, so that every line stays where it is:

- `[[attributes]]` vanish (the lint checks them);
- function constants become external constants, or constants with the values that the check was
  given;
- a kernel's `threadgroup float tile[32];` becomes a reference to threadgroup memory of that type,
  because OpenCL knows no templates of kernels; behind the last one stands a static assertion of the
  32 KB that they share;
- methods without an address space are the thread's, as in Metal;
- constructors and casts of vectors become calls of `metal_dialect::make`.

Address spaces and `kernel` stay: the header keywords.h makes them OpenCL's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from metal_host.syntax import Declaration, Function, Outline, spelled
from metal_host.tokens import COMMENT, WORD

THREADGROUP_MEMORY_LIMIT = 32 * 1024

_SCALARS = ("bool", "char", "uchar", "short", "ushort", "int", "uint", "long", "ulong")
VECTOR_TYPES = frozenset(
    f"{name}{length}" for name in (*_SCALARS, "half", "float", "bfloat") for length in (2, 3, 4)
)


@dataclass(frozen=True)
class FunctionConstant:
    """`constant uint num_inputs [[function_constant(INDEX)]];`"""

    type: str
    name: str
    index: str  # an expression


def function_constants(outlines: list[Outline]) -> dict[str, FunctionConstant]:
    """The function constants of a file and its includes, by name."""
    return {
        constant.name: constant
        for outline in outlines
        for declaration in outline.declarations
        if (constant := _function_constant(declaration)) is not None
    }


def _function_constant(declaration: Declaration) -> FunctionConstant | None:
    for attribute in declaration.attributes:
        if attribute.name == "function_constant" and attribute.arguments is not None:
            *type_tokens, name = declaration.tokens
            kept = [
                token for token in type_tokens if token.text not in ("constant", "const", "static")
            ]
            return FunctionConstant(spelled(kept), name.text, attribute.arguments)
    return None


def rewrite(outline: Outline, constants: Mapping[str, FunctionConstant], specialised: bool) -> str:
    """The source of one file for the front end. `specialised`: whether values of function constants
    are given."""
    edits = _Edits(outline)
    code = outline.code
    for start, _ in outline.attributes(0, len(code)):
        edits.remove(start, outline.partner[start])
    _remove_attributes_of_macros(edits)
    derived = set(constants)
    for declaration in outline.declarations:
        _rewrite_program_constant(edits, declaration, constants, derived, specialised)
    for function in outline.functions:
        if function.is_kernel:
            _rewrite_threadgroup_memory(edits, function)
        if function.scope:
            _say_where_methods_work(edits, function)
    _rewrite_vector_constructors(edits)
    return f'#line 1 "{outline.path}"\n{edits.apply()}'


class _Edits:
    """Replacements of ranges of code tokens; newlines in what is replaced stay."""

    def __init__(self, outline: Outline) -> None:
        self.outline = outline
        self.replacements: dict[
            int, tuple[int, str]
        ] = {}  # offset of a start -> offset of the end, text
        self.position = {token.offset: index for index, token in enumerate(outline.code)}

    def _end(self, position: int) -> int:
        token = self.outline.code[position]
        return token.offset + len(token.text)

    def replace(self, first: int, last: int, text: str) -> None:
        """Tokens at positions first to last, both included."""
        self.replacements[self.outline.code[first].offset] = (self._end(last), text)

    def remove(self, first: int, last: int) -> None:
        self.replace(first, last, "")

    def insert_after(self, position: int, text: str) -> None:
        end = self._end(position)
        self.replacements[end] = (end, text)

    def apply(self) -> str:
        text, result, at = self.outline.text, "", 0
        for start, (end, replacement) in sorted(self.replacements.items()):
            if start < at:
                continue  # inside of something that was replaced as a whole
            replaced = text[start:end]
            newline = "\\\n" if "\\\n" in replaced else "\n"  # continued, within a macro
            newlines = replaced.count("\n") - replacement.count("\n")
            result += text[at:start] + replacement + newline * newlines
            at = end
        return result + text[at:]


def _remove_attributes_of_macros(edits: _Edits) -> None:
    """A macro that instantiates kernels carries attributes, too."""
    words = [token for token in edits.outline.tokens if token.directive and token.kind != COMMENT]
    for index, token in enumerate(words[:-1]):
        if token.text == "[" and words[index + 1].text == "[":
            depth = 0
            for last in words[index:]:
                depth += (last.text == "[") - (last.text == "]")
                if depth == 0:
                    end = last.offset + 1
                    edits.replacements[token.offset] = (end, "")
                    break


def _rewrite_program_constant(
    edits: _Edits,
    declaration: Declaration,
    constants: Mapping[str, FunctionConstant],
    derived: set[str],
    specialised: bool,
) -> None:
    """A function constant, or a constant that is computed from some: neither is a constant
    expression in Metal."""
    tokens = declaration.tokens
    if not any(token.text == "constant" for token in tokens) or declaration.scope:
        return
    first = edits.position[tokens[0].offset]
    last = edits.position[tokens[-1].offset]
    equals = next((i for i, token in enumerate(tokens) if token.text == "="), None)
    own = _function_constant(declaration)
    if own is not None:
        text = f"constant {own.type} {own.name} = metal_dialect_constant<{own.type}>({own.index})"
        edits.replace(
            first, last, text if specialised else f"extern constant {own.type} {own.name}"
        )
        return
    if equals is None:
        return
    words = {token.text for token in tokens[equals:] if token.kind == WORD}
    if not words & derived:
        return
    derived.add(tokens[equals - 1].text)
    if specialised:
        for index, token in enumerate(tokens):
            if token.text == "is_function_constant_defined":
                opening = edits.position[token.offset] + 1
                name = tokens[index + 2].text
                expression = constants[name].index if name in constants else name
                edits.replace(
                    opening - 1, opening + 2, f"metal_dialect_constant_defined({expression})"
                )
        return
    # The initializer moves into a function, where it is checked although it is no constant
    # expression.
    declared = spelled(
        [token for token in tokens[:equals] if token.text not in ("static", "constexpr")]
    )
    type_text = spelled(
        [
            t
            for t in tokens[: equals - 1]
            if t.text not in ("static", "constexpr", "constant", "const")
        ]
    )
    edits.replace(first, first + equals - 1, f"extern {declared}")
    edits.replace(
        first + equals,
        first + equals,
        f"; inline {type_text} metal_dialect_{tokens[equals - 1].text}() {{ return ",
    )
    edits.insert_after(last, "; }")


def _rewrite_threadgroup_memory(edits: _Edits, function: Function) -> None:
    variables = list(edits.outline.threadgroup_variables(function))
    accepted = [
        variable for variable in variables if variable.outermost and not variable.initialized
    ]
    sizes: list[str] = []
    for semicolon in sorted({variable.end for variable in accepted}):
        text = ""
        for variable in accepted:
            if variable.end != semicolon:
                continue
            type_text = spelled(variable.type)
            whole = f"metal_dialect::same_type<{type_text} {spelled(variable.extents)}>"
            memory = f"metal_dialect::threadgroup_memory<{whole}>()"
            text += f"threadgroup {whole}& {variable.name} = {memory}; "
            sizes.append(f"(sizeof({whole}) + 15) / 16 * 16")
            start = variable.start
        if semicolon == accepted[-1].end:
            text += (
                f"static_assert({' + '.join(sizes)} <= {THREADGROUP_MEMORY_LIMIT}, "
                f'"the threadgroup memory of {function.name} is larger than '
                f'{THREADGROUP_MEMORY_LIMIT} bytes");'
            )
        edits.replace(start, semicolon, text)


def _say_where_methods_work(edits: _Edits, function: Function) -> None:
    """A method works on the thread's own objects unless it says otherwise, as in Metal."""
    last = function.body[0] - 1
    is_static = any(token.text in ("static", "friend") for token in function.head)
    if (
        edits.outline.code[last].text in (")", "const")
        and not is_static
        and function.name != function.scope
    ):
        edits.insert_after(last, " thread")


def _rewrite_vector_constructors(edits: _Edits) -> None:
    """`float4(...)`, `vec<T, 4>(...)` and `static_cast<float4>(...)`; of aliases as well."""
    outline = edits.outline
    code = outline.code
    aliases = _vector_aliases(outline)
    for position, token in enumerate(code[:-1]):
        following = code[position + 1].text
        if token.text in aliases and following == "(" and code[position + 2].text not in ("&", "*"):
            before = code[position - 1].text if position else ""
            if before == "::" and position > 1:
                edits.replace(position - 2, position, f"metal_dialect::make<{token.text}>")
            elif before not in ("operator", "struct", "sizeof"):
                edits.replace(position, position, f"metal_dialect::make<{token.text}>")
        elif token.text == "vec" and following == "<":
            after = outline.skip_angles(position + 1)
            if (
                after < len(code)
                and code[after].text == "("
                and code[after + 1].text not in ("&", "*")
            ):
                edits.replace(
                    position, after - 1, f"metal_dialect::make<{spelled(code[position:after])}>"
                )
        elif token.text == "static_cast" and following == "<":
            after = outline.skip_angles(position + 1)
            target = code[position + 2 : after - 1]
            is_vector = target[-1].text in aliases or target[0].text == "vec"
            if is_vector and not any(part.text in ("*", "&") for part in target):
                edits.replace(position, after - 1, f"metal_dialect::make<{spelled(target)}>")


def _vector_aliases(outline: Outline) -> set[str]:
    """Names of vector types: Metal's, and those that `using` or `typedef` gives them in this
    file."""
    names = set(VECTOR_TYPES)
    code = outline.code
    for position, token in enumerate(code):
        if token.text == "using" and position + 2 < len(code) and code[position + 2].text == "=":
            end = next(i for i in range(position, len(code)) if code[i].text == ";")
            words = [part.text for part in code[position + 3 : end]]
            if not {"*", "&", "["} & set(words) and (words[-1] in names or "vec" in words[:3]):
                names.add(code[position + 1].text)
        if token.text == "typedef":
            end = next(i for i in range(position, len(code)) if code[i].text == ";")
            words = [part.text for part in code[position + 1 : end]]
            if not {"*", "&", "["} & set(words) and (words[-2] in names or "vec" in words[:1]):
                names.add(words[-1])
    return names
