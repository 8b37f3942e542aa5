"""Headers with the wrong words, channels, recipients and content types."""

from gptoss.harmony import Repair, RepairKind
from harmony_malformation import Malformation, Read

MALFORMED_HEADERS = [
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
            Repair(RepairKind.SPELLED_TOKEN, 17, "<|channel|>commentary"),
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
]
