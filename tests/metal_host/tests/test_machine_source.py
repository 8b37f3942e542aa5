"""Metal sources become C++ line by line, and what cannot be rewritten is an error that says so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metal_host import SourceError
from metal_host.source import HostSource, read_source


def rewritten(folder: Path, text: str) -> list[str]:
    """The lines of a source as the compiler sees them, with single spaces."""
    path = folder / "kernels.metal"
    path.write_text(text)
    main = read_source(path).files[HostSource.MAIN_FILE]
    begin = f'#line 1 "{path}"\n'
    end = '\n#line 1 "registration'
    lines = main[main.index(begin) + len(begin) : main.index(end)].split("\n")
    return [" ".join(line.split()) for line in lines]


def read(folder: Path, text: str) -> HostSource:
    path = folder / "kernels.metal"
    path.write_text(text)
    return read_source(path)


# ---- What is rewritten -------------------------------------------------------------------------


def test_threadgroup_variables_become_references_into_threadgroup_memory(tmp_path: Path) -> None:
    lines = rewritten(
        tmp_path,
        """kernel void k(device float* x [[buffer(0)]]) {
    threadgroup float tile[8][9]; // threadgroup float in_a_comment[1];
    threadgroup vec<half, 4> vectors[4]; threadgroup uint scalar;
    threadgroup
        float
        tall[2];
    threadgroup float* pointer = tile[0];
    threadgroup const float (&reference)[9] = tile[1];
    x[0] = "threadgroup float in_a_string[1];"[0];
}""",
    )
    assert lines == [
        "kernel void k(device float* x ) {",
        "METAL_HOST_THREADGROUP(tile, ([8][9]), float); // threadgroup float in_a_comment[1];",
        "METAL_HOST_THREADGROUP(vectors, ([4]), vec<half, 4>); "
        "METAL_HOST_THREADGROUP(scalar, (), uint);",
        "METAL_HOST_THREADGROUP(tall, ([2]), float)",
        "",
        ";",
        "threadgroup float* pointer = tile[0];",
        "threadgroup const float (&reference)[9] = tile[1];",
        'x[0] = "threadgroup float in_a_string[1];"[0];',
        "}",
    ]


def test_function_constants_become_values_of_the_launch(tmp_path: Path) -> None:
    lines = rewritten(
        tmp_path,
        """constant uint size [[function_constant(3)]];
constant bool flag [[ function_constant( ns::FLAG ) ]];
constant uint other = 12;
constant uint derived = size > 2
    ? size : other;
constant uint further = derived + 1;
constant float table[2] = {1, 2};
""",
    )
    assert lines[:6] == [
        "METAL_HOST_FUNCTION_CONSTANT(size, 3, uint);",
        "METAL_HOST_FUNCTION_CONSTANT(flag, ns::FLAG, bool);",
        "constant uint other = 12;",
        "METAL_HOST_COMPUTED_CONSTANT(derived, uint) size > 2",
        "? size : other METAL_HOST_COMPUTED_END(derived, uint);",
        "METAL_HOST_COMPUTED_CONSTANT(further, uint) derived + 1 "
        "METAL_HOST_COMPUTED_END(further, uint);",
    ]
    assert lines[6] == "constant float table[2] = {1, 2};"


def test_instantiations_of_kernels_become_registrations(tmp_path: Path) -> None:
    text = """template <typename T, uint n> kernel void k(device T* x [[buffer(0)]]) { x[0] = n; }
template [[host_name("k_f")]] kernel decltype(k<float, 4>) k<float, 4>;
template [[host_name("k_v")]]
kernel void k<vec<uint, 2>, (1 + 2)>(device vec<uint, 2>* x [[buffer(0)]]);
template uint helper<3>(uint);
"""
    assert rewritten(tmp_path, text)[1:5] == ["", "", "", "template uint helper<3>(uint);"]
    kernels = read(tmp_path, text).kernels
    assert list(kernels) == ["k_f", "k_v"]
    assert "&::k<float, 4>," in kernels["k_f"].registration
    assert "&::k<vec<uint, 2>,(1+2)>," in kernels["k_v"].registration
    assert kernels["k_f"].line == 2


def test_attributes_of_c_plus_plus_stay_and_those_of_metal_go(tmp_path: Path) -> None:
    lines = rewritten(
        tmp_path,
        "[[max_total_threads_per_threadgroup(64)]] kernel void k(\n"
        "    [[maybe_unused]] uint a [[thread_position_in_grid]]) {\n"
        "    if (a > 1) [[unlikely]] { a = b[c[0]]; }\n"
        "}\n",
    )
    assert lines[:3] == [
        "kernel void k(",
        "[[maybe_unused]] uint a ) {",
        "if (a > 1) [[unlikely]] { a = b[c[0]]; }",
    ]


def test_includes_name_rewritten_copies(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "inner.h").write_text('#include "../outer.h"\nconstant int a = 1;\n')
    (tmp_path / "outer.h").write_text("#pragma once\nconstant int b [[function_constant(0)]];\n")
    source = read(
        tmp_path,
        '#include <metal_stdlib>\n# include "sub/inner.h" // "not.h"\n#include "outer.h"\n',
    )
    copies = {re.sub(r"^\d+_", "", name): name for name in source.files}
    main = source.files[HostSource.MAIN_FILE]
    assert f'# include "{copies["inner.h"]}" // "not.h"' in main
    assert f'#include "{copies["outer.h"]}"' in main
    assert "#include <metal_stdlib>" in main
    assert f'#include "{copies["outer.h"]}"' in source.files[copies["inner.h"]]
    outer = source.files[copies["outer.h"]]
    assert outer.startswith(f'#line 1 "{tmp_path / "outer.h"}"\n#pragma once\n')
    assert "METAL_HOST_FUNCTION_CONSTANT(b, 0, int);" in outer
    assert [path.name for path in source.sources] == ["outer.h", "inner.h", "kernels.metal"]


# Pieces of source of which some are rewritten, over one or several lines.
PIECES = [
    "// a comment with threadgroup float x[2]; and [[buffer(0)]]",
    "/* and one\n   over two lines: constant uint c [[function_constant(1)]]; */",
    "#define MACRO(x) ((x) + \\\n    1)",
    "constant uint SIZE{n} [[function_constant({n})]];",
    "constant uint TWICE{n} =\n    12;",
    "struct S{n} { float a; uint b[3]; };",
    "kernel void k{n}(device float* x [[buffer(0)]],\n  uint i [[thread_position_in_grid]])\n{{\n"
    "    threadgroup float\n        tile[64];\n    x[i] = tile[i]; }}",
    "template <uint c>\nkernel void t{n}(device uint* x [[buffer(0)]]) {{ x[0] = c; }}\n"
    'template [[host_name("t{n}_4")]]\nkernel decltype(t{n}<4>)\nt{n}<4>;',
    "inline float f{n}(float x) {{ return x < 1 ? x : 1; }}",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12))
@settings(max_examples=60, deadline=None)
def test_rewriting_keeps_every_line_where_it_is(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("source")
    text = "".join(
        piece.replace("{n}", str(n)).replace("{{", "{").replace("}}", "}") + f"\nint marker_{n};\n"
        for n, piece in enumerate(pieces)
    )
    lines = rewritten(folder, text)
    for number, line in enumerate(text.split("\n")):
        if line.startswith("int marker_"):
            assert lines[number] == line


# ---- What is read ------------------------------------------------------------------------------


def test_a_kernel_knows_its_parameters(tmp_path: Path) -> None:
    source = read(
        tmp_path,
        """[[host_name("other")]] kernel void k(
    constant Arguments& arguments [[buffer(0)]],
    const device vec<float, 4>* input [[ buffer( N + 1 ) ]],
    threadgroup float (*tile)[4] [[threadgroup(2)]],
    device float* optional [[buffer(5), function_constant(FLAG)]],
    ushort2 position [[thread_position_in_grid]]) {}
""",
    )
    assert list(source.kernels) == ["other"]
    assert [(p.attribute, p.name) for p in source.kernels["other"].parameters] == [
        ("buffer(0)", "arguments"),
        ("buffer(N+1)", "input"),
        ("threadgroup(2)", "tile"),
        ("buffer(5)", "optional"),
        ("thread_position_in_grid", "position"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "kernel void k() {\n    threadgroup float a[2], b[3];\n}",
            "kernels.metal:2: threadgroup variable a: declare one variable a line",
        ),
        (
            "kernel void k() {\n    threadgroup float a = 1;\n}",
            "kernels.metal:2: threadgroup variable a has an initialiser",
        ),
        (
            "inline void f() {\n    threadgroup float a;\n}",
            "kernels.metal:2: threadgroup variable a: only a kernel can declare one",
        ),
        (
            "#define TILE(n) threadgroup float tile[n];\n",
            "kernels.metal:1: a macro that declares a threadgroup variable",
        ),
        ("kernel void k(uint a) {}", r"parameter a of kernel k needs one attribute .* found: none"),
        (
            "kernel void k(\n    uint a [[thread_position]]) {}",
            r"kernels.metal:2: parameter a .* found: \[\[thread_position\]\]",
        ),
        (
            "namespace n {\nkernel void k() {}\n}",
            "kernels.metal:2: kernel k is inside a namespace or struct",
        ),
        ("kernel float k() {}", "kernel k has to be declared as `kernel void k"),
        ("kernel void k() {}\nkernel void k() {}", "kernels.metal:2: there is another kernel k in"),
        (
            "template <int n> kernel void k() {}\ntemplate kernel decltype(k<1>) k<1>;",
            r'kernels.metal:2: an instantiation of a kernel needs \[\[host_name\("..."\)\]\]',
        ),
        (
            'template [[host_name("a")]] kernel decltype(k<1>) k<1>;',
            "no kernel template of this file is instantiated",
        ),
        ('#include "missing.h"\n', "missing.h does not exist"),
        ("kernel void k() { (", r"'\(' is never closed"),
        (
            "constant uint n [[function_constant(0)]];\nconstant uint a[2] = {n, n};",
            "kernels.metal:2: a constant that depends on function constants has to be a number",
        ),
        (
            "constant uint n [[function_constant(0)]];\nconstant uint a{n};",
            "kernels.metal:2: a constant that depends on function constants has to be a number",
        ),
    ],
)
def test_what_cannot_be_rewritten_is_an_error_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        read(tmp_path, text)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"there is no file .*none\.metal"):
        read_source(tmp_path / "none.metal")
