"""`python -m metal_host build`: a folder of kernels that a program loads without Python."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from metal_host import compiler
from metal_host.tests.machine_libraries import KERNELS

# As by a build tool's Python, which has nothing installed.
WITHOUT_NUMPY = (
    "import sys; sys.modules['numpy'] = None; "
    "from metal_host.__main__ import main; sys.exit(main(sys.argv[1:]))"
)


def build(output: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_NUMPY, "build", "--output", output, *files],
        env={**os.environ, "PYTHONPATH": str(Path(compiler.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )


class Parameter(ctypes.Structure):  # metal_host_parameter in launch.h
    _fields_ = (
        ("is_threadgroup_memory", ctypes.c_uint32),
        ("index", ctypes.c_uint32),
        ("is_writable", ctypes.c_uint32),
        ("name", ctypes.c_char_p),
    )


class Signature(ctypes.Structure):  # metal_host_signature in launch.h
    _fields_ = (
        ("most_threads", ctypes.c_uint32),
        ("num_parameters", ctypes.c_uint32),
        ("parameters", Parameter * 62),
    )


def describe(library: Path, kernel: str) -> Signature:
    """What a program learns of a kernel, through the library alone."""
    loaded = ctypes.CDLL(str(library))
    for records in (loaded.metal_host_kernel_records, loaded.metal_host_constant_records):
        records.restype = ctypes.c_void_p
    loaded.metal_host_describe.restype = ctypes.c_char_p
    signature = Signature()
    error = loaded.metal_host_describe(
        ctypes.c_void_p(loaded.metal_host_kernel_records()),
        ctypes.c_void_p(loaded.metal_host_constant_records()),
        kernel.encode(),
        None,
        ctypes.c_uint64(0),
        ctypes.byref(signature),
    )
    assert error is None, error.decode()
    return signature


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    """scale.metal, in a folder of its own."""
    source = tmp_path / "source" / "scale.metal"
    source.parent.mkdir()
    shutil.copy(KERNELS / "machine_readme.metal", source)
    return source


def test_a_folder_can_be_moved_and_loaded(readme: Path, tmp_path: Path) -> None:
    result = build(tmp_path / "built", readme)
    assert result.returncode == 0, result.stderr
    moved = (tmp_path / "built" / "plain").rename(tmp_path / "moved")
    machines = [path.name for path in moved.iterdir() if path.name != "scale.so"]
    assert len(machines) == 1
    assert machines[0].startswith("machine-plain-")

    signature = describe(moved / "scale.so", "scale")
    assert signature.most_threads == 1024
    parameters = signature.parameters[: signature.num_parameters]
    assert [(p.is_threadgroup_memory, p.index, p.is_writable, p.name) for p in parameters] == [
        (0, 0, 0, b"factor"),
        (0, 1, 1, b"values"),
        (1, 0, 1, b"scratch"),
    ]


def test_only_what_has_changed_is_written_again(readme: Path, tmp_path: Path) -> None:
    other = readme.with_name("other.metal")
    shutil.copy(readme, other)
    output = tmp_path / "built"
    build(output, readme, other)
    folder = output / "plain"
    stale = folder / "machine-plain-of-long-ago.so"
    stale.touch()
    (output / "trace").mkdir()
    before = {path.name: path.stat().st_ino for path in folder.iterdir()}

    other.write_text(other.read_text().replace("kernel void scale", "kernel void scale_other"))
    result = build(output, readme, other)
    assert result.returncode == 0, result.stderr
    assert not (output / "trace").exists(), "what was built for another mode is out of date"
    after = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert {name for name in before if after.get(name) != before[name]} == {"other.so", stale.name}
    assert describe(folder / "other.so", "scale_other").num_parameters == 3


def test_nothing_is_written_where_a_source_does_not_compile(readme: Path, tmp_path: Path) -> None:
    readme.write_text(readme.read_text().replace("float& factor", "floot& factor"))
    result = build(tmp_path / "built", readme)
    assert result.returncode == 1
    assert "scale.metal:8" in result.stderr
    assert not (tmp_path / "built").exists()
