"""MXFP4 decoded by the Metal kernels: every code with every scale byte, exactly.

A row of weights times an activation vector with a single 1 is one weight, so the kernels themselves
show what they decode: 4,096 rows hold all pairs of 256 scale bytes and 16 codes.
"""

import ctypes
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from metal_expert_launches import (
    FEW_ROWS_MAX_ROWS,
    MATMUL_ROWS,
    run_down_few_rows,
    run_down_matmul,
    run_down_matvec,
)
from metal_experts import Experts, Routing, sort_pairs
from numpy.typing import NDArray
from reference import MXFP4_VALUES, Array

NUM_CODES, NUM_SCALES = 16, 256
COLUMNS = 32  # of one block


def every_weight() -> tuple[Experts, Array]:
    """An expert whose down matrix has, in each column, every code with every scale byte.

    Also the weights that it must have: code * 2^(byte - 14 - 127), [4096, 32].
    """
    experts = Experts(np.random.default_rng(0), 1, NUM_CODES * NUM_SCALES, COLUMNS)
    scale_bytes = np.repeat(np.arange(NUM_SCALES), NUM_CODES)  # [4096]
    # A row starts at each code, and the next column has the next code.
    codes = (np.arange(NUM_CODES * NUM_SCALES)[:, None] + np.arange(COLUMNS)) % NUM_CODES
    experts.down.blocks[0, :, 0] = (codes[:, 0::2] | codes[:, 1::2] << 4).astype(np.uint8)
    experts.down.scales[0, :, 0] = scale_bytes
    experts.down.bias[:] = 0
    return experts, np.ldexp(MXFP4_VALUES[codes], scale_bytes[:, None] - 14 - 127)


def decoded_by_matvec(
    experts: Experts, routing: Routing, activations: NDArray[np.float32]
) -> Array:
    residual = np.zeros((len(activations), experts.embedding_dim), np.float32)
    return run_down_matvec(experts, routing, activations[:, None], residual)[1]


def decoded_by_few_rows(
    experts: Experts, routing: Routing, activations: NDArray[np.float32]
) -> Array:
    order = sort_pairs(routing.ids, 1, FEW_ROWS_MAX_ROWS)
    return run_down_few_rows(experts, routing, order, activations)[1][:, 0]


def decoded_by_matmul(
    experts: Experts, routing: Routing, activations: NDArray[np.float32]
) -> Array:
    order = sort_pairs(routing.ids, 1, MATMUL_ROWS)
    return run_down_matmul(experts, routing, order, activations)[1][:, 0]


KERNELS = [decoded_by_matvec, decoded_by_few_rows, decoded_by_matmul]


@pytest.mark.parametrize("decoded_by", KERNELS)
def test_all_codes_with_all_scale_bytes_are_exact(
    decoded_by: Callable[[Experts, Routing, NDArray[np.float32]], Array],
) -> None:
    experts, weights = every_weight()
    routing = Routing(np.zeros((COLUMNS, 1), np.uint32), np.ones((COLUMNS, 1), np.float32))
    actual = decoded_by(experts, routing, np.eye(COLUMNS, dtype=np.float32)).T

    wrong = np.argwhere(actual != weights)
    assert wrong.size == 0, (
        f"{len(wrong)} of {weights.size} weights are wrong; the first is in column "
        f"{wrong[0][1]}, scale byte {wrong[0][0] // NUM_CODES}: {actual[tuple(wrong[0])]!r} "
        f"instead of {weights[tuple(wrong[0])]!r}"
    )


@pytest.mark.parametrize("decoded_by", KERNELS)
@pytest.mark.parametrize("scale_byte", [0, 1, 2, 14, 141, 254, 255])
def test_a_sum_of_weights_is_finite_and_right_at_every_scale(
    decoded_by: Callable[[Experts, Routing, NDArray[np.float32]], Array], scale_byte: int
) -> None:
    """Nothing overflows or vanishes on the way from codes to sums that are finite themselves."""
    experts, _ = every_weight()
    experts.down.scales[:] = scale_byte
    routing = Routing(np.zeros((1, 1), np.uint32), np.ones((1, 1), np.float32))
    activations = np.linspace(-2, 1.75, COLUMNS, dtype=np.float32)[None]

    actual = decoded_by(experts, routing, activations)
    expected = activations.astype(np.float64) @ experts.down.weights(0).T
    # A subnormal float has an absolute precision.
    tolerance = np.maximum(1e-6 * np.abs(expected).max(), 2.0**-149)
    assert np.abs(actual - expected).max() <= tolerance


@contextmanager
def subnormal_floats_flushed() -> Iterator[None]:
    """Subnormal fp32 operands and results count as zero meanwhile, as on Apple's GPUs.

    Halves keep their subnormals: the processor's conversions do not look at these flags.
    """
    environment = (ctypes.c_uint32 * 8)()  # glibc's fenv_t on x86-64: the last word is MXCSR
    libm = ctypes.CDLL("libm.so.6")
    libm.fegetenv(environment)
    before = environment[7]
    environment[7] |= 0x8040  # denormals are zero, flush to zero
    libm.fesetenv(environment)
    try:
        yield
    finally:
        environment[7] = before
        libm.fesetenv(environment)


@pytest.mark.skipif(
    platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc",
    reason="knows only how to flush subnormals on x86-64 with glibc",
)
@pytest.mark.parametrize("decoded_by", KERNELS)
def test_where_subnormal_floats_are_flushed_only_the_two_smallest_scales_are_lost(
    decoded_by: Callable[[Experts, Routing, NDArray[np.float32]], Array],
) -> None:
    """As mxfp4.h says: bytes 0 and 1 are zero, and the rest right where the result is normal."""
    experts, weights = every_weight()
    routing = Routing(np.zeros((COLUMNS, 1), np.uint32), np.ones((COLUMNS, 1), np.float32))
    activation = 2.0**13  # a half; makes the products with bytes from 2 on normal floats
    with subnormal_floats_flushed():
        actual = decoded_by(experts, routing, np.eye(COLUMNS, dtype=np.float32) * activation).T

    with np.errstate(over="ignore"):
        expected = (weights * activation).astype(np.float32)
    expected[: 2 * NUM_CODES] = 0
    normal = (expected == 0) | (np.abs(expected) >= np.finfo(np.float32).tiny)
    assert normal[3 * NUM_CODES :].all()
    assert np.array_equal(actual[normal], expected[normal])
