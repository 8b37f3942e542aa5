"""Every kernel on the device, compared with float64 by the library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gptoss import _native
from gptoss.device import native_backend


@dataclass(frozen=True)
class KernelCheck:
    """What became of one check."""

    kernel: str
    shape: str
    passed: bool
    largest_difference: float
    """Of an output from float64, relative to the greatest of them."""
    tolerance: float
    message: str
    """What is wrong, if it did not pass."""
    seconds: float


def check_kernels(
    backend: str, progress: Callable[[int, int, KernelCheck], object]
) -> list[KernelCheck]:
    """Runs all checks; calls `progress(done, in all, the last one)` after each.

    BackendError: no device, or one that has stopped answering. What `progress` raises ends it.
    """
    checks: list[KernelCheck] = []

    def collect(
        done: int, total: int, fields: tuple[str, str, bool, float, float, str, float]
    ) -> None:
        checks.append(KernelCheck(*fields))
        progress(done, total, checks[-1])

    _native.selftest_kernels(native_backend(backend), collect)
    return checks
