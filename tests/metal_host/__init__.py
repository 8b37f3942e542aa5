"""Metal kernels on the CPU, one fiber for each GPU thread: see README.md."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metal_host.compiler import CompileError
    from metal_host.kernel_library import Library, Result, RunError
    from metal_host.source import Kernel, KernelParameter
    from metal_host.structs import read_structs
    from metal_host.syntax import SourceError
    from metal_host.traffic import Traffic

__all__ = [
    "CompileError",
    "Kernel",
    "KernelParameter",
    "Library",
    "Result",
    "RunError",
    "SourceError",
    "Traffic",
    "read_structs",
]

# Where each name comes from. Imported when it is used: only running kernels needs numpy.
_MODULES = {
    "CompileError": "compiler",
    "Kernel": "source",
    "KernelParameter": "source",
    "Library": "kernel_library",
    "Result": "kernel_library",
    "RunError": "kernel_library",
    "SourceError": "syntax",
    "Traffic": "traffic",
    "read_structs": "structs",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
