"""Random conversations: every part of the format with every value that has a rule of its own.

They are specifications, plain values as in tests/harmony_strategies.py, so that either Harmony
package can build them. Hypothesis finds smaller counterexamples; this makes cases a hundred times
as fast, and the same ones for the same seed with every version of everything.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, TypeVar

Value = TypeVar("Value")

TEXTS = [
    "",
    " ",
    "\n",
    "Hello, world!",
    "What is 2 + 2?",
    "First line.\nSecond line.\n\nFourth line.\r\n",
    "  indented\n\ttab  \r",
    "<|end|>",
    "<|start|>assistant<|channel|>final<|message|>",
    "<|constrain|>json",
    'quotes " and \\ backslashes',
    '{"location": "Tōkyō", "n": 1e5}',
    "π ≈ 3.14159 ☃ 𝄞 é e\u0301",
    "👩‍👩‍👧 🇺🇳 🏳️‍🌈",
    "日本語 العربية हिन्दी ไทย",
    "null",
    "\x00\x1b\x7f\u2028\ufeff\uffff",
    "I'm don't HE'LL 1234567 a_b-c",
]
NUMBERS = [
    *(0, 1, -1, 10, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64, 10**25),
    *(0.0, -0.0, 1.0, 0.1, 0.5, -2.5, 1e-4, 1e-5, 1.5e-5, 1e-6, 1e15, 1e16, 1e17, 1e22, 1e23),
    *(5e-324, 2.2250738585072014e-308, 1.7e307, 123456789.12345679, 3.141592653589793),
]
ROLES = ["user", "assistant", "tool", "system", "developer"]
CHANNELS = ["analysis", "commentary", "final"]
TYPES = ["string", "number", "integer", "boolean", "array", "object", "null", "unknown"]
NAMES = ["query", "location", "a", "b", "with space", "ключ", '"']


class RandomConversations:
    """One stream of random values; the same for the same seed."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)

    def conversation(self, max_messages: int = 6, *, renders: bool = True) -> list[dict[str, Any]]:
        """Messages in any order; unless `renders`, also some that break a rule of the format."""
        count = self._random.randint(0, max_messages)
        return [self.message(renders=renders) for _ in range(count)]

    def message(self, *, renders: bool = True) -> dict[str, Any]:
        """One message of any role."""
        role = self._choose([*ROLES, "assistant", "assistant"])
        settings: dict[str, Callable[[], dict[str, Any]]] = {
            "system": self._system_content,
            "developer": self._developer_content,
        }
        kinds = [settings.get(role, self._text_content), self._text_content]
        if not renders:
            kinds += settings.values()
        name = self._maybe(["bob", "Ann Lee", "a:b", ""])
        if role == "tool" and (renders or self._random.random() < 0.5):
            name = self._choose(["functions.get_weather", "browser.search", "python"])
        num_contents = self._choose([1, 1, 1, 1, 0, 2, 3])
        return {
            "role": role,
            "name": name,
            "content": [self._choose(kinds)() for _ in range(num_contents)],
            "channel": self._maybe([*CHANNELS, *CHANNELS, *CHANNELS, "", "other"]),
            "recipient": self._maybe(["functions.get_weather", "python", "assistant", "all", ""]),
            "content_type": self._maybe(
                ["json", "code", "<|constrain|>json", "<|constrain|>", "<|constrain|> json", ""]
            ),
        }

    # Contents.

    def _text_content(self) -> dict[str, Any]:
        return {"kind": "TextContent", "text": self.text()}

    def _system_content(self) -> dict[str, Any]:
        return {
            "kind": "SystemContent",
            **self._some(
                model_identity=lambda: self._maybe(TEXTS),
                reasoning_effort=lambda: self._maybe(["Low", "Medium", "High"]),
                conversation_start_date=lambda: self._maybe(["2025-06-28", "today"]),
                knowledge_cutoff=lambda: self._maybe(["2024-06", ""]),
                channel_config=lambda: self._maybe([self._channel_config()]),
                tools=lambda: self._maybe([self._tools()]),
            ),
        }

    def _developer_content(self) -> dict[str, Any]:
        return {
            "kind": "DeveloperContent",
            **self._some(
                instructions=lambda: self._maybe(TEXTS), tools=lambda: self._maybe([self._tools()])
            ),
        }

    def _channel_config(self) -> dict[str, Any]:
        channels = self._random.sample([*CHANNELS, "x, y", ""], self._random.randint(0, 5))
        return {
            "valid_channels": channels,
            "channel_required": self._random.random() < 0.5,
        }

    # Tools.

    def _tools(self) -> dict[str, Any]:
        keys = ["functions", "browser", "Z", "é", "\uffff", "\U00010000"]
        namespaces = {}
        for key in self._random.sample(keys, self._random.randint(0, 3)):
            namespace = self._namespace()
            namespaces[key] = (
                namespace if self._random.random() < 0.2 else {**namespace, "name": key}
            )
        return namespaces

    def _namespace(self) -> dict[str, Any]:
        return {
            "name": self._choose(["functions", "mcp", "browser"]),
            "tools": [self._tool() for _ in range(self._random.randint(0, 3))],
            **self._some(description=lambda: self._maybe(TEXTS)),
        }

    def _tool(self) -> dict[str, Any]:
        parameters = {**self._object(2), **self._some(description=self.text)}
        return {
            "name": self._choose(["get_weather", "search", "f"]),
            "description": self.text(),
            **self._some(parameters=lambda: self._choose([parameters, self.schema(), None])),
        }

    # JSON schemas.

    def schema(self, depth: int = 3) -> dict[str, Any]:
        """A schema; rarely a keyword of it has a value that it should not have."""
        kinds: list[Callable[[], dict[str, Any]]] = [
            lambda: {"type": self._choose(TYPES)},
            lambda: {"type": self._random.sample(TYPES, self._random.randint(0, 3))},
            lambda: {"type": "string", "enum": [self.value(0) for _ in range(self._small())]},
            lambda: {"type": "string", "enum": [self.text() for _ in range(self._small())]},
            lambda: {},
        ]
        if depth > 0:
            kinds += [
                lambda: self._object(depth),
                lambda: {"type": "array", **self._some(items=lambda: self.schema(depth - 1))},
                lambda: {"oneOf": [self.schema(depth - 1) for _ in range(self._small())]},
            ]
        schema = {**self._choose(kinds)(), **self._annotations()}
        if self._random.random() < 0.05:
            keywords = ["type", "properties", "items", "oneOf", "enum", "required", "title"]
            schema[self._choose([*keywords, "description", "nullable", "examples"])] = self.value(1)
        return schema

    def _object(self, depth: int) -> dict[str, Any]:
        names = self._random.sample(NAMES, self._random.randint(0, 4))
        return {
            "type": "object",
            "properties": {name: self.schema(depth - 1) for name in names},
            **self._some(required=lambda: self._random.sample(NAMES, self._random.randint(0, 4))),
        }

    def _annotations(self) -> dict[str, Any]:
        annotations = self._some(
            title=self.text,
            description=lambda: self._choose([self.text(), "The same."]),
            default=lambda: self._choose([self.value(), self.text()]),
            nullable=lambda: self._random.random() < 0.7,
            examples=lambda: [self.value(0) for _ in range(self._small())],
        )
        # In all each of them one time in four.
        return {key: value for key, value in annotations.items() if self._random.random() < 0.5}

    # Values.

    def text(self) -> str:
        """A text of the list, several of them, or any characters."""
        kind = self._random.random()
        if kind < 0.7:
            return self._choose(TEXTS)
        if kind < 0.9:
            return "".join(self._random.choices(TEXTS, k=3))
        return "".join(self._character() for _ in range(self._random.randint(0, 12)))

    def value(self, depth: int = 2) -> Any:
        """A JSON value."""
        kind = self._random.random()
        if depth > 0 and kind < 0.15:
            return [self.value(depth - 1) for _ in range(self._small())]
        if depth > 0 and kind < 0.3:
            return {self.text(): self.value(depth - 1) for _ in range(self._small())}
        if kind < 0.5:
            return self._choose(NUMBERS)
        if kind < 0.6:
            return self._random.uniform(-1, 1) * 10.0 ** self._random.randint(-30, 30)
        return self._choose([None, True, False, self.text(), self.text()])

    def _character(self) -> str:
        code = self._random.randrange(self._choose([0x80, 0x250, 0x3100, 0xD800, 0x110000]))
        return chr(code) if not 0xD800 <= code < 0xE000 else "\ufffd"

    def _small(self) -> int:
        return self._random.randint(0, 3)

    def _choose(self, values: list[Value]) -> Value:
        return self._random.choice(values)

    def _maybe(self, values: list[Value]) -> Value | None:
        return self._choose(values) if self._random.random() < 0.6 else None

    def _some(self, **members: Callable[[], Any]) -> dict[str, Any]:
        """Each member one time in two."""
        return {key: make() for key, make in members.items() if self._random.random() < 0.5}
