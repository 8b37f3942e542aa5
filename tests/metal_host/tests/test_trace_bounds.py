"""The tracer names the line of each access to memory that is not the kernel's to access."""

from typing import Any

import numpy as np
import pytest
from metal_host import RunError
from metal_host.tests.trace_libraries import (
    COMPILERS,
    ORDERS,
    kernel_names,
    marked_lines,
    named_lines,
    trace_library,
)

FILE = "bounds.metal"
WRONG = [name for name in kernel_names(FILE) if name != "in_bounds"]

# What the error says besides where.
EXPECTED = {
    "read_after_buffer": "read out of bounds of buffer 0 ('input'), which has 256 bytes: "
    "bytes 256 to 259, at ",
    "write_after_buffer": "write out of bounds of buffer 0 ('output'), which has 256 bytes: "
    "bytes 256 to 259, at ",
    "read_before_buffer": "read out of bounds of buffer 0 ('input'), which has 256 bytes: "
    "bytes -4 to -1, at ",
    "read_across_the_end": "read out of bounds of buffer 0 ('input'), which has 256 bytes: "
    "bytes 248 to 263, at ",
    "read_far_away": "which belongs to no buffer that is bound and to no threadgroup memory, at ",
    "read_of_unbound_buffer": "which belongs to no buffer that is bound",
    "write_to_constant_buffer": "write to buffer 0 ('input'), which the kernel declares constant",
    "atomic_after_buffer": "write out of bounds of buffer 0 ('counters'), which has 256 bytes: "
    "bytes 256 to 259, at ",
    "write_after_threadgroup_memory": "write out of bounds of threadgroup memory 'tile', which has "
    "256 bytes: bytes 256 to 259, at ",
    "read_before_threadgroup_memory": "read out of bounds of threadgroup memory 'tile', which has "
    "256 bytes: bytes -4 to -1, at ",
    "write_after_threadgroup_argument": "write out of bounds of threadgroup memory 'tile', which "
    "has 256 bytes: bytes 256 to 259, at ",
    "uninitialised_read": "uninitialised read of threadgroup memory 'tile', byte 160, which no "
    "thread of the threadgroup has written before: thread 23 (lane 23 of simdgroup 0) reads it at ",
    "partly_uninitialised_read": "uninitialised read of threadgroup memory 'tile', byte ",
    "uninitialised_read_in_second_threadgroup": "threadgroup (1, 0, 0): uninitialised read of "
    "threadgroup memory 'tile', byte ",
    "uninitialised_number_of_rounds": "uninitialised read of threadgroup memory 'num_rounds'",
    "uninitialised_index": "uninitialised read of threadgroup memory 'index', byte 0",
    "uninitialised_atomic": "uninitialised read of threadgroup memory 'counter', byte 0",
}


def run(compiler: str, kernel: str, order: int | None) -> Any:
    library = trace_library(FILE, compiler)
    num_threadgroups = 2 if "second_threadgroup" in kernel else 1
    attributes = [parameter.attribute for parameter in library.kernels[kernel].parameters]
    buffers: dict[int, Any] = {
        index: np.zeros(64 * num_threadgroups, np.float32)
        for index in range(31)
        if f"buffer({index})" in attributes
    }
    if kernel == "read_of_unbound_buffer":
        buffers[0] = None
    if kernel == "in_bounds":
        buffers[0] = np.uint32(64).tobytes() + np.float32(0.5).tobytes()
    return library.run(
        kernel,
        threadgroups=(num_threadgroups, 1, 1),
        threads_per_threadgroup=(64, 1, 1),
        buffers=buffers,
        threadgroup_memory={0: 256} if "threadgroup(0)" in attributes else {},
        order_seed=order,
    )


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kernel", WRONG)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_each_wrong_access_is_found_with_its_line(
    compiler: str, kernel: str, order: int | None
) -> None:
    with pytest.raises(RunError) as raised:
        run(compiler, kernel, order)

    text = str(raised.value)
    assert EXPECTED[kernel] in text
    assert f"kernel {kernel}," in text
    assert named_lines(text, FILE) == marked_lines(FILE, kernel, "error"), text


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_accesses_up_to_both_ends_are_no_errors(compiler: str, order: int | None) -> None:
    run(compiler, "in_bounds", order)
