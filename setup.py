"""Builds the extension gptoss._native with CMake; everything else is in pyproject.toml.

Environment:
    GPTOSS_BUILD_METAL   1/on/true/yes, 0/off/false/no or host (see docs/building.md)
    CMAKE_ARGS           further arguments for CMake's configure step
    CMAKE_BUILD_PARALLEL_LEVEL   number of parallel compilations (default: all processors)
"""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCE_DIRECTORY = Path(__file__).resolve().parent


def required_tool(name: str) -> str:
    """Path of a build tool; exits with a sentence when it is missing."""
    path = shutil.which(name)
    if path is None:
        sys.exit(
            f"Building gptoss needs {name}, which is not on PATH. pip installs it by itself unless "
            f"--no-build-isolation is given; then run: {sys.executable} -m pip install {name}"
        )
    return path


def macos_architectures() -> list[str]:
    """Architectures that the interpreter's build asks for, from ARCHFLAGS ("-arch arm64 ...")."""
    if platform.system() != "Darwin":
        return []
    return re.findall(r"-arch\s+(\S+)", os.environ.get("ARCHFLAGS", ""))


class CMakeBuild(build_ext):
    """Configures and builds the CMake target of each extension."""

    def build_extension(self, ext: Extension) -> None:
        """Build one extension into the place where setuptools expects it."""
        output_directory = (Path.cwd() / self.get_ext_fullpath(ext.name)).parent
        target = ext.name.rpartition(".")[2]
        build_directory = Path.cwd() / self.build_temp / target
        build_directory.mkdir(parents=True, exist_ok=True)
        # The cache of an earlier build names tools in pip's temporary environment of that time.
        (build_directory / "CMakeCache.txt").unlink(missing_ok=True)

        cmake = required_tool("cmake")
        options = {
            "CMAKE_BUILD_TYPE": "Debug" if self.debug else "Release",
            "CMAKE_LIBRARY_OUTPUT_DIRECTORY": str(output_directory),
            "CMAKE_MAKE_PROGRAM": required_tool("ninja"),
            "BUILD_SHARED_LIBS": "OFF",
            "GPTOSS_BUILD_METAL": os.environ.get("GPTOSS_BUILD_METAL", ""),
            "GPTOSS_BUILD_PYTHON": "ON",
            "GPTOSS_BUILD_TESTS": "OFF",
            "GPTOSS_INSTALL": "OFF",
            "Python_EXECUTABLE": sys.executable,
            "pybind11_DIR": pybind11.get_cmake_dir(),
        }
        architectures = macos_architectures()
        if architectures:
            options["CMAKE_OSX_ARCHITECTURES"] = ";".join(architectures)
        configure = [cmake, "-S", str(SOURCE_DIRECTORY), "-B", str(build_directory), "-G", "Ninja"]
        configure += [f"-D{name}={value}" for name, value in options.items()]
        configure += shlex.split(os.environ.get("CMAKE_ARGS", ""))
        build = [cmake, "--build", str(build_directory), "--target", target]
        if self.parallel:
            build += ["--parallel", str(self.parallel)]
        for command in (configure, build):
            try:
                subprocess.run(command, check=True)
            except subprocess.CalledProcessError as error:
                # CMake and the compiler have said why; a traceback would bury it.
                sys.exit(f"Building {ext.name} failed (exit status {error.returncode}); see above.")


setup(
    ext_modules=[Extension("gptoss._native", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
)
