"""Sampling on the host device, and its twin: the CPU backend's sampler in float64.

`Sampling` has the buffers of some rows (a row: a context with its logits, options and history) and
launches the five kernels as a backend would. `Twin` computes step by step what
source/sampler.cpp does, for one row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from metal_host import read_structs
from metal_host.mutation import Launch
from metal_kernels import GUARD_ELEMENTS, METAL, arguments, library
from numpy.typing import NDArray
from reference import Array

NO_TOKEN = 0xFFFFFFFF
GOES_ON, STOPPED, HAD_ENDED, NOT_FINITE, ALL_FORBIDDEN, INFINITE_PENALTY = range(6)

GROUP_SIZE = 32
USES_ALLOWED_MASK, USES_BIAS = 1, 2

# Buffers by index: the same in all kernels.
ARGUMENTS, OPTIONS, STATES, LOGITS, ALLOWED, BIASED, BIASES, SEEN, GENERATED, COUNTS = range(10)
GROUPS, MODEL_GROUPS, CUTS, NUM_CANDIDATES, CANDIDATES = range(10, 15)
STOP_TOKENS, NEXT_TOKENS, RESULTS, TOP_TOKENS = range(15, 19)

KERNELS: Mapping[str, tuple[int, ...]] = {
    "sample_survey": (*range(10), GROUPS, MODEL_GROUPS),
    "sample_cut": (ARGUMENTS, OPTIONS, STATES, GROUPS, CUTS, NUM_CANDIDATES),
    "sample_gather": (*range(10), GROUPS, CUTS, NUM_CANDIDATES, CANDIDATES),
    "sample_draw": (*range(12), *range(NUM_CANDIDATES, TOP_TOKENS)),
    "sample_top_tokens": (ARGUMENTS, OPTIONS, LOGITS, MODEL_GROUPS, RESULTS, TOP_TOKENS),
}
# Members of the struct SamplingOptions that have the same name in Options.
COPIED_OPTIONS = (
    "seed",
    "temperature",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "top_k",
    "num_top_tokens",
)
OVER_THE_VOCABULARY = ("sample_survey", "sample_gather")  # in any number of threadgroups
TEMPORARY = (GROUPS, MODEL_GROUPS, CUTS, NUM_CANDIDATES, CANDIDATES)


@dataclass(frozen=True)
class Options:
    """Of one row. What is not given is off."""

    seed: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    top_k: int = 0
    biases: Mapping[int, float] = field(default_factory=dict)
    allowed: Array | None = None  # [V] bool
    stop_tokens: Sequence[int] = ()
    num_top_tokens: int = 0


@dataclass(frozen=True)
class History:
    seen: Iterable[int] = ()  # tokens of the context
    generated: Mapping[int, int] = field(default_factory=dict)  # token -> times
    position: int = 0


NO_HISTORY = History()


def _dtype(struct: str) -> np.dtype[Any]:
    return np.dtype(read_structs(METAL / "arguments.h")[struct])


class Sampling:
    """Rows of contexts, ready to sample one token each, again and again."""

    def __init__(
        self,
        logits: Array,  # [rows, V], or [V] for all of them
        options: Sequence[Options] | Options,
        history: Sequence[History] | History = NO_HISTORY,
        positions: Array | None = None,  # [rows]
    ) -> None:
        all_options = [options] if isinstance(options, Options) else list(options)
        all_history = [history] if isinstance(history, History) else list(history)
        given = np.atleast_2d(np.asarray(logits, np.float32))
        self.rows = max(len(given), len(all_options), len(all_history),
                        0 if positions is None else len(positions))  # fmt: skip
        self.vocabulary_size = v = given.shape[1]
        num_groups = -(-v // GROUP_SIZE)
        max_stop = max([1, *(len(o.stop_tokens) for o in all_options)])
        max_top = max([1, *(o.num_top_tokens for o in all_options)])
        self._arguments = arguments(
            "SamplingArguments", vocabulary_size=v, max_stop_tokens=max_stop, max_top_tokens=max_top
        )

        def rows_of(kind: np.dtype[Any] | type, *columns: int) -> Array:
            return np.zeros((self.rows, *columns), kind)

        self.options = rows_of(_dtype("SamplingOptions"))
        self.states = rows_of(_dtype("SamplingState"))
        self.logits = np.array(np.broadcast_to(given, (self.rows, v)), order="C")
        self.allowed = rows_of(bool, v)
        self.biased = rows_of(bool, v)
        self.biases = rows_of(np.float32, v)
        self.seen = rows_of(bool, v)
        self.counts = rows_of(np.uint32, v)
        self.stop_tokens = rows_of(np.uint32, max_stop)
        one_for_all = len(all_options) == 1
        for row, one in enumerate(all_options):
            rows = slice(None) if one_for_all else row
            for name in COPIED_OPTIONS:
                self.options[name][rows] = getattr(one, name)
            self.options["num_stop_tokens"][rows] = len(one.stop_tokens)
            self.options["features"][rows] = USES_ALLOWED_MASK * (
                one.allowed is not None
            ) + USES_BIAS * bool(one.biases)
            self.allowed[rows] = False if one.allowed is None else one.allowed
            self.biased[rows, list(one.biases)] = True
            self.biases[rows, list(one.biases)] = list(one.biases.values())
            self.stop_tokens[rows, : len(one.stop_tokens)] = one.stop_tokens
        # Never read where the bit is not set.
        self.biases[~self.biased] = np.nan
        one_for_all = len(all_history) == 1
        for row, past in enumerate(all_history):
            rows = slice(None) if one_for_all else row
            self.seen[rows, list(past.seen)] = True
            self.counts[rows, list(past.generated)] = list(past.generated.values())
            self.states["position"][rows] = past.position
        if positions is not None:
            self.states["position"] = positions
        self.buffers: dict[int, Any] = {
            ARGUMENTS: self._arguments,
            OPTIONS: self.options,
            STATES: self.states,
            LOGITS: self.logits,
            ALLOWED: _bits(self.allowed),
            BIASED: _bits(self.biased),
            BIASES: self.biases,
            SEEN: _bits(self.seen),
            GENERATED: _bits(self.counts != 0),
            COUNTS: self.counts,
            GROUPS: _poisoned(self.rows * num_groups * 2, np.uint32),
            MODEL_GROUPS: _poisoned(self.rows * num_groups * 2, np.uint32),
            CUTS: _poisoned(self.rows, np.uint32),
            NUM_CANDIDATES: _poisoned(self.rows, np.uint32),
            CANDIDATES: _poisoned(self.rows * v * 2, np.uint32),
            STOP_TOKENS: self.stop_tokens,
            NEXT_TOKENS: _poisoned(self.rows, np.uint32),
            RESULTS: _poisoned(self.rows, _dtype("SamplingResult")),
            TOP_TOKENS: _poisoned(self.rows * max_top, _dtype("TopToken")),
        }
        self._max_top = max_top

    def step(
        self,
        threads: int = 32,
        threadgroups: int = 1,
        *,
        order_seed: int | None = None,
        kernels: Iterable[str] = tuple(KERNELS),
        poison: Iterable[int] = (*TEMPORARY, RESULTS, TOP_TOKENS),
        mode: str | None = None,
    ) -> dict[str, Any]:
        """One token for each row. Returns what each launch returned (its traffic, in trace mode).

        `threads` of each threadgroup; `threadgroups` for each row where there is a choice. The
        buffers to `poison` are filled with 0xFF first: nothing of an earlier token may count.
        """
        for index in poison:
            self.buffers[index].view(np.uint8)[:] = 0xFF
        results = {}
        for kernel in kernels:
            results[kernel] = library(f"{kernel}.metal", mode).run(
                kernel,
                order_seed=order_seed,
                **self._launch(kernel, threads, threadgroups),
            )
        for index in (*TEMPORARY, NEXT_TOKENS, RESULTS, TOP_TOKENS):
            guard = self.buffers[index][-GUARD_ELEMENTS:].view(np.uint8)
            assert (guard == 0xFF).all(), f"buffer {index} was written beyond its end"
        return results

    def launch(self, kernel: str, threads: int = 32, threadgroups: int = 1) -> Launch:
        """The launch of one kernel with the buffers as they are now, to be repeated."""
        return Launch(kernel, self._launch(kernel, threads, threadgroups))

    def _launch(self, kernel: str, threads: int, threadgroups: int) -> dict[str, Any]:
        across = threadgroups if kernel in OVER_THE_VOCABULARY else 1
        return {
            "threadgroups": (across, self.rows, 1),
            "threads_per_threadgroup": (threads, 1, 1),
            "buffers": {i: self.buffers[i] for i in KERNELS[kernel]},
        }

    @property
    def results(self) -> Array:
        """[rows] of token, status, log_probability, log_sum."""
        return np.asarray(self.buffers[RESULTS][: self.rows])

    @property
    def tokens(self) -> NDArray[np.uint32]:
        return np.asarray(self.results["token"])

    @property
    def next_tokens(self) -> Array:
        return np.asarray(self.buffers[NEXT_TOKENS][: self.rows])

    @property
    def top_tokens(self) -> Array:
        """[rows, the most of any row] of token, log_probability."""
        size = self.rows * self._max_top
        return np.asarray(self.buffers[TOP_TOKENS][:size].reshape(self.rows, self._max_top))

    def has_bit(self, index: int) -> NDArray[np.bool_]:
        """[rows, V] of the masks SEEN or GENERATED."""
        bits = np.unpackbits(self.buffers[index].view(np.uint8), axis=1, bitorder="little")
        return bits[:, : self.vocabulary_size].astype(bool)

    def outcome(self) -> bytes:
        """Everything that lasts beyond a token, and all that the host reads."""
        lasting = (STATES, SEEN, GENERATED, COUNTS, NEXT_TOKENS, RESULTS, TOP_TOKENS)
        return b"".join(self.buffers[i].tobytes() for i in lasting)


def _bits(flags: Array) -> Array:
    """[rows, V] -> [rows, ceil(V / 32)] words, bit i of word g: column 32 g + i."""
    rows, columns = flags.shape
    padded = np.zeros((rows, -(-columns // GROUP_SIZE) * GROUP_SIZE), bool)
    padded[:, :columns] = flags
    packed = np.packbits(padded, axis=1, bitorder="little")
    return np.ascontiguousarray(packed).view(np.uint32)


def _poisoned(size: int, dtype: Any) -> Array:
    buffer = np.zeros(size + GUARD_ELEMENTS, dtype)
    buffer.view(np.uint8)[:] = 0xFF
    return buffer


# --- The twin ---


def uniform_random(key: int, counter: int) -> float:
    """source/sampler.cpp's number in [0, 1) with 53 random bits."""

    def mix(value: int) -> int:
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
        return value ^ (value >> 31)

    golden_gamma = 0x9E3779B97F4A7C15
    mixed = mix((key + golden_gamma) % 2**64)
    return (mix((mixed + (counter + 1) * golden_gamma) % 2**64) >> 11) * 2.0**-53


class Twin:
    """What the CPU backend's sampler computes of one row, in its order and precision."""

    def __init__(self, logits: Array, options: Options, history: History = NO_HISTORY) -> None:
        self.options = options
        self.model_logits = np.asarray(logits, np.float32)
        self.logits = adjusted_logits(self.model_logits, options, history)

    def model_log_probabilities(self) -> Array:
        """[V] log_softmax of the logits as the model gave them."""
        wide = self.model_logits.astype(np.float64)
        highest = wide.max()
        result: Array = wide - highest - np.log(np.exp(wide - highest).sum())
        return result

    def weights(self, slack: float = 0.0) -> Array:
        """[V] exp((logit - highest) / temperature) of what the filters keep, 0 of the others.

        `slack` > 0 lets them keep what roundings of that relative size might, < 0 drops it.
        """
        options = self.options
        highest = np.float64(self.logits.max())
        with np.errstate(over="ignore", under="ignore"):
            weights = np.exp((self.logits.astype(np.float64) - highest) / f32(options.temperature))
        # By likelihood, the lowest id first where it is the same.
        order = np.argsort(-self.logits.astype(np.float64), kind="stable")
        order = order[weights[order] > 0]
        if options.top_k:
            order = order[: options.top_k]
        if options.top_p < 1:
            reached = np.cumsum(weights[order])
            wanted = (f32(options.top_p) * (1 + slack)) * reached[-1]
            order = order[: int(np.searchsorted(reached, wanted, side="left")) + 1]
        if options.min_p > 0:
            is_kept = weights[order] >= f32(options.min_p) * (1 - slack)
            order = order[is_kept | (self.logits[order] == highest)]
        kept: Array = np.zeros_like(weights)
        kept[order] = weights[order]
        return kept

    def probabilities(self) -> Array:
        weights = self.weights()
        result: Array = weights / weights.sum()
        return result

    def token(self, position: int) -> int:
        if f32(self.options.temperature) == 0:
            return int(np.argmax(self.logits))
        return draw(self.weights(), uniform_random(self.options.seed, position))

    def allows(self, token: int, position: int, tolerance: float = 2e-6) -> bool:
        """Whether it is the CPU's token, or would be if roundings of `tolerance` went its way."""
        if token == self.token(position):
            return True
        if f32(self.options.temperature) == 0 or token >= self.logits.size:
            return False
        number = uniform_random(self.options.seed, position)
        for slack in (0.0, tolerance, -tolerance):
            weights = self.weights(slack)
            ends = np.cumsum(weights) / weights.sum()
            begin = ends[token] - weights[token] / weights.sum()
            if weights[token] > 0 and begin - tolerance <= number <= ends[token] + tolerance:
                return True
        return False


def f32(value: float) -> float:
    """As the options' struct holds it."""
    return float(np.float32(value))


def draw(weights: Array, number: float) -> int:
    """The first token at which the running sum exceeds that share of the total."""
    reached = np.cumsum(weights)
    return int(np.searchsorted(reached, number * reached[-1], side="right"))


def adjusted_logits(logits: Array, options: Options, history: History) -> Array:
    """[V] float32: bias, then penalties; a token that is not allowed has -infinity."""
    result: Array = logits.astype(np.float32)
    with np.errstate(over="ignore"):
        for token, bias in options.biases.items():
            result[token] += np.float32(bias)
        repetition = np.float32(options.repetition_penalty)
        for token in set(history.seen):
            result[token] = (
                result[token] / repetition if result[token] > 0 else result[token] * repetition
            )
        for token, count in history.generated.items():
            result[token] -= np.float32(options.presence_penalty) + np.float32(
                options.frequency_penalty
            ) * np.float32(count)
    if options.allowed is not None:
        result[~options.allowed] = -np.inf
    return result
