"""metal/projection_few_rows.metal: dense projections of 2 to 31 rows, weights read once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metal_dense import FORMATS, DenseWeights, Format, few_rows_form, random_weights
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
    """[num_rows, num_outputs]; added to the residual if there is one."""
    num_outputs, num_inputs = weights.values.shape
    output = Output((len(x), num_outputs), np.float32, initial=residual)
    form = few_rows_form(len(x), (8, 16, 32))
    launch(
        "projection_few_rows.metal",
        f"projection_few_rows_{form}_{'' if residual is None else 'add_'}{weight_format}",
        threadgroups=(ceil_divide(num_outputs, geometry("kFewRowsOutputs")), 1, 1),
        threads_per_threadgroup=(geometry("kFewRowsThreads"), 1, 1),
        buffers={
            0: arguments(
                "ProjectionArguments",
                num_inputs=num_inputs,
                num_outputs=num_outputs,
                num_rows=len(x),
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
    y = linear(x.astype(np.float64), weights.values, bf16_to_float(bias))
    return y if residual is None else y + residual


@settings(max_examples=20, deadline=None)
@given(
    weight_format=st.sampled_from(FORMATS),
    num_rows=st.integers(2, 31),
    num_outputs=st.integers(1, 100),
    num_inputs=st.sampled_from([32, 64, 96, 160]),
    adds=st.booleans(),
    magnitude=st.sampled_from([1e-4, 1.0, 1e4]),
    seed=st.integers(0, 99),
)
def test_rows_are_projected(
    weight_format: Format,
    num_rows: int,
    num_outputs: int,
    num_inputs: int,
    adds: bool,
    magnitude: float,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    weights = random_weights(rng, weight_format, num_outputs, num_inputs)
    bias = random_bf16(rng, num_outputs, scale=0.1)
    x = rng.standard_normal((num_rows, num_inputs), np.float32) * np.float32(magnitude)
    residual = rng.standard_normal((num_rows, num_outputs), np.float32) if adds else None
    assert_close(
        run(weight_format, weights, bias, x, residual=residual),
        twin(weights, bias, x, residual),
        1e-5,
        "the projection",
    )


@pytest.mark.parametrize("weight_format", FORMATS)
@pytest.mark.parametrize("num_rows", [2, 9, 31], ids="{} rows".format)
def test_rows_of_20b_are_projected_in_any_order(weight_format: Format, num_rows: int) -> None:
    rng = np.random.default_rng(0)
    weights = random_weights(rng, weight_format, 40, 2880)
    bias = random_bf16(rng, 40)
    x = rng.standard_normal((num_rows, 2880), np.float32)
    residual = rng.standard_normal((num_rows, 40), np.float32)
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
    x = rng.standard_normal((3, 96), np.float32)
    np.testing.assert_array_equal(
        run(weight_format, weights, bias, x, constants={0: 96}),
        run(weight_format, weights, bias, x),
    )
