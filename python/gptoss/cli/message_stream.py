"""A completion as it arrives: which message each piece of text belongs to, token by token."""

from __future__ import annotations

from gptoss.harmony_minimal import Message, split_channels
from gptoss.tokenizer import Tokenizer

# The special tokens inside a header, and those that end a message however far it came.
_HEADER_MARKERS = ("<|channel|>", "<|constrain|>")
_END_MARKERS = ("<|start|>", "<|end|>", "<|call|>", "<|return|>", "<|endoftext|>")


class MessageStream:
    """Splits the tokens that the model writes after `<|start|>assistant` into messages, live.

    `feed` and `finish` return pieces: a message's header as a Message without content, and the next
    piece of its text. The first piece of a message comes as soon as its header is complete, often
    with no text yet; all pieces of one message carry the same object. Joined, the pieces are the
    messages of `gptoss.harmony_minimal.split_channels`: like it this never fails and drops no text.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._message_marker = tokenizer.encode_special_token("<|message|>")
        self._header_markers = {tokenizer.encode_special_token(name) for name in _HEADER_MARKERS}
        self._end_markers = {tokenizer.encode_special_token(name) for name in _END_MARKERS}
        self._decoder = tokenizer.decode_stream()
        self._header: list[int] = []
        self._message: Message | None = None  # None while in a header

    def feed(self, token: int) -> list[tuple[Message, str]]:
        """The pieces that one more token completes."""
        if token in self._end_markers:
            return self.finish()
        if self._message is None:
            if token != self._message_marker:
                self._header.append(token)
                return []
            (self._message,) = split_channels([*self._header, token], self._tokenizer)
            return [(self._message, "")]
        if token in self._header_markers:  # a new header without the end of the message
            return self.finish()
        if token == self._message_marker:
            return []
        return [(self._message, self._decoder.feed(token))]

    def finish(self) -> list[tuple[Message, str]]:
        """The end of a message: what was held back of its text, or of a header that never ended."""
        pieces = []
        if self._message is not None:
            rest = self._decoder.flush()
            pieces = [(self._message, rest)] if rest else []
        else:
            unfinished = split_channels(self._header, self._tokenizer)
            pieces = [(message, message.content) for message in unfinished if message.content]
        self._header = []
        self._message = None
        return pieces
