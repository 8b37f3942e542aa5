"""metal/router.metal: norm, logits in fp32, the best experts, softmax over only these."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metal_kernels import Output, arguments, assert_close, geometry, launch, random_bf16
from numpy.typing import NDArray
from reference import RMSNORM_EPSILON, Array, bf16_to_float, linear, rms_norm, route

Kernel = Literal["router", "router_tiled"]
KERNELS: tuple[Kernel, ...] = ("router", "router_tiled")


@dataclass(frozen=True)
class Routing:
    experts: Array  # [num_rows, num_active]
    weights: Array  # [num_rows, num_active]
    normalized: Array  # [num_rows, num_inputs]


@dataclass(frozen=True)
class Case:
    residual: NDArray[np.float32]  # [num_rows, num_inputs]
    gain: NDArray[np.uint16]  # [num_inputs]
    weight: NDArray[np.uint16]  # [num_experts, num_inputs]
    bias: NDArray[np.uint16]  # [num_experts]
    num_active: int


def random_case(
    num_rows: int,
    num_inputs: int,
    num_experts: int,
    num_active: int,
    *,
    magnitude: float = 1.0,
    seed: int = 0,
) -> Case:
    rng = np.random.default_rng(seed)
    return Case(
        rng.standard_normal((num_rows, num_inputs), np.float32) * np.float32(magnitude),
        random_bf16(rng, num_inputs),
        random_bf16(rng, num_experts, num_inputs, scale=num_inputs**-0.5),
        random_bf16(rng, num_experts),
        num_active,
    )


def run(kernel: Kernel, case: Case, *, orders: int | None = None) -> Routing:
    num_rows, num_inputs = case.residual.shape
    shape = (num_rows, case.num_active)
    experts, weights = Output(shape, np.uint32), Output(shape, np.float32)
    normalized = Output(case.residual.shape, np.float32)
    tiled = kernel == "router_tiled"
    rows_per_threadgroup = geometry("kRouterTiledRows") if tiled else 1
    launch(
        "router.metal",
        kernel,
        threadgroups=(-(-num_rows // rows_per_threadgroup), 1, 1),
        threads_per_threadgroup=(
            geometry("kRouterTiledThreads" if tiled else "kRouterThreads"),
            1,
            1,
        ),
        buffers={
            0: arguments(
                "RouterArguments",
                num_inputs=num_inputs,
                num_rows=num_rows,
                num_experts=len(case.weight),
                num_active=case.num_active,
                epsilon=RMSNORM_EPSILON,
            ),
            1: case.weight,
            3: case.bias,
            4: case.residual,
            5: case.gain,
            6: experts.buffer,
            7: weights.buffer,
            8: normalized.buffer,
        },
        orders=orders,
    )
    return Routing(
        experts.values("experts"), weights.values("weights"), normalized.values("normalised rows")
    )


def check(actual: Routing, case: Case) -> None:
    normalized = rms_norm(
        case.residual.astype(np.float64), bf16_to_float(case.gain).astype(np.float64)
    )
    logits = linear(
        normalized, bf16_to_float(case.weight).astype(np.float64), bf16_to_float(case.bias)
    )
    experts, weights, _ = route(logits, case.num_active)
    assert_close(actual.normalized, normalized, 1e-5, "normalised rows")
    # Logits that fp32 cannot tell apart may change places: then the logits still agree.
    assert_close(
        np.take_along_axis(logits, actual.experts.astype(np.int64), axis=1),
        np.take_along_axis(logits, experts, axis=1),
        1e-6,
        "logits of the experts chosen, in order",
    )
    for row in actual.experts:
        assert len(set(row)) == case.num_active, f"an expert was chosen twice: {row}"
    assert_close(actual.weights, weights, 1e-5, "routing weights")


@settings(max_examples=25, deadline=None)
@given(data=st.data(), kernel=st.sampled_from(KERNELS))
def test_the_best_experts_are_chosen_and_weighed(data: st.DataObject, kernel: Kernel) -> None:
    num_experts = data.draw(st.sampled_from([1, 2, 5, 31, 32, 33, 128]), "experts")
    case = random_case(
        data.draw(st.integers(1, 10), "rows"),
        data.draw(st.sampled_from([32, 96, 544]), "inputs"),
        num_experts,
        data.draw(st.one_of(st.integers(1, num_experts), st.just(num_experts)), "active"),
        magnitude=data.draw(st.sampled_from([1e-4, 0.02, 1.0, 1e4]), "magnitude"),
        seed=data.draw(st.integers(0, 99), "seed"),
    )
    check(run(kernel, case), case)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("num_inputs", "num_experts"), [(2880, 32), (4128, 5)])
def test_rows_of_20b_are_routed_in_any_order(
    kernel: Kernel, num_inputs: int, num_experts: int
) -> None:
    """4,128 columns of one row are staged in two pieces."""
    case = random_case(3, num_inputs, num_experts, 4)
    check(run(kernel, case, orders=5), case)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("num_experts", [5, 128])
def test_ties_go_to_the_lowest_expert(kernel: Kernel, num_experts: int) -> None:
    """Zero weights leave the bias; both zeros are one value."""
    case = random_case(9, 32, num_experts, num_experts)
    case.weight[:] = 0
    case.bias[:] = np.resize(np.array([0x0000, 0x3F80, 0x8000], np.uint16), num_experts)
    logits = bf16_to_float(case.bias)
    expected = np.argsort(-logits, kind="stable")
    np.testing.assert_array_equal(run(kernel, case).experts, np.tile(expected, (9, 1)))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("spread", [3e38, -3e38])
def test_logits_at_the_ends_of_fp32_give_finite_weights(kernel: Kernel, spread: float) -> None:
    case = random_case(1, 32, 4, 3)
    case.weight[:] = 0
    case.bias[:] = 0
    case.bias[1] = 0x7F61 if spread > 0 else 0xFF61  # 2.99e38 as bf16
    output = run(kernel, case)
    expected_experts, expected_weights, _ = route(bf16_to_float(case.bias)[None], 3)
    np.testing.assert_array_equal(output.experts, expected_experts)
    np.testing.assert_array_equal(output.weights, expected_weights.astype(np.float32))


@pytest.mark.parametrize("kernel", KERNELS)
def test_rows_that_are_not_numbers_still_name_valid_experts(kernel: Kernel) -> None:
    """What comes next indexes memory by them."""
    case = random_case(2, 32, 40, 40)
    case.residual[:] = np.nan
    experts = run(kernel, case).experts
    np.testing.assert_array_equal(np.sort(experts), np.tile(np.arange(40), (2, 1)))
