"""Whatever a kernel does, the tracer agrees with a plain account of all its accesses.

kernels/interpreter.metal executes programs that hypothesis makes up: rounds of reads, writes and
atomics of any size by few threads on a few bytes, so that they often meet, with a barrier of any
kind after each round. The account compares each access with every other one.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from metal_host import Result, RunError
from metal_host.tests.trace_libraries import COMPILERS, trace_library

NOTHING, READ, WRITE, ATOMIC_LOAD, ATOMIC_STORE, ATOMIC_ADD = range(6)
SIMDGROUP_BARRIER, THREADGROUP_BARRIER = 1, 2
FENCES_DEVICE, FENCES_THREADGROUP = 1, 2

NUM_THREADS = 64  # in a threadgroup: two simdgroups
NUM_BYTES = 32
SIZES = [1, 2, 4, 16]
# Each program runs in so many: which access comes last decides what the tracer has to remember.
NUM_ORDERS = 4


class Step(NamedTuple):
    operation: int
    offset: int
    size: int


@dataclass(frozen=True)
class Program:
    num_threadgroups: int
    barriers: list[int]  # [rounds]: the kind, and 4 times what it fences
    steps: dict[tuple[int, int], list[Step]]  # (thread of the grid, round) -> what it does

    @property
    def num_steps(self) -> int:
        return max(map(len, self.steps.values()), default=1)


class Access(NamedTuple):
    thread: int
    simdgroup: int
    threadgroup: int
    round: int
    step: Step


# Mostly reads: the races that are hard to find hide behind reads that are in order.
PLAIN = st.sampled_from([READ, READ, READ, WRITE])
ATOMIC = st.sampled_from([ATOMIC_LOAD, ATOMIC_STORE, ATOMIC_ADD])


@st.composite
def steps_within(draw: st.DrawFn, num_bytes: int) -> Step:
    operation = draw(PLAIN | ATOMIC)
    sizes = [4] if operation >= ATOMIC_LOAD else [size for size in SIZES if size <= num_bytes]
    size = draw(st.sampled_from(sizes))
    return Step(operation, size * draw(st.integers(0, num_bytes // size - 1)), size)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    num_threadgroups = draw(st.integers(1, 3))
    num_bytes = draw(st.sampled_from([4, 4, NUM_BYTES]))
    barrier = st.builds(
        lambda kind, fences: kind + 4 * fences, st.integers(0, 2), st.integers(0, 3)
    )
    barriers = draw(st.lists(barrier, min_size=1, max_size=3))
    # Few threads that do anything, lanes of one simdgroup and of both.
    thread = st.builds(
        lambda threadgroup, index: threadgroup * NUM_THREADS + index,
        st.integers(0, num_threadgroups - 1),
        st.sampled_from([0, 1, 31, 32, 33]),
    )
    steps = draw(
        st.dictionaries(
            st.tuples(thread, st.integers(0, len(barriers) - 1)),
            st.lists(steps_within(num_bytes), min_size=1, max_size=3),
            min_size=2,
            max_size=8,
        )
    )
    return Program(num_threadgroups, barriers, steps)


def accesses_of(program: Program) -> list[Access]:
    return [
        Access(thread, thread // 32, thread // NUM_THREADS, round_of_step, step)
        for (thread, round_of_step), steps in program.steps.items()
        for step in steps
    ]


def has_race(program: Program, fence: int, across_threadgroups: bool) -> bool:
    """By definition: two accesses that conflict, and that nothing orders."""

    def is_ordered(first: Access, second: Access) -> bool:
        if first.threadgroup != second.threadgroup:
            return not across_threadgroups
        passed = program.barriers[min(first.round, second.round) : max(first.round, second.round)]
        return first.thread == second.thread or any(
            barrier // 4 & fence
            and (
                barrier % 4 == THREADGROUP_BARRIER
                or (barrier % 4 == SIMDGROUP_BARRIER and first.simdgroup == second.simdgroup)
            )
            for barrier in passed
        )

    def conflict(first: Step, second: Step) -> bool:
        writes = {WRITE, ATOMIC_STORE, ATOMIC_ADD} & {first.operation, second.operation}
        are_atomic = min(first.operation, second.operation) >= ATOMIC_LOAD
        overlap = (
            first.offset < second.offset + second.size and second.offset < first.offset + first.size
        )
        return bool(writes) and not are_atomic and overlap

    return any(
        conflict(first.step, second.step) and not is_ordered(first, second)
        for first, second in itertools.combinations(accesses_of(program), 2)
    )


def run(program: Program, kernel: str, order: int, compiler: str = COMPILERS[0]) -> Result:
    num_threads = program.num_threadgroups * NUM_THREADS
    steps = np.zeros((num_threads, len(program.barriers), program.num_steps, 3), np.uint32)
    for (thread, round_of_steps), executed in program.steps.items():
        for i, step in enumerate(executed):
            steps[thread, round_of_steps, i] = step
    in_device_memory = kernel == "interpret_in_device_memory"
    buffers: dict[int, Any] = {
        0: np.array([len(program.barriers), program.num_steps, NUM_BYTES], np.uint32).tobytes(),
        1: steps,
        2: np.array(program.barriers, np.uint32),
        4: np.zeros(num_threads, np.uint32),
    }
    if in_device_memory:
        buffers[3] = np.zeros(NUM_BYTES // 4, np.uint32)
    return trace_library("interpreter.metal", compiler).run(
        kernel,
        threadgroups=(program.num_threadgroups, 1, 1),
        threads_per_threadgroup=(NUM_THREADS, 1, 1),
        buffers=buffers,
        threadgroup_memory={} if in_device_memory else {0: NUM_BYTES},
        order_seed=order,
    )


def finds_race(program: Program, kernel: str, order: int) -> bool:
    try:
        run(program, kernel, order)
    except RunError as error:
        text = str(error)
    else:
        return False
    assert "data race on" in text
    return True


@given(programs(), st.integers(0, 2**32 - 1))
@settings(max_examples=300)
def test_races_in_device_memory_are_those_that_there_are(program: Program, order: int) -> None:
    expected = has_race(program, FENCES_DEVICE, across_threadgroups=True)
    event("a race" if expected else "no race")
    for i in range(NUM_ORDERS):
        assert finds_race(program, "interpret_in_device_memory", order + i) == expected


WORD = [Step(READ, 0, 4)]
# Lanes of one simdgroup read last, and all of these are ordered before the write; not so the first.
READ_BY_BOTH_SIMDGROUPS = Program(
    num_threadgroups=1,
    barriers=[SIMDGROUP_BARRIER + 4 * FENCES_THREADGROUP, 0],
    steps={(0, 0): WORD, (32, 0): WORD, (33, 0): WORD, (32, 1): [Step(WRITE, 0, 4)]},
)


@example(READ_BY_BOTH_SIMDGROUPS, 0)
@example(READ_BY_BOTH_SIMDGROUPS, NUM_ORDERS)
@given(programs(), st.integers(0, 2**32 - 1))
@settings(max_examples=300)
def test_races_in_threadgroup_memory_are_those_that_there_are(program: Program, order: int) -> None:
    expected = has_race(program, FENCES_THREADGROUP, across_threadgroups=False)
    event("a race" if expected else "no race")
    for i in range(NUM_ORDERS):
        assert finds_race(program, "interpret_in_threadgroup_memory", order + i) == expected


def bytes_of(steps: Iterator[Step], operations: tuple[int, ...]) -> list[int]:
    return [
        byte
        for step in steps
        if step.operation in operations
        for byte in range(step.offset, step.offset + step.size)
    ]


@given(programs(), st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_bytes_are_counted_as_they_are_accessed(program: Program, order: int) -> None:
    # Atomics only: nothing of it is a race.
    atomics = {
        key: [step for step in steps if step.operation >= ATOMIC_LOAD]
        for key, steps in program.steps.items()
    }
    program = Program(program.num_threadgroups, program.barriers, atomics)
    traffic = run(program, "interpret_in_device_memory", order).traffic[3]

    accesses = accesses_of(program)
    groups = [
        [access.step for access in accesses if access.threadgroup == group]
        for group in range(program.num_threadgroups)
    ]
    for operations, counted in (
        (
            (ATOMIC_LOAD, ATOMIC_ADD),
            (traffic.bytes_read, traffic.threadgroup_bytes_read, traffic.distinct_bytes_read),
        ),
        (
            (ATOMIC_STORE, ATOMIC_ADD),
            (
                traffic.bytes_written,
                traffic.threadgroup_bytes_written,
                traffic.distinct_bytes_written,
            ),
        ),
    ):
        of_groups = [bytes_of(iter(steps), operations) for steps in groups]
        assert counted == (
            sum(map(len, of_groups)),
            sum(len(set(group)) for group in of_groups),
            len(set(itertools.chain(*of_groups))),
        )
