"""Streaming: deltas are the content, copies go on alone, and no reading costs more than another."""

import codecs
import copy
import pickle
import random
import sys
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import gptoss
import pytest
from gptoss.harmony import (
    HarmonyEncoding,
    Message,
    RepairKind,
    Role,
    StreamableParser,
    StreamState,
)
from gptoss.harmony.parser import LONGEST_HEADER
from harmony_completions import (
    CHANNEL,
    CONSTRAIN,
    CONTINUATION_BYTE,
    ENCODING,
    END,
    MESSAGE,
    NUM_TOKENS,
    PARTIAL_TOKENS,
    START_OF_EMOJI,
    completions,
    observed,
    parser_for,
    plain,
    roles,
    spelled,
    streamed,
    text_of,
    token_bytes,
    valid_completion,
)
from hypothesis import given, settings
from hypothesis import strategies as st

ASSISTANT = Role.ASSISTANT
BOTH_MODES = pytest.mark.parametrize("strict", [True, False])
COPIES: dict[str, Callable[[StreamableParser], StreamableParser]] = {
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "pickle": lambda parser: pickle.loads(pickle.dumps(parser)),
}


def in_content(*, strict: bool = True) -> StreamableParser:
    return parser_for(ASSISTANT, strict=strict).process_many(spelled("<|channel|>final<|message|>"))


def deltas_of(parser: StreamableParser, tokens: list[int]) -> list[str | None]:
    return [parser.process(token).last_content_delta for token in tokens]


def everything(parser: StreamableParser) -> dict[str, Any]:
    """All that a parser shows."""
    return observed(parser) | {
        "content": parser.current_content,
        "delta": parser.last_content_delta,
        "state_data": copy.deepcopy(parser.state_data),
        "repairs": parser.repairs,
    }


class TestDeltas:
    @BOTH_MODES
    def test_a_character_waits_for_its_last_token(self, strict: bool) -> None:
        emoji = plain(" 🏾")
        assert len(emoji) == 3
        parser = in_content(strict=strict)
        assert deltas_of(parser, emoji) == [" ", None, "🏾"]
        assert parser.current_content == " 🏾"

    @BOTH_MODES
    def test_the_start_of_a_character_is_flushed_at_the_end(self, strict: bool) -> None:
        for end in (END, None):
            parser = in_content(strict=strict)
            assert deltas_of(parser, [START_OF_EMOJI]) == [" "]
            if end is None:
                parser.process_eos()
            else:
                parser.process(end)
            assert parser.last_content_delta == "\ufffd"
            assert text_of(parser.messages) == " \ufffd"
            assert parser.process_eos().last_content_delta is None

    @BOTH_MODES
    def test_a_torn_character_shows_before_the_next_text(self, strict: bool) -> None:
        parser = in_content(strict=strict)
        assert deltas_of(parser, [START_OF_EMOJI, *plain("X")]) == [" ", "\ufffdX"]

    @BOTH_MODES
    def test_a_byte_that_no_character_begins_with_shows_at_once(self, strict: bool) -> None:
        assert deltas_of(in_content(strict=strict), [CONTINUATION_BYTE]) == ["\ufffd"]

    @BOTH_MODES
    def test_headers_and_ends_add_nothing(self, strict: bool) -> None:
        tokens = spelled("<|channel|>final<|message|><|end|><|start|>user<|message|>")
        parser = parser_for(ASSISTANT, strict=strict)
        assert deltas_of(parser, tokens) == [None] * len(tokens)

    def test_a_stray_token_does_not_tear_a_character(self) -> None:
        first, *rest = plain(" 🏾")
        parser = in_content(strict=False)
        assert deltas_of(parser, [first, CONSTRAIN, *rest]) == [" ", None, None, "🏾"]

    def test_a_missing_end_flushes(self) -> None:
        parser = in_content(strict=False)
        assert deltas_of(parser, [START_OF_EMOJI, CHANNEL]) == [" ", "\ufffd"]
        assert text_of(parser.messages) == " \ufffd"

    @given(tokens=completions(), role=roles(), strict=st.booleans())
    @settings(max_examples=1000)
    def test_joined_they_are_the_contents(
        self, tokens: list[int], role: Role | None, strict: bool
    ) -> None:
        parser = parser_for(role, strict=strict)
        joined = ""
        for token in tokens:
            try:
                parser.process(token)
            except gptoss.harmony.HarmonyError:
                assert parser.last_content_delta is None
            joined += parser.last_content_delta or ""
            assert joined == text_of(parser.messages) + parser.current_content
            assert parser.last_content_delta != ""

    @given(tokens=st.lists(st.integers(0, NUM_TOKENS - 1) | st.sampled_from(PARTIAL_TOKENS)))
    @settings(max_examples=500)
    def test_the_content_is_what_utf_8_says_of_the_bytes(self, tokens: list[int]) -> None:
        content = [token for token in tokens if token not in ENCODING.stop_tokens()]
        parser = in_content()
        utf_8 = codecs.getincrementaldecoder("utf-8")("replace")
        for token in content:
            assert parser.process(token).last_content_delta == (
                utf_8.decode(token_bytes(token)) or None
            )
        assert parser.process(END).last_content_delta == (utf_8.decode(b"", final=True) or None)
        (message,) = parser.messages
        data = b"".join(map(token_bytes, content))
        assert text_of([message]) == data.decode("utf-8", "replace")

    def test_process_many_gives_what_all_tokens_added(self) -> None:
        tokens = [*plain("Well"), START_OF_EMOJI, END]
        parser = in_content().process_many(tokens)
        assert parser.last_content_delta == "Well \ufffd"
        assert parser.process_many([]).last_content_delta is None

    def test_process_many_gives_what_was_added_before_an_error(self) -> None:
        parser = in_content()
        with pytest.raises(gptoss.harmony.HarmonyError, match="Unexpected token 200007"):
            parser.process_many([*plain("Well"), END, END, *plain("lost")])
        assert parser.last_content_delta == "Well"
        assert text_of(parser.messages) == "Well"
        assert parser.tokens[-2:] == [END, END]

    def test_process_many_takes_any_iterable(self) -> None:
        assert in_content().process_many(iter(plain("Hi"))).current_content == "Hi"


class TestLongContent:
    def test_a_long_content_is_read_to_its_end(self) -> None:
        text = "The quick brown fox 😊 jumps over the lazy dog. " * 5_000
        parser, deltas = streamed([*spelled("<|message|>"), *plain(text), END], ASSISTANT)
        assert text_of(parser.messages) == text == "".join(delta or "" for delta in deltas)

    @pytest.mark.parametrize("header", ["", "<|channel|>analysis", " to=functions.f"])
    def test_a_header_that_does_not_end_is_content_soon(self, header: str) -> None:
        text = " word" * (2 * LONGEST_HEADER)
        parser = parser_for(ASSISTANT, strict=False)
        deltas = deltas_of(parser, [*spelled(header), *plain(text)])
        assert deltas[:LONGEST_HEADER] == [None] * LONGEST_HEADER
        assert all(deltas[LONGEST_HEADER:])
        assert "".join(delta or "" for delta in deltas) == parser.current_content
        # One space is what separates a header from what it runs on into.
        assert parser.current_content == (text[1:] if header else text)
        assert parser.state is StreamState.CONTENT
        assert parser.current_role is ASSISTANT
        assert parser.current_channel == ("analysis" if "analysis" in header else None)
        assert parser.current_recipient == ("functions.f" if "to=" in header else None)
        (repair,) = parser.repairs
        assert (repair.kind, repair.position) == (RepairKind.MISSING_MESSAGE, LONGEST_HEADER)
        parser.process_many([MESSAGE, *plain(" x")])
        assert parser.current_content.endswith("word x")
        assert parser.repairs[1].kind is RepairKind.STRAY_TOKEN

    def test_a_character_may_begin_in_the_header_and_end_in_the_content(self) -> None:
        first, second, third = plain(" 🏾")
        tokens = [*plain("a" * 8) * LONGEST_HEADER][: LONGEST_HEADER - 1]
        parser = parser_for(ASSISTANT, strict=False)
        deltas = deltas_of(parser, [*tokens, first, second, third, *plain("b")])
        assert deltas[-4] is None
        assert str(deltas[-3]).endswith("a ")
        assert deltas[-2:] == ["🏾", "b"]
        assert parser.current_content.endswith("a 🏾b")

    def test_its_deltas_are_of_the_message_that_begins_whatever_it_gave_up(self) -> None:
        parser = parser_for(ASSISTANT, strict=False)
        text = " word" * LONGEST_HEADER
        completion = spelled("<|channel|>analysis<|channel|>commentary to=functions.f")
        deltas = deltas_of(parser, [*completion, *plain(text)])
        assert parser.messages == []
        assert "".join(delta or "" for delta in deltas) == parser.current_content == text[1:]
        given_up, call = parser.process(END).messages
        assert (given_up.channel, given_up.recipient) == ("analysis", None)
        assert (call.channel, call.recipient) == ("commentary", "functions.f")

    @BOTH_MODES
    def test_a_long_name_is_read_like_a_short_one(self, strict: bool) -> None:
        name = "functions." + "internationalization_" * 40
        parser = parser_for(ASSISTANT, strict=strict)
        parser.process_many([*spelled(f"<|channel|>commentary to={name}"), MESSAGE])
        assert (parser.current_channel, parser.current_recipient) == ("commentary", name)
        assert parser.repairs == []

    def test_markers_alone_are_no_content(self) -> None:
        parser = parser_for(ASSISTANT, strict=False)
        assert set(deltas_of(parser, [CHANNEL] * (LONGEST_HEADER + 1))) == {None}
        assert parser.state is StreamState.CONTENT
        assert parser.process(CHANNEL).last_content_delta is None

    def test_a_strict_header_may_be_as_long_as_it_likes(self) -> None:
        parser = parser_for(ASSISTANT, strict=True)
        parser.process_many(plain(" " * 50) * LONGEST_HEADER)
        assert parser.state is StreamState.HEADER
        parser.process_many([CHANNEL, *plain("final"), MESSAGE])
        assert parser.current_channel == "final"


class TestCopies:
    @pytest.mark.parametrize("how", COPIES)
    @BOTH_MODES
    def test_copies_go_on_alike_and_alone_from_every_point(self, how: str, strict: bool) -> None:
        generator = random.Random(5)
        for _ in range(4):
            tokens = valid_completion(generator)
            if not strict:
                del tokens[generator.randrange(len(tokens))]
            tokens += [START_OF_EMOJI] * (not strict)
            for point in range(len(tokens) + 1):
                parser = parser_for(ASSISTANT, strict=strict).process_many(tokens[:point])
                if point % 2:
                    everything(parser)  # whether something was read before makes no difference
                fresh = parser_for(ASSISTANT, strict=strict).process_many(tokens[:point])
                at_point = everything(fresh)
                twin = COPIES[how](parser)
                assert type(twin) is StreamableParser
                assert everything(twin) == at_point
                parser.process_many(tokens[point:]).process_eos()
                assert everything(twin) == at_point
                twin.process_many(tokens[point:]).process_eos()
                assert everything(twin) == everything(parser)

    @given(
        tokens=completions(), role=roles(), point=st.integers(0, 40), how=st.sampled_from([*COPIES])
    )
    @settings(max_examples=400)
    def test_of_any_stream(
        self, tokens: list[int], role: Role | None, point: int, how: str
    ) -> None:
        parser = parser_for(role, strict=False).process_many(tokens[:point])
        twin = COPIES[how](parser)
        other = COPIES[how](twin).process_many(plain("other")).process_eos()
        assert other.tokens == tokens[:point] + plain("other")
        twin.process_many(tokens[point:]).process_eos()
        parser.process_many(tokens[point:]).process_eos()
        assert everything(twin) == everything(parser)

    def test_a_pickle_has_the_encoding_by_its_name(self) -> None:
        data = pickle.dumps(in_content().process_many(plain("Hi")))
        assert len(data) < 2_000
        assert b"HarmonyGptOss" in data

    def test_a_pickle_of_a_long_stream_is_not_much_longer_than_its_tokens(self) -> None:
        tokens = plain("The quick brown fox. " * 1_000)
        data = pickle.dumps(in_content().process_many(tokens))
        assert len(data) < 12 * len(tokens)

    def test_copies_share_the_encoding(self) -> None:
        parser = in_content()
        for make in COPIES.values():
            assert make(parser)._encoding is ENCODING

    def test_a_subclass_stays_one(self) -> None:
        parser = Subclass(ENCODING, ASSISTANT)
        for make in COPIES.values():
            assert type(make(parser)) is Subclass

    def test_every_protocol_of_pickle(self) -> None:
        parser = in_content().process_many(plain("Hi"))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            twin = pickle.loads(pickle.dumps(parser, protocol))
            assert everything(twin) == everything(parser)


class Subclass(StreamableParser):
    """A parser of a program's own."""


LONG = 20_000  # tokens of content
READS: dict[str, Callable[[StreamableParser], object]] = {
    "state": lambda parser: parser.state,
    "role": lambda parser: parser.current_role,
    "recipient": lambda parser: parser.current_recipient,
    "channel": lambda parser: parser.current_channel,
    "content_type": lambda parser: parser.current_content_type,
    "delta": lambda parser: parser.last_content_delta,
    "content": lambda parser: parser.current_content,
    "messages": lambda parser: parser.messages,
    "tokens": lambda parser: parser.tokens,
    "state_data": lambda parser: parser.state_data,
    "repairs": lambda parser: parser.repairs,
}


def long_stream(num_tokens: int) -> tuple[StreamableParser, int]:
    """A parser that read several messages and so much of one more; a token of 14 characters."""
    (word,) = plain(" international")
    parser = parser_for(None, strict=True)
    parser.process_many(spelled("<|start|>user<|message|>Hi<|end|>") * (num_tokens // 100))
    parser.process_many([*spelled("<|start|>user<|message|>"), *[word] * num_tokens])
    return parser, word


def calls_of(function: Callable[[], object]) -> int:
    """How many functions, of Python and of C, a call calls."""
    events = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal events
        events += event in ("call", "c_call")

    previous = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(previous)
    return events


def bytes_taken_by(function: Callable[[], object]) -> int:
    """How much memory a call takes at its height, in bytes: what it copies."""
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    function()
    _, peak = tracemalloc.get_traced_memory()
    return peak - before


class TestCosts:
    """One more token, and reading anything after it, costs the same however long the stream is.

    Time is not measured: what is counted is the functions that are called, which would be more if
    there were a loop over the stream in Python, and the memory that is taken, which would be that
    of the content or of the tokens if these were copied or made anew.
    """

    @pytest.mark.parametrize("name", READS)
    def test_calls_do_not_grow_with_the_stream(self, name: str) -> None:
        def step(parser: StreamableParser, word: int) -> None:
            parser.process(word)
            READS[name](parser)

        counts = []
        for num_tokens in (100, LONG):
            parser, word = long_stream(num_tokens)
            step(parser, word)
            counts.append(calls_of(lambda parser=parser, word=word: step(parser, word)))  # type: ignore[misc]
        assert counts[0] == counts[1]

    @pytest.mark.parametrize("name", READS)
    def test_nothing_that_grows_is_copied(self, name: str) -> None:
        def step() -> None:
            parser.process(word)
            READS[name](parser)

        # CPython appends to a string in place in code that runs often and that nothing traces.
        tracer = sys.gettrace()
        sys.settrace(None)
        tracemalloc.start()  # before the stream: what it has is known, and growing it adds little
        try:
            parser, word = long_stream(LONG)
            for _ in range(50):
                step()
            taken = [bytes_taken_by(step) for _ in range(5)]
            # The content is 14 bytes a token, a list of tokens 8; growing one by an eighth takes 1.
            assert sorted(taken)[2] < 2 * LONG
            # Copies would show.
            assert bytes_taken_by(lambda: parser.current_content + "x") > 10 * LONG
            assert bytes_taken_by(parser.tokens.copy) > 5 * LONG
        finally:
            tracemalloc.stop()
            sys.settrace(tracer)

    def test_a_message_is_made_once(self) -> None:
        parser, _ = long_stream(LONG)
        first = parser.messages
        assert all(mine is other for mine, other in zip(first, parser.messages, strict=True))
        parser.process(END)
        second = parser.messages
        assert len(second) == len(first) + 1
        assert all(mine is other for mine, other in zip(first, second, strict=False))

    def test_what_did_not_change_is_the_same_object(self) -> None:
        parser, word = long_stream(LONG)
        assert parser.current_content is parser.current_content
        tokens, content_tokens = parser.tokens, parser.state_data["content_tokens"]
        parser.process(word)
        assert parser.tokens is tokens
        assert parser.state_data["content_tokens"] is content_tokens
        assert content_tokens[-1] == word


class TestLists:
    def test_process_returns_the_parser(self) -> None:
        parser = parser_for(ASSISTANT, strict=True)
        for token in spelled("<|channel|>final<|message|>Hi<|end|>"):
            assert parser.process(token) is parser
        assert parser.process_many([]) is parser
        assert parser.process_eos() is parser

    def test_messages_stay_as_they_were_when_others_follow(self) -> None:
        parser = in_content().process_many([*plain("one"), END])
        first = parser.messages
        parser.process_many(spelled("<|start|>user<|message|>two<|end|>"))
        assert [text_of([message]) for message in first] == ["one"]
        assert [text_of([message]) for message in parser.messages] == ["one", "two"]

    def test_a_list_of_messages_that_was_changed_is_not_seen_again(self) -> None:
        parser = in_content().process_many([*plain("one"), END])
        parser.messages.clear()
        assert len(parser.messages) == 1

    def test_all_messages_of_one_batch_are_there(self) -> None:
        messages = ENCODING.parse_messages_from_completion_tokens(
            spelled("<|start|>user<|message|>Hi<|end|>") * 50
        )
        assert messages == [Message.from_role_and_content(Role.USER, "Hi")] * 50


class TestStateData:
    def test_between_messages_in_a_header_and_in_content(self) -> None:
        parser = parser_for(None, strict=True)
        assert parser.state_data == {"state": "ExpectStart"}
        parser.process_many(spelled("<|start|>functions.f to=user<|channel|>final"))
        assert parser.state_data == {
            "state": "Header",
            "header_tokens": spelled("functions.f to=user<|channel|>final"),
        }
        parser.process_many([MESSAGE, *plain("Hi")])
        assert parser.state_data == {
            "state": "Content",
            "header": {
                "author": {"role": "tool", "name": "functions.f"},
                "recipient": "user",
                "channel": "final",
                "content_type": None,
            },
            "content_tokens": plain("Hi"),
        }
        parser.process(END)
        assert parser.state_data == {"state": "ExpectStart"}


def test_threads_each_with_a_parser() -> None:
    generator = random.Random(11)
    streams = [[t for _ in range(40) for t in valid_completion(generator)] for _ in range(8)]
    expected = [streamed(tokens, ASSISTANT)[0] for tokens in streams]
    found: list[StreamableParser | None] = [None] * len(streams)
    begin = threading.Barrier(len(streams))

    def read(index: int) -> None:
        begin.wait()
        found[index] = streamed(streams[index], ASSISTANT)[0]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=read, args=(index,)) for index in range(len(streams))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    for mine, other in zip(found, expected, strict=True):
        assert mine is not None
        assert everything(mine) == everything(other)


@pytest.fixture(scope="module")
def demo() -> HarmonyEncoding:
    return HarmonyEncoding.from_tokenizer(gptoss.Model().tokenizer)


class TestOtherVocabularies:
    """The demo model has 4,096 tokens or so: other ids, the same format."""

    TEXT = (
        "<|channel|>analysis<|message|>2 + 2 😊<|end|>"
        "<|start|>assistant<|channel|>final<|message|>4"
    )

    def test_has_other_ids(self, demo: HarmonyEncoding) -> None:
        assert demo.vocabulary.start != ENCODING.vocabulary.start

    @BOTH_MODES
    def test_reads_the_same_messages(self, demo: HarmonyEncoding, strict: bool) -> None:
        tokens = demo.encode(self.TEXT, allowed_special="all")
        messages = demo.parse_messages_from_completion_tokens(tokens, ASSISTANT, strict=strict)
        assert messages == ENCODING.parse_messages_from_completion_tokens(
            spelled(self.TEXT), ASSISTANT
        )
        assert messages.repairs == []

    def test_streams_whole_characters(self, demo: HarmonyEncoding) -> None:
        parser = StreamableParser(demo, ASSISTANT)
        deltas = []
        for token in demo.encode(self.TEXT, allowed_special="all"):
            deltas.append(parser.process(token).last_content_delta or "")
        assert "".join(deltas) == "2 + 2 😊4"
        assert "\ufffd" not in "".join(deltas)

    def test_repairs(self, demo: HarmonyEncoding) -> None:
        tokens = demo.encode("<|channel|>finalHi<|end|><|return|>", allowed_special="all")
        messages = demo.parse_messages_from_completion_tokens(tokens, ASSISTANT, strict=False)
        assert messages.repairs[-1].kind is RepairKind.EXTRA_END
        unknown = [demo.vocabulary.message, demo.vocabulary.tokenizer.num_tokens]
        (message,) = demo.parse_messages_from_completion_tokens(unknown, ASSISTANT, strict=False)
        assert text_of([message]) == "\ufffd"

    @pytest.mark.parametrize("how", COPIES)
    def test_copies_know_their_vocabulary(self, demo: HarmonyEncoding, how: str) -> None:
        tokens = demo.encode(self.TEXT, allowed_special="all")
        parser = StreamableParser(demo, ASSISTANT).process_many(tokens[:9])
        twin = COPIES[how](parser)
        twin.process_many(tokens[9:]).process_eos()
        parser.process_many(tokens[9:]).process_eos()
        assert everything(twin) == everything(parser)
