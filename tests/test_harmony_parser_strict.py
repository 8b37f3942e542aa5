"""Strict parsing: the messages, the states and the errors of openai_harmony, at every token."""

from typing import Any, NamedTuple

import pytest
from gptoss.harmony import HarmonyError, Role, StreamableParser, StreamState, load_harmony_encoding
from harmony_completions import (
    ENCODING,
    END,
    MESSAGE,
    NUM_TOKENS,
    PARTIAL_TOKENS,
    START,
    START_OF_EMOJI,
    completions,
    observed,
    parser_for,
    plain,
    roles,
    spelled,
    token_bytes,
)
from hypothesis import given, settings
from hypothesis import strategies as st

ASSISTANT = Role.ASSISTANT
# Whether an error's text shows a character or its number depends on the version of Unicode, for
# what was assigned in between.
ASSIGNED = st.characters(codec="utf-8", exclude_categories=["Cn"])


@pytest.fixture(scope="session")
def package() -> Any:
    return pytest.importorskip("openai_harmony", reason="openai-harmony is not installed")


@pytest.fixture(scope="session")
def package_encoding(package: Any) -> Any:
    return package.load_harmony_encoding("HarmonyGptOss")


def package_parser(package: Any, encoding: Any, role: Role | None) -> Any:
    return package.StreamableParser(encoding, None if role is None else package.Role(role.value))


def error_of(function: Any, *arguments: Any) -> tuple[str, str] | None:
    """The class and the text of what a call raises."""
    try:
        function(*arguments)
    except Exception as error:
        return type(error).__name__, str(error)
    return None


class Read(NamedTuple):
    """A message as these tests expect it."""

    role: str = "assistant"
    name: str | None = None
    recipient: str | None = None
    channel: str | None = None
    content_type: str | None = None
    text: str = "Hi"


def read(messages: Any) -> list[Read]:
    return [
        Read(
            message.author.role.value,
            message.author.name,
            message.recipient,
            message.channel,
            message.content_type,
            message.content[0].text,
        )
        for message in messages
    ]


# What is well-formed, as openai_harmony reads it, quirks included: role, completion, messages.
WELL_FORMED: dict[str, tuple[Role | None, str, list[Read]]] = {
    "nothing": (None, "", []),
    "a role alone": (None, "<|start|>user<|message|>Hi<|end|>", [Read("user")]),
    "the role from the prompt": (ASSISTANT, "<|message|>Hi<|return|>", [Read()]),
    "the role from both": (ASSISTANT, "assistant<|message|>Hi<|return|>", [Read()]),
    "a channel": (ASSISTANT, "<|channel|>final<|message|>Hi<|return|>", [Read(channel="final")]),
    "thought and answer": (
        ASSISTANT,
        "<|channel|>analysis<|message|>2+2<|end|>"
        "<|start|>assistant<|channel|>final<|message|>4<|return|>",
        [Read(channel="analysis", text="2+2"), Read(channel="final", text="4")],
    ),
    "a recipient after the channel": (
        ASSISTANT,
        "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>",
        [Read("assistant", None, "functions.f", "commentary", "<|constrain|>json", "{}")],
    ),
    "a recipient before the channel": (
        ASSISTANT,
        " to=functions.f<|channel|>commentary<|constrain|>json<|message|>{}<|call|>",
        [Read("assistant", None, "functions.f", "commentary", "<|constrain|>json", "{}")],
    ),
    "a content type": (
        ASSISTANT,
        "<|channel|>analysis to=python code<|message|>1<|call|>",
        [Read("assistant", None, "python", "analysis", "code", "1")],
    ),
    "a recipient without to=": (
        ASSISTANT,
        "<|channel|>final json<|message|>{}<|return|>",
        [Read(recipient="json", channel="final", text="{}")],
    ),
    "two words without to=": (
        ASSISTANT,
        "<|channel|>final a b<|message|>{}<|return|>",
        [Read(recipient="a", channel="final", content_type="b", text="{}")],
    ),
    "an empty recipient": (
        ASSISTANT,
        "<|channel|>final to=<|message|>Hi<|return|>",
        [Read(recipient="", channel="final")],
    ),
    "a tool": (
        None,
        "<|start|>functions.f to=assistant<|channel|>commentary<|message|>Hi<|end|>",
        [Read("tool", "functions.f", "assistant", "commentary")],
    ),
    "a tool that calls itself tool": (
        None,
        "<|start|>tool to=assistant<|message|>Hi<|end|>",
        [Read("tool", "tool", "assistant")],
    ),
    "an author that looks like a recipient": (
        None,
        "<|start|>to=x<|message|>Hi<|end|>",
        [Read("tool", "to=x")],
    ),
    "white space of Unicode": (
        ASSISTANT,
        "\u00a0<|channel|>final\u2003\x0bto=x\u3000<|message|>Hi<|end|>",
        [Read(recipient="x", channel="final")],
    ),
    "a channel that ends at <": (
        ASSISTANT,
        "<|channel|>final<x<|message|>Hi<|end|>",
        [Read(recipient="<x", channel="final")],
    ),
    "no end": (ASSISTANT, "<|channel|>final<|message|>Hi", [Read(channel="final")]),
    "no content": (ASSISTANT, "<|channel|>final<|message|>", [Read(channel="final", text="")]),
    "special tokens in content": (
        ASSISTANT,
        "<|message|>a<|start|>b<|channel|>c<|message|>d<|constrain|>e<|endoftext|><|end|>",
        [Read(text="a<|start|>b<|channel|>c<|message|>d<|constrain|>e<|endoftext|>")],
    ),
}

EOS_IN_HEADER = "Unexpected EOS while waiting for message header to complete"
NO_ROLE = "message header did not contain a role"
NO_CHANNEL = "channel marker present but no channel value found in header"


def remaining(quoted: str) -> str:
    return f"unexpected tokens remaining in message header: Some({quoted})"


# What is malformed: role, completion, the error's text, the state after it.
ERRORS: dict[str, tuple[Role | None, list[int], str, StreamState]] = {
    "text where a message must start": (
        None,
        plain("Hi"),
        "Unexpected token 12194 while expecting start token 200006",
        StreamState.EXPECT_START,
    ),
    "two ends": (
        ASSISTANT,
        spelled("<|message|>Hi<|end|><|return|>"),
        "Unexpected token 200002 while expecting start token 200006",
        StreamState.EXPECT_START,
    ),
    "no start": (
        ASSISTANT,
        spelled("<|message|>Hi<|end|><|channel|>final<|message|>Hi"),
        "Unexpected token 200005 while expecting start token 200006",
        StreamState.EXPECT_START,
    ),
    "a number that is no token": (
        None,
        [2**32 - 1],
        "Unexpected token 4294967295 while expecting start token 200006",
        StreamState.EXPECT_START,
    ),
    "the end in a header": (None, spelled("<|start|>user"), EOS_IN_HEADER, StreamState.HEADER),
    "the end before a header": (ASSISTANT, [], EOS_IN_HEADER, StreamState.HEADER),
    "a stop token in a header": (
        ASSISTANT,
        spelled("<|channel|>final<|end|>"),
        EOS_IN_HEADER,
        StreamState.HEADER,
    ),
    "no role": (None, spelled("<|start|><|message|>"), NO_ROLE, StreamState.EXPECT_START),
    "no role but a channel": (
        None,
        spelled("<|start|><|channel|>final<|message|>"),
        NO_ROLE,
        StreamState.EXPECT_START,
    ),
    "an unknown role": (
        None,
        spelled("<|start|>user:bob<|message|>"),
        "Unknown role: user:bob",
        StreamState.EXPECT_START,
    ),
    "a doubled role": (
        None,
        spelled("<|start|>assistantassistant<|channel|>final<|message|>"),
        "Unknown role: assistantassistant",
        StreamState.EXPECT_START,
    ),
    "a doubled start": (
        None,
        spelled("<|start|><|start|>assistant<|message|>"),
        "Unknown role: <|start|>assistant",
        StreamState.EXPECT_START,
    ),
    "an empty channel": (
        ASSISTANT,
        spelled("<|channel|><|message|>"),
        NO_CHANNEL,
        StreamState.EXPECT_START,
    ),
    "a channel after a space": (
        ASSISTANT,
        spelled("<|channel|> final<|message|>"),
        NO_CHANNEL,
        StreamState.EXPECT_START,
    ),
    "a second channel": (
        ASSISTANT,
        spelled("<|channel|>analysis to=a<|channel|>final b c<|message|>"),
        remaining('"to=a<|channel|>final"'),
        StreamState.EXPECT_START,
    ),
    "extra words": (
        ASSISTANT,
        spelled("<|channel|>final  some\tmore extra words<|message|>"),
        remaining('"some more"'),
        StreamState.EXPECT_START,
    ),
    "a quote in Rust's spelling": (
        ASSISTANT,
        spelled(
            "\"q\" '\\' é\u0301\u0903\uff9e \x00\x0b\x7f\u200b\u00a0\u00ad\ue000😀 a b<|message|>"
        ),
        remaining(
            '"\\"q\\" \'\\\\\' é\\u{301}\u0903\\u{ff9e} '
            '\\0\\u{b}\\u{7f}\\u{200b}\\u{a0}\\u{ad}\\u{e000}😀"'
        ),
        StreamState.EXPECT_START,
    ),
    "bytes that are no text": (
        ASSISTANT,
        [START_OF_EMOJI, MESSAGE],
        "could not decode header",
        StreamState.EXPECT_START,
    ),
    "no token in a header": (
        ASSISTANT,
        [NUM_TOKENS, MESSAGE],
        "could not decode header",
        StreamState.EXPECT_START,
    ),
}


class TestNamedCases:
    @pytest.mark.parametrize("case", WELL_FORMED)
    def test_well_formed_completions_become_messages(self, case: str) -> None:
        role, completion, expected = WELL_FORMED[case]
        messages = ENCODING.parse_messages_from_completion_tokens(spelled(completion), role)
        assert read(messages) == expected
        assert messages.repairs == []

    @pytest.mark.parametrize("case", WELL_FORMED)
    def test_the_package_reads_them_alike(
        self, case: str, package_encoding: Any, package: Any
    ) -> None:
        role, completion, expected = WELL_FORMED[case]
        messages = package_encoding.parse_messages_from_completion_tokens(
            spelled(completion), None if role is None else package.Role(role.value)
        )
        assert read(messages) == expected

    @pytest.mark.parametrize("case", ERRORS)
    def test_malformed_completions_are_errors(self, case: str) -> None:
        role, tokens, text, state = ERRORS[case]
        parser = parser_for(role, strict=True)
        with pytest.raises(HarmonyError) as caught:
            parser.process_many(tokens).process_eos()
        assert str(caught.value) == text
        assert parser.state is state
        assert parser.repairs == []
        assert error_of(ENCODING.parse_messages_from_completion_tokens, tokens, role) == (
            "HarmonyError",
            text,
        )

    @pytest.mark.parametrize("case", ERRORS)
    def test_the_package_raises_the_same(
        self, case: str, package: Any, package_encoding: Any
    ) -> None:
        role, tokens, text, _ = ERRORS[case]
        found = error_of(
            package_encoding.parse_messages_from_completion_tokens,
            tokens,
            None if role is None else package.Role(role.value),
        )
        assert found == ("HarmonyError", text)

    @pytest.mark.parametrize("role", Role)
    def test_every_role_begins_in_a_header(self, role: Role) -> None:
        parser = StreamableParser(ENCODING, role)
        assert parser.state is StreamState.HEADER
        assert parser.current_role is role
        parser.process_many(spelled("<|channel|>final<|message|>Hi<|end|>"))
        assert read(parser.messages) == [Read(role.value, channel="final")]
        assert parser.current_role is None

    def test_after_an_error_reading_goes_on(self) -> None:
        parser = parser_for(None, strict=True)
        with pytest.raises(HarmonyError):
            parser.process_many(plain("lost"))
        parser.process_many(spelled("<|start|>user<|message|>Hi<|end|>"))
        assert read(parser.messages) == [Read("user")]
        assert parser.tokens == plain("lost")[:1] + spelled("<|start|>user<|message|>Hi<|end|>")

    def test_after_an_error_in_its_header_the_first_role_still_holds(self) -> None:
        parser = parser_for(ASSISTANT, strict=True)
        with pytest.raises(HarmonyError, match=NO_CHANNEL):
            parser.process_many(spelled("<|channel|><|message|>"))
        assert parser.current_role is ASSISTANT
        parser.process_many(spelled("<|start|><|message|>Hi<|end|>"))
        assert read(parser.messages) == [Read()]

    def test_the_end_may_come_twice_and_first(self) -> None:
        parser = parser_for(None, strict=True).process_eos()
        parser.process_many(spelled("<|start|>user<|message|>Hi")).process_eos().process_eos()
        assert read(parser.messages) == [Read("user")]

    def test_an_unknown_token_is_one_character_of_the_content(self) -> None:
        # The package loses the rest of the message there.
        tokens = [*spelled("<|message|>a"), NUM_TOKENS, *plain("b"), 2**32 - 1, END]
        messages = ENCODING.parse_messages_from_completion_tokens(tokens, ASSISTANT)
        assert read(messages) == [Read(text="a\ufffdb\ufffd")]

    def test_an_unknown_token_after_a_torn_character(self) -> None:
        tokens = [MESSAGE, START_OF_EMOJI, NUM_TOKENS, *plain("b"), END]
        messages = ENCODING.parse_messages_from_completion_tokens(tokens, ASSISTANT)
        assert read(messages) == [Read(text=" \ufffd\ufffdb")]


class Index:
    """An integer of another class, as numpy's are."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class TestArguments:
    BAD_TOKENS = ("1", 1.0, None, b"1", -1, 2**32, 2**63, -(2**63) - 1, Index(-1), Index(2**70))

    @pytest.mark.parametrize("token", BAD_TOKENS, ids=repr)
    def test_what_is_no_token_is_the_packages_error(
        self, token: Any, package: Any, package_encoding: Any
    ) -> None:
        ours = parser_for(None, strict=True)
        theirs = package_parser(package, package_encoding, None)
        error = error_of(ours.process, token)
        assert error is not None
        assert error == error_of(theirs.process, token)
        batch = ENCODING.parse_messages_from_completion_tokens
        package_batch = package_encoding.parse_messages_from_completion_tokens
        assert error_of(batch, [START, token]) == error_of(package_batch, [START, token])
        assert ours.tokens == []

    @pytest.mark.parametrize(
        ("token", "error"),
        [
            ("1", "TypeError: argument 'token': 'str' object cannot be interpreted as an integer"),
            (-1, "OverflowError: out of range integral type conversion attempted"),
            (2**32, "OverflowError: out of range integral type conversion attempted"),
            (2**63, "OverflowError: Python int too large to convert to C long"),
        ],
    )
    @pytest.mark.parametrize("strict", [True, False])
    def test_what_is_no_token_changes_nothing(self, token: Any, error: str, strict: bool) -> None:
        parser = parser_for(ASSISTANT, strict=strict)
        found = error_of(parser.process, token)
        assert found is not None
        assert ": ".join(found) == error
        assert error_of(parser.process_many, [START, token]) is not None
        assert parser.tokens == []

    @pytest.mark.parametrize("token", [Index(START), True])
    def test_integers_of_other_classes_are_tokens(
        self, token: Any, package: Any, package_encoding: Any
    ) -> None:
        ours = parser_for(None, strict=True)
        theirs = package_parser(package, package_encoding, None)
        assert error_of(ours.process, token) == error_of(theirs.process, token)
        assert ours.tokens == theirs.tokens
        assert ours.state.value == theirs.state.value

    def test_a_role_is_no_string(self, package: Any, package_encoding: Any) -> None:
        no_role: Any = "assistant"
        expected = ("AttributeError", "'str' object has no attribute 'value'")
        assert error_of(StreamableParser, ENCODING, no_role) == expected
        assert error_of(package.StreamableParser, package_encoding, no_role) == expected

    def test_another_packages_role_will_do(self, package: Any) -> None:
        parser = StreamableParser(ENCODING, package.Role.TOOL)
        assert parser.current_role is Role.TOOL

    def test_strict_is_the_default_and_given_by_name(self) -> None:
        with pytest.raises(HarmonyError):
            StreamableParser(load_harmony_encoding("HarmonyGptOss"), None).process(0)
        with pytest.raises(TypeError):
            StreamableParser(ENCODING, None, False)  # type: ignore[call-arg]


def is_start_of_text(data: bytes) -> bool:
    """Whether all characters are complete and valid, but perhaps for the end of the last one."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return True


def compare_at_every_token(
    package: Any, encoding: Any, tokens: list[int], role: Role | None
) -> None:
    """Errors and everything that a parser shows; the package's deltas while they are right.

    From invalid bytes on, the package's deltas and content come late; at the end of the message its
    content is ours again.
    """
    ours = parser_for(role, strict=True)
    theirs = package_parser(package, encoding, role)
    content = b""
    for token in [*tokens, None]:
        was_in_content = ours.state is StreamState.CONTENT
        if token is None:
            assert error_of(ours.process_eos) == error_of(theirs.process_eos)
        else:
            assert error_of(ours.process, token) == error_of(theirs.process, token)
        assert observed(ours) == observed(theirs)
        if was_in_content and ours.state is not StreamState.CONTENT:
            incomplete = content.decode("utf-8", "replace").endswith("\ufffd")
            assert ours.last_content_delta is None or incomplete
            assert theirs.last_content_delta is None
            content = b""
            continue
        if was_in_content and token is not None:
            content += token_bytes(token)
        if is_start_of_text(content):
            assert ours.last_content_delta == theirs.last_content_delta
            assert ours.current_content == theirs.current_content
            assert ours.state_data == theirs.state_data


class TestAgainstThePackage:
    @given(tokens=completions(known=True), role=roles())
    @settings(max_examples=1000)
    def test_completions_nearly_right(
        self, tokens: list[int], role: Role | None, package: Any, package_encoding: Any
    ) -> None:
        compare_at_every_token(package, package_encoding, tokens, role)

    @given(
        words=st.lists(
            st.sampled_from([plain(f" {w}") for w in ("assistant", "to=a", "tool", "x", "é\u0301")])
            | st.text(ASSIGNED, max_size=3).map(plain)
            | st.sampled_from(
                [plain("<|channel|>"), spelled("<|channel|>"), spelled("<|constrain|>")]
            ),
            max_size=6,
        ),
        role=roles(),
    )
    @settings(max_examples=1000)
    def test_headers_of_any_text(
        self, words: list[list[int]], role: Role | None, package: Any, package_encoding: Any
    ) -> None:
        header = [token for word in words for token in word]
        tokens = [*([START] if role is None else []), *header, MESSAGE, *plain("Hi"), END]
        compare_at_every_token(package, package_encoding, tokens, role)

    @given(tokens=st.lists(st.integers(0, NUM_TOKENS - 1) | st.sampled_from(PARTIAL_TOKENS)))
    @settings(max_examples=500)
    def test_contents_of_any_tokens(
        self, tokens: list[int], package: Any, package_encoding: Any
    ) -> None:
        compare_at_every_token(package, package_encoding, [MESSAGE, *tokens, END], ASSISTANT)

    @given(tokens=completions(), role=roles())
    @settings(max_examples=300)
    def test_batch_is_the_stream(self, tokens: list[int], role: Role | None) -> None:
        def one_by_one() -> list[Any]:
            parser = parser_for(role, strict=True)
            for token in tokens:
                parser.process(token)
            return parser.process_eos().messages

        batch = ENCODING.parse_messages_from_completion_tokens
        expected = error_of(one_by_one)
        assert error_of(batch, tokens, role) == expected
        if expected is None:
            assert batch(tokens, role) == one_by_one()
