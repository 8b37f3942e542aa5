"""What becomes of a conversation that `openai_harmony` sends through JSON to its Rust half.

The package renders nothing but what Rust's serde_json made of the JSON of a conversation. A clean
conversation comes through unchanged. One whose fields hold other values than they are declared for
(pydantic checks the arguments of constructors, not later assignments) may be refused, or come
through as something else: a channel configuration that is a list, a pair of surrogates that becomes
one character, a number as a key that becomes a str. `reread_conversation` and `reread_message` do
the same, with the structures of openai-harmony 0.0.8, `src/chat.rs`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from gptoss.harmony.content import (
    ChannelConfig,
    Content,
    DeveloperContent,
    ReasoningEffort,
    SystemContent,
    TextContent,
)
from gptoss.harmony.json_reader import JsonText
from gptoss.harmony.messages import Author, Conversation, Message, Role
from gptoss.harmony.tools import ToolDescription, ToolNamespaceConfig
from gptoss.harmony.typed_json import (
    BUFFER,
    Array,
    Boolean,
    Buffered,
    Dictionary,
    Enum,
    Members,
    Object,
    Option,
    ReadValue,
    String,
    Structure,
    Tagged,
    Value,
    mismatch,
)


def reread_conversation(conversation: Conversation) -> Conversation:
    """The conversation that the package would render in place of this one.

    All its values are of the declared types, but that the parameters of a tool may be any JSON
    value. Numbers in them are Python's, not yet rounded as serde_json rounds them.

    ValueError: the package refuses the JSON; the text is the package's. Whatever the conversation
    raises when it is written as JSON, such as NotImplementedError for a bare Content or TypeError
    for a value that JSON does not have, passes through.
    """
    if _is_inherited(conversation, Conversation, "to_json"):
        text = json.dumps(_conversation_dictionary(conversation))
    else:
        text = conversation.to_json()
    reread: Conversation = _read(text, _CONVERSATION, "conversation")
    return reread


def reread_message(message: Message) -> Message:
    """The message that the package would render in place of this one; as reread_conversation."""
    if _is_inherited(message, Message, "to_json"):
        text = json.dumps(_message_dictionary(message))
    else:
        text = message.to_json()
    reread: Message = _read(text, _MESSAGE, "message")
    return reread


def _read(text: Any, json_type: Structure, kind: str) -> Any:
    if not isinstance(text, str):
        raise TypeError(
            f"argument '{kind}_json': '{type(text).__name__}' object cannot be converted to"
            " 'PyString'"
        )
    try:
        return JsonText(text).read_all(json_type)
    except UnicodeEncodeError:
        raise
    except ValueError as error:
        raise ValueError(f"invalid {kind} JSON: {error}") from None


# Writing ---------------------------------------------------------------------------------------
#
# The package's own dictionaries: unlike those of `to_dict` they lack each None, and an error's
# column counts what is written. A method that a user's class overrides is called, though.


def _is_inherited(value: object, base: type, method: str) -> bool:
    return getattr(type(value), method, None) is getattr(base, method)


def _conversation_dictionary(conversation: Conversation) -> dict[str, Any]:
    if not _is_inherited(conversation, Conversation, "to_dict"):
        return conversation.to_dict()
    return {"messages": [_message_dictionary(message) for message in conversation.messages]}


def _message_dictionary(message: Message) -> dict[str, Any]:
    if not _is_inherited(message, Message, "to_dict"):
        return message.to_dict()
    out: dict[str, Any] = {
        **message.author.model_dump(),
        "content": [_content_dictionary(content) for content in message.content],
    }
    for name in ("channel", "recipient", "content_type"):
        value = getattr(message, name)
        if value is not None:
            out[name] = value
    return out


def _content_dictionary(content: Content) -> dict[str, Any]:
    if _is_inherited(content, SystemContent, "to_dict"):
        return {**content.model_dump(exclude_none=True), "type": "system_content"}
    if _is_inherited(content, DeveloperContent, "to_dict"):
        return {**content.model_dump(exclude_none=True), "type": "developer_content"}
    return content.to_dict()


# Reading ---------------------------------------------------------------------------------------


def _system_content(*, reasoning_effort: str | None, **settings: Any) -> SystemContent:
    effort = None if reasoning_effort is None else ReasoningEffort(reasoning_effort)
    return SystemContent(reasoning_effort=effort, **settings)


def _tool_description(*, name: str, description: str, parameters: Any) -> ToolDescription:
    tool = ToolDescription(name=name, description=description)
    tool.parameters = parameters  # any JSON value: the package takes more than a schema
    return tool


def _author(*, role: str, name: str | None) -> Author:
    return Author(role=Role(role), name=name)


_TOOL_NAMESPACE = Structure(
    "ToolNamespaceConfig",
    {
        "name": String(),
        "description": Option(String()),
        "tools": Array(
            Structure(
                "ToolDescription",
                {"name": String(), "description": String(), "parameters": Option(Value())},
                _tool_description,
            )
        ),
    },
    ToolNamespaceConfig,
)

_CONTENT = Tagged(
    "Content",
    {
        "text": Structure("TextContent", {"text": String()}, TextContent),
        "system_content": Structure(
            "SystemContent",
            {
                "model_identity": Option(String()),
                "reasoning_effort": Option(Enum("Low", "Medium", "High")),
                "tools": Option(Dictionary(_TOOL_NAMESPACE)),
                "conversation_start_date": Option(String()),
                "knowledge_cutoff": Option(String()),
                "channel_config": Option(
                    Structure(
                        "ChannelConfig",
                        {"valid_channels": Array(String()), "channel_required": Boolean()},
                        ChannelConfig,
                    )
                ),
            },
            _system_content,
        ),
        "developer_content": Structure(
            "DeveloperContent",
            {"instructions": Option(String()), "tools": Option(Dictionary(_TOOL_NAMESPACE))},
            DeveloperContent,
        ),
    },
)

_AUTHOR = Structure(
    "Author",
    {"role": Enum("user", "assistant", "system", "developer", "tool"), "name": Option(String())},
    _author,
)


class _Contents(Array):
    """The contents of a message, or one str for a single text."""

    expected = "string or list of content"
    enters = "[{"

    def from_scalar(self, value: Any) -> list[Content]:
        if isinstance(value, str):
            return [TextContent(text=value)]
        raise mismatch(value, self.expected)


class _Message(Structure):
    """A message, whose author's fields stand among its own: what is not its own is the author's."""

    enters = "{"

    def from_mapping(self, members: Members) -> Message:
        others = Object()

        def own_members() -> Iterator[tuple[str, ReadValue]]:
            for key, read_value in members:
                if key in self._fields:
                    yield key, read_value
                else:
                    others.append((key, read_value(BUFFER)))

        fields = super().from_mapping(own_members())
        return Message(author=_AUTHOR.read(Buffered(others)), **fields)


_MESSAGE = _Message(
    "Message",
    {
        "recipient": Option(String()),
        "content": _Contents(_CONTENT),
        "channel": Option(String()),
        "content_type": Option(String()),
    },
    dict,
)

_CONVERSATION = Structure("Conversation", {"messages": Array(_MESSAGE)}, Conversation)
