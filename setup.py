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

# Beside the extension of a build with GPTOSS_BUILD_METAL=host (cmake/PythonExtension.cmake).
METAL_HOST_KERNELS = "metal_host_kernels"


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
        if os.environ.get("GPTOSS_BUILD_METAL", "").lower() != "host":
            # An earlier build in this folder may have left them; they are no part of this one.
            shutil.rmtree(output_directory / METAL_HOST_KERNELS, ignore_errors=True)
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

    def copy_extensions_to_source(self) -> None:
        """Copy what was built into python/, for `pip install -e`."""
        super().copy_extensions_to_source()
        for ext in self.extensions:
            built = (Path.cwd() / self.build_lib / Path(*ext.name.split("."))).parent
            in_place = (Path.cwd() / self.get_ext_fullpath(ext.name)).parent
            if (built / METAL_HOST_KERNELS).is_dir():
                shutil.rmtree(in_place / METAL_HOST_KERNELS, ignore_errors=True)
                shutil.copytree(built / METAL_HOST_KERNELS, in_place / METAL_HOST_KERNELS)


setup(
    ext_modules=[Extension("gptoss._native", sources=[])],
    cmdclass={"build_ext": CMakeBuild},
)
