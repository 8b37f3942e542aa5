"""How a text is cut into windows, and which of their tokens count."""

from __future__ import annotations

import gptoss
import pytest
from gptoss.perplexity.windows import Window, cut_windows, tokens_of_text

TOKENS = list(range(100, 130))


def scored_tokens(windows: list[Window]) -> list[int]:
    return [token for window in windows for token in window.tokens[window.first_scored :]]


def test_windows_do_not_overlap_and_their_second_half_counts() -> None:
    """As llama.cpp's: of 8 tokens those after the 5th, so that the shortest history is 5."""
    windows = cut_windows(TOKENS, 8)
    assert [window.tokens for window in windows] == [TOKENS[0:8], TOKENS[8:16], TOKENS[16:24]]
    assert [window.first_scored for window in windows] == [5, 5, 5]
    assert [window.num_scored for window in windows] == [3, 3, 3]


def test_with_a_stride_every_token_from_the_first_that_counts_on_counts_once() -> None:
    windows = cut_windows(TOKENS, 10, stride=4)
    assert [window.tokens[0] for window in windows] == [100, 104, 108, 112, 116, 120]
    assert scored_tokens(windows) == TOKENS[6:]


def test_a_text_of_exactly_one_window_is_one() -> None:
    assert [window.tokens for window in cut_windows(TOKENS, len(TOKENS))] == [TOKENS]


def test_the_first_windows_can_be_enough() -> None:
    assert cut_windows(TOKENS, 8, max_windows=2) == cut_windows(TOKENS, 8)[:2]


def test_the_shortest_window_predicts_one_token() -> None:
    assert [window.num_scored for window in cut_windows(TOKENS, 3)] == [1] * 10


def test_a_text_that_does_not_fill_a_window_is_refused_with_both_lengths() -> None:
    with pytest.raises(ValueError, match=r"30 tokens, and one window takes 31"):
        cut_windows(TOKENS, 31)


@pytest.mark.parametrize(
    ("context_length", "stride", "message"),
    [(2, None, "at least 3"), (8, 8, "from 1 to 7"), (8, 0, "from 1 to 7")],
)
def test_lengths_that_make_no_sense_are_refused(
    context_length: int, stride: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        cut_windows(TOKENS, context_length, stride)


def test_spellings_of_special_tokens_are_text_unless_asked_for() -> None:
    tokenizer = gptoss.Model().tokenizer
    text = "<|start|>user<|message|>Hello<|end|>"
    assert tokens_of_text(text, tokenizer) == tokenizer.encode(text)
    assert tokens_of_text(text, tokenizer, special_tokens=True) == [
        tokenizer.encode_special_token("<|start|>"),
        *tokenizer.encode("user"),
        tokenizer.encode_special_token("<|message|>"),
        *tokenizer.encode("Hello"),
        tokenizer.encode_special_token("<|end|>"),
    ]
