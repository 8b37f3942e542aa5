"""zig (PyPI: ziglang), which compiles for macOS anywhere: clang, libc++ and macOS's headers."""

from __future__ import annotations

import importlib.util
import json
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
