"""What the tests of the Metal kernels share: launches, arguments, outputs that start poisoned.

Kernels run on the host device (tests/metal_host). Two variables of the environment change how, for
every test alike: METAL_HOST_MODE is "plain" (the default), "asan" or "trace"; METAL_HOST_ORDERS is
how many random orders of threads each launch runs in (1 by default). Results must not depend on
the order, so all orders have to give the same bits.
"""

import ctypes
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from checkpoints import bf16_from_float32
from metal_host import Library, read_structs
from metal_host.mutation import Launch, mutate_barriers
from numpy.typing import DTypeLike, NDArray
from reference import Array

METAL = Path(__file__).parents[1] / "metal"

# Past the end of every output lie so many elements that no kernel may touch.
GUARD_ELEMENTS = 64


@cache
def library(file: str, mode: str | None = None) -> Library:
    """metal/<file>, compiled for `mode`, or else for the mode that the environment names."""
    return Library(METAL / file, mode=mode or os.environ.get("METAL_HOST_MODE", "plain"))


@cache
def _argument_structs() -> Mapping[str, type[ctypes.Structure]]:
    return read_structs(METAL / "arguments.h")


def arguments(struct: str, **fields: float) -> ctypes.Structure:
    """The struct of metal/arguments.h with every field given, no more and no fewer."""
    structs = _argument_structs()
    if struct not in structs:
        raise TypeError(f"metal/arguments.h has no struct {struct}; it has {', '.join(structs)}")
    names = [field[0] for field in structs[struct]._fields_]
    unknown = [name for name in fields if name not in names]
    missing = [name for name in names if name not in fields]
    if unknown or missing:
        raise TypeError(
            f"{struct} has the fields {', '.join(names)}; unknown: {', '.join(unknown) or 'none'}; "
            f"missing: {', '.join(missing) or 'none'}"
        )
    return structs[struct](**fields)


def launch(
    file: str,
    kernel: str,
    *,
    threads_per_threadgroup: tuple[int, int, int],
    buffers: Mapping[int, Any],
    threadgroups: tuple[int, int, int] | None = None,
    threads: tuple[int, int, int] | None = None,
    threadgroup_memory: Mapping[int, int] | None = None,
    constants: Mapping[int, Any] | None = None,
    mode: str | None = None,
    orders: int | None = None,
) -> Any:
    """Runs a kernel of metal/<file> once in each of `orders` random orders of its threads.

    Give either `threadgroups` or `threads`, as the two ways of dispatching in Metal. Arrays among
    `buffers` are written in place. Returns the first run's result (its traffic, in trace mode).
    """
    if orders is None:
        orders = int(os.environ.get("METAL_HOST_ORDERS", "1"))
    dispatch: dict[str, Any] = {
        "threadgroups": threadgroups,
        "threads": threads,
        "threads_per_threadgroup": threads_per_threadgroup,
        "threadgroup_memory": threadgroup_memory or {},
        "constants": constants or {},
    }
    if _recording is not None:
        _recording.append((file, Launch(kernel, {**dispatch, "buffers": buffers})))
    before = {i: b.copy() for i, b in buffers.items() if isinstance(b, np.ndarray) and orders > 1}

    def run(bound: Mapping[int, Any], seed: int) -> Any:
        return library(file, mode).run(kernel, **dispatch, buffers=bound, order_seed=seed)

    result = run(buffers, 0)
    for seed in range(1, orders):
        again = {**buffers, **{i: array.copy() for i, array in before.items()}}
        run(again, seed)
        for i in before:
            first, other = (b[i].reshape(-1).view(np.uint8) for b in (buffers, again))
            if not np.array_equal(first, other):
                element = int(np.nonzero(first != other)[0][0]) // buffers[i].itemsize
                raise AssertionError(
                    f"{kernel}: buffer {i} depends on the order of the threads: element {element} "
                    f"is {buffers[i].reshape(-1)[element]!r} in order 0 and "
                    f"{again[i].reshape(-1)[element]!r} in order {seed}"
                )
    return result


# The launches made within recorded_launches(), with the files of their kernels.
_recording: list[tuple[str, Launch]] | None = None


@contextmanager
def recorded_launches() -> Iterator[list[tuple[str, Launch]]]:
    """Collects the launches that are made within, for assert_every_barrier_is_needed."""
    global _recording
    _recording = []
    try:
        yield _recording
    finally:
        _recording = None


def assert_every_barrier_is_needed(
    file: str, launches: Sequence[tuple[str, Launch]], headers: Sequence[str] = ()
) -> None:
    """Deletes each barrier that the launches of metal/<file> reach: somebody must notice.

    The launches have to reach all barriers of the file, and all of those `headers` for which no
    other file's test does.
    """
    report = mutate_barriers(
        library(file, "trace"), [each for name, each in launches if name == file]
    )
    report.unreached = [b for b in report.unreached if b.file in (file, *headers)]
    assert report.caught or report.survived, f"no launch of {file} reaches a barrier"
    assert not report.complaint(), report.complaint()


class Output:
    """A buffer for a kernel to fill: every byte 0xFF (NaN) at first, with a guard past its end.

    Give `initial` where a kernel adds to what is there; then only the guard starts poisoned.
    """

    buffer: NDArray[Any]  # what to bind

    def __init__(
        self, shape: Sequence[int], dtype: DTypeLike, initial: Array | None = None
    ) -> None:
        self.shape = tuple(shape)
        size = int(np.prod(self.shape))
        self.buffer = np.zeros(size + GUARD_ELEMENTS, dtype)
        self.buffer.view(np.uint8)[:] = 0xFF
        if initial is not None:
            self.buffer[:size] = initial.reshape(-1)

    def values(self, what: str, *, partly: bool = False) -> Array:
        """What the kernel wrote, once it is certain that it wrote all of it, and nothing else.

        Of an output of which a kernel fills but a part, `partly` leaves the rest to the caller.
        """
        size = self.buffer.size - GUARD_ELEMENTS
        item = self.buffer.dtype.itemsize
        poisoned = (self.buffer.view(np.uint8).reshape(-1, item) == 0xFF).all(axis=1)
        touched = np.nonzero(~poisoned[size:])[0]
        assert touched.size == 0, (
            f"{what}: element {size + int(touched[0])} was written, past the end of "
            f"{'x'.join(map(str, self.shape))} = {size} elements"
        )
        untouched = np.nonzero(poisoned[:size])[0]
        assert partly or untouched.size == 0, (
            f"{what}: {untouched.size} of {size} elements were never written; the first is at "
            f"{np.unravel_index(int(untouched[0]), self.shape)} of shape {self.shape}"
        )
        values: Array = self.buffer[:size].reshape(self.shape)
        return values


def assert_close(actual: Array, expected: Array, relative: float, what: str) -> None:
    """No element may differ by more than `relative` times the greatest magnitude expected."""
    assert actual.shape == expected.shape, f"{what}: {actual.shape}, expected {expected.shape}"
    if expected.size == 0:
        return
    wide = actual.astype(np.float64)
    scale = float(np.abs(expected).max()) or 1.0
    error = np.abs(wide - expected) / scale
    error[~np.isfinite(wide) & ~((wide == expected) | (np.isnan(wide) & np.isnan(expected)))] = (
        np.inf
    )
    worst = np.unravel_index(int(np.argmax(error)), error.shape)
    assert error[worst] <= relative, (
        f"{what}: element {tuple(map(int, worst))} of {actual.shape} is {wide[worst]:.9g}, "
        f"expected {expected[worst]:.9g}: {error[worst]:.3g} of the scale {scale:.3g}; "
        f"{relative:.3g} allowed"
    )


def random_bf16(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> NDArray[np.uint16]:
    """Normally distributed weights, as bf16 bits."""
    return bf16_from_float32(rng.standard_normal(shape, np.float32) * np.float32(scale))


def random_int8_blocks(
    rng: np.random.Generator, rows: int, columns: int, scale: float = 1.0
) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Codes [rows, columns] and scales [rows, columns / 32] of values around `scale`."""
    codes = rng.integers(-127, 128, (rows, columns), dtype=np.int8)
    scales = rng.uniform(0.5, 2.0, (rows, columns // 32)) * (scale / 74)
    return codes, scales.astype(np.float16)


def int8_blocks_to_float(codes: NDArray[np.int8], scales: NDArray[np.float16]) -> Array:
    """[rows, columns], [rows, columns / 32] -> [rows, columns] in float64."""
    return codes.astype(np.float64) * np.repeat(scales.astype(np.float64), 32, axis=-1)


def ceil_divide(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)


@cache
def geometry(name: str) -> int:
    """A number of metal/*_geometry.h: how kernels divide their work, and tests dispatch it."""
    for header in sorted(METAL.glob("*_geometry.h")):
        found = re.search(rf"\b{name} = (\d+)", header.read_text("utf-8"))
        if found:
            return int(found[1])
    raise KeyError(f"no header metal/*_geometry.h defines {name}")
