"""Harmony, the chat format of gpt-oss: messages, and their rendering to tokens."""

from gptoss.harmony_minimal.messages import FunctionTool, Message, developer_message, system_message
from gptoss.harmony_minimal.render import (
    Piece,
    SpecialToken,
    Text,
    Tokenizer,
    render,
    render_pieces,
    split_channels,
)

__all__ = [
    "FunctionTool",
    "Message",
    "Piece",
    "SpecialToken",
    "Text",
    "Tokenizer",
    "developer_message",
    "render",
    "render_pieces",
    "split_channels",
    "system_message",
]
