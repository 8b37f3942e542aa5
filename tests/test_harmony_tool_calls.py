"""Tool calls as clients meet them: where they stand, what is in them, how they are answered."""

import json
import pickle
import sys
from typing import Any

import hypothesis.strategies as st
import pytest
from gptoss.harmony import Author, Message, Role, SystemContent, TextContent, ToolCall
from gptoss.harmony import parse_tool_calls as parse
from gptoss.harmony.tool_arguments import MAX_DEPTH, MAX_DIGITS, read_arguments
from hypothesis import given


def call_message(
    recipient: str | None,
    text: str = "{}",
    channel: str | None = "commentary",
    role: Role = Role.ASSISTANT,
) -> Message:
    message = Message.from_role_and_content(role, text)
    message.recipient, message.channel = recipient, channel
    return message


def only_call(recipient: str | None, text: str = "{}", channel: str = "commentary") -> ToolCall:
    (call,) = parse([call_message(recipient, text, channel)])
    return call


def error_of(text: str) -> str:
    arguments, error = read_arguments(text)
    assert arguments is None
    assert error is not None
    assert error.startswith("The arguments are not usable: ")
    assert error.endswith(".")
    error.encode()  # it can be sent
    return error


@pytest.fixture(scope="module")
def package() -> Any:
    """The module openai_harmony, whose messages and texts clients have at hand."""
    return pytest.importorskip("openai_harmony", reason="openai-harmony is not installed")


@pytest.fixture(scope="module")
def package_encoding(package: Any) -> Any:
    return package.load_harmony_encoding("HarmonyGptOss")


def joined(*pieces: str) -> st.SearchStrategy[str]:
    """Texts made of these pieces."""
    return st.lists(st.sampled_from(pieces)).map("".join)


class TestWhichMessagesAreCalls:
    def test_a_call_has_all_that_a_client_needs(self) -> None:
        call = only_call("functions.get_weather", '{"location": "Zürich"}')
        assert call == ToolCall(
            recipient="functions.get_weather",
            namespace="functions",
            name="get_weather",
            arguments={"location": "Zürich"},
            text='{"location": "Zürich"}',
            error=None,
            channel="commentary",
            index=0,
        )

    def test_calls_are_found_among_other_messages_in_their_order(self) -> None:
        calls = parse(
            message
            for message in [
                call_message(None, "Let me see.", "analysis"),
                call_message("functions.first"),
                call_message(None, "Two calls.", "commentary"),
                call_message("browser.search", '{"query": "x"}', "analysis"),
            ]
        )
        assert [(call.index, call.recipient) for call in calls] == [
            (1, "functions.first"),
            (3, "browser.search"),
        ]

    @pytest.mark.parametrize("channel", ["analysis", "commentary", "final", None, ""])
    def test_a_call_may_stand_on_any_channel(self, channel: str | None) -> None:
        (call,) = parse([call_message("functions.f", channel=channel)])
        assert call.channel == channel

    @pytest.mark.parametrize("role", [Role.USER, Role.TOOL, Role.SYSTEM, Role.DEVELOPER])
    def test_only_the_assistant_calls_tools(self, role: Role) -> None:
        assert parse([call_message("functions.f", role=role)]) == []

    @pytest.mark.parametrize(
        "recipient", [None, "", " ", "all", "assistant", "user", "system", "developer", "tool", "."]
    )
    def test_nobody_everybody_and_the_roles_are_no_tools(self, recipient: str | None) -> None:
        assert parse([call_message(recipient)]) == []

    @pytest.mark.parametrize("header", ["final json", "analysis code", "final <|constrain|>json"])
    def test_a_content_type_that_the_parser_took_for_a_recipient_is_no_tool(
        self, package: Any, package_encoding: Any, header: str
    ) -> None:
        tokens = package_encoding.encode(
            f"<|channel|>{header}<|message|>{{}}", allowed_special="all"
        )
        messages = package_encoding.parse_messages_from_completion_tokens(
            tokens, package.Role.ASSISTANT
        )
        assert messages[0].recipient is not None
        assert parse([Message.from_dict(messages[0].to_dict())]) == []

    def test_a_recipient_that_is_no_text_is_no_tool(self) -> None:
        message = Message.from_dict(
            {"role": "assistant", "content": "{}", "recipient": ["functions.f"]}
        )
        assert parse([message]) == []

    def test_messages_of_openai_harmony_will_do(self, package: Any) -> None:
        message = package.Message.from_role_and_content(
            package.Role.ASSISTANT, '{"a": 1}'
        ).with_recipient("functions.f")
        (call,) = parse([message])
        assert call.arguments == {"a": 1}


class TestNames:
    @pytest.mark.parametrize(
        ("recipient", "namespace", "name"),
        [
            ("functions.get_weather", "functions", "get_weather"),
            ("browser.search", "browser", "search"),
            ("container.exec", "container", "exec"),
            ("get_weather", None, "get_weather"),
            ("python", "python", "python"),
            ("python.execute", "python", "execute"),
            ("functions.github.search", "functions", "github.search"),
            ("functions.json", "functions", "json"),
            ("functions", None, "functions"),
        ],
    )
    def test_the_namespace_ends_at_the_first_dot(
        self, recipient: str, namespace: str | None, name: str
    ) -> None:
        call = only_call(recipient)
        assert (call.recipient, call.namespace, call.name) == (recipient, namespace, name)

    @pytest.mark.parametrize(
        ("polluted", "clean"),
        [
            ("get_weather<|channel|>commentary", "get_weather"),
            ("functions.get_weather<|channel|>commentary", "functions.get_weather"),
            ("functions.get_weather<|constrain|>json", "functions.get_weather"),
            ("functions.get_weather<|constrain|>", "functions.get_weather"),
            ("functions.get_weather<|constrain|> json", "functions.get_weather"),
            ("functions.get_weather<|message|>{}", "functions.get_weather"),
            ('"functions.get_weather"', "functions.get_weather"),
            ("functions.get_weather()", "functions.get_weather"),
            ("functions.get_weather:", "functions.get_weather"),
            ("functions.get_weather<|chan", "functions.get_weather"),
            ("<|channel|>commentary to=functions.get_weather", "functions.get_weather"),
            ("<|start|>assistant to=functions.get_weather", "functions.get_weather"),
            ("assistant<|channel|>analysis to=functions.get_weather", "functions.get_weather"),
            ("to=functions.get_weather", "functions.get_weather"),
            ("to=to= functions.get_weather code", "functions.get_weather"),
            (" functions.get_weather ", "functions.get_weather"),
            ("functions.functions.get_weather", "functions.get_weather"),
            ("functions.functions.functions.get_weather", "functions.get_weather"),
            ("browser.browser.open", "browser.open"),
            ("functions.get_weather.", "functions.get_weather"),
            ("functions.functions", "functions.functions"),
            ("functions.functions_of_x", "functions.functions_of_x"),
            ("github.github.search", "github.github.search"),
        ],
    )
    def test_leaked_markup_and_doubled_namespaces_are_no_part_of_a_name(
        self, polluted: str, clean: str
    ) -> None:
        assert only_call(polluted).recipient == clean

    @pytest.mark.parametrize(
        "recipient",
        ["<|constrain|>json", "<|channel|>commentary", "assistant<|channel|>analysis", "to=", "<|"],
    )
    def test_markup_alone_names_no_tool(self, recipient: str) -> None:
        assert parse([call_message(recipient)]) == []

    @given(joined(*"ab. =<|>", "to=", "<|channel|>", "<|x|>", "functions.", "assistant"))
    def test_no_recipient_raises_and_a_clean_one_is_kept(self, recipient: str) -> None:
        for call in parse([call_message(recipient)]):
            assert "<|" not in call.recipient
            assert [again.recipient for again in parse([call_message(call.recipient)])] == [
                call.recipient
            ]


class TestArguments:
    @pytest.mark.parametrize("text", ["", " ", "\n\t\r ", "\ufeff"])
    def test_no_text_is_what_a_call_looks_like_that_was_cut_off(self, text: str) -> None:
        assert read_arguments(text) == (
            None,
            "The arguments are not usable: there are none; a call without arguments sends {}.",
        )

    @pytest.mark.parametrize(
        "before", ["", " \n", "\ufeff", "```json\n", "```\n\n", " ```JSON \r\n"]
    )
    @pytest.mark.parametrize("after", ["", "\n", " \t\r\n\ufeff"])
    def test_blanks_a_byte_order_mark_and_a_fence_around_the_json_are_no_fault(
        self, before: str, after: str
    ) -> None:
        fence = "\n```" if "```" in before else ""
        assert read_arguments(f'{before}{{"a": "```"}}{fence}{after}') == ({"a": "```"}, None)

    def test_the_text_is_kept_exactly(self) -> None:
        text = ' \ufeff{"a": 1, "a":  2.50}\n'
        call = only_call("functions.f", text)
        assert call.text == text
        assert call.arguments == {"a": 2.5}  # the last of equal keys

    def test_all_text_contents_are_one_text(self) -> None:
        message = call_message("functions.f", '{"a":')
        message.adding_content(SystemContent.new()).adding_content("1}")
        (call,) = parse([message])
        assert call.text == '{"a":1}'
        assert call.arguments == {"a": 1}

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("{'a': 1}", "(line 1, column 2: "),
            ('{"a": 1', "end of text"),
            ('{"a":\n  tru}', "(line 2, column 3: 'tru}')"),
            ('{"a": "x\ny"}', "(line 1, column 9: "),
            ('{"a": 1} {"b": 2}', "there is more text after the JSON (line 1, column 10: "),
            ('{"a": 1} done', "there is more text after the JSON (line 1, column 10: 'done')"),
            ('```json\n{"a": 1}', "(line 1, column 1: '```json"),
            ('```json\n{"a": \n```', "(line 3, column 1: '```')"),
            ("```json\n```", "(line 2, column 1: '```')"),
            ("{}\u00a0", "more text"),
            ('["a"]', "expected a JSON object, found an array"),
            ('"{}"', "found a string"),
            ("1", "found a number"),
            ("1.5", "found a number"),
            ("true", "found a boolean"),
            ("null", "found null"),
            ('{"NaN": NaN}', "JSON has no NaN (line 1, column 9: 'NaN}')"),
            ('{"a": [1, Infinity]}', "JSON has no Infinity (line 1, column 11: "),
            ('{"a": -Infinity}', "JSON has no -Infinity (line 1, column 7: "),
            ('{"1e999": 1, "b": 1e999}', "beyond the range of a float (line 1, column 19: "),
            (
                '{"1": 1, "a": ' + "1" * (MAX_DIGITS + 1) + "}",
                f"more than {MAX_DIGITS} digits (line 1, column 15: ",
            ),
            (r'{"a": "\ud83d"}', "surrogate pair is no character (line 1, column 8: "),
            (r'{"a": "\ud83d\ude00\\ud83d\uDE00"}', "(line 1, column 27: "),
            ('{"a": "\ud83d"}', "surrogate pair is no character (line 1, column 8: "),
            ("[" * 100_000, f"more than {MAX_DEPTH} levels (line 1, column 129: "),
        ],
    )
    def test_an_error_says_what_is_wrong_and_where(self, text: str, said: str) -> None:
        assert said in error_of(text)

    @pytest.mark.parametrize(
        "text",
        [
            '{"a": ' * MAX_DEPTH + "1" + "}" * MAX_DEPTH,
            '{"a": "' + "[" * 1000 + '\\"' + "{" * 1000 + '"}',
            '{"a": ' + "[[], {}, " * 100 + "0" + "]" * 100 + "}",
            '{"a": -' + "9" * MAX_DIGITS + "}",
            r'{"a": "\ud83d\ude00 \\ud83d \u0000"}',
            '{"a": 1.7976931348623157e308, "b": 5e-324, "c": 1e-999}',
        ],
    )
    def test_what_is_large_but_within_the_limits_is_read(self, text: str) -> None:
        assert read_arguments(text) == (json.loads(text), None)

    def test_a_limit_of_the_program_on_digits_is_an_error_too(self) -> None:
        if not hasattr(sys, "set_int_max_str_digits"):
            pytest.skip("this Python has no such limit")
        before = sys.get_int_max_str_digits()
        sys.set_int_max_str_digits(640)
        try:
            assert "more digits than Python converts" in error_of('{"a": ' + "1" * 1000 + "}")
        finally:
            sys.set_int_max_str_digits(before)

    def test_a_caller_deep_in_recursion_gets_an_answer(self) -> None:
        text = '{"a": ' * MAX_DEPTH + "1" + "}" * MAX_DEPTH

        def descend(frames: int) -> tuple[dict[str, Any] | None, str | None]:
            return descend(frames - 1) if frames else read_arguments(text)

        depth = 0
        frame = sys._getframe()
        while frame.f_back is not None:
            frame, depth = frame.f_back, depth + 1
        arguments, error = descend(sys.getrecursionlimit() - depth - 60)
        # Up to Python 3.11 the levels of the JSON count as frames.
        assert arguments == json.loads(text) or "nested too deeply for this thread" in str(error)

    def test_hostile_text_takes_no_quadratic_time(self) -> None:
        """Each of these would take minutes if a regex went back over it."""
        size = 200_000
        for text in (
            "```json\n" + "\n" * size + "x```",
            "```json\n" * (size // 8),
            '{"a": "' + "\\" * size,
            '{"a": "' + "[" * size + "\\",
            '{"a": ' + "-" * size,
            '{"a": 0, "b": ' + "1" * size + "}",
            '{"a": "' + "\\\\" * size + '\\ud83d"}',
        ):
            error_of(text)
        assert parse([call_message("<|" * size), call_message("<|channel|>" * size)]) == []

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_infinity=False),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=20,
        ).filter(lambda value: "NaN" not in json.dumps(value)),
        st.sampled_from([None, 1]),
        st.booleans(),
    )
    def test_every_json_object_is_read_back(
        self, value: object, indent: int | None, ascii_only: bool
    ) -> None:
        text = json.dumps({"value": value}, indent=indent, ensure_ascii=ascii_only)
        assert read_arguments(text) == ({"value": value}, None)

    @given(
        joined(*'{}[]",:\\ \n\t0-+.eE`', "NaN", "Infinity", "\\u", "\\ud83d", "1e9", "é", "\ud83d")
    )
    def test_no_text_raises(self, text: str) -> None:
        arguments, error = read_arguments(text)
        assert (arguments is None) != (error is None)
        if arguments is not None:
            json.dumps(arguments, allow_nan=False, ensure_ascii=False).encode()


class TestToolsThatTakeText:
    def test_python_takes_code(self) -> None:
        call = only_call("python", "print(1)", "analysis")
        assert (call.arguments, call.error, call.text) == (None, None, "print(1)")

    @pytest.mark.parametrize("custom", ["apply_patch", "functions.apply_patch"])
    def test_the_caller_names_its_own(self, custom: str) -> None:
        messages = [call_message("functions.apply_patch", "*** Begin Patch")]
        (call,) = parse(messages, custom_tools=[custom])
        assert (call.arguments, call.error, call.text) == (None, None, "*** Begin Patch")
        (call,) = parse(messages)
        assert call.error is not None

    def test_a_content_type_says_nothing_about_arguments(self) -> None:
        """The models declare `code` for JSON, and `json` for what is none."""
        message = call_message("browser.search", '{"query": "x"}', "analysis")
        (call,) = parse([message.with_content_type("code")])
        assert call.arguments == {"query": "x"}


class TestReply:
    def test_a_function_answers_on_commentary(self) -> None:
        reply = only_call("functions.get_weather").reply('{"sunny": true, "temperature": 20}')
        assert reply == Message(
            author=Author(role=Role.TOOL, name="functions.get_weather"),
            content=[TextContent(text='{"sunny": true, "temperature": 20}')],
            channel="commentary",
            recipient="assistant",
        )

    def test_the_reply_is_the_message_of_the_format_guide(
        self, package: Any, package_encoding: Any
    ) -> None:
        reply = only_call("functions.get_weather<|channel|>commentary").reply("{}")
        tokens = package_encoding.render(package.Message.from_dict(reply.to_dict()))
        assert package_encoding.decode(tokens) == (
            "<|start|>functions.get_weather to=assistant<|channel|>commentary<|message|>{}<|end|>"
        )

    @pytest.mark.parametrize(
        ("recipient", "channel", "answered_on"),
        [
            ("functions.f", "analysis", "commentary"),
            ("f", None, "commentary"),
            ("browser.search", "analysis", "analysis"),
            ("python", "commentary", "commentary"),
            ("python", None, "analysis"),
        ],
    )
    def test_a_built_in_tool_answers_where_it_was_called(
        self, recipient: str, channel: str | None, answered_on: str
    ) -> None:
        (call,) = parse([call_message(recipient, channel=channel)])
        assert call.reply("done").channel == answered_on

    def test_content_may_be_any_content(self) -> None:
        content = TextContent(text="done")
        assert only_call("functions.f").reply(content).content == [content]

    def test_a_reply_is_no_call(self) -> None:
        assert parse([only_call("functions.f").reply("{}")]) == []


def test_a_call_is_an_immutable_value_that_can_be_pickled() -> None:
    call = only_call("functions.f", '{"a": [1]}')
    assert pickle.loads(pickle.dumps(call)) == call
    with pytest.raises(AttributeError):
        call.name = "g"  # type: ignore[misc]
