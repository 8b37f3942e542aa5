"""What gpt-oss writes now and then instead of what it should, and what becomes of it: a test case.

Each malformation is the tokens that the model wrote, the same spelled out, the messages that a
lenient parse makes of them, and the repairs that it lists.
"""

from typing import NamedTuple

from gptoss.harmony import Message, Repair, Role


class Read(NamedTuple):
    """A message of text, in short."""

    role: str = "assistant"
    name: str | None = None
    recipient: str | None = None
    channel: str | None = None
    content_type: str | None = None
    text: str = "Hi"

    @classmethod
    def of(cls, message: Message) -> "Read":
        (content,) = message.content
        return cls(
            message.author.role.value,
            message.author.name,
            message.recipient,
            message.channel,
            message.content_type,
            getattr(content, "text"),  # noqa: B009 (either package's text)
        )


class Malformation(NamedTuple):
    """One completion: `ids`, the tokens in decimal; `spelling`, their text."""

    name: str
    spelling: str
    ids: str
    messages: list[Read]
    repairs: list[Repair]
    role: Role | None = Role.ASSISTANT

    @property
    def tokens(self) -> list[int]:
        return [int(token) for token in self.ids.split()]
