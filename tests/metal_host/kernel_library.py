"""Kernels that can be run: `Library("x.metal").run("kernel", ...)`."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metal_host import sanitizer
from metal_host.compiled_library import compile_library
from metal_host.compiler import MODES
from metal_host.locations import resolve_locations
from metal_host.source import Kernel
from metal_host.traffic import Traffic, read_barriers_reached, read_traffic

NUM_BUFFER_INDICES = 31
NUM_THREADGROUP_MEMORY_INDICES = 31
THREADGROUP_MEMORY = -1  # as an index of read_traffic()


class RunError(Exception):
    """A launch that failed: a limit, a missing argument, a race, an overrun, a divergence."""


@dataclass(frozen=True)
class Result:
    """What a launch leaves besides the contents of its buffers."""

    switches: int  # how often one thread was left for another
    traffic: Mapping[int, Traffic] = field(default_factory=dict)  # by buffer; in trace mode
    threadgroup_traffic: Traffic | None = None  # of all threadgroup memory; in trace mode
    barriers: frozenset[tuple[str, int]] = frozenset()  # reached: file and line; in trace mode


class _Buffer(ctypes.Structure):  # metal_host_buffer in launch.h
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_uint64),
        ("is_given", ctypes.c_uint32),
        ("is_writable", ctypes.c_uint32),
        ("kept", ctypes.c_void_p),
    )


class _Constant(ctypes.Structure):  # constant_value in function_constants.h
    _fields_ = (
        ("index", ctypes.c_uint32),
        ("is_integer", ctypes.c_uint32),
        ("integer", ctypes.c_int64),
        ("real", ctypes.c_double),
    )


class _Request(ctypes.Structure):  # metal_host_launch_request in launch.h
    _fields_ = (
        ("grid", ctypes.c_uint32 * 3),
        ("counts_threads", ctypes.c_uint32),
        ("threads_per_threadgroup", ctypes.c_uint32 * 3),
        ("is_random", ctypes.c_uint32),
        ("seed", ctypes.c_uint64),
        ("buffers", ctypes.POINTER(_Buffer)),
        ("threadgroup_memory", ctypes.POINTER(ctypes.c_int64)),
        ("constants", ctypes.POINTER(_Constant)),
        ("num_constants", ctypes.c_uint64),
        ("skipped_file", ctypes.c_char_p),
        ("skipped_line", ctypes.c_int32),
    )


# A launch and what is read of it afterwards belong together.
_launching = threading.Lock()


class Library:
    """The kernels of one .metal file, compiled for a mode: "plain", "asan" or "trace".

    `compiler`: which C++ compiler to use, instead of the best one that is there.
    """

    def __init__(
        self, path: str | Path, mode: str = "plain", *, compiler: str | None = None
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"mode {mode!r}: it must be one of {', '.join(MODES)}")
        if mode == "asan":
            sanitizer.check_loaded()
        self.path = Path(path).resolve()
        self.mode = mode
        compiled = compile_library(self.path, mode, compiler)
        self.kernels: dict[str, Kernel] = compiled.kernels
        self._machine = ctypes.CDLL(str(compiled.machine))
        self._library = ctypes.CDLL(str(compiled.binary))
        self._machine.metal_host_launch.restype = ctypes.c_char_p
        self._machine.metal_host_switches.restype = ctypes.c_uint64
        self._library.metal_host_kernel_records.restype = ctypes.c_void_p
        self._library.metal_host_constant_records.restype = ctypes.c_void_p

    def run(
        self,
        kernel: str,
        *,
        threads_per_threadgroup: Sequence[int],
        threadgroups: Sequence[int] | None = None,
        threads: Sequence[int] | None = None,
        buffers: Mapping[int, Any],
        threadgroup_memory: Mapping[int, int] | None = None,
        constants: Mapping[int, int | float | bool] | None = None,
        order_seed: int | None = None,
        without_barrier: tuple[str, int] | None = None,
    ) -> Result:
        """Runs a kernel to its end; RunError says why it could not.

        `threadgroups` or `threads` is the size of the grid: with `threads`, as by Metal's
        dispatchThreads, the last threadgroups are smaller. Arrays among `buffers` are read and
        written in place; ctypes structures and bytes are read (setBytes); None leaves an index
        unbound. `constants` that are not given are not defined. `order_seed` draws the order of
        threadgroups, simdgroups and lanes. `without_barrier` names the file and line of a barrier
        that does nothing in this run.
        """
        if (threadgroups is None) == (threads is None):
            raise TypeError("give either threadgroups or threads: the size of the grid")
        grid = threads if threadgroups is None else threadgroups
        assert grid is not None
        bound, _arrays = _bind(buffers)
        request = _Request(
            grid=_triple(grid, "the grid"),
            counts_threads=int(threads is not None),
            threads_per_threadgroup=_triple(threads_per_threadgroup, "threads_per_threadgroup"),
            is_random=int(order_seed is not None),
            seed=order_seed or 0,
            buffers=bound,
            threadgroup_memory=_threadgroup_sizes(threadgroup_memory or {}),
            constants=(_Constant * len(constants or {}))(
                *(_constant(index, value) for index, value in (constants or {}).items())
            ),
            num_constants=len(constants or {}),
        )
        if without_barrier is not None:
            request.skipped_file = without_barrier[0].encode()
            request.skipped_line = without_barrier[1]
        with _launching:
            error = self._machine.metal_host_launch(
                ctypes.c_void_p(self._library.metal_host_kernel_records()),
                ctypes.c_void_p(self._library.metal_host_constant_records()),
                kernel.encode(),
                ctypes.byref(request),
            )
            if error is not None:
                raise RunError(resolve_locations(error.decode()))
            return self._result(buffers)

    def _result(self, buffers: Mapping[int, Any]) -> Result:
        switches = self._machine.metal_host_switches()
        if self.mode != "trace":
            return Result(switches)
        return Result(
            switches,
            {i: read_traffic(self._machine, i) for i, b in buffers.items() if b is not None},
            read_traffic(self._machine, THREADGROUP_MEMORY),
            read_barriers_reached(self._machine),
        )


def _triple(values: Sequence[int], what: str) -> Any:
    if len(values) != 3 or not all(0 <= value < 2**32 for value in values):
        raise ValueError(f"{what} must be three numbers from 0 to 2^32 - 1, not {values!r}")
    return (ctypes.c_uint32 * 3)(*values)


def _bind(buffers: Mapping[int, Any]) -> tuple[Any, list[NDArray[Any]]]:
    """The buffers as the launcher reads them, and the arrays that have to live as long."""
    bound = (_Buffer * NUM_BUFFER_INDICES)()
    arrays: list[NDArray[Any]] = []
    for index, buffer in buffers.items():
        if not 0 <= index < NUM_BUFFER_INDICES:
            raise RunError(f"buffer {index}: indices are 0 to {NUM_BUFFER_INDICES - 1}")
        if buffer is None:
            bound[index] = _Buffer(is_given=1)
            continue
        array = _as_array(index, buffer)
        bound[index] = _Buffer(array.ctypes.data, array.nbytes, 1, int(array.flags.writeable))
        arrays.append(array)
    return bound, arrays


def _as_array(index: int, buffer: Any) -> NDArray[Any]:
    """The memory of a buffer; what stands for setBytes becomes a copy, aligned and read-only."""
    if isinstance(buffer, ctypes.Structure | ctypes.Array | bytes):
        copy: NDArray[Any] = np.frombuffer(bytes(buffer), np.uint8).copy()
        copy.flags.writeable = False
        return copy
    if not isinstance(buffer, np.ndarray):
        raise TypeError(
            f"buffer {index} is a {type(buffer).__name__}: it must be a numpy array, a ctypes "
            "structure or array, bytes, or None"
        )
    if buffer.dtype.hasobject or buffer.dtype in (np.float64, np.complex128):
        raise RunError(f"buffer {index} has elements of type {buffer.dtype}, which Metal lacks")
    if not buffer.flags.c_contiguous:
        raise RunError(
            f"buffer {index}: the array is not contiguous; give a copy (np.ascontiguousarray)"
        )
    array: NDArray[Any] = buffer
    return array


def _threadgroup_sizes(sizes: Mapping[int, int]) -> Any:
    result = (ctypes.c_int64 * NUM_THREADGROUP_MEMORY_INDICES)(
        *[-1] * NUM_THREADGROUP_MEMORY_INDICES
    )
    for index, size in sizes.items():
        if not 0 <= index < NUM_THREADGROUP_MEMORY_INDICES:
            raise RunError(
                f"threadgroup memory {index}: indices are 0 to {NUM_THREADGROUP_MEMORY_INDICES - 1}"
            )
        result[index] = size
    return result


def _constant(index: int, value: int | float | bool) -> _Constant:
    if isinstance(value, bool | int | np.integer | np.bool_):
        return _Constant(index, 1, int(value), float(value))
    return _Constant(index, 0, 0, float(value))
