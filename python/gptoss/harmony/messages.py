"""Who says what to whom: roles, authors, messages and conversations.

Names, fields, defaults and dictionary forms are those of openai-harmony 0.0.8. Beside them,
pydantic's own `model_dump` and `model_validate` (and their JSON forms) keep the contents of a
message: in the package they come out empty.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    ValidatorFunctionWrapHandler,
    WrapSerializer,
    WrapValidator,
)

from gptoss.harmony.content import Content, DeveloperContent, SystemContent, TextContent

_CONTENT_TYPES: dict[str, type[Content]] = {
    "text": TextContent,
    "system_content": SystemContent,
    "developer_content": DeveloperContent,
}


def _validate_content(value: object, validate: ValidatorFunctionWrapHandler) -> Content:
    """Read a dictionary whose "type" is one of `to_dict` as that content.

    Anything else goes the way of a plain `list[Content]`: instances as they are, any other
    dictionary as a bare Content.
    """
    if isinstance(value, dict):
        tag = value.get("type")
        if isinstance(tag, str) and tag in _CONTENT_TYPES:
            return _CONTENT_TYPES[tag].model_validate(value)
    content: Content = validate(value)
    return content


def _serialize_content(content: Any, serialize: SerializerFunctionWrapHandler) -> Any:
    """All fields of a content, and under "type" what `_validate_content` needs."""
    fields = serialize(content)
    for tag, content_type in _CONTENT_TYPES.items():
        if isinstance(content, content_type) and isinstance(fields, dict):
            return {"type": tag, **fields}
    return fields


class Role(str, Enum):
    """Who speaks."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    DEVELOPER = "developer"
    TOOL = "tool"

    @classmethod
    def _missing_(cls, value: object) -> Role:
        raise ValueError(f"Unknown role: {value!r}")


class Author(BaseModel):
    """A role, and the name of the one who has it: required for a tool, rare otherwise."""

    role: Role
    name: str | None = None

    @classmethod
    def new(cls, role: Role, name: str) -> Author:
        """The constructor with positional arguments."""
        return cls(role=role, name=name)


class Message(BaseModel):
    """One message: an author, contents, and where it goes.

    `channel` is `analysis`, `commentary` or `final` for the model's own messages; `recipient` is
    the tool that is called, or None for everybody; `content_type` is what the model declares, such
    as `<|constrain|>json`.

    The `with_` methods and `adding_content` change this message and return it; they check nothing.
    Wrong types given to the constructor raise pydantic.ValidationError. Messages are not locked:
    share between threads only what no thread changes.
    """

    author: Author
    content: list[
        Annotated[
            SerializeAsAny[Content],
            WrapValidator(_validate_content),
            WrapSerializer(_serialize_content),
        ]
    ] = Field(default_factory=list)
    channel: str | None = None
    recipient: str | None = None
    content_type: str | None = None

    @classmethod
    def from_author_and_content(cls, author: Author, content: str | Content) -> Message:
        """A message of one content; a str is text."""
        if isinstance(content, str):
            content = TextContent(text=content)
        return cls(author=author, content=[content])

    @classmethod
    def from_role_and_content(cls, role: Role, content: str | Content) -> Message:
        """A message of one content by a nameless author; a str is text."""
        return cls.from_author_and_content(Author(role=role), content)

    @classmethod
    def from_role_and_contents(cls, role: Role, contents: Sequence[Content]) -> Message:
        """A message of several contents by a nameless author."""
        return cls(author=Author(role=role), content=list(contents))

    def adding_content(self, content: str | Content) -> Message:
        """Append a content; a str is text."""
        if isinstance(content, str):
            content = TextContent(text=content)
        self.content.append(content)
        return self

    def with_channel(self, channel: str) -> Message:
        """Put the message on a channel."""
        self.channel = channel
        return self

    def with_recipient(self, recipient: str) -> Message:
        """Address the message to a tool or a role."""
        self.recipient = recipient
        return self

    def with_content_type(self, content_type: str) -> Message:
        """Declare what the contents are."""
        self.content_type = content_type
        return self

    def to_dict(self) -> dict[str, Any]:
        """The message as a flat dictionary: role, name, content, and what else is not None.

        NotImplementedError: a content is a bare Content.
        """
        out: dict[str, Any] = {
            **self.author.model_dump(),
            "content": [content.to_dict() for content in self.content],
        }
        if self.channel is not None:
            out["channel"] = self.channel
        if self.recipient is not None:
            out["recipient"] = self.recipient
        if self.content_type is not None:
            out["content_type"] = self.content_type
        return out

    def to_json(self) -> str:
        """The dictionary as JSON, in ASCII."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Message:
        """A message from what `to_dict` gives; content may also be one str.

        KeyError: no role or no content. ValueError: an unknown role or type of content.
        pydantic.ValidationError: fields of another type. Channel, recipient and content type are
        taken unchecked.
        """
        author = Author(role=Role(data["role"]), name=data.get("name"))
        raw_contents = data["content"]
        if isinstance(raw_contents, str):
            raw_contents = [{"type": "text", "text": raw_contents}]
        contents: list[Content] = []
        for raw in raw_contents:
            tag = raw.get("type")
            if not isinstance(tag, str) or tag not in _CONTENT_TYPES:
                raise ValueError(f"Unknown content variant: {raw}")
            contents.append(_CONTENT_TYPES[tag](**raw))
        message = cls(author=author, content=contents)
        message.channel = data.get("channel")
        message.recipient = data.get("recipient")
        message.content_type = data.get("content_type")
        return message


class Conversation(BaseModel):
    """Messages in their order; iterating a conversation gives them."""

    messages: list[Message] = Field(default_factory=list)

    @classmethod
    def from_messages(cls, messages: Sequence[Message]) -> Conversation:
        """A conversation of these very messages, which are not copied."""
        return cls(messages=list(messages))

    def __iter__(self) -> Iterator[Message]:  # type: ignore[override]  # pydantic gives the fields
        return iter(self.messages)

    def to_dict(self) -> dict[str, Any]:
        """The messages as dictionaries, under "messages"."""
        return {"messages": [message.to_dict() for message in self.messages]}

    def to_json(self) -> str:
        """The dictionary as JSON, in ASCII."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, payload: str) -> Conversation:
        """A conversation from what `to_json` gives; errors as in json.loads and from_dict."""
        data = json.loads(payload)
        return cls(messages=[Message.from_dict(message) for message in data["messages"]])
