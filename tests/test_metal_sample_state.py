"""metal/sample_*.metal: what a draw leaves behind: results, history, the end of a row, errors."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metal_sampling import (
    ALL_FORBIDDEN,
    COUNTS,
    GENERATED,
    GOES_ON,
    HAD_ENDED,
    INFINITE_PENALTY,
    LOGITS,
    NEXT_TOKENS,
    NO_HISTORY,
    NO_TOKEN,
    NOT_FINITE,
    SEEN,
    STATES,
    STOPPED,
    History,
    Options,
    Sampling,
    Twin,
)
from reference import Array

NOTHING_SET = Options()


def some_logits(seed: int, vocabulary_size: int, scale: float = 2.0) -> Array:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(vocabulary_size) * scale).astype(np.float32)


# --- History ---


def test_token_is_added_to_the_history() -> None:
    history = History(seen=[3, 40], generated={40: 2}, position=17)
    sampling = Sampling(some_logits(0, 100), Options(seed=3), history)
    sampling.step()
    token = int(sampling.tokens[0])
    assert set(np.flatnonzero(sampling.has_bit(SEEN)[0])) == {3, 40, token}
    assert set(np.flatnonzero(sampling.has_bit(GENERATED)[0])) == {40, token}
    counts = sampling.buffers[COUNTS][0]
    assert counts[token] == 1
    assert counts[40] == 2 + (token == 40)
    assert counts.sum() == 3
    assert sampling.next_tokens.tolist() == [token]
    assert sampling.states["position"].tolist() == [18]
    assert sampling.states["status"].tolist() == [GOES_ON]


@pytest.mark.parametrize(
    "options",
    [
        Options(seed=5, frequency_penalty=0.8),
        Options(seed=5, presence_penalty=2.0, top_k=10),
        Options(seed=5, repetition_penalty=1.6, top_p=0.9),
        Options(temperature=0.0, frequency_penalty=1.0, repetition_penalty=1.1),
    ],
)
def test_tokens_in_flight_are_penalised_as_if_they_had_been_read(options: Options) -> None:
    """40 tokens without the host between them, each with other logits."""
    history = History(seen=[1, 2], generated={}, position=2)
    sampling = Sampling(some_logits(0, 60), options, history)
    seen, generated = list(history.seen), dict(history.generated)
    for step in range(40):
        logits = some_logits(step % 3, 60)
        sampling.buffers[LOGITS][0] = logits
        sampling.step(64, 2)
        token = int(sampling.next_tokens[0])
        twin = Twin(logits, options, History(seen, generated))
        assert twin.allows(token, 2 + step)
        seen.append(token)
        generated[token] = generated.get(token, 0) + 1


def test_count_beyond_16_bits_is_counted() -> None:
    logits = np.zeros(40, np.float32)
    logits[7] = 50
    sampling = Sampling(
        logits, Options(temperature=0.0, frequency_penalty=1e-4), History([], {7: 100_000})
    )
    sampling.step()
    assert sampling.tokens[0] == 7
    assert sampling.buffers[COUNTS][0, 7] == 100_001
    sampling.options["frequency_penalty"] = 1e-3
    sampling.step()
    assert sampling.tokens[0] == 0


# --- The end ---


@pytest.mark.parametrize("num_stop_tokens", [1, 3, 31, 32, 33, 90])
def test_stop_token_is_sampled_and_ends_the_row(num_stop_tokens: int) -> None:
    logits = np.zeros(100, np.float32)
    logits[5] = 90
    others = [token for token in range(100) if token != 5]
    for place in (0, num_stop_tokens // 2, num_stop_tokens - 1):
        stop_tokens = others[: num_stop_tokens - 1]
        stop_tokens.insert(place, 5)
        sampling = Sampling(logits, Options(stop_tokens=stop_tokens))
        sampling.step()
        assert sampling.results[["token", "status"]][0].tolist() == (5, STOPPED)
        assert sampling.states["status"][0] == STOPPED
    sampling = Sampling(logits, Options(stop_tokens=others[:num_stop_tokens]))
    sampling.step()
    assert sampling.results[["token", "status"]][0].tolist() == (5, GOES_ON)


def test_other_rows_stop_tokens_and_unused_columns_do_not_stop_a_row() -> None:
    logits = np.zeros(40, np.float32)
    logits[0] = 90  # 0 fills the unused columns
    rows = [Options(stop_tokens=(1, 2)), Options(), Options(stop_tokens=(0,))]
    sampling = Sampling(logits, rows)
    sampling.step()
    assert sampling.results["status"].tolist() == [GOES_ON, GOES_ON, STOPPED]


@pytest.mark.parametrize("filters", [{}, {"top_k": 4}, {"top_p": 0.7}])
def test_nothing_changes_after_the_end(filters: dict[str, float]) -> None:
    """Launches that were encoded before the host knew."""
    options = Options(stop_tokens=range(50), num_top_tokens=2, **filters)  # type: ignore[arg-type]
    sampling = Sampling(some_logits(1, 50), [options, Options(seed=9)])
    sampling.step()
    assert sampling.results["status"].tolist() == [STOPPED, GOES_ON]
    lasting = (STATES, SEEN, GENERATED, COUNTS, NEXT_TOKENS)
    before = [sampling.buffers[index].copy() for index in lasting]
    for _ in range(3):
        sampling.step()
        assert sampling.results["status"].tolist() == [HAD_ENDED, GOES_ON]
        assert sampling.results["token"][0] == NO_TOKEN
        assert (sampling.top_tokens[0].view(np.uint8) == 0xFF).all()  # not written
        for index, old in zip(lasting, before, strict=True):
            assert sampling.buffers[index][0].tobytes() == old[0].tobytes()
    assert sampling.states["position"].tolist() == [1, 4]


# --- Errors ---


def ends_with(
    logits: Array,
    status: int,
    options: Options = NOTHING_SET,
    history: History = NO_HISTORY,
) -> None:
    """The row ends with this status, and what it had is as it was."""
    for filters in ({}, {"temperature": 0.0}, {"top_k": 3}, {"top_p": 0.5}, {"min_p": 0.1}):
        sampling = Sampling(logits, Options(**{**vars(options), **filters}), history)
        lasting = (SEEN, GENERATED, COUNTS, NEXT_TOKENS)
        before = [sampling.buffers[index].copy() for index in lasting]
        sampling.step(64, 2)
        assert sampling.results[["token", "status"]][0].tolist() == (NO_TOKEN, status)
        assert sampling.states["status"][0] == status
        assert sampling.states["position"][0] == history.position
        for index, old in zip(lasting, before, strict=True):
            assert sampling.buffers[index].tobytes() == old.tobytes()
        sampling.step()
        assert sampling.results["status"][0] == HAD_ENDED


@pytest.mark.parametrize("place", [0, 31, 32, 99])
@pytest.mark.parametrize("value", [math.nan, -math.nan, math.inf])
def test_logits_that_are_not_finite_are_an_error(value: float, place: int) -> None:
    logits = some_logits(0, 100)
    logits[place] = value
    ends_with(logits, NOT_FINITE)


def test_hidden_not_a_number_is_an_error_all_the_same() -> None:
    """A mask must not hide that the weights are damaged."""
    logits = some_logits(0, 100)
    logits[50] = math.nan
    ends_with(logits, NOT_FINITE, Options(allowed=np.arange(100) < 40, biases={50: -math.inf}))


def test_no_finite_logit_is_an_error() -> None:
    ends_with(np.full(40, -math.inf, np.float32), NOT_FINITE)


def test_single_minus_infinity_is_no_error() -> None:
    logits = some_logits(0, 40)
    logits[3] = -math.inf
    sampling = Sampling(logits, Options())
    sampling.step()
    assert sampling.results["status"][0] == GOES_ON


def test_everything_forbidden_is_an_error() -> None:
    logits = some_logits(0, 40)
    ends_with(logits, ALL_FORBIDDEN, Options(allowed=np.zeros(40, bool)))
    ends_with(logits, ALL_FORBIDDEN, Options(biases=dict.fromkeys(range(40), -math.inf)))
    ends_with(
        logits,
        ALL_FORBIDDEN,
        Options(allowed=np.arange(40) < 20, biases=dict.fromkeys(range(20), -math.inf)),
    )


def test_logit_that_becomes_infinite_is_an_error() -> None:
    logits = some_logits(0, 40)
    logits[7] = 3e38
    everything = History(range(40), dict.fromkeys(range(40), 3))
    ends_with(logits, INFINITE_PENALTY, Options(biases={7: 3e38}))
    ends_with(logits, INFINITE_PENALTY, Options(repetition_penalty=0.5), everything)
    ends_with(
        some_logits(0, 40, 20.0), INFINITE_PENALTY, Options(repetition_penalty=1e-38), everything
    )
    ends_with(logits, INFINITE_PENALTY, Options(presence_penalty=-3e38), everything)
    ends_with(logits, INFINITE_PENALTY, Options(frequency_penalty=-3e38), everything)
    ends_with(logits, INFINITE_PENALTY, Options(frequency_penalty=-1e38), everything)


def test_logits_that_become_minus_infinity_are_forbidden() -> None:
    logits = some_logits(0, 40)
    logits[7] = -3e38
    others = History(
        [token for token in range(40) if token != 5],
        {token: 3 for token in range(40) if token != 5},
    )
    for options in (
        Options(presence_penalty=3e38, frequency_penalty=3e38),
        Options(frequency_penalty=3e38),
        Options(presence_penalty=3e38, frequency_penalty=1e38, temperature=1e38),
    ):
        sampling = Sampling(logits, options, others, positions=np.arange(10))
        sampling.step()
        assert set(sampling.tokens.tolist()) == {5}
    only = Options(biases={7: -3e38}, temperature=3e38, allowed=np.arange(40) % 33 == 7)
    sampling = Sampling(logits, only)
    sampling.step()
    assert sampling.results["status"][0] == ALL_FORBIDDEN
    repeated = Options(repetition_penalty=2.0, allowed=np.arange(40) == 7)
    sampling = Sampling(logits, repeated, others)
    sampling.step()
    assert sampling.results["status"][0] == ALL_FORBIDDEN


def test_failed_row_leaves_the_others_alone() -> None:
    logits = np.stack([some_logits(0, 50)] * 3)
    logits[1, 20] = math.nan
    sampling = Sampling(logits, Options(seed=1))
    sampling.step()
    assert sampling.results["status"].tolist() == [GOES_ON, NOT_FINITE, GOES_ON]
    assert sampling.tokens[0] == sampling.tokens[2]


# --- Log-probabilities ---


@settings(max_examples=40, deadline=None)
@given(
    vocabulary_size=st.integers(1, 400),
    seed=st.integers(0, 99),
    scale=st.sampled_from([0.0, 0.1, 3.0, 30.0]),
    shift=st.sampled_from([0.0, -40.0, 100.0]),
    num_top_tokens=st.integers(0, 25),
    threads=st.sampled_from([32, 96]),
)
def test_log_probabilities_are_of_the_model(
    vocabulary_size: int, seed: int, scale: float, shift: float, num_top_tokens: int, threads: int
) -> None:
    """Of the sampled token and of the likeliest, whatever bent the distribution drawn from."""
    logits = some_logits(seed, vocabulary_size, scale) + np.float32(shift)
    options = Options(
        seed=seed,
        temperature=2.0,
        biases={0: 3.0},
        repetition_penalty=1.5,
        top_p=0.9,
        num_top_tokens=num_top_tokens,
    )
    sampling = Sampling(logits, options, History(range(0, vocabulary_size, 2)))
    sampling.step(threads, 2)
    expected = Twin(logits, options).model_log_probabilities()
    result = sampling.results[0]
    assert abs(result["log_probability"] - expected[result["token"]]) < 1e-5
    likeliest = np.argsort(-logits.astype(np.float64), kind="stable")[:num_top_tokens]
    top = sampling.top_tokens[0][:num_top_tokens]
    assert top["token"][: len(likeliest)].tolist() == likeliest.tolist()
    assert (top["token"][len(likeliest) :] == NO_TOKEN).all()
    np.testing.assert_allclose(
        top["log_probability"][: len(likeliest)], expected[likeliest], rtol=0, atol=1e-5
    )


def test_log_probabilities_of_the_whole_vocabulary() -> None:
    rng = np.random.default_rng(0)
    logits = (rng.standard_normal(201_088) * 3 + 5).astype(np.float32)
    logits[[100_000, 7, 200_000]] = 30  # equal
    sampling = Sampling(logits, Options(temperature=5.0, num_top_tokens=20))
    sampling.step(1024, 9)
    expected = Twin(logits, Options()).model_log_probabilities()
    result = sampling.results[0]
    assert abs(result["log_probability"] - expected[result["token"]]) < 1e-5
    top = sampling.top_tokens[0]
    assert top["token"][:3].tolist() == [7, 100_000, 200_000]
    assert top["token"].tolist() == np.argsort(-logits.astype(float), kind="stable")[:20].tolist()
    np.testing.assert_allclose(top["log_probability"], expected[top["token"]], rtol=0, atol=1e-5)


def test_log_probability_of_a_certain_token_is_zero() -> None:
    logits = np.full(100, -1e30, np.float32)
    logits[64] = 1e30
    sampling = Sampling(logits, Options(num_top_tokens=2))
    sampling.step()
    assert sampling.results[0]["log_probability"] == 0
    assert sampling.top_tokens[0]["log_probability"].tolist() == [0, np.float32(-2e30)]


def test_no_log_probability_is_above_zero() -> None:
    logits = np.zeros((200, 33), np.float32)
    logits[:, 5] = np.linspace(5, 40, 200)
    sampling = Sampling(logits, Options(temperature=0.0))
    sampling.step()
    assert sampling.results["log_probability"].max() <= 0
