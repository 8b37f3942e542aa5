"""Fetches what describes Apple's SDK, with pip: nothing of it is kept in the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# Pinned: a newer SDK may rename an argument's type, which is to be looked at.
PYOBJC = "12.2.2"
MLX_METAL = "0.32.4"

# Of the sources of pyobjc-framework-<name>: what was scanned on arm64, and its name here.
SCANS = {"Metal": "metadata/raw", "Cocoa": "metadata/raw.Foundation"}
FILES = {"Metal": "Metal.fwinfo", "Cocoa": "Foundation.fwinfo"}
METAL_CPP = "metal_cpp"


class FetchError(Exception):
    """What pip said."""


def fetch(folder: Path) -> None:
    """Writes Metal.fwinfo, Foundation.fwinfo and metal_cpp/ into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        for name, scans in SCANS.items():
            source = _source(f"pyobjc-framework-{name}", work / name)
            scanned = sorted((source / scans).glob("arm64-*.fwinfo"))
            if not scanned:
                raise FetchError(f"pyobjc-framework-{name} {PYOBJC} has no {scans}/arm64-*.fwinfo")
            shutil.copy(scanned[-1], folder / FILES[name])
        _pip(
            work,
            f"mlx-metal=={MLX_METAL}",
            *("--only-binary=:all:", "--platform", "macosx_14_0_arm64", "--dest", work),
        )
        with zipfile.ZipFile(next(work.glob("mlx_metal-*.whl"))) as wheel:
            for member in wheel.namelist():
                _, found, path = member.partition(f"include/{METAL_CPP}/")
                if found and path.endswith(".hpp"):
                    target = folder / METAL_CPP / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(wheel.read(member))


def _source(package: str, work: Path) -> Path:
    """The unpacked source distribution of a package.

    pip unpacks it and then asks the package's setup.py for its metadata, which fails unless this is
    macOS. So pip is told to leave what it unpacked, and its exit status says nothing.
    """
    work.mkdir()
    status, said = _run_pip(
        work,
        f"{package}=={PYOBJC}",
        *("--no-binary=:all:", "--no-build-isolation", "--no-clean", "--dest", work / "saved"),
    )
    unpacked = list(work.glob(f"pip-download-*/{package.lower()}_*/metadata"))
    if not unpacked:
        raise FetchError(f"pip has not unpacked {package} {PYOBJC} (exit status {status}):\n{said}")
    return unpacked[0].parent


def _pip(work: Path, *arguments: str | Path) -> None:
    status, said = _run_pip(work, *arguments)
    if status != 0:
        raise FetchError(said)


def _run_pip(work: Path, *arguments: str | Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", *arguments]
    environment = {**os.environ, "TMPDIR": str(work)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    return result.returncode, result.stdout + result.stderr
