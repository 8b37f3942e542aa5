"""zig (PyPI: ziglang), which compiles for macOS anywhere: clang, libc++ and macOS's headers."""

from __future__ import annotations

import importlib.util
import json
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
INCLUDE = HERE / "include"
REPOSITORY = HERE.parents[1]

# The oldest system that the build runs on: what is newer has to be guarded.
OLDEST_MACOS = "11.0"

WARNINGS = (
    *("-Wall", "-Wextra", "-Werror", "-Werror=objc-method-access"),
    "-Werror=unguarded-availability-new",
)

# zig has a name of its own for an instruction set, and its linker exports all that is visible.
COMPILER = """\
#!/bin/sh
for argument do
    shift
    case $argument in
        -march=armv8.2-a+*) argument=-mcpu=generic+${argument#*+} ;;
        -Wl,-exported_symbol,*) continue ;;
    esac
    set -- "$@" "$argument"
done
exec ZIG LANGUAGE -target aarch64-macos.OLDEST -fno-sanitize=all -fno-stack-protector "$@"
"""

TOOLCHAIN = """\
set(CMAKE_SYSTEM_NAME Darwin)
set(CMAKE_SYSTEM_PROCESSOR arm64)
set(CMAKE_C_COMPILER ${CMAKE_CURRENT_LIST_DIR}/zig-cc)
set(CMAKE_CXX_COMPILER ${CMAKE_CURRENT_LIST_DIR}/zig-c++)
set(CMAKE_INSTALL_NAME_TOOL true) # CMake wants one; nothing is installed
"""


class ZigError(Exception):
    """The compiler's complaints."""


def find_zig() -> Path | None:
    """The program in the package ziglang, if that is installed."""
    package = importlib.util.find_spec("ziglang")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / "zig"


def compile_for_macos(
    zig: Path,
    source: Path,
    output: Path,
    *,
    include: Sequence[Path] = (REPOSITORY / "source", REPOSITORY / "include", REPOSITORY / "metal"),
    declarations: Path = INCLUDE,
) -> None:
    """Compiles a .cpp or .mm file of the Metal backend for arm64 macOS; ZigError says why not."""
    is_objective_c = source.suffix == ".mm"
    language = ["-x", "objective-c++", "-fobjc-arc"] if is_objective_c else ["-x", "c++"]
    command = [
        *(str(zig), "c++", "-target", f"aarch64-macos.{OLDEST_MACOS}", "-std=c++20", "-O0", "-g0"),
        *("-fno-sanitize=all", "-DGPTOSS_METAL", '-DGPTOSS_VERSION="0.0.0"', *WARNINGS),
        *("-isystem", str(declarations)),
        *(f"-I{folder}" for folder in include),
        *(*language, "-c", str(source), "-o", str(output)),
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise ZigError(result.stderr)


def write_toolchain(zig: Path, folder: Path) -> Path:
    """A toolchain file for CMake, with its compilers beside it, that builds for arm64 macOS."""
    for language in ("cc", "c++"):
        script = COMPILER.replace("ZIG", shlex.quote(str(zig)))
        script = script.replace("LANGUAGE", language).replace("OLDEST", OLDEST_MACOS)
        compiler = folder / f"zig-{language}"
        compiler.write_text(script)
        compiler.chmod(0o755)
    (folder / "toolchain.cmake").write_text(TOOLCHAIN)
    return folder / "toolchain.cmake"


def syntax_tree(zig: Path, include: Path = INCLUDE) -> dict[str, Any]:
    """What clang understands of <Metal/Metal.h> in `include`: its -ast-dump=json."""
    library = zig.parent / "lib"
    command = [
        *(str(zig), "clang", "-target", f"arm64-apple-macos{OLDEST_MACOS}", "-x", "objective-c++"),
        *("-std=c++20", "-fobjc-arc", "-nostdinc"),
        *("-isystem", str(library / "include")),
        *("-isystem", str(library / "libc" / "include" / "any-darwin-any")),
        *("-isystem", str(include), "-fsyntax-only", "-Xclang", "-ast-dump=json", "-"),
    ]
    program = "#import <Metal/Metal.h>\n"
    result = subprocess.run(command, input=program, capture_output=True, text=True)
    if result.returncode != 0:
        raise ZigError(result.stderr)
    tree: dict[str, Any] = json.loads(result.stdout)
    return tree
