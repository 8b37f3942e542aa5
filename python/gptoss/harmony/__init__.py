"""Harmony, the chat format of gpt-oss: a drop-in for `openai_harmony`."""

from gptoss.harmony.content import (
    ChannelConfig,
    Content,
    DeveloperContent,
    ReasoningEffort,
    SystemContent,
    TextContent,
)
from gptoss.harmony.encoding import (
    HarmonyEncoding,
    HarmonyEncodingName,
    RenderConversationConfig,
    RenderOptions,
    load_harmony_encoding,
)
from gptoss.harmony.errors import HarmonyError
from gptoss.harmony.messages import Author, Conversation, Message, Role
from gptoss.harmony.parser import StreamableParser, StreamState
from gptoss.harmony.repairs import ParsedMessages, Repair, RepairKind
from gptoss.harmony.special_text import raise_disallowed_special_token
from gptoss.harmony.tool_calls import ToolCall, parse_tool_calls
from gptoss.harmony.tools import ToolDescription, ToolNamespaceConfig

__all__ = [
    "Author",
    "ChannelConfig",
    "Content",
    "Conversation",
    "DeveloperContent",
    "HarmonyEncoding",
    "HarmonyEncodingName",
    "HarmonyError",
    "Message",
    "ParsedMessages",
    "ReasoningEffort",
    "RenderConversationConfig",
    "RenderOptions",
    "Repair",
    "RepairKind",
    "Role",
    "StreamState",
    "StreamableParser",
    "SystemContent",
    "TextContent",
    "ToolCall",
    "ToolDescription",
    "ToolNamespaceConfig",
    "load_harmony_encoding",
    "parse_tool_calls",
    "raise_disallowed_special_token",
]
