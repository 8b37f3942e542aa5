"""Vectors: layout, construction, conversion, all operators, all swizzles."""

from __future__ import annotations

import operator
from collections.abc import Callable
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from metal_host import RunError
from metal_host.tests.shim_support import (
    CLANG,
    GCC,
    Array,
    aligned,
    assert_same_bits,
    both_compilers,
    kernels_of,
    run_each,
    shim_kernels,
)

ALPHABETS = ("xyzw", "rgba")

# Metal's element types with 16 to 64 bits' arithmetic, as numpy names them.
TYPES = {
    "char": np.int8,
    "uchar": np.uint8,
    "short": np.int16,
    "ushort": np.uint16,
    "int": np.int32,
    "uint": np.uint32,
    "long": np.int64,
    "ulong": np.uint64,
    "half": np.float16,
    "float": np.float32,
}
ARITHMETIC = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}
OF_INTEGERS = {
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
}
COMPARISONS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@both_compilers
def test_vectors_are_made_of_scalars_and_vectors(compiler: str) -> None:
    output = np.zeros((20, 4), np.float32)
    abcd = np.array([1.5, 2.5, 3.5, 4.5], np.float32)
    run_each(shim_kernels("vectors", compiler), "constructors", abcd, output, threads=1)
    a, b, c, d = abcd
    expected = np.tile(abcd, (20, 1))
    expected[9] = expected[10] = a
    expected[11] = 3
    expected[12] = [1, 2, a, 4]
    expected[16] = [1, -2, 3, -4]
    expected[18] = [1, 2, 1, 2]
    expected[19] = [c, b, a, d]
    assert_same_bits(output, expected, lambda i: f"component {i[1]} of constructor {i[0]}")


@both_compilers
def test_conversions_cut_off(compiler: str) -> None:
    output = np.zeros((8, 4), np.int32)
    value = np.array([[-1.75, 0.0, 100.99, -0.5]], np.float32)
    run_each(shim_kernels("vectors", compiler), "conversions", value, output, threads=1)
    whole = [-1, 0, 100, 0]
    expected = [whole, whole, whole, [1, 0, 100, 0], whole, [1, 0, 1, 1], [-1, 0, 101, 0]]
    expected.append([255, 0, 100, 0])
    assert_same_bits(output, np.array(expected, np.int32), lambda i: f"conversion {i[0]}")


@both_compilers
def test_sizes_and_alignments_are_metals(compiler: str) -> None:
    output = np.zeros((54, 2), np.uint32)
    run_each(shim_kernels("vectors", compiler), "sizes", output, threads=1)
    expected = []
    for element_size in (1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 8, 8):
        expected += [(element_size * n, element_size * n) for n in (1, 2, 4, 4)]
    for packed_size in (2, 4):
        expected += [(packed_size * n, packed_size) for n in (2, 3, 4)]
    assert [tuple(row) for row in output.tolist()] == expected


@both_compilers
def test_packed_vectors_have_no_padding(compiler: str) -> None:
    threads = 37
    random = np.random.default_rng(1)
    value = random.standard_normal((threads, 3), dtype=np.float32)
    output = np.zeros((4, threads, 3), np.float32)
    layout = np.zeros(2, np.uint32)
    compiled = shim_kernels("vectors", compiler)
    run_each(compiled, "packed", value, output, layout, threads=threads)
    np.testing.assert_array_equal(output[0], value[:, ::-1])
    np.testing.assert_array_equal(output[1], value * 2 + value)
    one_more = value + np.float32(1)
    one_more[:, 2] = value[:, 0]
    np.testing.assert_array_equal(output[2], one_more)
    squares = np.sum(value.astype(np.float64) ** 2, axis=1)
    np.testing.assert_allclose(output[3, :, 1], squares, rtol=1e-6)
    np.testing.assert_allclose(output[3, :, 2], np.sqrt(squares), rtol=1e-6)
    assert layout.tolist() == [12, 3]


@both_compilers
def test_the_same_bits_as_another_type(compiler: str) -> None:
    value = np.array([0x41200000, 0x3C004000, 0x04030201, 0x00060005], np.uint32)
    output = np.zeros((7, 4), np.uint32)
    run_each(shim_kernels("vectors", compiler), "reinterpretation", value, output, threads=1)
    expected = [
        value.tolist(),
        [10, 10, 10, 10],
        [2, 1, 1, 2],
        [1, 2, 3, 4],
        [0x41200000, 0x00060005, 0, 0],
        [0x0201, 0x0403, 5, 6],
        [0x00000000, 0x40000000, 0x02010000, 0x00050000],
    ]
    assert_same_bits(output, np.array(expected, np.uint32), lambda i: f"row {i[0]}, element {i[1]}")


@both_compilers
def test_assignment_to_a_part_leaves_the_rest_alone(compiler: str) -> None:
    v = np.tile(np.array([1, 2, 3, 4], np.float32), (12, 1))
    v[5] = [50, 60, 70, 80]
    run_each(shim_kernels("vectors", compiler), "partial_assignment", v, threads=1)
    expected = [
        [10, 2, 3, 4],
        [1, 2, 10, 20],
        [4, 2, 3, 1],
        [3, 1, 2, 4],
        [1, 60, 70, 4],
        [51, 61, 71, 80],
        [2, 2, 9, 4],
        [1, 2, 10, 4],
        [7, 8, 7, 8],
        [1, 2, 3, 2],
        [5, 5, 5, 5],
        [0, 5, 4, 3],
    ]
    assert_same_bits(v, np.array(expected, np.float32), lambda i: f"vector {i[0]}, element {i[1]}")


def swizzles(size: int, distinct: bool = False) -> list[tuple[int, ...]]:
    """The components that each swizzle of a vector of `size` elements names."""
    if distinct:
        return [p for n in range(2, size + 1) for p in permutations(range(size), n)]
    return [p for n in (2, 3, 4) for p in product(range(size), repeat=n)]


def spelled(components: tuple[int, ...], alphabet: str) -> str:
    return "".join(alphabet[c] for c in components)


@pytest.mark.parametrize(("compiler", "size"), [(CLANG, 2), (CLANG, 3), (CLANG, 4), (GCC, 3)])
def test_every_swizzle_reads_its_components(compiler: str, size: int) -> None:
    cases = [(c, a) for c in swizzles(size) for a in ALPHABETS]
    lines = "".join(
        f"    output[{i}].{spelled((0, 1, 2, 3)[: len(c)], a)} = v.{spelled(c, a)};\n"
        for i, (c, a) in enumerate(cases)
    )
    text = f"""#include <metal_stdlib>
using namespace metal;
kernel void read(device const int{size}* input [[buffer(0)]],
                 device int4* output [[buffer(1)]],
                 uint thread_index [[thread_position_in_grid]]) {{
    const int{size} v = input[thread_index];
{lines}}}
"""
    value = np.array([10, 20, 30, 40], np.int32)
    output = np.zeros((len(cases), 4), np.int32)
    run_each(kernels_of(text, compiler), "read", value, output, threads=1)
    expected = np.zeros_like(output)
    for i, (components, _) in enumerate(cases):
        expected[i, : len(components)] = value[list(components)]
    assert_same_bits(output, expected, lambda i: f"v.{spelled(*cases[i[0]])}")


@pytest.mark.parametrize(("compiler", "size"), [(CLANG, 2), (CLANG, 3), (CLANG, 4), (GCC, 4)])
def test_every_swizzle_without_repetition_can_be_assigned_to(compiler: str, size: int) -> None:
    cases = [(c, a) for c in swizzles(size, distinct=True) for a in ALPHABETS]
    lines = "".join(
        f"    v[{i}].{spelled(c, a)} -= int4(100, 200, 300, 400).{'xyzw'[: len(c)]};\n"
        for i, (c, a) in enumerate(cases)
    )
    text = f"""#include <metal_stdlib>
using namespace metal;
kernel void assign(device int{size}* vectors [[buffer(0)]],
                   uint thread_index [[thread_position_in_grid]]) {{
    device int{size}* v = vectors + thread_index;
{lines}}}
"""
    storage = 4 if size == 3 else size
    v = np.tile(np.array([1, 2, 3, 4], np.int32)[:storage], (len(cases), 1))
    expected = v.copy()
    for i, (components, _) in enumerate(cases):
        expected[i, list(components)] -= np.arange(100, 500, 100)[: len(components)]
    run_each(kernels_of(text, compiler), "assign", v, threads=1)
    assert_same_bits(v, expected, lambda i: f"v.{spelled(*cases[i[0]])} -= ...")


def operands(dtype: Any, size: int) -> tuple[Array, Array, Any]:
    """Two rows of vectors and a scalar, within what all operations can take."""
    random = np.random.default_rng(size)
    if np.issubdtype(dtype, np.floating):
        a, b = random.standard_normal((2, size)).astype(dtype)
        return a, b, dtype(1.25)
    a = random.integers(0, 100, size).astype(dtype)
    if np.issubdtype(dtype, np.signedinteger):
        a = (a - 50).astype(dtype)
    return a, random.integers(1, 7, size).astype(dtype), dtype(3)


def quotient(a: Array, b: Array) -> Array:
    """As in C: towards zero."""
    if np.issubdtype(a.dtype, np.floating):
        return np.asarray(a / b)
    return np.asarray(np.trunc(a.astype(np.float64) / b), a.dtype)


def remainder(a: Array, b: Array) -> Array:
    return np.asarray(a - quotient(a, b) * b, a.dtype)


@pytest.mark.parametrize(
    ("compiler", "name"), [*product([CLANG], TYPES), (GCC, "uchar"), (GCC, "half"), (GCC, "float")]
)
def test_every_operator_of_every_vector_type(compiler: str, name: str) -> None:
    dtype = TYPES[name]
    is_integer = np.issubdtype(dtype, np.integer)
    functions: dict[str, Callable[..., Any]] = {**ARITHMETIC, "/": quotient}
    if is_integer:
        functions |= {"%": remainder, **OF_INTEGERS}
    lines: list[str] = []
    expected: list[Array] = []
    inputs: list[Array] = []

    def add(statement: str, size: int, result: Any) -> None:
        """`r` is the result of a statement; it is stored as a vector of four elements."""
        padding = ", 0" * (4 - size)
        store = f"{name}4(r{padding})" if padding else "r"
        lines.append(f"    {{ {name}{size} r; {statement}; output[{len(expected)}] = {store}; }}")
        expected.append(np.pad(np.asarray(result).astype(dtype), (0, 4 - size)))

    with np.errstate(all="ignore"):
        for size in (2, 3, 4):
            a, b, scalar = operands(dtype, size)
            inputs += [np.pad(a, (0, 4 - size)), np.pad(b, (0, 4 - size))]
            va, vb = (
                f"input[{len(inputs) - 2}].{'xyzw'[:size]}",
                f"input[{len(inputs) - 1}].{'xyzw'[:size]}",
            )
            lines.append(f"    const {name}{size} a{size} = {va}, b{size} = {vb};")
            spread = np.full(size, scalar, dtype)
            for symbol, function in functions.items():
                add(f"r = a{size} {symbol} b{size}", size, function(a, b))
                add(f"r = a{size} {symbol} {name}({scalar})", size, function(a, spread))
                add(f"r = {name}({scalar}) {symbol} b{size}", size, function(spread, b))
                add(f"r = a{size}; r {symbol}= b{size}", size, function(a, b))
                add(f"r = a{size}; r {symbol}= 2", size, function(a, np.full(size, 2, dtype)))
            for symbol, function in COMPARISONS.items():
                add(f"r = {name}{size}(a{size} {symbol} b{size})", size, function(a, b))
                add(
                    f"r = {name}{size}(b{size} {symbol} {name}({scalar}))",
                    size,
                    function(b, scalar),
                )
            add(f"r = -a{size}", size, -a)
            add(f"r = +a{size}", size, a)
            add(f"r = {name}{size}(!a{size})", size, a == 0)
            add(f"r = a{size}; ++r", size, a + dtype(1))
            add(f"r = a{size}; --r", size, a - dtype(1))
            if is_integer:
                add(f"r = ~a{size}", size, ~a)
    text = (
        f"#include <metal_stdlib>\nusing namespace metal;\n"
        f"kernel void operate(device const {name}4* input [[buffer(0)]],\n"
        f"                    device {name}4* output [[buffer(1)]],\n"
        f"                    uint thread_index [[thread_position_in_grid]]) {{\n"
        + "\n".join(lines)
        + "\n}\n"
    )
    output = aligned(np.zeros((len(expected), 4), dtype))
    compiled = kernels_of(text, compiler)
    run_each(compiled, "operate", aligned(np.stack(inputs)), output, threads=1)
    statements = [line for line in lines if "output" in line]
    assert_same_bits(
        np.where(output == 0, 0, output).astype(dtype),  # -0.0 % and the like: no matter
        np.where(np.stack(expected) == 0, 0, np.stack(expected)).astype(dtype),
        lambda i: f"element {i[1]} of {statements[i[0]].strip()}",
    )


@both_compilers
def test_logic_of_truth_values(compiler: str) -> None:
    text = """#include <metal_stdlib>
using namespace metal;
kernel void logic(device const bool4* input [[buffer(0)]], device bool4* output [[buffer(1)]],
                  uint thread_index [[thread_position_in_grid]]) {
    const bool4 a = input[0], b = input[1];
    output[thread_index] = a && b;
    output[1] = a || b;
    output[2] = !a;
    output[3] = a == b;
    output[4] = a != b;
    output[5] = a & b;
    output[6] = a | b;
    output[7] = a ^ b;
    output[8] = bool4(any(a), all(a), any(!(a || b)), all(a || !a));
    output[9] = bool4(any(b.xz), all(b.yw), all(a.xy), any(a.zw && b.zw));
}
"""
    a, b = np.array([[0, 0, 1, 1], [0, 1, 0, 1]], bool)
    output = np.zeros((10, 4), bool)
    compiled = kernels_of(text, compiler)
    run_each(compiled, "logic", np.stack([a, b]), output, threads=1)
    expected = [a & b, a | b, ~a, a == b, a != b, a & b, a | b, a ^ b]
    expected += [np.array([True, False, True, True]), np.array([False, True, False, True])]
    np.testing.assert_array_equal(output, np.stack(expected))


def test_a_misaligned_vector_is_noticed() -> None:
    data = np.zeros(16, np.float32)
    output = np.zeros(4, np.float32)
    compiled = shim_kernels("vectors", mode="asan")
    run_each(compiled, "misaligned", data, output, threads=1)
    with pytest.raises(RunError, match="misaligned"):
        run_each(compiled, "misaligned", data, output, threads=2)
