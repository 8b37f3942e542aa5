"""Whether a conversation is exactly what its types say, so that JSON would not change it.

openai_harmony renders what is left of a conversation after its way through JSON, which refuses some
values (a lone surrogate, NaN), replaces others (numbers beyond 64 bits), and knows nothing of
subclasses. `json_passage` follows that way. A conversation that is plain by these checks comes out
of it as it went in, so it is rendered directly.
"""

from __future__ import annotations

import json
import re
from typing import Any

from gptoss.harmony.content import (
    ChannelConfig,
    DeveloperContent,
    ReasoningEffort,
    SystemContent,
    TextContent,
)
from gptoss.harmony.messages import Author, Conversation, Message, Role
from gptoss.harmony.tools import ToolDescription, ToolNamespaceConfig

# JSON nests at most 127 deep in the package, of which the way to a tool's parameters takes some.
_MAX_NESTING_OF_PARAMETERS = 100
# What may be a number beyond 64 bits, or close to the largest float.
_HUGE_NUMBER = re.compile(r"[0-9]{19}|e\+[23][0-9]{2}")

_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def is_plain_conversation(conversation: Any) -> bool:
    """Whether the conversation can be rendered as it is; False also for what is none."""
    if type(conversation) is not Conversation:
        return False
    messages = conversation.messages
    return type(messages) is list and all(map(is_plain_message, messages))


def is_plain_message(message: Any) -> bool:
    """Whether the message can be rendered as it is; False also for what is none."""
    try:
        return (
            type(message) is Message
            and type(message.author) is Author
            and type(message.author.role) is Role
            and _is_optional_text(message.author.name)
            and _is_optional_text(message.recipient)
            and _is_optional_text(message.channel)
            and _is_optional_text(message.content_type)
            and type(message.content) is list
            and all(map(_is_plain_content, message.content))
        )
    except AttributeError:  # a model made without its fields
        return False


def _is_plain_content(content: Any) -> bool:
    if type(content) is TextContent:
        return _is_text(content.text)
    if type(content) is SystemContent:
        return (
            _is_optional_text(content.model_identity)
            and _is_optional_text(content.knowledge_cutoff)
            and _is_optional_text(content.conversation_start_date)
            and isinstance(content.reasoning_effort, (ReasoningEffort, type(None)))
            and _is_plain_channel_config(content.channel_config)
            and _are_plain_tools(content.tools)
        )
    if type(content) is DeveloperContent:
        return _is_optional_text(content.instructions) and _are_plain_tools(content.tools)
    return False


def _is_plain_channel_config(config: Any) -> bool:
    return config is None or (
        type(config) is ChannelConfig
        and type(config.valid_channels) is list
        and all(map(_is_text, config.valid_channels))
        and type(config.channel_required) is bool
    )


def _are_plain_tools(tools: Any) -> bool:
    return tools is None or (
        type(tools) is dict
        and all(map(_is_text, tools))
        and all(map(_is_plain_namespace, tools.values()))
    )


def _is_plain_namespace(namespace: Any) -> bool:
    return (
        type(namespace) is ToolNamespaceConfig
        and _is_text(namespace.name)
        and _is_optional_text(namespace.description)
        and type(namespace.tools) is list
        and all(map(_is_plain_tool, namespace.tools))
    )


def _is_plain_tool(tool: Any) -> bool:
    return (
        type(tool) is ToolDescription
        and _is_text(tool.name)
        and _is_text(tool.description)
        and (tool.parameters is None or _are_plain_parameters(tool.parameters))
    )


def _are_plain_parameters(parameters: Any) -> bool:
    if type(parameters) is not dict:
        return False
    try:
        text = _to_json(parameters)
        brackets = text.count("{") + text.count("[")
        return (
            _is_text(text)
            and not _HUGE_NUMBER.search(text)
            and (
                brackets <= _MAX_NESTING_OF_PARAMETERS
                or _nesting(parameters) <= _MAX_NESTING_OF_PARAMETERS
            )
        )
    except (TypeError, ValueError, RecursionError):
        return False


def _nesting(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_nesting, value.values()), default=0)
    if isinstance(value, (list, tuple)):
        return 1 + max(map(_nesting, value), default=0)
    return 0


def _is_optional_text(value: Any) -> bool:
    return value is None or _is_text(value)


def _is_text(value: Any) -> bool:
    """Whether the value is a str, no instance of a subclass, without lone surrogates."""
    if type(value) is not str:
        return False
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
    return True
