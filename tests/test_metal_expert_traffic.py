"""What the experts' Metal kernels ask of memory at the width of gpt-oss-20b.

docs/performance.md has the figures for whole matrices (scripts/measure-metal-traffic.py); here a
part of the outputs keeps them from getting worse.
"""

from typing import Any

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
)
from metal_experts import Experts, random_routing, routing_to, sort_pairs
from metal_host import Result

WIDTH = 2880
EXPERTS = 1  # of the buffers: the experts' bytes
TRACE: Any = {"mode": "trace", "orders": 1, "specialised": True}


def requested_by_minimum(result: Result) -> float:
    buffers = [traffic for index, traffic in result.traffic.items() if index > 0]
    requested = sum(t.simdgroup_bytes_read + t.simdgroup_bytes_written for t in buffers)
    return requested / sum(t.distinct_bytes_read + t.distinct_bytes_written for t in buffers)


def one_row() -> list[Result]:
    """Gate-up to 128 of its 5,760 outputs and down to 64 of its 2,880, of four experts."""
    rng = np.random.default_rng(0)
    routing = random_routing(rng, 1, 4, 4)
    x, hidden = np.ones((1, WIDTH), np.float32), np.ones((1, 4, WIDTH), np.float32)
    residual = np.zeros((1, 64), np.float32)
    gate_up, down = Experts(rng, 4, WIDTH, 64), Experts(rng, 4, 64, WIDTH)
    return [
        run_gate_up_matvec(gate_up, routing, x, **TRACE)[0],
        run_down_matvec(down, routing, hidden, residual, **TRACE)[0],
    ]


def test_one_row_asks_for_little_more_than_the_weights() -> None:
    for result in one_row():
        # Each byte of the weights once: what is above 1 are the activations, once for 32 rows.
        weights = result.traffic[EXPERTS]
        assert weights.simdgroup_bytes_read == weights.distinct_bytes_read
        requested = sum(t.simdgroup_bytes_read for i, t in result.traffic.items() if i > 0)
        assert requested <= 1.3 * weights.distinct_bytes_read
        assert requested_by_minimum(result) <= 1.3


def test_one_row_reads_whole_lines() -> None:
    """512 bytes of codes or activations are 4 or 5 lines, 32 scale bytes are 1 or 2."""
    gate_up, down = one_row()
    for result, activations in ((gate_up, 3), (down, 4)):
        assert result.traffic[EXPERTS].lines_per_access <= 3
        assert result.traffic[activations].lines_per_access <= 4


@pytest.mark.parametrize("num_rows", [2, 9, 31])
def test_few_rows_read_an_experts_weights_once(num_rows: int) -> None:
    rng = np.random.default_rng(num_rows)
    routing = random_routing(rng, num_rows, 6, 2)
    order = sort_pairs(routing.ids, 6, FEW_ROWS_MAX_ROWS)
    gate_up, down = Experts(rng, 6, WIDTH, 32), Experts(rng, 6, 64, WIDTH)
    x = np.ones((num_rows, WIDTH), np.float32)
    hidden = np.ones((2 * num_rows, WIDTH), np.float32)
    for result in (
        run_gate_up_few_rows(gate_up, routing, order, x, **TRACE)[0],
        run_down_few_rows(down, routing, order, hidden, **TRACE)[0],
    ):
        weights = result.traffic[EXPERTS]
        # Only the bias, 2 bytes of a row of weights' 1,532, is read once for each row of tokens.
        assert weights.simdgroup_bytes_read <= weights.distinct_bytes_read * (1 + num_rows / 766)


def test_many_rows_multiply_often_what_they_stage() -> None:
    """Multiply-adds for each byte of threadgroup memory, in full tiles; in device memory, too.

    A core multiplies 128 times and moves 64 bytes of threadgroup memory in a clock.
    """
    rng = np.random.default_rng(3)
    rows = MATMUL_ROWS
    routing = routing_to(rng, np.zeros((rows, 1)))
    order = sort_pairs(routing.ids, 1, rows)
    gate_up, down = Experts(rng, 1, WIDTH, 64), Experts(rng, 1, 128, WIDTH)
    ones = np.ones((rows, WIDTH), np.float32)
    for result in (
        run_gate_up_matmul(gate_up, routing, order, ones, **TRACE)[0],
        run_down_matmul(down, routing, order, ones, **TRACE)[0],
    ):
        memory = result.threadgroup_traffic
        assert memory is not None
        multiply_adds = rows * 128 * WIDTH
        staged = memory.simdgroup_bytes_read + memory.simdgroup_bytes_written
        assert multiply_adds / staged >= 3.4
        assert requested_by_minimum(result) <= 1.05
