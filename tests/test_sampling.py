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


# --- Where an answer ends ---


def test_sample_returns_as_many_tokens_as_asked_for() -> None:
    context = processed_context(model(), PROMPT)
    answer = context.sample(12)
    assert len(answer) == 12
    assert context.tokens == PROMPT + answer
    assert context.finish_reason == "length"


def test_sample_is_one_token_by_default() -> None:
    assert len(processed_context(model(), PROMPT).sample()) == 1


def test_sampling_nothing_is_allowed() -> None:
    context = processed_context(model(), PROMPT)
    assert context.sample(0) == []
    assert (context.finish_reason, context.log_probabilities) == ("length", [])
    assert context.num_tokens == len(PROMPT)


def test_sample_processes_what_is_pending() -> None:
    context = gptoss.Context(model())
    context.append(PROMPT)
    assert context.sample(5, seed=2) == processed_context(model(), PROMPT).sample(5, seed=2)


def test_stop_token_is_the_last_one_returned() -> None:
    answer = processed_context(model(), PROMPT).sample(30, seed=1)
    stop = answer[12]
    first = answer.index(stop)
    context = processed_context(model(), PROMPT)
    assert context.sample(30, seed=1, stop_tokens=[stop]) == answer[: first + 1]
    assert context.finish_reason == "stop"
    assert context.num_cached_tokens == context.num_tokens - 1


def test_any_of_several_stop_tokens_stops() -> None:
    answer = processed_context(model(), PROMPT).sample(30, seed=1)
    absent = next(token for token in range(VOCABULARY_SIZE) if token not in answer)
    context = processed_context(model(), PROMPT)
    stopped = context.sample(30, seed=1, stop_tokens=(absent, answer[5], answer[3]))
    assert stopped == answer[: min(answer.index(answer[5]), answer.index(answer[3])) + 1]


def test_stop_token_that_arrives_last_is_a_stop() -> None:
    answer = processed_context(model(), PROMPT).sample(5, seed=1)
    length = answer.index(answer[4]) + 1
    context = processed_context(model(), PROMPT)
    context.sample(length, seed=1, stop_tokens=[answer[4]])
    assert context.finish_reason == "stop"


def test_sampling_ends_where_the_context_is_full() -> None:
    context = processed_context(model(), PROMPT, context_length=len(PROMPT) + 7)
    unlimited = processed_context(model(), PROMPT)
    assert context.sample(100, seed=1) == unlimited.sample(7, seed=1)
    assert context.finish_reason == "context_length"
    assert context.num_tokens == context.max_tokens


def test_sampling_exactly_what_fits_ends_by_length() -> None:
    context = processed_context(model(), PROMPT, context_length=len(PROMPT) + 7)
    assert len(context.sample(7)) == 7
    assert context.finish_reason == "length"


def test_sampling_into_a_full_context_is_an_overflow() -> None:
    context = processed_context(model(), PROMPT, context_length=len(PROMPT))
    with pytest.raises(gptoss.ContextOverflowError, match=str(len(PROMPT))):
        context.sample()
    with pytest.raises(gptoss.ContextOverflowError, match=str(len(PROMPT))):
        next(context.stream(5))
    context.truncate(len(PROMPT) - 1)
    assert len(context.sample()) == 1


def test_huge_max_output_tokens_costs_nothing() -> None:
    context = processed_context(model(), PROMPT, context_length=len(PROMPT) + 7)
    assert len(context.sample(2**62)) == 7


# --- Log-probabilities ---


def test_log_probabilities_are_of_the_distribution_of_the_model() -> None:
    """Whatever options bent the distribution that the tokens were drawn from."""
    options: dict[str, Any] = {
        "temperature": 2.0,
        "top_k": 50,
        "repetition_penalty": 1.5,
        "logit_bias": {3: 10.0},
        "seed": 6,
    }
    context = processed_context(model(), PROMPT)
    answer = context.sample(20, **options)
    again = processed_context(model(), PROMPT)
    expected = []
    for token in answer:
        expected.append(log_softmax(again.logits())[token])
        again.append(token)
    np.testing.assert_allclose(context.log_probabilities, expected, rtol=0, atol=1e-5)
    assert all(isinstance(value, float) for value in context.log_probabilities)


def test_log_probabilities_are_of_the_last_call() -> None:
    context = processed_context(model(), PROMPT)
    assert context.log_probabilities == []
    context.sample(5)
    assert len(context.log_probabilities) == 5
    context.sample(2)
    assert len(context.log_probabilities) == 2


def test_log_probability_of_a_certain_token_is_zero_and_never_above() -> None:
    context = processed_context(model(), PROMPT)
    context.sample(200, temperature=3.0)
    assert max(context.log_probabilities) <= 0


# --- Streaming ---


def test_stream_yields_what_sample_returns() -> None:
    sampled = processed_context(model(), PROMPT)
    answer = sampled.sample(20, seed=4, temperature=0.9, presence_penalty=1.0)
    streamed = processed_context(model(), PROMPT)
    tokens = list(streamed.stream(20, seed=4, temperature=0.9, presence_penalty=1.0))
    assert tokens == answer
    assert streamed.tokens == sampled.tokens
    assert streamed.finish_reason == sampled.finish_reason == "length"
    assert streamed.log_probabilities == sampled.log_probabilities


def test_stream_yields_each_token_before_it_samples_the_next() -> None:
    context = processed_context(model(), PROMPT)
    for count, token in enumerate(context.stream(5), start=1):
        assert context.num_tokens == len(PROMPT) + count
        assert context.tokens[-1] == token
        assert len(context.log_probabilities) == count


def test_stream_that_is_left_early_keeps_what_it_yielded() -> None:
    context = processed_context(model(), PROMPT)
    stream = context.stream(20, seed=4)
    first = [next(stream), next(stream)]
    del stream
    assert context.tokens == PROMPT + first
    rest = context.sample(18, seed=4)
    assert first + rest == processed_context(model(), PROMPT).sample(20, seed=4)


def test_stream_stops_at_a_stop_token_and_at_the_limit() -> None:
    answer = processed_context(model(), PROMPT).sample(8, seed=1)
    context = processed_context(model(), PROMPT)
    assert (
        list(context.stream(30, seed=1, stop_tokens=[answer[7]]))
        == (answer[: answer.index(answer[7]) + 1])
    )
    assert context.finish_reason == "stop"
    short = processed_context(model(), PROMPT, context_length=len(PROMPT) + 3)
    assert list(short.stream(30, seed=1)) == answer[:3]
    assert short.finish_reason == "context_length"


def test_stream_without_a_number_goes_on_until_the_context_is_full() -> None:
    context = processed_context(model(), PROMPT, context_length=len(PROMPT) + 7)
    assert len(list(context.stream(seed=1))) == 7
    assert context.finish_reason == "context_length"


def test_stream_checks_its_arguments() -> None:
    with pytest.raises(ValueError, match="temperature"):
        next(processed_context(model(), PROMPT).stream(5, temperature=-1))


# --- Arguments ---


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_p", math.nan),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("top_k", -1),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", -1.0),
        ("presence_penalty", math.nan),
        ("frequency_penalty", math.inf),
        ("seed", -1),
        ("seed", 2**64),
        ("max_output_tokens", -1),
        ("stop_tokens", [464]),
        ("stop_tokens", [-1]),
        ("logit_bias", {464: 1.0}),
        ("logit_bias", {-1: 1.0}),
        ("logit_bias", {1: math.nan}),
        ("logit_bias", {1: math.inf}),
    ],
)
def test_argument_out_of_range_is_named_and_nothing_is_sampled(name: str, value: Any) -> None:
    context = processed_context(model(), PROMPT)
    with pytest.raises(ValueError, match=name.replace("_", "[_ ]") + "|outside the .*vocabulary"):
        context.sample(**{name: value})
    assert context.tokens == PROMPT


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "warm"),
        ("top_k", 1.5),
        ("seed", 1.5),
        ("seed", None),
        ("max_output_tokens", 2.5),
        ("stop_tokens", 5),
        ("stop_tokens", ["a"]),
    ],
)
def test_argument_of_a_wrong_type_is_a_type_error(name: str, value: Any) -> None:
    context = processed_context(model(), PROMPT)
    with pytest.raises(TypeError):
        context.sample(**{name: value})
    assert context.tokens == PROMPT
