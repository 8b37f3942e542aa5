"""The C library as CMake builds it for Apple Silicon, compiled and linked by zig anywhere.

Without Metal, whose frameworks zig does not have; test_metal_apple.py compiles that. Nothing runs.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from metal_declarations.mach_o import defined_symbols, undefined_symbols
from metal_declarations.zig import find_zig, write_toolchain


@pytest.fixture(scope="module")
def build(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build folder of a shared library."""
    zig = find_zig()
    if zig is None:
        pytest.skip("zig is not installed: pip install '.[metal-check]'")
    folder = tmp_path_factory.mktemp("macos")
    options = {
        "CMAKE_TOOLCHAIN_FILE": str(write_toolchain(zig, folder)),
        "CMAKE_BUILD_TYPE": "Debug",
        "CMAKE_C_COMPILER_LAUNCHER": "",
        "CMAKE_CXX_COMPILER_LAUNCHER": "",
        "BUILD_SHARED_LIBS": "ON",
        "GPTOSS_BUILD_METAL": "off",
        "GPTOSS_BUILD_TESTS": "OFF",
        "GPTOSS_WERROR": "ON",
    }
    arguments = [f"-D{name}={value}" for name, value in options.items()]
    for command in (
        ["cmake", "-S", str(repository), "-B", str(folder / "build"), "-G", "Ninja", *arguments],
        ["cmake", "--build", str(folder / "build")],
    ):
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return folder / "build"


@pytest.mark.slow
def test_the_library_links_and_has_the_whole_api(build: Path, api_functions: set[str]) -> None:
    assert len(api_functions) > 50
    assert api_functions - defined_symbols(build / "libgptoss.dylib") == set()


@pytest.mark.slow
def test_kernels_share_no_code_with_the_rest_of_the_program(build: Path) -> None:
    """As tests/native/check_kernel_symbols.cmake has it for ELF."""
    objects = sorted(build.glob("CMakeFiles/gptoss_objects.dir/source/cpu/kernels/*.o"))
    names = [path.name.partition(".")[0] for path in objects]
    assert names == ["arm64_dotprod", "arm64_i8mm", "arm64_neon", "baseline"]
    for path in objects:
        (table,) = defined_symbols(path)
        assert "kKernels" in table
        assert set(undefined_symbols(path)) <= {"bzero", "memcpy", "memset", "memset_pattern16"}
