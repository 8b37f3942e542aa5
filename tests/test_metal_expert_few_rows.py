"""The Metal kernels for the experts of 2 to 32 rows, against their twins in numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metal_expert_launches import FEW_ROWS_MAX_ROWS, run_down_few_rows, run_gate_up_few_rows
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
    num_simdgroups: int | None = None,
    specialised: bool = False,
    orders: int | None = None,
) -> None:
    order = sort_pairs(routing.ids, experts.num_experts, FEW_ROWS_MAX_ROWS)
    x = rng.standard_normal((routing.num_rows, experts.embedding_dim), np.float32)
    _, hidden = run_gate_up_few_rows(
        experts,
        routing,
        order,
        x,
        num_simdgroups=num_simdgroups,
        specialised=specialised,
        orders=orders,
    )
    expected = expected_hidden(experts, routing, x).reshape(hidden.shape)[order.permutation]
    assert_close(hidden, expected, RELATIVE, "hidden")

    _, outputs = run_down_few_rows(
        experts,
        routing,
        order,
        hidden,
        num_simdgroups=num_simdgroups,
        specialised=specialised,
        orders=orders,
    )
    by_pair = np.empty_like(hidden)
    by_pair[order.permutation] = hidden
    expected = expected_outputs(experts, routing, by_pair.reshape(*routing.ids.shape, -1))
    assert_close(outputs, expected, RELATIVE, "outputs")


@given(seed=st.integers(0, 2**32 - 1), shape=Shape.strategy(), num_rows=st.integers(1, 32))
@settings(max_examples=25)
def test_any_shape(seed: int, shape: Shape, num_rows: int) -> None:
    rng = np.random.default_rng(seed)
    experts = Experts(rng, shape.num_experts, shape.embedding_dim, shape.mlp_dim)
    if shape.num_active * num_rows > 200:
        num_rows = 2
    check_both(experts, random_routing(rng, num_rows, shape.num_experts, shape.num_active), rng)


@pytest.mark.parametrize("num_rows", [1, 2, 3, 4, 5, 8, 9, 16, 17, 31, 32])
def test_all_rows_to_one_expert(num_rows: int) -> None:
    """Every number of tokens that an expert's lanes divide among them."""
    rng = np.random.default_rng(num_rows)
    experts = Experts(rng, 3, 1056, 96)
    check_both(experts, routing_to(rng, np.full((num_rows, 1), 1)), rng)


def test_gate_up_at_the_width_of_20b() -> None:
    """All 2,880 inputs, 64 of the 5,760 outputs."""
    rng = np.random.default_rng(20)
    check_both(Experts(rng, 8, 2880, 32), random_routing(rng, 7, 8, 4), rng, specialised=True)


def test_down_at_the_width_of_20b() -> None:
    rng = np.random.default_rng(21)
    check_both(Experts(rng, 8, 32, 2880), random_routing(rng, 7, 8, 4), rng, specialised=True)


@pytest.mark.parametrize("num_simdgroups", [1, 3, 4])
def test_any_number_of_simdgroups(num_simdgroups: int) -> None:
    rng = np.random.default_rng(num_simdgroups)
    experts = Experts(rng, 4, 416, 288)
    check_both(experts, random_routing(rng, 6, 4, 3), rng, num_simdgroups=num_simdgroups)


def test_the_order_of_threads_changes_no_bit() -> None:
    rng = np.random.default_rng(7)
    check_both(Experts(rng, 4, 1120, 96), random_routing(rng, 11, 4, 2), rng, orders=5)


def test_tiles_split_an_expert_of_more_rows_than_a_tile_has() -> None:
    """Not what the kernels are for, but the tile list allows it: 40 rows are two tiles."""
    rng = np.random.default_rng(8)
    experts = Experts(rng, 2, 96, 64)
    routing = routing_to(rng, np.full((40, 1), 1))
    order = sort_pairs(routing.ids, 2, 20)
    x = rng.standard_normal((40, 96), np.float32)
    _, hidden = run_gate_up_few_rows(experts, routing, order, x)
    assert_close(hidden, expected_hidden(experts, routing, x)[:, 0], RELATIVE, "hidden")
