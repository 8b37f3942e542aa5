"""What `gptoss generate` writes: analysis dimmed on a terminal, the answer alone elsewhere."""

from __future__ import annotations

import io
from functools import lru_cache

import pytest
from gptoss.cli.answer import Answer, MessagePrinter, TextPrinter, messages_as_json
from gptoss.cli.terminal import ProgressLine, format_bytes, format_duration
from gptoss.tokenizer import Tokenizer
from gptoss.vocabulary import O200K_BASE_REGEX, load_o200k_base


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _a_terminal_with_styles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@lru_cache(maxsize=1)
def tokenizer() -> Tokenizer:
    return Tokenizer(load_o200k_base()[:448], [None] * 16, O200K_BASE_REGEX)


def encode(*pieces: str) -> list[int]:
    """Tokens of pieces, those spelled `<|name|>` as special tokens."""
    tokens: list[int] = []
    for piece in pieces:
        if piece.startswith("<|"):
            tokens.append(tokenizer().encode_special_token(piece))
        else:
            tokens += tokenizer().encode(piece)
    return tokens


def message(text: str, channel: str, *end: str) -> list[int]:
    return encode("<|channel|>", channel, "<|message|>", text, *end)


ANALYSIS = message("I think.", "analysis", "<|end|>", "<|start|>", "assistant")
ANSWER = message("It is 5.", "final", "<|return|>")
CALL = encode(
    *(" to=functions.f", "<|channel|>", "commentary ", "<|constrain|>", "json", "<|message|>"),
    *('{"a":1}', "<|call|>"),
)


def written(output: io.StringIO, tokens: list[int]) -> str:
    printer = MessagePrinter(tokenizer(), output)
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

    def test_text_without_a_channel_is_not_lost(self) -> None:
        assert written(io.StringIO(), encode("<|message|>", "Hi", "<|return|>")) == "Hi\n"
        assert written(io.StringIO(), encode("Hello there", "<|return|>")) == "Hello there\n"

    def test_a_remark_and_an_answer_are_two_lines(self) -> None:
        remark = message("One moment.", "commentary", "<|end|>", "<|start|>", "assistant")
        assert written(io.StringIO(), remark + ANSWER) == "One moment.\nIt is 5.\n"

    def test_an_answer_that_ends_its_line_gets_no_second_newline(self) -> None:
        assert written(io.StringIO(), message("a\n", "final", "<|return|>")) == "a\n"

    def test_an_answer_cut_short_ends_its_line(self) -> None:
        assert written(io.StringIO(), message("It is", "final")) == "It is\n"

    def test_a_header_cut_short_is_no_text(self) -> None:
        assert written(io.StringIO(), encode("<|channel|>", "final")) == ""
        assert written(Terminal(), encode("<|channel|>", "final")) == ""

    def test_text_comes_as_soon_as_its_token(self) -> None:
        output = io.StringIO()
        printer = MessagePrinter(tokenizer(), output)
        for token in message("ab", "final"):
            printer.feed(token)
        assert output.getvalue() == "ab"

    def test_knows_whether_the_answer_began(self) -> None:
        for tokens, expected in ((ANALYSIS, False), (ANALYSIS + ANSWER, True), (CALL, True)):
            printer = MessagePrinter(tokenizer(), io.StringIO())
            for token in tokens:
                printer.feed(token)
            assert printer.answer_began is expected

    def test_an_answer_cannot_drive_the_terminal(self) -> None:
        hostile = message("a\x1b]0;title\x07b\rc\x9bd\te", "final", "<|return|>")
        assert written(Terminal(), hostile) == "a\ufffd]0;title\ufffdb\ufffdc\ufffdd\te\n"
        assert written(io.StringIO(), hostile) == "a\x1b]0;title\x07b\rc\x9bd\te\n"


class TestRawText:
    def write(self, output: io.StringIO, tokens: list[int]) -> str:
        printer = TextPrinter(tokenizer(), output)
        for token in tokens:
            printer.feed(token)
        printer.finish()
        return output.getvalue()

    def test_a_pipe_gets_every_byte_and_no_other(self) -> None:
        tokens = encode(" a\x1bé\n", "<|start|>", "😀")[:-1]
        assert self.write(io.StringIO(), tokens) == " a\x1bé\n<|start|>\ufffd"

    def test_a_terminal_gets_harmless_text_and_a_last_newline(self) -> None:
        assert self.write(Terminal(), encode("a\x1bb")) == "a\ufffdb\n"


class TestFigures:
    def test_the_summary_is_one_line(self) -> None:
        answer = Answer([1] * 50, [2] * 20, "stop", 0.1, 0.5, 2.0)
        assert answer.summary("seed 7") == (
            "[prefill 50 tokens at 100.0 tokens/s, decode 20 tokens at 10.0 tokens/s; "
            "ended: stop; seed 7]"
        )

    def test_no_rate_is_given_for_nothing(self) -> None:
        answer = Answer([1], finish_reason="interrupted")
        assert answer.summary("greedy") == (
            "[prefill 1 tokens, decode 0 tokens; ended: interrupted; greedy]"
        )
        assert answer.timing()["decode_tokens_per_second"] is None

    def test_messages_as_json(self) -> None:
        assert messages_as_json(ANALYSIS + CALL, tokenizer()) == [
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

    @pytest.mark.parametrize(
        ("count", "text"),
        [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1905600, "1.8 MiB"),
            (13750886400, "12.8 GiB"),
            (5 << 40, "5.0 TiB"),
        ],
    )
    def test_bytes(self, count: int, text: str) -> None:
        assert format_bytes(count) == text

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1:00 min"), (125, "2:05 min"), (3725, "1:02:05 h")],
    )
    def test_durations(self, seconds: float, text: str) -> None:
        assert format_duration(seconds) == text


class TestProgressLine:
    def test_is_replaced_and_cleared_on_a_terminal(self) -> None:
        terminal = Terminal()
        line = ProgressLine(terminal)
        line.show("half")
        line.clear()
        assert terminal.getvalue() == "\r\x1b[Khalf\r\x1b[K"

    def test_waits_for_its_delay(self) -> None:
        terminal = Terminal()
        line = ProgressLine(terminal, delay=3600)
        assert not line.is_due
        line.show("half")
        line.clear()
        assert terminal.getvalue() == ""

    def test_changes_at_most_ten_times_a_second(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 1000.0
        monkeypatch.setattr("gptoss.cli.terminal.time.monotonic", lambda: now)
        terminal = Terminal()
        line = ProgressLine(terminal)
        for text in ("one", "two", "three"):
            line.show(text)
            now += 0.06
        assert terminal.getvalue() == "\r\x1b[Kone\r\x1b[Kthree"
        assert line.elapsed == pytest.approx(0.18)

    def test_is_silent_elsewhere(self) -> None:
        log = io.StringIO()
        line = ProgressLine(log)
        line.show("half")
        line.clear()
        assert log.getvalue() == ""
