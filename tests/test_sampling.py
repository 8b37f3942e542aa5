"""Sampling draws from exactly the distribution that its options describe."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import gptoss
import numpy as np
import pytest
from engine_cases import log_softmax, model, model_path, processed_context, random_tokens
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]

PROMPT = random_tokens(20)
VOCABULARY_SIZE = 464


# --- What the options mean, in numpy ---


@dataclass(frozen=True)
class Options:
    """Keyword arguments of `sample`."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)

    def adjusted(
        self, logits: NDArray[Any], tokens: Sequence[int], generated: Sequence[int]
    ) -> NDArray[np.float64]:
        """Logits after bias and penalties. `generated`: sampled since the last append."""
        result = logits.astype(np.float64)
        for token, bias in self.logit_bias.items():
            result[token] += bias
        for token in set(tokens):
            positive = result[token] > 0
            result[token] *= 1 / self.repetition_penalty if positive else self.repetition_penalty
        for token, count in Counter(generated).items():
            result[token] -= self.presence_penalty + self.frequency_penalty * count
        return result

    def probabilities(
        self, logits: NDArray[Any], tokens: Sequence[int] = (), generated: Sequence[int] = ()
    ) -> Probabilities:
        p = np.exp(log_softmax(self.adjusted(logits, tokens, generated) / self.temperature))
        ranked = np.argsort(-p, kind="stable")
        if self.top_k:
            p[ranked[self.top_k :]] = 0
            p /= p.sum()
        if self.top_p < 1:
            # The fewest tokens that reach top_p: all before which less than top_p is reached.
            reached_before = np.cumsum(p[ranked]) - p[ranked]
            p[ranked[reached_before >= self.top_p]] = 0
        p[p < self.min_p * p.max()] = 0
        result: Probabilities = p / p.sum()
        return result


def draw(context: gptoss.Context, num_draws: int, options: Options) -> NDArray[np.int64]:
    """How often each token came, one draw a seed, all from the same context."""
    counts = np.zeros(VOCABULARY_SIZE, np.int64)
    length = context.num_tokens
    for seed in range(num_draws):
        counts[context.sample(1, seed=seed, **vars(options))] += 1
        context.truncate(length)
    return counts


def deviation(counts: NDArray[np.int64], probabilities: Probabilities) -> float:
    """Pearson's chi-squared of the counts, in standard deviations of its distribution.

    By Wilson and Hilferty's cube root, which makes it nearly normal. Rare tokens share a bin.
    """
    expected = probabilities * counts.sum()
    rare = expected < 5
    observed = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    if expected[-1] < 5:  # too rare even together: they join the likeliest
        likeliest = expected[:-1].argmax()
        observed[likeliest] += observed[-1]
        expected[likeliest] += expected[-1]
        observed, expected = observed[:-1], expected[:-1]
    degrees = len(expected) - 1
    assert degrees > 0
    chi_squared = float(((observed - expected) ** 2 / expected).sum())
    variance = 2 / (9 * degrees)
    return float(((chi_squared / degrees) ** (1 / 3) - (1 - variance)) / math.sqrt(variance))


NUM_DRAWS = 3000
MAX_DEVIATION = 4.5  # a correct sampler stays below with a probability of 0.999997

CASES = {
    "plain": Options(),
    "cold": Options(temperature=0.5),
    "hot": Options(temperature=2.5),
    "top_k": Options(top_k=5),
    "top_p": Options(top_p=0.7),
    "top_p of few": Options(top_p=0.3),
    "min_p": Options(min_p=0.2),
    "top_k before top_p": Options(top_k=6, top_p=0.6),
    "top_p before min_p": Options(top_p=0.5, min_p=0.5),
    "temperature before the filters": Options(temperature=2.0, top_k=40, top_p=0.8, min_p=0.1),
    "logit bias": Options(logit_bias={3: 4.0, 40: 5.0, 100: -2.0}),
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_draws_follow_the_distribution(options: Options) -> None:
    context = processed_context(model(), PROMPT)
    probabilities = options.probabilities(context.logits(), PROMPT)
    counts = draw(context, NUM_DRAWS, options)
    assert counts[probabilities == 0].sum() == 0
    assert deviation(counts, probabilities) < MAX_DEVIATION


@pytest.mark.parametrize("name", set(CASES) - {"plain"})
def test_draws_without_an_option_do_not_follow_it(name: str) -> None:
    """The test above can fail: the same draws do not pass for another distribution."""
    context = processed_context(model(), PROMPT)
    counts = draw(context, NUM_DRAWS, Options())
    probabilities = CASES[name].probabilities(context.logits(), PROMPT)
    allowed = probabilities > 0
    missed = counts[~allowed].sum() > 0
    counts[~allowed] = 0
    assert missed or deviation(counts, probabilities) > MAX_DEVIATION


PENALTIES = {
    "repetition": Options(repetition_penalty=1.8),
    "repetition reward": Options(repetition_penalty=0.6),
    "presence": Options(presence_penalty=1.5),
    "frequency": Options(frequency_penalty=0.7),
    "negative presence": Options(presence_penalty=-2),
    "all": Options(repetition_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.5),
}


@pytest.mark.parametrize("options", PENALTIES.values(), ids=PENALTIES)
def test_draws_follow_penalties(options: Options) -> None:
    """Tokens that came once, three times and never are equally likely but for the penalties."""
    context = processed_context(model(), PROMPT)
    once, thrice, never = 5, 6, 7
    assert not {once, thrice, never} & set(PROMPT)
    generated = [once, thrice, thrice, thrice]
    for token in generated:
        assert context.sample(1, logit_bias={token: 1e6}) == [token]
    logits = context.logits()
    level = {token: float(logits.max() - logits[token]) for token in (once, thrice, never)}
    options = replace(options, logit_bias=level)

    counts = np.zeros(VOCABULARY_SIZE, np.int64)
    for seed in range(1000):
        # Of copies, because truncating forgets what was sampled.
        counts[copy.copy(context).sample(1, seed=seed, **vars(options))] += 1

    probabilities = options.probabilities(logits, context.tokens, generated)
    assert deviation(counts, probabilities) < MAX_DEVIATION
    without = Options(logit_bias=level).probabilities(logits)
    assert deviation(counts, without) > MAX_DEVIATION


@pytest.mark.parametrize("options", PENALTIES.values(), ids=PENALTIES)
def test_greedy_answer_with_penalties(options: Options) -> None:
    """Sixty tokens in a row, where one penalty forgotten or counted twice changes the rest."""
    context = processed_context(model(), PROMPT)
    answer = context.sample(60, **(vars(options) | {"temperature": 0}))
    by_hand = processed_context(model(), PROMPT)
    generated: list[int] = []
    for _ in range(60):
        adjusted = options.adjusted(by_hand.logits(), by_hand.tokens, generated)
        generated.append(int(adjusted.argmax()))
        by_hand.append(generated[-1])
    assert answer == generated


def test_append_ends_what_presence_and_frequency_penalties_count() -> None:
    context = processed_context(model(), PROMPT)
    favourite = context.sample(1)[0]
    options: dict[str, Any] = {
        "temperature": 0,
        "logit_bias": {favourite: 1000.0},
        "presence_penalty": 2000.0,
        "frequency_penalty": 2000.0,
    }
    assert copy.copy(context).sample(1, **options) != [favourite]
    context.append(1)
    assert context.sample(1, **options) == [favourite]


def test_penalties_count_across_calls() -> None:
    options: dict[str, Any] = {"temperature": 0, "presence_penalty": 3.0, "frequency_penalty": 1.0}
    whole = processed_context(model(), PROMPT).sample(20, **options)
    context = processed_context(model(), PROMPT)
    assert [token for _ in range(20) for token in context.sample(1, **options)] == whole


# --- Temperature 0, ties and forbidden tokens ---


def test_temperature_zero_takes_the_likeliest_token() -> None:
    context = processed_context(model(), PROMPT)
    for seed in range(5):
        likeliest = int(context.logits().argmax())
        assert context.sample(1, temperature=0, seed=seed) == [likeliest]


def test_temperature_zero_takes_the_lowest_of_tied_tokens() -> None:
    context = processed_context(model(), PROMPT)
    # In fp32, a bias of 1e9 swallows the logits it is added to.
    ties = dict.fromkeys((300, 100, 200), 1000000000.0)
    assert context.sample(1, temperature=0, logit_bias=ties) == [100]


@pytest.mark.parametrize("only_the_likeliest", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}])
def test_strictest_filters_leave_the_likeliest_token(only_the_likeliest: dict[str, Any]) -> None:
    context = processed_context(model(), PROMPT)
    likeliest = int(context.logits().argmax())
    for seed in range(50):
        assert context.sample(1, temperature=2.0, seed=seed, **only_the_likeliest) == [likeliest]
        context.truncate(len(PROMPT))


def test_top_k_beyond_the_vocabulary_is_off() -> None:
    context = processed_context(model(), PROMPT)
    twin = copy.copy(context)
    assert context.sample(20, seed=5, top_k=VOCABULARY_SIZE) == twin.sample(20, seed=5)


def test_bias_of_minus_infinity_forbids_a_token() -> None:
    context = processed_context(model(), PROMPT)
    ranked = np.argsort(-context.logits())
    forbidden = {int(token): -math.inf for token in ranked[:-2]}
    drawn = {context.sample(1, seed=seed, logit_bias=forbidden)[0] for seed in range(20)}
    assert drawn <= {int(token) for token in ranked[-2:]}


def test_forbidding_every_token_is_refused() -> None:
    context = processed_context(model(), PROMPT)
    with pytest.raises(ValueError, match="every token"):
        context.sample(1, logit_bias=dict.fromkeys(range(VOCABULARY_SIZE), -math.inf))
    assert context.num_tokens == len(PROMPT)


# --- Seeds ---


def test_same_seed_gives_the_same_tokens() -> None:
    first, second = (processed_context(model(), PROMPT).sample(40, seed=17) for _ in range(2))
    assert first == second


def test_other_seeds_give_other_tokens() -> None:
    answers = {tuple(processed_context(model(), PROMPT).sample(10, seed=s)) for s in range(30)}
    assert len(answers) == 30


def test_seeds_of_64_bits_are_all_different() -> None:
    seeds = [0, 1, 2**31, 2**32, 2**63, 2**64 - 1]
    answers = {tuple(processed_context(model(), PROMPT).sample(10, seed=s)) for s in seeds}
    assert len(answers) == len(seeds)


def test_same_seed_gives_the_same_tokens_however_the_calls_are_cut() -> None:
    whole = processed_context(model(), PROMPT).sample(30, seed=3)
    context = processed_context(model(), PROMPT)
    parts = [*context.sample(1, seed=3), *context.sample(12, seed=3), *context.sample(17, seed=3)]
    assert parts == whole


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_same_seed_gives_the_same_tokens_whatever_the_number_of_threads(threads: int) -> None:
    expected = processed_context(model(), PROMPT).sample(40, seed=3)
    other = gptoss.Model(model_path(), threads=threads)
    assert processed_context(other, PROMPT).sample(40, seed=3) == expected


def test_same_seed_gives_the_same_tokens_whatever_was_cached() -> None:
    expected = processed_context(model(), PROMPT).sample(40, seed=3)
    context = processed_context(model(), PROMPT)
    context.sample(70, seed=4)
    context.reset()
    context.append(PROMPT)
    assert context.sample(40, seed=3) == expected


def test_draws_along_one_answer_are_independent() -> None:
    """Along an answer, the likeliest token is drawn as often as its probabilities add up to."""
    context = processed_context(model(), PROMPT)
    surprise, variance = 0.0, 0.0
    for _ in range(1500):
        probabilities = Options().probabilities(context.logits())
        likeliest = int(probabilities.argmax())
        drawn = context.sample(1, seed=8) == [likeliest]
        surprise += drawn - probabilities[likeliest]
        variance += probabilities[likeliest] * (1 - probabilities[likeliest])
    assert variance > 50
    assert abs(surprise) < MAX_DEVIATION * math.sqrt(variance)
