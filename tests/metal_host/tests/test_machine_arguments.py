"""What kernels are given: positions, buffers, threadgroup memory, function constants; limits."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metal_host import Library, RunError, read_structs
from metal_host.tests.machine_libraries import BUILDS, KERNELS, machine_library
from numpy.typing import NDArray

STRUCTS = read_structs(KERNELS / "machine_structs.h")


@pytest.fixture(params=BUILDS, ids="-".join)
def library(request: pytest.FixtureRequest) -> Library:
    """The kernels, by every compiler and in every mode that this process has."""
    compiler, mode = request.param
    return machine_library("arguments", mode, compiler)


@pytest.fixture(scope="module")
def plain() -> Library:
    return machine_library("arguments")


def run_one_thread(library: Library, kernel: str, buffers: Mapping[int, Any], **rest: Any) -> None:
    library.run(
        kernel, threadgroups=(1, 1, 1), threads_per_threadgroup=(1, 1, 1), buffers=buffers, **rest
    )


# ---- Positions ---------------------------------------------------------------------------------


def records_of(library: Library, **grid: Any) -> tuple[list[Any], tuple[int, int, int]]:
    """A record for each thread of the grid, x fastest, and the size of the grid in threads."""
    size = grid["threads_per_threadgroup"]
    threads = grid.get("threads") or tuple(
        n * s for n, s in zip(grid["threadgroups"], size, strict=True)
    )
    count = int(np.prod(threads))
    memory = np.full(count * ctypes.sizeof(STRUCTS["Positions"]), 0xFF, np.uint8)
    library.run("positions_3d", buffers={0: memory}, **grid)
    records = (STRUCTS["Positions"] * count).from_buffer_copy(memory.tobytes())
    return list(records), threads


def check_positions(
    records: list[Any], threads: tuple[int, int, int], size: tuple[int, int, int]
) -> None:
    """Every record against Metal's definitions of its attributes."""
    threadgroups = [-(-n // s) for n, s in zip(threads, size, strict=True)]
    for number, record in enumerate(records):
        at = [
            number % threads[0],
            number // threads[0] % threads[1],
            number // threads[0] // threads[1],
        ]
        group = [a // s for a, s in zip(at, size, strict=True)]
        inside = [a % s for a, s in zip(at, size, strict=True)]
        actual = [min(s, n - g * s) for s, n, g in zip(size, threads, group, strict=True)]
        index = (inside[2] * actual[1] + inside[1]) * actual[0] + inside[0]
        expected = {
            "thread_position_in_grid": at,
            "thread_position_in_threadgroup": inside,
            "threadgroup_position_in_grid": group,
            "threadgroups_per_grid": threadgroups,
            "threads_per_grid": list(threads),
            "threads_per_threadgroup": actual,
            "dispatch_threads_per_threadgroup": list(size),
            "thread_index_in_threadgroup": index,
            "thread_index_in_simdgroup": index % 32,
            "simdgroup_index_in_threadgroup": index // 32,
            "simdgroups_per_threadgroup": -(-int(np.prod(actual)) // 32),
            "dispatch_simdgroups_per_threadgroup": -(-int(np.prod(size)) // 32),
            "threads_per_simdgroup": 32,
            "thread_execution_width": 32,
        }
        found = {
            name: value if isinstance(value := getattr(record, name), int) else list(value)
            for name in expected
        }
        assert found == expected, f"thread {at} of {threads} in threadgroups of {size}"


def test_positions_in_a_grid_of_threadgroups(library: Library) -> None:
    size = (5, 3, 4)
    records, threads = records_of(library, threadgroups=(3, 2, 2), threads_per_threadgroup=size)
    assert threads == (15, 6, 8)
    check_positions(records, threads, size)


sizes = st.tuples(*[st.integers(1, 9)] * 3)


@given(
    threads=st.tuples(*[st.integers(1, 13)] * 3), size=sizes, seed=st.integers(0, 99) | st.none()
)
@settings(max_examples=30, deadline=None)
def test_the_last_threadgroups_of_a_grid_of_threads_are_partial(
    threads: tuple[int, int, int], size: tuple[int, int, int], seed: int | None
) -> None:
    records, _ = records_of(
        machine_library("arguments"),
        threads=threads,
        threads_per_threadgroup=size,
        order_seed=seed,
    )
    check_positions(records, threads, size)


def test_positions_may_be_16_bits_wide_and_of_one_or_two_dimensions(library: Library) -> None:
    output = np.zeros((20, 8), np.uint32)
    library.run(
        "positions_narrow",
        threads=(20, 1, 1),
        threads_per_threadgroup=(6, 1, 1),
        buffers={0: output},
    )
    for i, row in enumerate(output.tolist()):
        size = min(6, 20 - i // 6 * 6)
        inside = i % 6
        expected = [i, inside, 0, size * 1000 + 1, inside % 4, inside // 4, -(-size // 4), 2]
        assert row == expected, f"thread {i}"


# ---- Buffers -----------------------------------------------------------------------------------


def buffers_of_every_kind(n: int = 8) -> dict[int, Any]:
    return {
        0: STRUCTS["Scaling"](count=77, scale=2.0),
        1: np.arange(n, dtype=np.float32),
        2: np.full(n, 100, np.float32),
        3: np.full(n, 0.5, np.float32),
        30: np.zeros(n, np.float32),
        7: np.zeros(1, np.uint32),
    }


def run_every_kind(library: Library, buffers: Mapping[int, Any]) -> None:
    library.run(
        "every_kind_of_buffer",
        threads=(8, 1, 1),
        threads_per_threadgroup=(8, 1, 1),
        buffers=buffers,
    )


def test_buffers_are_pointers_and_references_by_their_index(library: Library) -> None:
    buffers = buffers_of_every_kind()
    run_every_kind(library, buffers)
    np.testing.assert_array_equal(buffers[30], 200.5 + np.arange(8))
    assert buffers[7][0] == 77


def test_arguments_may_be_structures_bytes_or_arrays(plain: Library) -> None:
    scaling = STRUCTS["Scaling"](count=77, scale=2.0)
    for argument in (scaling, bytes(scaling), np.frombuffer(bytes(scaling), np.uint8)):
        buffers = buffers_of_every_kind() | {0: argument}
        run_every_kind(plain, buffers)
        assert buffers[7][0] == 77


def test_a_buffer_that_is_bound_twice_is_the_same_memory(library: Library) -> None:
    values = np.arange(64, dtype=np.float32)
    library.run(
        "in_place",
        threads=(64, 1, 1),
        threads_per_threadgroup=(64, 1, 1),
        buffers={0: values, 1: values},
    )
    np.testing.assert_array_equal(values, 2 * np.arange(64))


def test_buffers_that_overlap_do_so_in_the_kernel(plain: Library) -> None:
    values = np.arange(12, dtype=np.float32)
    plain.run(
        "in_place",
        threads=(4, 1, 1),
        threads_per_threadgroup=(1, 1, 1),
        buffers={0: values[1:5], 1: values[:4]},
    )
    # One after the other, each adds its left neighbour, which is a sum already.
    np.testing.assert_array_equal(values, [0, 1, 3, 6, 10, *range(5, 12)])


def test_what_a_kernel_only_reads_may_be_read_only(plain: Library) -> None:
    buffers = buffers_of_every_kind()
    buffers[2].flags.writeable = False
    run_every_kind(plain, buffers)
    assert buffers[30][0] == 200.5


def test_a_failed_launch_leaves_the_buffers_alone(plain: Library) -> None:
    buffers = buffers_of_every_kind()
    buffers[3] = buffers[3][:4]
    with pytest.raises(RunError, match="buffer 3 "):
        run_every_kind(plain, buffers)
    assert not buffers[30].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({2: ...}, r"buffer 2 \('input'\) is missing: give it an array, or None"),
        (
            {0: bytes(12)},
            r"buffer 0 \('scaling'\) has 12 bytes, but the kernel reads a struct of 16",
        ),
        (
            {30: bytes(32)},
            r"buffer 30 \('output'\) is written by the kernel .* memory is read-only",
        ),
        ({5: np.zeros(1, np.float32)}, "there is no buffer 5 in the kernel's signature"),
        ({31: np.zeros(1, np.float32)}, "buffer 31: indices are 0 to 30"),
        ({2: np.zeros((8, 2), np.float32)[:, 0]}, "buffer 2: the array is not contiguous"),
        ({2: np.zeros(8)}, "buffer 2 has elements of type float64, which Metal lacks"),
        (
            {3: np.zeros(9, np.float32)[1:]},
            r"buffer 3 \('vectors'\) is at an address that is not a multiple of 16 bytes",
        ),
    ],
)
def test_wrong_buffers_are_errors(plain: Library, change: dict[int, Any], message: str) -> None:
    buffers = buffers_of_every_kind() | change
    with pytest.raises(RunError, match=message):
        run_every_kind(plain, {i: b for i, b in buffers.items() if b is not ...})


def test_other_objects_are_no_buffers(plain: Library) -> None:
    with pytest.raises(TypeError, match="buffer 2 is a list: it must be a numpy array"):
        run_every_kind(plain, buffers_of_every_kind() | {2: [1.0] * 8})


def test_none_leaves_a_buffer_unbound_and_its_use_is_an_error(library: Library) -> None:
    with pytest.raises(RunError) as caught:
        run_one_thread(library, "reads_one", {0: None, 1: np.zeros(1, np.float32)})
    assert "machine_arguments.metal:" in str(caught.value)


# ---- Threadgroup memory ------------------------------------------------------------------------


def test_threadgroup_memory_is_undefined_when_a_threadgroup_starts(plain: Library) -> None:
    output = np.zeros((5, 3), np.uint32)
    plain.run(
        "fresh_threadgroup_memory",
        threadgroups=(5, 1, 1),
        threads_per_threadgroup=(1, 1, 1),
        buffers={0: output},
        threadgroup_memory={2: 16},
    )
    assert (output == 0xFFFFFFFF).all()


def test_threadgroup_variables_are_aligned_and_apart(library: Library) -> None:
    output = np.zeros(4, np.uint64)
    run_one_thread(library, "addresses", {0: output}, threadgroup_memory={0: 32})
    begins = sorted(zip(output.tolist(), (1, 64, 6, 32), strict=True))
    for (begin, size), (next_begin, _) in pairwise(begins):
        assert begin + size <= next_begin
    byte, aligned, halves, argument = output.tolist()
    assert (byte % 1, aligned % 64, halves % 2, argument % 16) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("kernel", "sizes", "message"),
    [
        ("declares_32769_bytes", {}, "of 32769 bytes is more than the 32768 there are: "),
        ("declares_16_bytes", {0: 32768}, "of 32784 bytes is more than the 32768"),
        ("declares_16_bytes", {0: 32784}, "of 32784 bytes is more than the 32768"),
        ("declares_16_bytes", {0: 24}, "of 24 bytes: the size must be a positive multiple of 16"),
        ("declares_16_bytes", {0: 0}, "of 0 bytes: the size must be a positive multiple of 16"),
        ("declares_16_bytes", {}, r"threadgroup memory 0 \('argument'\) is missing"),
        ("declares_16_bytes", {0: 16, 3: 16}, "there is no threadgroup memory 3 in the kernel's"),
        ("declares_16_bytes", {0: 16, 31: 16}, "threadgroup memory 31: indices are 0 to 30"),
    ],
)
def test_threadgroup_memory_is_limited(
    plain: Library, kernel: str, sizes: dict[int, int], message: str
) -> None:
    with pytest.raises(RunError, match=message):
        run_one_thread(plain, kernel, {0: np.zeros(1, np.uint32)}, threadgroup_memory=sizes)


def test_all_32768_bytes_may_be_used(library: Library) -> None:
    output = np.zeros(1, np.uint32)
    run_one_thread(library, "declares_32768_bytes", {0: output})
    run_one_thread(library, "declares_16_bytes", {0: output}, threadgroup_memory={0: 32752})
    assert output[0] == 1


def test_an_error_names_the_variables_that_are_too_large(plain: Library) -> None:
    with pytest.raises(RunError) as caught:
        run_one_thread(plain, "declares_32769_bytes", {0: np.zeros(1, np.uint32)})
    text = str(caught.value)
    assert "half_of_it 16384, other_half 16385" in text
    assert "machine_arguments.metal:" in text


# ---- Grids -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (
            {"threadgroups": (1, 1, 1), "threads_per_threadgroup": (1025, 1, 1)},
            "larger than the 1024",
        ),
        (
            {"threadgroups": (1, 1, 1), "threads_per_threadgroup": (32, 32, 2)},
            r"2\) = 2048 threads",
        ),
        ({"threadgroups": (0, 1, 1), "threads_per_threadgroup": (1, 1, 1)}, "grid .* is empty"),
        ({"threads": (1, 0, 1), "threads_per_threadgroup": (1, 1, 1)}, "grid .* is empty"),
        ({"threadgroups": (1, 1, 1), "threads_per_threadgroup": (1, 0, 1)}, "threads is empty"),
        (
            {"threadgroups": (1 << 31, 1, 1), "threads_per_threadgroup": (2, 1, 1)},
            "positions that do not fit 32 bits",
        ),
    ],
)
def test_impossible_grids_are_errors(plain: Library, grid: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError, match=message):
        plain.run("in_place", buffers={0: None, 1: None}, **grid)


def test_1024_threads_are_a_threadgroup(library: Library) -> None:
    values = np.ones(1024, np.float32)
    library.run(
        "in_place",
        threadgroups=(1, 1, 1),
        threads_per_threadgroup=(1024, 1, 1),
        buffers={0: values, 1: values.copy()},
    )
    assert (values == 2).all()


def test_a_kernel_may_allow_fewer_threads(plain: Library) -> None:
    output = np.zeros(128, np.uint32)
    grid: dict[str, Any] = {"threadgroups": (1, 1, 1), "buffers": {0: output}}
    plain.run("at_most_64_threads", threads_per_threadgroup=(64, 1, 1), **grid)
    assert output[63] == 63
    with pytest.raises(RunError, match=r"kernel's max_total_threads_per_threadgroup\(64\)"):
        plain.run("at_most_64_threads", threads_per_threadgroup=(65, 1, 1), **grid)


@pytest.mark.parametrize(
    "grid", [{}, {"threads": (1, 1, 1), "threadgroups": (1, 1, 1)}], ids=["neither", "both"]
)
def test_the_grid_is_given_once(plain: Library, grid: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="give either threadgroups or threads"):
        plain.run("in_place", threads_per_threadgroup=(1, 1, 1), buffers={}, **grid)


@pytest.mark.parametrize("size", [(1, 1), (1, 1, -1), (1, 1, 1 << 32)])
def test_sizes_are_three_numbers(plain: Library, size: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be three numbers from 0 to"):
        plain.run("in_place", threads_per_threadgroup=size, threads=(1, 1, 1), buffers={})


# ---- Names and templates -----------------------------------------------------------------------


def test_instantiations_go_by_their_host_names(library: Library) -> None:
    floats, integers = np.full(4, 1.5, np.float32), np.full(4, 7, np.uint32)
    for kernel, values in (("multiply_float_3", floats), ("multiply_uint_5", integers)):
        library.run(
            kernel, threads=(4, 1, 1), threads_per_threadgroup=(1, 1, 1), buffers={0: values}
        )
    assert (floats == 4.5).all()
    assert (integers == 35).all()
    assert "multiply" not in library.kernels


def test_a_kernel_goes_by_its_host_name(plain: Library) -> None:
    output = np.zeros(1, np.uint32)
    run_one_thread(plain, "its_other_name", {0: output})
    assert output[0] == 12


def test_an_unknown_kernel_is_an_error_that_lists_the_known_ones(plain: Library) -> None:
    with pytest.raises(
        RunError, match=r"no kernel multiply in this library; it has: positions_3d, "
    ):
        run_one_thread(plain, "multiply", {})


def test_a_library_says_what_its_kernels_take(plain: Library) -> None:
    parameters = plain.kernels["every_kind_of_buffer"].parameters
    assert [(p.attribute, p.type, p.name) for p in parameters[:4]] == [
        ("buffer(0)", "constant Scaling&", "scaling"),
        ("buffer(1)", "constant float*", "offsets"),
        ("buffer(2)", "device const float*", "input"),
        ("buffer(3)", "const device float4*", "vectors"),
    ]
    assert parameters[-1].attribute == "thread_position_in_grid"


# ---- Function constants ------------------------------------------------------------------------


def constants_seen(library: Library, constants: Mapping[int, Any] | None) -> NDArray[np.float32]:
    output = np.zeros(6, np.float32)
    run_one_thread(library, "constants", {0: output}, constants=constants)
    return output


def test_function_constants_are_set_anew_by_every_launch(library: Library) -> None:
    every = {0: 12, 1: 0.75, 2: True, 3: -4, 4: 0.5}
    assert constants_seen(library, every).tolist() == [12, 1.5, 1, -4, 0.5, 1]
    assert constants_seen(library, {}).tolist() == [7, -1, 0, 0, 0, 0]
    assert constants_seen(library, {1: 3}).tolist() == [7, 6, 0, 0, 0, 0]
    assert constants_seen(library, {0: 0, 2: False}).tolist() == [0, -1, 0, 0, 0, 1]
    assert constants_seen(library, None).tolist() == [7, -1, 0, 0, 0, 0]


def test_function_constants_may_be_numbers_of_numpy(plain: Library) -> None:
    every = {0: np.uint32(9), 1: np.float32(2), 2: np.bool_(True), 3: np.int64(-1)}
    assert constants_seen(plain, every).tolist() == [9, 4, 1, -1, 0, 1]


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({5: 1}, "there is no function constant 5 in this library"),
        ({0: -1}, r"value for function constant 0 \(size\) does not fit its type"),
        ({0: 1 << 32}, r"function constant 0 \(size\) does not fit"),
        ({0: 1.0}, r"function constant 0 \(size\) does not fit"),
        ({2: 2}, r"function constant 2 \(has_bias\) does not fit"),
    ],
)
def test_wrong_function_constants_are_errors(
    plain: Library, constants: dict[int, Any], message: str
) -> None:
    with pytest.raises(RunError, match=message):
        constants_seen(plain, constants)


def test_a_buffer_may_depend_on_a_function_constant(library: Library) -> None:
    bias, output = np.full(1, 5, np.float32), np.zeros(1, np.float32)
    run_one_thread(library, "conditional_buffer", {1: output})
    assert output[0] == 10
    run_one_thread(library, "conditional_buffer", {0: bias, 1: output}, constants={2: True})
    assert output[0] == 15
    with pytest.raises(RunError, match=r"buffer 0 \('bias'\) is missing"):
        run_one_thread(library, "conditional_buffer", {1: output}, constants={2: True})
