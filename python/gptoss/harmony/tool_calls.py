"""Tool calls in what the model wrote, and the messages that answer them.

    for call in parse_tool_calls(messages):
        result = call.error or run_tool(call.name, call.arguments)
        conversation.messages.append(call.reply(result))

openai-harmony has nothing of the kind. Where a call stands and how it is answered: OpenAI's Harmony
format guide, sections "Receiving tool calls", "Handling tool calls" and "Built-in tools".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from gptoss.harmony.content import Content
from gptoss.harmony.messages import Author, Message, Role
from gptoss.harmony.tool_arguments import read_arguments

# Whom a message may be addressed to without calling a tool. Parsers that meet a header without
# `to=`, such as `<|channel|>final json`, take a channel or a content type for the recipient.
_NO_TOOLS = frozenset(
    ("", "all", *(role.value for role in Role), "analysis", "commentary", "final", "json", "code")
)
# Markup that leaked into a recipient: with its value, and without.
_MARKER_WITH_VALUE = re.compile(r"<\|(?:channel|constrain)\|>\s*[^\s<]*")
_MARKER = re.compile(r"<\|[^<|>]*\|>")
# What the models write around a name now and then: `"functions.f"`, `functions.f()`.
_AROUND_NAMES = ".:;,()\"'`"
# The models write some namespaces twice; no tool of these has a dot in its name.
_DOUBLED_NAMESPACE = re.compile(r"(functions|browser)\.(?=\1\.)")
# The namespaces that the models were trained to call, and to be answered, on their own channel.
_BUILT_IN_NAMESPACES = frozenset(("browser", "python"))


@dataclass(frozen=True)
class ToolCall:
    """One call. Immutable, but for the dictionary of arguments, which is the caller's own.

    `recipient`: who is called, freed of leaked markup: `functions.get_weather`.
    `namespace`: `functions`; None where the model wrote only a name.
    `name`: `get_weather`. The tool `python` is alone in its namespace: both are `python`.
    `arguments`: the JSON object; None where it is not usable, or where the tool takes plain text.
    `text`: what the model sent, exactly: the arguments of a tool that takes plain text.
    `error`: a sentence that says what is wrong with the JSON, and where; None if nothing is.
    `channel`: where the call was made; the models call functions on `analysis`, too.
    `index`: the place of the message among those that were given.
    """

    recipient: str
    namespace: str | None
    name: str
    arguments: dict[str, Any] | None
    text: str
    error: str | None
    channel: str | None
    index: int

    def reply(self, content: str | Content) -> Message:
        """The message that brings the tool's output to the model; append it after the call.

        As the models were trained: from the tool, to the assistant, on commentary; a built-in tool
        (`browser`, `python`) answers on the channel where it was called.
        """
        channel = "commentary"
        if self.namespace in _BUILT_IN_NAMESPACES:
            channel = self.channel or "analysis"
        author = Author(role=Role.TOOL, name=self.recipient)
        message = Message.from_author_and_content(author, content)
        return message.with_recipient("assistant").with_channel(channel)


def parse_tool_calls(
    messages: Iterable[Message], *, custom_tools: Collection[str] = ()
) -> list[ToolCall]:
    """The tool calls among messages, in their order; nothing that a model wrote raises.

    A call is a message of the assistant that is addressed to a tool, on whatever channel. Whether
    the tool exists is for the caller to say.

    `custom_tools`: names or recipients (`apply_patch`, `functions.apply_patch`) of tools that take
    plain text instead of a JSON object. `python` always does.
    """
    custom = frozenset(custom_tools)
    calls = []
    for index, message in enumerate(messages):
        if message.author.role != Role.ASSISTANT:
            continue
        recipient = _clean_recipient(message.recipient)
        if recipient in _NO_TOOLS:
            continue
        namespace, name = _split_recipient(recipient)
        texts = (getattr(content, "text", None) for content in message.content)
        text = "".join(part for part in texts if isinstance(part, str))
        arguments, error = None, None
        takes_text = namespace == "python" or name in custom or recipient in custom
        if not takes_text:
            arguments, error = read_arguments(text)
        calls.append(
            ToolCall(recipient, namespace, name, arguments, text, error, message.channel, index)
        )
    return calls


def _clean_recipient(recipient: object) -> str:
    """The recipient without leaked markup; "" if nothing is left, or if there is none."""
    if not isinstance(recipient, str):  # Message.from_dict does not check
        return ""
    text = _MARKER.sub(" ", _MARKER_WITH_VALUE.sub(" ", recipient))
    words = text.replace("to=", " to= ").split()
    if "to=" in words:
        words = [word for word in words[words.index("to=") :] if word != "to="]
    cleaned = words[0].partition("<")[0].strip(_AROUND_NAMES) if words else ""
    return _DOUBLED_NAMESPACE.sub("", cleaned)


def _split_recipient(recipient: str) -> tuple[str | None, str]:
    """Namespace and name."""
    if recipient == "python":
        return "python", "python"
    namespace, dot, name = recipient.partition(".")
    return (namespace, name) if dot else (None, recipient)
