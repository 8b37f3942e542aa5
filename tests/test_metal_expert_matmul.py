"""The Metal kernels for the experts of many rows, against their twins in numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metal_expert_launches import (
    MATMUL_ROWS,
    run_combine,
    run_down_matmul,
    run_gate_up_matmul,
    run_sort,
)
from metal_experts import (
    Experts,
    Routing,
    Shape,
    expected_hidden,
    expected_outputs,
    random_routing,
    routing_to,
    sort_pairs,
)
from metal_kernels import assert_close

RELATIVE = 1e-5


def check_both(
    experts: Experts,
    routing: Routing,
    rng: np.random.Generator,
    *,
    specialised: bool = False,
    orders: int | None = None,
) -> None:
    order = sort_pairs(routing.ids, experts.num_experts, MATMUL_ROWS)
    x = rng.standard_normal((routing.num_rows, experts.embedding_dim), np.float32)
    _, hidden = run_gate_up_matmul(
        experts, routing, order, x, specialised=specialised, orders=orders
    )
    expected = expected_hidden(experts, routing, x).reshape(hidden.shape)[order.permutation]
    assert_close(hidden, expected, RELATIVE, "hidden")

    _, outputs = run_down_matmul(
        experts, routing, order, hidden, specialised=specialised, orders=orders
    )
    by_pair = np.empty_like(hidden)
    by_pair[order.permutation] = hidden
    expected = expected_outputs(experts, routing, by_pair.reshape(*routing.ids.shape, -1))
    assert_close(outputs, expected, 1e-5, "outputs")


@given(seed=st.integers(0, 2**32 - 1), shape=Shape.strategy(), num_rows=st.integers(1, 70))
@settings(max_examples=20)
def test_any_shape(seed: int, shape: Shape, num_rows: int) -> None:
    rng = np.random.default_rng(seed)
    experts = Experts(rng, shape.num_experts, shape.embedding_dim, shape.mlp_dim)
    if shape.num_active * num_rows > 100:
        num_rows = 1 + num_rows % 5
    check_both(experts, random_routing(rng, num_rows, shape.num_experts, shape.num_active), rng)


@pytest.mark.parametrize("num_rows", [1, 7, 8, 9, 31, 32, 33, 70])
def test_all_rows_to_one_expert(num_rows: int) -> None:
    rng = np.random.default_rng(num_rows)
    experts = Experts(rng, 3, 96, 160)
    check_both(experts, routing_to(rng, np.full((num_rows, 1), 1)), rng)


def test_one_row_to_each_expert() -> None:
    rng = np.random.default_rng(0)
    experts = Experts(rng, 33, 64, 32)
    check_both(experts, routing_to(rng, rng.permutation(33)[:, None]), rng)


def test_gate_up_at_the_width_of_20b() -> None:
    """All 2,880 inputs, 64 of the 5,760 outputs."""
    rng = np.random.default_rng(20)
    check_both(Experts(rng, 4, 2880, 32), random_routing(rng, 12, 4, 2), rng, specialised=True)


def test_down_at_the_width_of_20b() -> None:
    rng = np.random.default_rng(21)
    check_both(Experts(rng, 4, 32, 2880), random_routing(rng, 12, 4, 2), rng, specialised=True)


def test_the_order_of_threads_changes_no_bit() -> None:
    rng = np.random.default_rng(7)
    check_both(Experts(rng, 3, 160, 96), random_routing(rng, 21, 3, 2), rng, orders=5)


def test_sorted_multiplied_and_combined() -> None:
    """The whole path of prefill, on what the kernels hand to each other, from fp32 to fp32."""
    rng = np.random.default_rng(9)
    experts = Experts(rng, 6, 224, 160)
    routing = random_routing(rng, 50, 6, 3)
    x = rng.standard_normal((50, 224), np.float32)
    residual = rng.standard_normal((50, 224), np.float32)

    _, order = run_sort(routing.ids, 6, MATMUL_ROWS)
    _, hidden = run_gate_up_matmul(experts, routing, order, x)
    _, outputs = run_down_matmul(experts, routing, order, hidden)
    _, actual = run_combine(outputs, residual)

    expected = expected_outputs(experts, routing, expected_hidden(experts, routing, x))
    assert_close(outputs, expected, RELATIVE, "outputs")
    assert_close(actual, residual + expected.sum(axis=1), RELATIVE, "residual")


@pytest.mark.parametrize("scale_bytes", [(0, 255), (0, 40), (230, 255), (100, 180)])
def test_scales_far_from_the_range_of_halves(scale_bytes: tuple[int, int]) -> None:
    """Codes are staged as halves, scales are not: rows of any scale come out right by themselves.

    Each output is compared with its own magnitude, so that large ones do not hide small ones.
    """
    rng = np.random.default_rng(10)
    experts = Experts(rng, 2, 64, 96, scale_bytes)
    experts.down.bias[:] = 0
    routing = random_routing(rng, 5, 2, 1)
    order = sort_pairs(routing.ids, 2, MATMUL_ROWS)
    hidden = rng.standard_normal((5, 96), np.float32)
    _, outputs = run_down_matmul(experts, routing, order, hidden[order.permutation])
    expected = expected_outputs(experts, routing, hidden[:, None])

    magnitudes = np.stack(
        [
            np.abs(hidden[row]) @ np.abs(experts.down.weights(e)).T
            for row, e in routing_rows(routing)
        ]
    )
    error = np.abs(outputs[:, 0] - expected[:, 0])
    assert (error <= 1e-5 * magnitudes + 2.0**-148).all()


def routing_rows(routing: Routing) -> list[tuple[int, int]]:
    return [(row, int(routing.ids[row, 0])) for row in range(routing.num_rows)]
