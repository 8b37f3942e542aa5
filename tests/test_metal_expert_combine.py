"""The Metal kernel that adds the experts' outputs to the residual, against numpy."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from metal_expert_launches import run_combine


@given(
    seed=st.integers(0, 2**32 - 1),
    num_rows=st.integers(1, 9),
    num_active=st.integers(1, 9),
    num_blocks=st.integers(1, 12),
)
@settings(max_examples=25)
def test_the_sum_is_in_slot_order(
    seed: int, num_rows: int, num_active: int, num_blocks: int
) -> None:
    """Bit for bit: additions of floats in another order would round otherwise."""
    rng = np.random.default_rng(seed)
    outputs = rng.standard_normal((num_rows, num_active, 32 * num_blocks), np.float32)
    residual = rng.standard_normal((num_rows, 32 * num_blocks), np.float32)
    _, actual = run_combine(outputs, residual)

    expected = residual.copy()
    for slot in range(num_active):
        expected += outputs[:, slot]
    assert np.array_equal(actual, expected)


def test_the_width_of_20b_in_five_orders() -> None:
    rng = np.random.default_rng(0)
    outputs = rng.standard_normal((3, 4, 2880), np.float32)
    residual = rng.standard_normal((3, 2880), np.float32)
    _, actual = run_combine(outputs, residual, orders=5)
    expected = residual.astype(np.float64) + outputs.astype(np.float64).sum(axis=1)
    assert np.allclose(actual, expected, rtol=0, atol=1e-5)
