"""Messages to tokens: every rule of the format, and the same tokens as openai_harmony."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import gptoss
import gptoss.harmony as harmony
import harmony_strategies
import pytest
from gptoss.harmony import (
    Author,
    ChannelConfig,
    Content,
    Conversation,
    DeveloperContent,
    HarmonyEncoding,
    HarmonyError,
    Message,
    ReasoningEffort,
    RenderConversationConfig,
    RenderOptions,
    Role,
    SystemContent,
    TextContent,
    ToolDescription,
    ToolNamespaceConfig,
    load_harmony_encoding,
)
from harmony_strategies import build_conversation
from hypothesis import given, settings
from hypothesis import strategies as st
from random_conversations import RandomConversations

ENCODING = load_harmony_encoding("HarmonyGptOss")
EMPTY_SYSTEM = {
    "model_identity": None,
    "reasoning_effort": None,
    "knowledge_cutoff": None,
    "channel_config": None,
}


def user(text: str) -> Message:
    return Message.from_role_and_content(Role.USER, text)


def assistant(text: str, channel: str | None = None) -> Message:
    message = Message.from_role_and_content(Role.ASSISTANT, text)
    message.channel = channel
    return message


def system(**settings: Any) -> Message:
    """A system message with only these settings."""
    content = SystemContent(**{**EMPTY_SYSTEM, **settings})
    return Message.from_role_and_content(Role.SYSTEM, content)


def developer(**settings: Any) -> Message:
    return Message.from_role_and_content(Role.DEVELOPER, DeveloperContent(**settings))


def tool_result(name: str | None) -> Message:
    return Message.from_author_and_content(Author(role=Role.TOOL, name=name), "4")


def rendered(*messages: Message, **config: bool) -> str:
    """The text of a conversation's tokens, in which special tokens are their names."""
    conversation = Conversation.from_messages(messages)
    tokens = ENCODING.render_conversation(conversation, RenderConversationConfig(**config))
    return ENCODING.decode_utf8(tokens)


def special_tokens(tokens: list[int]) -> list[str]:
    return [ENCODING.decode([token]) for token in tokens if ENCODING.is_special_token(token)]


class TestHeader:
    @pytest.mark.parametrize("role", [Role.USER, Role.ASSISTANT, Role.SYSTEM, Role.DEVELOPER])
    def test_begins_with_the_role(self, role: Role) -> None:
        message = Message.from_role_and_content(role, "Hi")
        assert rendered(message) == f"<|start|>{role.value}<|message|>Hi<|end|>"

    def test_has_the_name_of_the_author_behind_the_role(self) -> None:
        message = Message.from_author_and_content(Author.new(Role.USER, "bob"), "Hi")
        assert rendered(message) == "<|start|>user:bob<|message|>Hi<|end|>"
        message = Message.from_author_and_content(Author.new(Role.USER, ""), "Hi")
        assert rendered(message) == "<|start|>user:<|message|>Hi<|end|>"

    def test_of_a_tool_is_only_its_name(self) -> None:
        assert rendered(tool_result("functions.f")) == "<|start|>functions.f<|message|>4<|end|>"

    def test_of_a_tool_without_name_is_an_error(self) -> None:
        with pytest.raises(RuntimeError, match=r"^Tools should have a name!$"):
            rendered(tool_result(None))

    def test_has_the_recipient(self) -> None:
        message = user("Hi").with_recipient("functions.f")
        assert rendered(message) == "<|start|>user to=functions.f<|message|>Hi<|end|>"
        assert rendered(user("Hi").with_recipient("")) == "<|start|>user to=<|message|>Hi<|end|>"

    def test_leaves_out_the_recipient_all(self) -> None:
        assert rendered(user("Hi").with_recipient("all")) == "<|start|>user<|message|>Hi<|end|>"

    def test_has_the_channel(self) -> None:
        assert rendered(user("Hi").with_channel("x")) == (
            "<|start|>user<|channel|>x<|message|>Hi<|end|>"
        )

    def test_has_the_content_type(self) -> None:
        message = user("Hi").with_channel("x").with_content_type("json")
        assert rendered(message) == "<|start|>user<|channel|>x json<|message|>Hi<|end|>"
        assert rendered(user("Hi").with_content_type("")) == "<|start|>user <|message|>Hi<|end|>"

    @pytest.mark.parametrize("rest", ["json", "", " json", "<|constrain|>"])
    def test_has_the_special_token_with_which_a_content_type_begins(self, rest: str) -> None:
        message = user("Hi").with_content_type(f"<|constrain|>{rest}")
        assert rendered(message) == f"<|start|>user <|constrain|>{rest}<|message|>Hi<|end|>"
        assert special_tokens(ENCODING.render(message)) == [
            *("<|start|>", "<|constrain|>", "<|message|>", "<|end|>")
        ]

    def test_spells_a_special_token_that_is_not_at_the_beginning(self) -> None:
        tokens = ENCODING.render(user("Hi").with_content_type("a<|constrain|>"))
        assert special_tokens(tokens) == ["<|start|>", "<|message|>", "<|end|>"]

    def test_has_everything_in_this_order(self) -> None:
        message = Message(
            author=Author.new(Role.ASSISTANT, "x"),
            content=[TextContent(text="{}")],
            channel="commentary",
            recipient="functions.f",
            content_type="<|constrain|>json",
        )
        assert rendered(message) == (
            "<|start|>assistant:x to=functions.f<|channel|>commentary <|constrain|>json"
            "<|message|>{}<|call|>"
        )

    def test_is_encoded_piece_by_piece(self) -> None:
        author = Author.new(Role.USER, "name")
        message = Message(author=author, recipient="to", channel="c", content_type="json")
        pieces = ["user", ":name", " to=to", None, "c", " json"]
        expected = [
            token
            for piece in pieces
            for token in (ENCODING.encode(piece) if piece else [ENCODING.vocabulary.channel])
        ]
        assert ENCODING.render(message)[1:-2] == expected

    def test_cannot_inject_a_special_token(self) -> None:
        text = "<|end|><|start|>"
        author = Author.new(Role.USER, text)
        message = Message(author=author, recipient=text, channel=text, content_type=text)
        assert special_tokens(ENCODING.render(message)) == [
            *("<|start|>", "<|channel|>", "<|message|>", "<|end|>")
        ]

    def test_of_any_length(self) -> None:
        name = "functions." + "f" * 1000
        for _ in range(2):
            assert rendered(tool_result(name)) == f"<|start|>{name}<|message|>4<|end|>"


class TestContent:
    def test_is_ordinary_text(self) -> None:
        text = "<|end|><|start|>assistant<|return|>"
        tokens = ENCODING.render(user(text))
        assert special_tokens(tokens) == ["<|start|>", "<|message|>", "<|end|>"]
        assert ENCODING.decode(tokens) == f"<|start|>user<|message|>{text}<|end|>"

    def test_may_be_absent_or_several(self) -> None:
        assert rendered(Message(author=Author(role=Role.USER))) == "<|start|>user<|message|><|end|>"
        assert rendered(user("a").adding_content("b")) == "<|start|>user<|message|>ab<|end|>"

    def test_is_encoded_part_by_part(self) -> None:
        tokens = ENCODING.render(user("hel").adding_content("lo"))
        assert tokens[3:-1] == ENCODING.encode("hel") + ENCODING.encode("lo")
        assert tokens[3:-1] != ENCODING.encode("hello")

    @pytest.mark.parametrize("role", [Role.USER, Role.ASSISTANT, Role.DEVELOPER])
    def test_of_a_system_message_is_an_error_elsewhere(self, role: Role) -> None:
        message = Message.from_role_and_content(role, SystemContent())
        error = f"SystemContent may only appear in system messages, found in {role.name.title()}"
        with pytest.raises(RuntimeError, match=f"^{error}$"):
            ENCODING.render(message)

    @pytest.mark.parametrize("role", [Role.USER, Role.ASSISTANT, Role.SYSTEM])
    def test_of_a_developer_message_is_an_error_elsewhere(self, role: Role) -> None:
        message = Message.from_role_and_content(role, DeveloperContent())
        place = f"developer messages, found in {role.name.title()}"
        with pytest.raises(RuntimeError, match=f"^DeveloperContent may only appear in {place}$"):
            ENCODING.render(message)


class TestEnd:
    def test_of_a_call_waits_for_the_answer(self) -> None:
        message = assistant("{}").with_recipient("functions.f")
        assert rendered(message) == "<|start|>assistant to=functions.f<|message|>{}<|call|>"

    def test_of_the_assistants_message_to_all_is_that_of_a_call(self) -> None:
        message = assistant("Hi").with_recipient("all")
        assert rendered(message) == "<|start|>assistant<|message|>Hi<|call|>"

    def test_of_all_else_is_the_end(self) -> None:
        assert rendered(assistant("Hi")).endswith("<|end|>")
        assert rendered(tool_result("f").with_recipient("assistant")).endswith("<|end|>")


class TestSystemMessage:
    def test_by_default(self) -> None:
        message = Message.from_role_and_content(Role.SYSTEM, SystemContent())
        assert rendered(message) == (
            "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
            "Knowledge cutoff: 2024-06\n\nReasoning: medium\n\n"
            "# Valid channels: analysis, commentary, final. "
            "Channel must be included for every message.<|end|>"
        )

    @pytest.mark.parametrize(
        ("settings", "text"),
        [
            ({}, ""),
            ({"model_identity": "Me."}, "Me."),
            ({"model_identity": ""}, ""),
            ({"knowledge_cutoff": "2024-06"}, "Knowledge cutoff: 2024-06"),
            ({"conversation_start_date": "2025-06-28"}, "Current date: 2025-06-28"),
            ({"reasoning_effort": ReasoningEffort.LOW}, "Reasoning: low"),
            ({"reasoning_effort": ReasoningEffort.MEDIUM}, "Reasoning: medium"),
            ({"reasoning_effort": ReasoningEffort.HIGH}, "Reasoning: high"),
            ({"tools": {}}, ""),
            (
                {
                    "channel_config": ChannelConfig(
                        valid_channels=["a", "b"], channel_required=False
                    )
                },
                "# Valid channels: a, b.",
            ),
            (
                {"channel_config": ChannelConfig.require_channels(["a"])},
                "# Valid channels: a. Channel must be included for every message.",
            ),
            ({"channel_config": ChannelConfig.require_channels([])}, ""),
            ({"tools": {"n": ToolNamespaceConfig(name="n", tools=[])}}, "# Tools\n\n## n\n"),
            (
                {
                    "tools": {"n": ToolNamespaceConfig(name="n", tools=[])},
                    "conversation_start_date": "today",
                    "model_identity": "",
                    "reasoning_effort": ReasoningEffort.LOW,
                    "knowledge_cutoff": "long ago",
                    "channel_config": ChannelConfig.require_channels(["a"]),
                },
                "\nKnowledge cutoff: long ago\nCurrent date: today\n\nReasoning: low\n\n"
                "# Tools\n\n## n\n\n\n"
                "# Valid channels: a. Channel must be included for every message.",
            ),
        ],
    )
    def test_has_a_section_for_each_setting(self, settings: dict[str, Any], text: str) -> None:
        assert rendered(system(**settings)) == f"<|start|>system<|message|>{text}<|end|>"

    CALLS = "\nCalls to these tools must go to the commentary channel: 'functions'."

    def test_says_where_calls_go_if_a_developer_message_has_functions(self) -> None:
        channels = system(channel_config=ChannelConfig.require_channels(["a"]))
        function = [ToolDescription.new("f", "")]
        functions = DeveloperContent().with_function_tools(function)
        tools = Message.from_role_and_content(Role.DEVELOPER, functions)
        assert f"every message.{self.CALLS}<|end|>" in rendered(channels, tools)
        assert f"every message.{self.CALLS}<|end|>" in rendered(tools, channels)
        assert self.CALLS not in rendered(channels)
        assert self.CALLS not in rendered(system(), tools)
        other_key = developer(tools={"f": ToolNamespaceConfig(name="functions", tools=function)})
        assert self.CALLS not in rendered(channels, other_key)
        empty = developer(tools={"functions": ToolNamespaceConfig(name="functions", tools=[])})
        assert self.CALLS not in rendered(channels, empty)

    def test_says_so_for_a_message_alone_if_the_options_do(self) -> None:
        channels = system(channel_config=ChannelConfig.require_channels(["a"]))
        options = RenderOptions(conversation_has_function_tools=True)
        assert self.CALLS in ENCODING.decode(ENCODING.render(channels, options))
        assert self.CALLS not in ENCODING.decode(ENCODING.render(channels, RenderOptions()))
        assert self.CALLS not in ENCODING.decode(ENCODING.render(channels))


class TestDeveloperMessage:
    @pytest.mark.parametrize(
        ("settings", "text"),
        [
            ({}, ""),
            ({"instructions": "Do."}, "# Instructions\n\nDo."),
            ({"instructions": ""}, "# Instructions\n\n"),
            ({"tools": {}}, ""),
            (
                {"instructions": "Do.", "tools": {"n": ToolNamespaceConfig(name="n", tools=[])}},
                "# Instructions\n\nDo.\n\n# Tools\n\n## n\n",
            ),
        ],
    )
    def test_has_instructions_and_tools(self, settings: dict[str, Any], text: str) -> None:
        assert rendered(developer(**settings)) == f"<|start|>developer<|message|>{text}<|end|>"


class TestDroppedAnalysis:
    """What the models see of their thoughts when the conversation goes on."""

    @staticmethod
    def kept(*channels: str | None, **config: bool) -> list[str]:
        """Which of the assistant's messages on these channels are rendered: their numbers."""
        messages = [assistant(str(number), channel) for number, channel in enumerate(channels)]
        text = rendered(*messages, **config)
        return [part.split("<|end|>")[0] for part in text.split("<|message|>")[1:]]

    def test_is_that_before_the_first_final_message(self) -> None:
        assert self.kept("analysis", "commentary", "analysis", "final") == ["1", "3"]
        assert self.kept("analysis", "final", "analysis", "final") == ["1", "2", "3"]

    def test_is_none_unless_the_assistants_last_message_is_final(self) -> None:
        assert self.kept("analysis", "final", "analysis") == ["0", "1", "2"]
        assert self.kept("analysis", "final", "commentary") == ["0", "1", "2"]
        assert self.kept("analysis", "final", None) == ["0", "1", "2"]
        assert self.kept("analysis") == ["0"]

    def test_is_none_without_the_configuration(self) -> None:
        assert self.kept("analysis", "final", auto_drop_analysis=False) == ["0", "1"]

    def test_counts_other_roles_only_for_the_first_final_message(self) -> None:
        messages = [
            user("0").with_channel("analysis"),
            user("1").with_channel("final"),
            assistant("2", "analysis"),
            assistant("3", "final"),
            user("4").with_channel("analysis"),
        ]
        text = rendered(*messages)
        assert [number for number in "01234" if f"<|message|>{number}<|end|>" in text] == [
            *("1", "2", "3", "4")
        ]

    def test_may_have_what_does_not_render(self) -> None:
        broken = tool_result(None).with_channel("analysis")
        assert rendered(broken, assistant("a", "final")).endswith("<|message|>a<|end|>")
        with pytest.raises(RuntimeError, match="Tools should have a name"):
            rendered(broken, assistant("a", "final"), auto_drop_analysis=False)


class TestWholeConversations:
    CONVERSATION = Conversation.from_messages([user("Hi"), assistant("Hello", "final")])

    def test_for_completion_end_in_the_start_of_the_next_message(self) -> None:
        tokens = ENCODING.render_conversation(self.CONVERSATION)
        for role in Role:
            completed = ENCODING.render_conversation_for_completion(self.CONVERSATION, role)
            assert completed[:-2] == tokens
            assert ENCODING.decode(completed[-2:]) == f"<|start|>{role.value}"

    def test_for_training_end_in_return(self) -> None:
        tokens = ENCODING.render_conversation(self.CONVERSATION)
        trained = ENCODING.render_conversation_for_training(self.CONVERSATION)
        assert trained == [*tokens[:-1], ENCODING.vocabulary.return_]

    @pytest.mark.parametrize(
        "last",
        [assistant("Hello", "analysis"), assistant("Hello"), user("Hi").with_channel("final")],
    )
    def test_for_training_end_as_they_are_without_a_final_answer(self, last: Message) -> None:
        conversation = Conversation.from_messages([assistant("Hello", "final"), last])
        tokens = ENCODING.render_conversation(conversation)
        assert ENCODING.render_conversation_for_training(conversation) == tokens

    def test_for_training_end_in_return_even_after_a_call(self) -> None:
        call = assistant("Hello", "final").with_recipient("f")
        tokens = ENCODING.render_conversation_for_training(Conversation.from_messages([call]))
        assert ENCODING.decode(tokens).endswith("Hello<|return|>")

    def test_may_be_empty(self) -> None:
        assert ENCODING.render_conversation(Conversation()) == []
        assert ENCODING.render_conversation_for_training(Conversation()) == []

    def test_are_not_changed(self) -> None:
        specs = RandomConversations("unchanged").conversation(20)
        conversation = build_conversation(harmony, specs)
        before = conversation.model_copy(deep=True)
        ENCODING.render_conversation(conversation)
        assert conversation == before

    def test_raise_harmony_error_only_for_completion(self) -> None:
        conversation = Conversation.from_messages([tool_result(None)])
        with pytest.raises(HarmonyError, match=r"^Tools should have a name!$"):
            ENCODING.render_conversation_for_completion(conversation, Role.ASSISTANT)
        others: list[Callable[[], object]] = [
            lambda: ENCODING.render_conversation(conversation),
            lambda: ENCODING.render_conversation_for_training(conversation),
            lambda: ENCODING.render(conversation.messages[0]),
        ]
        for render in others:
            with pytest.raises(RuntimeError, match=r"^Tools should have a name!$") as raised:
                render()
            assert not isinstance(raised.value, HarmonyError)


class TestWhatJsonChanges:
    """Values that the package's way through JSON refuses or replaces; it comes before rendering."""

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda message: setattr(message, "channel", 5),
            lambda message: setattr(message, "recipient", "\ud800"),
            lambda message: message.adding_content("\udc00"),
            lambda message: setattr(message.author, "name", "\ud800"),
            lambda message: setattr(message.content[0], "text", None),
        ],
    )
    def test_a_value_that_json_refuses(self, spoil: Callable[[Message], None]) -> None:
        message = tool_result(None).with_channel("analysis")
        spoil(message)
        with pytest.raises(ValueError, match=r"^invalid message JSON: "):
            ENCODING.render(message)
        conversation = Conversation.from_messages([message, assistant("a", "final")])
        with pytest.raises(ValueError, match=r"^invalid conversation JSON: "):
            ENCODING.render_conversation(conversation)

    def test_surrogates_that_are_a_character_together(self) -> None:
        assert ENCODING.render(user("\ud83d\ude00")) == ENCODING.render(user("😀"))

    def test_a_subclass_of_str(self) -> None:
        class Shouted(str):
            pass

        message = user("Hi")
        message.channel = Shouted("final")
        assert ENCODING.render(message) == ENCODING.render(user("Hi").with_channel("final"))

    def test_a_content_that_writes_itself(self) -> None:
        class Question(Content):
            def to_dict(self) -> dict[str, Any]:
                return {"type": "text", "text": "Hi"}

        message = Message.from_role_and_content(Role.USER, Question())
        assert ENCODING.render(message) == ENCODING.render(user("Hi"))

    def test_a_model_without_its_fields(self) -> None:
        message = Message.model_construct()
        with pytest.raises(AttributeError):
            ENCODING.render(message)

    @pytest.mark.parametrize(
        ("parameters", "problem"),
        [
            ({"default": float("nan")}, "expected value"),
            ({"default": 10**400}, "number out of range"),
            ({"default": 1.797693134862315e308}, None),
            ({"description": "\ud800"}, "hex escape"),
            ({"default": {1, 2}}, "not JSON serializable"),
        ],
    )
    def test_parameters_that_json_refuses(
        self, parameters: dict[str, Any], problem: str | None
    ) -> None:
        content = DeveloperContent().with_function_tools([ToolDescription.new("f", "", parameters)])
        message = Message.from_role_and_content(Role.DEVELOPER, content)
        if problem is None:
            assert ENCODING.render(message)
        else:
            with pytest.raises((ValueError, TypeError), match=problem):
                ENCODING.render(message)

    def test_parameters_that_are_no_object(self) -> None:
        tool = ToolDescription.new("f", "")
        tool.parameters = ["assigned"]  # type: ignore[assignment]
        content = DeveloperContent().with_function_tools([tool])
        message = Message.from_role_and_content(Role.DEVELOPER, content)
        with pytest.warns(UserWarning, match="Pydantic serializer warnings"):
            assert "type f = (_: any) => any;" in rendered(message)

    def test_a_wide_schema_is_rendered_and_a_deep_one_refused(self) -> None:
        def render(parameters: dict[str, Any]) -> str:
            tool = ToolDescription.new("f", "", parameters)
            content = DeveloperContent().with_function_tools([tool])
            return rendered(Message.from_role_and_content(Role.DEVELOPER, content))

        properties = {str(number): {"type": "string"} for number in range(200)}
        wide = {"type": "object", "properties": properties, "required": ["0"]}
        assert "\n0: string,\n1?: string,\n" in render(wide)
        deep: dict[str, Any] = {"type": "string"}
        for depth in range(200):
            deep = {"type": "array", "items": deep}
            if depth == 100:
                assert "string" + "[]" * 101 in render(deep)
        with pytest.raises(ValueError, match="recursion limit exceeded"):
            render(deep)

    @pytest.mark.parametrize("value", [0, None, "", "false"])
    def test_a_setting_that_is_no_bool_is_as_if_it_were_not_there(self, value: Any) -> None:
        conversation = Conversation.from_messages(
            [assistant("t", "analysis"), assistant("a", "final")]
        )
        config = RenderConversationConfig()
        config.auto_drop_analysis = value
        assert ENCODING.render_conversation(conversation, config) == ENCODING.render(
            conversation.messages[1]
        )
        options = RenderOptions()
        options.conversation_has_function_tools = value
        message = Message.from_role_and_content(Role.SYSTEM, SystemContent())
        assert ENCODING.render(message, options) == ENCODING.render(message)


class TestOtherVocabularies:
    def test_the_demo_models(self) -> None:
        tokenizer = gptoss.Model().tokenizer
        encoding = HarmonyEncoding.from_tokenizer(tokenizer)
        specs = RandomConversations("demo").conversation(30)
        conversation = build_conversation(harmony, specs)
        tokens = encoding.render_conversation_for_completion(conversation, Role.ASSISTANT)
        expected = ENCODING.render_conversation_for_completion(conversation, Role.ASSISTANT)
        assert encoding.decode_utf8(tokens) == ENCODING.decode_utf8(expected)
        assert max(tokens) < tokenizer.num_tokens


class TestAgainstThePackage:
    """The same tokens and the same errors from openai_harmony."""

    @settings(max_examples=150)
    @given(
        harmony_strategies.conversations(),
        st.sampled_from(list(Role)),
        st.sampled_from([None, True, False]),
    )
    def test_conversations(
        self, package: Any, specs: list[dict[str, Any]], role: Role, drop: bool | None
    ) -> None:
        assert_same_rendering(package, specs, role.value, drop)

    @settings(max_examples=100)
    @given(harmony_strategies.conversations(harmony_strategies.any_messages(), max_size=3))
    def test_conversations_that_may_not_render(
        self, package: Any, specs: list[dict[str, Any]]
    ) -> None:
        assert_same_rendering(package, specs, "assistant", None)

    @pytest.mark.slow
    def test_many_conversations(self, package: Any) -> None:
        for seed in range(2000):
            specs = RandomConversations(seed).conversation(renders=seed % 4 != 0)
            role = list(Role)[seed % 5].value
            assert_same_rendering(package, specs, role, [None, True, False][seed % 3])


@pytest.fixture(scope="session")
def package() -> Any:
    return pytest.importorskip("openai_harmony")


@lru_cache(maxsize=2)
def encoding_of(package: Any) -> Any:
    """The encoding; the package makes a new one at each call."""
    return package.load_harmony_encoding("HarmonyGptOss")


def assert_same_rendering(
    package: Any, specs: list[dict[str, Any]], role: str, drop: bool | None
) -> None:
    """All four ways to render, with the same result or the same error."""
    ours, theirs = (
        all_renderings(harmony, specs, role, drop),
        all_renderings(package, specs, role, drop),
    )
    assert ours == theirs, specs


def all_renderings(
    package: Any, specs: list[dict[str, Any]], role: str, drop: bool | None
) -> list[Any]:
    encoding = encoding_of(package)
    conversation = build_conversation(package, specs)
    config = None if drop is None else package.RenderConversationConfig(auto_drop_analysis=drop)
    options = None if drop is None else package.RenderOptions(conversation_has_function_tools=drop)
    renderings: list[Callable[[], list[int]]] = [
        lambda: encoding.render_conversation_for_completion(
            conversation, package.Role(role), config
        ),
        lambda: encoding.render_conversation(conversation, config),
        lambda: encoding.render_conversation_for_training(conversation, config),
        *(lambda message=message: encoding.render(message, options) for message in conversation),
    ]
    return [outcome(render) for render in renderings]


def outcome(render: Callable[[], list[int]]) -> Any:
    try:
        return render()
    except (RuntimeError, ValueError) as error:
        return type(error).__name__, str(error)
