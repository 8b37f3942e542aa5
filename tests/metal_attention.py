"""Cases of attention for the Metal kernels, their slow twin in float64, and their launches.

A case is a span of rows of one context: queries, and a cache of which every slot that no row sees
holds NaN. Heads are neighbours in memory: queries [rows, H, 64], keys and values [capacity, G, 64]
with position p in slot p % capacity.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st
from metal_kernels import Output, arguments, geometry, launch, random_bf16
from numpy.typing import NDArray
from reference import Array, bf16_to_float, softmax_with_sink

# The vectors (a vector is one head of one row) of a threadgroup of the decode kernel's forms.
DECODE_FORMS = (8, 32, 64)


@dataclass(frozen=True)
class AttentionCase:
    num_heads: int
    num_kv_heads: int
    num_rows: int
    first_position: int
    window: int  # 0: none
    capacity: int
    queries: NDArray[np.float32] = field(repr=False)  # [rows, H, 64]
    keys: NDArray[np.float16] = field(repr=False)  # [capacity, G, 64]
    values: NDArray[np.float16] = field(repr=False)  # [capacity, G, 64]
    sinks: NDArray[np.uint16] = field(repr=False)  # bf16 [H]

    @property
    def heads_per_group(self) -> int:
        return self.num_heads // self.num_kv_heads

    @property
    def num_vectors(self) -> int:
        """Of one group."""
        return self.num_rows * self.heads_per_group

    def visible(self, row: int) -> range:
        """The positions that a row sees."""
        position = self.first_position + row
        return range(0 if self.window == 0 else max(0, position - self.window + 1), position + 1)

    def slots(self, positions: range) -> NDArray[np.int64]:
        return np.arange(positions.start, positions.stop) % self.capacity

    def arguments(self) -> Any:
        return arguments(
            "AttentionArguments",
            num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads,
            num_rows=self.num_rows,
            first_position=self.first_position,
            window=self.window,
            capacity=self.capacity,
        )


def needed_capacity(num_rows: int, first_position: int, window: int) -> int:
    """The slots of a ring that holds all that the rows of a span see together."""
    end = first_position + num_rows
    return end if window == 0 else min(end, num_rows + window - 1)


def make_case(
    *,
    num_heads: int,
    num_kv_heads: int,
    num_rows: int,
    first_position: int,
    window: int = 0,
    spare_slots: int = 0,
    seed: int = 0,
    query_scale: float = 0.5,
) -> AttentionCase:
    """Random numbers, of the size that the models' weights give: scores within about 10."""
    rng = np.random.default_rng(seed)
    capacity = needed_capacity(num_rows, first_position, window) + spare_slots
    cache = np.full((2, capacity, num_kv_heads, 64), np.nan, np.float16)
    queries = rng.standard_normal((num_rows, num_heads, 64), np.float32) * np.float32(query_scale)
    case = AttentionCase(
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        num_rows=num_rows,
        first_position=first_position,
        window=window,
        capacity=capacity,
        queries=queries,
        keys=cache[0],
        values=cache[1],
        sinks=random_bf16(rng, num_heads),
    )
    seen = case.slots(range(case.visible(0).start, first_position + num_rows))
    for part in cache:
        part[seen] = rng.standard_normal((len(seen), num_kv_heads, 64), np.float32)
    return case


def expected_attention(case: AttentionCase) -> Array:
    """What attention should give, in float64: [rows, H, 64]."""
    output = np.empty(case.queries.shape)
    for row in range(case.num_rows):
        slots = case.slots(case.visible(row))
        for head in range(case.num_heads):
            group = head // case.heads_per_group
            keys, values = (c[slots, group].astype(np.float64) for c in (case.keys, case.values))
            scores = case.queries[row, head].astype(np.float64) @ keys.T
            sink = bf16_to_float(case.sinks[head : head + 1])[0].astype(np.float64)
            output[row, head] = softmax_with_sink(scores[None], sink)[0] @ values
    return output


@dataclass(frozen=True)
class DecodeRun:
    output: Array  # [rows, H, 64]
    split: Any  # what the launch of attention_decode returned
    combine: Any


def run_decode(
    case: AttentionCase,
    *,
    num_splits: int,
    form: int = 8,
    **options: Any,
) -> DecodeRun:
    """Attention over splits and their merge. `options` go to both launches."""
    split_values = Output((case.num_rows, case.num_heads, num_splits, 64), np.float32)
    split_sums = Output((case.num_rows, case.num_heads, num_splits, 2), np.float32)
    split = launch(
        "attention_decode.metal",
        f"attention_decode_{form}",
        threadgroups=(num_splits, case.num_kv_heads, math.ceil(case.num_vectors / form)),
        threads_per_threadgroup=(form * geometry("kAttentionThreadsPerVector"), 1, 1),
        buffers={
            0: case.arguments(),
            1: case.queries,
            2: case.keys,
            3: case.values,
            4: split_values.buffer,
            5: split_sums.buffer,
        },
        **options,
    )
    split_values.values("values of the splits")
    split_sums.values("maxima and sums of the splits")
    output = Output(case.queries.shape, np.float32)
    combine = launch(
        "attention_decode.metal",
        "attention_combine",
        threadgroups=(case.num_heads, case.num_rows, 1),
        threads_per_threadgroup=(geometry("kAttentionCombineThreads"), 1, 1),
        buffers={
            0: arguments(
                "AttentionCombineArguments", num_heads=case.num_heads, num_splits=num_splits
            ),
            1: split_values.buffer,
            2: split_sums.buffer,
            3: case.sinks,
            4: output.buffer,
        },
        **options,
    )
    return DecodeRun(output.values("attention"), split, combine)


@dataclass(frozen=True)
class PrefillRun:
    output: Array  # [rows, H, 64]
    launch: Any


def run_prefill(case: AttentionCase, **options: Any) -> PrefillRun:
    output = Output(case.queries.shape, np.float32)
    result = launch(
        "attention_prefill.metal",
        "attention_prefill",
        threadgroups=(
            math.ceil(case.num_vectors / geometry("kAttentionPrefillVectors")),
            case.num_kv_heads,
            1,
        ),
        threads_per_threadgroup=(geometry("kAttentionPrefillThreads"), 1, 1),
        buffers={
            0: case.arguments(),
            1: case.queries,
            2: case.keys,
            3: case.values,
            4: case.sinks,
            5: output.buffer,
        },
        **options,
    )
    return PrefillRun(output.values("attention"), result)


# The 20b's shape in small, one head a group, groups that do not fill a block of 8 vectors, groups
# of more than one block, and groups of more heads than a threadgroup has vectors.
HEADS = st.sampled_from(
    [(1, 1), (8, 1), (16, 8), (14, 2), (3, 3), (6, 2), (9, 1), (40, 2), (65, 1)]
)


@st.composite
def attention_cases(draw: st.DrawFn, max_rows: int) -> AttentionCase:
    num_heads, num_kv_heads = draw(HEADS)
    return make_case(
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        num_rows=draw(st.integers(1, max_rows)),
        first_position=draw(st.integers(0, 200)),
        window=draw(st.one_of(st.just(0), st.integers(1, 70))),
        spare_slots=draw(st.sampled_from([0, 1, 50])),
        seed=draw(st.integers(0, 2**32)),
    )
