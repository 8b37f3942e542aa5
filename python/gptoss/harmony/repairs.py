"""What a lenient parse mended, so that nothing happens silently.

The classes of malformation are those that gpt-oss is known to write, in 1 to 4 % of its turns at
temperature 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from gptoss.harmony.messages import Message


class RepairKind(str, Enum):
    """What was wrong, and what was made of it."""

    MISSING_START = "missing_start"  # no <|start|>: a message begins here all the same
    MISSING_MESSAGE = (
        "missing_message"  # no <|message|>: the header ends where it stops making sense
    )
    MISSING_END = "missing_end"  # no <|end|>: the message ends where the next one begins
    MISSING_ROLE = "missing_role"  # no role after <|start|>: it is the parser's, or assistant
    UNKNOWN_AUTHOR = "unknown_author"  # "Assistant": the role meant; in a sentence: text
    MISSING_CHANNEL_TOKEN = "missing_channel_token"  # "assistantanalysis": the channel is read
    MISSING_TO = "missing_to"  # a tool's name without "to=": it is the recipient
    MISPLACED_RECIPIENT = (
        "misplaced_recipient"  # "to=" after the content type, or glued to a word: the recipient
    )
    MISSING_RECIPIENT = "missing_recipient"  # <|call|> of nobody: a message like any other
    LONE_WORD = "lone_word"  # a word without "to=" and no recipient: the content type
    EMPTY_CHANNEL = "empty_channel"  # <|channel|> without a name: no channel
    EMPTY_RECIPIENT = "empty_recipient"  # "to=" without a name: no recipient
    REPEATED_START = "repeated_start"  # <|start|> in a header: the header begins anew
    REPEATED_ROLE = "repeated_role"  # the role a second time: read once
    REPEATED_CHANNEL = "repeated_channel"  # <|channel|> a second time: the last one holds
    REPEATED_RECIPIENT = "repeated_recipient"  # "to=" a second time: the last one holds
    REPEATED_CONTENT_TYPE = (
        "repeated_content_type"  # <|constrain|> a second time: the last one holds
    )
    SPACE_IN_HEADER = "space_in_header"  # a space after <|channel|> or <|constrain|>: skipped
    END_OF_TEXT = "end_of_text"  # <|endoftext|> in a message: it ends it
    EXTRA_END = "extra_end"  # an end between messages, as in <|end|><|return|>: ignored
    EXTRA_HEADER_TEXT = "extra_header_text"  # words that no header has: a message of their own
    TEXT_BETWEEN_MESSAGES = "text_between_messages"  # text without a header: a message of its own
    SPELLED_TOKEN = "spelled_token"  # a marker as plain text behind a recipient: read as the marker
    STRAY_TOKEN = "stray_token"  # a special token that has no meaning here: left out of the text
    INVALID_UTF8 = "invalid_utf8"  # bytes in a header that are no text: U+FFFD
    UNKNOWN_TOKEN = "unknown_token"  # a number outside the vocabulary: U+FFFD
    MISROUTED_CALL = "misrouted_call"  # a function called outside the commentary channel: a call


@dataclass(frozen=True)
class Repair:
    """One thing that was mended.

    `position`: the index, in the tokens fed to the parser, of the token at which it was noticed;
    their number if that was the end. `text`: the words or the token that it is about.
    """

    kind: RepairKind
    position: int
    text: str = ""


class ParsedMessages(list[Message]):
    """The messages of a completion, and in `repairs` what was mended to read them."""

    def __init__(self, messages: Iterable[Message] = (), repairs: Iterable[Repair] = ()) -> None:
        super().__init__(messages)
        self.repairs = list(repairs)
