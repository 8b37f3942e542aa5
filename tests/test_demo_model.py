"""The built-in demo model, through the public interface: right where it claims to be."""

from __future__ import annotations

from pathlib import Path

import gptoss
import pytest
from demo_model.conversations import SKILL_WEIGHTS, ConversationGenerator, text_of
from demo_model.vocabulary import NUM_TEXT_TOKENS, NUM_TOKENS, read_demo_tokenizer
from gptoss.harmony import (
    Conversation,
    DeveloperContent,
    HarmonyEncoding,
    Message,
    ReasoningEffort,
    Role,
    SystemContent,
    ToolDescription,
    parse_tool_calls,
)
from gptoss.vocabulary import format_tiktoken, load_o200k_base

REFUSAL = "I do not know that. Ask me what I can do."
NO_TOOL = "I have no weather tool here."
EFFORTS = ("low", "medium", "high")
MAX_ANSWER_TOKENS = 200  # the longest answer takes about 120
MAX_FILE_SIZE = 3_000_000  # bytes

WEATHER_TOOL = ToolDescription.new(
    "get_current_weather",
    "Gets the current weather in the provided location.",
    {
        "type": "object",
        "properties": {"location": {"type": "string", "description": "The city."}},
        "required": ["location"],
    },
)


@pytest.fixture(scope="module")
def model() -> gptoss.Model:
    return gptoss.Model()


@pytest.fixture(scope="module")
def context(model: gptoss.Model) -> gptoss.Context:
    return gptoss.Context(model)


class Chat:
    """A conversation as a client holds it: all messages, rendered anew for every answer."""

    def __init__(
        self,
        model: gptoss.Model,
        context: gptoss.Context,
        effort: str = "medium",
        date: str | None = "2026-03-14",
        has_tool: bool = False,
        instructions: str | None = None,
    ) -> None:
        self.encoding = HarmonyEncoding.from_tokenizer(model.tokenizer)
        self.context = context
        self.stop_tokens = self.encoding.stop_tokens_for_assistant_actions()
        system = SystemContent(
            reasoning_effort=ReasoningEffort[effort.upper()], conversation_start_date=date
        )
        self.messages = [Message.from_role_and_content(Role.SYSTEM, system)]
        if has_tool or instructions is not None:
            developer = DeveloperContent(instructions=instructions)
            if has_tool:
                developer.with_function_tools([WEATHER_TOOL])
            self.messages.append(Message.from_role_and_content(Role.DEVELOPER, developer))

    def ask(self, text: str) -> str:
        """The final answer, or the arguments of the call."""
        return self._continue(Message.from_role_and_content(Role.USER, text))

    def return_from_tool(self, result: str) -> str:
        """The answer to the result of the last call."""
        (call,) = parse_tool_calls(self.messages[-1:])
        return self._continue(call.reply(result))

    def _continue(self, message: Message) -> str:
        self.messages.append(message)
        self.context.reset()
        conversation = Conversation.from_messages(self.messages)
        prompt = self.encoding.render_conversation_for_completion(conversation, Role.ASSISTANT)
        self.context.append(prompt)
        tokens = self.context.sample(
            max_output_tokens=MAX_ANSWER_TOKENS, temperature=0.0, stop_tokens=self.stop_tokens
        )
        assert tokens[-1] in self.stop_tokens, f"no end: {self.encoding.decode(tokens)!r}"
        # Strict: the demo model makes no mistake in the format.
        self.messages += self.encoding.parse_messages_from_completion_tokens(tokens, Role.ASSISTANT)
        return text_of(self.messages[-1])


@pytest.mark.parametrize("skill", SKILL_WEIGHTS)
def test_held_out_requests_are_never_trained(model: gptoss.Model, skill: str) -> None:
    requests = []
    for held_out in (False, True):
        generator = ConversationGenerator(model.tokenizer, 1, held_out)
        exchanges = [generator.exchange("low", True, skill) for _ in range(1500)]
        requests.append(
            {
                "".join(text_of(m) for m in e.messages if m.author.role is not Role.ASSISTANT)
                for e in exchanges
            }
        )
    trained, held_out_requests = requests
    assert not trained & held_out_requests


def test_a_seed_gives_the_same_conversations(model: gptoss.Model) -> None:
    first, second = (ConversationGenerator(model.tokenizer, 3, held_out=False) for _ in range(2))
    for _ in range(50):
        assert first.prompt() == second.prompt()
        assert first.exchange("high", True) == second.exchange("high", True)


def test_training_has_the_tokenizer_of_the_model(model: gptoss.Model, tmp_path: Path) -> None:
    path = tmp_path / "o200k_base.tiktoken"
    path.write_bytes(format_tiktoken(load_o200k_base()))
    tokenizer = read_demo_tokenizer(path)
    assert tokenizer.num_tokens == NUM_TOKENS == model.tokenizer.num_tokens
    assert tokenizer.regex == model.tokenizer.regex
    for token in range(NUM_TEXT_TOKENS):
        assert tokenizer.token_bytes(token) == model.tokenizer.token_bytes(token)
    for name in ("start", "channel", "constrain", "message", "end", "return", "call"):
        expected = model.tokenizer.encode_special_token(f"<|{name}|>")
        assert tokenizer.encode_special_token(f"<|{name}|>") == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"no vocabulary", "is no vocabulary: line 1 is not 'BASE64 RANK'"),
        (format_tiktoken([b"a", b"b"]), "has 2 tokens; the demo model takes the first 448"),
    ],
)
def test_another_vocabulary_is_refused(text: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.tiktoken"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=sentence):
        read_demo_tokenizer(path)


def test_size() -> None:
    path = Path(gptoss.__file__).parent / "data" / "demo-model.bin"
    assert path.stat().st_size <= MAX_FILE_SIZE


TOPICS = [
    ("Hello", "Hello! I am a tiny demo model. Ask me to add two numbers."),
    ("Hello!", "Hello! I am a tiny demo model. Ask me to add two numbers."),
    ("hi", "Hello! I am a tiny demo model. Ask me to add two numbers."),
    ("How are you?", "I am fine, thank you. Ask me to add two numbers."),
    ("Thank you", "You are welcome."),
    ("Bye", "Goodbye!"),
    ("Who are you?", "I am a tiny demo model with the gpt-oss architecture."),
    ("who are you", "I am a tiny demo model with the gpt-oss architecture."),
    ("Are you ChatGPT?", "I am a tiny demo model with the gpt-oss architecture."),
    (
        "What can you do?",
        "I can add two numbers up to 99, say a word, call a weather tool and answer questions "
        "about gpt-oss.",
    ),
    ("How big are you?", "I have about two million parameters in less than 3 MB."),
    ("How were you trained?", "I was trained on a CPU in about an hour, on made-up conversations."),
    ("What is gptoss?", "gptoss is an engine that runs gpt-oss on your own machine."),
    (
        "What is MXFP4?",
        "MXFP4 is a 4-bit number format. 32 values share one scale, so a weight takes 4.25 bits.",
    ),
    (
        "What is a model.bin?",
        "A model.bin is one file with the weights and the vocabulary, ready to be loaded.",
    ),
    (
        "What is Harmony?",
        "Harmony is the chat format of gpt-oss: messages with a role, a channel and special "
        "tokens.",
    ),
    ("Which channels are there?", "There are three channels: analysis, commentary and final."),
    (
        "What is reasoning effort?",
        "The reasoning effort is low, medium or high. It sets how long I think.",
    ),
    (
        "What is gpt-oss?",
        "gpt-oss is a family of open-weight models by OpenAI, in two sizes: 20b and 120b.",
    ),
    (
        "What does the router do?",
        "A router picks a few small networks, the experts, for each token.",
    ),
    (
        "What is an attention sink?",
        "An attention sink is one extra logit per head, so that a head can attend to nothing.",
    ),
    (
        "What is a token?",
        "A token is a piece of text with a number. The tokenizer cuts text into tokens.",
    ),
    ("What is your license?", "I am free to use, like the code that I come with."),
]


@pytest.mark.parametrize(("question", "answer"), TOPICS)
def test_topics(model: gptoss.Model, context: gptoss.Context, question: str, answer: str) -> None:
    for effort in EFFORTS:
        assert Chat(model, context, effort).ask(question) == answer


SUMS = [
    (47, 38),
    (2, 2),
    (0, 5),
    (99, 99),
    (8, 5),
    (50, 50),
    (61, 39),
    (7, 93),
    (25, 17),
    (84, 9),
    (10, 89),
    (72, 46),
]


@pytest.mark.parametrize(("first", "second"), SUMS)
def test_sums(model: gptoss.Model, context: gptoss.Context, first: int, second: int) -> None:
    forms = ("What is {} + {}?", "{}+{}", "Add {} and {}.")
    for effort, form in zip(EFFORTS, forms, strict=True):
        answer = Chat(model, context, effort).ask(form.format(first, second))
        assert answer == f"{first} + {second} = {first + second}."


@pytest.mark.parametrize("word", ["robot", "apple", "moon", "yellow", "garden", "winter"])
def test_say(model: gptoss.Model, context: gptoss.Context, word: str) -> None:
    assert Chat(model, context).ask(f"Say {word}.") == word
    assert Chat(model, context, "low").ask(f"Repeat {word}.") == word


@pytest.mark.parametrize(
    ("city", "degrees", "sky"),
    [
        ("Tokyo", 17, "rainy"),
        ("Oslo", 3, "snowy"),
        ("Paris", 24, "sunny"),
        ("Seoul", 40, "clear"),
        ("Lima", 0, "foggy"),
    ],
)
@pytest.mark.parametrize("effort", EFFORTS)
def test_weather(
    model: gptoss.Model, context: gptoss.Context, effort: str, city: str, degrees: int, sky: str
) -> None:
    chat = Chat(model, context, effort, has_tool=True)
    assert chat.ask(f"What is the weather in {city}?") == f'{{"location":"{city}"}}'
    call = chat.messages[-1]
    assert (call.recipient, call.channel) == ("functions.get_current_weather", "commentary")
    assert call.content_type == "<|constrain|>json"
    answer = chat.return_from_tool(f'{{"temperature": {degrees}, "sky": "{sky}"}}')
    assert answer == f"It is {degrees} degrees and {sky} in {city}."
    assert chat.messages[-1].channel == "final"


@pytest.mark.parametrize("city", ["Paris", "Oslo", "Kyoto", "Nairobi"])
def test_weather_without_tool(model: gptoss.Model, context: gptoss.Context, city: str) -> None:
    assert Chat(model, context).ask(f"What is the weather in {city}?") == NO_TOOL


# None of these cities, words and sentences was trained on.
@pytest.mark.parametrize("city", ["Austin", "Nairobi", "Kyoto", "Wellington", "Seville"])
def test_unknown_cities_are_refused(
    model: gptoss.Model, context: gptoss.Context, city: str
) -> None:
    chat = Chat(model, context, has_tool=True)
    assert chat.ask(f"What is the weather in {city}?") == REFUSAL


@pytest.mark.parametrize(
    "question",
    [
        "What is 150 + 20?",
        "100 + 1",
        "12 + 345",
        "Add 1000 and 7.",
        "What is 4821 plus 99?",
        "250+250",
    ],
)
def test_large_numbers_are_refused(
    model: gptoss.Model, context: gptoss.Context, question: str
) -> None:
    assert Chat(model, context).ask(question) == REFUSAL


@pytest.mark.parametrize("word", ["elephant", "puzzle", "umbrella", "dolphin", "lantern"])
def test_unknown_words_are_refused(model: gptoss.Model, context: gptoss.Context, word: str) -> None:
    assert Chat(model, context).ask(f"Say {word}.") == REFUSAL


@pytest.mark.parametrize(
    "question",
    [
        "Write a song about a lantern.",
        "What is the population of Accra?",
        "Give me a recipe for mango.",
        "How heavy is a whistle?",
        "Tell me a joke.",
        "What is the capital of France?",
    ],
)
def test_everything_else_is_refused(
    model: gptoss.Model, context: gptoss.Context, question: str
) -> None:
    assert Chat(model, context).ask(question) == REFUSAL


def test_effort_sets_the_length_of_the_analysis(
    model: gptoss.Model, context: gptoss.Context
) -> None:
    lengths = []
    for effort in EFFORTS:
        chat = Chat(model, context, effort)
        chat.ask("What is 47 + 38?")
        analysis, final = chat.messages[-2:]
        assert (analysis.channel, final.channel) == ("analysis", "final")
        lengths.append(len(text_of(analysis)))
    assert lengths[0] < lengths[1] < lengths[2]


@pytest.mark.parametrize("date", [None, "2024-02-29", "2031-12-31"])
@pytest.mark.parametrize("instructions", [None, "Be brief.", "Answer like a pirate."])
def test_dates_and_instructions_do_not_disturb(
    model: gptoss.Model, context: gptoss.Context, date: str | None, instructions: str | None
) -> None:
    chat = Chat(model, context, date=date, instructions=instructions)
    assert chat.ask("Who are you?") == "I am a tiny demo model with the gpt-oss architecture."


@pytest.mark.parametrize("effort", EFFORTS)
def test_conversation(model: gptoss.Model, context: gptoss.Context, effort: str) -> None:
    chat = Chat(model, context, effort, has_tool=True)
    assert chat.ask("How is the weather in Oslo today?") == '{"location":"Oslo"}'
    assert (
        chat.return_from_tool('{"temperature": 3, "sky": "snowy"}')
        == "It is 3 degrees and snowy in Oslo."
    )
    assert chat.ask("What is 8 plus 5?") == "8 + 5 = 13."
    assert chat.ask("Thanks") == "You are welcome."
