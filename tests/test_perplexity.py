"""Perplexity and KL divergence are what their definitions say, whatever the size of the pieces."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import gptoss
import numpy as np
import pytest
from checkpoints import TINY, random_checkpoint
from engine_cases import (
    convert_checkpoint,
    kl_divergence,
    log_softmax,
    model,
    model_path,
    random_tokens,
)
from gptoss.perplexity import measurement
from gptoss.perplexity.measurement import Measurement, measure
from gptoss.perplexity.scores import Comparison, Estimate, Scores
from gptoss.perplexity.windows import Window, cut_windows
from numpy.typing import NDArray

TOKENS = random_tokens(120)


def logits_of(model: gptoss.Model, window: Window) -> NDArray[np.float32]:
    """For each scored token of a window, decoded one at a time."""
    context = gptoss.Context(model)
    rows = []
    for token in window.tokens[:-1]:
        context.append(token)
        rows.append(context.logits())
    return np.array(rows[window.first_scored - 1 :])


@pytest.mark.parametrize("stride", [None, 11])
def test_perplexity_is_the_mean_probability_of_the_tokens_that_came(stride: int | None) -> None:
    windows = cut_windows(TOKENS, 40, stride)
    losses = np.concatenate(
        [
            -np.take_along_axis(
                log_softmax(logits_of(model(), window)),
                np.array(window.tokens[window.first_scored :])[:, None],
                axis=-1,
            )[:, 0]
            for window in windows
        ]
    )
    scores = measure(model(), windows).scores
    np.testing.assert_allclose(scores.losses, losses, rtol=1e-12)
    assert scores.loss.mean == pytest.approx(losses.mean())
    assert scores.loss.standard_error == pytest.approx(losses.std(ddof=1) / math.sqrt(len(losses)))
    assert scores.perplexity.mean == pytest.approx(math.exp(losses.mean()))


def test_comparison_is_that_of_the_definitions() -> None:
    other = model("tiny", 0.5)
    windows = cut_windows(TOKENS, 40)
    result = measure(model(), windows, other)
    comparison = result.comparison
    assert comparison is not None
    assert result.reference is not None
    ours = np.concatenate([logits_of(model(), window) for window in windows])
    theirs = np.concatenate([logits_of(other, window) for window in windows])
    divergence = kl_divergence(theirs, ours)
    np.testing.assert_allclose(comparison.divergences, divergence, rtol=1e-9)
    assert comparison.divergence_quantile(0.5) == pytest.approx(np.median(divergence))
    assert comparison.divergence_quantile(1) == pytest.approx(divergence.max())
    same = (ours.argmax(axis=-1) == theirs.argmax(axis=-1)).mean()
    assert 0 < same < 1
    assert comparison.same_likeliest.mean == pytest.approx(same)
    assert comparison.max_logit_difference == np.abs(ours - theirs).max()
    assert result.reference.losses == measure(other, windows).scores.losses
    ratio = result.scores.perplexity.mean / result.reference.perplexity.mean
    assert result.log_ratio.mean == pytest.approx(math.log(ratio))


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_pieces_change_nothing(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = cut_windows(TOKENS, 40)
    expected = measure(model(), windows).scores.losses
    row = 4 * model().config.vocabulary_size
    monkeypatch.setattr(measurement, "MAX_LOGIT_BYTES", rows * row)
    assert measure(model(), windows).scores.losses == expected


def test_a_model_is_no_way_from_itself() -> None:
    windows = cut_windows(TOKENS, 40)
    result = measure(model(), windows, gptoss.Model(model_path(), "cpu", 1))
    assert result.comparison is not None
    assert result.comparison.divergence == Estimate(0, 0)
    assert result.comparison.same_likeliest.mean == 1
    assert result.comparison.max_logit_difference == 0
    assert result.log_ratio == Estimate(0, 0)


def test_progress_is_told_after_every_window() -> None:
    seen: list[tuple[int, int]] = []

    def show(done: int, result: Measurement) -> None:
        seen.append((done, len(result.scores.losses)))

    measure(model(), cut_windows(TOKENS, 40), progress=show)
    assert seen == [(1, 19), (2, 38), (3, 57)]


def test_models_with_more_or_fewer_tokens_are_refused() -> None:
    shape = replace(TINY, vocabulary_size=400)
    path = convert_checkpoint("fewer-tokens", shape, random_checkpoint(shape, seed=1))
    with pytest.raises(ValueError, match=r"448 text and 16 special tokens against 384 and 16"):
        measure(model(), cut_windows(TOKENS, 40), gptoss.Model(path))


def test_models_with_other_tokens_are_refused(tmp_path: Path) -> None:
    content = model_path().read_bytes()
    first_token = b'\x01\x00!\x01\x00"'  # of o200k_base: lengths as u16, and "!" and '"'
    assert content.count(first_token) == 1
    path = tmp_path / "other-tokens.bin"
    path.write_bytes(content.replace(first_token, b"\x01\x00!\x01\x00\x00"))
    with pytest.raises(ValueError, match=r"token 1 is b'\"' in one and b'\\x00' in the other"):
        measure(model(), cut_windows(TOKENS, 40), gptoss.Model(path))


def test_divergence_of_hopeless_predictions_is_finite() -> None:
    """A probability that underflows in fp32 still has a logarithm."""
    logits = np.array([[0, 300]], np.float32)
    comparison = Comparison()
    comparison.add(logits, -logits)
    assert comparison.divergences == pytest.approx([300])
    scores = Scores()
    scores.add(logits, [0])
    assert scores.losses == pytest.approx([300])


def test_logits_that_are_no_numbers_show() -> None:
    comparison = Comparison()
    comparison.add(np.zeros((2, 3), np.float32), np.array([[0, 0, np.nan], [0, 0, 0]], np.float32))
    assert math.isnan(comparison.max_logit_difference)
    assert math.isnan(comparison.divergence.mean)


def test_a_single_value_has_no_standard_error() -> None:
    estimate = Estimate.of(np.array([2.0]))
    assert estimate.mean == 2
    assert math.isnan(estimate.standard_error)
