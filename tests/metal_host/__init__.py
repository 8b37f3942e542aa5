"""Metal kernels on the CPU, one fiber for each GPU thread: see README.md."""

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
