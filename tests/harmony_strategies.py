"""Conversations for property-based tests, and how to build one of them in either package.

A strategy gives a specification: a dictionary of plain values, which hypothesis shrinks and prints
well. `build_message` and `build_conversation` make objects of it with the classes of whichever
module they are given, `gptoss.harmony` or `openai_harmony`.

    {"role": "tool", "name": "functions.f", "content": [{"kind": "TextContent", "text": "4"}],
     "channel": "commentary", "recipient": "assistant", "content_type": None}
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

# The strategies are cached: hypothesis takes longer to build them than to draw from them.

# A message as above. The fields of a content are those of the class that "kind" names; what is
# absent stays at its default.
MessageSpec = dict[str, Any]
ContentSpec = dict[str, Any]

# Text that the format gives a meaning to, that JSON escapes, and whose tokens are unusual.
_NOTABLE_TEXTS = [
    "",
    " ",
    "\n",
    "<|end|>",
    "<|start|>assistant<|channel|>final<|message|>",
    "<|constrain|>json",
    "to=functions.f",
    '{"a": "\\"}',
    "// comment",
    "a\nb\n\nc\r\nd",
    "\t\x00\x1b\x7f",
    "π ≈ 3.14159 ☃ 𝄞 👩‍👩‍👧 é e\u0301 \u2028 \ufeff",
    "The answer is 42.",
]

_CHANNELS = ["analysis", "commentary", "final"]
_RECIPIENTS = ["functions.get_weather", "browser.search", "python", "assistant", "user", "all", ""]
_CONTENT_TYPES = [
    "json",
    "code",
    "<|constrain|>json",
    "<|constrain|>",
    "<|constrain|> json",
    "json<|constrain|>",
    "",
]
_TOOL_NAMES = ["functions.get_weather", "browser.search", "python", "functions", "f"]
_SCHEMA_TYPES = ["string", "number", "integer", "boolean", "array", "object", "null", "unknown"]


@cache
def texts(max_size: int = 30) -> SearchStrategy[str]:
    """Any text that is valid Unicode (no lone surrogates)."""
    return st.one_of(st.sampled_from(_NOTABLE_TEXTS), valid_unicode(max_size))


@cache
def valid_unicode(max_size: int = 30) -> SearchStrategy[str]:
    return st.text(st.characters(codec="utf-8"), max_size=max_size)


def optional(values: SearchStrategy[Any]) -> SearchStrategy[Any]:
    return st.none() | values


# JSON values and JSON schemas ------------------------------------------------------------------


@cache
def json_numbers() -> SearchStrategy[int | float]:
    """Numbers at the limits of the types that JSON libraries read them into, and any others."""
    return st.one_of(
        st.integers(-10, 10),
        st.sampled_from([2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64]),
        st.integers(-(10**25), 10**25),
        st.sampled_from([0.0, -0.0, 1.0, 0.1, 1e15, 1e16, 1e17, 1e21, 1e22, 1e23, 1e-5, 1e-7]),
        st.sampled_from([5e-324, 2.2250738585072014e-308, 1.7976931348623157e308]),
        st.floats(allow_nan=False, allow_infinity=False),
    )


@cache
def json_values(max_leaves: int = 6) -> SearchStrategy[Any]:
    """Anything that JSON can say."""
    return st.recursive(
        st.one_of(st.none(), st.booleans(), json_numbers(), texts()),
        lambda values: st.lists(values, max_size=4) | st.dictionaries(texts(8), values, max_size=4),
        max_leaves=max_leaves,
    )


@cache
def property_names() -> SearchStrategy[str]:
    return st.one_of(
        st.sampled_from(
            ["query", "location", "unit", "a", "b", "c", "with space", "ключ", '"', ""]
        ),
        valid_unicode(5),
    )


@cache
def _annotations() -> dict[str, SearchStrategy[Any]]:
    """Keywords that any schema may carry, in the types that they are meant to have."""
    return {
        "title": texts(),
        "description": texts(),
        "default": json_values(),
        "nullable": st.booleans(),
        "examples": st.lists(texts() | json_values(3), max_size=3),
    }


@cache
def _enums() -> SearchStrategy[list[Any]]:
    return st.lists(texts(8), max_size=4) | st.lists(json_values(2), max_size=3)


@cache
def _leaf_schemas() -> SearchStrategy[dict[str, Any]]:
    annotated = _annotations()
    return st.one_of(
        st.fixed_dictionaries({"type": st.sampled_from(_SCHEMA_TYPES)}, optional=annotated),
        st.fixed_dictionaries(
            {"type": st.lists(st.sampled_from(_SCHEMA_TYPES), max_size=4)}, optional=annotated
        ),
        st.fixed_dictionaries(
            {"type": st.just("string")}, optional={"enum": _enums(), "format": texts(), **annotated}
        ),
        st.fixed_dictionaries({"enum": _enums()}, optional=annotated),
        st.fixed_dictionaries({}, optional=annotated),
    )


def _objects_of(schemas: SearchStrategy[Any]) -> SearchStrategy[dict[str, Any]]:
    properties = st.dictionaries(property_names(), schemas, max_size=5)

    def with_required(properties: dict[str, Any]) -> SearchStrategy[dict[str, Any]]:
        names = st.sampled_from([*properties, "absent"])
        return st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.just(properties)},
            optional={"required": st.lists(names, max_size=4), **_annotations()},
        )

    return properties.flatmap(with_required)


def _arrays_of(schemas: SearchStrategy[Any]) -> SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"type": st.just("array")}, optional={"items": schemas, **_annotations()}
    )


def _choices_of(schemas: SearchStrategy[Any]) -> SearchStrategy[dict[str, Any]]:
    choices = st.lists(schemas, max_size=3)
    return st.fixed_dictionaries({"oneOf": choices}, optional=_annotations()) | (
        st.fixed_dictionaries(
            {},
            optional={"anyOf": choices, "allOf": choices, "oneOf": choices}
            | {"type": st.sampled_from(_SCHEMA_TYPES)}
            | _annotations(),
        )
    )


@cache
def json_schemas(max_leaves: int = 8) -> SearchStrategy[dict[str, Any]]:
    """Schemas as people write them: each keyword has the type that JSON Schema gives it."""
    return st.recursive(
        _leaf_schemas(),
        lambda schemas: st.one_of(_objects_of(schemas), _arrays_of(schemas), _choices_of(schemas)),
        max_leaves=max_leaves,
    )


@cache
def malformed_schemas() -> SearchStrategy[dict[str, Any]]:
    """Schemas whose keywords have any value at all, such as `properties: 5`."""
    keywords = [
        *("type", "properties", "items", "oneOf", "anyOf", "enum", "required", "default"),
        *("title", "description", "nullable", "examples"),
    ]
    values = st.one_of(json_values(3), st.sampled_from(_SCHEMA_TYPES), json_schemas(3))
    schemas = st.dictionaries(st.sampled_from(keywords), values, max_size=6)
    return st.recursive(
        schemas, lambda inner: _objects_of(inner | values) | _arrays_of(inner), max_leaves=4
    )


@cache
def parameters() -> SearchStrategy[dict[str, Any]]:
    """What a tool's parameters may be: an object schema as a rule, else anything."""
    return st.one_of(
        _objects_of(json_schemas()),
        _objects_of(json_schemas()),
        json_schemas(),
        malformed_schemas(),
    )


# Tools and contents ----------------------------------------------------------------------------


@cache
def tool_descriptions() -> SearchStrategy[dict[str, Any]]:
    names = st.sampled_from(["get_weather", "search", "f", "g"]) | texts(8)
    return st.fixed_dictionaries(
        {"name": names, "description": texts()}, optional={"parameters": optional(parameters())}
    )


@cache
def tool_namespaces() -> SearchStrategy[dict[str, Any]]:
    names = st.sampled_from(["functions", "browser", "python", "mcp"]) | texts(8)
    return st.fixed_dictionaries(
        {"name": names, "tools": st.lists(tool_descriptions(), max_size=3)},
        optional={"description": optional(texts())},
    )


@cache
def tools() -> SearchStrategy[dict[str, Any]]:
    """Namespaces under keys; a key need not be the name of its namespace."""

    def under_their_names(namespaces: list[dict[str, Any]]) -> dict[str, Any]:
        return {namespace["name"]: namespace for namespace in namespaces}

    keys = st.sampled_from(["functions", "browser", "é", "Z", "a", "\uffff", "\U00010000"])
    return st.lists(tool_namespaces(), max_size=3).map(under_their_names) | st.dictionaries(
        keys | texts(8), tool_namespaces(), max_size=3
    )


@cache
def text_contents() -> SearchStrategy[ContentSpec]:
    return st.fixed_dictionaries({"kind": st.just("TextContent"), "text": texts(60)})


@cache
def channel_configs() -> SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "valid_channels": st.just(_CHANNELS) | st.lists(texts(8), max_size=4),
            "channel_required": st.booleans(),
        }
    )


@cache
def system_contents() -> SearchStrategy[ContentSpec]:
    return st.fixed_dictionaries(
        {"kind": st.just("SystemContent")},
        optional={
            "model_identity": optional(texts()),
            "reasoning_effort": optional(st.sampled_from(["Low", "Medium", "High"])),
            "conversation_start_date": optional(st.just("2025-06-28") | texts()),
            "knowledge_cutoff": optional(st.just("2024-06") | texts()),
            "channel_config": optional(channel_configs()),
            "tools": optional(tools()),
        },
    )


@cache
def developer_contents() -> SearchStrategy[ContentSpec]:
    return st.fixed_dictionaries(
        {"kind": st.just("DeveloperContent")},
        optional={"instructions": optional(texts(60)), "tools": optional(tools())},
    )


# Messages and conversations --------------------------------------------------------------------


def _messages_of(
    role: str, names: SearchStrategy[str | None], contents: SearchStrategy[ContentSpec]
) -> SearchStrategy[MessageSpec]:
    return st.fixed_dictionaries(
        {
            "role": st.just(role),
            "name": names,
            "content": st.lists(contents, min_size=1, max_size=1)
            | st.lists(contents, min_size=0, max_size=3),
            "channel": optional(st.sampled_from(_CHANNELS) | texts(8)),
            "recipient": optional(st.sampled_from(_RECIPIENTS) | texts(8)),
            "content_type": optional(st.sampled_from(_CONTENT_TYPES) | texts(8)),
        }
    )


@cache
def messages() -> SearchStrategy[MessageSpec]:
    """Messages that render: tools have names, settings are where they belong."""
    names = optional(st.sampled_from(["bob", "Ann Lee", "a:b", ""]) | texts(8))
    plain = text_contents()
    return st.one_of(
        _messages_of("user", names, plain),
        _messages_of("assistant", names, plain),
        _messages_of("tool", st.sampled_from(_TOOL_NAMES) | texts(8), plain),
        _messages_of("system", names, system_contents() | plain),
        _messages_of("developer", names, developer_contents() | plain),
    )


@cache
def any_messages() -> SearchStrategy[MessageSpec]:
    """Messages of every role with every content, so also what does not render."""
    contents = st.one_of(text_contents(), system_contents(), developer_contents())
    names = optional(texts(8))
    roles = st.sampled_from(["user", "assistant", "tool", "system", "developer"])
    return roles.flatmap(lambda role: _messages_of(role, names, contents))


def conversations(
    message_specs: SearchStrategy[MessageSpec] | None = None, max_size: int = 6
) -> SearchStrategy[list[MessageSpec]]:
    """Messages in any order; by default such that each of them renders."""
    return st.lists(messages() if message_specs is None else message_specs, max_size=max_size)


# Building --------------------------------------------------------------------------------------


def build_content(package: Any, spec: ContentSpec) -> Any:
    """The content that the specification describes, by the classes of `package`."""
    fields = {name: value for name, value in spec.items() if name != "kind"}
    return getattr(package, spec["kind"])(**fields)


def build_message(package: Any, spec: MessageSpec) -> Any:
    """The message that the specification describes, by the classes of `package`."""
    return package.Message(
        author=package.Author(role=package.Role(spec["role"]), name=spec["name"]),
        content=[build_content(package, content) for content in spec["content"]],
        channel=spec["channel"],
        recipient=spec["recipient"],
        content_type=spec["content_type"],
    )


def build_conversation(package: Any, specs: Sequence[MessageSpec]) -> Any:
    """The conversation that the specifications describe, by the classes of `package`."""
    return package.Conversation(messages=[build_message(package, spec) for spec in specs])
