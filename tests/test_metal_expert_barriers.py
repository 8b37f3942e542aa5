"""The expert kernels hold no barrier that could go: without it, a race or another result."""

from collections.abc import Callable

import numpy as np
import pytest
from metal_expert_launches import (
    FEW_ROWS_MAX_ROWS,
    MATMUL_ROWS,
    run_down_few_rows,
    run_down_matmul,
    run_down_matvec,
    run_gate_up_few_rows,
    run_gate_up_matmul,
    run_gate_up_matvec,
    run_sort,
)
from metal_experts import Experts, random_routing, sort_pairs
from metal_kernels import assert_every_barrier_is_needed, recorded_launches

RNG = np.random.default_rng(0)


def launch_matvec() -> None:
    experts = Experts(RNG, 2, 1056, 64)  # two simdgroups share the inputs, or the experts
    routing = random_routing(RNG, 1, 2, 2)
    x = np.ones((1, 1056), np.float32)
    _, hidden = run_gate_up_matvec(experts, routing, x)
    run_down_matvec(experts, routing, hidden, x)


def launch_few_rows() -> None:
    experts = Experts(RNG, 2, 1056, 1056)
    routing = random_routing(RNG, 3, 2, 1)
    order = sort_pairs(routing.ids, 2, FEW_ROWS_MAX_ROWS)
    _, hidden = run_gate_up_few_rows(experts, routing, order, np.ones((3, 1056), np.float32))
    run_down_few_rows(experts, routing, order, hidden)


def launch_matmul() -> None:
    experts = Experts(RNG, 2, 64, 64)
    routing = random_routing(RNG, 20, 2, 1)
    order = sort_pairs(routing.ids, 2, MATMUL_ROWS)
    _, hidden = run_gate_up_matmul(experts, routing, order, np.ones((20, 64), np.float32))
    run_down_matmul(experts, routing, order, hidden)


def launch_sort() -> None:
    run_sort(random_routing(RNG, 20, 5, 3).ids, 5, 8)


@pytest.mark.parametrize(
    ("file", "launches"),
    [
        ("expert_matvec.metal", launch_matvec),
        ("expert_few_rows.metal", launch_few_rows),
        ("expert_matmul.metal", launch_matmul),
        ("expert_sort.metal", launch_sort),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_barrier_is_needed(file: str, launches: Callable[[], None]) -> None:
    with recorded_launches() as recorded:
        launches()
    assert_every_barrier_is_needed(file, recorded)
