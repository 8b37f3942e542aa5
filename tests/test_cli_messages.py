"""What `gptoss generate` shows of messages: analysis only on a terminal, all else everywhere.

And nothing is lost of what a model writes, however malformed.
"""

from __future__ import annotations

import io
import json
from functools import lru_cache
from typing import Any

import pytest
from gptoss.cli.messages import MessagePrinter, answer_as_json
from gptoss.cli.terminal import harmless
from gptoss.harmony import HarmonyEncoding, Role, StreamableParser, StreamState, TextContent
from gptoss.tokenizer import Tokenizer
from gptoss.vocabulary import O200K_BASE_REGEX, load_o200k_base
from hypothesis import given
from hypothesis import strategies as st

NUM_TEXT_TOKENS = 448
NUM_SPECIAL_TOKENS = 16


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _a_terminal_with_styles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@lru_cache(maxsize=1)
def encoding() -> HarmonyEncoding:
    tokens = load_o200k_base()[:NUM_TEXT_TOKENS]
    tokenizer = Tokenizer(tokens, [None] * NUM_SPECIAL_TOKENS, O200K_BASE_REGEX)
    return HarmonyEncoding.from_tokenizer(tokenizer)


def encode(*pieces: str) -> list[int]:
    """Tokens of pieces, those spelled `<|name|>` as special tokens."""
    return [token for piece in pieces for token in encoding().encode(piece, allowed_special="all")]


def message(text: str, channel: str, *end: str) -> list[int]:
    return encode("<|channel|>", channel, "<|message|>", text, *end)


ANALYSIS = message("I think.", "analysis", "<|end|>", "<|start|>", "assistant")
ANSWER = message("It is 5.", "final", "<|return|>")
CALL = encode(
    *(" to=functions.f", "<|channel|>", "commentary ", "<|constrain|>", "json", "<|message|>"),
    *('{"a":1}', "<|call|>"),
)


def written(output: io.StringIO, tokens: list[int]) -> str:
    printer = MessagePrinter(encoding(), output)
    for token in tokens:
        printer.feed(token)
    printer.finish()
    return output.getvalue()


def plain(text: str) -> str:
    return text.replace("\x1b[0m\x1b[2m", "")  # neighbouring dimmed pieces are one to the eye


class TestMessages:
    def test_a_terminal_gets_the_analysis_dimmed_and_the_answer_plain(self) -> None:
        text = plain(written(Terminal(), ANALYSIS + ANSWER))
        assert text == "\x1b[2mI think.\x1b[0m\n\nIt is 5.\n"

    def test_a_pipe_gets_the_answer_alone(self) -> None:
        assert written(io.StringIO(), ANALYSIS + ANSWER) == "It is 5.\n"

    @pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
    def test_a_terminal_without_styles_gets_the_analysis_labelled(
        self, variable: str, value: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(variable, value)
        text = written(Terminal(), ANALYSIS + ANSWER)
        assert text == "analysis: I think.\n\nIt is 5.\n"

    def test_an_empty_no_color_counts_as_unset(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_COLOR", "")
        assert "\x1b[2m" in written(Terminal(), ANALYSIS)

    def test_a_call_is_shown_everywhere(self) -> None:
        assert written(io.StringIO(), ANALYSIS + CALL) == 'tool call: functions.f({"a":1})\n'
        text = plain(written(Terminal(), ANALYSIS + CALL))
        assert text == '\x1b[2mI think.\x1b[0m\n\ntool call: functions.f({"a":1})\n'

    def test_a_call_on_the_analysis_channel_is_no_analysis(self) -> None:
        tokens = encode("<|channel|>analysis to=functions.f <|constrain|>json<|message|>{}<|call|>")
        assert written(io.StringIO(), tokens) == "tool call: functions.f({})\n"

    def test_a_message_to_the_user_is_no_call(self) -> None:
        tokens = encode("<|channel|>final to=user<|message|>Hi<|return|>")
        assert written(io.StringIO(), tokens) == "Hi\n"

    def test_a_remark_and_an_answer_are_two_lines(self) -> None:
        remark = message("One moment.", "commentary", "<|end|>", "<|start|>", "assistant")
        assert written(io.StringIO(), remark + ANSWER) == "One moment.\nIt is 5.\n"

    def test_an_answer_that_ends_its_line_gets_no_second_newline(self) -> None:
        assert written(io.StringIO(), message("a\n", "final", "<|return|>")) == "a\n"

    def test_an_answer_cut_short_ends_its_line(self) -> None:
        assert written(io.StringIO(), message("It is", "final")) == "It is\n"

    def test_a_character_cut_short_is_shown_as_one(self) -> None:
        assert written(io.StringIO(), message("a😀", "final")[:-1]) == "a\ufffd\n"

    def test_a_header_cut_short_is_no_text(self) -> None:
        for pieces in (("<|channel|>", "final"), (" to=functions.f",)):
            assert written(io.StringIO(), encode(*pieces)) == ""
            assert written(Terminal(), encode(*pieces)) == ""

    def test_text_comes_as_soon_as_its_token(self) -> None:
        output = io.StringIO()
        printer = MessagePrinter(encoding(), output)
        seen = []
        for token in message("ab😀", "final"):
            printer.feed(token)
            seen.append(output.getvalue())
        assert seen[-5:] == ["ab", "ab", "ab", "ab", "ab😀"]

    def test_knows_whether_the_answer_began(self) -> None:
        for tokens, expected in ((ANALYSIS, False), (ANALYSIS + ANSWER, True), (CALL, True)):
            printer = MessagePrinter(encoding(), io.StringIO())
            for token in tokens:
                printer.feed(token)
            assert printer.answer_began is expected

    def test_an_answer_cannot_drive_the_terminal(self) -> None:
        hostile = message("a\x1b]0;title\x07b\rc\x9bd\te", "final", "<|return|>")
        assert written(Terminal(), hostile) == "a\ufffd]0;title\ufffdb\ufffdc\ufffdd\te\n"
        assert written(io.StringIO(), hostile) == "a\x1b]0;title\x07b\rc\x9bd\te\n"


MARKERS = [
    f"<|{name}|>"
    for name in ("start", "channel", "message", "constrain", "end", "call", "return", "endoftext")
]
WORDS = ["assistant", "analysis", "final", "commentary", " to=functions.f", "json", "é😀", " hi\n"]
COMPLETIONS = st.lists(st.sampled_from(MARKERS + WORDS), max_size=30).map(
    lambda pieces: encode(*pieces)
)
ANY_TOKENS = st.lists(st.integers(0, NUM_TEXT_TOKENS + NUM_SPECIAL_TOKENS - 1))


class TestMalformedAnswers:
    @pytest.mark.parametrize(
        ("completion", "shown"),
        [
            ("<|message|>Hi<|return|>", "Hi\n"),
            ("Hello there<|return|>", "Hello there\n"),
            ("<|channel|>final<|message|>Hi<|end|><|return|>", "Hi\n"),
            ("<|channel|>final<|message|>a<|end|>b<|end|>", "a\nb\n"),
            ("<|channel|>analysis<|message|>x<|channel|>final<|message|>Hi<|return|>", "Hi\n"),
            ("<|channel|><|channel|>final<|message|>Hi<|return|>", "Hi\n"),
            ("<|channel|>analysis<|channel|>final<|message|>Hi<|return|>", "Hi\n"),
            ("<|channel|>final of two words<|message|>Hi<|return|>", " of two words\nHi\n"),
            ("<|channel|>final<|message|>a<|message|>b<|return|>", "ab\n"),
            ("<|start|>assistant<|start|>assistant<|channel|>final<|message|>Hi", "Hi\n"),
            (
                "<|channel|>commentary to=functions.f <|constrain|> json<|message|>{}<|call|>",
                "tool call: functions.f({})\n",
            ),
            (" to=functions.f<|channel|>commentary<|call|>", "tool call: functions.f()\n"),
        ],
    )
    def test_are_shown(self, completion: str, shown: str) -> None:
        assert written(io.StringIO(), encode(completion)) == shown

    def test_a_message_without_a_header_is_shown_before_it_ends(self) -> None:
        output = io.StringIO()
        printer = MessagePrinter(encoding(), output)
        for token in encode("<|channel|>analysis<|channel|>final " + "many words " * 200):
            printer.feed(token)
        assert output.getvalue().startswith("many words many words ")

    def test_a_channel_that_was_given_up_is_no_line(self) -> None:
        tokens = encode("<|channel|>analysis<|channel|>final<|message|>Hi<|return|>")
        assert written(Terminal(), tokens) == "Hi\n"

    @given(st.one_of(COMPLETIONS, ANY_TOKENS))
    def test_a_pipe_gets_every_text_but_the_analysis_in_order(self, tokens: list[int]) -> None:
        parser = StreamableParser(encoding(), Role.ASSISTANT, strict=False).process_many(tokens)
        if parser.state is StreamState.CONTENT:
            parser.process_eos()
        shown = io.StringIO()
        written(shown, tokens)
        position = 0
        for each in parser.messages:
            (content,) = each.content
            assert isinstance(content, TextContent)
            if each.channel != "analysis" or each.recipient is not None:
                position = shown.getvalue().index(content.text, position) + len(content.text)

    @given(st.one_of(COMPLETIONS, ANY_TOKENS))
    def test_a_terminal_gets_the_analysis_as_well(self, tokens: list[int]) -> None:
        ended = [*tokens, *encode("<|return|>")]
        report = answer_as_json(ended, encoding())
        shown = written(Terminal(), ended).replace("\x1b[0m", "").replace("\x1b[2m", "")
        for each in report["messages"]:
            assert harmless(each["content"]) in shown


class TestJson:
    def report(self, completion: list[int]) -> dict[str, list[Any]]:
        report = answer_as_json(completion, encoding())
        assert json.loads(json.dumps(report)) == report
        return report

    def test_messages_have_all_their_fields(self) -> None:
        assert self.report(ANALYSIS + CALL)["messages"] == [
            {
                "role": "assistant",
                "channel": "analysis",
                "recipient": None,
                "content_type": None,
                "content": "I think.",
            },
            {
                "role": "assistant",
                "channel": "commentary",
                "recipient": "functions.f",
                "content_type": "<|constrain|>json",
                "content": '{"a":1}',
            },
        ]

    def test_a_call_has_its_arguments(self) -> None:
        assert self.report(ANALYSIS + CALL)["tool_calls"] == [
            {
                "recipient": "functions.f",
                "namespace": "functions",
                "name": "f",
                "arguments": {"a": 1},
                "text": '{"a":1}',
                "error": None,
                "channel": "commentary",
                "index": 1,
            }
        ]

    def test_a_call_that_is_no_json_has_an_error(self) -> None:
        completion = encode("<|channel|>commentary to=functions.f<|message|>{oops<|call|>")
        (call,) = self.report(completion)["tool_calls"]
        assert call["arguments"] is None
        assert call["text"] == "{oops"
        assert "line 1, column 2" in call["error"]

    def test_a_well_formed_answer_has_no_repairs(self) -> None:
        assert self.report(ANALYSIS + ANSWER)["repairs"] == []
        assert self.report([]) == {"messages": [], "tool_calls": [], "repairs": []}

    def test_repairs_say_what_and_at_which_token(self) -> None:
        completion = message("Hi", "final", "<|end|>")
        report = self.report([*completion, *encode("<|return|>")])
        assert [each["content"] for each in report["messages"]] == ["Hi"]
        assert report["repairs"] == [
            {"kind": "extra_end", "position": len(completion), "text": "<|return|>"}
        ]
