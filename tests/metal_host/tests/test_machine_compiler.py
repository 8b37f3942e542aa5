"""Compilers and the cache: what is compiled when, and what errors say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from metal_host import CompileError, Library, compiler
from metal_host.compiler import cache_folder, find_compiler
from metal_host.sanitizer import is_loaded

KERNEL = """#include <metal_stdlib>
#include "factor.h"
using namespace metal;
kernel void scale(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
    x[i] *= FACTOR;
}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source, and a cache that has the machine but no kernels."""
    cache = tmp_path / "cache"
    cache.mkdir()
    Library(Path(__file__).parent / "kernels" / "machine_meetings.metal")
    for machine in cache_folder().glob("machine-*"):
        (cache / machine.name).symlink_to(machine)
    monkeypatch.setenv("METAL_HOST_CACHE", str(cache))
    (tmp_path / "scale.metal").write_text(KERNEL)
    (tmp_path / "factor.h").write_text("#define FACTOR 3\n")
    return tmp_path


def scaled(folder: Path) -> float:
    x = np.ones(1, np.float32)
    Library(folder / "scale.metal").run(
        "scale", threads=(1, 1, 1), threads_per_threadgroup=(1, 1, 1), buffers={0: x}
    )
    return float(x[0])


def cached(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "cache").glob("scale-*.so"))


# ---- The cache ---------------------------------------------------------------------------------


def test_a_library_is_compiled_once(folder: Path) -> None:
    assert scaled(folder) == 3
    first = {path: path.stat().st_mtime_ns for path in (folder / "cache").glob("scale-*")}
    start = time.monotonic()
    assert scaled(folder) == 3
    assert time.monotonic() - start < 1, "a cached library takes no compiler"
    assert {path: path.stat().st_mtime_ns for path in (folder / "cache").glob("scale-*")} == first
    assert not list((folder / "cache").glob("build-*")), "what was built in is left behind"


def test_a_change_in_a_source_or_in_what_it_includes_is_seen(folder: Path) -> None:
    assert scaled(folder) == 3
    (folder / "factor.h").write_text("#define FACTOR 4\n")
    assert scaled(folder) == 4
    (folder / "scale.metal").write_text(KERNEL.replace("*=", "+="))
    assert scaled(folder) == 5
    assert len(cached(folder)) == 3
    (folder / "factor.h").write_text("#define FACTOR 3\n")
    (folder / "scale.metal").write_text(KERNEL)
    assert scaled(folder) == 3
    assert len(cached(folder)) == 3


def run_python(*arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(compiler.__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def output_of(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


def test_processes_may_compile_the_same_at_once(folder: Path) -> None:
    program = (
        "from metal_host import Library\n"
        f"library = Library({str(folder / 'scale.metal')!r})\n"
        "print(list(library.kernels))\n"
    )
    processes = [run_python("-c", program) for _ in range(4)]
    assert [output_of(process) for process in processes] == ["['scale']\n"] * 4
    assert len(cached(folder)) == 1


def test_the_command_fills_the_cache(folder: Path) -> None:
    source = str(folder / "scale.metal")
    output = output_of(run_python("-m", "metal_host", "compile", source))
    assert f"{source} (plain)" in output
    assert f"the cache is {folder / 'cache'}" in output
    assert len(cached(folder)) == 1


def test_the_command_fails_where_a_source_does_not_compile(folder: Path) -> None:
    source = folder / "wrong.metal"
    source.write_text("kernel void k(uint a) {}\n")
    process = run_python("-m", "metal_host", "compile", str(source))
    output, _ = process.communicate()
    assert process.returncode == 1
    assert f"{source}:1: parameter a of kernel k needs one attribute" in output


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"METAL_HOST_CACHE": "/a/b"}, "/a/b"),
        ({"METAL_HOST_CACHE": "", "XDG_CACHE_HOME": "/c"}, "/c/metal_host"),
        ({"METAL_HOST_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/metal_host"),
    ],
)
def test_the_cache_is_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)


# ---- Errors of the compiler --------------------------------------------------------------------


@pytest.mark.parametrize("family", ["clang++", "g++"])
@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("float x = 1;\n    return undeclared;", 4),
        ("threadgroup float tile[2];\n    tile.x = 1;", 4),
        ("float y;\n    output[0] = y;", 4),  # not initialised: a warning elsewhere
    ],
)
def test_an_error_names_the_line_of_the_metal_file(
    tmp_path: Path, family: str, body: str, line: int
) -> None:
    try:
        find_compiler("plain", family)
    except CompileError:
        pytest.skip(f"there is no {family} here")
    if family == "g++" and "float y" in body:
        pytest.skip("g++ does not find it")
    source = tmp_path / "wrong.metal"
    head = "#include <metal_stdlib>\nkernel void k(device float* output [[buffer(0)]]) {"
    source.write_text(f"{head}\n    {body}\n}}\n")
    with pytest.raises(CompileError, match=r"wrong\.metal does not compile:\n") as caught:
        Library(source, compiler=family)
    assert f"{source}:{line}:" in str(caught.value)
    assert "error:" in str(caught.value)


def test_an_error_in_an_included_file_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "helper.h").write_text("#pragma once\ninline float f() {\n    return a;\n}\n")
    source = tmp_path / "k.metal"
    source.write_text('#include <metal_stdlib>\n#include "helper.h"\n')
    with pytest.raises(CompileError) as caught:
        Library(source)
    assert f"{tmp_path / 'helper.h'}:3:" in str(caught.value)


# ---- Choice of the compiler --------------------------------------------------------------------


def names_tried(
    monkeypatch: pytest.MonkeyPatch, present: Sequence[str], mode: str, name: str | None = None
) -> str:
    """Which compiler is chosen where only these programs are there."""

    def examine(program: str) -> compiler.Compiler | None:
        if program not in present:
            return None
        return compiler.Compiler(program, program.startswith("clang"), "version")

    monkeypatch.setattr(compiler, "_examine", examine)
    return find_compiler.__wrapped__(mode, name).path


@pytest.mark.parametrize(
    ("present", "mode", "named", "chosen"),
    [
        (["clang++-19", "clang++-21", "g++"], "plain", None, "clang++-19"),
        (["clang++-16", "clang++-21", "g++"], "trace", None, "clang++-21"),
        (["clang++", "g++-12"], "asan", None, "clang++"),
        (["g++"], "plain", None, "g++"),
        (["g++-13"], "trace", None, "g++-13"),
        (["clang++-19", "g++-13"], "trace", "g++", "g++-13"),
        (["clang++-20", "g++"], "plain", "clang++", "clang++-20"),
        (["clang++-20", "/opt/bin/my-g++"], "plain", "/opt/bin/my-g++", "/opt/bin/my-g++"),
    ],
)
def test_the_best_compiler_is_chosen(
    monkeypatch: pytest.MonkeyPatch, present: list[str], mode: str, named: str | None, chosen: str
) -> None:
    monkeypatch.delenv("METAL_HOST_CXX", raising=False)
    assert names_tried(monkeypatch, present, mode, named) == chosen
    if named is not None:
        monkeypatch.setenv("METAL_HOST_CXX", named)
        assert names_tried(monkeypatch, present, mode) == chosen


@pytest.mark.parametrize(
    ("present", "mode", "named", "message"),
    [
        ([], "plain", None, "no compiler for plain mode: install"),
        (["g++"], "asan", None, "no compiler for asan mode: install clang"),
        (["g++"], "asan", "g++", r"g\+\+ is not there or is no compiler for asan mode"),
        (["g++"], "plain", "clang++", r"clang\+\+ is not there or is no compiler for plain mode"),
    ],
)
def test_without_a_compiler_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, present: list[str], mode: str, named: str | None, message: str
) -> None:
    monkeypatch.delenv("METAL_HOST_CXX", raising=False)
    with pytest.raises(CompileError, match=message):
        names_tried(monkeypatch, present, mode, named)


def test_an_unknown_mode_is_an_error(folder: Path) -> None:
    with pytest.raises(ValueError, match="mode 'fast': it must be one of plain, asan, trace"):
        Library(folder / "scale.metal", mode="fast")


# ---- Asan mode, and fibers without boost -------------------------------------------------------


@pytest.mark.skipif(is_loaded(), reason="AddressSanitizer is loaded here")
def test_asan_mode_without_its_run_time_says_how_to_start(folder: Path) -> None:
    with pytest.raises(RuntimeError, match=r"start `python -m metal_host\.asan -m pytest"):
        Library(folder / "scale.metal", mode="asan")


PROGRAM = """
import sys
import numpy as np
from metal_host import Library, RunError
x = np.ones(3, np.float32)
library = Library(sys.argv[1], mode=sys.argv[2])
try:
    library.run("scale", threads=(4, 1, 1), threads_per_threadgroup=(4, 1, 1), buffers={0: x})
except RunError as error:
    print(error)
library.run("scale", threads=(3, 1, 1), threads_per_threadgroup=(3, 1, 1), buffers={0: x})
print(x)
"""


@pytest.mark.skipif(is_loaded(), reason="AddressSanitizer is loaded here already")
@pytest.mark.skipif(shutil.which("clang++-19") is None, reason="there is no clang++-19 here")
def test_python_can_be_started_with_the_run_time(folder: Path) -> None:
    source = str(folder / "scale.metal")
    process = run_python("-m", "metal_host.asan", "-c", PROGRAM, source, "asan")
    output = output_of(process)
    assert "read of byte 12 of buffer 0 ('x'), which has 12 bytes at scale.metal:5" in output
    assert output.endswith("[3. 3. 3.]\n")


def test_fibers_work_without_boost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAL_HOST_FIBERS", "ucontext")
    program = f"""
import numpy as np
from metal_host import Library
Library({str(Path(__file__).parent / "kernels" / "machine_meetings.metal")!r}).run(
    "reverse", threads=(100, 1, 1), threads_per_threadgroup=(50, 1, 1),
    buffers={{0: (x := np.arange(100, dtype=np.uint32)), 1: np.full(1, 3, np.uint32)}})
print(x[:3], x[50:53])
"""
    # Where AddressSanitizer is loaded, it warns of swapcontext first.
    assert output_of(run_python("-c", program)).endswith("[49 48 47] [99 98 97]\n")
