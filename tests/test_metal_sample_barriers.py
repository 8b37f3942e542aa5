"""metal/sample_*.metal: every barrier is needed, and no two threads race."""

import numpy as np
import pytest
from metal_host.mutation import Launch, mutate_barriers
from metal_kernels import library
from metal_sampling import KERNELS, OVER_THE_VOCABULARY, History, Options, Sampling

CASES = (
    Options(seed=1, num_top_tokens=4),
    Options(temperature=0.0, repetition_penalty=1.3, frequency_penalty=0.2),
    Options(seed=1, top_p=0.9),
    Options(seed=1, top_k=30, top_p=0.95, min_p=0.01, num_top_tokens=4),
)


def launches_of(kernel: str) -> list[Launch]:
    """The kernel's launch in the middle of each case's launches, of 3 simdgroups."""
    launches = []
    # 125 groups, so that every simdgroup has some. Whole numbers, so that boundaries are ties.
    logits = np.round(np.random.default_rng(6).standard_normal(4_000) * 3).astype(np.float32)
    for options in CASES:
        sampling = Sampling(logits, options, History([3, 4], {4: 1}))
        names = list(KERNELS)
        sampling.step(96, 2, kernels=names[: names.index(kernel)], mode="trace")
        launches.append(sampling.launch(kernel, 96, 2))
    return launches


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_barrier_is_needed(kernel: str) -> None:
    report = mutate_barriers(library(f"{kernel}.metal", "trace"), launches_of(kernel))
    assert not report.survived, report.complaint()
    assert not report.unreached, report.complaint()
    assert bool(report.caught) == (kernel not in OVER_THE_VOCABULARY)
