"""Clang's C++ for OpenCL finds what Metal's types forbid, at its line, and takes the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from metal_host.dialect import DialectUnavailableError, check_dialect, find_clang
from metal_host.findings import report
from metal_host.tests.slips import Slip, assert_found, read_slips, write


@pytest.fixture(scope="module", autouse=True)
def _clang() -> None:
    try:
        find_clang()
    except DialectUnavailableError as error:
        pytest.skip(str(error))


SLIPS = read_slips("dialect")


@pytest.mark.parametrize("slip", SLIPS, ids=str)
def test_a_slip_is_found_where_it_stands(tmp_path: Path, slip: Slip) -> None:
    path = write(tmp_path, slip.wrong)
    assert_found(check_dialect(path), path, slip.says)


@pytest.mark.parametrize("slip", SLIPS, ids=str)
def test_the_same_done_right_is_clean(tmp_path: Path, slip: Slip) -> None:
    findings = check_dialect(write(tmp_path, slip.right))
    assert not findings, report(findings)


TEMPLATE = """
template <typename T, uint n>
kernel void k(constant uint& count [[buffer(0)]], // one
              device T* output
              [[buffer(1)]],
              threadgroup float4* shared [[threadgroup(0)]],
              uint i [[thread_position_in_grid]]) {
    threadgroup vec<T, 4> tile[n][2];
    threadgroup atomic_uint hits;
    tile[i][0] = vec<T, 4>(shared[i]);
    output[i] = tile[i][1].x SPOILED;
    atomic_fetch_add_explicit(&hits, count, memory_order_relaxed);
}
template [[host_name("k_float_4")]] kernel decltype(k<float, 4>) k<float, 4>;
template [[host_name("k_half_1000")]] [[max_total_threads_per_threadgroup(256)]]
kernel decltype(k<half, 1000>) k<half, 1000>;
"""


def test_templates_of_kernels_are_checked_as_they_are_instantiated(tmp_path: Path) -> None:
    assert not check_dialect(write(tmp_path, TEMPLATE.replace("SPOILED", "")))
    path = write(tmp_path, TEMPLATE.replace("SPOILED;", "+ shared; // here"))
    assert_found(check_dialect(path), path, "invalid operands")


def test_the_memory_of_an_instance_is_what_counts(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        TEMPLATE.replace(" SPOILED", "").replace("hits;", "hits; // here").replace("1000", "2100"),
    )
    assert_found(check_dialect(path), path, "larger than 32768")


def test_structures_are_copied_between_address_spaces(tmp_path: Path) -> None:
    source = """
struct Pair { uint a; float b; };
void f(constant Pair& c, device Pair* d, threadgroup Pair* t, bool which) {
    Pair p = c;
    p = c;
    *d = p;
    t[1] = *d;
    p = which ? p : Pair{1, 2.0f};
    const Pair q = {p.a, c.b};
    *d = q;
}
"""
    findings = check_dialect(write(tmp_path, source))
    assert not findings, report(findings)
    path = write(tmp_path, source.replace("*d = q;", "c = q; // here"))
    assert check_dialect(path), "a write to constant memory was taken for a copy"


def test_function_constants_have_the_given_values(tmp_path: Path) -> None:
    source = """
enum Index { FIRST = 2 };
constant uint n [[function_constant(FIRST)]];
constant bool given = is_function_constant_defined(n);
constant uint m = given ? n : 1;
uint f(uint x) { return x / (m - 4) + (given ? n : 2); } // here
"""
    path = write(tmp_path, source)
    assert not check_dialect(path)
    assert not check_dialect(path, constants={2: 5})
    assert_found(check_dialect(path, constants={2: 4}), path, "division by zero")


def test_what_came_with_a_version_is_there_from_that_version_on(tmp_path: Path) -> None:
    path = write(tmp_path, "float f(bfloat2 x) { return float(x.y); } // here\n")
    assert not check_dialect(path, language_version="3.1")
    assert_found(check_dialect(path, language_version="3.0"), path, "bfloat2")


def test_a_slip_in_an_included_file_is_found_there(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    header = tmp_path / "sub" / "helper.h"
    header.write_text(
        '#pragma once\n#include "../other.h"\n'
        "inline device float* f(constant float* x) { return x; } // here\n"
    )
    (tmp_path / "other.h").write_text("#pragma once\n")
    path = write(tmp_path, '#include "sub/helper.h"\n#include "other.h"\n')
    assert_found(check_dialect(path), header, "constant float *")


def test_a_missing_include_is_a_finding(tmp_path: Path) -> None:
    findings = check_dialect(write(tmp_path, '#include "nowhere.h"\n'))
    assert "nowhere.h does not exist" in findings[0].text
