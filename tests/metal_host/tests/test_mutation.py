"""Which barriers a mutation test finds, and what it says of each."""

from pathlib import Path

import numpy as np
import pytest
from metal_host import Library, RunError
from metal_host.mutation import Barrier, Launch, MutationReport, mutate_barriers, read_barriers
from metal_host.tests.trace_libraries import COMPILERS, KERNELS, ORDERS, trace_library
from numpy.typing import NDArray


def barriers_marked(mark: str) -> list[Barrier]:
    return [
        Barrier(file, number, line.split("(")[0].strip())
        for file in ("barriers.h", "barriers.metal")
        for number, line in enumerate((KERNELS / file).read_text().splitlines(), start=1)
        if line.endswith(f"; // {mark}")
    ]


def launch(is_long: bool = False, order: int | None = None) -> Launch:
    return Launch(
        "sum_twice",
        {
            "threadgroups": (1, 1, 1),
            "threads_per_threadgroup": (128, 1, 1),
            "buffers": {0: np.uint32(is_long).tobytes(), 1: np.zeros(128, np.uint32)},
            "order_seed": order,
        },
    )


def test_barriers_are_those_in_the_code_and_in_what_it_includes() -> None:
    everything = [
        barrier
        for mark in ("needed", "not needed", "not reached")
        for barrier in barriers_marked(mark)
    ]
    assert len(everything) == 6
    assert read_barriers(KERNELS / "barriers.metal") == sorted(everything)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_a_barrier_that_is_needed_is_caught_and_one_that_is_not_survives(
    compiler: str, order: int | None
) -> None:
    library = trace_library("barriers.metal", compiler)
    report = mutate_barriers(library, [launch(order=order)])
    assert sorted(report.caught) == barriers_marked("needed")
    assert report.survived == barriers_marked("not needed")
    assert report.unreached == barriers_marked("not reached")
    for barrier, text in report.caught.items():
        assert "data race on threadgroup memory" in text, f"{barrier}: {text}"


def test_the_complaint_names_each_barrier_and_what_to_do() -> None:
    report = MutationReport(
        survived=[Barrier("sum.metal", 12, "threadgroup_barrier")],
        unreached=[Barrier("sum.h", 3, "simdgroup_barrier")],
    )
    assert report.complaint() == (
        "threadgroup_barrier at sum.metal:12: deleted, and no launch noticed: remove it, or add a "
        "launch that needs it\n"
        "simdgroup_barrier at sum.h:3: no launch reaches it"
    )
    assert MutationReport().complaint() == ""


def test_a_launch_that_fails_as_it_stands_is_no_proof() -> None:
    with pytest.raises(RunError, match="data race on buffer 0"):
        mutate_barriers(
            trace_library("races.metal", COMPILERS[0]),
            [
                Launch(
                    "device_write_then_read_across_threadgroups",
                    {
                        "threadgroups": (2, 1, 1),
                        "threads_per_threadgroup": (96, 1, 1),
                        "buffers": {0: np.zeros(192, np.uint32), 1: np.zeros(192, np.uint32)},
                    },
                )
            ],
        )


def test_another_result_counts_as_noticed() -> None:
    """In plain mode nobody sees a race, but lane 0 runs ahead and reads what is not there yet."""
    library = Library(KERNELS / "barriers.metal")
    made = launch()
    _, right = made.run(library)
    (needed,) = (b for b in barriers_marked("needed") if b.file == "barriers.h")
    _, wrong = made.run(library, without_barrier=(needed.file, needed.line))
    assert right[1] != wrong[1]


def test_a_launch_remembers_its_buffers_as_they_were() -> None:
    values: NDArray[np.uint32] = np.arange(300, dtype=np.uint32)
    made = Launch("kernel", {"buffers": {0: values, 1: values[100:200], 2: b"bytes", 3: None}})
    values[:] = 0

    kept = made.arguments["buffers"]
    assert kept[0].tolist() == list(range(300))
    assert kept[1].tolist() == list(range(100, 200))
    assert (kept[2], kept[3]) == (b"bytes", None)
    kept[0][100] = 7  # what overlapped still does
    assert kept[1][0] == 7


def test_an_include_that_comes_back_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.metal").write_text('#include "b.h"\n#include <metal_stdlib>\n')
    (tmp_path / "b.h").write_text(
        '#include "a.metal"\n// #include "c.h"\nvoid f() {\n    simdgroup_barrier(mem_none);\n}\n'
    )
    assert read_barriers(tmp_path / "a.metal") == [Barrier("b.h", 4, "simdgroup_barrier")]
