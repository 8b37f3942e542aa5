"""The Python package as it is built and installed: version, files, metadata."""

import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import gptoss
import pytest

SCRIPTS = sysconfig.get_path("scripts")


def build_environment(**variables: str) -> dict[str, str]:
    """The environment with the build tools of this interpreter's environment on PATH."""
    return {**os.environ, "PATH": SCRIPTS + os.pathsep + os.environ["PATH"], **variables}


def declared_version(repository: Path) -> str:
    pyproject = (repository / "pyproject.toml").read_text()
    match = re.search(r'^version = "(.+)"$', pyproject, re.MULTILINE)
    assert match is not None
    return match[1]


def test_version_is_the_same_everywhere(repository: Path) -> None:
    version = declared_version(repository)
    assert importlib.metadata.version("gptoss") == version
    assert gptoss.__version__ == version
    header = (repository / "include" / "gptoss.h").read_text()
    parts = re.findall(
        r"^#define GPTOSS_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)$", header, re.MULTILINE
    )
    assert ".".join(parts) == version


def test_command_is_installed_and_helps() -> None:
    result = subprocess.run(
        [Path(SCRIPTS) / "gptoss", "--help"], capture_output=True, text=True, check=True
    )
    assert "generate" in result.stdout
    assert "convert" in result.stdout


def test_package_is_typed() -> None:
    assert (Path(gptoss.__file__).parent / "py.typed").exists()


@pytest.fixture(scope="module")
def distributions(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel and the source distribution of this checkout."""
    directory = tmp_path_factory.mktemp("distributions")
    # The backend's own entry points, so that nothing is fetched and no other tool is needed.
    build = (
        "import sys; from setuptools import build_meta; directory = sys.argv[1]; "
        "build_meta.build_sdist(directory); build_meta.build_wheel(directory)"
    )
    result = subprocess.run(
        [sys.executable, "-c", build, str(directory)],
        cwd=repository,
        capture_output=True,
        text=True,
        env=build_environment(),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return directory


@pytest.mark.slow
def test_wheel_has_the_package_and_nothing_else(distributions: Path) -> None:
    [wheel] = distributions.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    top_level = {name.split("/")[0] for name in names}
    assert top_level == {
        "gptoss",
        wheel.name.partition("-")[0] + "-" + wheel.name.split("-")[1] + ".dist-info",
    }
    extension = "gptoss/_native" + sysconfig.get_config_var("EXT_SUFFIX")
    assert extension in names
    assert {"gptoss/py.typed", "gptoss/data/demo-model.bin"} <= names
    unwanted = [
        name for name in names if re.search(r"\.(cpp|h|o|a|pyc|map)$|__pycache__|/\.", name)
    ]
    assert unwanted == []
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert wheel.stat().st_size < 12_000_000


@pytest.mark.slow
def test_source_distribution_has_what_a_build_needs(distributions: Path) -> None:
    [archive] = distributions.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {
        "CMakeLists.txt",
        "LICENSE",
        "README.md",
        "cmake/CpuKernels.cmake",
        "include/gptoss.h",
        "python/native/module.cpp",
        "python/gptoss/data/demo-model.bin",
        "setup.py",
        "source/api_context.cpp",
        "source/cpu/kernels/table.inl",
        "tests/conftest.py",
    } <= names
    assert [name for name in names if name.endswith((".so", ".pyc", ".o"))] == []
    assert not any(name.startswith("build/") for name in names)


def test_invalid_metal_setting_stops_pip_with_the_reason(repository: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [
            sys.executable,
            "setup.py",
            "-q",
            "build_ext",
            "--build-lib",
            tmp_path,
            "--build-temp",
            tmp_path,
        ],
        cwd=repository,
        capture_output=True,
        text=True,
        env=build_environment(GPTOSS_BUILD_METAL="sometimes"),
    )
    assert result.returncode != 0
    assert "GPTOSS_BUILD_METAL=sometimes is not known" in " ".join(result.stderr.split())
