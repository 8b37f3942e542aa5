"""metal/projection_matvec.metal: dense projections of one row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metal_dense import FORMATS, DenseWeights, Format, random_weights
from metal_kernels import (
    Output,
    arguments,
    assert_close,
    ceil_divide,
    geometry,
    launch,
    random_bf16,
)
from numpy.typing import NDArray
from reference import Array, bf16_to_float, linear


def run(
    weight_format: Format,
    weights: DenseWeights,
    bias: NDArray[np.uint16],
    x: NDArray[np.float32],
    *,
    residual: Array | None = None,
    constants: dict[int, int] | None = None,
    orders: int | None = None,
) -> Array:
    """[num_outputs]; added to the residual if there is one."""
    num_outputs, num_inputs = weights.values.shape
    output = Output((num_outputs,), np.float32, initial=residual)
    launch(
        "projection_matvec.metal",
        f"projection_matvec_{'' if residual is None else 'add_'}{weight_format}",
        threadgroups=(ceil_divide(num_outputs, geometry("kMatvecOutputs")), 1, 1),
        threads_per_threadgroup=(geometry("kMatvecThreads"), 1, 1),
        buffers={
            0: arguments(
                "ProjectionArguments", num_inputs=num_inputs, num_outputs=num_outputs, num_rows=1
            ),
            **weights.buffers,
            3: bias,
            4: x,
            5: output.buffer,
        },
        constants=constants,
        orders=orders,
    )
    return output.values("the projection")


def twin(
    weights: DenseWeights,
    bias: NDArray[np.uint16],
    x: NDArray[np.float32],
    residual: Array | None = None,
) -> Array:
    y: Array = linear(x[None].astype(np.float64), weights.values, bf16_to_float(bias))[0]
    return y if residual is None else y + residual


@settings(max_examples=25, deadline=None)
@given(
    weight_format=st.sampled_from(FORMATS),
    num_outputs=st.integers(1, 70),
    num_inputs=st.sampled_from([32, 64, 96, 544]),
    adds=st.booleans(),
    magnitude=st.sampled_from([1e-4, 1.0, 1e4]),
    seed=st.integers(0, 99),
)
def test_a_row_is_projected(
    weight_format: Format,
    num_outputs: int,
    num_inputs: int,
    adds: bool,
    magnitude: float,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    weights = random_weights(rng, weight_format, num_outputs, num_inputs)
    bias = random_bf16(rng, num_outputs, scale=0.1)
    x = rng.standard_normal(num_inputs, np.float32) * np.float32(magnitude)
    residual = rng.standard_normal(num_outputs, np.float32) if adds else None
    assert_close(
        run(weight_format, weights, bias, x, residual=residual),
        twin(weights, bias, x, residual),
        1e-5,
        "the projection",
    )


@pytest.mark.parametrize("weight_format", FORMATS)
@pytest.mark.parametrize("num_inputs", [2880, 4096, 4128], ids="{} inputs".format)
def test_a_row_of_20b_is_projected_in_any_order(weight_format: Format, num_inputs: int) -> None:
    """4,096 inputs are the most that are staged at once; beyond, a tile is used twice."""
    rng = np.random.default_rng(0)
    weights = random_weights(rng, weight_format, 75, num_inputs)
    bias = random_bf16(rng, 75)
    x = rng.standard_normal(num_inputs, np.float32)
    residual = rng.standard_normal(75, np.float32)
    assert_close(
        run(weight_format, weights, bias, x, residual=residual, orders=5),
        twin(weights, bias, x, residual),
        1e-5,
        "the projection",
    )


@pytest.mark.parametrize("weight_format", FORMATS)
def test_a_specialised_pipeline_gives_the_same_bits(weight_format: Format) -> None:
    rng = np.random.default_rng(0)
    weights = random_weights(rng, weight_format, 40, 96)
    bias = random_bf16(rng, 40)
    x = rng.standard_normal(96, np.float32)
    np.testing.assert_array_equal(
        run(weight_format, weights, bias, x, constants={0: 96}),
        run(weight_format, weights, bias, x),
    )
