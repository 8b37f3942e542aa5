"""Attention of one row, of few rows and of many, and the rotation before it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from metal_attention import AttentionCase, make_case, run_decode, run_prefill
from metal_kernels import geometry, random_bf16

from metal_traffic.frame import Table, count, megabytes
from metal_traffic.reference import Reference

HEADS, KV_HEADS = 64, 8
WINDOW = 128
# Of many rows, one key/value head and its 8 query heads: all groups do the same.
GROUP = HEADS // KV_HEADS
# The reference processes so many rows at a time.
THEIR_ROWS = 128
# More threads than these need more threadgroup memory than there is.
THEIR_THREADS = 512


def measure(reference: Reference | None) -> list[Table]:
    return [_decode(reference), _few_rows(), _prefill(reference)]


# ---- One row ------------------------------------------------------------------------------------


def _decode(reference: Reference | None) -> Table:
    rows = []
    # The splits are those that the backend chooses (source/metal/attention_launches.cpp says why).
    for name, keys, window, num_splits in (
        ("1,024 keys", 1024, 0, 16),
        ("8,192 keys", 8192, 0, 32),
        ("8,192 keys, window of 128", 8192, WINDOW, 4),
    ):
        case = make_case(
            num_heads=HEADS,
            num_kv_heads=KV_HEADS,
            num_rows=1,
            first_position=keys - 1,
            window=window,
        )
        run = run_decode(case, num_splits=num_splits, mode="trace", orders=1)
        split, merge = count(run.split), count(run.combine)
        minimum = _cache_bytes(case) + 2 * case.queries.nbytes + case.sinks.nbytes
        theirs = ["", ""]
        if reference is not None:
            their_count = count(_their_attention(reference, 1, keys, window))
            theirs = [megabytes(their_count.requested), f"{their_count.ratio:.3f}"]
        rows.append(
            [
                f"{name}, {num_splits} splits",
                megabytes(split.requested),
                megabytes(merge.requested),
                megabytes(minimum),
                f"{(split.requested + merge.requested) / minimum:.3f}",
                f"{run.split.traffic[2].lines_per_access:.2f}",
                *theirs,
            ]
        )
    return Table(
        "Attention of one row (64 query heads, 8 key/value heads)",
        [
            "context",
            "splits requested",
            "merge requested",
            "minimum",
            "ratio",
            "lines per load",
            "reference",
            "its ratio",
        ],
        rows,
        "The minimum is every visible key and value, the queries and the output, once; what the "
        "splits leave for their merge is not in it. A load is 32 times 16 bytes of keys: 4 lines "
        "at best. The reference reads everything once, too, from a cache in fp32, and keeps 8 "
        "threadgroups busy, one for each key/value head; here there are 8 for each split.",
    )


def _cache_bytes(case: AttentionCase) -> int:
    return len(case.visible(0)) * case.num_kv_heads * 64 * 2 * 2


# ---- Few rows -----------------------------------------------------------------------------------


def _few_rows() -> Table:
    rows = []
    for num_rows, form in ((1, 8), (4, 32), (8, 64), (31, 64)):
        case = make_case(
            num_heads=HEADS, num_kv_heads=KV_HEADS, num_rows=num_rows, first_position=1000
        )
        run = run_decode(case, num_splits=4, form=form, mode="trace", orders=1)
        counts = count(run.split)
        keys = run.split.traffic[2]
        rows.append(
            [
                f"{num_rows} row{'s' * (num_rows > 1)}, attention_decode_{form}",
                f"{keys.simdgroup_bytes_read / keys.distinct_bytes_read:.2f}",
                megabytes(counts.requested),
                f"{_multiply_adds(case) / counts.threadgroup_memory:.2f}",
                f"{_multiply_adds(case) / counts.requested:.2f}",
            ]
        )
    return Table(
        "Attention of several rows of one context (1,000 keys before them)",
        [
            "kernel",
            "the cache is read",
            "requested",
            "multiply-adds a byte of threadgroup memory",
            "multiply-adds a byte requested of device memory",
        ],
        rows,
        "How often a key is read: once for 8, 32 or 64 pairs of a row and a query head.",
    )


def _multiply_adds(case: AttentionCase) -> int:
    """Those of visible keys: 64 for a score, and 64 for its value."""
    pairs = sum(len(case.visible(row)) for row in range(case.num_rows))
    return pairs * case.num_heads * 64 * 2


# ---- Many rows ----------------------------------------------------------------------------------


def _prefill(reference: Reference | None) -> Table:
    rows = []
    for name, num_rows, first_position, window in (
        ("512 rows, the first of a prompt", 512, 0, 0),
        ("128 rows after 4,096", 128, 4096, 0),
        ("512 rows after 4,096, window of 128", 512, 4096, WINDOW),
    ):
        case = make_case(
            num_heads=GROUP,
            num_kv_heads=1,
            num_rows=num_rows,
            first_position=first_position,
            window=window,
        )
        run = run_prefill(case, mode="trace", orders=1)
        counts = count(run.launch)
        rows_per_tile = geometry("kAttentionPrefillVectors") // GROUP
        seen, in_use = _keys_and_scores(case, rows_per_tile, geometry("kAttentionKeysPerTile"))
        visited = run.launch.traffic[2].simdgroup_bytes_read // (64 * 2)
        rows.append(
            [
                name,
                f"{visited / num_rows:.1f}",
                f"{visited / seen:.2f}",
                f"{100 * in_use:.0f} %",
                f"{_multiply_adds(case) / counts.threadgroup_memory:.2f}",
                f"{_multiply_adds(case) / counts.requested:.1f}",
            ]
        )
        if reference is not None:
            their_rows = min(num_rows, THEIR_ROWS)
            end = first_position + num_rows
            part = replace(case, num_rows=their_rows, first_position=end - their_rows)
            result = _their_attention(reference, their_rows, end, window, kv_heads=1)
            # Keys and values lie in one buffer, in fp32.
            visited = result.traffic[2].simdgroup_bytes_read // (2 * 64 * 4)
            rows.append(
                [
                    f"the reference, the last {their_rows} of them",
                    f"{visited / their_rows:.1f}",
                    f"{visited / _keys_and_scores(part, 1, 1)[0]:.2f}",
                    "100 %",
                    "reads none",
                    f"{_multiply_adds(part) / count(result).requested:.1f}",
                ]
            )
    return Table(
        "Attention of many rows (8 query heads, 1 key/value head)",
        [
            "kernel",
            "keys read for each row",
            "of those that its tile sees",
            "scores in use",
            "multiply-adds a byte of threadgroup memory",
            "multiply-adds a byte requested of device memory",
        ],
        rows,
        "A tile is 8 rows of 8 heads, over tiles of 32 keys: 1.00 means that no key outside the "
        "window was read. Scores in use: of those that are multiplied, the ones that are not "
        "masked. The reference has a threadgroup for each row, and reads fp32.",
    )


def _keys_and_scores(
    case: AttentionCase, rows_per_tile: int, keys_per_tile: int
) -> tuple[int, float]:
    """The keys that tiles of rows see, summed over the tiles, and the share of scores in use."""
    keys = multiplied = 0
    for row in range(0, case.num_rows, rows_per_tile):
        last = min(row + rows_per_tile, case.num_rows) - 1
        seen = case.visible(last).stop - case.visible(row).start
        keys += seen
        multiplied += -(-seen // keys_per_tile) * keys_per_tile * rows_per_tile
    return keys, sum(len(case.visible(row)) for row in range(case.num_rows)) / multiplied


# ---- The reference ------------------------------------------------------------------------------


def _their_attention(
    reference: Reference, num_rows: int, end: int, window: int, kv_heads: int = KV_HEADS
) -> Any:
    """The last `num_rows` rows before position `end`. Its kernel has 8 query heads a group."""
    width = (HEADS + 2 * KV_HEADS) * 64
    rng = np.random.default_rng(0)
    return reference.launch(
        "sdpa.metal",
        "gptoss_f32_sdpa_q8_d64",
        threadgroups=(num_rows, kv_heads, 1),
        threads_per_threadgroup=(min(THEIR_THREADS, 32 * min(end, window or end)), 1, 1),
        threadgroup_memory={0: THEIR_THREADS // 2 * 8 * 4 * 4},
        buffers={
            0: reference.arguments(
                "gptoss_sdpa_args",
                qkv_dim=width,
                num_kv_tokens=end - num_rows,
                kv_stride=2 * 64 * end,
                window=window or 2**32 - 1,
            ),
            1: rng.standard_normal((num_rows, width), np.float32),
            2: rng.standard_normal((kv_heads, end, 2, 64), np.float32),
            3: random_bf16(rng, HEADS),
            4: np.zeros((num_rows, HEADS, 64), np.float32),
            6: reference.control,
        },
    )
