"""The kernels in kernels/, compiled for trace mode by each compiler that this machine has."""

import re
import shutil
from functools import cache
from pathlib import Path

from metal_host import Library

KERNELS = Path(__file__).parent / "kernels"

COMPILERS = [name for name in ("clang++-19", "g++") if shutil.which(name)]

# As they come, and in random orders of threadgroups, simdgroups and lanes.
ORDERS = [None, 1, 2, 3]


@cache
def trace_library(file: str, compiler: str) -> Library:
    """kernels/<file> in trace mode."""
    return Library(KERNELS / file, mode="trace", compiler=compiler)


def kernel_names(file: str) -> list[str]:
    """The kernels in kernels/<file>, without compiling it."""
    return re.findall(r"^kernel void (\w+)", (KERNELS / file).read_text(), re.MULTILINE)


def marked_lines(file: str, kernel: str, mark: str) -> set[str]:
    """`races.metal:12` for each line of a kernel that ends in `// <mark>`."""
    found: set[str] = set()
    inside = False
    for number, line in enumerate((KERNELS / file).read_text().splitlines(), start=1):
        if line.startswith("kernel "):
            inside = f" {kernel}(" in line
        if inside and line.endswith(f"// {mark}"):
            assert not line.strip().startswith("//"), f"{file}:{number}: a mark without code"
            found.add(f"{file}:{number}")
    assert found, f"{file}: {kernel} has no line marked {mark}"
    return found


def named_lines(text: str, file: str) -> set[str]:
    """`races.metal:12` for each line that an error names."""
    return set(re.findall(rf"\b{re.escape(file)}:\d+", text))
