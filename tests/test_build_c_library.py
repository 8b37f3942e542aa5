"""The C library as its users meet it: built and installed by CMake, then found by a C program."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

LINUX = sys.platform == "linux"
# The build tools of this interpreter's environment, before those of the system.
ENVIRONMENT = {
    **os.environ,
    "PATH": sysconfig.get_path("scripts") + os.pathsep + os.environ["PATH"],
}


def run(*command: str | Path, environment: dict[str, str] | None = None) -> str:
    """Output of a command that has to succeed."""
    result = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, **(environment or {})},
    )
    assert result.returncode == 0, f"{command} failed:\n{result.stdout}\n{result.stderr}"
    return result.stdout


def configure(source: Path, build: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """CMake's configure step, whether it succeeds or not, with the options of pip's builds."""
    given = shlex.split(os.environ.get("CMAKE_ARGS", ""))
    return subprocess.run(
        ["cmake", "-S", str(source), "-B", str(build), "-G", "Ninja", *given, *options],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )


def install(repository: Path, directory: Path, *options: str) -> Path:
    """Builds the library and installs it; returns the prefix."""
    prefix = directory / "prefix"
    result = configure(repository, directory / "build", "-DGPTOSS_BUILD_TESTS=OFF", *options)
    assert result.returncode == 0, result.stderr
    run("cmake", "--build", directory / "build")
    run("cmake", "--install", directory / "build", "--prefix", prefix)
    return prefix


@pytest.fixture(scope="module")
def static_prefix(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(repository, tmp_path_factory.mktemp("static"))


@pytest.fixture(scope="module")
def shared_prefix(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(repository, tmp_path_factory.mktemp("shared"), "-DBUILD_SHARED_LIBS=ON")


@pytest.fixture(params=["static", "shared"])
def prefix(request: pytest.FixtureRequest) -> Path:
    installed: Path = request.getfixturevalue(f"{request.param}_prefix")
    return installed


def library_directory(prefix: Path) -> Path:
    """Where the library went: lib, lib64 or lib/<triplet>."""
    return next(prefix.glob("lib*/**/libgptoss.*")).parent


def build_example(source: Path, build: Path, prefix: Path) -> Path:
    """The example program, built against an installed library."""
    result = configure(source, build, f"-DCMAKE_PREFIX_PATH={prefix}")
    assert result.returncode == 0, result.stderr
    run("cmake", "--build", build)
    return build / "generate"


@pytest.mark.slow
def test_c_program_finds_the_library_and_asks_the_demo_model(
    repository: Path, tmp_path: Path, prefix: Path, demo_model_path: Path
) -> None:
    program = build_example(repository / "examples" / "c", tmp_path, prefix)
    answer = run(program, demo_model_path, "What is 47 + 38?")
    assert answer.startswith("<|channel|>analysis<|message|>")
    assert answer.endswith("<|channel|>final<|message|>47 + 38 = 85.<|return|>\n")


@pytest.mark.slow
@pytest.mark.skipif(not LINUX, reason="object files are elsewhere, or have other symbols")
def test_kernels_share_no_code_with_the_rest_of_the_program(repository: Path, prefix: Path) -> None:
    """As optimised for users; native tests that are instrumented cannot tell."""
    kernels = "CMakeFiles/gptoss_objects.dir/source/cpu/kernels/*.o"
    objects = [str(path) for path in (prefix.parent / "build").glob(kernels)]
    check = repository / "tests" / "native" / "check_kernel_symbols.cmake"
    run("cmake", "-DNM=nm", f"-DOBJECTS={','.join(objects)}", "-P", check)


@pytest.mark.slow
def test_c_program_tells_the_librarys_error(
    repository: Path, tmp_path: Path, static_prefix: Path
) -> None:
    program = build_example(repository / "examples" / "c", tmp_path, static_prefix)
    result = subprocess.run([program, "no-such.bin", "Hello"], capture_output=True, text=True)
    assert result.returncode == 1
    assert "no-such.bin" in result.stderr
    assert "file_not_found" in result.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pkg-config") is None, reason="pkg-config is not installed")
def test_c_program_finds_the_library_with_pkg_config(
    repository: Path, tmp_path: Path, prefix: Path, demo_model_path: Path
) -> None:
    pkg_config_path = {"PKG_CONFIG_PATH": str(library_directory(prefix) / "pkgconfig")}
    flags = run("pkg-config", "--cflags", "--libs", "gptoss", environment=pkg_config_path).split()
    source = repository / "examples" / "c" / "generate.c"
    program = tmp_path / "generate"
    run("cc", "-std=c11", source, "-o", program, *flags)
    libraries = {"LD_LIBRARY_PATH": str(library_directory(prefix))}
    answer = run(program, demo_model_path, "What is 47 + 38?", environment=libraries)
    assert answer.endswith("47 + 38 = 85.<|return|>\n")


@pytest.mark.slow
def test_project_of_another_minor_version_is_refused(tmp_path: Path, static_prefix: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.22)\n"
        "project(other LANGUAGES C)\n"
        "find_package(gptoss 0.99 REQUIRED)\n"
    )
    result = configure(tmp_path, tmp_path / "build", f"-DCMAKE_PREFIX_PATH={static_prefix}")
    assert result.returncode != 0
    assert "0.99" in result.stderr


@pytest.mark.slow
@pytest.mark.skipif(not LINUX, reason="reads ELF symbols")
def test_shared_library_exports_its_api_and_nothing_else(
    shared_prefix: Path, api_functions: set[str]
) -> None:
    library = library_directory(shared_prefix) / "libgptoss.so"
    symbols = run("nm", "--dynamic", "--defined-only", "--format=posix", library).splitlines()
    exported = {line.split()[0] for line in symbols}
    assert exported == api_functions


@pytest.mark.parametrize("standard", ["c99", "c11", "c17"])
def test_header_is_plain_c(repository: Path, standard: str) -> None:
    run(
        *("cc", f"-std={standard}", "-pedantic-errors", "-Wall", "-Wextra", "-Werror"),
        *("-fsyntax-only", "-x", "c", repository / "include" / "gptoss.h"),
    )


@pytest.mark.parametrize("standard", ["c++11", "c++20"])
def test_header_is_plain_cplusplus(repository: Path, standard: str) -> None:
    run(
        *("c++", f"-std={standard}", "-pedantic-errors", "-Wall", "-Wextra", "-Werror"),
        *("-fsyntax-only", "-x", "c++", repository / "include" / "gptoss.h"),
    )


@pytest.mark.skipif(sys.platform == "darwin", reason="there it can be built")
@pytest.mark.parametrize("value", ["1", "ON", "True", "yes"])
def test_metal_is_refused_where_it_cannot_be_built(
    repository: Path, tmp_path: Path, value: str
) -> None:
    result = configure(repository, tmp_path, f"-DGPTOSS_BUILD_METAL={value}")
    assert result.returncode != 0
    message = " ".join(result.stderr.split())
    assert f"GPTOSS_BUILD_METAL={value} asks for the Metal backend, which needs macOS" in message


@pytest.mark.skipif(not LINUX, reason="the host device runs on Linux only")
@pytest.mark.parametrize("value", ["host", "Host"])
def test_metal_over_the_host_device_is_configured(
    repository: Path, tmp_path: Path, value: str
) -> None:
    result = configure(repository, tmp_path, f"-DGPTOSS_BUILD_METAL={value}")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("value", ["0", "off", "False", "NO", ""])
def test_metal_can_be_left_out(repository: Path, tmp_path: Path, value: str) -> None:
    result = configure(repository, tmp_path, f"-DGPTOSS_BUILD_METAL={value}")
    assert result.returncode == 0, result.stderr


def test_unknown_value_for_metal_lists_the_known_ones(repository: Path, tmp_path: Path) -> None:
    result = configure(repository, tmp_path, "-DGPTOSS_BUILD_METAL=maybe")
    assert result.returncode != 0
    message = " ".join(result.stderr.split())
    assert "GPTOSS_BUILD_METAL=maybe is not known" in message
    assert "1, on, true or yes" in message
    assert "0, off, false or no" in message
    assert "host" in message


def test_unknown_sanitizer_lists_the_known_ones(repository: Path, tmp_path: Path) -> None:
    result = configure(repository, tmp_path, "-DGPTOSS_SANITIZE=memory")
    assert result.returncode != 0
    assert '"address,undefined"' in result.stderr
