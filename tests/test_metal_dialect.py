"""Every file in metal/ as the dialect check, the lint and the compilers of its header see it."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
from metal_host import read_structs
from metal_host.dialect import DialectUnavailableError, check_dialect, find_clang
from metal_host.findings import report
from metal_host.lint import lint
from metal_host.syntax import Outline, spelled

METAL = Path(__file__).parents[1] / "metal"
FILES = sorted([*METAL.glob("*.metal"), *METAL.glob("*.h")])
ARGUMENTS = METAL / "arguments.h"

# What pipelines of the 20b are specialised with, by index: see metal/function_constants.h.
CONSTANTS_OF_20B = {0: 2880, 10: 2880, 11: 5760, 12: 4}

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


@pytest.fixture(scope="module")
def clang() -> str:
    """A clang that knows C++ for OpenCL."""
    try:
        return find_clang()
    except DialectUnavailableError as error:
        pytest.skip(str(error))


@each_file
def test_the_lint_has_nothing_to_say(path: Path) -> None:
    findings = lint(path)
    assert not findings, report(findings)


@each_file
def test_address_spaces_and_types_hold(clang: str, path: Path) -> None:
    findings = check_dialect(path)
    assert not findings, report(findings)


# Headers are checked again where kernels include them.
each_kernel_file = pytest.mark.parametrize(
    "path", [path for path in FILES if path.suffix == ".metal"], ids=lambda path: path.name
)


@each_kernel_file
def test_they_hold_where_pipelines_are_specialised(clang: str, path: Path) -> None:
    findings = check_dialect(path, CONSTANTS_OF_20B)
    assert not findings, report(findings)


@each_kernel_file
def test_they_hold_in_a_newer_language(clang: str, path: Path) -> None:
    findings = check_dialect(path, language_version="3.1")
    assert not findings, report(findings)


def test_kernels_of_all_files_fit_into_one_library() -> None:
    """No kernel's name is taken twice, and no function or type is defined in two ways.

    A metallib is linked of all files: of two inline functions of one name and signature, the
    linker keeps either.
    """
    defined: dict[str, str] = {}
    for path in FILES:
        outline = Outline(path, path.read_text())
        names = [f"struct {word.text}" for head in outline.struct_heads for word in head[1:2]]
        for function in outline.functions:
            types = ", ".join(parameter.type_text for parameter in function.parameters)
            if not function.scope:
                template = spelled(function.template or [])
                names.append(f"<{template}> {function.name}({types})")
            if function.is_kernel and function.template is None:
                names.append(f"kernel {function.name}")
        for declaration in outline.declarations:
            names += [
                f"kernel {attribute.arguments}".replace('"', "")
                for attribute in declaration.attributes
                if attribute.name == "host_name"
            ]
        for name in names:
            assert name not in defined, f"{name} is in {defined[name]} and in {path.name}"
            defined[name] = path.name
    assert any(name.startswith("kernel ") for name in defined)


def layout_assertions() -> str:
    """Static assertions of the sizes and offsets that read_structs gives the argument structs."""
    lines = []
    for name, struct in read_structs(ARGUMENTS).items():
        size = ctypes.sizeof(struct)
        lines.append(f'static_assert(sizeof(gptoss_metal::{name}) == {size}, "size of {name}");')
        for field in struct._fields_:
            offset = getattr(struct, field[0]).offset
            lines.append(
                f"static_assert(__builtin_offsetof(gptoss_metal::{name}, {field[0]}) == {offset}, "
                f'"offset of {name}.{field[0]}");'
            )
    return "\n".join(lines) + "\n"


def test_every_argument_struct_is_read() -> None:
    text = ARGUMENTS.read_text()
    assert len(read_structs(ARGUMENTS)) == text.count("\nstruct ") > 0


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_the_arguments_are_laid_out_alike_in_cpp(
    tmp_path: Path, request: pytest.FixtureRequest, compiler: str
) -> None:
    command = request.getfixturevalue("clang") if compiler == "clang++" else shutil.which(compiler)
    if command is None:
        pytest.skip(f"{compiler} is not installed")
    source = tmp_path / "layout.cpp"
    source.write_text(
        f'#include "arguments.h"\n#include "function_constants.h"\n{layout_assertions()}'
    )
    # -Wpadded: a hole between members would be the compiler's to fill.
    flags = ["-std=c++20", "-Wall", "-Wextra", "-Wpadded", "-Werror", "-fsyntax-only", f"-I{METAL}"]
    result = subprocess.run([command, *flags, str(source)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_arguments_are_laid_out_alike_in_metal(clang: str, tmp_path: Path) -> None:
    shutil.copy(ARGUMENTS, tmp_path)
    source = tmp_path / "layout.metal"
    source.write_text(f'#include <metal_stdlib>\n#include "arguments.h"\n{layout_assertions()}')
    findings = check_dialect(source)
    assert not findings, report(findings)


def test_a_wrong_layout_would_be_found(clang: str, tmp_path: Path) -> None:
    text = ARGUMENTS.read_text()
    (tmp_path / "arguments.h").write_text(
        text.replace("uint32_t num_columns;", "uint64_t num_columns;")
    )
    source = tmp_path / "layout.metal"
    source.write_text(f'#include <metal_stdlib>\n#include "arguments.h"\n{layout_assertions()}')
    assert any("size of EmbedArguments" in finding.text for finding in check_dialect(source))
