"""What the package's passage through JSON makes of a conversation: the same errors, or the same.

The objects of both packages get the same odd values in the same places; what `openai_harmony` says
when it renders them is what `reread_conversation` and `reread_message` must say.
"""

from __future__ import annotations

import json
import math
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
)
from gptoss.harmony.json_passage import reread_conversation, reread_message
from harmony_passage import assert_same_passage, outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

# pydantic warns where a value is written that is not of its field's type.
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")

# What nests around the parameters of a tool: conversation, messages, message, content, developer
# content, tools, namespace, its tools, tool. serde_json stops at the 128th bracket.
MAX_DEPTH_OF_PARAMETERS = 127 - 9


@pytest.fixture(scope="session")
def oracle() -> Any:
    return pytest.importorskip("openai_harmony")


@pytest.fixture(scope="session")
def encoding(oracle: Any) -> Any:
    return oracle.load_harmony_encoding("HarmonyGptOss")


class Unwritable:
    """JSON has nothing for it."""


def odd_values(package: Any) -> list[Any]:
    """Values that are wrong somewhere, each of them right somewhere else."""
    numbers = [5, -5, 0.5, -0.0, 1e300, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1]
    beyond_numbers = [10**400, -(10**400), math.nan, math.inf, -math.inf]
    words = ["x", "Low", "low", "user", "text", "", "a at line 3 column 4"]
    quoted = ['a"b\\', "tab\t, nul\0, bell\a", "é ☃ e\u0301 \u200b \u2028 𝄞 \u00ad"]
    surrogates = ["\ud83d\ude00", "\ud800", "\udc00", "\ud800x", "\ud800\n", "\ud800\ud800"]
    arrays = [[], [1], ["a"], ("a", "b"), [["a"], True], [["a"], 5], [["a"]], [None, None, None]]
    tools = [["f", "Does f.", {"type": "object"}], ["g", "", None], ["h", "", 5]]
    namespaces = [["n", None, tools], ["n", None, []], ["n"], ["n", None, [], 5]]
    named = [{"name": "n", "tools": []}, {"name": "n", "tools": 5}, {"name": "n"}]
    enums = [{"Low": None}, {"Low": {}}, {"Low": 5}, {"Middle": None}, {"user": None}, {5: None}]
    objects = [{}, {"a": 1, "b": 2}, {"text": "a"}, {"type": "text"}, {1: 2, "1": 3}, {None: 1}]
    unwritable = [b"x", {1, 2}, Unwritable(), {(1, 2): 3}]
    models = [
        package.Content(),
        package.TextContent(text="t"),
        package.SystemContent(),
        package.DeveloperContent(),
        package.Message(author=package.Author(role=package.Role.USER)),
        package.Author.new(package.Role.TOOL, "f"),
        package.Role.TOOL,
        package.ReasoningEffort.LOW,
    ]
    return [
        *(None, True, False),
        *(*numbers, *beyond_numbers, *words, *quoted, *surrogates),
        *(*arrays, *namespaces, *named, *enums, *objects, *unwritable, *models),
    ]


NUM_ODD_VALUES = len(odd_values(harmony))

Place = tuple[Any, Any]


def places(value: Any) -> list[Place]:
    """Every field, element and member in an object, as its owner and its name, index or key."""
    if isinstance(value, BaseModel):
        inside: list[tuple[Any, Any, Any]] = [
            (value, name, getattr(value, name)) for name in type(value).model_fields
        ]
    elif isinstance(value, list):
        inside = [(value, index, element) for index, element in enumerate(value)]
    elif isinstance(value, dict):
        inside = [(value, key, member) for key, member in value.items()]
    else:
        return []
    found: list[Place] = [(owner, name) for owner, name, _ in inside]
    for _, _, inner in inside:
        found.extend(places(inner))
    return found


def put(place: Place, value: Any) -> None:
    owner, name = place
    if isinstance(owner, BaseModel):
        setattr(owner, name, value)
    else:
        owner[name] = value


# With the package ------------------------------------------------------------------------------


SOME_MESSAGES = st.lists(harmony_strategies.any_messages(), min_size=1, max_size=3)


def check_odd_values(oracle: Any, encoding: Any, data: st.DataObject) -> None:
    specs = data.draw(SOME_MESSAGES)
    ours = harmony_strategies.build_conversation(harmony, specs)
    theirs = harmony_strategies.build_conversation(oracle, specs)
    for _ in range(data.draw(st.sampled_from([1, 1, 2]))):
        our_places, their_places = places(ours), places(theirs)
        assert len(our_places) == len(their_places)
        place = data.draw(st.integers(0, len(our_places) - 1))
        value = data.draw(st.integers(0, NUM_ODD_VALUES - 1))
        put(our_places[place], odd_values(harmony)[value])
        put(their_places[place], odd_values(oracle)[value])
    assert_same_passage(encoding, ours, theirs)
    messages = ours.messages  # or what was put in their place
    if isinstance(messages, list) and messages and isinstance(messages[0], Message):
        assert_same_passage(encoding, ours.messages[0], theirs.messages[0])


@settings(max_examples=300)
@given(data=st.data())
def test_odd_values_anywhere(oracle: Any, encoding: Any, data: st.DataObject) -> None:
    check_odd_values(oracle, encoding, data)


@pytest.mark.slow
@settings(max_examples=600)
@given(data=st.data())
def test_odd_values_anywhere_at_length(oracle: Any, encoding: Any, data: st.DataObject) -> None:
    check_odd_values(oracle, encoding, data)


FULL_SPEC: list[dict[str, Any]] = [
    {
        "role": role,
        "name": None,
        "content": [{"kind": kind, **fields}, {"kind": "TextContent", "text": "Hi"}],
        "channel": "final",
        "recipient": "all",
        "content_type": "json",
    }
    for role, kind, fields in [
        (
            "system",
            "SystemContent",
            {
                "conversation_start_date": "2025-06-28",
                "tools": {
                    "n": {
                        "name": "n",
                        "description": "d",
                        "tools": [{"name": "f", "description": "", "parameters": {"a": [1]}}],
                    }
                },
            },
        ),
        (
            "developer",
            "DeveloperContent",
            {"instructions": "Be brief.", "tools": {"n": {"name": "n", "tools": []}}},
        ),
    ]
]
NUM_PLACES = len(places(harmony_strategies.build_conversation(harmony, FULL_SPEC)))


@pytest.mark.parametrize("place", range(NUM_PLACES))
def test_every_odd_value_in_every_place(oracle: Any, encoding: Any, place: int) -> None:
    for value in range(NUM_ODD_VALUES):
        ours = harmony_strategies.build_conversation(harmony, FULL_SPEC)
        theirs = harmony_strategies.build_conversation(oracle, FULL_SPEC)
        put(places(ours)[place], odd_values(harmony)[value])
        put(places(theirs)[place], odd_values(oracle)[value])
        assert_same_passage(encoding, ours, theirs)


@pytest.mark.parametrize("too_deep", [False, True])
def test_the_recursion_limit_is_the_packages(oracle: Any, encoding: Any, too_deep: bool) -> None:
    for brackets in ("[]", "{}"):
        ours, theirs = (
            package.Conversation.from_messages(
                [
                    package.Message.from_role_and_content(
                        package.Role.DEVELOPER,
                        package.DeveloperContent().with_function_tools(
                            [
                                package.ToolDescription.new(
                                    "f", "", nested(brackets, MAX_DEPTH_OF_PARAMETERS + too_deep)
                                )
                            ]
                        ),
                    )
                ]
            )
            for package in (harmony, oracle)
        )
        assert_same_passage(encoding, ours, theirs)
        rereading = outcome(lambda ours=ours: reread_conversation(ours))  # type: ignore[misc]
        assert ("recursion limit exceeded" in str(rereading)) == too_deep


def nested(brackets: str, depth: int) -> dict[str, Any]:
    """An object with arrays or objects in it, so many brackets deep."""
    value: Any = None
    for _ in range(depth - 1):
        value = [value] if brackets == "[]" else {"a": value}
    return {"a": value}


def test_overriding_methods_are_called(oracle: Any, encoding: Any) -> None:
    for package in (harmony, oracle):

        class Loud(package.TextContent):  # type: ignore[misc,name-defined]
            def to_dict(self) -> dict[str, Any]:
                return {"type": "text", "text": self.text.upper()}

        class Numbered(package.SystemContent):  # type: ignore[misc,name-defined]
            def to_dict(self) -> dict[str, Any]:
                return {"type": "system_content", "model_identity": 5}

        class Hidden(package.Message):  # type: ignore[misc,name-defined]
            def to_dict(self) -> dict[str, Any]:
                return {"role": "user", "content": "hidden"}

        class Written(package.Message):  # type: ignore[misc,name-defined]
            def to_json(self) -> str:
                return '{"role": "user", "content": "written"} x'

        class Short(package.Conversation):  # type: ignore[misc,name-defined]
            def to_dict(self) -> dict[str, Any]:
                return {"messages": [self.messages[0].to_dict()]}

        loud = package.Message.from_role_and_content(package.Role.USER, Loud(text="Hi"))
        numbered = package.Message.from_role_and_content(package.Role.SYSTEM, Numbered())
        hidden = Hidden(author=loud.author)
        written = Written(author=loud.author)
        cases = [loud, numbered, hidden, written, Short(messages=[hidden, numbered])]
        if package is harmony:
            ours = cases
    for our_case, their_case in zip(ours, cases, strict=True):
        assert_same_passage(encoding, our_case, their_case)


def test_what_is_no_conversation_at_all(encoding: Any) -> None:
    values: list[Any] = [None, 5, [], "text"]
    for value in values:
        assert_same_passage(encoding, value, value)


# Without the package ---------------------------------------------------------------------------


@given(harmony_strategies.conversations(max_size=4))
def test_a_clean_conversation_comes_through(specs: list[dict[str, Any]]) -> None:
    conversation = harmony_strategies.build_conversation(harmony, specs)
    assert reread_conversation(conversation) == conversation
    for message in conversation:
        assert reread_message(message) == message


def system_message(**settings: Any) -> Message:
    system = SystemContent()
    for name, value in settings.items():
        setattr(system, name, value)
    return Message.from_role_and_content(Role.SYSTEM, system)


def reread_system(**settings: Any) -> SystemContent:
    [content] = reread_message(system_message(**settings)).content
    assert isinstance(content, SystemContent)
    return content


def test_values_of_other_types_become_the_declared_ones() -> None:
    assert reread_system(reasoning_effort="High") == SystemContent(reasoning_effort="High")  # type: ignore[arg-type]
    assert reread_system(reasoning_effort={"High": None}).reasoning_effort == "High"
    config = reread_system(channel_config=[["final"], False]).channel_config
    assert config is not None
    assert (config.valid_channels, config.channel_required) == (["final"], False)
    assert reread_system(model_identity="\ud83d\ude00").model_identity == "😀"


def test_keys_become_text_and_the_last_of_two_counts() -> None:
    tool = ToolDescription.new("f", "", {1: "a", "x": (1, 2.0), "1": "b", None: 3})
    content: Content = DeveloperContent().with_function_tools([tool])
    [reread] = reread_message(Message.from_role_and_content(Role.DEVELOPER, content)).content
    assert isinstance(reread, DeveloperContent)
    assert reread.tools is not None
    parameters = reread.tools["functions"].tools[0].parameters
    assert json.dumps(parameters) == '{"1": "b", "x": [1, 2.0], "null": 3}'


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"model_identity": 5},
            "invalid type: integer `5`, expected a string at line 1 column 255",
        ),
        (
            {"reasoning_effort": "low"},
            "unknown variant `low`, expected one of `Low`, `Medium`, `High` at line 1 column 311",
        ),
        (
            {"channel_config": {"valid_channels": []}},
            "missing field `channel_required` at line 1 column 255",
        ),
        (
            {"knowledge_cutoff": math.nan},
            "expected value at line 1 column 177",
        ),
        (
            {"knowledge_cutoff": "\udc00"},
            "lone leading surrogate in hex escape at line 1 column 183",
        ),
    ],
)
def test_errors_name_their_place(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=r"^invalid message JSON: ") as caught:
        reread_message(system_message(**settings))
    assert str(caught.value) == f"invalid message JSON: {text}"


def test_an_error_in_a_conversation_says_so() -> None:
    message = Message.from_role_and_content(Role.USER, "Hi")
    message.channel = 5  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"^invalid conversation JSON: invalid type: integer `5`"):
        reread_conversation(Conversation.from_messages([message]))


def test_what_cannot_be_written_raises_what_writing_raises() -> None:
    author = Author(role=Role.USER)
    with pytest.raises(NotImplementedError):
        reread_message(Message(author=author, content=[Content()]))
    text = TextContent(text="Hi")
    text.text = {1, 2}  # type: ignore[assignment]
    with pytest.raises(TypeError, match="Object of type set is not JSON serializable"):
        reread_message(Message(author=author, content=[text]))
