"""metal/sample_*.metal: how often each token is drawn: 20,000 draws for each parameter.

Chi-squared against the exact probabilities. The draws are fixed (seed and positions), so a test
that passes always passes.
"""

import math
import os
from functools import cache

import numpy as np
import pytest
from metal_kernels import GUARD_ELEMENTS
from metal_sampling import KERNELS, RESULTS, TEMPORARY, History, Options, Sampling, Twin
from reference import Array

# Other tests run the same code in the other modes, where a million threads are slow.
pytestmark = pytest.mark.skipif(
    os.environ.get("METAL_HOST_MODE", "plain") != "plain",
    reason="a million threads; test_metal_sample_token.py runs their code in every mode",
)

NUM_DRAWS = 20_000
VOCABULARY_SIZE = 70  # 2 groups of 32 and a ragged one

LOGITS = np.random.default_rng(4).standard_normal(VOCABULARY_SIZE).astype(np.float32) * 1.5
HISTORY = History(seen=range(0, 70, 3), generated={0: 1, 6: 4, 33: 2, 66: 1})

CASES = {
    "plain": Options(),
    "temperature_low": Options(temperature=0.6),
    "temperature_high": Options(temperature=3.0),
    "top_k": Options(top_k=9),
    "top_p": Options(top_p=0.8),
    "min_p": Options(min_p=0.15),
    "repetition_penalty": Options(repetition_penalty=1.9),
    "presence_penalty": Options(presence_penalty=1.2),
    "frequency_penalty": Options(frequency_penalty=0.7),
    "bias": Options(biases={1: 2.0, 40: -1.0, 69: 1.5, 8: -math.inf}),
    "mask": Options(allowed=np.arange(70) % 4 != 1),
    "all": Options(
        temperature=1.3,
        top_k=40,
        top_p=0.95,
        min_p=0.02,
        repetition_penalty=1.2,
        presence_penalty=0.4,
        frequency_penalty=0.3,
        biases={1: 2.0, 40: -1.0},
        allowed=np.arange(70) % 4 != 1,
    ),
}


def chi_squared_limit(degrees: int) -> float:
    """What 99.99 % of true distributions stay below (Wilson and Hilferty, 1931)."""
    spread = 2 / (9 * degrees)
    return float(degrees * (1 - spread + 3.72 * math.sqrt(spread)) ** 3)


def chi_squared(counted: Array, expected: Array) -> tuple[float, int]:
    """The statistic and its degrees of freedom; tokens expected less than 5 times are pooled."""
    is_rare = expected < 5
    if is_rare.any():
        counted = np.append(counted[~is_rare], counted[is_rare].sum())
        expected = np.append(expected[~is_rare], expected[is_rare].sum())
    return float(((counted - expected) ** 2 / expected).sum()), len(expected) - 1


@cache
def drawn_counts(name: str) -> Array:
    """[V] how often each token was drawn at 20,000 positions.

    Rows that differ in the position only are alike up to the draw, so one is prepared for all.
    """
    options = CASES[name]
    one = Sampling(LOGITS, options, HISTORY)
    one.step(kernels=[kernel for kernel in KERNELS if kernel != "sample_draw"][:3])
    many = Sampling(LOGITS, options, HISTORY, positions=np.arange(NUM_DRAWS))
    for index in TEMPORARY:
        rest = one.buffers[index][:-GUARD_ELEMENTS]
        many.buffers[index][:-GUARD_ELEMENTS] = np.tile(rest, NUM_DRAWS)
    many.step(kernels=["sample_draw"], poison=[RESULTS])
    return np.bincount(many.tokens, minlength=VOCABULARY_SIZE)


@pytest.mark.parametrize("name", CASES)
def test_tokens_are_drawn_as_often_as_they_are_probable(name: str) -> None:
    counts = drawn_counts(name)
    probabilities = Twin(LOGITS, CASES[name], HISTORY).probabilities()
    assert counts[probabilities == 0].sum() == 0
    drawn = probabilities > 0
    statistic, degrees = chi_squared(counts[drawn], probabilities[drawn] * NUM_DRAWS)
    assert statistic < chi_squared_limit(degrees), f"{statistic:.1f} at {degrees} degrees"
    assert degrees >= 4


@pytest.mark.parametrize(
    "wrong",
    [
        Options(temperature=1.05),
        Options(top_k=66),
        Options(min_p=0.003),
        Options(presence_penalty=0.5),
        Options(biases={20: 1.2}),
    ],
    ids=["temperature", "top_k", "min_p", "presence", "bias"],
)
def test_slightly_wrong_distribution_would_be_noticed(wrong: Options) -> None:
    """The test above, tested: what was drawn with every parameter off, against another one."""
    expected = Twin(LOGITS, wrong, HISTORY).probabilities() * NUM_DRAWS
    possible = expected > 0
    statistic, degrees = chi_squared(drawn_counts("plain")[possible], expected[possible])
    dropped = drawn_counts("plain")[~possible].sum()
    assert dropped > 0 or statistic > chi_squared_limit(degrees)


def test_seeds_at_one_position_are_as_good_as_positions() -> None:
    """As a server samples one prompt for many users."""
    sampling = Sampling(LOGITS, Options(), positions=np.full(NUM_DRAWS, 900))
    sampling.options["seed"] = np.arange(NUM_DRAWS)
    sampling.step(kernels=["sample_survey", "sample_draw"])
    counts = np.bincount(sampling.tokens, minlength=VOCABULARY_SIZE)
    statistic, degrees = chi_squared(counts, Twin(LOGITS, Options()).probabilities() * NUM_DRAWS)
    assert statistic < chi_squared_limit(degrees)
