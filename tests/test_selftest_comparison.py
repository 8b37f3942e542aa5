"""The end-to-end comparison of `gptoss selftest` finds what is wrong, and lets pass what is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gptoss
import numpy as np
import pytest
from gptoss.selftest import comparison
from gptoss.selftest.benchmark import run_benchmark
from gptoss.selftest.comparison import Comparison, compare, uniform_random
from gptoss.selftest.machine import has_metal


def model(
    backend: str = "cpu", threads: int | None = 1, precision: str = "default"
) -> gptoss.Model:
    return gptoss.Model(backend=backend, threads=threads, precision=precision)


def compare_with_cpu(tested: gptoss.Model, precision: str = "default") -> dict[str, Comparison]:
    seen: list[tuple[int, int, str]] = []
    reference = model(precision=precision)
    results = compare(tested, reference, lambda *progress: seen.append(progress))
    assert [each.name for each in results] == [name for _, _, name in seen][: len(results)]
    return {each.name: each for each in results}


def compare_spoilt(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Any, gptoss.Context], Any]
) -> dict[str, Comparison]:
    tested = model(threads=2)

    class ChangedContext(gptoss.Context):
        def logits(self) -> Any:
            logits = super().logits()
            return change(logits, self) if self.model is tested else logits

        def __copy__(self) -> gptoss.Context:
            duplicate = super().__copy__()
            duplicate.__class__ = ChangedContext
            return duplicate

    monkeypatch.setattr(comparison, "Context", ChangedContext)
    return compare_with_cpu(tested)


def test_a_backend_agrees_with_itself() -> None:
    results = compare_with_cpu(model(threads=2))
    assert len(results) == 6
    for result in results.values():
        assert result.passed, result.message
        assert result.largest_difference < 1e-4


def test_a_logit_that_is_off_fails_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(logits: Any, _: gptoss.Context) -> Any:
        logits[33] += 0.06
        return logits

    results = compare_spoilt(monkeypatch, change)
    for result in results.values():
        assert not result.passed, result.name
        assert "the logit of token 33 is" in result.message
        assert result.largest_difference == pytest.approx(0.06, abs=1e-3)


def test_nan_fails_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(logits: Any, _: gptoss.Context) -> Any:
        logits[5] = np.nan
        return logits

    results = compare_spoilt(monkeypatch, change)
    for result in results.values():
        assert not result.passed, result.name
        assert np.isnan(result.largest_difference)


def test_an_error_ends_the_comparison_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(logits: Any, context: gptoss.Context) -> Any:
        if context.num_tokens == 130:
            raise gptoss.BackendError("The GPU stopped answering.")
        return logits

    (result,) = compare_spoilt(monkeypatch, change).values()
    assert not result.passed
    assert result.message == "BackendError: The GPU stopped answering."


@pytest.mark.parametrize("part", ["greedy", "sampled"])
def test_tokens_that_the_reference_would_not_choose_are_told(
    monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """The tested backend draws at another temperature, or with another seed."""
    original = gptoss.Context.sample

    def sample(self: gptoss.Context, count: int, temperature: float = 1.0, seed: int = 0) -> Any:
        greedy = temperature == 0
        if greedy == (part == "greedy"):
            return original(self, count, temperature=3.0, seed=seed + 99)
        return original(self, count, temperature=temperature, seed=seed)

    monkeypatch.setattr(gptoss.Context, "sample", sample)
    results = compare_with_cpu(model(threads=2))
    for name, result in results.items():
        assert result.passed == (part not in name), result
    assert "which the reference would not choose" in results[f"24 {part} tokens"].message


def test_the_random_numbers_are_the_engines() -> None:
    """At temperature 1, the engine draws the token on whose share the number falls."""
    context = gptoss.Context(model())
    context.append([1, 2, 3])
    for _ in range(20):
        logits = context.logits().astype(np.float64)
        weights = np.exp(logits - logits.max())
        ends = np.cumsum(weights) / weights.sum()
        expected = int(np.searchsorted(ends, uniform_random(11, context.num_tokens), side="right"))
        assert context.sample(1, temperature=1.0, seed=11) == [expected]


def test_the_benchmark_measures_both(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_benchmark(model())
    assert result.prefill_tokens % 512 == 0
    assert result.decode_tokens == 128
    assert result.prefill_speed > result.decode_speed > 0


@pytest.mark.skipif(not has_metal(), reason="this build has no Metal backend")
def test_metal_agrees_with_the_cpu() -> None:
    """In exact precision, as in `gptoss selftest`: what the default rounds, Metal does not."""
    for result in compare_with_cpu(model("metal", None), precision="exact").values():
        assert result.passed, f"{result.name}: {result.message}"
