"""Harmony, the chat format of gpt-oss: a drop-in for `openai_harmony` 0.0.8.

    encoding = HarmonyEncoding.from_tokenizer(model.tokenizer)  # or load_harmony_encoding
    conversation = Conversation.from_messages(
        [
            Message.from_role_and_content(Role.SYSTEM, SystemContent.new()),
            Message.from_role_and_content(Role.USER, "What is MXFP4?"),
        ]
    )
    context.append(encoding.render_conversation_for_completion(conversation, Role.ASSISTANT))
    tokens = list(context.stream(stop_tokens=encoding.stop_tokens_for_assistant_actions()))
    messages = encoding.parse_messages_from_completion_tokens(tokens, Role.ASSISTANT, strict=False)
    calls = parse_tool_calls(messages)

Names, arguments, defaults, exceptions and their texts are the package's. Beside them stand
`strict=False`, which reads whatever a model writes and lists the repairs, and `parse_tool_calls`.
`StreamableParser` reads token by token.
"""

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
