"""A tool's parameters as a TypeScript type, and the "# Tools" section of a prompt.

The models saw their tools in exactly this text, so it follows `openai_harmony` 0.0.8 character by
character, odd corners included: alternatives in an array have no parentheses, for example, and the
models have learnt to read that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from gptoss.harmony.json_text import JsonValue, json_text

if TYPE_CHECKING:
    from gptoss.harmony.tools import ToolDescription, ToolNamespaceConfig

Schema: TypeAlias = dict[str, JsonValue]

# A JSON schema as a type.


def typescript_type(value: JsonValue, indent: str = "") -> str:
    """The TypeScript type of a JSON schema, which is a value as `json.loads` returns it.

    A value that is no schema, or one of a kind that the format does not know, is `any`. The lines
    after the first start with `indent`.

    OverflowError: a default value is a number too large for a float.
    """
    schema = _schema(value)
    alternatives = _alternatives(schema)
    if alternatives is not None:
        return _one_of_type(alternatives, indent)
    kind = schema.get("type")
    if isinstance(kind, list):
        names = ["number" if name == "integer" else name for name in kind if isinstance(name, str)]
        if names:
            return " | ".join(names)
    match kind:
        case "object":
            return _object_type(schema, indent)
        case "array":
            return _array_type(schema, indent)
        case "string":
            return _string_type(schema)
        case "number" | "integer":
            return "number"
        case "boolean":
            return "boolean"
        case _:
            return "any"


def _object_type(schema: Schema, indent: str) -> str:
    description = _text(schema, "description")
    comment = "" if description is None else f"{indent}// {description}\n"
    required = set(_texts(schema.get("required")))
    lines = [
        f"{indent}{line}\n"
        for name, value in _schema(schema.get("properties")).items()
        for line in _property(name if name in required else f"{name}?", _schema(value), indent)
    ]
    return f"{comment}{{\n{''.join(lines)}{indent}}}"


def _array_type(schema: Schema, indent: str) -> str:
    if "items" not in schema:
        return "Array<any>"
    return f"{typescript_type(schema['items'], indent)}[]"


def _string_type(schema: Schema) -> str:
    return " | ".join(f'"{choice}"' for choice in _texts(schema.get("enum"))) or "string"


def _nullable_type(schema: Schema, indent: str) -> str:
    name = typescript_type(schema, indent)
    is_nullable = schema.get("nullable") is True and "null" not in name
    return f"{name} | null" if is_nullable else name


# A property: what is known of it as comments, then its name and type.


def _property(name: str, schema: Schema, indent: str) -> Iterator[str]:
    """The lines of a property, without their indent."""
    title = _text(schema, "title")
    if title is not None:
        yield f"// {title}"
        yield "//"
    description = _text(schema, "description")
    if description is not None and "oneOf" not in schema:
        yield f"// {description}"
    if schema.get("examples") and isinstance(schema["examples"], list):
        yield "// Examples:"
        yield from (f'// - "{example}"' for example in _texts(schema["examples"]))
    alternatives = _alternatives(schema)
    if alternatives is not None:
        yield from _property_of_alternatives(name, schema, alternatives, indent)
        return
    has_default = "default" in schema and "oneOf" not in schema
    default = f" // {_default(schema)}" if has_default else ""
    yield f"{name}: {_nullable_type(schema, f'{indent}    ')},{default}"


def _property_of_alternatives(
    name: str, schema: Schema, alternatives: Sequence[Schema], indent: str
) -> Iterator[str]:
    description = _text(schema, "description")
    first_description = _text(alternatives[0], "description") if alternatives else None
    # A description that the first alternative repeats appears nowhere.
    if description is not None and description != first_description:
        yield f"// {description}"
    if "default" in schema:
        yield f"// {_default(schema)}"
    yield f"{name}:"
    for position, alternative in enumerate(alternatives):
        comments = _texts([alternative.get("description")])
        if description is not None and (position == 0 or comments == [description]):
            comments = []
        if "default" in alternative:
            comments.append(_default(alternative))
        yield _alternative(alternative, indent, comments)
    yield ","


# The alternatives of a oneOf: a line for each, its description and default behind it.


def _one_of_type(alternatives: Sequence[Schema], indent: str) -> str:
    lines = []
    for alternative in alternatives:
        comments = _texts([alternative.get("description")])
        if "default" in alternative:
            comments.append(_default(alternative, is_bare_if_enum=False))
        lines.append(f"\n{indent}{_alternative(alternative, indent, comments)}")
    return "".join(lines)


def _alternative(schema: Schema, indent: str, comments: Sequence[str]) -> str:
    trailing = f" // {' '.join(comments)}" if comments else ""
    return f" | {_nullable_type(schema, f'{indent}   ')}{trailing}"


def _default(schema: Schema, *, is_bare_if_enum: bool = True) -> str:
    """A string is quoted but not escaped, one of an enum is bare in a property, else it is JSON."""
    default = schema["default"]
    if isinstance(default, str):
        if not _is_enum(schema):
            return f'default: "{default}"'
        if is_bare_if_enum:
            return f"default: {default}"
    return f"default: {json_text(default)}"


# What a schema says under a keyword, where it says it in the form that the format knows.


def _schema(value: JsonValue) -> Schema:
    return value if isinstance(value, dict) else {}


def _text(schema: Schema, keyword: str) -> str | None:
    value = schema.get(keyword)
    return value if isinstance(value, str) else None


def _texts(value: JsonValue) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _alternatives(schema: Schema) -> list[Schema] | None:
    value = schema.get("oneOf")
    return [_schema(each) for each in value] if isinstance(value, list) else None


def _is_enum(schema: Schema) -> bool:
    choices = schema.get("enum")
    return isinstance(choices, list) and len(choices) > 0


# The section of a system or developer message that lists the tools.


def tools_section(namespaces: Mapping[str, ToolNamespaceConfig]) -> str:
    """The "# Tools" section: the namespaces in the order of their keys.

    OverflowError: a default value is a number too large for a float. Whatever `json.dumps` raises
    for parameters that are not JSON.
    """
    sections = [_namespace(namespaces[key]) for key in sorted(namespaces)]
    return "\n\n".join(["# Tools", *sections])


def _namespace(namespace: ToolNamespaceConfig) -> str:
    lines = [f"## {namespace.name}\n"]
    description = _lines(namespace.description or "")
    if not namespace.tools:
        return "\n".join([*lines, *description])
    lines += (f"// {line}" for line in description)
    lines.append(f"namespace {namespace.name} {{\n")
    for tool in namespace.tools:
        lines += (f"// {line}" for line in _lines(tool.description))
        lines.append(f"type {tool.name} = {_function_type(tool)};\n")
    lines.append(f"}} // namespace {namespace.name}")
    return "\n".join(lines)


def _function_type(tool: ToolDescription) -> str:
    if tool.parameters is None:
        return "() => any"
    # What JSON makes of the parameters: keys become strings, tuples become arrays.
    return f"(_: {_type_of_json(json.dumps(tool.parameters))}) => any"


@lru_cache(maxsize=1024)  # a client sends the same tools in every turn
def _type_of_json(parameters: str) -> str:
    return typescript_type(json.loads(parameters))


def _lines(text: str) -> list[str]:
    """The lines of a text, which end in a line feed or in a carriage return and a line feed."""
    *complete, last = text.split("\n")
    lines = [line.removesuffix("\r") for line in complete]
    return [*lines, last] if last else lines
