"""metal/norm.metal: RMSNorm of rows."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from metal_kernels import Output, arguments, assert_close, geometry, launch, random_bf16
from numpy.typing import NDArray
from reference import RMSNORM_EPSILON, Array, bf16_to_float, rms_norm


def run(x: NDArray[np.float32], gain: NDArray[np.uint16], orders: int | None = None) -> Array:
    num_rows, num_columns = x.shape
    output = Output(x.shape, np.float32)
    launch(
        "norm.metal",
        "norm",
        threadgroups=(num_rows, 1, 1),
        threads_per_threadgroup=(geometry("kNormThreads"), 1, 1),
        buffers={
            0: arguments("NormArguments", num_columns=num_columns, epsilon=RMSNORM_EPSILON),
            1: x,
            2: gain,
            3: output.buffer,
        },
        orders=orders,
    )
    return output.values("norm")


def twin(x: NDArray[np.float32], gain: NDArray[np.uint16]) -> Array:
    return rms_norm(x.astype(np.float64), bf16_to_float(gain).astype(np.float64))


@settings(max_examples=20, deadline=None)
@given(
    num_rows=st.integers(1, 5),
    num_columns=st.sampled_from([32, 64, 96, 1024, 1056]),
    # The smallest: rows so quiet that epsilon outweighs their mean square.
    magnitude=st.sampled_from([1e-4, 0.02, 1.0, 1e4]),
    seed=st.integers(0, 99),
)
def test_rows_are_normalised(num_rows: int, num_columns: int, magnitude: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((num_rows, num_columns), np.float32) * np.float32(magnitude)
    gain = random_bf16(rng, num_columns)
    assert_close(run(x, gain), twin(x, gain), 1e-5, "norm")


def test_rows_of_20b_are_normalised_in_any_order() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 2880), np.float32)
    gain = random_bf16(rng, 2880)
    assert_close(run(x, gain, orders=5), twin(x, gain), 1e-5, "norm")
