"""Integer functions of every width, beside Python's own integers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import numpy as np
import pytest
from metal_host.tests.shim_support import (
    CLANG,
    GCC,
    Array,
    both_compilers,
    kernels_of,
    run_each,
    shim_kernels,
)

TYPES: dict[str, Any] = {
    "char": np.int8,
    "uchar": np.uint8,
    "short": np.int16,
    "ushort": np.uint16,
    "int": np.int32,
    "uint": np.uint32,
    "long": np.int64,
    "ulong": np.uint64,
}


class Width:
    """Arithmetic of one integer type, on Python's integers of any size."""

    def __init__(self, dtype: Any) -> None:
        limits = np.iinfo(dtype)
        self.bits = limits.bits
        self.low = int(limits.min)
        self.high = int(limits.max)

    def unsigned(self, x: int) -> int:
        return x & ((1 << self.bits) - 1)

    def wrap(self, x: int) -> int:
        x = self.unsigned(x)
        return x - (1 << self.bits) if x > self.high else x

    def saturate(self, x: int) -> int:
        return min(max(x, self.low), self.high)

    def clz(self, x: int) -> int:
        return self.bits - self.unsigned(x).bit_length()

    def ctz(self, x: int) -> int:
        return (x & -x).bit_length() - 1 if x else self.bits

    def popcount(self, x: int) -> int:
        return self.unsigned(x).bit_count()

    def reverse_bits(self, x: int) -> int:
        return self.wrap(int(f"{self.unsigned(x):0{self.bits}b}"[::-1], 2))

    def rotate(self, x: int, y: int) -> int:
        count = y % self.bits
        return self.wrap(self.unsigned(x) << count | self.unsigned(x) >> (self.bits - count))

    def low24(self, x: int) -> int:
        x %= 2**24
        return x - 2**24 if self.low < 0 and x >= 2**23 else x


Function = Callable[..., int]


def functions(w: Width) -> dict[str, tuple[int, Function]]:
    """Name -> number of arguments and what the function returns, before it is wrapped."""
    found: dict[str, tuple[int, Function]] = {
        "abs": (1, abs),
        "clz": (1, w.clz),
        "ctz": (1, w.ctz),
        "popcount": (1, w.popcount),
        "reverse_bits": (1, w.reverse_bits),
        "addsat": (2, lambda x, y: w.saturate(x + y)),
        "subsat": (2, lambda x, y: w.saturate(x - y)),
        "hadd": (2, lambda x, y: (x + y) >> 1),
        "rhadd": (2, lambda x, y: (x + y + 1) >> 1),
        "max": (2, max),
        "min": (2, min),
        "mulhi": (2, lambda x, y: (x * y) >> w.bits),
        "rotate": (2, w.rotate),
        "clamp": (3, lambda x, y, z: min(max(x, y), z)),
        "madhi": (3, lambda x, y, z: ((x * y) >> w.bits) + z),
        "madsat": (3, lambda x, y, z: w.saturate(x * y + z)),
        "max3": (3, max),
        "median3": (3, lambda *xyz: sorted(xyz)[1]),
        "min3": (3, min),
    }
    if w.bits == 32:
        found["mul24"] = (2, lambda x, y: w.low24(x) * w.low24(y))
        found["mad24"] = (3, lambda x, y, z: w.low24(x) * w.low24(y) + z)
    return found


def arguments(w: Width, seed: int) -> list[int]:
    """Edges of the type, small numbers and random ones of every length."""
    random = np.random.default_rng(seed)
    edges = [w.low, w.low + 1, w.high, w.high - 1, 0, 1, 2, w.high // 2, w.high // 3]
    lengths = random.integers(1, w.bits + 1, 247)
    anything = [w.wrap(int.from_bytes(random.bytes(8), "little") % 2 ** int(n)) for n in lengths]
    values = edges + anything
    return [values[i] for i in random.permutation(len(values))]


@pytest.mark.parametrize(
    ("compiler", "name"), [*product([CLANG], TYPES), *product([GCC], ["char", "int", "ulong"])]
)
def test_functions_of_integers(compiler: str, name: str) -> None:
    dtype = TYPES[name]
    w = Width(dtype)
    table = functions(w)
    columns = [arguments(w, seed) for seed in (1, 2, 3)]
    threads = len(columns[0])
    lines = "\n".join(
        f"    output[{row}u * points + i] = {function}({', '.join('xyz'[:count])});\n"
        f"    vectors[{row}u * points + i] = {function}({', '.join(('vx', 'vy', 'vz')[:count])}).y;"
        for row, (function, (count, _)) in enumerate(table.items())
    )
    text = f"""#include <metal_stdlib>
using namespace metal;
kernel void table(device const {name}* a [[buffer(0)]],
                  device const {name}* b [[buffer(1)]],
                  device const {name}* c [[buffer(2)]],
                  device {name}* output [[buffer(3)]],
                  device {name}* vectors [[buffer(4)]],
                  uint i [[thread_position_in_grid]],
                  uint points [[threads_per_grid]]) {{
    const {name} x = a[i], y = b[i], z = c[i];
    const {name}2 vx(1, x), vy(2, y), vz(3, z);
{lines}
}}
"""
    output = np.zeros((len(table), threads), dtype)
    vectors = np.zeros_like(output)
    compiled = kernels_of(text, compiler)
    buffers = [np.array(column, dtype) for column in columns]
    run_each(compiled, "table", *buffers, output, vectors, threads=threads)
    for row, (function, (count, truth)) in enumerate(table.items()):
        given = list(zip(*columns[:count], strict=True))
        expected = [w.wrap(truth(*xyz)) for xyz in given]
        check(f"{function} of {name}", given, output[row], expected)
        check(f"{function} of {name}2", given, vectors[row], expected)


def check(what: str, given: Iterable[Any], actual: Array, expected: list[int]) -> None:
    wrong = [
        f"{what} {arguments}: {result}, expected {right}"
        for arguments, result, right in zip(given, actual.tolist(), expected, strict=True)
        if result != right
    ]
    assert not wrong, f"{wrong[0]}; {len(wrong)} of {len(expected)} differ"


@both_compilers
def test_fields_of_bits(compiler: str) -> None:
    random = np.random.default_rng(7)
    cases = [(offset, width) for offset in range(33) for width in range(33 - offset)]
    values = random.integers(0, 2**32, len(cases), dtype=np.uint32)
    output = np.zeros((len(cases), 6), np.uint32)
    fields = np.array(cases, np.uint32)
    compiled = shim_kernels("integer", compiler)
    run_each(compiled, "bit_fields", values, fields, output, threads=len(cases))
    for value, (offset, width), results in zip(
        values.tolist(), cases, output.tolist(), strict=True
    ):
        mask = (1 << width) - 1
        field = value >> offset & mask
        negative = width > 0 and field >> (width - 1) & 1
        expected = [
            field,
            (field - (1 << width) if negative else field) % 2**32,
            value & ~(mask << offset) | (0xA5A5A5A5 & mask) << offset,
            ~value >> offset & mask,
            (value | mask << offset) % 2**32,
            field,
        ]
        assert results == expected, f"bits {offset} to {offset + width} of 0x{value:08X}"


@both_compilers
def test_absolute_differences_do_not_overflow(compiler: str) -> None:
    edges = [-(2**31), 2**31 - 1, 0, -1, 1, 12345]
    a, b = np.array([(x, y) for x in edges for y in edges], np.int32).T.copy()
    output = np.zeros(len(a), np.uint32)
    run_each(shim_kernels("integer", compiler), "differences", a, b, output, threads=len(a))
    expected = np.abs(a.astype(np.int64) - b)
    np.testing.assert_array_equal(output, expected)


@both_compilers
def test_scalars_are_promoted_and_vectors_are_not(compiler: str) -> None:
    a = np.arange(0, 256, 5, dtype=np.uint8)
    b = a[::-1].copy()
    output = np.zeros((len(a), 4), np.uint32)
    run_each(shim_kernels("integer", compiler), "promotions", a, b, output, threads=len(a))
    np.testing.assert_array_equal(output[:, 0], a.astype(int) + b)
    np.testing.assert_array_equal(output[:, 1], (a.astype(int) + b) % 256)
    np.testing.assert_array_equal(output[:, 2], a)
    np.testing.assert_array_equal(output[:, 3], a % 16)
