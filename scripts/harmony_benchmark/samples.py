"""What is rendered and parsed: the same in every run, and like real use.

Prose, code, JSON and some text beyond ASCII, drawn at random from a fixed seed. The functions make
objects of whichever module they are given, `gptoss.harmony` or `openai_harmony`.
"""

from __future__ import annotations

import json
import random
from typing import Any

# The commonest words first: a word is drawn the more often, the earlier it stands.
COMMON_WORDS = """
the of and to a in is it that for you on with as be are this at or from have we can by not if but
an use one all which when more time so what there will no each about how their them up out then
its into also has two first would like over only other after than these any new some her way could
where most because between file value function number result data user model text line string
return test error check list order request server response message should need find read write
build change update call before state answer question point example case type name path table
column index query option default however therefore perhaps usually quickly carefully together
without possible several different important available necessary similar further whether although
probably likely temperature weather location forecast morning afternoon degrees cloudy rain
humidity wind restaurant museum station ticket schedule budget invoice customer account payment
delivery address contract analysis estimate average maximum minimum total approximately percent
increase decrease compare measure parameter argument module implementation refactor dependency
configuration environment deployment container database migration transaction concurrency latency
throughput memory allocation pointer buffer iterator recursion algorithm complexity binary search
sorting matrix vector gradient probability distribution hypothesis experiment observation
chemistry molecule enzyme protein membrane photosynthesis parliament constitution philosophy
renaissance architecture cathedral symphony manuscript archaeology volcanic sedimentary
"""
OTHER_WORDS = """
Zürich größer Straße café naïve Ångström señor façade œuvre München Łódź İstanbul Москва
погода сегодня Αθήνα καιρός 東京 天気 今日は 晴れ 北京 你好 谢谢 서울 안녕하세요 नमस्ते
مرحبا שלום ไทย Việt 25°C €40 ½ “quoted” don’t café… 🌦️ 👩‍👩‍👧 𝄞 ≈3.14 → ✓ x² a≤b
"""
WORDS = COMMON_WORDS.split()
WORD_WEIGHTS = [1 / (rank + 10) for rank in range(len(WORDS))]
BEYOND_ASCII = OTHER_WORDS.split()
CITIES = ["San Francisco, CA", "New York, NY", "Zürich", "São Paulo", "東京", "Αθήνα", "Łódź"]

FUNCTION = '''def {name}({first}: list[{type}], {second}: int = {number}) -> dict[str, {type}]:
    """{comment}"""
    {third}: dict[str, {type}] = {{}}
    for index, item in enumerate({first}):
        if item is None or index % {second} == {number}:
            continue  # {remark}
        {third}[f"{first}-{{index:04d}}"] = {type}(item) * {number} + 0x{number:x}
    return {third}
'''


class Samples:
    """Text, conversations and completions; the same calls on the same seed give the same."""

    def __init__(self, seed: int = 3) -> None:
        self._random = random.Random(seed)

    # Text.

    def prose(self, num_words: int) -> str:
        """Sentences and paragraphs of about this many words; one word in forty is not ASCII."""
        random = self._random
        words = random.choices(WORDS, WORD_WEIGHTS, k=num_words)
        text = []
        left = 0  # words until the sentence ends
        for word in words:
            if random.random() < 1 / 40:
                word = random.choice(BEYOND_ASCII)
            elif random.random() < 1 / 30:
                word = random.choice([str(random.randrange(3000)), f"{random.random():.3f}"])
            if left == 0:
                left = random.randrange(4, 25)
                word = word[0].upper() + word[1:]
            left -= 1
            comma = "," if random.random() < 0.06 else ""
            text.append(
                word + (random.choice([". ", ". ", "? ", ".\n\n"]) if not left else comma + " ")
            )
        return "".join(text).rstrip() + "."

    def code(self) -> str:
        """A function of about 150 tokens."""
        random = self._random
        return FUNCTION.format(
            name=self._identifier(),
            first=self._identifier(),
            second=self._identifier(),
            third=self._identifier(),
            type=random.choice(["int", "float", "str", "Decimal"]),
            number=random.randrange(2, 5000),
            comment=self.prose(12),
            remark=self.prose(5),
        )

    def markdown(self, num_words: int) -> str:
        """An answer: prose, a list, a table, code."""
        items = "\n".join(f"{n}. **{self._identifier()}**: {self.prose(15)}" for n in range(1, 5))
        rows = "\n".join(
            f"| {self._identifier()} | {self._random.randrange(10**6):,} | {self.prose(4)} |"
            for _ in range(4)
        )
        parts = [
            f"## {self.prose(5)}",
            self.prose(num_words // 2),
            items,
            f"| name | count | remark |\n|---|---:|---|\n{rows}",
            f"```python\n{self.code()}```",
            self.prose(num_words // 2),
        ]
        return "\n\n".join(parts)

    def json_object(self, num_fields: int, indent: int | None = None) -> str:
        """A JSON object, such as a call's arguments or a tool's output."""
        random = self._random
        fields: dict[str, Any] = {"location": random.choice(CITIES)}
        for _ in range(num_fields):
            fields[self._identifier()] = random.choice(
                [
                    random.randrange(10**6),
                    round(random.uniform(-40, 40), 2),
                    random.random() < 0.5,
                    None,
                    self.prose(8),
                    [self._identifier(), random.randrange(100)],
                    {"unit": "celsius", "value": round(random.uniform(-40, 40), 1)},
                ]
            )
        return json.dumps(fields, indent=indent, ensure_ascii=False)

    def long_text(self, num_words: int) -> str:
        """Prose and code by turns, of at least this many words."""
        parts: list[str] = []
        for _ in range(max(1, num_words // 400)):
            parts += [self.prose(300), self.code()]
        return "\n\n".join(parts)

    def _identifier(self) -> str:
        words = self._random.sample(WORDS[60:], self._random.randrange(1, 4))
        return "_".join(words).lower()

    # Conversations.

    def tools(self, harmony: Any, number: int) -> list[Any]:
        """Descriptions of functions, whose JSON schemas have nested objects and alternatives."""
        return [
            harmony.ToolDescription.new(
                f"{self._identifier()}_{index}", self.prose(15), parameters=self._schema(depth=2)
            )
            for index in range(number)
        ]

    def _schema(self, depth: int) -> dict[str, Any]:
        random = self._random
        kinds: list[dict[str, Any]] = [
            {"type": "string", "description": self.prose(10)},
            {"type": "string", "enum": ["celsius", "fahrenheit", "kelvin"], "default": "celsius"},
            {"type": "integer", "description": self.prose(6), "default": random.randrange(100)},
            {"type": "number", "nullable": True, "default": 0.5},
            {"type": "array", "items": {"type": "string"}, "description": self.prose(8)},
            {"type": ["string", "null"], "examples": [self.prose(2)]},
            {"oneOf": [{"type": "string", "description": self.prose(4)}, {"type": "number"}]},
        ]
        properties = {self._identifier(): kind for kind in random.sample(kinds, 4)}
        if depth > 1:
            properties[self._identifier()] = self._schema(depth - 1)
        required = list(properties)[:2]
        return {"type": "object", "properties": properties, "required": required}

    def small_conversation(self, harmony: Any) -> Any:
        """What most requests begin with: system, developer and user message."""
        return harmony.Conversation.from_messages(
            [
                self._system_message(harmony),
                self._message(
                    harmony,
                    "DEVELOPER",
                    harmony.DeveloperContent.new().with_instructions(self.prose(30)),
                ),
                self._message(harmony, "USER", self.prose(20)),
            ]
        )

    def large_conversation(self, harmony: Any, num_messages: int, num_tools: int) -> Any:
        """An agent's session: tools, and turns of thoughts, calls, outputs and answers."""
        developer = harmony.DeveloperContent.new().with_instructions(self.prose(200))
        developer.with_function_tools(self.tools(harmony, num_tools))
        messages = [
            self._system_message(harmony),
            self._message(harmony, "DEVELOPER", developer),
        ]
        while len(messages) < num_messages:
            messages += self._turn(harmony)
        # As a request has it: the last word is the user's.
        del messages[num_messages - 1 :]
        messages.append(self._message(harmony, "USER", self.prose(60)))
        return harmony.Conversation.from_messages(messages)

    def growing_chat(self, harmony: Any, num_turns: int) -> list[Any]:
        """The conversations that a server renders in a chat: each turn's has all before it."""
        messages = [self._system_message(harmony)]
        conversations = []
        for _ in range(num_turns):
            messages.append(self._message(harmony, "USER", self.prose(40)))
            conversations.append(harmony.Conversation.from_messages(messages))
            messages.append(
                self._message(harmony, "ASSISTANT", self.markdown(120)).with_channel("final")
            )
        return conversations

    def _turn(self, harmony: Any) -> list[Any]:
        name = f"functions.{self._identifier()}"
        tool = harmony.Author.new(harmony.Role.TOOL, name)
        call = self._message(harmony, "ASSISTANT", self.json_object(3))
        output = harmony.Message.from_author_and_content(tool, self.json_object(14, indent=2))
        return [
            self._message(harmony, "USER", self.prose(60)),
            self._message(harmony, "ASSISTANT", self.prose(140)).with_channel("analysis"),
            call.with_channel("commentary")
            .with_recipient(name)
            .with_content_type("<|constrain|>json"),
            output.with_channel("commentary").with_recipient("assistant"),
            self._message(harmony, "ASSISTANT", self.markdown(180)).with_channel("final"),
        ]

    def _system_message(self, harmony: Any) -> Any:
        content = harmony.SystemContent.new().with_conversation_start_date("2025-06-28")
        return self._message(harmony, "SYSTEM", content)

    @staticmethod
    def _message(harmony: Any, role: str, content: Any) -> Any:
        return harmony.Message.from_role_and_content(harmony.Role[role], content)

    # Completions, as text in which the special tokens are spelled out.

    def completion(self, num_words: int) -> str:
        """What a model writes after `<|start|>assistant`: thoughts, calls and answers by turns."""
        parts = []
        words = 0
        while words < num_words:
            thought, answer = self._random.randrange(50, 500), self._random.randrange(100, 400)
            name = f"functions.{self._identifier()}"
            parts += [
                f"<|channel|>analysis<|message|>{self.prose(thought)}<|end|>",
                f"<|channel|>commentary to={name} <|constrain|>json<|message|>"
                f"{self.json_object(4)}<|call|>",
                f"<|channel|>final<|message|>{self.markdown(answer)}<|end|>",
            ]
            words += thought + answer
        return "<|start|>assistant".join(parts)

    def one_message(self, num_words: int) -> str:
        """A completion of a single long answer."""
        return f"<|channel|>final<|message|>{self.prose(num_words)}<|end|>"

    @staticmethod
    def calls(number: int) -> str:
        """Nothing but headers, of 14 tokens each."""
        return number * (
            "<|start|>assistant<|channel|>commentary to=functions.get_weather "
            "<|constrain|>json<|message|>{}<|call|>"
        )
