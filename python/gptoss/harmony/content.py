"""What a message holds: text, or the settings of a system or a developer message.

Names, fields, defaults and dictionary forms are those of openai-harmony 0.0.8, but for one thing:
`to_dict` keeps a None that was set where the default is something else, so that `from_dict` gives
back what was there.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

from pydantic import BaseModel, Field

from gptoss.harmony.tools import ToolDescription, ToolNamespaceConfig


class Content(BaseModel):
    """The base of every content; a subclass says in `to_dict` how it is written as JSON.

    Contents are mutable and not locked: share between threads only what no thread changes.
    """

    def to_dict(self) -> dict[str, Any]:
        """The content with its kind under "type". NotImplementedError: a bare Content."""
        raise NotImplementedError


class TextContent(Content):
    """Plain text, of any role."""

    text: str

    def to_dict(self) -> dict[str, Any]:
        """The text, with "text" as its "type"."""
        return {"type": "text", "text": self.text}


class ReasoningEffort(str, Enum):
    """How much the model thinks before it answers; rendered in lower case."""

    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"


class ChannelConfig(BaseModel):
    """The channels that the system message names; an empty list leaves the section out."""

    valid_channels: list[str]
    channel_required: bool

    @classmethod
    def require_channels(cls, channels: list[str]) -> ChannelConfig:
        """These channels, and every message must be on one of them."""
        return cls(valid_channels=channels, channel_required=True)


class SystemContent(Content):
    """The settings in a system message; None leaves a line out.

    The dates are free text, by convention `2024-06` and `2025-06-28`. `tools` holds namespaces
    under their names. The `with_` methods change this content and return it; they check nothing,
    as assignment checks nothing. Wrong types given to the constructor raise
    pydantic.ValidationError.
    """

    model_identity: str | None = "You are ChatGPT, a large language model trained by OpenAI."
    reasoning_effort: ReasoningEffort | None = ReasoningEffort.MEDIUM
    conversation_start_date: str | None = None
    knowledge_cutoff: str | None = "2024-06"
    channel_config: ChannelConfig | None = Field(
        default_factory=lambda: ChannelConfig.require_channels(["analysis", "commentary", "final"])
    )
    tools: dict[str, ToolNamespaceConfig] | None = None

    @classmethod
    def new(cls) -> SystemContent:
        """The default settings."""
        return cls()

    def with_model_identity(self, model_identity: str) -> SystemContent:
        """Say who the model is: the first line of the message."""
        self.model_identity = model_identity
        return self

    def with_reasoning_effort(self, reasoning_effort: ReasoningEffort) -> SystemContent:
        """Say how much the model is to think."""
        self.reasoning_effort = reasoning_effort
        return self

    def with_conversation_start_date(self, conversation_start_date: str) -> SystemContent:
        """Say what day it is."""
        self.conversation_start_date = conversation_start_date
        return self

    def with_knowledge_cutoff(self, knowledge_cutoff: str) -> SystemContent:
        """Say until when the model knows the world."""
        self.knowledge_cutoff = knowledge_cutoff
        return self

    def with_channel_config(self, channel_config: ChannelConfig) -> SystemContent:
        """Name the channels, and whether each message must be on one."""
        self.channel_config = channel_config
        return self

    def with_required_channels(self, channels: list[str]) -> SystemContent:
        """Name the channels; each message must be on one."""
        self.channel_config = ChannelConfig.require_channels(channels)
        return self

    def with_tools(self, ns_config: ToolNamespaceConfig) -> SystemContent:
        """Offer the tools of a namespace, in place of an earlier namespace of the same name."""
        if self.tools is None:
            self.tools = {}
        self.tools[ns_config.name] = ns_config
        return self

    def with_browser_tool(self) -> SystemContent:
        """Offer the browser of the training."""
        return self.with_tools(ToolNamespaceConfig.browser())

    def with_python_tool(self) -> SystemContent:
        """Offer the Python notebook of the training."""
        return self.with_tools(ToolNamespaceConfig.python())

    def to_dict(self) -> dict[str, Any]:
        """The settings that are not at their default of None, with "system_content" as "type"."""
        return {**_dump_without_default_none(self), "type": "system_content"}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> SystemContent:
        """Settings from what `to_dict` gives; an absent one is at its default."""
        return cls(**raw)


class DeveloperContent(Content):
    """The instructions of the developer and the tools of the application.

    `tools` holds namespaces under their names; functions of the application belong into the
    namespace `functions`. The `with_` methods change this content and return it. Wrong types
    given to the constructor raise pydantic.ValidationError.
    """

    instructions: str | None = None
    tools: dict[str, ToolNamespaceConfig] | None = None

    @classmethod
    def new(cls) -> DeveloperContent:
        """No instructions and no tools."""
        return cls()

    def with_instructions(self, instructions: str) -> DeveloperContent:
        """Say what the application wants of the model."""
        self.instructions = instructions
        return self

    def with_tools(self, ns_config: ToolNamespaceConfig) -> DeveloperContent:
        """Offer the tools of a namespace, in place of an earlier namespace of the same name."""
        if self.tools is None:
            self.tools = {}
        self.tools[ns_config.name] = ns_config
        return self

    def with_function_tools(self, tools: Sequence[ToolDescription]) -> DeveloperContent:
        """Offer the functions of the application: the namespace `functions`."""
        return self.with_tools(
            ToolNamespaceConfig(name="functions", description=None, tools=list(tools))
        )

    def to_dict(self) -> dict[str, Any]:
        """The settings that are not None, with "developer_content" as "type"."""
        return {**_dump_without_default_none(self), "type": "developer_content"}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> DeveloperContent:
        """Settings from what `to_dict` gives; an absent one is at its default."""
        return cls(**raw)


def _dump_without_default_none(content: Content) -> dict[str, Any]:
    """Every field but those that are None and would be None if they were left out."""
    dumped = content.model_dump(exclude_none=True)
    for name, field in type(content).model_fields.items():
        if name not in dumped and field.get_default(call_default_factory=True) is not None:
            dumped[name] = None
    return dumped
