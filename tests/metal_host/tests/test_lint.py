"""The lint finds each kind of slip at its line, and nothing in the same kernel done right."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metal_host.findings import report
from metal_host.lint import RULES, lint
from metal_host.syntax import Outline, spelled
from metal_host.tests.slips import HEADER, Slip, assert_found, read_slips, write
from metal_host.tokens import tokenize

SLIPS = [
    slip
    for name in ("language", "attributes", "addresses", "control_flow")
    for slip in read_slips(name)
]


@pytest.mark.parametrize("slip", SLIPS, ids=str)
def test_a_slip_is_found_where_it_stands(tmp_path: Path, slip: Slip) -> None:
    path = write(tmp_path, slip.wrong)
    findings = [finding for finding in lint(path) if finding.rule == slip.rule]
    assert_found(findings, path, slip.says)


@pytest.mark.parametrize("slip", SLIPS, ids=str)
def test_the_same_done_right_is_clean(tmp_path: Path, slip: Slip) -> None:
    findings = lint(write(tmp_path, slip.right))
    assert not findings, report(findings)


def test_every_rule_has_a_slip_and_a_reason() -> None:
    assert {slip.rule for slip in SLIPS} | {"system_include"} == set(RULES)
    for name, rule in RULES.items():
        assert rule.__doc__, f"the rule {name} does not say what it is for"


def test_only_headers_of_metal_are_included(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "#if !defined(__METAL_VERSION__)\n#include <cstdint>\n#endif\n#include <cmath> // here\n",
    )
    assert_found(lint(path), path, "<cmath>")


def test_a_kernel_file_without_the_standard_library_is_found(tmp_path: Path) -> None:
    path = tmp_path / "bare.metal"
    path.write_text("// nothing\n")
    assert "metal_stdlib" in lint(path)[0].text


def test_an_included_file_is_followed_and_found_missing(tmp_path: Path) -> None:
    helper = tmp_path / "helper.h"
    helper.write_text("inline uint g(uint x);\ninline uint f(uint x) { return g(x); }\n")
    path = write(tmp_path, '#include "helper.h"\nuint g(uint x) { return f(x); } // here\n')
    assert_found(lint(path), path, "calls itself")
    helper.unlink()
    assert "helper.h does not exist" in lint(path)[0].text


@pytest.mark.parametrize("text", ["kernel void f( {", "}", "x[(])"])
def test_unbalanced_brackets_are_a_finding(tmp_path: Path, text: str) -> None:
    assert [finding.rule for finding in lint(write(tmp_path, text))] == ["source"]


def test_comments_strings_and_attributes_hide_nothing_and_show_nothing(tmp_path: Path) -> None:
    text = (
        "// double x = 1.0; goto\n"
        '/* threadgroup float x; "\n'
        " */ constant char name = '\"'; // kernel float\n"
    )
    assert not lint(write(tmp_path, text)), report(lint(write(tmp_path, text)))


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r")))
def test_tokens_are_the_whole_text(text: str) -> None:
    tokens = tokenize(text)
    assert "".join(token.text for token in tokens) == text
    for token in tokens:
        assert text.startswith(token.text, token.offset)
        assert token.line == text.count("\n", 0, token.offset) + 1


PIECES = [
    "x",
    "float4",
    "0x1p-3f",
    "1e5",
    '"a // b"',
    "'\\''",
    "/* * */",
    "// c\n",
    "\n",
    " ",
    "\\\n",
    "#",
    "[[",
    "]]",
]


@given(
    st.lists(
        st.sampled_from([*PIECES, "::", "<<=", ">", "->", "(", ")", "{", "}", "u8", "...", "1'000"])
    )
)
def test_tokens_of_sources_are_the_whole_text(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert "".join(token.text for token in tokenize(text)) == text


def test_the_outline_of_a_file() -> None:
    source = (
        HEADER
        + """
namespace n {
struct Pair { uint a; float b; };
template <typename T, uint n = (1 > 0)>
inline vec<T, 4> helper(thread const vec<T, 4>& x, threadgroup float (&tile)[2], uint = 3) {
    return x;
}
}
kernel void k(constant n::Pair* pairs [[buffer(0)]], uint2 at [[thread_position_in_grid]]) {
    threadgroup float a[2][3], b;
}
"""
    )
    outline = Outline(Path("k.metal"), source)
    helper, k = outline.functions
    assert (helper.name, k.name, helper.is_kernel, k.is_kernel) == ("helper", "k", False, True)
    assert [(spelled(p.type), p.name) for p in helper.parameters] == [
        ("thread const vec<T, 4>&", "x"),
        ("threadgroup float(&)[2]", "tile"),
        ("uint", ""),
    ]
    assert [p.attributes[0].name for p in k.parameters] == ["buffer", "thread_position_in_grid"]
    assert [(v.name, spelled(v.extents)) for v in outline.threadgroup_variables(k)] == [
        ("a", "[2][3]"),
        ("b", ""),
    ]
