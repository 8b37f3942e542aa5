"""Messages that begin or end where they should not, and tokens that stand in no message."""

from gptoss.harmony import Repair, RepairKind
from harmony_malformation import Malformation, Read

MALFORMED_MESSAGES = [
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
