"""Address spaces and types of a kernel, checked by clang's front end for C++ for OpenCL 2021.

Run as C++ on the host, `device`, `threadgroup`, `constant` and `thread` mean nothing. In OpenCL
they are part of the type, as in Metal, and clang refuses what Apple's compiler refuses: a device
pointer where threadgroup memory is wanted, a write through `constant`, an implicit conversion
between vectors, min(float, int).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from metal_host.dialect_source import function_constants, rewrite
from metal_host.findings import Finding
from metal_host.syntax import Outline, SourceError, read_outlines

DECLARATIONS = Path(__file__).parent / "dialect"

# C++ 17 is what Metal 3 (C++ 14) takes as extensions where its own headers need them; the rest of
# C++ 17 is reported.
_ACCEPTED_FROM_CXX17 = (
    "constexpr if",
    "decomposition declarations",
    "inline variables",
    "pack fold expression",
    "'static_assert' with no message",
)

_FLAGS = [
    "-x",
    "clcpp",
    "-cl-std=clc++2021",
    "-cl-no-stdinc",  # OpenCL's own functions would hide what Metal lacks
    "--target=x86_64-linux-gnu",
    "-Xclang",
    "-cl-ext=-all,+cl_khr_fp16,+__opencl_c_generic_address_space,"
    "+__cl_clang_function_pointers,+__cl_clang_variadic_functions",
    "-fsyntax-only",
    "-ferror-limit=0",
    "-ftemplate-backtrace-limit=0",
    "-fno-caret-diagnostics",
    "-fno-color-diagnostics",
    "-Wpre-c++17-compat",
    "-Wno-pragma-once-outside-header",  # headers are checked on their own, too
    "-D__METAL__=1",
    "-D__METAL_MACOS__=1",
    "-isystem",
    str(DECLARATIONS),
]

_DIAGNOSTIC = re.compile(
    r"(?m)^(?P<path>[^:\n]+):(?P<line>\d+):\d+: "
    r"(?P<level>fatal error|error|warning|note): (?P<text>.*)$"
)

# OpenCL has no assignment and no copy of a structure out of constant memory; Metal has.
_STRUCT_COPY = re.compile(
    r"the implicit copy (constructor|assignment operator)\) not viable: "
    r"cannot bind reference in address space '__constant'"
)


# `condition ? structure : KeyRange{0, 0}`: OpenCL takes a temporary for another type than a
# variable.
_SAME_OPERANDS = re.compile(
    r"incompatible operand types \('(?:__private )?(\w+)' and '(?:__private )?\1'\)"
)


# `KeyRange{0, 1}.size()`: in Metal, a temporary is the thread's own.
_TEMPORARY = re.compile(r"candidate function not viable: 'this' object is in default address space")


class DialectUnavailableError(RuntimeError):
    """There is no clang that knows C++ for OpenCL 2021."""


@lru_cache(maxsize=1)
def find_clang() -> str:
    """The newest clang++ on the path that has the front end: 15 or later."""
    for name in [*(f"clang++-{version}" for version in range(25, 14, -1)), "clang++"]:
        path = shutil.which(name)
        if path is None:
            continue
        probe = subprocess.run(
            [path, *_FLAGS, "-"], input="__global int* value();", capture_output=True, text=True
        )
        if probe.returncode == 0:
            return path
    raise DialectUnavailableError(
        "no clang++ of version 15 or later was found that reads C++ for OpenCL 2021: "
        "install the package clang-19"
    )


def check_dialect(
    path: Path, constants: Mapping[int, float] | None = None, language_version: str = "3.0"
) -> list[Finding]:
    """What clang's front end finds in a .metal file or header and in what it includes.

    With `constants`, values of function constants by index, these are constant expressions (and
    what is computed from them is checked with their values); without, they are not, as in Metal.
    `language_version`: of Metal's language; bfloat is a type from 3.1 on.
    """
    try:
        outlines = read_outlines(path)
    except SourceError as error:
        return [Finding(path, 1, "source", str(error))]
    with tempfile.TemporaryDirectory() as folder:
        names = _write_sources(outlines, Path(folder), constants)
        major, minor = language_version.split(".")
        command = [
            find_clang(),
            *_FLAGS,
            f"-D__METAL_VERSION__={major}{minor}0",
            str(names[path.resolve()]),
        ]
        result = subprocess.run(command, capture_output=True, text=True)
    findings = _findings(result.stderr, path, {outline.path for outline in outlines})
    if result.returncode != 0 and not findings and "error:" not in result.stderr:
        raise DialectUnavailableError(f"clang failed on {path}:\n{result.stderr}")
    return findings


def _write_sources(
    outlines: list[Outline], folder: Path, constants: Mapping[int, float] | None
) -> dict[Path, Path]:
    """Writes the rewritten files, at the same places relative to each other; returns where each
    is."""
    root = Path(*_common_parts([outline.path.parent for outline in outlines]))
    known = function_constants(outlines)
    written = {}
    for outline in outlines:
        target = folder / outline.path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        prologue = _constant_values(constants) if outline is outlines[-1] else ""
        target.write_text(prologue + rewrite(outline, known, specialised=constants is not None))
        written[outline.path] = target
    return written


def _common_parts(folders: list[Path]) -> list[str]:
    parts = [list(folder.parts) for folder in folders]
    common = []
    for names in zip(*parts, strict=False):
        if len(set(names)) > 1:
            break
        common.append(names[0])
    return common


def _constant_values(constants: Mapping[int, float] | None) -> str:
    """What the rewritten function constants ask for their values."""
    lines = [
        "#include <metal_stdlib>",
        "namespace metal_dialect { template <class T> threadgroup T& threadgroup_memory();",
        "template <class T> using same_type = T; }",
        "template <class T> bool is_function_constant_defined(constant const T&);",
    ]
    if constants is not None:
        defined = " || ".join(f"index == {index}" for index in constants) or "false"
        value = (
            "".join(
                f"index == {index} ? T({float(value)!r}f) : " for index, value in constants.items()
            )
            + "T(0)"
        )
        lines += [
            f"constexpr bool metal_dialect_constant_defined(int index) {{ return {defined}; }}",
            "template <class T>",
            f"constexpr T metal_dialect_constant(int index) {{ return {value}; }}",
        ]
    return "\n".join(lines) + "\n"


def _findings(output: str, main: Path, sources: set[Path]) -> list[Finding]:
    """The diagnostics at the lines of the sources that they are about."""
    diagnostics = [match.groupdict() for match in _DIAGNOSTIC.finditer(output)]
    findings = []
    for index, diagnostic in enumerate(diagnostics):
        text = diagnostic["text"]
        if diagnostic["level"] == "note" or text.startswith(_ACCEPTED_FROM_CXX17):
            continue
        if _SAME_OPERANDS.match(text):
            continue
        notes = []
        for following in diagnostics[index + 1 :]:
            if following["level"] != "note":
                break
            notes.append(following)
        if any(
            _STRUCT_COPY.search(note["text"]) or _TEMPORARY.match(note["text"]) for note in notes
        ):
            continue
        place = diagnostic
        if (
            Path(diagnostic["path"]) not in sources
        ):  # in the declarations: the line that asked for it
            place = next((note for note in notes if Path(note["path"]) in sources), diagnostic)
        known = Path(place["path"]) in sources
        findings.append(
            Finding(
                path=main
                if not known or Path(place["path"]) == main.resolve()
                else Path(place["path"]),
                line=int(place["line"]) if known else 1,
                rule="dialect",
                text=_in_metal(text),
            )
        )
    return sorted(set(findings))


def _in_metal(text: str) -> str:
    """A message of clang's in Metal's words."""
    for opencl, metal in (
        ("__global", "device"),
        ("__local", "threadgroup"),
        ("__constant", "constant"),
        ("__private", "thread"),
        ("__generic", "(no address space)"),
    ):
        text = text.replace(opencl, metal)
    text = re.sub(r"(\w+) __attribute__\(\(ext_vector_type\((\d)\)\)\)", r"\1\2", text)
    if text.startswith("double precision constant"):
        return "double precision constant: Metal has no double, write the suffix f"
    return text.replace(" [-Wpre-c++17-compat]", "")
