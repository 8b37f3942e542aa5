"""Where models run: the backends and the device of each."""

from __future__ import annotations

from dataclasses import dataclass

from gptoss import _native

_BACKENDS = {
    "auto": _native.Backend.auto,
    "cpu": _native.Backend.cpu,
    "metal": _native.Backend.metal,
}


@dataclass(frozen=True)
class DeviceInfo:
    """The device of a backend."""

    backend: str
    """"cpu" or "metal"."""
    name: str
    """Of the GPU, "Apple M2 Max"; for "cpu" of the processor."""
    operating_system: str
    recommended_bytes: int | None
    """That all memory of the backend together should not exceed; None: not known ("cpu")."""
    max_buffer_bytes: int | None
    """Of one allocation; None: not known ("cpu")."""
    physical_bytes: int
    """Memory of the machine."""


def device_info(backend: str = "auto") -> DeviceInfo:
    """The device that a backend uses here; "auto" is what `Model(path, backend="auto")` chooses.

    BackendError: the backend is not in this build, or has no device here.
    """
    chosen, name, system, recommended, max_buffer, physical = _native.device_info(
        native_backend(backend)
    )
    return DeviceInfo(chosen, name, system, recommended or None, max_buffer or None, physical)


def native_backend(name: str) -> _native.Backend:
    """The engine's constant for "auto", "cpu" or "metal"; ValueError for anything else."""
    if name not in _BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(_BACKENDS)}, not {name!r}.")
    return _BACKENDS[name]
