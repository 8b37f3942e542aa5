"""metal/sample_*.metal: which token is drawn. The same one as by the CPU's sampler."""

from __future__ import annotations

import math
from typing import Any

import gptoss
import numpy as np
import pytest
from engine_cases import model, random_tokens
from hypothesis import example, given, settings
from hypothesis import strategies as st
from metal_sampling import (
    LOGITS,
    NO_HISTORY,
    NUM_CANDIDATES,
    SEEN,
    History,
    Options,
    Sampling,
    Twin,
    uniform_random,
)
from reference import Array

VOCABULARY_SIZE = 201_088


def check(
    logits: Array,
    options: Options,
    history: History = NO_HISTORY,
    num_draws: int = 40,
    threads: int = 32,
    threadgroups: int = 1,
) -> None:
    """Draws at many positions; each token must be the twin's, but for roundings of its sums."""
    positions = history.position + np.arange(num_draws)
    sampling = Sampling(logits, options, history, positions)
    sampling.step(threads, threadgroups)
    twin = Twin(logits, options, history)
    for token, position in zip(sampling.tokens.tolist(), positions.tolist(), strict=True):
        assert twin.allows(token, position), (
            f"position {position}: token {token}, the CPU's is {twin.token(position)}; {options}"
        )


def some_logits(seed: int, vocabulary_size: int, scale: float = 2.0, step: float = 0.0) -> Array:
    """Normally distributed; rounded to multiples of `step`, so that many are equal."""
    logits = np.random.default_rng(seed).standard_normal(vocabulary_size) * scale
    if step:
        logits = np.round(logits / step) * step
    return logits.astype(np.float32)


def some_history(seed: int, vocabulary_size: int) -> History:
    rng = np.random.default_rng(seed)
    seen = rng.integers(0, vocabulary_size, 1 + vocabulary_size // 5).tolist()
    return History(seen, {token: 1 + token % 3 for token in seen[: 1 + len(seen) // 3]}, 300)


# --- Against the twin ---


temperatures = st.sampled_from([0.0, 1e-30, 1e-3, 0.3, 1.0, 1.7, 40.0, 1e30])
shares = st.sampled_from([1e-20, 1e-3, 0.1, 0.5, 0.9, 0.999, 1 - 1e-6, 1.0])


@st.composite
def some_options(draw: st.DrawFn, vocabulary_size: int) -> Options:
    tokens = st.integers(0, vocabulary_size - 1)
    biases = draw(
        st.dictionaries(tokens, st.sampled_from([-math.inf, -3.0, 0.5, 30.0]), max_size=4)
    )
    allowed = np.random.default_rng(draw(st.integers(0, 9))).random(vocabulary_size) < 0.8
    allowed[[t for t in range(vocabulary_size) if t not in biases][:1] or [0]] = True
    biases = {t: b for t, b in biases.items() if vocabulary_size > len(biases)}
    return Options(
        seed=draw(st.integers(0, 2**64 - 1)),
        temperature=draw(temperatures),
        top_k=draw(st.sampled_from([0, 1, 2, 5, vocabulary_size // 2, vocabulary_size, 2**32 - 1])),
        top_p=draw(shares),
        min_p=draw(st.sampled_from([0.0, 1e-12, 0.01, 0.4, 1.0])),
        repetition_penalty=draw(st.sampled_from([1.0, 0.7, 1.3])),
        presence_penalty=draw(st.sampled_from([0.0, 0.8, -0.5])),
        frequency_penalty=draw(st.sampled_from([0.0, 0.4, -0.3])),
        biases=biases,
        allowed=draw(st.sampled_from([None, allowed])),
    )


@settings(max_examples=120, deadline=None)
@given(data=st.data(), vocabulary_size=st.integers(1, 300), seed=st.integers(0, 999))
def test_any_options_give_the_token_of_the_cpu(
    data: st.DataObject, vocabulary_size: int, seed: int
) -> None:
    logits = some_logits(
        seed,
        vocabulary_size,
        scale=data.draw(st.sampled_from([0.0, 1.0, 5.0])),
        step=data.draw(st.sampled_from([0.0, 0.5])),
    )
    check(
        logits,
        data.draw(some_options(vocabulary_size)),
        some_history(seed, vocabulary_size),
        num_draws=8,
        threads=data.draw(st.sampled_from([32, 64, 96])),
        threadgroups=data.draw(st.integers(1, 3)),
    )


def real_logits(seed: int = 0) -> Array:
    """As a model makes them: a few that stand out, and a broad rest."""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal(VOCABULARY_SIZE).astype(np.float32) * 2.2
    logits[rng.integers(0, VOCABULARY_SIZE, 60)] += rng.uniform(4, 14, 60).astype(np.float32)
    return logits


def test_whole_vocabulary_with_every_parameter() -> None:
    rng = np.random.default_rng(1)
    logits = real_logits()
    seen = rng.integers(0, VOCABULARY_SIZE, 3_000).tolist()
    options = Options(
        seed=2**63 + 5,
        temperature=1.4,
        top_k=300,
        top_p=0.97,
        min_p=0.001,
        repetition_penalty=1.2,
        presence_penalty=0.3,
        frequency_penalty=0.2,
        biases={5: 2.0, int(np.argmax(logits)): -3.0, 17: -math.inf},
        allowed=rng.random(VOCABULARY_SIZE) < 0.9,
    )
    history = History(seen, dict.fromkeys(seen[:500], 2), 9_000)
    check(logits, options, history, num_draws=4, threads=1024, threadgroups=98)


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(temperature=0.0),
        Options(temperature=100.0),
        Options(top_k=6_500),  # more than there are groups: every token is gathered
        Options(temperature=3.0, top_p=0.9),  # the tail is heavy: many are gathered
        Options(min_p=0.001),
    ],
    ids=["plain", "greedy", "flat", "top_k", "top_p", "min_p"],
)
def test_whole_vocabulary(options: Options) -> None:
    check(real_logits(), options, num_draws=2, threads=1024, threadgroups=7)


@pytest.mark.parametrize(
    ("options", "most"),
    [
        (Options(top_k=50), 60),
        (Options(top_p=0.95), 2_000),  # keeps 1,342
        (Options(min_p=0.05), 10),
        (Options(top_k=50, top_p=0.95, min_p=0.05), 60),
    ],
    ids=["top_k", "top_p", "min_p", "all"],
)
def test_few_more_candidates_are_gathered_than_kept(options: Options, most: int) -> None:
    sampling = Sampling(real_logits(), options)
    sampling.step(1024, 7)
    kept = int((Twin(real_logits(), options).weights() > 0).sum())
    gathered = int(sampling.buffers[NUM_CANDIDATES][0])
    assert kept <= gathered <= most


# --- Against the engine itself ---


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.0},
        {"temperature": 1.8, "top_k": 100, "top_p": 0.9, "min_p": 0.02},
        {"repetition_penalty": 1.3, "presence_penalty": 0.5, "frequency_penalty": 0.4},
        {"logit_bias": {3: 4.0, 7: -math.inf, 300: 2.5}, "min_p": 0.01, "top_p": 0.7},
    ],
    ids=["plain", "greedy", "filters", "penalties", "bias"],
)
def test_tokens_are_those_of_the_engine(options: dict[str, Any]) -> None:
    """Token by token through its history; the kernels keep their own."""
    prompt = random_tokens(20)
    context = gptoss.Context(model())
    context.append(prompt)
    biases = options.get("logit_bias", {})
    rest = {key: value for key, value in options.items() if key != "logit_bias"}
    sampling = Sampling(
        context.logits(), Options(seed=11, biases=biases, **rest), History(prompt, {}, len(prompt))
    )
    for _ in range(60):
        logits = context.logits()
        sampling.buffers[LOGITS][0] = logits
        sampling.step()
        assert sampling.tokens.tolist() == context.sample(1, seed=11, **options)
        np.testing.assert_allclose(
            sampling.results["log_probability"], context.log_probabilities, rtol=0, atol=1e-5
        )
    assert set(np.flatnonzero(sampling.has_bit(SEEN)[0])) == set(context.tokens)


# --- Ties ---


def test_ties_go_to_the_lowest_token() -> None:
    logits = np.zeros(100, np.float32)
    logits[[70, 31, 99]] = 4
    for options in (Options(temperature=0.0), Options(top_k=1), Options(top_p=1e-20)):
        sampling = Sampling(logits, options, positions=np.arange(20))
        sampling.step()
        assert set(sampling.tokens.tolist()) == {31}


def test_zeros_of_either_sign_tie() -> None:
    logits = np.array([-1, -0.0, 0.0, -0.0], np.float32)
    for options in (Options(temperature=0.0), Options(top_k=1), Options(top_p=0.01)):
        sampling = Sampling(logits, options, positions=np.arange(20))
        sampling.step()
        assert set(sampling.tokens.tolist()) == {1}


@pytest.mark.parametrize("top_k", [1, 2, 31, 32, 33, 64, 99])
def test_top_k_cuts_through_ties_by_id(top_k: int) -> None:
    logits = np.zeros(100, np.float32)
    sampling = Sampling(logits, Options(top_k=top_k), positions=np.arange(1_500))
    sampling.step()
    assert set(sampling.tokens.tolist()) == set(range(top_k))


@pytest.mark.parametrize("top_p", [0.001, 0.095, 0.105, 0.505, 0.995])
def test_top_p_cuts_through_ties_by_id(top_p: float) -> None:
    logits = np.zeros(100, np.float32)
    sampling = Sampling(logits, Options(top_p=top_p), positions=np.arange(1_500))
    sampling.step()
    assert set(sampling.tokens.tolist()) == set(range(math.ceil(100 * top_p)))


@given(top_k=st.integers(1, 70), top_p=st.floats(1e-4, 1), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
@example(top_k=70, top_p=1.0, seed=0)
def test_ties_among_top_k_and_top_p_together(top_k: int, top_p: float, seed: int) -> None:
    options = Options(seed=seed, top_k=top_k, top_p=top_p)
    check(some_logits(seed, 70, scale=1.0, step=1.0), options, num_draws=12)


# --- Extremes ---


def extreme_logits(count: int = 100) -> Array:
    logits = some_logits(3, count)
    logits[:8] = [1e30, -1e30, 3e38, -3e38, 1e-45, -1e-45, -math.inf, 3.4e38]
    return logits


@pytest.mark.parametrize("highest", [1e30, 3.4e38, 20.0])
@pytest.mark.parametrize("temperature", [0.0, 1e-45, 1e-30, 1.0, 1e30, 1e38, 3.4e38])
@pytest.mark.parametrize("filters", [{}, {"top_k": 50}, {"top_p": 0.6}, {"min_p": 0.3}])
def test_extreme_logits_and_temperatures(
    highest: float, temperature: float, filters: dict[str, Any]
) -> None:
    logits = extreme_logits()
    logits[logits > highest] = highest
    check(logits, Options(seed=5, temperature=temperature, **filters), num_draws=6)


@pytest.mark.parametrize("filters", [{}, {"top_p": 0.999}])
def test_logits_whose_difference_is_infinite_are_both_drawn(filters: dict[str, Any]) -> None:
    """Twice the temperature apart: 12 % of the draws are the lower one."""
    logits = np.array([3e38, -3e38], np.float32)
    sampling = Sampling(logits, Options(temperature=3e38, **filters), positions=np.arange(200))
    sampling.step()
    assert 10 < np.count_nonzero(sampling.tokens == 1) < 40


def test_minus_infinity_is_never_drawn() -> None:
    logits = np.full(64, -math.inf, np.float32)
    logits[[9, 40]] = [-3e38, -3e38]
    for options in (Options(), Options(top_k=5), Options(top_p=0.99), Options(min_p=1e-30)):
        sampling = Sampling(logits, options, positions=np.arange(50))
        sampling.step()
        assert set(sampling.tokens.tolist()) == {9, 40}


def test_bias_of_minus_infinity_forbids() -> None:
    biases = {token: -math.inf for token in range(50) if token != 33}
    for options in (Options(biases=biases), Options(biases=biases, top_k=9, temperature=1e9)):
        sampling = Sampling(some_logits(0, 50), options, positions=np.arange(20))
        sampling.step()
        assert set(sampling.tokens.tolist()) == {33}


def test_mask_of_one_token_forces_it() -> None:
    allowed = np.zeros(1_000, bool)
    allowed[700] = True
    for temperature in (0.0, 1.0):
        options = Options(temperature=temperature, allowed=allowed)
        sampling = Sampling(some_logits(0, 1_000), options, positions=np.arange(5))
        sampling.step()
        assert set(sampling.tokens.tolist()) == {700}


def seed_of(bits: int, position: int) -> int:
    """The seed whose random bits at that position are these: the generator, backwards."""

    def undo_shift(value: int, shift: int) -> int:
        result = value
        for _ in range(64 // shift):
            result = value ^ (result >> shift)
        return result

    def unmix(value: int) -> int:
        value = undo_shift(value, 31) * pow(0x94D049BB133111EB, -1, 2**64) % 2**64
        value = undo_shift(value, 27) * pow(0xBF58476D1CE4E5B9, -1, 2**64) % 2**64
        return undo_shift(value, 30)

    golden_gamma = 0x9E3779B97F4A7C15
    mixed = (unmix(bits) - (position + 1) * golden_gamma) % 2**64
    return (unmix(mixed) - golden_gamma) % 2**64


@pytest.mark.parametrize("filters", [{}, {"top_k": 90}, {"top_p": 0.999}, {"min_p": 1e-9}])
def test_ends_of_the_range_of_random_numbers(filters: dict[str, Any]) -> None:
    """Nothing forbidden is drawn by a number of 0 or just below 1, however improbable its edge."""
    allowed = np.ones(100, bool)
    allowed[[0, 1, 2, 98, 99]] = False
    logits = np.zeros(100, np.float32)
    for bits, expected in ((0, 3), (2**64 - 1, 97)):
        options = Options(seed=seed_of(bits, 5), allowed=allowed, **filters)
        assert uniform_random(options.seed, 5) == (bits >> 11) / 2**53
        if "top_k" in filters and expected == 97:
            expected = 92  # the first 90 that are allowed
        sampling = Sampling(logits, options, History(position=5))
        sampling.step()
        assert sampling.tokens.tolist() == [expected]


# --- Determinism ---


@pytest.mark.parametrize(
    "options",
    [
        Options(seed=1),
        Options(temperature=0.0),
        Options(seed=1, top_k=40, top_p=0.9, min_p=0.01, num_top_tokens=5),
    ],
    ids=["plain", "greedy", "filters"],
)
def test_everything_is_the_same_for_any_threads_and_order(options: Options) -> None:
    logits = some_logits(8, 601, step=0.25)  # 19 groups
    history = some_history(8, 601)

    def outcome(threads: int, threadgroups: int, order: int | None = None) -> bytes:
        sampling = Sampling(logits, options, history, positions=np.arange(3))
        sampling.step(threads, threadgroups, order_seed=order)
        sampling.step(threads, threadgroups, order_seed=order)
        return sampling.outcome()

    expected = outcome(32, 1)
    for threadgroups in (2, 3, 4, 5, 6, 7, 19):
        assert outcome(32, threadgroups) == expected, f"{threadgroups} threadgroups"
    for threads in (64, 160, 1024):
        assert outcome(threads, 2) == expected, f"{threads} threads"
    for order in range(5):
        assert outcome(96, 3, order) == expected, f"order {order}"


def test_rows_do_not_mix() -> None:
    """A row's outcome is the same alone and among others."""
    kinds = [
        Options(seed=1),
        Options(temperature=0.0, num_top_tokens=3),
        Options(seed=2, top_k=7, biases={4: 1.0}),
        Options(seed=3, top_p=0.5, repetition_penalty=1.5, stop_tokens=(1, 2, 3)),
        Options(seed=4, min_p=0.2, allowed=np.arange(77) % 2 == 0),
    ]
    logits = np.stack([some_logits(row, 77) for row in range(len(kinds))])
    history = [some_history(row, 77) for row in range(len(kinds))]
    together = Sampling(logits, kinds, history)
    together.step(64, 2)
    for row, options in enumerate(kinds):
        alone = Sampling(logits[row], options, history[row])
        alone.step(64, 2)
        assert alone.results[0] == together.results[row]
        wanted = options.num_top_tokens
        np.testing.assert_array_equal(
            alone.top_tokens[0, :wanted], together.top_tokens[row, :wanted]
        )
