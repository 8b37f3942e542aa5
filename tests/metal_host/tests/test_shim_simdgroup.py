"""Operations among the lanes of a simdgroup, beside numpy's over arrays of 32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from metal_host import RunError
from metal_host.tests.shim_support import (
    Array,
    assert_same_bits,
    both_compilers,
    run_simdgroup,
    shim_kernels,
)

lane_numbers = np.arange(32)

TYPES: dict[str, Any] = {
    "char": np.int8,
    "ushort": np.uint16,
    "int": np.int32,
    "uint": np.uint32,
    "half": np.float16,
    "float": np.float32,
}


def row(i: Any) -> str:
    return f"row {i[0]}, lane {i[1]}"


@both_compilers
@pytest.mark.parametrize("name", list(TYPES))
def test_reductions_and_prefixes(compiler: str, name: str) -> None:
    dtype = TYPES[name]
    random = np.random.default_rng(1)
    # Powers of two: their products are exact, and of integers mostly 0 after a while.
    value = random.choice([1, 1, 1, 2, 3], 32).astype(dtype)
    if np.issubdtype(dtype, np.floating):
        value = random.choice([0.5, 1, 2, -1, -2], 32).astype(dtype)
    output = np.zeros((8, 32), dtype)
    run_simdgroup(shim_kernels("simdgroup", compiler), f"reductions_{name}", value, output)
    with np.errstate(over="ignore"):
        sums = np.cumsum(value, dtype=dtype)
        products = np.cumprod(value, dtype=dtype)
    first = np.zeros(1, dtype)
    expected = np.stack(
        [
            np.full(32, sums[-1]),
            np.full(32, products[-1]),
            np.full(32, value.max()),
            np.full(32, value.min()),
            sums,
            np.concatenate([first, sums[:-1]]),
            products,
            np.concatenate([first + dtype(1), products[:-1]]),
        ]
    )
    assert_same_bits(output + dtype(0), expected + dtype(0), row)


@both_compilers
def test_reductions_of_vectors(compiler: str) -> None:
    value = np.random.default_rng(2).integers(-99, 99, (32, 4)).astype(np.float32)
    output = np.zeros((4, 32, 4), np.float32)
    run_simdgroup(shim_kernels("simdgroup", compiler), "vector_reductions", value, output)
    sums = np.cumsum(value, axis=0)
    np.testing.assert_array_equal(output[0], np.tile(sums[-1], (32, 1)))
    extremes = [*value[:, 2:].max(axis=0), *value[:, :2].min(axis=0)]
    np.testing.assert_array_equal(output[1], np.tile(extremes, (32, 1)))
    np.testing.assert_array_equal(output[2], sums - value)
    np.testing.assert_array_equal(output[3], value[lane_numbers ^ 5])


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=32, max_size=32))
def test_sums_of_floats_are_as_good_as_a_tree_of_additions(values: list[float]) -> None:
    value = np.array(values, np.float32)
    output = np.zeros((8, 32), np.float32)
    run_simdgroup(shim_kernels("simdgroup"), "reductions_float", value, output)
    exact = value.astype(np.float64).sum()
    # Five levels of additions, each of which rounds terms that are at most as large as this:
    allowed = 5 * np.finfo(np.float32).eps * np.abs(value.astype(np.float64)).sum()
    assert np.abs(output[0] - exact).max() <= allowed


@both_compilers
@pytest.mark.parametrize("name", ["uchar", "int", "uint"])
def test_bitwise_reductions(compiler: str, name: str) -> None:
    dtype: Any = {"uchar": np.uint8, "int": np.int32, "uint": np.uint32}[name]
    limits = np.iinfo(dtype)
    value = np.random.default_rng(3).integers(limits.min, limits.max, 32, dtype, endpoint=True)
    value |= dtype(0x41)  # something that all have
    output = np.zeros((3, 32), dtype)
    run_simdgroup(shim_kernels("simdgroup", compiler), f"bitwise_{name}", value, output)
    for i, function in enumerate((np.bitwise_and, np.bitwise_or, np.bitwise_xor)):
        np.testing.assert_array_equal(output[i], np.full(32, function.reduce(value)))


@both_compilers
@pytest.mark.parametrize("name", ["uint", "half", "float4"])
@pytest.mark.parametrize("delta", [0, 1, 5, 16, 31])
def test_shuffles(compiler: str, name: str, delta: int) -> None:
    random = np.random.default_rng(delta)
    shape = (32, 4) if name == "float4" else (32,)
    dtype: Any = {"uint": np.uint32, "half": np.float16, "float4": np.float32}[name]
    value = random.integers(0, 1000, shape).astype(dtype)
    sources = random.integers(0, 32, 32).astype(np.uint32)
    output = np.zeros((8, *shape), dtype)
    run_simdgroup(
        shim_kernels("simdgroup", compiler),
        f"shuffles_{name}",
        *(value, sources, output, np.array([delta], np.uint32)),
    )
    expected = [
        value[sources],
        value[np.full(32, delta)],
        value[np.zeros(32, int)],
        value[lane_numbers ^ delta],
        value[np.where(lane_numbers + delta < 32, lane_numbers + delta, lane_numbers)],
        value[np.where(lane_numbers >= delta, lane_numbers - delta, lane_numbers)],
        value[(lane_numbers + delta) % 32],
        value[(lane_numbers - delta) % 32],
    ]
    assert_same_bits(output, np.stack(expected), row)


@both_compilers
@pytest.mark.parametrize("lanes", [32, 20, 1])
@pytest.mark.parametrize("votes", ["none", "some", "all"])
def test_votes(compiler: str, lanes: int, votes: str) -> None:
    answers = {"none": lane_numbers < 0, "some": lane_numbers % 3 == 1, "all": lane_numbers >= 0}[
        votes
    ]
    output = np.zeros((7, 32), np.uint32)
    compiled = shim_kernels("simdgroup", compiler)
    run_simdgroup(compiled, "votes", answers.astype(np.uint32), output, lanes=lanes)
    there = lane_numbers < lanes
    ballot = int(np.sum((answers & there) * 2.0**lane_numbers))
    expected = np.stack(
        [
            np.full(32, ballot),
            np.full(32, ballot != 0),
            np.full(32, answers[:lanes].all()),
            lane_numbers == 0,
            np.full(32, 2**lanes - 1),
            np.full(32, ballot != 0),
            np.full(32, ballot == 2**32 - 1),
        ]
    )
    np.testing.assert_array_equal(output, np.where(there, expected, 0).astype(np.uint32))


@given(st.sets(st.integers(0, 31), max_size=31))
def test_lanes_that_have_left_take_no_part(left: set[int]) -> None:
    leaves = np.isin(lane_numbers, list(left))
    output = np.full((6, 32), -1, np.float32)
    compiled = shim_kernels("simdgroup")
    run_simdgroup(compiled, "after_some_left", leaves.astype(np.uint32), output)
    stays = ~leaves
    first = int(np.flatnonzero(stays)[0])
    neighbour = np.where(
        lane_numbers < 31, np.where(np.roll(stays, -1), lane_numbers + 1.0, np.nan), lane_numbers
    )
    expected = np.stack(
        [
            np.full(32, lane_numbers[stays].sum()),
            np.full(32, lane_numbers[stays].max()),
            np.cumsum(stays) - stays,
            np.full(32, first),
            lane_numbers == first,
            neighbour,
        ]
    )
    expected = np.where(stays, expected, -1).astype(np.float32)
    assert_same_bits(output, expected, row)


@both_compilers
def test_quadgroups(compiler: str) -> None:
    value = np.random.default_rng(4).integers(1, 9, 32).astype(np.float32)
    output = np.zeros((7, 32), np.float32)
    run_simdgroup(shim_kernels("simdgroup", compiler), "quads", value, output)
    quad = value.reshape(8, 4)

    def repeated(of_quads: Array) -> Array:
        return np.repeat(of_quads, 4)

    expected = [
        repeated(quad.sum(axis=1)),
        repeated(quad.prod(axis=1)),
        repeated(quad.max(axis=1)),
        repeated(quad.min(axis=1)),
        quad[:, ::-1].ravel(),
        repeated(quad[:, 2]),
        value[lane_numbers ^ 1],
    ]
    assert_same_bits(output, np.stack(expected), row)


@both_compilers
def test_barriers_separate_rounds(compiler: str) -> None:
    output = np.zeros(64, np.uint32)
    compiled = shim_kernels("simdgroup", compiler)
    run_simdgroup(compiled, "synchronised", output, lanes=64)
    np.testing.assert_array_equal(output, (np.arange(64) + 1) % 64 + 4)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("shuffle_out_of_range", "simd_shuffle at .*shim_simdgroup.metal:.* reads lane 32"),
        ("quad_out_of_range", "quad_broadcast at .*shim_simdgroup.metal:.* reads lane 4"),
        ("divergent", "simd_sum.*shim_simdgroup.metal"),
    ],
)
@both_compilers
def test_what_the_gpu_leaves_undefined_is_an_error(
    compiler: str, kernel: str, message: str
) -> None:
    output = np.zeros(32, np.float32)
    with pytest.raises(RunError, match=message):
        run_simdgroup(shim_kernels("simdgroup", compiler), kernel, output)
