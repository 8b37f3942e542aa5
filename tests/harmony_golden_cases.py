"""Stored conversations with the tokens that openai_harmony made of them.

Each case is a dictionary: `messages` (a specification as in harmony_strategies), `next_turn_role`,
`auto_drop_analysis`, and of each way to render, `completion`, `conversation`, `training` and
`single` (a list, one for each message), the tokens, or the class and the text of the error.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harmony_strategies import MessageSpec, build_conversation

GOLDENS = Path(__file__).parent / "goldens" / "harmony.json.gz"

Outcome = list[int] | list[str]


def render_case(
    package: Any,
    encoding: Any,
    messages: list[MessageSpec],
    *,
    next_turn_role: str,
    auto_drop_analysis: bool,
) -> dict[str, Any]:
    """What the package, either of the two, makes of the messages."""
    conversation = build_conversation(package, messages)
    role = package.Role(next_turn_role)
    config = package.RenderConversationConfig(auto_drop_analysis=auto_drop_analysis)
    options = package.RenderOptions(conversation_has_function_tools=auto_drop_analysis)

    def render_message(message: Any) -> Outcome:
        return _outcome(lambda: encoding.render(message, options))

    return {
        "completion": _outcome(
            lambda: encoding.render_conversation_for_completion(conversation, role, config)
        ),
        "conversation": _outcome(lambda: encoding.render_conversation(conversation, config)),
        "training": _outcome(
            lambda: encoding.render_conversation_for_training(conversation, config)
        ),
        "single": [render_message(message) for message in conversation],
    }


def _outcome(render: Callable[[], list[int]]) -> Outcome:
    try:
        return render()
    except (RuntimeError, ValueError) as error:
        return [type(error).__name__, str(error)]


def read_goldens(path: Path = GOLDENS) -> list[dict[str, Any]]:
    """The stored cases."""
    cases: list[dict[str, Any]] = json.loads(gzip.decompress(path.read_bytes()))
    return cases


def write_goldens(cases: list[dict[str, Any]], path: Path = GOLDENS) -> None:
    """Store the cases; the same cases are the same bytes."""
    text = json.dumps(cases, separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
