"""Messages to tokens, by the rules that the models were trained on.

Source: openai_harmony 0.0.8, token by token. Every piece of a header and every content is encoded
on its own and as ordinary text, so nothing that anybody wrote becomes a special token.

The messages given here are plain (`plain_conversation`): of the types that they declare.
"""

from __future__ import annotations

from collections.abc import Sequence

from gptoss.harmony.content import Content, DeveloperContent, SystemContent, TextContent
from gptoss.harmony.messages import Message, Role
from gptoss.harmony.typescript import tools_section
from gptoss.harmony.vocabulary import CONSTRAIN_MARKER, HarmonyVocabulary

# Enough for every role, channel and tool that a service knows; longer texts are not repeated.
_MAX_CACHED_PIECES = 4096
_MAX_CACHED_PIECE_LENGTH = 64


class RenderingError(Exception):
    """The conversation breaks a rule of the format; its text is the package's."""


class HeaderPieces(dict[str, "tuple[int, ...]"]):
    """The tokens of each piece of a header, encoded when first asked for; a bounded cache."""

    def __init__(self, vocabulary: HarmonyVocabulary) -> None:
        self._vocabulary = vocabulary

    def __missing__(self, text: str) -> tuple[int, ...]:
        tokens = tuple(self._vocabulary.encode(text))
        if len(self) < _MAX_CACHED_PIECES and len(text) <= _MAX_CACHED_PIECE_LENGTH:
            self[text] = tokens
        return tokens


class Renderer:
    """Messages to the tokens of one vocabulary; shared by threads."""

    def __init__(self, vocabulary: HarmonyVocabulary) -> None:
        self._vocabulary = vocabulary
        self._pieces = HeaderPieces(vocabulary)

    # Conversations.

    def render_conversation(
        self, messages: Sequence[Message], *, auto_drop_analysis: bool
    ) -> list[int]:
        """The tokens of all messages; RenderingError: a message breaks a rule of the format."""
        rendered = drop_analysis(messages) if auto_drop_analysis else messages
        has_function_tools = any(map(_offers_functions, messages))
        tokens: list[int] = []
        for message in rendered:
            self._add_message(tokens, message, has_function_tools)
        return tokens

    def render_conversation_for_completion(
        self, messages: Sequence[Message], next_turn_role: Role, *, auto_drop_analysis: bool
    ) -> list[int]:
        """The tokens of all messages and the start of the one that is to be written."""
        tokens = self.render_conversation(messages, auto_drop_analysis=auto_drop_analysis)
        tokens.append(self._vocabulary.start)
        tokens += self._pieces[next_turn_role.value]
        return tokens

    def render_conversation_for_training(
        self, messages: Sequence[Message], *, auto_drop_analysis: bool
    ) -> list[int]:
        """The tokens of all messages, the last of which ends as the model is to end it."""
        tokens = self.render_conversation(messages, auto_drop_analysis=auto_drop_analysis)
        if messages and _is_final_answer(messages[-1]):
            tokens[-1] = self._vocabulary.return_
        return tokens

    # One message: its header, its contents, its end.

    def render_message(self, message: Message, *, has_function_tools: bool) -> list[int]:
        """The tokens of one message; RenderingError: it breaks a rule of the format."""
        tokens: list[int] = []
        self._add_message(tokens, message, has_function_tools)
        return tokens

    def _add_message(self, tokens: list[int], message: Message, has_function_tools: bool) -> None:
        tokens.append(self._vocabulary.start)
        self._add_header(tokens, message)
        tokens.append(self._vocabulary.message)
        for content in message.content:
            text = content_text(content, message.author.role, has_function_tools)
            tokens += self._vocabulary.encode(text)
        is_call = message.author.role is Role.ASSISTANT and message.recipient is not None
        tokens.append(self._vocabulary.call if is_call else self._vocabulary.end)

    def _add_header(self, tokens: list[int], message: Message) -> None:
        """The author, the recipient, the channel, the content type; absent ones are left out."""
        pieces = self._pieces
        role, name = message.author.role, message.author.name
        if role is Role.TOOL:
            if name is None:
                raise RenderingError("Tools should have a name!")
            tokens += pieces[name]
        else:
            tokens += pieces[role.value]
            if name is not None:
                tokens += pieces[f":{name}"]
        if message.recipient is not None and message.recipient != "all":
            tokens += pieces[f" to={message.recipient}"]
        if message.channel is not None:
            tokens.append(self._vocabulary.channel)
            tokens += pieces[message.channel]
        content_type = message.content_type
        if content_type is not None:
            if content_type.startswith(CONSTRAIN_MARKER):
                tokens += pieces[" "]
                tokens.append(self._vocabulary.constrain)
                tokens += pieces[content_type.removeprefix(CONSTRAIN_MARKER)]
            else:
                tokens += pieces[f" {content_type}"]


# Which messages the model sees again.


def drop_analysis(messages: Sequence[Message]) -> Sequence[Message]:
    """Without the analysis before the first final message, if the assistant's last one is final.

    So while the model is calling tools it sees its thoughts, and after its answer no more. Analysis
    that came after the first final message stays: the models were trained that way.
    """
    assistant = [message for message in messages if message.author.role is Role.ASSISTANT]
    if not (assistant and assistant[-1].channel == "final"):
        return messages
    first_final = next(
        index for index, message in enumerate(messages) if message.channel == "final"
    )
    return [
        message
        for index, message in enumerate(messages)
        if index >= first_final or message.channel != "analysis"
    ]


def _is_final_answer(message: Message) -> bool:
    return message.author.role is Role.ASSISTANT and message.channel == "final"


def _offers_functions(message: Message) -> bool:
    """Whether a content of the message has tools in the namespace of the application."""
    for content in message.content:
        if isinstance(content, DeveloperContent) and content.tools is not None:
            functions = content.tools.get("functions")
            if functions is not None and functions.tools:
                return True
    return False


# The text of a content.


def content_text(content: Content, role: Role, has_function_tools: bool) -> str:
    """The text that stands for a content; RenderingError: a message of that role has none such."""
    if isinstance(content, TextContent):
        return content.text
    if isinstance(content, SystemContent):
        _require_role(content, role, Role.SYSTEM)
        return system_text(content, has_function_tools)
    assert isinstance(content, DeveloperContent)
    _require_role(content, role, Role.DEVELOPER)
    return developer_text(content)


def _require_role(content: Content, role: Role, required: Role) -> None:
    if role is not required:
        raise RenderingError(
            f"{type(content).__name__} may only appear in {required.value} messages, "
            f"found in {role.value.capitalize()}"
        )


def system_text(content: SystemContent, has_function_tools: bool) -> str:
    """The sections of a system message: the model and the dates, the effort, tools, channels."""
    about = []
    if content.model_identity is not None:
        about.append(content.model_identity)
    if content.knowledge_cutoff is not None:
        about.append(f"Knowledge cutoff: {content.knowledge_cutoff}")
    if content.conversation_start_date is not None:
        about.append(f"Current date: {content.conversation_start_date}")
    sections = ["\n".join(about)] if about else []
    if content.reasoning_effort is not None:
        sections.append(f"Reasoning: {content.reasoning_effort.value.lower()}")
    if content.tools:
        sections.append(tools_section(content.tools))
    if content.channel_config is not None and content.channel_config.valid_channels:
        channels = f"# Valid channels: {', '.join(content.channel_config.valid_channels)}."
        if content.channel_config.channel_required:
            channels += " Channel must be included for every message."
        if has_function_tools:
            channels += "\nCalls to these tools must go to the commentary channel: 'functions'."
        sections.append(channels)
    return "\n\n".join(sections)


def developer_text(content: DeveloperContent) -> str:
    """The sections of a developer message: the instructions, even if empty, and the tools."""
    sections = []
    if content.instructions is not None:
        sections += ["# Instructions", content.instructions]
    if content.tools:
        sections.append(tools_section(content.tools))
    return "\n\n".join(sections)
