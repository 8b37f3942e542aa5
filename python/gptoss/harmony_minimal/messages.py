"""Harmony messages, and the fixed texts of the system and the developer message.

The models were trained on exactly these texts, so every blank line and comma here is part of the
format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ROLES = ("system", "developer", "user", "assistant", "tool")
EFFORTS = ("low", "medium", "high")

IDENTITY = "You are ChatGPT, a large language model trained by OpenAI."
VALID_CHANNELS = (
    "# Valid channels: analysis, commentary, final. Channel must be included for every message."
)
FUNCTIONS_CHANNEL = "Calls to these tools must go to the commentary channel: 'functions'."

# What a JSON schema's type is called in the TypeScript that the model reads.
_TYPE_NAMES = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean"}
_DEFAULT_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
}


@dataclass(frozen=True)
class Message:
    """One message. `content` is plain text; the remaining fields are the header."""

    role: str
    content: str
    name: str | None = None  # of a tool message: the tool, such as "functions.get_current_weather"
    recipient: str | None = None
    channel: str | None = None
    content_type: str | None = None  # such as "<|constrain|>json"

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"Unknown role {self.role!r}: expected one of {', '.join(ROLES)}.")
        if self.role == "tool" and not self.name:
            raise ValueError(
                "A tool message needs the tool's name, for example name='functions.get_weather'."
            )


@dataclass(frozen=True)
class FunctionTool:
    """A function that the model may call.

    `parameters` is a JSON schema of type object, or None for no argument.
    """

    name: str
    description: str
    parameters: Mapping[str, Any] | None = None


def system_message(
    effort: str = "medium",
    current_date: str | None = None,
    knowledge_cutoff: str = "2024-06",
    has_functions: bool = False,
) -> Message:
    """Make the system message; `has_functions` says that the developer message declares tools."""
    if effort not in EFFORTS:
        raise ValueError(
            f"Unknown reasoning effort {effort!r}: expected one of {', '.join(EFFORTS)}."
        )
    about = f"{IDENTITY}\nKnowledge cutoff: {knowledge_cutoff}"
    if current_date is not None:
        about += f"\nCurrent date: {current_date}"
    channels = f"{VALID_CHANNELS}\n{FUNCTIONS_CHANNEL}" if has_functions else VALID_CHANNELS
    return Message("system", f"{about}\n\nReasoning: {effort}\n\n{channels}")


def developer_message(
    instructions: str | None = None, functions: Sequence[FunctionTool] = ()
) -> Message:
    """Make the developer message: instructions, then the functions as TypeScript declarations."""
    sections = []
    if instructions is not None:
        sections.append(f"# Instructions\n\n{instructions}")
    if functions:
        declarations = "".join(_declare(function) for function in functions)
        sections.append(
            "# Tools\n\n## functions\n\nnamespace functions {\n\n"
            f"{declarations}}} // namespace functions"
        )
    return Message("developer", "\n\n".join(sections))


def _comment(text: str) -> str:
    return "".join(f"// {line}\n" for line in text.split("\n"))


def _declare(function: FunctionTool) -> str:
    """`// description`, then `type name = (_: {...}) => any;` and a blank line."""
    comment = _comment(function.description) if function.description else ""
    if function.parameters is None:
        return f"{comment}type {function.name} = () => any;\n\n"
    schema = function.parameters
    where = f"The parameters of the function {function.name!r}"
    _reject_unknown_keys(where, schema, {"type", "properties", "required"})
    if schema.get("type") != "object":
        raise ValueError(
            f"{where} must be a JSON schema of type 'object', not {schema.get('type')!r}."
        )
    required = schema.get("required", ())
    properties = "".join(
        _declare_property(function.name, name, property_schema, name in required)
        for name, property_schema in schema.get("properties", {}).items()
    )
    return f"{comment}type {function.name} = (_: {{\n{properties}}}) => any;\n\n"


def _declare_property(function: str, name: str, schema: Mapping[str, Any], required: bool) -> str:
    where = f"The parameter {name!r} of the function {function!r}"
    _reject_unknown_keys(where, schema, {"type", "description", "enum", "default"})
    kind = schema.get("type")
    if not isinstance(kind, str) or kind not in _TYPE_NAMES:
        raise ValueError(f"{where} has the type {kind!r}; supported are {', '.join(_TYPE_NAMES)}.")
    # Unlike a function's, a parameter's description gets one comment mark for all its lines.
    comment = f"// {schema['description']}\n" if "description" in schema else ""
    choices = schema.get("enum")
    if choices is not None and (
        kind != "string" or not choices or not all(isinstance(c, str) for c in choices)
    ):
        raise ValueError(
            f"{where} has an enum; supported are enums of one or more strings, of type 'string'."
        )
    type_name = " | ".join(f'"{choice}"' for choice in choices) if choices else _TYPE_NAMES[kind]
    default = ""
    if "default" in schema:
        value = schema["default"]
        if not isinstance(value, _DEFAULT_TYPES[kind]) or (
            isinstance(value, bool) and kind != "boolean"
        ):
            raise ValueError(
                f"{where} has the default {value!r}, which is not of its type {kind!r}."
            )
        # A string is quoted but not escaped, and the default of an enum is bare.
        spelled = (
            (value if choices else f'"{value}"') if isinstance(value, str) else json.dumps(value)
        )
        default = f" // default: {spelled}"
    return f"{comment}{name}{'' if required else '?'}: {type_name},{default}\n"


def _reject_unknown_keys(where: str, schema: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(schema) - known)
    if unknown:
        raise ValueError(
            f"{where} use JSON schema keywords that are not supported yet: {', '.join(unknown)}. "
            f"Supported here are {', '.join(sorted(known))}."
        )
