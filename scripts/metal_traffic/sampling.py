"""Sampling, from the logits of the whole vocabulary to a token."""

from __future__ import annotations

import numpy as np
from metal_sampling import (
    CANDIDATES,
    KERNELS,
    LOGITS,
    NUM_CANDIDATES,
    History,
    Options,
    Sampling,
    Twin,
)
from reference import Array

from metal_traffic.frame import Table, count, megabytes
from metal_traffic.reference import Reference

VOCABULARY_SIZE = 201_088
THREADGROUPS = 98  # of 256 threads: 8 groups of 32 tokens for each simdgroup
THREADS_OVER_THE_VOCABULARY, THREADS_OF_ONE_THREADGROUP = 256, 1024

FILTERS = ("sample_cut", "sample_gather")


def measure(reference: Reference | None) -> list[Table]:
    """The reference samples by temperature alone."""
    rows = []
    logits, history, all_parameters = _logits(), _history(), _all_parameters()
    for name, options, past in (
        ("temperature 1, nothing else", Options(), History()),
        ("temperature 0", Options(temperature=0.0), History()),
        ("top_k 50", Options(top_k=50), History()),
        ("top_p 0.95", Options(top_p=0.95), History()),
        ("min_p 0.05", Options(min_p=0.05), History()),
        ("every parameter, 20 log-probabilities", all_parameters, history),
    ):
        rows.append([name, *_measure(logits, options, past)])
    if reference is not None:
        rows.append(["the reference, temperature 1", *_measure_theirs(reference, logits)])
    return [
        Table(
            f"Sampling of one token, V = {VOCABULARY_SIZE:,}",
            ["options", "launches", "logits read / 4 V", "requested in all", "kept", "gathered"],
            rows,
            "Logits are 0.80 MB. `kept`: tokens that the filters leave; `gathered`: those that the "
            "last launch chooses among. Logits here are normally distributed (2.2), with 60 tokens "
            "that stand out: a heavy tail, of which top_p gathers more than of a model's. The "
            "reference writes every token's probability; it has no filters, penalties, mask or "
            "log-probabilities, and takes the maximum from its unembedding, as a tie-breaking "
            "atomic that is not counted here.",
        )
    ]


def _measure(logits: Array, options: Options, history: History) -> list[str]:
    has_filter = options.top_k > 0 or options.top_p < 1 or options.min_p > 0
    kernels = [
        kernel
        for kernel in KERNELS
        if (kernel not in FILTERS or has_filter)
        and (kernel != "sample_top_tokens" or options.num_top_tokens)
    ]
    sampling = Sampling(logits, options, history)
    logits_read = requested = 0
    for position, kernel in enumerate(kernels):
        over_the_vocabulary = kernel in ("sample_survey", "sample_gather")
        result = sampling.step(
            THREADS_OVER_THE_VOCABULARY if over_the_vocabulary else THREADS_OF_ONE_THREADGROUP,
            THREADGROUPS,
            kernels=[kernel],
            poison=() if position else (NUM_CANDIDATES, CANDIDATES),
            mode="trace",
        )[kernel]
        if LOGITS in result.traffic:
            logits_read += result.traffic[LOGITS].simdgroup_bytes_read
        requested += count(result).requested
    kept = int((Twin(logits, options, history).weights() > 0).sum()) if options.temperature else 1
    return [
        str(len(kernels)),
        f"{logits_read / (4 * VOCABULARY_SIZE):.3f}",
        megabytes(requested),
        f"{kept:,}",
        f"{int(sampling.buffers[NUM_CANDIDATES][0]):,}" if has_filter else "",
    ]


def _measure_theirs(reference: Reference, logits: Array) -> list[str]:
    threads = 512
    per_threadgroup = -(-VOCABULARY_SIZE // (THREADGROUPS * threads)) * threads
    num_threadgroups = -(-VOCABULARY_SIZE // per_threadgroup)
    highest = logits.max().view(np.uint32)  # of a positive number, whose order they turn over
    probabilities = np.zeros(VOCABULARY_SIZE, np.float32)
    sums = np.zeros(num_threadgroups, np.float32)
    softmax = reference.launch(
        "sample.metal",
        "gptoss_f32_softmax",
        threadgroups=(num_threadgroups, 1, 1),
        threads_per_threadgroup=(threads, 1, 1),
        buffers={
            0: reference.arguments(
                "gptoss_softmax_args",
                num_vecs=VOCABULARY_SIZE,
                num_vecs_per_threadgroup=per_threadgroup,
                max_threadgroups=num_threadgroups,
                temperature=1.0,
            ),
            1: logits,
            2: np.array([0, highest ^ np.uint32(0x7FFFFFFF)], np.uint32),
            3: probabilities,
            4: sums,
            5: reference.control,
        },
    )
    sample = reference.launch(
        "sample.metal",
        "gptoss_f32_sample",
        threadgroups=(1, 1, 1),
        threads_per_threadgroup=(1024, 1, 1),
        buffers={
            0: reference.arguments(
                "gptoss_sample_args",
                rng_seed=1,
                rng_offset=1,
                num_blocks=num_threadgroups,
                num_dims=VOCABULARY_SIZE,
                num_dims_per_block=per_threadgroup,
            ),
            1: probabilities,
            2: sums,
            3: np.zeros(1, np.uint32),
            4: reference.control,
        },
    )
    logits_read = softmax.traffic[1].simdgroup_bytes_read / (4 * VOCABULARY_SIZE)
    requested = count(softmax).requested + count(sample).requested
    return ["2", f"{logits_read:.3f}", megabytes(requested), f"{VOCABULARY_SIZE:,}", ""]


def _logits() -> Array:
    rng = np.random.default_rng(0)
    logits = (rng.standard_normal(VOCABULARY_SIZE) * 2.2).astype(np.float32)
    logits[rng.integers(0, VOCABULARY_SIZE, 60)] += rng.uniform(4, 14, 60).astype(np.float32)
    return logits


def _history() -> History:
    """A context of 8,000 tokens of which 500 were sampled since the last append."""
    seen = np.random.default_rng(1).integers(0, VOCABULARY_SIZE, 8_000).tolist()
    return History(seen, dict.fromkeys(seen[:500], 2), 8_000)


def _all_parameters() -> Options:
    return Options(
        temperature=0.8,
        top_k=50,
        top_p=0.95,
        min_p=0.02,
        repetition_penalty=1.2,
        presence_penalty=0.3,
        frequency_penalty=0.2,
        biases={5: 2.0, 1_000: -3.0},
        allowed=np.random.default_rng(2).random(VOCABULARY_SIZE) < 0.9,
        stop_tokens=(199_999, 200_002, 200_012),
        num_top_tokens=20,
    )
