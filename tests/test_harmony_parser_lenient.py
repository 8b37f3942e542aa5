"""Lenient parsing: every malformation that gpt-oss writes is read, and the repairs are listed."""

import random
from typing import Any

import harmony_strategies
import pytest
from gptoss import harmony
from gptoss.harmony import (
    HarmonyError,
    Message,
    ParsedMessages,
    Repair,
    RepairKind,
    Role,
    StreamState,
    parse_tool_calls,
)
from harmony_completions import (
    CALL,
    CHANNEL,
    ENCODING,
    MESSAGE,
    START,
    START_OF_EMOJI,
    VOCABULARY,
    completions,
    parser_for,
    plain,
    roles,
    spelled,
    streamed,
    text_of,
)
from harmony_malformation import Malformation, Read
from hypothesis import given, settings
from hypothesis import strategies as st
from malformed_headers import MALFORMED_HEADERS
from malformed_messages import MALFORMED_MESSAGES

MALFORMATIONS = [*MALFORMED_MESSAGES, *MALFORMED_HEADERS]
ASSISTANT = Role.ASSISTANT
# What the package's strict parser reads as it was meant, though some of it is written twice.
READ_BY_THE_PACKAGE = {
    "the prompt's role again",
    "a role after the channel",
    "a call on analysis",
    "a call on final",
    "a recipient before the channel",
    "a recipient after the channel",
    "a recipient without to=",
    "a bare name without to=",
    "python without to=",
}


@pytest.fixture(scope="session")
def package() -> Any:
    return pytest.importorskip("openai_harmony", reason="openai-harmony is not installed")


@pytest.fixture(scope="session")
def package_encoding(package: Any) -> Any:
    return package.load_harmony_encoding("HarmonyGptOss")


def lenient(tokens: list[int], role: Role | None = ASSISTANT) -> ParsedMessages:
    return ENCODING.parse_messages_from_completion_tokens(tokens, role, strict=False)


def one(tokens: list[int], role: Role | None = ASSISTANT) -> tuple[Read, list[Repair]]:
    """The only message of a completion, and the repairs."""
    messages = lenient(tokens, role)
    (message,) = messages
    return Read.of(message), messages.repairs


def named(malformation: Malformation) -> str:
    return malformation.name


each_malformation = pytest.mark.parametrize("malformation", MALFORMATIONS, ids=named)


class TestMalformations:
    @each_malformation
    def test_ids_and_spelling_agree(self, malformation: Malformation) -> None:
        known = [token for token in malformation.tokens if token < VOCABULARY.tokenizer.num_tokens]
        replaced = "\ufffd" * (len(malformation.tokens) - len(known))
        text = VOCABULARY.tokenizer.decode(known)
        assert sorted(text + replaced) == sorted(malformation.spelling)

    def test_names_differ(self) -> None:
        assert len({malformation.name for malformation in MALFORMATIONS}) == len(MALFORMATIONS)

    def test_every_kind_of_repair_is_shown(self) -> None:
        kinds = {repair.kind for malformation in MALFORMATIONS for repair in malformation.repairs}
        assert kinds == set(RepairKind)

    @each_malformation
    def test_becomes_these_messages(self, malformation: Malformation) -> None:
        messages = lenient(malformation.tokens, malformation.role)
        assert [Read.of(message) for message in messages] == malformation.messages

    @each_malformation
    def test_lists_these_repairs(self, malformation: Malformation) -> None:
        assert lenient(malformation.tokens, malformation.role).repairs == malformation.repairs

    @each_malformation
    def test_streams_alike(self, malformation: Malformation) -> None:
        parser, deltas = streamed(malformation.tokens, malformation.role)
        assert [Read.of(message) for message in parser.messages] == malformation.messages
        assert parser.repairs == malformation.repairs
        assert "".join(delta or "" for delta in deltas) == text_of(parser.messages)

    @each_malformation
    def test_the_package_raises_or_misreads_it(
        self, malformation: Malformation, package: Any, package_encoding: Any
    ) -> None:
        role = None if malformation.role is None else package.Role.ASSISTANT
        try:
            messages = package_encoding.parse_messages_from_completion_tokens(
                malformation.tokens, role
            )
        except package.HarmonyError:
            reads_it = False
        else:
            reads_it = [Read.of(message) for message in messages] == malformation.messages
        assert reads_it == (malformation.name in READ_BY_THE_PACKAGE)

    def test_strict_parsing_raises_or_misreads_it_as_well(self) -> None:
        for malformation in MALFORMATIONS:
            try:
                messages = ENCODING.parse_messages_from_completion_tokens(
                    malformation.tokens, malformation.role
                )
            except HarmonyError:
                continue
            is_read = [Read.of(message) for message in messages] == malformation.messages
            is_unknown = any(r.kind is RepairKind.UNKNOWN_TOKEN for r in malformation.repairs)
            assert is_read == (malformation.name in READ_BY_THE_PACKAGE or is_unknown)

    def test_calls_reach_their_tools_wherever_they_stand(self) -> None:
        for malformation in MALFORMATIONS:
            (*_, last) = malformation.messages
            if last.recipient is None or last.role != "assistant":
                continue
            calls = parse_tool_calls(lenient(malformation.tokens, malformation.role))
            assert [call.recipient for call in calls] == [last.recipient]


class TestCorners:
    """Where one malformation could be taken for another, or text for a header."""

    def test_a_role_as_the_first_word_of_a_sentence_is_text(self) -> None:
        read, _ = one(plain("user input is needed"))
        assert read == Read(text="user input is needed")

    def test_a_channel_as_the_first_word_of_a_sentence_is_text(self) -> None:
        read, _ = one(plain("final answer: 5"))
        assert read == Read(text="final answer: 5")

    def test_a_longer_word_is_no_channel(self) -> None:
        read, _ = one([CHANNEL, *plain("finally"), MESSAGE, *plain("x")])
        assert (read.channel, read.text) == ("finally", "x")

    def test_a_marker_that_is_spelled_in_a_header_without_end_is_content(self) -> None:
        read, _ = one([CHANNEL, *plain("final"), *plain("<|channel|> is a token")])
        assert read == Read(channel="final", text="<|channel|> is a token")

    def test_a_marker_that_is_spelled_in_a_header_without_call_is_text(self) -> None:
        header = [*spelled("<|channel|>final"), *plain(" of <|channel|>analysis and <|constrain|>")]
        aside, answer = lenient([*header, *spelled("<|message|>Hi<|return|>")])
        assert Read.of(aside).text == " of <|channel|>analysis and <|constrain|>"
        assert Read.of(answer) == Read(channel="final", text="Hi")

    def test_markers_in_content_are_never_read_as_spelled(self) -> None:
        text = "<|start|>assistant<|channel|>commentary to=functions.f<|message|>{}<|call|>"
        read, repairs = one([*spelled("<|channel|>final<|message|>"), *plain(text)])
        assert read == Read(channel="final", text=text)
        assert repairs == []

    @pytest.mark.parametrize("word", ["text", "code", "json"])
    def test_an_english_word_before_a_content_type_is_no_call(self, word: str) -> None:
        messages = lenient(spelled(f"Some {word}<|message|>Hi<|end|>"))
        assert [message.recipient for message in messages] == [None, None]

    def test_on_the_final_channel_nobody_is_called(self) -> None:
        messages = lenient(spelled("<|channel|>final answer json<|message|>{}<|return|>"))
        assert [message.recipient for message in messages] == [None, None]
        read, _ = one(spelled("<|channel|>final python<|message|>1<|return|>"))
        assert (read.recipient, read.content_type) == (None, "python")

    def test_a_call_of_nobody_is_a_message(self) -> None:
        read, repairs = one(spelled("<|channel|>final<|message|>Hi<|call|>"))
        assert read == Read(channel="final")
        assert repairs == [Repair(RepairKind.MISSING_RECIPIENT, 4, "<|call|>")]

    def test_a_tool_may_have_a_channels_name(self) -> None:
        read, repairs = one(spelled("<|start|>final<|channel|>commentary<|message|>4<|end|>"), None)
        assert read == Read("tool", "final", None, "commentary", None, "4")
        assert repairs == []

    def test_only_the_assistant_makes_calls(self) -> None:
        tool = spelled("<|start|>a.b to=functions.f<|channel|>final<|message|>x<|end|>")
        assert lenient(tool, None).repairs == []

    def test_a_role_glued_to_a_content_of_its_own_is_read(self) -> None:
        tokens = [START, *plain("assistant"), *plain("commentary"), *plain("Well."), CALL]
        read, repairs = one(tokens, None)
        assert read == Read(channel="commentary", text="Well.")
        assert [repair.kind for repair in repairs] == [
            RepairKind.MISSING_MESSAGE,
            RepairKind.MISSING_CHANNEL_TOKEN,
        ]

    def test_the_role_may_be_another_than_the_prompts(self) -> None:
        read, repairs = one(spelled("user<|message|>Hi<|end|>"))
        assert read == Read("user")
        assert [repair.kind for repair in repairs] == [RepairKind.REPEATED_ROLE]

    def test_a_role_without_more_is_no_message(self) -> None:
        messages = lenient(spelled("<|start|>assistant"), None)
        assert messages == []
        assert messages.repairs == [Repair(RepairKind.MISSING_MESSAGE, 2)]

    def test_a_role_that_says_more_is_a_message(self) -> None:
        read, _ = one(spelled("<|start|>user<|end|>"), None)
        assert read == Read("user", text="")

    def test_nothing_is_nothing(self) -> None:
        for role in (None, *Role):
            messages = lenient([], role)
            assert messages == []
            assert messages.repairs == []

    @pytest.mark.parametrize("space", ["\x0b", "\u00a0", "\u2028"])
    def test_other_white_space_in_a_header_is_skipped(self, space: str) -> None:
        read, repairs = one(spelled(f"<|channel|>final{space}<|message|>Hi"))
        assert read == Read(channel="final")
        assert repairs == []

    @pytest.mark.parametrize("char", ["\x1c", "\x1f"])
    def test_separators_that_only_python_takes_for_white_space_are_kept(self, char: str) -> None:
        read, _ = one(spelled(f"<|start|>user to=a{char}b<|message|>Hi<|end|>"), None)
        assert read.recipient == f"a{char}b"

    def test_a_torn_character_in_a_header(self) -> None:
        read, repairs = one([CHANNEL, START_OF_EMOJI, *plain("x"), MESSAGE, *plain("Hi")])
        # " \xf0\x9f", "x"
        assert read == Read(channel="\ufffdx")
        assert [repair.kind for repair in repairs] == [
            RepairKind.INVALID_UTF8,
            RepairKind.SPACE_IN_HEADER,
        ]

    def test_a_torn_character_before_a_marker_and_at_the_end(self) -> None:
        read, _ = one([*plain("a"), START_OF_EMOJI, CHANNEL, *plain("final"), START_OF_EMOJI])
        assert read.text == "a \ufffd<|channel|>final \ufffd"

    def test_repairs_are_the_callers_own(self) -> None:
        parser = parser_for(ASSISTANT, strict=False).process_many(spelled("<|message|>Hi<|call|>"))
        parser.repairs.clear()
        assert len(parser.repairs) == 1

    def test_a_stray_token_between_messages_begins_none(self) -> None:
        parser = parser_for(None, strict=False).process_many(spelled("<|reserved_200013|>"))
        assert parser.state is StreamState.EXPECT_START
        assert parser.current_role is None

    def test_the_role_is_known_as_soon_as_it_is_read(self) -> None:
        parser = parser_for(ASSISTANT, strict=False)
        seen = []
        for token in spelled("<|message|>Hi<|end|><|start|>user<|message|>Hi<|end|>"):
            seen.append(parser.process(token).current_role)
        assert seen == [ASSISTANT, ASSISTANT, None, None, None, Role.USER, Role.USER, None]
        parser.process_many(plain("Well"))
        assert parser.current_role is ASSISTANT

    def test_the_fields_of_the_message_being_read(self) -> None:
        header = "<|channel|>commentary to=functions.f <|constrain|>json"
        parser = parser_for(ASSISTANT, strict=False)
        seen = []
        for token in [*spelled(header), MESSAGE, CALL]:
            parser.process(token)
            fields = (parser.current_channel, parser.current_recipient, parser.current_content_type)
            seen.append(fields)
        *in_header, in_content, after = seen
        assert set(in_header) == {(None, None, None)}
        assert in_content == ("commentary", "functions.f", "<|constrain|>json")
        assert after == (None, None, None)


# Words that say something else in a header than what they are given for.
_MEANINGFUL = frozenset(("analysis", "commentary", "final", *(role.value for role in Role)))


def words() -> st.SearchStrategy[str]:
    """One word that is nothing but a name."""
    names = ["browser.search", "python", "f", "json", "日本", "a-b_c", "😀", "a<b"]
    any_name = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)
    return st.sampled_from(names) | any_name.filter(is_name)


def is_name(word: str) -> bool:
    if word in _MEANINGFUL or any(mark in word for mark in ("to=", ":", "<|")):
        return False
    return not any(char.isspace() for char in word)


def header_specs() -> st.SearchStrategy[dict[str, Any]]:
    """Messages of one text each; those of tools have names, others have none.

    Functions are called on commentary only, and nobody is named `all`, which is not rendered.
    """
    contents = st.lists(harmony_strategies.text_contents(), min_size=1, max_size=1)
    channels = st.none() | st.sampled_from(["analysis", "commentary", "final"])
    recipients = st.none() | words().filter(lambda word: word != "all")
    to_functions = st.tuples(st.just("commentary"), words().map("functions.".__add__))
    content_types = st.none() | st.sampled_from(["json", "code"])
    constrained = words().map("<|constrain|>".__add__)

    def specs_of(role: Role) -> st.SearchStrategy[dict[str, Any]]:
        return st.builds(
            lambda name, content, route, content_type: {
                "role": role.value,
                "name": name,
                "content": content,
                "channel": route[0],
                "recipient": route[1],
                "content_type": content_type,
            },
            words() if role is Role.TOOL else st.none(),
            contents,
            st.tuples(channels | words().filter(lambda word: "<" not in word), recipients)
            | to_functions,
            content_types | constrained,
        )

    return st.sampled_from(Role).flatmap(specs_of)


class TestWellFormed:
    @given(specs=st.lists(header_specs(), min_size=1, max_size=3))
    @settings(max_examples=400)
    def test_what_strict_reads_back_is_read_alike_without_repairs(
        self, specs: list[dict[str, Any]]
    ) -> None:
        messages = [harmony_strategies.build_message(harmony, spec) for spec in specs]
        tokens = [token for message in messages for token in ENCODING.render(message)]
        try:
            strict = ENCODING.parse_messages_from_completion_tokens(tokens)
        except HarmonyError:
            strict = ParsedMessages()
        parsed = lenient(tokens, None)
        assert parsed == messages
        if strict == messages:
            assert parsed.repairs == []

    @given(tokens=completions(), role=roles(), seed=st.integers(0, 2**16))
    @settings(max_examples=700)
    def test_streaming_any_cutting_and_batch_agree(
        self, tokens: list[int], role: Role | None, seed: int
    ) -> None:
        batch = lenient(tokens, role)
        stream, deltas = streamed(tokens, role)
        assert stream.messages == batch
        assert stream.repairs == batch.repairs
        generator = random.Random(seed)
        cut, cut_deltas, position = parser_for(role, strict=False), [], 0
        while position < len(tokens):
            end = position + generator.randrange(1, 9)
            cut.process_many(tokens[position:end])
            cut_deltas.append(cut.last_content_delta)
            expected = "".join(delta or "" for delta in deltas[position : min(end, len(tokens))])
            assert cut_deltas[-1] == (expected or None)
            position = end
        cut.process_eos()
        assert cut.messages == batch
        assert cut.repairs == batch.repairs
        assert cut.tokens == stream.tokens == tokens
        assert cut.last_content_delta == deltas[-1]


class TestOwnOutput:
    """What this package renders, it reads."""

    @pytest.mark.parametrize("content_type", [None, "json", "code", "<|constrain|>json"])
    @pytest.mark.parametrize("recipient", [None, "functions.f", "python", "browser.search", "user"])
    @pytest.mark.parametrize("channel", [None, "analysis", "commentary", "final"])
    @pytest.mark.parametrize(
        ("role", "name"),
        [
            (Role.USER, None),
            (Role.USER, "bob"),
            (Role.ASSISTANT, None),
            (Role.ASSISTANT, "helper"),
            (Role.SYSTEM, None),
            (Role.SYSTEM, "root"),
            (Role.DEVELOPER, None),
            (Role.DEVELOPER, "dev:ops"),
            (Role.TOOL, "functions.f"),
            (Role.TOOL, "python"),
            (Role.TOOL, "browser"),
            (Role.TOOL, "get_weather"),
        ],
    )
    def test_a_rendered_message_is_read_back(
        self,
        role: Role,
        name: str | None,
        channel: str | None,
        recipient: str | None,
        content_type: str | None,
    ) -> None:
        message = Message.from_role_and_content(role, "What is 2 + 2? 😊 <|end|>")
        message.author.name = name
        message.channel, message.recipient = channel, recipient
        message.content_type = content_type
        parsed = lenient(ENCODING.render(message), None)
        assert parsed == [message]
        is_call = role is ASSISTANT and recipient == "functions.f"
        is_misrouted = is_call and channel in ("analysis", "final")
        assert [repair.kind for repair in parsed.repairs] == [
            *([RepairKind.MISROUTED_CALL] if is_misrouted else [])
        ]

    def test_a_recipient_of_all_is_not_rendered_and_so_not_read(self) -> None:
        message = Message.from_role_and_content(ASSISTANT, "Hi").with_recipient("all")
        read, repairs = one(ENCODING.render(message), None)
        assert read == Read()
        assert [repair.kind for repair in repairs] == [RepairKind.MISSING_RECIPIENT]

    def test_after_the_prompt_as_well(self) -> None:
        message = Message.from_role_and_content(ASSISTANT, "{}").with_recipient("functions.f")
        message.channel, message.content_type = "commentary", "<|constrain|>json"
        rendered = ENCODING.render(message)
        parsed = lenient(rendered[len(spelled("<|start|>assistant")) :])
        assert parsed == [message]
        assert parsed.repairs == []
