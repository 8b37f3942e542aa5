"""Math, common, geometric and relational functions beside numpy's, of float, half and vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from metal_host.tests.shim_support import (
    CLANG,
    GCC,
    Array,
    assert_same_bits,
    both_compilers,
    kernels_of,
    run_each,
    shim_kernels,
)

POINTS = 512  # arguments that each function is tried at

SPECIAL = [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -2.5, 1.0, -1.0, 3.49999, 8388609.0, -8388607.5]


@dataclass(frozen=True)
class Twin:
    """A function of Metal and what numpy makes of it in float64, for arguments of a range."""

    name: str
    truth: Callable[..., Any]
    low: float
    high: float
    num_arguments: int = 1
    is_exact: bool = False
    units: int = 4  # otherwise: how many units in the last place it may be off,
    scale: float = (
        0.0  # of its value, or of this where the value is smaller than what it is made of
    )

    def arguments(self) -> Array:
        """[arguments, POINTS], as float; the first ones are special where the range has them."""
        random = np.random.default_rng(sum(self.name.encode()))
        values = random.uniform(self.low, self.high, (self.num_arguments, POINTS))
        special = [x for x in SPECIAL if self.low <= x <= self.high]
        for row in values:
            row[: len(special)] = random.permutation(special)
        # Values that half has too, so that both types are asked the same.
        return values.astype(np.float16).astype(np.float32)


def away_from_zero(x: Array) -> Any:
    """round(): ties away from zero."""
    return np.copysign(np.floor(np.abs(x) + 0.5), x)


def smooth(a: Array, b: Array, x: Array) -> Any:
    t = np.clip((x - a) / (b - a), 0, 1)
    return t * t * (3 - 2 * t)


def median(x: Array, y: Array, z: Array) -> Any:
    return np.median([x, y, z], axis=0)


UNARY = [
    Twin("acos", np.arccos, -1, 1),
    Twin("acosh", np.arccosh, 1, 100),
    Twin("asin", np.arcsin, -1, 1),
    Twin("asinh", np.arcsinh, -50, 50),
    Twin("atan", np.arctan, -50, 50),
    Twin("atanh", np.arctanh, -0.99, 0.99),
    Twin("ceil", np.ceil, -100, 100, is_exact=True),
    Twin("cos", np.cos, -30, 30),
    Twin("cosh", np.cosh, -8, 8),
    Twin("cospi", lambda x: np.cos(np.pi * x), -8, 8, scale=1),
    Twin("exp", np.exp, -8, 8),
    Twin("exp10", lambda x: 10**x, -4, 4),
    Twin("exp2", np.exp2, -10, 10),
    Twin("fabs", np.abs, -100, 100, is_exact=True),
    Twin("abs", np.abs, -100, 100, is_exact=True),
    Twin("floor", np.floor, -100, 100, is_exact=True),
    Twin("fract", lambda x: x - np.floor(x), -100, 100, is_exact=True),
    Twin("log", np.log, 0.01, 100),
    Twin("log10", np.log10, 0.01, 100),
    Twin("log2", np.log2, 0.01, 100),
    Twin("rint", np.rint, -100, 100, is_exact=True),
    Twin("round", away_from_zero, -100, 100, is_exact=True),
    Twin("rsqrt", lambda x: 1 / np.sqrt(x), 0.01, 100),
    Twin("saturate", lambda x: np.clip(x, 0, 1), -2, 2, is_exact=True),
    Twin("sign", np.sign, -2, 2, is_exact=True),
    Twin("sin", np.sin, -30, 30),
    Twin("sinh", np.sinh, -8, 8),
    Twin("sinpi", lambda x: np.sin(np.pi * x), -8, 8, scale=1),
    Twin("sqrt", np.sqrt, 0, 100, is_exact=True),
    Twin("tan", np.tan, -1.5, 1.5),
    Twin("tanh", np.tanh, -8, 8),
    Twin("trunc", np.trunc, -100, 100, is_exact=True),
]
BINARY = [
    Twin("atan2", np.arctan2, -10, 10, 2),
    Twin("copysign", np.copysign, -10, 10, 2, is_exact=True),
    Twin("divide", np.divide, 0.5, 10, 2, is_exact=True),
    Twin("fdim", lambda x, y: np.maximum(x - y, 0), -10, 10, 2, is_exact=True),
    Twin("fmax", np.maximum, -10, 10, 2, is_exact=True),
    Twin("fmin", np.minimum, -10, 10, 2, is_exact=True),
    Twin("fmod", np.fmod, 0.5, 10, 2, is_exact=True),
    Twin("max", np.maximum, -10, 10, 2, is_exact=True),
    Twin("min", np.minimum, -10, 10, 2, is_exact=True),
    Twin("pow", np.power, 0.1, 5, 2),
    Twin("powr", np.power, 0.1, 5, 2),
    Twin("step", lambda edge, x: np.where(x < edge, 0.0, 1.0), -10, 10, 2, is_exact=True),
]
TERNARY = [
    Twin("clamp", lambda x, a, b: np.minimum(np.maximum(x, a), b), -9, 9, 3, is_exact=True),
    Twin("fma", lambda x, y, z: x * y + z, -10, 10, 3, is_exact=True),
    Twin("fmax3", lambda x, y, z: np.maximum(np.maximum(x, y), z), -9, 9, 3, is_exact=True),
    Twin("fmin3", lambda x, y, z: np.minimum(np.minimum(x, y), z), -9, 9, 3, is_exact=True),
    Twin("fmedian3", median, -9, 9, 3, is_exact=True),
    Twin("max3", lambda x, y, z: np.maximum(np.maximum(x, y), z), -9, 9, 3, is_exact=True),
    Twin("median3", median, -9, 9, 3, is_exact=True),
    Twin("min3", lambda x, y, z: np.minimum(np.minimum(x, y), z), -9, 9, 3, is_exact=True),
    Twin("mix", lambda x, y, t: x + (y - x) * t, -9, 9, 3, scale=170),
    Twin("smoothstep", smooth, -9, 9, 3, units=64, scale=1),
]

# What the tables' kernels are generated for: compiler, element type, number of elements.
FORMS = [
    *((CLANG, "float", 1), (CLANG, "half", 1), (CLANG, "float", 4), (CLANG, "half", 4)),
    *((CLANG, "float", 3), (GCC, "float", 4), (GCC, "half", 1)),
]


def table_kernel(twins: list[Twin], element: str, width: int) -> str:
    """One thread for each point; arguments and results are [functions, points * width]."""
    type_name = element if width == 1 else f"{element}{width}"
    num_arguments = twins[0].num_arguments
    parameters = "".join(
        f"device const {type_name}* a{n} [[buffer({n})]], " for n in range(num_arguments)
    )
    lines = []
    for row, twin in enumerate(twins):
        place = f"{row}u * points + i"
        arguments = ", ".join(f"a{n}[{place}]" for n in range(num_arguments))
        lines.append(f"    output[{place}] = {twin.name}({arguments});")
    return (
        "#include <metal_stdlib>\nusing namespace metal;\n"
        f"kernel void table({parameters}device {type_name}* output [[buffer({num_arguments})]],\n"
        "                  uint i [[thread_position_in_grid]],\n"
        "                  uint points [[threads_per_grid]]) {\n" + "\n".join(lines) + "\n}\n"
    )


def pack(values: Array, width: int) -> Array:
    """[..., POINTS] as vectors of `width`, of which those of 3 have a fourth element."""
    if width != 3:
        return values
    whole = values[..., : POINTS // 3 * 3].reshape(*values.shape[:-1], -1, 3)
    padded: Array = np.pad(whole, [(0, 0)] * (whole.ndim - 1) + [(0, 1)])
    return padded.reshape(*values.shape[:-1], -1)


@pytest.mark.parametrize("twins", [UNARY, BINARY, TERNARY], ids=["unary", "binary", "ternary"])
@pytest.mark.parametrize(("compiler", "element", "width"), FORMS)
def test_functions_do_what_numpys_do(
    compiler: str, twins: list[Twin], element: str, width: int
) -> None:
    dtype = np.float16 if element == "half" else np.float32
    arguments = [
        pack(np.stack([twin.arguments()[n] for twin in twins]), width).astype(dtype)
        for n in range(twins[0].num_arguments)
    ]
    output = np.full_like(arguments[0], 7)
    compiled = kernels_of(table_kernel(twins, element, width), compiler)
    storage = 4 if width == 3 else width
    run_each(compiled, "table", *arguments, output, threads=output.shape[1] // storage)
    # The fourth element of a float3 is nothing.
    is_element = np.arange(output.shape[1]) % storage < width
    for row, twin in enumerate(twins):
        given = [a[row, is_element].astype(np.float64) for a in arguments]
        with np.errstate(all="ignore"):
            expected = np.asarray(twin.truth(*given), np.float64)
        check_results(twin, output[row, is_element], expected, given)


def check_results(twin: Twin, actual: Array, expected: Array, given: list[Array]) -> None:
    def describe(i: int) -> str:
        return f"{twin.name}({', '.join(str(values[i]) for values in given)})"

    if twin.is_exact:
        # +0 and -0 are the same here: Metal does not say which one many functions return.
        assert_same_bits(actual + actual.dtype.type(0), expected.astype(actual.dtype) + 0, describe)
        return
    finite = np.isfinite(expected)
    epsilon = float(np.finfo(actual.dtype).eps)
    allowed = twin.units * epsilon * np.maximum(np.abs(expected), twin.scale)
    error = np.abs(actual.astype(np.float64) - expected)
    too_far = finite & ~(error <= allowed)
    if too_far.any():
        i = int(np.argmax(too_far))
        pytest.fail(f"{describe(i)} is {actual[i]!r}, expected {expected[i]!r}")


@both_compilers
def test_functions_with_several_results(compiler: str) -> None:
    x = np.random.default_rng(3).uniform(-20, 20, 300).astype(np.float32)
    output = np.zeros((300, 9), np.float32)
    run_each(shim_kernels("math", compiler), "several_results", x, output, threads=300)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(output[:, 0], np.sin(exact), atol=3e-7)
    np.testing.assert_allclose(output[:, 1], np.cos(exact), atol=3e-7)
    np.testing.assert_array_equal(output[:, 2], x - np.trunc(x))
    np.testing.assert_array_equal(output[:, 3], np.trunc(x))
    mantissa, exponent = np.frexp(x)
    np.testing.assert_array_equal(output[:, 4], mantissa)
    np.testing.assert_array_equal(output[:, 5], exponent)
    np.testing.assert_array_equal(output[:, 6], x * 8)
    np.testing.assert_array_equal(output[:, 7], exponent - 1)
    np.testing.assert_allclose(output[:, 8], 1, rtol=1e-6)


@both_compilers
def test_functions_of_both_precisions(compiler: str) -> None:
    x = np.random.default_rng(3).uniform(-8, 8, 300).astype(np.float32)
    output = np.zeros((300, 6), np.float32)
    run_each(shim_kernels("math", compiler), "of_both_precisions", x, output, threads=300)
    exact = x.astype(np.float64)
    for column in (0, 1, 2):
        np.testing.assert_allclose(output[:, column], np.exp(exact), rtol=1e-6)
    np.testing.assert_allclose(output[:, 3], np.cos(exact), atol=1e-6)
    np.testing.assert_allclose(output[:, 4], 1 / np.sqrt(np.abs(exact)), rtol=1e-6)
    np.testing.assert_allclose(output[:, 5], np.log(np.abs(exact)), rtol=1e-6, atol=1e-7)


@both_compilers
def test_predicates(compiler: str) -> None:
    x = np.array([1, -1, 0, -0.0, np.nan, np.inf, -np.inf, 1e-40, 1e-6, -3e38], np.float32)
    output = np.zeros((len(x), 8), bool)
    run_each(shim_kernels("math", compiler), "predicates", x, output, threads=len(x))
    tiny = np.finfo(np.float32).tiny
    with np.errstate(over="ignore"):
        halves = x.astype(np.float16)
    expected = [
        np.isnan(x),
        np.isinf(x),
        np.isfinite(x),
        np.isfinite(x) & (np.abs(x) >= tiny),
        np.signbit(x),
        np.isnan(x),
        np.isnan(x),
        np.isfinite(halves) & (np.abs(halves) >= np.finfo(np.float16).tiny),
    ]
    np.testing.assert_array_equal(output, np.stack(expected, axis=1))


@both_compilers
def test_selections(compiler: str) -> None:
    a, b = np.array([[1, -2, 3, -4], [-1, 0, 5, -6]], np.float32)
    output = np.zeros((5, 4), np.float32)
    compiled = shim_kernels("math", compiler)
    run_each(compiled, "selections", np.stack([a, b]), output, threads=1)
    expected = [np.maximum(a, b), np.maximum(a, 0), np.full(4, b[0]), [b[0], a[2], b[2], a[0]]]
    expected.append(np.clip(a, b[0], 2))
    np.testing.assert_array_equal(output, np.stack(expected))


@both_compilers
def test_geometry(compiler: str) -> None:
    a, b = np.array([[1, -2, 3, -4], [-1, 0.5, 5, -6]], np.float32)
    output = np.zeros(14, np.float32)
    compiled = shim_kernels("math", compiler)
    run_each(compiled, "geometry", np.stack([a, b]), output, threads=1)
    expected = [
        *(a @ b, a[:3] @ b[:3], a[:2] @ b[2:], np.linalg.norm(a), a[:3] @ a[:3]),
        *(np.linalg.norm(a - b), *(a / np.linalg.norm(a)), *np.cross(a[:3], b[:3]), a @ b),
    ]
    np.testing.assert_allclose(output, np.array(expected), rtol=1e-6)


@both_compilers
def test_constants(compiler: str) -> None:
    output = np.zeros(13, np.float32)
    run_each(shim_kernels("math", compiler), "constants", output, threads=13)
    limits = np.finfo(np.float32)
    expected = np.array(
        [
            *(np.pi, np.e, np.log(2), 1 / np.log(2), np.sqrt(0.5), limits.max, limits.eps),
            *(limits.min, -(2.0**31), (2 - 2.0**-7) * 2.0**127, np.inf, limits.max, 1 / 3),
        ]
    ).astype(np.float32)
    assert_same_bits(output, expected, lambda i: f"constant {i}")
