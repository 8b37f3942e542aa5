"""read_structs: a C header's structs, laid out as the compiler lays them out."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metal_host import SourceError, read_structs
from metal_host.compiler import find_compiler


def structs_of(folder: Path, text: str) -> dict[str, type[ctypes.Structure]]:
    path = folder / "arguments.h"
    path.write_text(text)
    return read_structs(path)


def test_structs_are_read_with_their_members_in_order(tmp_path: Path) -> None:
    structs = structs_of(
        tmp_path,
        """#pragma once
namespace ns {
// struct NotThis { int a; };
struct Inner { // comment
    uint32_t rows, columns; /* two
    lines */
    float scale[2][3];
};
struct Outer {
    uint64_t offset;
    Inner inner;
};
} // namespace ns
""",
    )
    assert list(structs) == ["Inner", "Outer"]
    assert [name for name, *_ in structs["Inner"]._fields_] == ["rows", "columns", "scale"]
    assert ctypes.sizeof(structs["Inner"]) == 32
    value = structs["Outer"](offset=1 << 40, inner=structs["Inner"](rows=3, columns=4))
    value.inner.scale[1][2] = 0.5
    copy = structs["Outer"].from_buffer_copy(bytes(value))
    assert (copy.offset, copy.inner.columns, copy.inner.scale[1][2]) == (1 << 40, 4, 0.5)


@pytest.mark.parametrize(
    "member", ["double x", "half x", "float* x", "uint32_t x : 3", "float x[N]", "long x"]
)
def test_a_member_of_another_type_is_an_error(tmp_path: Path, member: str) -> None:
    with pytest.raises(SourceError) as caught:
        structs_of(tmp_path, f"\nstruct Odd {{ uint32_t a; {member}; }};")
    text = str(caught.value)
    assert "arguments.h:2: struct Odd: cannot read the member" in text
    assert member.split("[")[0] in text


TYPES = ["uint32_t", "int32_t", "uint64_t", "int64_t", "uint16_t", "int16_t", "uint8_t", "int8_t"]


@given(
    st.lists(
        st.tuples(st.sampled_from([*TYPES, "float"]), st.integers(0, 3)), min_size=1, max_size=12
    )
)
@settings(max_examples=15, deadline=None)
def test_the_layout_is_the_compilers(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("structs")
    lines = "".join(
        f"    {kind} m{n}{f'[{count}]' if count else ''};\n"
        for n, (kind, count) in enumerate(members)
    )
    struct = structs_of(folder, f"struct S {{\n{lines}}};\n")["S"]
    checks = [f"static_assert(sizeof(S) == {ctypes.sizeof(struct)});"]
    for n in range(len(members)):
        checks.append(f"static_assert(offsetof(S, m{n}) == {getattr(struct, f'm{n}').offset});")
    program = '#include <cstddef>\n#include <cstdint>\n#include "arguments.h"\n' + "\n".join(checks)
    compiler = find_compiler("plain")
    command = [compiler.path, "-fsyntax-only", "-x", "c++", f"-I{folder}", "-"]
    result = subprocess.run(command, input=program, text=True, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
