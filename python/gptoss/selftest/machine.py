"""The machine of a report: device, system, power mode, and which gptoss it is."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from dataclasses import dataclass

from gptoss.device import device_info
from gptoss.errors import BackendError
from gptoss.selftest.chips import Chip, find_chip

COMMAND_SECONDS = 10


@dataclass(frozen=True)
class Machine:
    """Where the self-test ran."""

    backend: str
    device: str
    gpu_cores: int | None
    chip: Chip | None
    """None: not one of Apple's that chips.py knows."""
    operating_system: str
    physical_bytes: int
    recommended_bytes: int | None
    power_mode: str
    processors: int
    """That this process may use."""
    version: str
    python: str


def describe_machine(backend: str) -> Machine:
    """What the report says of this machine and its device. BackendError: no such device."""
    import gptoss

    info = device_info(backend)
    cores = _gpu_cores()
    return Machine(
        backend=info.backend,
        device=info.name,
        gpu_cores=cores,
        chip=find_chip(info.name, cores) if info.backend == "metal" else None,
        operating_system=info.operating_system,
        physical_bytes=info.physical_bytes,
        recommended_bytes=info.recommended_bytes,
        power_mode=_power_mode(),
        processors=num_processors(),
        version=gptoss.__version__,
        python=platform.python_version(),
    )


def has_metal() -> bool:
    """Whether this build and machine can run the Metal backend."""
    try:
        device_info("metal")
    except BackendError:
        return False
    return True


def num_processors() -> int:
    """That this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _output(*command: str) -> str:
    """What a command of the system prints; empty if there is none or it fails."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _power_mode() -> str:
    if platform.system() != "Darwin":
        return "not known on this system"
    return describe_power(_output("pmset", "-g", "live"), _output("pmset", "-g", "batt"))


def describe_power(settings: str, supply: str) -> str:
    """From what `pmset -g live` and `pmset -g batt` print on macOS."""
    # Older systems have lowpowermode only; newer ones powermode, 0 automatic, 1 low, 2 high.
    found = re.search(r"\b(?:lowpowermode|powermode)\s+(\d)", settings)
    modes = {"0": "automatic", "1": "low power", "2": "high power"}
    mode = modes.get(found[1], f"mode {found[1]}") if found else "not known"
    source = re.search(r"drawing from '([^']*)'", supply)
    return f"{mode}, {source[1]}" if source else mode


def _gpu_cores() -> int | None:
    if platform.system() != "Darwin":
        return None
    return count_gpu_cores(_output("system_profiler", "-json", "SPDisplaysDataType"))


def count_gpu_cores(profile: str) -> int | None:
    """From what `system_profiler -json SPDisplaysDataType` prints on macOS."""
    try:
        displays = json.loads(profile)["SPDisplaysDataType"]
        return next(int(display["sppci_cores"]) for display in displays if "sppci_cores" in display)
    except (ValueError, KeyError, TypeError, StopIteration):
        return None
