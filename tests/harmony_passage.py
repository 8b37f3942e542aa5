"""Comparison of a conversation's passage through JSON with what openai_harmony makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gptoss.harmony import Message
from gptoss.harmony.json_passage import reread_conversation, reread_message


def outcome(action: Callable[[], Any]) -> Any:
    """What an action returns, or the type and text of its exception."""
    try:
        return action()
    except Exception as error:
        return type(error).__name__, str(error)


class Scripted:
    """What writes itself as this JSON: the package asks no more of a conversation or message."""

    def __init__(self, json_text: Any) -> None:
        self._json_text = json_text

    def to_json(self) -> Any:
        return self._json_text


def assert_same_passage(encoding: Any, ours: Any, theirs: Any) -> None:
    """Reread our conversation or message, and render theirs: the same comes of it."""
    reread: Callable[[Any], Any]
    if isinstance(ours, Message):
        reread, render = reread_message, encoding.render
    else:
        reread, render = reread_conversation, encoding.render_conversation
    expected = outcome(lambda: render(theirs))
    actual = outcome(lambda: reread(ours))
    if isinstance(actual, tuple):
        assert actual == expected
    else:
        assert outcome(lambda: render(Scripted(actual.to_json()))) == expected
