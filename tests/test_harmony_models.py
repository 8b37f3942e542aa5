"""Harmony's messages, contents and tools: the surface and the behaviour of openai_harmony's."""

from __future__ import annotations

import copy
import enum
import inspect
import pickle
import types
import typing
from collections.abc import Callable
from typing import Any

import gptoss.harmony as harmony
import harmony_strategies
import pytest
from gptoss.harmony import (
    Author,
    ChannelConfig,
    Content,
    Conversation,
    DeveloperContent,
    Message,
    ReasoningEffort,
    Role,
    SystemContent,
    TextContent,
    ToolDescription,
    ToolNamespaceConfig,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

MODEL_NAMES = [
    "Author",
    "ChannelConfig",
    "Content",
    "Conversation",
    "DeveloperContent",
    "Message",
    "SystemContent",
    "TextContent",
    "ToolDescription",
    "ToolNamespaceConfig",
]


@pytest.fixture(scope="session")
def oracle() -> Any:
    return pytest.importorskip("openai_harmony")


def user_message(text: str = "Hi") -> Message:
    return Message.from_role_and_content(Role.USER, text)


class Picture(Content):
    """A content that the package does not know."""

    url: str

    def to_dict(self) -> dict[str, Any]:
        return {"type": "picture", "url": self.url}


# Roles and efforts -----------------------------------------------------------------------------


def test_roles_are_strings() -> None:
    assert [role.value for role in Role] == ["user", "assistant", "system", "developer", "tool"]
    assert all(isinstance(role, str) and role == role.value for role in Role)
    assert Role("tool") is Role.TOOL


def test_an_unknown_role_is_named() -> None:
    with pytest.raises(ValueError, match=r"^Unknown role: 'robot'$"):
        Role("robot")
    with pytest.raises(ValueError, match=r"^Unknown role: 5$"):
        Role(5)


def test_reasoning_efforts_are_capitalised_strings() -> None:
    assert [effort.value for effort in ReasoningEffort] == ["Low", "Medium", "High"]
    with pytest.raises(ValueError, match="'low' is not a valid ReasoningEffort"):
        ReasoningEffort("low")


# Construction ----------------------------------------------------------------------------------


def test_new_takes_positional_arguments() -> None:
    assert Author.new(Role.TOOL, "f") == Author(role=Role.TOOL, name="f")
    assert ToolDescription.new("f", "Does f.") == ToolDescription(
        name="f", description="Does f.", parameters=None
    )
    assert ToolDescription.new("f", "Does f.", {"type": "object"}).parameters == {"type": "object"}


def test_default_settings() -> None:
    system = SystemContent.new()
    assert system.model_identity == "You are ChatGPT, a large language model trained by OpenAI."
    assert system.reasoning_effort is ReasoningEffort.MEDIUM
    assert system.conversation_start_date is None
    assert system.knowledge_cutoff == "2024-06"
    assert system.channel_config == ChannelConfig(
        valid_channels=["analysis", "commentary", "final"], channel_required=True
    )
    assert system.tools is None
    assert DeveloperContent.new() == DeveloperContent(instructions=None, tools=None)
    assert Message(author=Author(role=Role.USER)).content == []
    assert Conversation().messages == []


def test_defaults_are_not_shared() -> None:
    first, second = SystemContent(), SystemContent()
    assert first.channel_config is not None
    first.channel_config.valid_channels.append("extra")
    assert second == SystemContent()
    assert ToolNamespaceConfig.browser().tools[0].parameters is not None
    ToolNamespaceConfig.browser().tools[0].parameters = None
    assert ToolNamespaceConfig.browser().tools[0].parameters is not None


def test_built_in_tools() -> None:
    browser = ToolNamespaceConfig.browser()
    assert browser.name == "browser"
    assert [tool.name for tool in browser.tools] == ["search", "open", "find"]
    python = ToolNamespaceConfig.python()
    assert (python.name, python.tools) == ("python", [])


def test_fluent_methods_change_their_content_and_return_it() -> None:
    system = SystemContent.new()
    channels = ChannelConfig.require_channels(["final"])
    returned = (
        system.with_model_identity("You are a test.")
        .with_reasoning_effort(ReasoningEffort.HIGH)
        .with_conversation_start_date("2025-06-28")
        .with_knowledge_cutoff("2025-01")
        .with_channel_config(channels)
        .with_browser_tool()
        .with_python_tool()
    )
    assert returned is system
    assert system.channel_config is channels
    assert system == SystemContent(
        model_identity="You are a test.",
        reasoning_effort=ReasoningEffort.HIGH,
        conversation_start_date="2025-06-28",
        knowledge_cutoff="2025-01",
        channel_config=ChannelConfig(valid_channels=["final"], channel_required=True),
        tools={"browser": ToolNamespaceConfig.browser(), "python": ToolNamespaceConfig.python()},
    )
    assert system.with_required_channels(["a"]).channel_config == ChannelConfig(
        valid_channels=["a"], channel_required=True
    )


def test_developer_tools_are_under_their_namespaces() -> None:
    functions = [ToolDescription.new("f", "Does f.")]
    developer = DeveloperContent.new().with_instructions("Be brief.").with_function_tools(functions)
    assert developer.with_tools(ToolNamespaceConfig(name="mcp", tools=[])) is developer
    assert developer == DeveloperContent(
        instructions="Be brief.",
        tools={
            "functions": ToolNamespaceConfig(name="functions", tools=functions),
            "mcp": ToolNamespaceConfig(name="mcp", tools=[]),
        },
    )


def test_a_second_namespace_of_a_name_replaces_the_first() -> None:
    developer = DeveloperContent.new().with_function_tools([ToolDescription.new("f", "")])
    developer.with_function_tools([ToolDescription.new("g", "")])
    assert developer.tools is not None
    assert [tool.name for tool in developer.tools["functions"].tools] == ["g"]


def test_messages_from_text_and_from_contents() -> None:
    text = TextContent(text="Hi")
    assert user_message("Hi").content == [text]
    assert Message.from_role_and_content(Role.USER, text) == user_message("Hi")
    assert Message.from_role_and_contents(Role.USER, [text, text]).content == [text, text]
    author = Author.new(Role.TOOL, "f")
    assert Message.from_author_and_content(author, "4") == Message(
        author=author, content=[TextContent(text="4")]
    )


def test_a_message_is_changed_in_place() -> None:
    message = Message.from_role_and_content(Role.ASSISTANT, "{}")
    returned = (
        message.adding_content("1")
        .adding_content(SystemContent())
        .with_channel("commentary")
        .with_recipient("functions.f")
        .with_content_type("<|constrain|>json")
    )
    assert returned is message
    assert message == Message(
        author=Author(role=Role.ASSISTANT),
        content=[TextContent(text="{}"), TextContent(text="1"), SystemContent()],
        channel="commentary",
        recipient="functions.f",
        content_type="<|constrain|>json",
    )


def test_objects_are_kept_and_lists_are_copied() -> None:
    author, content = Author(role=Role.USER), TextContent(text="Hi")
    contents: list[Content] = [content]
    message = Message(author=author, content=contents)
    assert message.author is author
    assert message.content[0] is content
    assert message.content is not contents
    conversation = Conversation.from_messages([message])
    assert conversation.messages[0] is message
    namespace = ToolNamespaceConfig.python()
    assert SystemContent().with_tools(namespace).tools == {"python": namespace}


def test_a_conversation_iterates_its_messages() -> None:
    messages = [user_message("1"), user_message("2")]
    assert list(Conversation.from_messages(messages)) == messages


def test_only_keyword_arguments_construct() -> None:
    with pytest.raises(TypeError, match="positional argument"):
        TextContent("Hi")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "construct",
    [
        lambda: Message(author=Author(role=Role.USER), content="text"),  # type: ignore[arg-type]
        lambda: Message(author=Author(role=Role.USER), content=["text"]),  # type: ignore[list-item]
        lambda: Message(content=[]),  # type: ignore[call-arg]
        lambda: Author(role="robot"),  # type: ignore[arg-type]
        lambda: TextContent(text=5),  # type: ignore[arg-type]
        lambda: SystemContent(reasoning_effort="low"),  # type: ignore[arg-type]
        lambda: ToolDescription.new("f", "Does f.", []),  # type: ignore[arg-type]
        lambda: Conversation(messages=[5]),  # type: ignore[list-item]
        lambda: Message.from_role_and_contents(Role.USER, "abc"),  # type: ignore[arg-type]
    ],
)
def test_constructors_check_types(construct: Callable[[], object]) -> None:
    with pytest.raises(ValidationError):
        construct()


def test_unknown_arguments_are_ignored() -> None:
    assert TextContent(text="Hi", colour="red") == TextContent(text="Hi")  # type: ignore[call-arg]


def test_a_bare_content_has_no_dictionary() -> None:
    with pytest.raises(NotImplementedError):
        Content().to_dict()


def test_contents_of_other_classes_are_kept() -> None:
    picture = Picture(url="a.png")
    message = Message.from_role_and_content(Role.USER, picture)
    assert message.content[0] is picture
    assert message.to_dict()["content"] == [{"type": "picture", "url": "a.png"}]
    assert message.model_dump()["content"] == [{"url": "a.png"}]


def test_a_dictionary_that_names_no_known_content_is_a_bare_content() -> None:
    for raw in ({"text": "Hi"}, {"type": "picture", "url": "a.png"}, {"type": 5}, {}):
        message = Message(author=Author(role=Role.USER), content=[raw])  # type: ignore[list-item]
        assert message.content == [Content()]


def test_a_dictionary_that_names_a_content_must_be_one() -> None:
    with pytest.raises(ValidationError, match=r"content\.1\.text\n  Field required"):
        Message.model_validate(
            {
                "author": {"role": "user"},
                "content": [{"type": "developer_content"}, {"type": "text"}],
            }
        )


# Copies ----------------------------------------------------------------------------------------


@given(harmony_strategies.conversations(harmony_strategies.any_messages(), max_size=3))
def test_copies_are_equal(specs: list[dict[str, Any]]) -> None:
    conversation = harmony_strategies.build_conversation(harmony, specs)
    assert copy.copy(conversation) == conversation
    assert copy.deepcopy(conversation) == conversation
    assert conversation.model_copy(deep=True) == conversation
    assert pickle.loads(pickle.dumps(conversation)) == conversation


def test_a_deep_copy_shares_nothing() -> None:
    message = Message.from_role_and_content(Role.SYSTEM, SystemContent().with_browser_tool())
    original: dict[str, Any] = message.to_dict()
    duplicate = copy.deepcopy(message)
    duplicate.content.clear()
    duplicate.author.name = "other"
    assert message.to_dict() == original


# The package's surface -------------------------------------------------------------------------


def members(model: type) -> dict[str, Any]:
    """What a class itself defines, under its public names."""
    return {name: value for name, value in vars(model).items() if not name.startswith("_")}


def normal_type(hint: Any) -> Any:
    """A type without the differences of spelling that mean nothing: `Optional[X]`, `List[X]`."""
    is_class = isinstance(hint, type) and typing.get_origin(hint) is None  # Python 3.10: list[str]
    if is_class and issubclass(hint, BaseModel | enum.Enum):
        return hint.__name__
    if hint is dict:
        return dict, (Any, Any)
    arguments = tuple(normal_type(argument) for argument in typing.get_args(hint))
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return "union", frozenset(arguments)
    return (origin, arguments) if arguments else hint


def normal_default(default: Any) -> Any:
    return str(default) if isinstance(default, enum.Enum) else default


def normal_signature(function: Callable[..., Any]) -> list[tuple[Any, ...]]:
    parameters = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, normal_default(each.default)) for each in parameters]


# What `dir(openai_harmony)` has because the package imports it for itself, and its TypeVar T.
IMPORTS_OF_THE_PACKAGE = {
    *("AbstractSet", "Any", "BaseModel", "Collection", "Dict", "Enum", "Field", "List", "Literal"),
    *("Optional", "Pattern", "Sequence", "T", "TypeVar", "Union", "annotations", "functools"),
    *("json", "openai_harmony", "re"),
}
CLASS_NAMES = [
    *MODEL_NAMES,
    *("HarmonyEncoding", "HarmonyEncodingName", "HarmonyError", "ReasoningEffort"),
    *("RenderConversationConfig", "RenderOptions", "Role", "StreamState", "StreamableParser"),
]
FUNCTION_NAMES = ["load_harmony_encoding", "raise_disallowed_special_token"]


def test_every_name_of_the_package_is_here(oracle: Any) -> None:
    public = {name for name in dir(oracle) if not name.startswith("_")}
    assert public - IMPORTS_OF_THE_PACKAGE == {*CLASS_NAMES, *FUNCTION_NAMES}
    assert {*CLASS_NAMES, *FUNCTION_NAMES, *oracle.__all__} <= set(harmony.__all__)


@pytest.mark.parametrize("name", FUNCTION_NAMES)
def test_functions_take_what_the_packages_take(oracle: Any, name: str) -> None:
    ours, theirs = getattr(harmony, name), getattr(oracle, name)
    assert normal_signature(ours) == normal_signature(theirs)


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_every_member_of_the_package_is_here(oracle: Any, name: str) -> None:
    theirs, ours = getattr(oracle, name), getattr(harmony, name)
    assert members(theirs).keys() - {"model_config"} <= set(dir(ours))
    for method_name, method in members(theirs).items():
        if isinstance(method, classmethod | staticmethod | types.FunctionType):
            their_method, our_method = getattr(theirs, method_name), getattr(ours, method_name)
            assert normal_signature(our_method) == normal_signature(their_method)
            assert inspect.ismethod(our_method) == inspect.ismethod(their_method)


@pytest.mark.parametrize("name", [*MODEL_NAMES, "RenderConversationConfig", "RenderOptions"])
def test_fields_are_those_of_the_package(oracle: Any, name: str) -> None:
    theirs, ours = getattr(oracle, name), getattr(harmony, name)
    assert list(ours.model_fields) == list(theirs.model_fields)
    for field_name, their_field in theirs.model_fields.items():
        our_field = ours.model_fields[field_name]
        assert our_field.is_required() == their_field.is_required()
        assert normal_default(our_field.default) == normal_default(their_field.default)
        our_default = our_field.get_default(call_default_factory=True)
        their_default = their_field.get_default(call_default_factory=True)
        assert repr(our_default) == repr(their_default)
    our_hints, their_hints = typing.get_type_hints(ours), typing.get_type_hints(theirs)
    for field_name in theirs.model_fields:
        assert normal_type(our_hints[field_name]) == normal_type(their_hints[field_name])
    bases = [base.__name__ for base in ours.__mro__]
    assert bases == [base.__name__ for base in theirs.__mro__]


@pytest.mark.parametrize("name", ["HarmonyEncodingName", "ReasoningEffort", "Role", "StreamState"])
def test_enumerations_are_those_of_the_package(oracle: Any, name: str) -> None:
    theirs, ours = getattr(oracle, name), getattr(harmony, name)
    assert [(each.name, each.value) for each in ours] == [
        (each.name, each.value) for each in theirs
    ]
    assert [str(each) for each in ours] == [str(each) for each in theirs]
    assert [base.__name__ for base in ours.__mro__] == [base.__name__ for base in theirs.__mro__]


@pytest.mark.parametrize("name", ["browser", "python"])
def test_built_in_tools_are_those_of_the_package(oracle: Any, name: str) -> None:
    ours = getattr(ToolNamespaceConfig, name)()
    theirs = getattr(oracle.ToolNamespaceConfig, name)()
    # As text, so that the order of keys counts: the model was trained on it.
    assert ours.model_dump_json() == theirs.model_dump_json()


# The package's behaviour -----------------------------------------------------------------------


@given(specs=harmony_strategies.conversations(harmony_strategies.any_messages(), max_size=3))
def test_objects_print_as_in_the_package(oracle: Any, specs: list[dict[str, Any]]) -> None:
    ours = harmony_strategies.build_conversation(harmony, specs)
    theirs = harmony_strategies.build_conversation(oracle, specs)
    assert repr(ours) == repr(theirs)
    assert str(ours) == str(theirs)


FIELD_NAMES = sorted(
    {field for name in MODEL_NAMES for field in getattr(harmony, name).model_fields}
)

# Arguments of any type, so that most of them are wrong in one place or another.
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=3),
        st.binary(max_size=3),
        st.sampled_from(["user", "Low", "High", "text"]),
    ),
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(st.text(max_size=2) | st.integers(), values, max_size=3)
        | st.dictionaries(st.sampled_from(FIELD_NAMES), values, max_size=4)
    ),
    max_leaves=8,
)


def outcome(construct: Callable[..., Any], *positional: Any, **named: Any) -> str:
    """The object as text, or the errors in it as pydantic lists them."""
    try:
        return repr(construct(*copy.deepcopy(positional), **copy.deepcopy(named)))
    except ValidationError as error:
        return repr(error.errors(include_url=False, include_context=False))


@settings(max_examples=400)
@given(name=st.sampled_from(MODEL_NAMES), data=st.data())
def test_wrong_arguments_are_refused_where_the_package_refuses_them(
    oracle: Any, name: str, data: st.DataObject
) -> None:
    ours, theirs = getattr(harmony, name), getattr(oracle, name)
    arguments = data.draw(
        st.fixed_dictionaries({}, optional=dict.fromkeys(ours.model_fields, VALUES))
    )
    assert outcome(ours, **arguments) == outcome(theirs, **arguments)
    assert outcome(ours.model_validate, arguments) == outcome(theirs.model_validate, arguments)


def test_aliasing_is_that_of_the_package(oracle: Any) -> None:
    for package in (harmony, oracle):
        parameters: dict[str, Any] = {"properties": {"a": {}}}
        tools = [package.ToolDescription.new("f", "", parameters)]
        namespace = package.ToolNamespaceConfig(name="n", tools=tools)
        system = package.SystemContent(tools={"n": namespace})
        assert tools[0].parameters is not parameters
        assert tools[0].parameters["properties"] is parameters["properties"]
        assert namespace.tools is not tools
        assert namespace.tools[0] is tools[0]
        assert system.tools["n"] is namespace
        channels = ["final"]
        system.with_required_channels(channels)
        assert system.channel_config.valid_channels is not channels
        config = package.ChannelConfig.require_channels(channels)
        assert system.with_channel_config(config).channel_config is config
