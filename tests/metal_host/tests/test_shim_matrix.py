"""Simdgroup matrices: which lane holds what, memory in any layout, products of all types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from metal_host import RunError
from metal_host.tests.shim_support import Array, both_compilers, run_simdgroup, shim_kernels


def position(lane: int) -> tuple[int, int]:
    """Row and column of the first of a lane's two elements, as MLX's kernels have it."""
    quad = lane // 4
    return (quad & 4) + lane // 2 % 4, (quad & 2) * 2 + lane % 2 * 2


def held_by_lanes(matrix: Array) -> Array:
    """[32, 2]"""
    return np.stack([matrix[position(lane)[0], position(lane)[1] :][:2] for lane in range(32)])


layouts = st.tuples(
    st.integers(8, 40),
    st.integers(0, 30),
    st.integers(0, 9),
    st.booleans(),
)


@given(layouts, layouts, st.sampled_from(["half", "float"]))
def test_matrices_are_loaded_from_and_stored_to_any_layout(
    source: tuple[int, int, int, bool], target: tuple[int, int, int, bool], name: str
) -> None:
    dtype: Any = {"half": np.float16, "float": np.float32}[name]

    def indices(stride: int, x: int, y: int, transpose: bool) -> Array:
        """Where in memory each element of the matrix is."""
        rows, columns = np.indices((8, 8))
        if transpose:
            rows, columns = columns, rows
        return np.asarray((y + rows) * stride + x + columns)

    memory = np.random.default_rng(1).permutation(2048).astype(dtype)
    output = np.full(2048, -1, dtype)
    elements = np.zeros((32, 2), dtype)
    run_simdgroup(
        shim_kernels("matrix"),
        f"load_and_store_{name}",
        *(np.array(source, np.uint32), np.array(target, np.uint32), memory, output, elements),
    )
    matrix = memory[indices(*source)]
    np.testing.assert_array_equal(elements, held_by_lanes(matrix))
    expected = np.full_like(output, -1)
    expected[indices(*target)] = matrix
    np.testing.assert_array_equal(output, expected)


PRODUCTS: dict[str, tuple[Any, Any, Any]] = {
    "multiply_float": (np.float32, np.float32, np.float32),
    "multiply_half_into_float": (np.float16, np.float16, np.float32),
    "multiply_half": (np.float16, np.float16, np.float16),
    "multiply_bfloat_and_float": (np.uint16, np.float32, np.float32),
}


@both_compilers
@pytest.mark.parametrize("kernel", list(PRODUCTS))
def test_products(compiler: str, kernel: str) -> None:
    random = np.random.default_rng(2)
    types = PRODUCTS[kernel]
    values = [random.integers(-8, 9, (8, 8)) / 4.0 for _ in range(3)]
    # These are exact as bfloats, too: their upper halves.
    a, b, c = (
        (v.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        if dtype is np.uint16
        else v.astype(dtype)
        for v, dtype in zip(values, types, strict=True)
    )
    output = np.zeros((2, 8, 8), types[2])
    run_simdgroup(shim_kernels("matrix", compiler), kernel, a, b, c, output)
    product = values[0] @ values[1]
    np.testing.assert_array_equal(output[0], (product + values[2]).astype(types[2]))
    np.testing.assert_array_equal(output[1], product.astype(types[2]))


def test_halves_are_accumulated_in_float() -> None:
    a = np.full((8, 8), 300, np.float16)
    output = np.zeros((2, 8, 8), np.float32)
    c = np.full((8, 8), 0.125, np.float32)
    run_simdgroup(shim_kernels("matrix"), "multiply_half_into_float", a, a, c, output)
    np.testing.assert_array_equal(output[0], 8 * 90000 + 0.125)  # beyond half's range


@both_compilers
def test_matrices_that_are_filled(compiler: str) -> None:
    output = np.zeros((3, 8, 8), np.float32)
    run_simdgroup(shim_kernels("matrix", compiler), "filled", output)
    np.testing.assert_array_equal(output[0], 2.5 * np.eye(8))
    np.testing.assert_array_equal(output[1], np.full((8, 8), 3.5))
    lanes = np.arange(32, dtype=np.float32)
    np.testing.assert_array_equal(held_by_lanes(output[2]), np.stack([lanes, -lanes], axis=1))


@pytest.mark.parametrize("mode", ["plain", "asan", "trace"])
def test_matrices_pass_through_threadgroup_memory(mode: str) -> None:
    value = np.random.default_rng(3).standard_normal((8, 8), dtype=np.float32)
    output = np.zeros((8, 8), np.float32)
    compiled = shim_kernels("matrix", mode=mode)
    run_simdgroup(compiled, "through_threadgroup_memory", value, output)
    np.testing.assert_array_equal(output, value.T)


@both_compilers
def test_a_lane_reads_and_writes_its_two_elements_at_once(compiler: str) -> None:
    """Traffic: the 32 lanes' pairs are one access of the simdgroup to each matrix."""
    a = np.ones((8, 8), np.float16)
    c = np.ones((8, 8), np.float32)
    result = shim_kernels("matrix", compiler, mode="trace").run(
        "multiply_half_into_float",
        threadgroups=(1, 1, 1),
        threads_per_threadgroup=(32, 1, 1),
        buffers={0: a, 1: a.copy(), 2: c, 3: np.zeros((2, 8, 8), np.float32)},
    )
    for buffer, matrix_bytes in ((0, 128), (1, 128), (2, 256)):
        read = result.traffic[buffer]
        assert (read.bytes_read, read.simdgroup_accesses) == (matrix_bytes, 1)
    written = result.traffic[3]
    assert (written.bytes_written, written.simdgroup_accesses) == (2 * 256, 2)


def test_a_product_needs_the_whole_simdgroup() -> None:
    a = np.zeros((8, 8), np.float32)
    output = np.zeros((2, 8, 8), np.float32)
    with pytest.raises(RunError, match=r"simdgroup_multiply_accumulate at .* needs all 32 lanes"):
        run_simdgroup(shim_kernels("matrix"), "multiply_float", a, a, a, output, lanes=31)
