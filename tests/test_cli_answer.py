"""Plain text as `gptoss generate --raw` writes it, and its figures and progress."""

from __future__ import annotations

import io
from functools import lru_cache

import pytest
from gptoss.cli.answer import Answer, TextPrinter
from gptoss.cli.terminal import ProgressLine, format_bytes, format_duration
from gptoss.tokenizer import Tokenizer
from gptoss.vocabulary import O200K_BASE_REGEX, load_o200k_base


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@lru_cache(maxsize=1)
def tokenizer() -> Tokenizer:
    return Tokenizer(load_o200k_base()[:448], [None] * 16, O200K_BASE_REGEX)


class TestRawText:
    def write(self, output: io.StringIO, tokens: list[int]) -> str:
        printer = TextPrinter(tokenizer(), output)
        for token in tokens:
            printer.feed(token)
        printer.finish()
        return output.getvalue()

    def test_a_pipe_gets_every_byte_and_no_other(self) -> None:
        encode = tokenizer().encode
        start = tokenizer().encode_special_token("<|start|>")
        tokens = [*encode(" a\x1bé\n"), start, *encode("😀")[:-1]]
        assert self.write(io.StringIO(), tokens) == " a\x1bé\n<|start|>\ufffd"

    def test_a_terminal_gets_harmless_text_and_a_last_newline(self) -> None:
        assert self.write(Terminal(), tokenizer().encode("a\x1bb")) == "a\ufffdb\n"


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
