"""How many bytes a kernel asked for: what the tracer counted, for each buffer.

Four counts of the same accesses, each at most the one before it:

- `bytes_*`: what all threads ask for.
- `simdgroup_bytes_*`: what the memory system is asked for: within one access of a simdgroup (one
  instruction, executed by its lanes in step) a byte that several lanes want counts once.
- `threadgroup_bytes_*`: what a threadgroup needs, each byte once: the traffic that remains if the
  threadgroup's cache holds everything.
- `distinct_bytes_*`: what the launch needs, each byte once: the least there can be.

So simdgroup bytes by distinct bytes is the ratio that a kernel's tiling decides, and lines by
accesses says how well the lanes' addresses lie together: a simdgroup that reads 4 bytes a lane one
after the other touches 1 line of 128 bytes, 16 bytes a lane 4 lines, and 32 at worst.

An atomic operation that returns the old value counts as read and as written, but as one access.
Memory that is bound to several buffers counts for the first of them.
"""

import ctypes
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Traffic:
    """Of one buffer, or of all threadgroup memory, in one launch."""

    bytes_read: int
    bytes_written: int
    simdgroup_bytes_read: int
    simdgroup_bytes_written: int
    threadgroup_bytes_read: int
    threadgroup_bytes_written: int
    distinct_bytes_read: int
    distinct_bytes_written: int
    simdgroup_accesses: int
    lines: int  # of 128 bytes, counted from the buffer's start: summed over the simdgroup accesses

    @property
    def lines_per_access(self) -> float:
        """How many lines of 128 bytes an access of a simdgroup touches on average."""
        return self.lines / self.simdgroup_accesses if self.simdgroup_accesses else 0.0


def read_traffic(machine: ctypes.CDLL, buffer: int) -> Traffic:
    """The last launch's counts of a buffer's index, or -1: of all threadgroup memory.

    `machine`: the library that runs kernels, built for trace mode.
    """
    counts = (ctypes.c_uint64 * len(fields(Traffic)))()  # as traffic_counts in trace_traffic.h
    machine.metal_host_traffic(ctypes.c_int(buffer), counts)
    return Traffic(*counts)


def read_barriers_reached(machine: ctypes.CDLL) -> frozenset[tuple[str, int]]:
    """File (its name, without folders) and line of the barriers that the last launch reached."""
    file, line = ctypes.c_char_p(), ctypes.c_int()
    machine.metal_host_barrier.restype = ctypes.c_bool
    found: set[tuple[str, int]] = set()
    index = 0
    while machine.metal_host_barrier(index, ctypes.byref(file), ctypes.byref(line)):
        found.add((Path((file.value or b"").decode()).name, line.value))
        index += 1
    return frozenset(found)
