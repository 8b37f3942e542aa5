"""Harmony, the chat format of gpt-oss: a drop-in for `openai_harmony`."""

from gptoss.harmony.content import (
    ChannelConfig,
    Content,
    DeveloperContent,
    ReasoningEffort,
    SystemContent,
    TextContent,
)
from gptoss.harmony.errors import HarmonyError
from gptoss.harmony.messages import Author, Conversation, Message, Role
from gptoss.harmony.tool_calls import ToolCall, parse_tool_calls
from gptoss.harmony.tools import ToolDescription, ToolNamespaceConfig

__all__ = [
    "Author",
    "ChannelConfig",
    "Content",
    "Conversation",
    "DeveloperContent",
    "HarmonyError",
    "Message",
    "ReasoningEffort",
    "Role",
    "SystemContent",
    "TextContent",
    "ToolCall",
    "ToolDescription",
    "ToolNamespaceConfig",
    "parse_tool_calls",
]
