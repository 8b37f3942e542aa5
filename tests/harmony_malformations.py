"""What gpt-oss writes now and then instead of what it should, and what becomes of it.

Each malformation as the tokens that the model wrote, the same spelled out, the messages that a
lenient parse makes of them and the repairs that it lists. Sources: OpenAI's issue tracker for
openai-harmony, and what the format's rules leave open.
"""

from typing import NamedTuple

from gptoss.harmony import Message, Repair, RepairKind, Role


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


MALFORMATIONS = [
    # Ends and starts.
    Malformation(
        "two ends",
        "<|channel|>final<|message|>Hi<|end|><|return|>",
        "200005 17196 200008 12194 200007 200002",
        [Read(channel="final", text="Hi")],
        [Repair(RepairKind.EXTRA_END, 5, "<|return|>")],
    ),
    Malformation(
        "three ends",
        "<|channel|>final<|message|>Hi<|return|><|end|><|return|>",
        "200005 17196 200008 12194 200002 200007 200002",
        [Read(channel="final", text="Hi")],
        [Repair(RepairKind.EXTRA_END, 5, "<|end|>"), Repair(RepairKind.EXTRA_END, 6, "<|return|>")],
    ),
    Malformation(
        "end of text after the end",
        "<|channel|>final<|message|>Hi<|return|><|endoftext|>",
        "200005 17196 200008 12194 200002 199999",
        [Read(channel="final", text="Hi")],
        [Repair(RepairKind.EXTRA_END, 5, "<|endoftext|>")],
    ),
    Malformation(
        "no start",
        "<|channel|>analysis<|message|>Hm<|end|><|channel|>final<|message|>Hi<|return|>",
        "200005 35644 200008 198558 200007 200005 17196 200008 12194 200002",
        [Read(channel="analysis", text="Hm"), Read(channel="final", text="Hi")],
        [Repair(RepairKind.MISSING_START, 5, "")],
    ),
    Malformation(
        "a role without start",
        ("<|channel|>analysis<|message|>Hm<|end|>assistant<|channel|>final<|message|>Hi<|return|>"),
        "200005 35644 200008 198558 200007 173781 200005 17196 200008 12194 200002",
        [Read(channel="analysis", text="Hm"), Read(channel="final", text="Hi")],
        [Repair(RepairKind.MISSING_START, 5, "")],
    ),
    Malformation(
        "a recipient without start",
        (
            "<|channel|>analysis<|message|>Hm<|end|> to=functions.f<|channel|>commentary<|mes"
            "sage|>{}<|call|>"
        ),
        (
            "200005 35644 200008 198558 200007 316 28 44580 1196 200005 12606 815 200008 "
            "12083 200012"
        ),
        [
            Read(channel="analysis", text="Hm"),
            Read(channel="commentary", recipient="functions.f", text="{}"),
        ],
        [Repair(RepairKind.MISSING_START, 5, "")],
    ),
    Malformation(
        "content without start",
        "<|channel|>analysis<|message|>Hm<|end|><|message|>Hi<|return|>",
        "200005 35644 200008 198558 200007 200008 12194 200002",
        [Read(channel="analysis", text="Hm"), Read(text="Hi")],
        [Repair(RepairKind.MISSING_START, 5, "")],
    ),
    # Words in headers.
    Malformation(
        "one extra word",
        "<|channel|>final thoughts<|message|>Hi<|return|>",
        "200005 17196 13239 200008 12194 200002",
        [Read(channel="final", content_type="thoughts", text="Hi")],
        [Repair(RepairKind.LONE_WORD, 3, "thoughts")],
    ),
    Malformation(
        "extra words",
        "<|channel|>final and so on<|message|>Hi<|return|>",
        "200005 17196 326 813 402 200008 12194 200002",
        [Read(channel="final", text=" and so on"), Read(channel="final", text="Hi")],
        [Repair(RepairKind.EXTRA_HEADER_TEXT, 5, " and so on")],
    ),
    Malformation(
        "extra words before a channel",
        "I will call<|channel|>commentary to=functions.f<|message|>{}<|call|>",
        "40 738 2421 200005 12606 815 316 28 44580 1196 200008 12083 200012",
        [
            Read(channel="commentary", text="I will call"),
            Read(channel="commentary", recipient="functions.f", text="{}"),
        ],
        [Repair(RepairKind.EXTRA_HEADER_TEXT, 10, "I will call")],
    ),
    Malformation(
        "extra words after a content type",
        ("<|channel|>commentary to=functions.f <|constrain|>json now please<|message|>{}<|call|>"),
        "200005 12606 815 316 28 44580 1196 220 200003 4108 1954 4843 200008 12083 200012",
        [
            Read(channel="commentary", text=" now please"),
            Read(
                channel="commentary",
                recipient="functions.f",
                content_type="<|constrain|>json",
                text="{}",
            ),
        ],
        [Repair(RepairKind.EXTRA_HEADER_TEXT, 12, " now please")],
    ),
    Malformation(
        "the same recipient twice",
        (
            " to=functions.f<|channel|>commentary to=functions.f <|constrain|>json<|message|>"
            "{}<|call|>"
        ),
        (
            "316 28 44580 1196 200005 12606 815 316 28 44580 1196 220 200003 4108 200008 "
            "12083 200012"
        ),
        [
            Read(
                channel="commentary",
                recipient="functions.f",
                content_type="<|constrain|>json",
                text="{}",
            )
        ],
        [Repair(RepairKind.REPEATED_RECIPIENT, 14, "functions.f")],
    ),
    Malformation(
        "two recipients",
        (
            " to=functions.f<|channel|>commentary to=functions.g <|constrain|>json<|message|>"
            "{}<|call|>"
        ),
        (
            "316 28 44580 1196 200005 12606 815 316 28 44580 1940 220 200003 4108 200008 "
            "12083 200012"
        ),
        [
            Read(channel="commentary", text=" to=functions.f"),
            Read(
                channel="commentary",
                recipient="functions.g",
                content_type="<|constrain|>json",
                text="{}",
            ),
        ],
        [
            Repair(RepairKind.REPEATED_RECIPIENT, 14, "functions.g"),
            Repair(RepairKind.EXTRA_HEADER_TEXT, 14, " to=functions.f"),
        ],
    ),
    Malformation(
        "the same channel twice",
        "<|channel|>final<|channel|>final<|message|>Hi<|return|>",
        "200005 17196 200005 17196 200008 12194 200002",
        [Read(channel="final", text="Hi")],
        [Repair(RepairKind.REPEATED_CHANNEL, 4, "final")],
    ),
    Malformation(
        "two channels",
        "<|channel|>analysis<|channel|>final<|message|>Hi<|return|>",
        "200005 35644 200005 17196 200008 12194 200002",
        [Read(channel="analysis", text=""), Read(channel="final", text="Hi")],
        [Repair(RepairKind.REPEATED_CHANNEL, 4, "final")],
    ),
    # Roles and starts that come twice.
    Malformation(
        "a doubled start",
        (
            "<|channel|>analysis<|message|>Hm<|end|><|start|><|start|>assistant<|channel|>fin"
            "al<|message|>Hi<|return|>"
        ),
        ("200005 35644 200008 198558 200007 200006 200006 173781 200005 17196 200008 12194 200002"),
        [Read(channel="analysis", text="Hm"), Read(channel="final", text="Hi")],
        [Repair(RepairKind.REPEATED_START, 6, "")],
    ),
    Malformation(
        "a header begun anew",
        (
            "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|start|>assistant<|cha"
            "nnel|>final<|message|>Hi<|return|>"
        ),
        (
            "200005 35644 200008 198558 200007 200006 173781 200006 173781 200005 17196 "
            "200008 12194 200002"
        ),
        [Read(channel="analysis", text="Hm"), Read(channel="final", text="Hi")],
        [Repair(RepairKind.REPEATED_START, 7, "")],
    ),
    Malformation(
        "the prompt's start again",
        "<|start|>assistant<|channel|>final<|message|>Hi<|return|>",
        "200006 173781 200005 17196 200008 12194 200002",
        [Read(channel="final", text="Hi")],
        [Repair(RepairKind.REPEATED_START, 0, "")],
    ),
    Malformation(
        "a channel begun anew",
        "<|channel|>analysis<|start|>assistant<|channel|>final<|message|>Hi<|return|>",
        "200005 35644 200006 173781 200005 17196 200008 12194 200002",
        [Read(channel="analysis", text=""), Read(channel="final", text="Hi")],
        [Repair(RepairKind.REPEATED_START, 2, ""), Repair(RepairKind.MISSING_MESSAGE, 2, "")],
    ),
    Malformation(
        "a recipient left for a new header",
        (
            "<|channel|>commentary to=functions.f<|start|>assistant<|channel|>final<|message|"
            ">Hi<|return|>"
        ),
        ("200005 12606 815 316 28 44580 1196 200006 173781 200005 17196 200008 12194 200002"),
        [Read(channel="commentary", text="to=functions.f"), Read(channel="final", text="Hi")],
        [Repair(RepairKind.REPEATED_START, 7, ""), Repair(RepairKind.MISSING_MESSAGE, 7, "")],
    ),
    Malformation(
        "a doubled role",
        (
            "<|channel|>analysis<|message|>Hm<|end|><|start|>assistantassistant<|channel|>fin"
            "al<|message|>Hi<|return|>"
        ),
        ("200005 35644 200008 198558 200007 200006 173781 173781 200005 17196 200008 12194 200002"),
        [Read(channel="analysis", text="Hm"), Read(channel="final", text="Hi")],
        [Repair(RepairKind.REPEATED_ROLE, 10, "assistant")],
    ),
    Malformation(
        "a doubled role with a space",
        (
            "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant assistant<|channel|>fi"
            "nal<|message|>Hi<|return|>"
        ),
        ("200005 35644 200008 198558 200007 200006 173781 29186 200005 17196 200008 12194 200002"),
        [Read(channel="analysis", text="Hm"), Read(channel="final", text="Hi")],
        [Repair(RepairKind.REPEATED_ROLE, 10, "assistant")],
    ),
    Malformation(
        "the prompt's role again",
        "assistant<|channel|>final<|message|>Hi<|return|>",
        "173781 200005 17196 200008 12194 200002",
        [Read(channel="final", text="Hi")],
        [Repair(RepairKind.REPEATED_ROLE, 3, "assistant")],
    ),
    Malformation(
        "a role before the start",
        (
            "<|channel|>analysis<|message|>Hm<|end|>assistant<|start|>assistant<|channel|>fin"
            "al<|message|>Hi<|return|>"
        ),
        ("200005 35644 200008 198558 200007 173781 200006 173781 200005 17196 200008 12194 200002"),
        [Read(channel="analysis", text="Hm"), Read(channel="final", text="Hi")],
        [Repair(RepairKind.MISSING_START, 5, ""), Repair(RepairKind.REPEATED_ROLE, 6, "assistant")],
    ),
    Malformation(
        "a role after the channel",
        "<|channel|>commentary assistant<|message|>Hi<|end|>",
        "200005 12606 815 29186 200008 12194 200007",
        [Read(channel="commentary", text="Hi")],
        [Repair(RepairKind.REPEATED_ROLE, 4, "assistant")],
    ),
    # Channels.
    Malformation(
        "an empty channel",
        "<|channel|><|message|>Hi<|return|>",
        "200005 200008 12194 200002",
        [Read(text="Hi")],
        [Repair(RepairKind.EMPTY_CHANNEL, 1, "<|channel|>")],
    ),
    Malformation(
        "an empty channel before a recipient",
        "<|channel|>to=functions.f<|message|>{}<|call|>",
        "200005 935 28 44580 1196 200008 12083 200012",
        [Read(recipient="functions.f", text="{}")],
        [Repair(RepairKind.EMPTY_CHANNEL, 5, "<|channel|>")],
    ),
    Malformation(
        "a space before the channel's name",
        "<|channel|> final<|message|>Hi<|return|>",
        "200005 1721 200008 12194 200002",
        [Read(channel="final", text="Hi")],
        [Repair(RepairKind.SPACE_IN_HEADER, 2, "final")],
    ),
    # Text between messages.
    Malformation(
        "text between messages",
        "<|channel|>analysis<|message|>Hm<|end|>The answer is 4.<|return|>",
        "200005 35644 200008 198558 200007 976 6052 382 220 19 13 200002",
        [Read(channel="analysis", text="Hm"), Read(text="The answer is 4.")],
        [
            Repair(RepairKind.MISSING_START, 5, ""),
            Repair(RepairKind.TEXT_BETWEEN_MESSAGES, 11, "The answer is 4."),
        ],
    ),
    Malformation(
        "text before a start",
        (
            "<|channel|>analysis<|message|>Hm<|end|>So:<|start|>assistant<|channel|>final<|me"
            "ssage|>Hi<|return|>"
        ),
        (
            "200005 35644 200008 198558 200007 5808 25 200006 173781 200005 17196 200008 "
            "12194 200002"
        ),
        [Read(channel="analysis", text="Hm"), Read(text="So:"), Read(channel="final", text="Hi")],
        [
            Repair(RepairKind.MISSING_START, 5, ""),
            Repair(RepairKind.TEXT_BETWEEN_MESSAGES, 7, "So:"),
        ],
    ),
    Malformation(
        "a new line between messages",
        (
            "<|channel|>analysis<|message|>Hm<|end|>\n<|start|>assistant<|channel|>final<|mess"
            "age|>Hi<|return|>"
        ),
        ("200005 35644 200008 198558 200007 198 200006 173781 200005 17196 200008 12194 200002"),
        [Read(channel="analysis", text="Hm"), Read(text="\n"), Read(channel="final", text="Hi")],
        [
            Repair(RepairKind.MISSING_START, 5, ""),
            Repair(RepairKind.TEXT_BETWEEN_MESSAGES, 6, "\n"),
        ],
    ),
    # Content types.
    Malformation(
        "a space after constrain",
        "<|channel|>commentary to=functions.f <|constrain|> json<|message|>{}<|call|>",
        "200005 12606 815 316 28 44580 1196 220 200003 5701 200008 12083 200012",
        [
            Read(
                channel="commentary",
                recipient="functions.f",
                content_type="<|constrain|>json",
                text="{}",
            )
        ],
        [Repair(RepairKind.SPACE_IN_HEADER, 10, "json")],
    ),
    Malformation(
        "the same content type twice",
        (
            "<|channel|>commentary to=functions.f <|constrain|>json<|constrain|>json<|message"
            "|>{}<|call|>"
        ),
        ("200005 12606 815 316 28 44580 1196 220 200003 4108 200003 4108 200008 12083 200012"),
        [
            Read(
                channel="commentary",
                recipient="functions.f",
                content_type="<|constrain|>json",
                text="{}",
            )
        ],
        [Repair(RepairKind.REPEATED_CONTENT_TYPE, 12, "<|constrain|>json")],
    ),
    Malformation(
        "two content types",
        (
            "<|channel|>commentary to=functions.f <|constrain|>json<|constrain|>code<|message"
            "|>{}<|call|>"
        ),
        ("200005 12606 815 316 28 44580 1196 220 200003 4108 200003 3056 200008 12083 200012"),
        [
            Read(channel="commentary", text=" json"),
            Read(
                channel="commentary",
                recipient="functions.f",
                content_type="<|constrain|>code",
                text="{}",
            ),
        ],
        [
            Repair(RepairKind.REPEATED_CONTENT_TYPE, 12, "<|constrain|>code"),
            Repair(RepairKind.EXTRA_HEADER_TEXT, 12, " json"),
        ],
    ),
    # Headers that never end.
    Malformation(
        "no message token in a thought",
        (
            "<|channel|>analysisWe think.<|end|><|start|>assistant<|channel|>final<|message|>"
            "Hi<|return|>"
        ),
        "200005 35644 2167 2411 13 200007 200006 173781 200005 17196 200008 12194 200002",
        [Read(channel="analysis", text="We think."), Read(channel="final", text="Hi")],
        [Repair(RepairKind.MISSING_MESSAGE, 5, "")],
    ),
    Malformation(
        "no message token in an answer",
        "<|channel|>final Hello there.<|return|>",
        "200005 17196 32949 1354 13 200002",
        [Read(channel="final", text="Hello there.")],
        [Repair(RepairKind.MISSING_MESSAGE, 5, "")],
    ),
    Malformation(
        "no message token in a call",
        '<|channel|>commentary to=functions.f <|constrain|>json{"a": 1}<|call|>',
        ("200005 12606 815 316 28 44580 1196 220 200003 4108 10848 64 1243 220 16 92 200012"),
        [
            Read(
                channel="commentary",
                recipient="functions.f",
                content_type="<|constrain|>json",
                text='{"a": 1}',
            )
        ],
        [Repair(RepairKind.MISSING_MESSAGE, 16, "")],
    ),
    Malformation(
        "no message token behind a bare content type",
        '<|channel|>commentary to=functions.f json {"a": 1}<|call|>',
        "200005 12606 815 316 28 44580 1196 5701 10494 64 1243 220 16 92 200012",
        [
            Read(
                channel="commentary",
                recipient="functions.f",
                content_type="json",
                text='{"a": 1}',
            )
        ],
        [Repair(RepairKind.MISSING_MESSAGE, 14, "")],
    ),
    Malformation(
        "no message token, and content that begins with a content type",
        "<|channel|>final json is text<|return|>",
        "200005 17196 5701 382 2201 200002",
        [Read(channel="final", text="json is text")],
        [Repair(RepairKind.MISSING_MESSAGE, 5, "")],
    ),
    Malformation(
        "no message token and a space",
        ' to=functions.f<|channel|>commentary {"a": 1}<|call|>',
        "316 28 44580 1196 200005 12606 815 10494 64 1243 220 16 92 200012",
        [Read(channel="commentary", recipient="functions.f", text='{"a": 1}')],
        [Repair(RepairKind.MISSING_MESSAGE, 13, "")],
    ),
    Malformation(
        "no header at all",
        "Hello there.<|return|>",
        "13225 1354 13 200002",
        [Read(text="Hello there.")],
        [Repair(RepairKind.MISSING_MESSAGE, 3, "")],
    ),
    Malformation(
        "a call without arguments",
        "<|channel|>commentary to=functions.f<|call|>",
        "200005 12606 815 316 28 44580 1196 200012",
        [Read(channel="commentary", recipient="functions.f", text="")],
        [Repair(RepairKind.MISSING_MESSAGE, 7, "")],
    ),
    Malformation(
        "the end in a header",
        "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>final",
        "200005 35644 200008 198558 200007 200006 173781 200005 17196",
        [Read(channel="analysis", text="Hm"), Read(channel="final", text="")],
        [Repair(RepairKind.MISSING_MESSAGE, 9, "")],
    ),
    Malformation(
        "the end after a start",
        "<|channel|>analysis<|message|>Hm<|end|><|start|>",
        "200005 35644 200008 198558 200007 200006",
        [Read(channel="analysis", text="Hm")],
        [Repair(RepairKind.MISSING_MESSAGE, 6, ""), Repair(RepairKind.MISSING_ROLE, 6, "")],
    ),
    # Ends, roles and channels left out.
    Malformation(
        "no end",
        (
            "<|channel|>analysis<|message|>Hm<|start|>assistant<|channel|>final<|message|>Hi<"
            "|return|>"
        ),
        "200005 35644 200008 198558 200006 173781 200005 17196 200008 12194 200002",
        [Read(channel="analysis", text="Hm"), Read(channel="final", text="Hi")],
        [Repair(RepairKind.MISSING_END, 4, "")],
    ),
    Malformation(
        "neither end nor start",
        "<|channel|>analysis<|message|>Hm<|channel|>final<|message|>Hi<|return|>",
        "200005 35644 200008 198558 200005 17196 200008 12194 200002",
        [Read(channel="analysis", text="Hm"), Read(channel="final", text="Hi")],
        [Repair(RepairKind.MISSING_END, 4, ""), Repair(RepairKind.MISSING_START, 4, "")],
    ),
    Malformation(
        "no role",
        ("<|channel|>analysis<|message|>Hm<|end|><|start|><|channel|>final<|message|>Hi<|return|>"),
        "200005 35644 200008 198558 200007 200006 200005 17196 200008 12194 200002",
        [Read(channel="analysis", text="Hm"), Read(channel="final", text="Hi")],
        [Repair(RepairKind.MISSING_ROLE, 8, "")],
    ),
    Malformation(
        "neither role nor message token",
        "<|channel|>analysis<|message|>Hm<|end|><|start|>We should go.<|end|>",
        "200005 35644 200008 198558 200007 200006 2167 1757 810 13 200007",
        [Read(channel="analysis", text="Hm"), Read(text="We should go.")],
        [Repair(RepairKind.MISSING_MESSAGE, 10, ""), Repair(RepairKind.MISSING_ROLE, 10, "")],
    ),
    Malformation(
        "a channel for the role",
        "<|channel|>analysis<|message|>Hm<|end|><|start|>final<|message|>Hi<|return|>",
        "200005 35644 200008 198558 200007 200006 17196 200008 12194 200002",
        [Read(channel="analysis", text="Hm"), Read(channel="final", text="Hi")],
        [
            Repair(RepairKind.MISSING_ROLE, 7, ""),
            Repair(RepairKind.MISSING_CHANNEL_TOKEN, 7, "final"),
        ],
    ),
    Malformation(
        "no channel token",
        ("<|channel|>analysis<|message|>Hm<|end|><|start|>assistantfinal<|message|>Hi<|return|>"),
        "200005 35644 200008 198558 200007 200006 173781 17196 200008 12194 200002",
        [Read(channel="analysis", text="Hm"), Read(channel="final", text="Hi")],
        [Repair(RepairKind.MISSING_CHANNEL_TOKEN, 8, "final")],
    ),
    Malformation(
        "no channel token at first",
        ("analysis<|message|>Hm<|end|><|start|>assistant<|channel|>final<|message|>Hi<|return|>"),
        "35644 200008 198558 200007 200006 173781 200005 17196 200008 12194 200002",
        [Read(channel="analysis", text="Hm"), Read(channel="final", text="Hi")],
        [Repair(RepairKind.MISSING_CHANNEL_TOKEN, 1, "analysis")],
    ),
    Malformation(
        "neither start nor channel token",
        "<|channel|>analysis<|message|>Hm<|end|>assistantfinal<|message|>Hi<|return|>",
        "200005 35644 200008 198558 200007 173781 17196 200008 12194 200002",
        [Read(channel="analysis", text="Hm"), Read(channel="final", text="Hi")],
        [
            Repair(RepairKind.MISSING_START, 5, ""),
            Repair(RepairKind.MISSING_CHANNEL_TOKEN, 7, "final"),
        ],
    ),
    # Tool calls.
    Malformation(
        "a call on analysis",
        "<|channel|>analysis to=functions.f <|constrain|>json<|message|>{}<|call|>",
        "200005 35644 316 28 44580 1196 220 200003 4108 200008 12083 200012",
        [
            Read(
                channel="analysis",
                recipient="functions.f",
                content_type="<|constrain|>json",
                text="{}",
            )
        ],
        [Repair(RepairKind.MISROUTED_CALL, 9, "functions.f on analysis")],
    ),
    Malformation(
        "a call on final",
        "<|channel|>final to=functions.f <|constrain|>json<|message|>{}<|call|>",
        "200005 17196 316 28 44580 1196 220 200003 4108 200008 12083 200012",
        [
            Read(
                channel="final",
                recipient="functions.f",
                content_type="<|constrain|>json",
                text="{}",
            )
        ],
        [Repair(RepairKind.MISROUTED_CALL, 9, "functions.f on final")],
    ),
    Malformation(
        "a channel in the recipient's name",
        (
            "<|channel|>commentary to=functions.f<|channel|>commentary<|constrain|>json<|mess"
            "age|>{}<|call|>"
        ),
        ("200005 12606 815 316 28 44580 1196 200005 12606 815 200003 4108 200008 12083 200012"),
        [
            Read(
                channel="commentary",
                recipient="functions.f",
                content_type="<|constrain|>json",
                text="{}",
            )
        ],
        [Repair(RepairKind.REPEATED_CHANNEL, 12, "commentary")],
    ),
    Malformation(
        "a channel spelled in the recipient's name",
        (
            "<|channel|>commentary to=functions.f<|channel|>commentary <|constrain|>json<|mes"
            "sage|>{}<|call|>"
        ),
        (
            "200005 12606 815 316 28 44580 1196 27 91 21453 91 29 12606 815 220 200003 4108 "
            "200008 12083 200012"
        ),
        [
            Read(
                channel="commentary",
                recipient="functions.f",
                content_type="<|constrain|>json",
                text="{}",
            )
        ],
        [
            Repair(
                RepairKind.SPELLED_TOKEN,
                17,
                "<|channel|>commentary to=functions.f<|channel|>commentary <|constrain|>json",
            ),
            Repair(RepairKind.REPEATED_CHANNEL, 17, "commentary"),
        ],
    ),
    Malformation(
        "json for the recipient",
        "<|channel|>commentary <|constrain|>json<|message|>{}<|call|>",
        "200005 12606 815 220 200003 4108 200008 12083 200012",
        [Read(channel="commentary", content_type="<|constrain|>json", text="{}")],
        [Repair(RepairKind.MISSING_RECIPIENT, 8, "<|call|>")],
    ),
    Malformation(
        "a content type for the recipient",
        "<|channel|>final json<|message|>{}<|return|>",
        "200005 17196 5701 200008 12083 200002",
        [Read(channel="final", content_type="json", text="{}")],
        [],
    ),
    Malformation(
        "a recipient before the channel",
        " to=functions.f<|channel|>commentary<|constrain|>json<|message|>{}<|call|>",
        "316 28 44580 1196 200005 12606 815 200003 4108 200008 12083 200012",
        [
            Read(
                channel="commentary",
                recipient="functions.f",
                content_type="<|constrain|>json",
                text="{}",
            )
        ],
        [],
    ),
    Malformation(
        "a recipient after the channel",
        "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>",
        "200005 12606 815 316 28 44580 1196 220 200003 4108 200008 12083 200012",
        [
            Read(
                channel="commentary",
                recipient="functions.f",
                content_type="<|constrain|>json",
                text="{}",
            )
        ],
        [],
    ),
    Malformation(
        "a recipient after the content type",
        "<|channel|>commentary <|constrain|>json to=functions.f<|message|>{}<|call|>",
        "200005 12606 815 220 200003 4108 316 28 44580 1196 200008 12083 200012",
        [
            Read(
                channel="commentary",
                recipient="functions.f",
                content_type="<|constrain|>json",
                text="{}",
            )
        ],
        [Repair(RepairKind.MISPLACED_RECIPIENT, 10, "functions.f")],
    ),
    Malformation(
        "a recipient glued to the channel",
        "<|channel|>commentaryto=functions.f <|constrain|>json<|message|>{}<|call|>",
        "200005 12606 815 935 28 44580 1196 220 200003 4108 200008 12083 200012",
        [
            Read(
                channel="commentary",
                recipient="functions.f",
                content_type="<|constrain|>json",
                text="{}",
            )
        ],
        [Repair(RepairKind.MISPLACED_RECIPIENT, 10, "functions.f")],
    ),
    Malformation(
        "an empty recipient",
        "<|channel|>commentary to= <|constrain|>json<|message|>{}<|call|>",
        "200005 12606 815 316 28 220 200003 4108 200008 12083 200012",
        [Read(channel="commentary", content_type="<|constrain|>json", text="{}")],
        [
            Repair(RepairKind.EMPTY_RECIPIENT, 8, "to="),
            Repair(RepairKind.MISSING_RECIPIENT, 10, "<|call|>"),
        ],
    ),
    Malformation(
        "a space before the recipient's name",
        "<|channel|>commentary to= functions.f <|constrain|>json<|message|>{}<|call|>",
        "200005 12606 815 316 28 9964 1196 220 200003 4108 200008 12083 200012",
        [
            Read(
                channel="commentary",
                recipient="functions.f",
                content_type="<|constrain|>json",
                text="{}",
            )
        ],
        [
            Repair(RepairKind.EMPTY_RECIPIENT, 10, "to="),
            Repair(RepairKind.MISSING_TO, 10, "functions.f"),
        ],
    ),
    Malformation(
        "a recipient without to=",
        "<|channel|>commentary functions.f <|constrain|>json<|message|>{}<|call|>",
        "200005 12606 815 9964 1196 220 200003 4108 200008 12083 200012",
        [
            Read(
                channel="commentary",
                recipient="functions.f",
                content_type="<|constrain|>json",
                text="{}",
            )
        ],
        [Repair(RepairKind.MISSING_TO, 8, "functions.f")],
    ),
    Malformation(
        "a bare name without to=",
        "<|channel|>commentary get_weather json<|message|>{}<|call|>",
        "200005 12606 815 717 170154 5701 200008 12083 200012",
        [Read(channel="commentary", recipient="get_weather", content_type="json", text="{}")],
        [Repair(RepairKind.MISSING_TO, 6, "get_weather")],
    ),
    Malformation(
        "python without to=",
        "<|channel|>analysis python code<|message|>1<|call|>",
        "200005 35644 22752 3490 200008 16 200012",
        [Read(channel="analysis", recipient="python", content_type="code", text="1")],
        [Repair(RepairKind.MISSING_TO, 4, "python")],
    ),
    # Tokens that have no meaning.
    Malformation(
        "a second message token",
        "<|channel|>final<|message|>a<|message|>b<|return|>",
        "200005 17196 200008 64 200008 65 200002",
        [Read(channel="final", text="ab")],
        [Repair(RepairKind.STRAY_TOKEN, 4, "<|message|>")],
    ),
    Malformation(
        "constrain in content",
        "<|channel|>final<|message|>a<|constrain|>b<|return|>",
        "200005 17196 200008 64 200003 65 200002",
        [Read(channel="final", text="ab")],
        [Repair(RepairKind.STRAY_TOKEN, 4, "<|constrain|>")],
    ),
    Malformation(
        "a reserved token",
        (
            "<|channel|>final<|reserved_200013|><|message|>a<|reserved_200013|>b<|return|><|r"
            "eserved_200013|>"
        ),
        "200005 17196 200013 200008 64 200013 65 200002 200013",
        [Read(channel="final", text="ab")],
        [
            Repair(RepairKind.STRAY_TOKEN, 2, "<|reserved_200013|>"),
            Repair(RepairKind.STRAY_TOKEN, 5, "<|reserved_200013|>"),
            Repair(RepairKind.STRAY_TOKEN, 8, "<|reserved_200013|>"),
        ],
    ),
    Malformation(
        "an end of text in content",
        "<|channel|>final<|message|>Hi<|endoftext|>",
        "200005 17196 200008 12194 199999",
        [Read(channel="final", text="Hi")],
        [Repair(RepairKind.END_OF_TEXT, 4, "<|endoftext|>")],
    ),
    # What a client would act on, or show, by mistake.
    Malformation(
        "a role in capitals",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>Assistant<|channel|>final<|message|>Hi<|return|>",
        "200005 35644 200008 198558 13 200007 200006 91655 200005 17196 200008 12194 200002",
        [Read(channel="analysis", text="Hm."), Read(channel="final", text="Hi")],
        [Repair(RepairKind.UNKNOWN_AUTHOR, 10, "Assistant")],
    ),
    Malformation(
        "a call cut off in its header",
        "<|channel|>commentary to=functions.f",
        "200005 12606 815 316 28 44580 1196",
        [Read(channel="commentary", text="to=functions.f")],
        [Repair(RepairKind.MISSING_MESSAGE, 7, "")],
    ),
    Malformation(
        "the tool as the channel",
        "<|channel|>functions.f <|constrain|>json<|message|>{}<|call|>",
        "200005 44580 1196 220 200003 4108 200008 12083 200012",
        [Read(recipient="functions.f", content_type="<|constrain|>json", text="{}")],
        [Repair(RepairKind.MISSING_TO, 6, "functions.f")],
    ),
    Malformation(
        "the assistant as a second recipient",
        "<|channel|>commentary to=functions.f to=assistant<|message|>{}<|call|>",
        "200005 12606 815 316 28 44580 1196 316 28 173781 200008 12083 200012",
        [
            Read(channel="commentary", text=" to=assistant"),
            Read(channel="commentary", recipient="functions.f", text="{}"),
        ],
        [
            Repair(RepairKind.REPEATED_RECIPIENT, 10, "assistant"),
            Repair(RepairKind.EXTRA_HEADER_TEXT, 10, " to=assistant"),
        ],
    ),
    Malformation(
        "a web site as the one word of an answer's header",
        "<|channel|>final example.com<|message|>Hi<|return|>",
        "200005 17196 4994 1136 200008 12194 200002",
        [Read(channel="final", content_type="example.com", text="Hi")],
        [Repair(RepairKind.LONE_WORD, 4, "example.com")],
    ),
    Malformation(
        "a web site in the words of a header",
        "<|channel|>commentary see example.com for more<|message|>Hi<|end|>",
        "200005 12606 815 1921 4994 1136 395 945 200008 12194 200007",
        [
            Read(channel="commentary", text=" see example.com for more"),
            Read(channel="commentary", text="Hi"),
        ],
        [Repair(RepairKind.EXTRA_HEADER_TEXT, 8, " see example.com for more")],
    ),
    Malformation(
        "no message token behind a bare name",
        '<|channel|>commentary to=f {"a": 1}<|call|>',
        "200005 12606 815 316 40464 10494 64 1243 220 16 92 200012",
        [Read(channel="commentary", recipient="f", text='{"a": 1}')],
        [Repair(RepairKind.MISSING_MESSAGE, 11, "")],
    ),
    Malformation(
        "a recipient's mark in an answer without message token",
        "<|channel|>final to=python is a word<|return|>",
        "200005 17196 316 28 29010 382 261 2195 200002",
        [Read(channel="final", text="to=python is a word")],
        [Repair(RepairKind.MISSING_MESSAGE, 8, "")],
    ),
    # Authors.
    Malformation(
        "a user's name",
        "<|start|>user:bob<|message|>Hi<|end|>",
        "200006 1428 87246 630 200008 12194 200007",
        [Read(role="user", name="bob", text="Hi")],
        [],
        role=None,
    ),
    Malformation(
        "a tool with its name alone",
        "<|start|>functions.f<|message|>4<|end|>",
        "200006 44580 1196 200008 19 200007",
        [Read(role="tool", name="functions.f", text="4")],
        [],
        role=None,
    ),
    Malformation(
        "no role and no prompt",
        "<|start|><|channel|>final<|message|>Hi<|return|>",
        "200006 200005 17196 200008 12194 200002",
        [Read(channel="final", text="Hi")],
        [Repair(RepairKind.MISSING_ROLE, 3, "")],
        role=None,
    ),
    Malformation(
        "no start and no prompt",
        "<|channel|>final<|message|>Hi<|return|>",
        "200005 17196 200008 12194 200002",
        [Read(channel="final", text="Hi")],
        [Repair(RepairKind.MISSING_START, 0, "")],
        role=None,
    ),
    # Numbers that are no tokens.
    Malformation(
        "a number that is no token",
        "<|channel|>final<|message|>a�b<|return|>",
        "200005 17196 200008 64 201089 65 200002",
        [Read(channel="final", text="a�b")],
        [Repair(RepairKind.UNKNOWN_TOKEN, 4, "201089")],
    ),
    Malformation(
        "a header of no tokens",
        "<|channel|>fin�<|message|>a<|return|>",
        "200005 6994 4294967295 200008 64 200002",
        [Read(channel="fin�", text="a")],
        [Repair(RepairKind.UNKNOWN_TOKEN, 3, "4294967295")],
    ),
    Malformation(
        "a torn character in a header",
        "<|channel|>fin�<|message|>a<|return|>",
        "200005 6994 240 200008 64 200002",
        [Read(channel="fin�", text="a")],
        [Repair(RepairKind.INVALID_UTF8, 3, "<|channel|>fin�")],
    ),
]
