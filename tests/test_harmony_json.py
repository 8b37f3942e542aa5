"""Conversations as dictionaries and as JSON: the package's form, and back without loss."""

from __future__ import annotations

import json
from typing import Any

import gptoss.harmony as harmony
import harmony_strategies
import pytest
from gptoss.harmony import (
    Author,
    Content,
    Conversation,
    DeveloperContent,
    Message,
    Role,
    SystemContent,
    TextContent,
    ToolDescription,
    ToolNamespaceConfig,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

# The settings of a system message that are not None by default.
SETTINGS_WITH_DEFAULT = ["model_identity", "reasoning_effort", "knowledge_cutoff", "channel_config"]

ANY_CONVERSATION = harmony_strategies.conversations(harmony_strategies.any_messages(), max_size=4)


@pytest.fixture(scope="session")
def oracle() -> Any:
    return pytest.importorskip("openai_harmony")


# Dictionaries ----------------------------------------------------------------------------------


def test_a_message_is_a_flat_dictionary() -> None:
    message = Message.from_role_and_content(Role.USER, "Hi")
    assert message.to_dict() == {
        "role": "user",
        "name": None,
        "content": [{"type": "text", "text": "Hi"}],
    }
    message.author.name = "bob"
    message.with_channel("final").with_recipient("all").with_content_type("json")
    assert message.to_dict() == {
        "role": "user",
        "name": "bob",
        "content": [{"type": "text", "text": "Hi"}],
        "channel": "final",
        "recipient": "all",
        "content_type": "json",
    }


def test_contents_say_what_they_are() -> None:
    assert SystemContent().to_dict() == {
        "model_identity": "You are ChatGPT, a large language model trained by OpenAI.",
        "reasoning_effort": "Medium",
        "knowledge_cutoff": "2024-06",
        "channel_config": {
            "valid_channels": ["analysis", "commentary", "final"],
            "channel_required": True,
        },
        "type": "system_content",
    }
    assert DeveloperContent().to_dict() == {"type": "developer_content"}


@pytest.mark.parametrize("name", SETTINGS_WITH_DEFAULT)
def test_a_setting_of_none_is_kept_where_the_default_is_another(name: str) -> None:
    system = SystemContent(**{name: None})
    assert system.to_dict()[name] is None
    assert SystemContent.from_dict(system.to_dict()) == system
    assert SystemContent.from_dict(system.to_dict()) != SystemContent()


def test_a_setting_of_none_is_left_out_where_that_is_the_default() -> None:
    assert SystemContent().to_dict().keys().isdisjoint({"conversation_start_date", "tools"})


def test_a_default_of_a_subclass_counts() -> None:
    class Persona(SystemContent):
        mood: str | None = "calm"

    assert Persona(mood=None).to_dict()["mood"] is None
    assert Persona.from_dict(Persona(mood=None).to_dict()) == Persona(mood=None)


def test_a_message_is_read_from_a_plain_string() -> None:
    assert Message.from_dict({"role": "user", "content": "Hi"}) == Message.from_role_and_content(
        Role.USER, "Hi"
    )


@pytest.mark.parametrize(
    ("raw", "exception", "text"),
    [
        ({"content": []}, KeyError, "'role'"),
        ({"role": "user"}, KeyError, "'content'"),
        ({"role": "robot", "content": []}, ValueError, "Unknown role: 'robot'"),
        (
            {"role": "user", "content": [{"type": "picture"}]},
            ValueError,
            "Unknown content variant: {'type': 'picture'}",
        ),
        (
            {"role": "user", "content": [{"type": ["text"]}]},
            ValueError,
            "Unknown content variant: {'type': ['text']}",
        ),
        ({"role": "user", "content": [{"text": "Hi"}]}, ValueError, "Unknown content variant"),
        ({"role": "user", "content": [{"type": "text"}]}, ValidationError, "Field required"),
        ({"role": "user", "content": ["Hi"]}, AttributeError, "'str' object has no attribute"),
        ({"role": "user", "content": 5}, TypeError, "'int' object is not iterable"),
        ({"role": "user", "name": 5, "content": []}, ValidationError, "valid string"),
    ],
)
def test_what_is_no_message_is_refused_as_by_the_package(
    oracle: Any, raw: dict[str, Any], exception: type[Exception], text: str
) -> None:
    with pytest.raises(exception) as ours:
        Message.from_dict(raw)
    with pytest.raises(exception) as theirs:
        oracle.Message.from_dict(raw)
    assert text in str(ours.value)
    assert str(ours.value) == str(theirs.value)


def test_channel_recipient_and_content_type_are_read_unchecked(oracle: Any) -> None:
    raw = {"role": "user", "content": [], "channel": 5, "recipient": [], "content_type": {}}
    for message in (Message.from_dict(raw), oracle.Message.from_dict(raw)):
        assert (message.channel, message.recipient, message.content_type) == (5, [], {})


@pytest.mark.parametrize("payload", ["", "[]", "{}", '{"messages": 5}', '{"messages": [{}]}'])
def test_what_is_no_conversation_is_refused_as_by_the_package(oracle: Any, payload: str) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011  whatever it is
        oracle.Conversation.from_json(payload)
    with pytest.raises(type(theirs.value)) as ours:
        Conversation.from_json(payload)
    assert str(ours.value) == str(theirs.value)


@given(specs=ANY_CONVERSATION)
def test_dictionaries_are_those_of_the_package_but_for_none(
    oracle: Any, specs: list[dict[str, Any]]
) -> None:
    ours = harmony_strategies.build_conversation(harmony, specs)
    theirs = harmony_strategies.build_conversation(oracle, specs)
    dictionary = ours.to_dict()
    for message in dictionary["messages"]:
        for content in message["content"]:
            for name in SETTINGS_WITH_DEFAULT:
                if name in content and content[name] is None:
                    del content[name]
    # As text: the order of keys and the difference between 1 and 1.0 count.
    assert json.dumps(dictionary) == theirs.to_json()


@given(specs=ANY_CONVERSATION)
def test_the_package_reads_our_json_and_we_read_its_json(
    oracle: Any, specs: list[dict[str, Any]]
) -> None:
    ours = harmony_strategies.build_conversation(harmony, specs)
    theirs = harmony_strategies.build_conversation(oracle, specs)
    assert repr(oracle.Conversation.from_json(ours.to_json())) == repr(theirs)
    # The package has lost each None that is not a default.
    assert repr(Conversation.from_json(theirs.to_json())) == repr(
        oracle.Conversation.from_json(theirs.to_json())
    )


# Round trips -----------------------------------------------------------------------------------


@given(ANY_CONVERSATION)
def test_json_loses_nothing(specs: list[dict[str, Any]]) -> None:
    conversation: Conversation = harmony_strategies.build_conversation(harmony, specs)
    assert Conversation.from_json(conversation.to_json()) == conversation
    for message in conversation:
        assert Message.from_dict(message.to_dict()) == message
        assert Message.from_dict(json.loads(message.to_json())) == message


@given(specs=ANY_CONVERSATION, mode=st.sampled_from(["python", "json"]))
def test_pydantics_own_forms_lose_nothing(specs: list[dict[str, Any]], mode: str) -> None:
    conversation: Conversation = harmony_strategies.build_conversation(harmony, specs)
    assert Conversation.model_validate(conversation.model_dump(mode=mode)) == conversation
    assert Conversation.model_validate_json(conversation.model_dump_json()) == conversation
    for message in conversation:
        assert Message.model_validate(message.model_dump(mode=mode)) == message
        assert Message.model_validate_json(message.model_dump_json()) == message
        defaults_left_out = message.model_dump(mode=mode, exclude_defaults=True)
        assert Message.model_validate(defaults_left_out) == message
        unset_left_out = message.model_dump_json(exclude_unset=True)
        assert Message.model_validate_json(unset_left_out) == message


def test_pydantics_own_form_has_the_contents_and_their_types() -> None:
    message = Message(
        author=Author(role=Role.DEVELOPER),
        content=[TextContent(text="Hi"), DeveloperContent(instructions="Be brief.")],
    )
    assert message.model_dump(exclude_none=True) == {
        "author": {"role": "developer"},
        "content": [
            {"type": "text", "text": "Hi"},
            {"type": "developer_content", "instructions": "Be brief."},
        ],
    }
    assert message.model_dump(include={"content": {0}}) == {
        "content": [{"type": "text", "text": "Hi"}]
    }


def test_a_content_alone_is_dumped_as_by_the_package(oracle: Any) -> None:
    # "type" stands only where a message needs it to know what to read.
    for name in ("TextContent", "SystemContent", "DeveloperContent"):
        fields: dict[str, Any] = {"text": "Hi"} if name == "TextContent" else {}
        ours, theirs = getattr(harmony, name)(**fields), getattr(oracle, name)(**fields)
        assert ours.model_dump_json() == theirs.model_dump_json()


def test_wrong_fields_are_refused_in_dictionaries_and_json() -> None:
    wrong = {"author": {"role": "user"}, "content": [{"type": "text", "text": 5}]}
    with pytest.raises(
        ValidationError, match=r"content\.0\.text\n  Input should be a valid string"
    ):
        Message.model_validate(wrong)
    with pytest.raises(
        ValidationError, match=r"content\.0\.text\n  Input should be a valid string"
    ):
        Message.model_validate_json(json.dumps(wrong))
    with pytest.raises(
        ValidationError, match=r"messages\.0\.content\.0\n  Input should be a valid"
    ):
        Conversation.model_validate({"messages": [{**wrong, "content": ["Hi"]}]})


def test_parameters_keep_their_nulls_and_their_order() -> None:
    parameters = {"b": None, "a": {"default": None, "enum": [None, 1.0, 1]}}
    tool = ToolDescription.new("f", "Does f.", parameters)
    content: Content = DeveloperContent().with_function_tools([tool])
    message = Message.from_role_and_content(Role.DEVELOPER, content)
    [reread] = Message.from_dict(json.loads(message.to_json())).content
    assert isinstance(reread, DeveloperContent)
    assert reread.tools is not None
    assert json.dumps(reread.tools["functions"].tools[0].parameters) == json.dumps(parameters)


def test_a_namespace_without_description_comes_back() -> None:
    namespace = ToolNamespaceConfig(name="n", description=None, tools=[])
    system = SystemContent().with_tools(namespace)
    assert system.to_dict()["tools"] == {"n": {"name": "n", "tools": []}}
    assert SystemContent.from_dict(system.to_dict()) == system


def test_json_schemas_of_the_models_can_be_had() -> None:
    for mode in ("validation", "serialization"):
        schema = Conversation.model_json_schema(mode=mode)
        assert set(schema["$defs"]) >= {"Author", "Message", "Role"}
