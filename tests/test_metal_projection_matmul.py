"""metal/projection_matmul.metal: dense projections of many rows, weights as half."""

from typing import Literal

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

Epilogue = Literal["float", "add"]
# A bf16 is exact as half where it is not tiny; 8-bit codes times their scales stay fp32.
TOLERANCES: dict[Format, float] = {"bf16": 1e-5, "int8": 1e-5}
EPILOGUES: tuple[Epilogue, ...] = ("float", "add")


def run(
    weight_format: Format,
    epilogue: Epilogue,
    weights: DenseWeights,
    bias: NDArray[np.uint16],
    x: NDArray[np.float32],
    residual: Array,
    *,
    constants: dict[int, int] | None = None,
    orders: int | None = None,
) -> Array:
    """[num_rows, num_outputs]; added to the residual by the epilogue "add"."""
    num_outputs, num_inputs = weights.values.shape
    output = Output(
        (len(x), num_outputs),
        np.float32,
        initial=residual if epilogue == "add" else None,
    )
    launch(
        "projection_matmul.metal",
        f"projection_matmul_{'' if epilogue == 'float' else epilogue + '_'}{weight_format}",
        threadgroups=(
            ceil_divide(num_outputs, geometry("kMatmulOutputs")),
            ceil_divide(len(x), geometry("kMatmulRows")),
            1,
        ),
        threads_per_threadgroup=(geometry("kMatmulThreads"), 1, 1),
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
    epilogue: Epilogue,
    weights: DenseWeights,
    bias: NDArray[np.uint16],
    x: NDArray[np.float32],
    residual: Array,
) -> Array:
    y = linear(x.astype(np.float64), weights.values, bf16_to_float(bias))
    return y + residual if epilogue == "add" else y


@settings(max_examples=12, deadline=None)
@given(
    weight_format=st.sampled_from(FORMATS),
    epilogue=st.sampled_from(EPILOGUES),
    num_rows=st.integers(1, 130),
    num_outputs=st.integers(1, 130),
    num_inputs=st.sampled_from([32, 64, 96]),
    magnitude=st.sampled_from([1e-2, 1.0, 1e3]),
    seed=st.integers(0, 99),
)
def test_rows_are_projected(
    weight_format: Format,
    epilogue: Epilogue,
    num_rows: int,
    num_outputs: int,
    num_inputs: int,
    magnitude: float,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    weights = random_weights(rng, weight_format, num_outputs, num_inputs)
    bias = random_bf16(rng, num_outputs, scale=0.1)
    x = rng.standard_normal((num_rows, num_inputs), np.float32) * np.float32(magnitude)
    residual = rng.standard_normal((num_rows, num_outputs), np.float32)
    assert_close(
        run(weight_format, epilogue, weights, bias, x, residual),
        twin(epilogue, weights, bias, x, residual),
        TOLERANCES[weight_format],
        "the projection",
    )


@pytest.mark.parametrize("weight_format", FORMATS)
@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_rows_of_20b_are_projected_in_any_order(weight_format: Format, epilogue: Epilogue) -> None:
    rng = np.random.default_rng(0)
    weights = random_weights(rng, weight_format, 40, 2880)
    bias = random_bf16(rng, 40)
    x = rng.standard_normal((50, 2880), np.float32)
    residual = rng.standard_normal((50, 40), np.float32)
    assert_close(
        run(weight_format, epilogue, weights, bias, x, residual, orders=5),
        twin(epilogue, weights, bias, x, residual),
        TOLERANCES[weight_format],
        "the projection",
    )


@pytest.mark.parametrize("weight_format", FORMATS)
def test_a_specialised_pipeline_gives_the_same_bits(weight_format: Format) -> None:
    rng = np.random.default_rng(0)
    weights = random_weights(rng, weight_format, 40, 96)
    bias = random_bf16(rng, 40)
    x = rng.standard_normal((3, 96), np.float32)
    residual = np.zeros((3, 40), np.float32)
    np.testing.assert_array_equal(
        run(weight_format, "float", weights, bias, x, residual, constants={0: 96}),
        run(weight_format, "float", weights, bias, x, residual),
    )
