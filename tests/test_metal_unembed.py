"""metal/unembed.metal: logits of one row, with the final norm, and of several normalised rows."""

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
from reference import RMSNORM_EPSILON, Array, bf16_to_float, linear, rms_norm


def run_one_row(
    weight_format: Format,
    weights: DenseWeights,
    residual: NDArray[np.float32],
    gain: NDArray[np.uint16],
    *,
    orders: int | None = None,
) -> Array:
    """[vocabulary_size]"""
    vocabulary_size, num_inputs = weights.values.shape
    logits = Output((vocabulary_size,), np.float32)
    launch(
        "unembed.metal",
        f"unembed_{weight_format}",
        threadgroups=(ceil_divide(vocabulary_size, geometry("kMatvecOutputs")), 1, 1),
        threads_per_threadgroup=(geometry("kMatvecThreads"), 1, 1),
        buffers={
            0: arguments(
                "UnembedArguments",
                num_inputs=num_inputs,
                vocabulary_size=vocabulary_size,
                epsilon=RMSNORM_EPSILON,
            ),
            **weights.buffers,
            4: residual,
            5: gain,
            6: logits.buffer,
        },
        orders=orders,
    )
    return logits.values("logits")


def run_few_rows(
    weight_format: Format,
    weights: DenseWeights,
    normalized: NDArray[np.float32],
    *,
    orders: int | None = None,
) -> Array:
    """[num_rows, vocabulary_size]"""
    vocabulary_size, num_inputs = weights.values.shape
    num_rows = len(normalized)
    logits = Output((num_rows, vocabulary_size), np.float32)
    form = few_rows_form(min(num_rows, 32), (8, 32))
    launch(
        "unembed.metal",
        f"unembed_few_rows_{form}_{weight_format}",
        threadgroups=(
            ceil_divide(vocabulary_size, geometry("kFewRowsOutputs")),
            ceil_divide(num_rows, form),
            1,
        ),
        threads_per_threadgroup=(geometry("kFewRowsThreads"), 1, 1),
        buffers={
            0: arguments(
                "ProjectionArguments",
                num_inputs=num_inputs,
                num_outputs=vocabulary_size,
                num_rows=num_rows,
            ),
            **weights.buffers,
            4: normalized,
            5: logits.buffer,
        },
        orders=orders,
    )
    return logits.values("logits")


def twin_one_row(
    weights: DenseWeights, residual: NDArray[np.float32], gain: NDArray[np.uint16]
) -> Array:
    x = rms_norm(residual.astype(np.float64), bf16_to_float(gain).astype(np.float64))
    logits: Array = linear(x[None], weights.values)[0]
    return logits


@settings(max_examples=15, deadline=None)
@given(
    weight_format=st.sampled_from(FORMATS),
    vocabulary_size=st.integers(1, 99),
    num_inputs=st.sampled_from([32, 96, 544]),
    magnitude=st.sampled_from([1e-4, 0.02, 1.0, 1e4]),
    seed=st.integers(0, 99),
)
def test_a_row_becomes_logits(
    weight_format: Format, vocabulary_size: int, num_inputs: int, magnitude: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = random_weights(rng, weight_format, vocabulary_size, num_inputs)
    residual = rng.standard_normal(num_inputs, np.float32) * np.float32(magnitude)
    gain = random_bf16(rng, num_inputs)
    assert_close(
        run_one_row(weight_format, weights, residual, gain),
        twin_one_row(weights, residual, gain),
        1e-5,
        "logits",
    )


@settings(max_examples=10, deadline=None)
@given(
    weight_format=st.sampled_from(FORMATS),
    num_rows=st.integers(1, 40),
    vocabulary_size=st.integers(1, 99),
    num_inputs=st.sampled_from([32, 96]),
    seed=st.integers(0, 99),
)
def test_rows_become_logits(
    weight_format: Format, num_rows: int, vocabulary_size: int, num_inputs: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = random_weights(rng, weight_format, vocabulary_size, num_inputs)
    normalized = rng.standard_normal((num_rows, num_inputs), np.float32)
    assert_close(
        run_few_rows(weight_format, weights, normalized),
        linear(normalized.astype(np.float64), weights.values),
        1e-5,
        "logits",
    )


@pytest.mark.parametrize("weight_format", FORMATS)
def test_the_width_of_20b_in_any_order(weight_format: Format) -> None:
    rng = np.random.default_rng(0)
    weights = random_weights(rng, weight_format, 70, 2880)
    residual = rng.standard_normal(2880, np.float32)
    gain = random_bf16(rng, 2880)
    assert_close(
        run_one_row(weight_format, weights, residual, gain, orders=5),
        twin_one_row(weights, residual, gain),
        1e-5,
        "logits of one row",
    )
    normalized = rng.standard_normal((9, 2880), np.float32)
    assert_close(
        run_few_rows(weight_format, weights, normalized, orders=5),
        linear(normalized.astype(np.float64), weights.values),
        1e-5,
        "logits of 9 rows",
    )
