#!/usr/bin/env python3
"""Write tests/goldens/harmony.json.gz: conversations, and how openai_harmony renders them.

The tests compare with it where openai_harmony is not installed. This needs openai_harmony 0.0.8 and
gptoss, and writes the same file at every run.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from random_conversations import NUMBERS, RandomConversations

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from harmony_golden_cases import GOLDENS, render_case, write_goldens

NUM_CASES = 150
# Every next role, both configurations, and one in eight that may break a rule of the format.
ROLES = ["assistant", "user", "tool", "developer", "system"]


def tools_message(generator: RandomConversations, default: float) -> dict[str, Any]:
    """A developer message that offers functions: any schemas, and one with this default."""
    schemas = [generator.schema() for _ in range(4)]
    schemas.append({"type": "object", "properties": {"n": {"type": "number", "default": default}}})
    tools = [
        {"name": f"f{index}", "description": generator.text(), "parameters": schema}
        for index, schema in enumerate(schemas)
    ]
    functions = {"name": "functions", "tools": tools}
    content = {"kind": "DeveloperContent", "tools": {"functions": functions}}
    header = {"name": None, "channel": None, "recipient": None, "content_type": None}
    return {"role": "developer", "content": [content], **header}


def make_case(package: Any, encoding: Any, number: int) -> dict[str, Any]:
    """A random conversation with what the package makes of it."""
    generator = RandomConversations(f"golden {number}")
    messages = generator.conversation(10, renders=number % 8 != 0)
    if number % 2 == 0:
        messages.insert(0, tools_message(generator, NUMBERS[number // 2 % len(NUMBERS)]))
    next_turn_role = ROLES[number % len(ROLES)]
    auto_drop_analysis = number % 3 != 0
    return {
        "messages": messages,
        "next_turn_role": next_turn_role,
        "auto_drop_analysis": auto_drop_analysis,
        **render_case(
            package,
            encoding,
            messages,
            next_turn_role=next_turn_role,
            auto_drop_analysis=auto_drop_analysis,
        ),
    }


def main() -> None:
    package = importlib.import_module("openai_harmony")
    encoding = package.load_harmony_encoding("HarmonyGptOss")
    cases = [make_case(package, encoding, number) for number in range(NUM_CASES)]
    write_goldens(cases)
    print(f"{GOLDENS}: {len(cases)} cases, {GOLDENS.stat().st_size} bytes")


if __name__ == "__main__":
    main()
