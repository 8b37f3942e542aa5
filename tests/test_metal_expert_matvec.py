"""The Metal kernels for the experts of one row, against their twins in numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metal_expert_launches import run_down_matvec, run_gate_up_matvec
from metal_experts import (
    Experts,
    Routing,
    Shape,
    expected_hidden,
    expected_outputs,
    random_routing,
    routing_to,
)
from metal_kernels import assert_close
from numpy.typing import NDArray
from reference import Array

RELATIVE = 1e-5


def activations(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.standard_normal(shape, np.float32)


def check_both(
    experts: Experts,
    routing: Routing,
    rng: np.random.Generator,
    *,
    num_simdgroups: int | None = None,
    specialised: bool = False,
    orders: int | None = None,
) -> None:
    x = activations(rng, routing.num_rows, experts.embedding_dim)
    _, hidden = run_gate_up_matvec(
        experts, routing, x, num_simdgroups=num_simdgroups, specialised=specialised, orders=orders
    )
    assert_close(hidden, expected_hidden(experts, routing, x), RELATIVE, "hidden")

    residual = activations(rng, routing.num_rows, experts.embedding_dim)
    _, updated = run_down_matvec(
        experts,
        routing,
        hidden,
        residual,
        num_simdgroups=num_simdgroups,
        specialised=specialised,
        orders=orders,
    )
    expected = residual + expected_outputs(experts, routing, hidden).sum(axis=1)
    assert_close(updated, expected, RELATIVE, "residual")


@given(seed=st.integers(0, 2**32 - 1), shape=Shape.strategy(), num_rows=st.integers(1, 3))
@settings(max_examples=25)
def test_any_shape(seed: int, shape: Shape, num_rows: int) -> None:
    rng = np.random.default_rng(seed)
    experts = Experts(rng, shape.num_experts, shape.embedding_dim, shape.mlp_dim)
    check_both(experts, random_routing(rng, num_rows, shape.num_experts, shape.num_active), rng)


def test_gate_up_at_the_width_of_20b() -> None:
    """All 2,880 inputs, 64 of the 5,760 outputs; and the down matrix the other way round."""
    rng = np.random.default_rng(20)
    check_both(Experts(rng, 5, 2880, 32), random_routing(rng, 1, 5, 4), rng, specialised=True)


def test_down_at_the_width_of_20b() -> None:
    rng = np.random.default_rng(21)
    check_both(Experts(rng, 5, 32, 2880), random_routing(rng, 1, 5, 4), rng, specialised=True)


@pytest.mark.parametrize("num_simdgroups", [1, 2, 5, 12])
def test_any_number_of_simdgroups(num_simdgroups: int) -> None:
    """Fewer than there are shares of the inputs take several each; more stay idle."""
    rng = np.random.default_rng(num_simdgroups)
    experts = Experts(rng, 3, 2112, 1056)
    check_both(experts, random_routing(rng, 2, 3, 3), rng, num_simdgroups=num_simdgroups)


def test_more_active_experts_than_simdgroups() -> None:
    rng = np.random.default_rng(6)
    check_both(Experts(rng, 40, 32, 64), random_routing(rng, 1, 40, 37), rng)


def test_the_order_of_threads_changes_no_bit() -> None:
    rng = np.random.default_rng(7)
    check_both(Experts(rng, 4, 1120, 1056), random_routing(rng, 2, 4, 3), rng, orders=5)


def biased_experts(gate: float, up: float) -> Experts:
    """Experts whose weights are all zero: every gate and up is its bias."""
    experts = Experts(np.random.default_rng(8), 1, 32, 32)
    experts.gate_up.blocks[:] = 0
    for first, value in ((0, gate), (1, up)):
        experts.gate_up.bias[:, first::2] = np.float32(value).view(np.uint32) >> 16
    return experts


@pytest.mark.parametrize("up", [-1e4, -7.0, -1.0, 0.0, 7.0, 1e4])
@pytest.mark.parametrize("gate", [-3e38, -1e4, -90.0, -52.0, -7.0, 0.0, 6.5, 7.0, 7.5, 1e4, 3e38])
def test_extreme_gates_and_ups(gate: float, up: float) -> None:
    experts = biased_experts(gate, up)
    routing = routing_to(np.random.default_rng(0), np.zeros((1, 1), np.uint32))
    x = np.zeros((1, 32), np.float32)
    _, hidden = run_gate_up_matvec(experts, routing, x)
    expected = expected_hidden(experts, routing, x)
    # Far below 0 the kernel may give 1e-35 where the function is less than that.
    tolerance = np.maximum(RELATIVE * np.abs(expected), 1e-35)
    assert (np.abs(hidden - expected) <= tolerance).all(), f"{hidden[0, 0, 0]}, {expected[0, 0, 0]}"


def test_gates_are_cut_off_before_their_exponential_is_infinite() -> None:
    """Fast-math may take an infinity for anything: no gate may reach one, and exp(89) is one."""
    routing = routing_to(np.random.default_rng(0), np.zeros((1, 1), np.uint32))
    x = np.zeros((1, 32), np.float32)
    cut_off, far_below = (
        run_gate_up_matvec(biased_experts(gate, 0.0), routing, x)[1] for gate in (-51.0, -1e4)
    )
    assert (cut_off < 0).all()
    assert np.array_equal(cut_off, far_below)


def test_the_limit_is_an_argument() -> None:
    rng = np.random.default_rng(9)
    experts, routing = biased_experts(5.0, -5.0), routing_to(rng, np.zeros((1, 1), np.uint32))
    x = activations(rng, 1, 32)
    for limit in (0.5, 3.0, 100.0):
        _, hidden = run_gate_up_matvec(experts, routing, x, limit=limit)
        assert_close(hidden, expected_hidden(experts, routing, x, limit), RELATIVE, f"{limit=}")


def test_experts_without_a_share_are_not_read() -> None:
    """Whatever is in the others' weights: only the chosen experts are read."""
    rng = np.random.default_rng(10)
    experts = Experts(rng, 6, 96, 64)
    routing = routing_to(rng, np.array([[4, 1]]))
    x = activations(rng, 1, 96)

    def run() -> list[Array]:
        hidden = run_gate_up_matvec(experts, routing, x)[1]
        return [hidden, run_down_matvec(experts, routing, hidden, x)[1]]

    before = run()
    for other in (0, 2, 3, 5):
        experts.bytes.reshape(6, -1)[other] = 0xFF
    for first, second in zip(before, run(), strict=True):
        assert np.array_equal(first, second)
