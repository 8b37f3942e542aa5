"""The messages of an answer: shown live, token by token, and as JSON.

The answer is read leniently: whatever the model writes, it is shown.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, TextIO

from gptoss.cli.terminal import dim, harmless, has_styles, is_terminal
from gptoss.harmony import (
    Author,
    HarmonyEncoding,
    Message,
    Role,
    StreamableParser,
    StreamState,
    TextContent,
    parse_tool_calls,
)


def answer_as_json(tokens: list[int], encoding: HarmonyEncoding) -> dict[str, list[Any]]:
    """The `messages` of an answer, the `tool_calls` in them, and the `repairs` of its format."""
    messages = encoding.parse_messages_from_completion_tokens(tokens, Role.ASSISTANT, strict=False)
    return {
        "messages": [
            {
                "role": message.author.role.value,
                "channel": message.channel,
                "recipient": message.recipient,
                "content_type": message.content_type,
                "content": _text(message),
            }
            for message in messages
        ],
        "tool_calls": [asdict(call) for call in parse_tool_calls(messages)],
        "repairs": [
            {"kind": repair.kind.value, "position": repair.position, "text": repair.text}
            for repair in messages.repairs
        ],
    }


class MessagePrinter:
    """Writes messages as they arrive: on a terminal all of them, elsewhere all but the analysis.

    Whatever is no analysis is for the user: the final answer, a call, a remark before a call, and
    text that the model put into no channel. A call is no analysis, whatever its channel.
    """

    def __init__(self, encoding: HarmonyEncoding, output: TextIO) -> None:
        self._parser = StreamableParser(encoding, Role.ASSISTANT, strict=False)
        self._output = output
        self._terminal = is_terminal(output)
        self._styled = has_styles(output)
        self._num_complete = 0  # messages written to their end
        # The message being written, if one is: how much of its text is, and what it is.
        self._is_open = False
        self._num_written = 0  # characters
        self._is_analysis = False
        self._is_call = False
        self._is_first = True
        self._at_line_start = True
        self.answer_began = False

    def feed(self, token: int) -> None:
        """Writes what one more token completes."""
        self._parser.process(token)
        self._show()

    def finish(self) -> None:
        """Writes the rest of the message that the end came in; a header cut short is no text."""
        if self._parser.state is StreamState.CONTENT:
            self._parser.process_eos()
        self._show()

    def _show(self) -> None:
        """Writes what is new: a token may end a message, add some, and begin or continue one.

        What counts is what the messages hold, not what the token added: so nothing can be lost.
        """
        parser = self._parser
        messages = parser.messages
        for message in messages[self._num_complete :]:
            text = _text(message)
            if text or message.recipient is not None or self._is_open:
                self._show_text(message.channel, message.recipient, text)
                self._end_message()
        self._num_complete = len(messages)
        if parser.state is StreamState.CONTENT:
            content = parser.current_content
            self._show_text(parser.current_channel, parser.current_recipient, content)
        self._output.flush()

    def _show_text(self, channel: str | None, recipient: str | None, text: str) -> None:
        """Writes what is new in the text of a message, and first how the message begins."""
        if not self._is_open:
            self._begin_message(channel, recipient)
        self._write(text[self._num_written :])
        self._num_written = len(text)

    def _begin_message(self, channel: str | None, recipient: str | None) -> None:
        if not self._is_first and self._terminal:
            self._output.write("\n")
        called = _called_tool(recipient)
        self._is_open = True
        self._is_first = False
        self._num_written = 0
        self._is_call = called is not None
        self._is_analysis = channel == "analysis" and not self._is_call
        self.answer_began |= not self._is_analysis
        if self._is_call:
            self._write(f"tool call: {called}(")
        elif self._is_analysis and not self._styled:
            self._write("analysis: ")

    def _end_message(self) -> None:
        if self._is_call:
            self._write(")")
        if not self._at_line_start:
            self._output.write("\n")
            self._at_line_start = True
        self._is_open = False

    def _write(self, text: str) -> None:
        if not text or (self._is_analysis and not self._terminal):
            return
        if self._terminal:
            text = harmless(text)
        self._output.write(dim(text) if self._is_analysis and self._styled else text)
        self._at_line_start = text.endswith("\n")


def _called_tool(recipient: str | None) -> str | None:
    """Whom a message calls, if its recipient is a tool."""
    message = Message(author=Author(role=Role.ASSISTANT), recipient=recipient)
    calls = parse_tool_calls([message])
    return calls[0].recipient if calls else None


def _text(message: Message) -> str:
    return "".join(part.text for part in message.content if isinstance(part, TextContent))
