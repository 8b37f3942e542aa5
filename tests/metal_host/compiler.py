"""The host's C++ compiler, and the cache of what it made.

Two kinds of shared libraries come out of it: the machine (runtime/, one for each mode) and the
kernels of one .metal file, which are linked with it. Each lies in the cache under a name that is a
hash of everything it depends on: nothing is ever out of date, and the folder may be deleted at any
time. Files appear by an atomic rename, so any number of processes may compile at once.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from metal_host.source import HostSource
from metal_host.tools import run_tool

HERE = Path(__file__).resolve().parent
RUNTIME = HERE / "runtime"
INCLUDE = HERE / "include"

MODES = ("plain", "asan", "trace")

# Versions of clang that are known to do: newer ones first would be less tried than 19.
_CLANGS = tuple(f"clang++{suffix}" for suffix in ("-19", "-20", "-21", "-18", "-17", "-16", ""))
_GCCS = tuple(f"g++{suffix}" for suffix in ("", "-15", "-14", "-13", "-12"))


class CompileError(Exception):
    """The compiler's complaints, with the lines of the .metal file; or: there is no compiler."""


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler that can build kernels."""

    path: str
    is_clang: bool
    version: str  # its first line of --version

    def supports(self, mode: str) -> bool:
        """Not g++ asan mode: what that reports relies on the calls that clang makes."""
        return self.is_clang or mode != "asan"


@cache
def find_compiler(mode: str, name: str | None = None) -> Compiler:
    """clang++ 19, another clang++ from 16 on, or else g++ 12 or later.

    A name (else that in METAL_HOST_CXX) demands this compiler; "clang++" and "g++" any of theirs.
    """
    name = name or os.environ.get("METAL_HOST_CXX")
    for candidate in _candidates(name):
        compiler = _examine(candidate)
        if compiler is not None and compiler.supports(mode):
            return compiler
    if name is not None:
        raise CompileError(
            f"{name} is not there or is no compiler for {mode} mode: that needs clang++ 16 or "
            "later, or (for plain and trace mode) g++ 12 or later"
        )
    raise CompileError(
        f"no compiler for {mode} mode: install clang++ 19 with its sanitizers (Debian: clang-19, "
        "libclang-rt-19-dev) or, for plain and trace mode, g++ 12 or later"
    )


def _candidates(name: str | None) -> tuple[str, ...]:
    families = {None: (*_CLANGS, *_GCCS), "clang++": _CLANGS, "g++": _GCCS}
    return families.get(name) or (str(name),)


@cache
def _examine(name: str) -> Compiler | None:
    path = shutil.which(name)
    if path is None:
        return None
    version = run_tool([path, "--version"]).stdout.partition("\n")[0]
    macros = run_tool([path, "-dM", "-E", "-x", "c++", os.devnull]).stdout
    clang = re.search(r"^#define __clang_major__ (\d+)", macros, re.MULTILINE)
    gcc = re.search(r"^#define __GNUC__ (\d+)", macros, re.MULTILINE)
    if clang is not None:
        return Compiler(path, True, version) if int(clang[1]) >= 16 else None
    return Compiler(path, False, version) if gcc is not None and int(gcc[1]) >= 12 else None


def cache_folder() -> Path:
    """METAL_HOST_CACHE, or metal_host in the user's cache folder."""
    named = os.environ.get("METAL_HOST_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "metal_host"


# ---- Flags -------------------------------------------------------------------------------------


def _common_flags(mode: str) -> list[str]:
    flags = ["-std=c++20", "-O2", "-fPIC", f"-DMETAL_HOST_{mode.upper()}=1"]
    if platform.machine() in ("x86_64", "AMD64"):
        flags.append("-march=x86-64-v3")  # conversions between half and float in hardware
    return flags


# In kernels, warnings are errors, but for those of style. Attributes and pragmas are Metal's.
_KERNEL_WARNINGS = (
    *("-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"),
    *("-Wno-unused-variable", "-Wno-unused-but-set-variable", "-Wno-unused-function"),
    *("-Wno-sign-compare", "-Wno-attributes", "-Wno-unknown-pragmas"),
)


def _kernel_flags(compiler: Compiler, mode: str) -> list[str]:
    # Arithmetic as on the GPU without fast-math: products and sums are rounded one by one, `1.0` is
    # a float, and half is not computed in float. A frame larger than the inaccessible page below a
    # stack must not reach past it.
    flags = [*_common_flags(mode), "-ffp-contract=off", "-fno-exceptions", "-fvisibility=hidden"]
    flags.append("-fstack-clash-protection")
    # Kernels read memory as whatever type they cast its pointer to.
    flags.append("-fno-strict-aliasing")
    if compiler.is_clang:
        flags += [
            *("-Xclang", "-cl-single-precision-constant"),
            *("-Xclang", "-ffloat16-excess-precision=none"),
            *("-gline-tables-only", "-gdwarf-4"),  # addr2line 2.40 mistakes files of version 5
            *(*_KERNEL_WARNINGS, "-Wno-unused-const-variable", "-Wno-pass-failed"),
        ]
    else:
        flags += [
            *("-fsingle-precision-constant", "-g1", "-gdwarf-4", "-fno-gnu-unique"),
            # What the optimizer of gcc believes to see is wrong too often.
            *(*_KERNEL_WARNINGS, "-Wno-maybe-uninitialized", "-Wno-array-bounds"),
            "-Wno-stringop-overflow",
        ]
    if mode == "asan":
        flags += [
            "-fsanitize=address,undefined,float-cast-overflow",
            "-fno-sanitize=function,vptr",  # of classes, which kernels do not have
            "-fno-omit-frame-pointer",  # an error in a function of the shim is at the kernel's call
        ]
    if mode == "trace":
        flags += _trace_flags(compiler)
    return flags


def _trace_flags(compiler: Compiler) -> list[str]:
    """The calls of trace_tsan.cpp: one for each access in the source, from a place of its own.

    So nothing that joins accesses or duplicates them: vectors (clang instruments none beyond 16
    bytes, anyway), unrolled loops (whose lanes have to be at the same instruction in round n), one
    store for both branches of a condition; and no tail calls, because the line of an access is that
    of the call's return address. Reads that a write follows count as well.
    """
    flags = ["-fsanitize=thread", "-fno-optimize-sibling-calls", "-fno-unroll-loops"]
    if not compiler.is_clang:
        flags += ["-fno-tree-vectorize", "-fno-crossjumping", "-fno-tree-tail-merge"]
        flags += ["-fno-code-hoisting", "--param", "tsan-instrument-func-entry-exit=0"]
        return flags
    flags += ["-fno-vectorize", "-fno-slp-vectorize"]
    for option in (
        "-disable-vector-combine",
        "-hoist-common-insts=false",
        "-sink-common-insts=false",
        "-enable-tail-merge=false",
        "-tsan-instrument-func-entry-exit=0",
        "-tsan-instrument-read-before-write",
    ):
        flags += ["-mllvm", option]
    return flags


def _runtime_flags(compiler: Compiler, mode: str, has_boost: bool) -> list[str]:
    flags = [*_common_flags(mode), "-Wall", "-Wextra", "-Werror", "-g1"]
    if not compiler.is_clang:
        flags.append("-fno-gnu-unique")  # the machines of two modes stay apart in one process
    # Never instrumented: it would leave red zones on the stacks of fibers, which end inside of it.
    if not has_boost:
        flags.append("-DMETAL_HOST_UCONTEXT=1")
    return flags


@cache
def _has_boost(compiler: Compiler) -> bool:
    """Whether boost's contexts are there, and METAL_HOST_FIBERS=ucontext does not forbid them."""
    if os.environ.get("METAL_HOST_FIBERS") == "ucontext":
        return False
    program = "#include <boost/context/detail/fcontext.hpp>\nint main() {}\n"
    command = [compiler.path, "-x", "c++", "-", "-o", os.devnull, "-lboost_context"]
    return run_tool(command, text=program).returncode == 0


# ---- Building ----------------------------------------------------------------------------------


def build_machine(compiler: Compiler, mode: str) -> Path:
    """The machine for a mode: everything in runtime/, as a shared library."""
    has_boost = _has_boost(compiler)
    flags = _runtime_flags(compiler, mode, has_boost)
    headers = _texts(RUNTIME, "*.h")
    sources = [
        path
        for path in sorted(RUNTIME.glob("*.cpp"))
        if path not in _OF_KERNEL_LIBRARIES and (mode == "trace" or path.stem[:5] != "trace")
    ]
    with ThreadPoolExecutor(_num_jobs()) as pool:
        objects = list(
            pool.map(lambda source: _build_object(compiler, flags, source, headers), sources)
        )
    link = ["-lboost_context"] if has_boost else []
    key = _key(compiler, link, {path.name: "" for path in objects})
    target = cache_folder() / f"machine-{mode}-{key}.so"
    if not target.exists():
        with _workplace(target) as output:
            command = [compiler.path, "-shared", f"-Wl,-soname,{target.name}", "-o", str(output)]
            _run([*command, *map(str, objects), *link], "the machine")
    return target


def build_kernels(
    compiler: Compiler, source: HostSource, name: str, mode: str, machine: Path
) -> Path:
    """The kernels of a file, as a library that is linked with the machine for the mode."""
    flags = _kernel_flags(compiler, mode)
    # The object depends on what it includes; the library, which is quick to link, on the machine.
    texts = {**source.files, **_texts(INCLUDE, "*"), **_included("kernel_unit.h")}
    library = _cached(name, mode, ".o", compiler, flags, texts)
    if not library.exists():
        with _workplace(library) as output:
            for file, text in source.files.items():
                (output.parent / file).write_text(text)
            command = [
                *(compiler.path, *flags, "-isystem", str(INCLUDE), "-I", str(RUNTIME)),
                *("-c", str(output.parent / source.MAIN_FILE), "-o", str(output)),
            ]
            _run(command, f"{name}.metal")
    objects = [library]
    if mode == "asan":
        headers = _texts(RUNTIME, "*.h")
        flags = [*_common_flags(mode), "-Wall", "-Wextra", "-Werror", "-fno-omit-frame-pointer"]
        objects += [_build_object(compiler, flags, path, headers) for path in _OF_KERNEL_LIBRARIES]
    key = _key(compiler, [], {path.name: "" for path in [*objects, machine]})
    target = cache_folder() / f"{name}-{mode}-{key}.so"
    if not target.exists():
        with _workplace(target) as output:
            command = [compiler.path, "-shared", "-Wl,-rpath,$ORIGIN", "-o", str(output)]
            _run([*command, *map(str, objects), str(machine)], f"{name}.metal")
    return target


# What has to be in the same library as the kernels, to be found before the sanitizers' own.
_OF_KERNEL_LIBRARIES = (RUNTIME / "sanitizer_reports.cpp",)


def _build_object(
    compiler: Compiler, flags: Sequence[str], source: Path, headers: Mapping[str, str]
) -> Path:
    """One file of the machine, compiled."""
    texts = {**headers, source.name: source.read_text()}
    target = _cached("machine", source.stem, ".o", compiler, flags, texts)
    if not target.exists():
        with _workplace(target) as output:
            command = [compiler.path, *flags, "-c", str(source), "-o", str(output)]
            _run(command, f"the machine's {source.name}")
    return target


def _texts(folder: Path, pattern: str) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob(pattern))
        if path.is_file()
    }


def _included(name: str) -> dict[str, str]:
    """A header of the machine and those that it includes."""
    texts: dict[str, str] = {}
    waiting = [name, "kernel_unit_end.h"]
    while waiting:
        header = waiting.pop()
        if header not in texts:
            texts[header] = (RUNTIME / header).read_text()
            waiting += re.findall(r'#include "(\w+\.h)"', texts[header])
    return texts


def _cached(
    name: str,
    kind: str,
    suffix: str,
    compiler: Compiler,
    flags: Sequence[str],
    texts: Mapping[str, str],
) -> Path:
    return cache_folder() / f"{name}-{kind}-{_key(compiler, flags, texts)}{suffix}"


def _key(compiler: Compiler, flags: Sequence[str], texts: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for part in (compiler.path, compiler.version, *flags):
        digest.update(part.encode() + b"\0")
    for name, text in sorted(texts.items()):
        digest.update(name.encode() + b"\0" + text.encode() + b"\0")
    return digest.hexdigest()[:20]


def _num_jobs() -> int:
    return os.cpu_count() or 1


@contextmanager
def _workplace(target: Path) -> Iterator[Path]:
    """Where to build a file of the cache: when all went well, it is moved to its place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=target.parent) as folder:
        output = Path(folder) / target.name
        yield output
        output.replace(target)


def _run(command: Sequence[str], what: str) -> None:
    result = run_tool(command)
    if result.returncode != 0:
        raise CompileError(f"{what} does not compile:\n{result.stderr.strip()}")
