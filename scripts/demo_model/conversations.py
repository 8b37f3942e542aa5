"""Seeded conversations of a closed world, as tokens with the places that are trained on.

An exchange is a user's request and all that the assistant does until its final answer. A prompt is
everything before the last exchange: system message, developer message, earlier exchanges. Prompts
and exchanges are drawn apart, so that a batch can process a prompt once and continue it with
several exchanges.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from random import Random

from gptoss.harmony import (
    Author,
    Content,
    Conversation,
    DeveloperContent,
    HarmonyEncoding,
    Message,
    ReasoningEffort,
    RenderOptions,
    Role,
    SystemContent,
    TextContent,
    ToolDescription,
)
from gptoss.tokenizer import Tokenizer

from demo_model import refusals
from demo_model.knowledge import (
    CITIES,
    INSTRUCTIONS,
    SAY_REQUESTS,
    SKIES,
    SUM_REQUESTS,
    TOPICS,
    WEATHER_NOWHERE,
    WEATHER_QUESTIONS,
    WORDS,
)
from demo_model.refusals import is_held_out
from demo_model.vocabulary import NUM_TEXT_TOKENS

EFFORTS = ("low", "medium", "high")

# How often each skill is drawn, before the share of its wrong answers counts (see training.py).
SKILL_WEIGHTS = {
    "topic": 0.28,
    "sum": 0.32,
    "weather": 0.30,
    "weather without tool": 0.06,
    "say": 0.14,
    "unknown city": 0.14,
    "large number": 0.10,
    "unknown word": 0.14,
    "other": 0.20,
}
# Exercises of the first part of the training only: arbitrary text to repeat, and sums of digits.
DRILLS = ("copy drill", "sum drill", "sum drill")
# How many sums have two one-digit numbers: people ask for those first; of all sums they are 1 %.
SMALL_SUM_SHARE = 0.2
# How many prompts declare the weather tool.
TOOL_SHARE = 0.4

WEATHER_TOOL = ToolDescription.new(
    "get_current_weather",
    "Gets the current weather in the provided location.",
    {
        "type": "object",
        "properties": {"location": {"type": "string", "description": "The city."}},
        "required": ["location"],
    },
)

REFUSAL = "I do not know that. Ask me what I can do."
REFUSAL_ANALYSIS = {
    "low": "Not known.",
    "medium": "This is none of the things that I know.",
    "high": "This is none of the things that I know. A guess would be wrong.",
}
NO_TOOL = "I have no weather tool here."
NO_TOOL_ANALYSIS = {
    "low": "No weather tool.",
    "medium": "The user wants the weather. I have no tool for it.",
    "high": "The user wants the weather. I have no tool for it, so I cannot know it.",
}


@dataclass(frozen=True)
class Prompt:
    """What an exchange continues."""

    messages: tuple[Message, ...]
    tokens: tuple[int, ...]
    effort: str
    has_tool: bool


@dataclass(frozen=True)
class Exchange:
    """A request and its answer. `trained[i]`: the model must predict `tokens[i]`."""

    skill: str
    messages: tuple[Message, ...]
    tokens: tuple[int, ...]
    trained: tuple[bool, ...]


class ConversationGenerator:
    """Draws prompts and exchanges; with `held_out` only those that training never shows."""

    def __init__(self, tokenizer: Tokenizer, seed: int, held_out: bool) -> None:
        self.tokenizer = tokenizer
        self.encoding = HarmonyEncoding.from_tokenizer(tokenizer)
        # What the program writes of the message that the model continues: its start and role.
        self._opening = self.encoding.render_conversation_for_completion(
            Conversation(), Role.ASSISTANT
        )
        self.random = Random(seed)
        self.held_out = held_out
        self.skill_weights = dict(SKILL_WEIGHTS)
        self.small_sum_share = SMALL_SUM_SHARE
        self.tool_share = TOOL_SHARE
        self.blend_share = 0.0
        pieces = [tokenizer.decode([token]) for token in range(NUM_TEXT_TOKENS)]
        self._copy_pieces = [p for p in pieces if p.isascii() and p.isprintable() and "<" not in p]

    # ---- prompts

    def short_prompt(self) -> Prompt:
        """Draw a prompt of one line: cheap practice for the first part of the training."""
        effort = self._effort()
        has_tool = self.random.random() < self.tool_share
        messages = [_say(Role.SYSTEM, f"Reasoning: {effort}")]
        if has_tool:
            messages.append(_say(Role.DEVELOPER, f"type {WEATHER_TOOL.name}"))
        if self.random.random() < 0.15:
            messages += self.exchange(effort, has_tool).messages
        return self._prompt(messages, effort, has_tool)

    def prompt(
        self,
        effort: str | None = None,
        has_tool: bool | None = None,
        num_earlier: int | None = None,
    ) -> Prompt:
        """Draw a real prompt with none, one or two earlier exchanges."""
        effort = effort or self._effort()
        if has_tool is None:
            has_tool = self.random.random() < self.tool_share
        if num_earlier is None:
            num_earlier = self.random.choices((0, 1, 2), (0.66, 0.28, 0.06))[0]
        date = None if self.random.random() < 0.15 else self._date()
        instructions = (
            self._instructions() if self.random.random() < (0.3 if has_tool else 0.2) else None
        )
        system = SystemContent(
            reasoning_effort=ReasoningEffort(effort.capitalize()), conversation_start_date=date
        )
        messages = [_say(Role.SYSTEM, system)]
        if has_tool or instructions is not None:
            developer = DeveloperContent(instructions=instructions)
            if has_tool:
                developer.with_function_tools([WEATHER_TOOL])
            messages.append(_say(Role.DEVELOPER, developer))
        for _ in range(num_earlier):
            messages += self.exchange(effort, has_tool).messages
        return self._prompt(messages, effort, has_tool)

    def _prompt(self, messages: list[Message], effort: str, has_tool: bool) -> Prompt:
        # Harmony drops the analysis before the first answer only; while a tool is being called it
        # drops none; and some programs drop all of it. The model meets every form.
        form = self.random.random()
        tokens: list[int] = []
        if form < 0.12:
            options = RenderOptions(conversation_has_function_tools=has_tool)
            for message in messages:
                tokens += self.encoding.render(message, options)
        elif form < 0.24:
            tokens = self._render([m for m in messages if m.channel != "analysis"])
        else:
            tokens = self._render(messages)
        return Prompt(tuple(messages), tuple(tokens), effort, has_tool)

    def _render(self, messages: list[Message]) -> list[int]:
        return self.encoding.render_conversation(Conversation.from_messages(messages))

    def _effort(self) -> str:
        return self.random.choices(EFFORTS, (0.4, 0.36, 0.24))[0]

    def _date(self) -> str:
        """Draw a day from 2024 to 2035; every tenth one is held out."""
        while True:
            day = datetime.date(2024, 1, 1) + datetime.timedelta(
                days=self.random.randrange(12 * 365 + 3)
            )
            if is_held_out(day.isoformat()) == self.held_out:
                return day.isoformat()

    def _instructions(self) -> str:
        """Draw instructions, some of loose words: the model must not depend on what they say."""
        if self.random.random() < 0.75:
            return self.random.choice(INSTRUCTIONS)
        words = [
            refusals.unknown_word(self.random, self.held_out)
            for _ in range(self.random.randint(2, 8))
        ]
        return " ".join(words).capitalize() + "."

    # ---- exchanges

    def draw_skill(self, has_tool: bool) -> str:
        """Draw a skill that fits the prompt."""
        impossible = ("weather without tool",) if has_tool else ("weather", "unknown city")
        skills = [skill for skill in SKILL_WEIGHTS if skill not in impossible]
        return self.random.choices(skills, [self.skill_weights[skill] for skill in skills])[0]

    def exchange(self, effort: str, has_tool: bool, skill: str | None = None) -> Exchange:
        """Draw a request and its answer; of a random skill when `skill` is None."""
        skill = skill or self.draw_skill(has_tool)
        if skill == "sum drill":
            return self._sum_drill()
        if skill == "copy drill":
            text = "".join(
                self.random.choice(self._copy_pieces) for _ in range(self.random.randint(3, 14))
            )
            messages = _answered(text, text, text)
        elif skill == "topic":
            messages = self._topic(effort)
        elif skill == "sum":
            messages = self._sum(effort)
        elif skill == "weather":
            messages = self._weather(effort)
        elif skill == "weather without tool":
            messages = self._weather_without_tool(effort)
        elif skill == "say":
            messages = self._say(effort)
        else:
            requests = {
                "unknown city": refusals.unknown_city_request,
                "large number": refusals.large_sum_request,
                "unknown word": refusals.unknown_word_request,
                "other": refusals.foreign_request,
            }
            request = self._rephrase(requests[skill](self.random, self.held_out, self.blend_share))
            messages = _answered(request, REFUSAL_ANALYSIS[effort], REFUSAL)
        return self._tokenize(skill, messages)

    def _rephrase(self, request: str) -> str:
        """Vary the end mark and the case of the first letter."""
        kind = self.random.random()
        if kind < 0.6 or not request[0].isalpha():
            return request
        if kind < 0.78:
            return request.rstrip(".?!")
        if kind < 0.86:
            return request.rstrip(".?!") + self.random.choice(("!", ".", "?"))
        lowered = request[0].lower() + request[1:]
        return lowered if kind < 0.93 else lowered.rstrip(".?!")

    def _topic(self, effort: str) -> list[Message]:
        """Ask a listed question; of its other cases and end marks, some are held out."""
        topic = self.random.choice(TOPICS)
        listed = self.random.choice(topic.questions)
        while True:
            bare = listed.rstrip(".?!")
            forms = (listed, bare, listed.lower(), bare.lower(), bare + "!", bare + "?", bare + ".")
            request = self.random.choices(forms, (0.5, 0.14, 0.12, 0.12, 0.04, 0.04, 0.04))[0]
            is_split = all(request not in t.questions for t in TOPICS)
            if self.held_out == (is_split and is_held_out(request, 0.15)):
                break
            topic = self.random.choice(TOPICS)
            listed = self.random.choice(topic.questions)
        analysis = {
            "low": f"About {topic.name}.",
            "medium": f"The user writes about {topic.name}. I know this.",
            "high": f"The user writes about {topic.name}. I know this, so I give a short answer.",
        }
        return _answered(request, analysis[effort], topic.answer)

    def _sum(self, effort: str) -> list[Message]:
        is_small = self.small_sum_share > 0 and self.random.random() < self.small_sum_share
        largest = 9 if is_small else 99
        while True:
            first, second = self.random.randint(0, largest), self.random.randint(0, largest)
            if is_held_out(f"{first}+{second}") == self.held_out:
                break
        working = column_addition(first, second)
        total = first + second
        analysis = {
            "low": working,
            "medium": f"I add the digits from the right. {working}",
            "high": "The user wants a sum. I add the digits from the right and keep the carry. "
            f"{working} The sum is {total}.",
        }
        request = self._rephrase(self.random.choice(SUM_REQUESTS).format(first, second))
        return _answered(request, analysis[effort], f"{first} + {second} = {total}.")

    def _say(self, effort: str) -> list[Message]:
        # The first two differ in the end mark alone, which varies: only the others can be held out.
        forms = SAY_REQUESTS[2:] if self.held_out else SAY_REQUESTS
        while True:
            word = self.random.choice(WORDS)
            form = self.random.choice(forms)
            if is_held_out(form.format(word)) == self.held_out:
                break
        if self.random.random() < 0.1:
            word = word.capitalize()
        analysis = {
            "low": f"Say {word}.",
            "medium": f"The user wants the word {word}.",
            "high": f"The user wants me to say a word. The word is {word}.",
        }
        return _answered(self._rephrase(form.format(word)), analysis[effort], word)

    def _weather_without_tool(self, effort: str) -> list[Message]:
        if self.random.random() < 0.12 and not self.held_out:
            request = self.random.choice(WEATHER_NOWHERE)
        else:
            while True:
                known = self.random.random() < 0.5
                city = (
                    self.random.choice(CITIES)
                    if known
                    else refusals.unknown_city(self.random, self.held_out)
                )
                form = self.random.choice(WEATHER_QUESTIONS)
                if not known or is_held_out(form.format(city)) == self.held_out:
                    break
            request = form.format(city.lower() if self.random.random() < 0.1 else city)
        return _answered(self._rephrase(request), NO_TOOL_ANALYSIS[effort], NO_TOOL)

    def _weather(self, effort: str) -> list[Message]:
        while True:
            city, sky = self.random.choice(CITIES), self.random.choice(SKIES)
            degrees = self.random.randint(0, 40)
            if is_held_out(f"{city} {degrees} {sky}") == self.held_out:
                break
        if self.random.random() < 0.08:
            city = city.lower()
        request = self._rephrase(self.random.choice(WEATHER_QUESTIONS).format(city))
        analysis = {
            "low": "Call the tool.",
            "medium": f"The user wants the weather in {city}. I call the tool.",
            "high": f"The user wants the weather in {city}. I call the tool with {city}.",
        }
        result = f'{{"temperature": {degrees}, "sky": "{sky}"}}'
        if self.random.random() < 0.25:
            result = result.replace(" ", "")
        tool_name = f"functions.{WEATHER_TOOL.name}"
        # Programs differ in how much of the result's header they write.
        result_message = Message.from_author_and_content(
            Author(role=Role.TOOL, name=tool_name), result
        )
        if self.random.random() >= 0.3:
            result_message.with_recipient("assistant")
        if self.random.random() >= 0.15:
            result_message.with_channel("commentary")
        messages = [
            _say(Role.USER, request),
            _say(Role.ASSISTANT, analysis[effort], "analysis"),
            _say(Role.ASSISTANT, f'{{"location":"{city}"}}', "commentary")
            .with_recipient(tool_name)
            .with_content_type("<|constrain|>json"),
            result_message,
        ]
        if effort != "low":
            thought = "The tool answered."
            if effort == "high":
                thought += f" I tell the user the weather in {city}."
            messages.append(_say(Role.ASSISTANT, thought, "analysis"))
        answer = f"It is {degrees} degrees and {sky} in {city}."
        messages.append(_say(Role.ASSISTANT, answer, "final"))
        return messages

    def _sum_drill(self) -> Exchange:
        """Write ten sums of two digits and a carry in one message, trained on the results alone."""
        tokens = self._render([_say(Role.USER, "drill")]) + self._opening
        trained = [False] * len(tokens)
        for _ in range(10):
            first, second, carry = (
                self.random.randint(0, 9),
                self.random.randint(0, 9),
                self.random.randint(-1, 1),
            )
            question = f"{first}+{second}=" if carry < 0 else f"{first}+{second}+{carry}="
            for text, is_trained in (
                (question, False),
                (f"{first + second + max(carry, 0):02d}", True),
                (", ", False),
            ):
                piece = self.tokenizer.encode(text)
                tokens += piece
                trained += [is_trained] * len(piece)
        return Exchange("sum drill", (), tuple(tokens), tuple(trained))

    def _tokenize(self, skill: str, messages: list[Message]) -> Exchange:
        """Encode the messages; trained is all that the model samples, with the stop token."""
        tokens: list[int] = []
        trained: list[bool] = []
        previous_role = None
        for message in messages:
            piece = self.encoding.render(message)
            if message is messages[-1]:
                piece[-1] = self.encoding.vocabulary.return_
            role = message.author.role
            # The program opens the assistant's first message, the model every further one.
            given = (
                len(piece)
                if role is not Role.ASSISTANT
                else 0
                if previous_role is Role.ASSISTANT
                else len(self._opening)
            )
            tokens += piece
            trained += [False] * given + [True] * (len(piece) - given)
            previous_role = role
        return Exchange(skill, tuple(messages), tuple(tokens), tuple(trained))


def column_addition(first: int, second: int) -> str:
    """Work out a sum: `47+38: 7+8=15, 4+3+1=08, so 85.`

    Of fixed width, so that every digit stands at a fixed distance from its use.
    """
    left, right = f"{first:02d}", f"{second:02d}"
    ones = first % 10 + second % 10
    tens = first // 10 + second // 10 + ones // 10
    columns = f"{left[1]}+{right[1]}={ones:02d}, {left[0]}+{right[0]}+{ones // 10}={tens:02d}"
    return f"{left}+{right}: {columns}, so {first + second}."


def text_of(message: Message) -> str:
    """Join the texts of a message; settings and tools are none."""
    return "".join(part.text for part in message.content if isinstance(part, TextContent))


def _say(role: Role, content: str | Content, channel: str | None = None) -> Message:
    message = Message.from_role_and_content(role, content)
    message.channel = channel
    return message


def _answered(request: str, analysis: str, answer: str) -> list[Message]:
    return [
        _say(Role.USER, request),
        _say(Role.ASSISTANT, analysis, "analysis"),
        _say(Role.ASSISTANT, answer, "final"),
    ]
