"""What Metal's compiler rejects does not compile here either, and the message says why."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import pytest
from metal_host import CompileError
from metal_host.tests.shim_support import both_compilers, kernels_of

# A kernel for each statement, several of them in a file; compilers stop after 20 errors.
KERNELS_IN_A_FILE = 8

HEADER = """#include <metal_simdgroup_matrix>
#include <metal_stdlib>
using namespace metal;
"""


def kernel_of(body: str, number: int = 0) -> str:
    """One line. In `body`, `output` is a device uint*, `lane` a uint."""
    return (
        f"kernel void rejected_{number}(device uint* output [[buffer(0)]], "
        f"uint lane [[thread_index_in_simdgroup]]) {{ {body} output[lane] = 1; }}\n"
    )


# A fragment of what clang says; of what g++ says, where that differs.
NO_CALL = "no matching function for call"
NO_OPERATOR = "invalid operands|no match for .operator"
NO_CONVERSION = "no viable conversion|conversion from .* to non-scalar type|no viable overloaded"

REJECTED = {
    # Types that Metal does not have.
    "double x = 1;": "Metal_has_no_double",
    "float x = static_cast<double>(lane);": "Metal_has_no_double",
    "float x = std::max(1.0f, 2.0f);": "Metal_has_no_namespace_std",
    # Vectors convert to another element type only when asked to.
    "half4 h = 0; float4 f = h;": NO_CONVERSION,
    "half4 h = 0; float4 f = 0; f += h;": f"{NO_OPERATOR}|{NO_CONVERSION}",
    "half4 h = 0; float4 f = h * float4(1);": NO_OPERATOR,
    "int4 i = 0; uint4 u = i;": NO_CONVERSION,
    "uint4 u = 0; uint4 x = u + int4(1);": NO_OPERATOR,
    "int4 i = 0; int4 x = i * 0.5f;": NO_OPERATOR,
    "float3 v = 0; float4 x = v;": NO_CONVERSION,
    "float4 v = 0; float3 x = v;": NO_CONVERSION,
    "float4 v = 0; float x = v;": "no viable conversion|cannot convert",
    "float4 v = 0; if (v == v) { output[0] = 1; }": "bool",
    "float4 v = 0; v.xy = float3(1);": "no viable overloaded|no match for .operator=",
    "float4 v = 0; float2 x = v % v;": NO_OPERATOR,
    "float4 v = 0; int4 x = int4(1) << v;": NO_OPERATOR,
    "bool4 b = true; bool4 x = b + b;": NO_OPERATOR,
    # Vectors are made of as many components as they have, of their own element type.
    "float4 v(1.0f, 2.0f);": "no matching constructor|no matching function",
    "float4 v(float2(1), float3(1));": "wrong number of vector components",
    "float4 v(half2(1), float2(1));": "convert them explicitly",
    "float2 v = float2(float4(1));": "no matching conversion|no matching function",
    # Swizzles.
    "float2 v = 0; float x = v.z;": "no member named 'z'|has no member named .z.",
    "float2 v = 0; float2 x = v.xz;": "no member named 'xz'|has no member named .xz.",
    "float4 v = 0; float2 x = v.xg;": "no member named 'xg'|has no member named .xg.",
    "float4 v = 0; v.xx = float2(1, 2);": "must not name a component twice",
    # Arguments of functions agree in type.
    "float x = max(1.0f, 1);": NO_CALL,
    "uint x = min(lane, 3);": NO_CALL,
    "float x = clamp(1.0f, 0, 1);": NO_CALL,
    "half4 h = 0; float4 x = max(h, float4(1));": NO_CALL,
    "float x = fma(1.0f, 1.0h, 1.0f);": NO_CALL,
    "float4 x = select(float4(0), float4(1), int4(1));": NO_CALL,
    "float x = dot(float4(1), half4(1));": NO_CALL,
    "float3 x = cross(float4(1), float4(1));": NO_CALL,
    # Functions exist for some types only.
    "float x = exp(1);": NO_CALL,
    "float x = sqrt(lane);": NO_CALL,
    "int x = popcount(1.0f);": NO_CALL,
    "float x = rotate(1.0f, 2.0f);": NO_CALL,
    "bool x = any(float4(1));": NO_CALL,
    "int x = mul24(short(1), short(2));": NO_CALL,
    "float x = pow(2.0f, 2);": NO_CALL,
    # as_type keeps the size.
    "ulong x = as_type<ulong>(lane);": "as_type needs types of the same size",
    # Simdgroups: no 64-bit types, no booleans, no bits of floats.
    "ulong x = simd_sum(ulong(1));": NO_CALL,
    "long x = simd_shuffle(long(1), 0);": NO_CALL,
    "bool x = simd_sum(true);": NO_CALL,
    "float x = simd_xor(1.0f);": NO_CALL,
    # Matrices: 8x8, of floating-point elements, loaded from memory of their own type.
    "simdgroup_matrix<float, 4, 4> m;": "8x8 elements only",
    "simdgroup_matrix<int, 8, 8> m;": "half, bfloat and float only",
    "simdgroup_half8x8 m; device float* p = 0; simdgroup_load(m, p, 8);": NO_CALL,
    "simdgroup_float8x8 a, b; a = a * b + a;": NO_OPERATOR,
    # Atomics: only by their functions, and only those that the type has.
    "threadgroup atomic_uint a; a = 1;": "deleted|no viable overloaded|use of deleted",
    "threadgroup atomic_uint a; a++;": "cannot increment|no .operator",
    "threadgroup atomic_uint a; atomic_uint b = a;": "deleted",
    "threadgroup atomic_ulong a; atomic_fetch_add_explicit(&a, 1, memory_order_relaxed);": NO_CALL,
    "threadgroup atomic_float a; atomic_fetch_max_explicit(&a, 1, memory_order_relaxed);": NO_CALL,
    "threadgroup atomic<half> a;": "no atomics of this type",
    "threadgroup uint a; atomic_fetch_add_explicit(&a, 1, memory_order_relaxed);": NO_CALL,
    "threadgroup atomic_uint a; atomic_load_explicit(&a, memory_order_seq_cst);": "seq_cst",
    # A bfloat is rounded when it is asked for.
    "bfloat b = 1.0f;": "no viable conversion|conversion from",
    # What C has besides.
    "float x = expf(1.0f);": "undeclared|not declared",
    "output[0] = threadgroup_barrier(mem_flags::mem_threadgroup);": "void",
    "threadgroup_barrier(2);": "no matching function|cannot convert",
}


def complaints(bodies: Sequence[str], compiler: str) -> dict[str, str]:
    """What the compiler says about each of these statements, all in one file."""
    kernels = "".join(kernel_of(body, i) for i, body in enumerate(bodies))
    with pytest.raises(CompileError) as caught:
        kernels_of(HEADER + kernels, compiler)
    # What one error is said to be, with what it follows from.
    blocks = re.split(r"(?m)^(?=\S+:\d+:\d+: error: )", str(caught.value))
    found = {}
    for i, body in enumerate(bodies):
        place = f"shim_generated.metal:{HEADER.count(chr(10)) + i + 1}:"
        found[body] = "".join(block for block in blocks if place in block)
    return found


@cache
def said_by_clang(index: int) -> dict[str, str]:
    """Of the statements of one file."""
    bodies = list(REJECTED)[index * KERNELS_IN_A_FILE :][:KERNELS_IN_A_FILE]
    return complaints(bodies, "clang++")


@pytest.mark.parametrize("body", list(REJECTED))
def test_what_metal_rejects_does_not_compile(body: str) -> None:
    said = said_by_clang(list(REJECTED).index(body) // KERNELS_IN_A_FILE)[body]
    assert said, f"Metal rejects this, the shim compiles it: {body}"
    assert re.search(REJECTED[body], said), said


# One of each kind: that g++ sees the same declarations as clang needs no test of its own.
@pytest.mark.parametrize(
    "body",
    [
        "double x = 1;",
        "half4 h = 0; float4 f = h;",
        "float4 v = 0; v.xx = float2(1, 2);",
        "float x = max(1.0f, 1);",
        "ulong x = simd_sum(ulong(1));",
        "threadgroup atomic<half> a;",
    ],
)
def test_what_metal_rejects_does_not_compile_with_gcc(body: str) -> None:
    with pytest.raises(CompileError, match=REJECTED[body]):
        kernels_of(HEADER + kernel_of(body), "g++")


@both_compilers
def test_the_text_around_the_statements_compiles(compiler: str) -> None:
    text = HEADER + kernel_of('static_assert(sizeof(1.0) == 4, "a literal is a float");')
    kernels_of(text, compiler)
