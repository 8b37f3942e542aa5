"""attention_prefill.metal: many rows of one context."""

from dataclasses import replace

import numpy as np
import pytest
from checkpoints import bf16_from_float32
from hypothesis import given, settings
from metal_attention import (
    AttentionCase,
    attention_cases,
    expected_attention,
    make_case,
    run_decode,
    run_prefill,
)
from metal_kernels import assert_close, assert_every_barrier_is_needed, geometry, recorded_launches

TOLERANCE = 1e-5


@settings(max_examples=40)
@given(case=attention_cases(max_rows=40))
def test_any_shape(case: AttentionCase) -> None:
    """Odd groups, ragged blocks, windows, rings that wrap, chunks that continue a context."""
    got = run_prefill(case).output
    assert_close(got, expected_attention(case), TOLERANCE, "attention")


@pytest.mark.parametrize("window", [0, 128])
def test_a_chunk_of_the_20b_shape_in_any_order(window: int) -> None:
    case = make_case(num_heads=64, num_kv_heads=8, num_rows=13, first_position=150, window=window)
    got = run_prefill(case, orders=5).output
    assert_close(got, expected_attention(case), TOLERANCE, "attention")


def test_chunks_give_what_the_whole_gives() -> None:
    """However a prompt is cut into chunks, a row's result is the same within rounding."""
    whole = make_case(num_heads=16, num_kv_heads=2, num_rows=90, first_position=0, window=40)
    expected = run_prefill(whole).output
    for first, end in ((0, 33), (33, 34), (34, 90)):
        chunk = replace(
            whole,
            num_rows=end - first,
            first_position=first,
            queries=np.ascontiguousarray(whole.queries[first:end]),
        )
        got = run_prefill(chunk).output
        assert_close(got, expected[first:end].astype(np.float64), TOLERANCE, f"from row {first}")


def test_prefill_and_decode_agree() -> None:
    case = make_case(num_heads=8, num_kv_heads=1, num_rows=9, first_position=60, window=50)
    decoded = run_decode(case, num_splits=2, form=64).output
    assert_close(run_prefill(case).output, decoded.astype(np.float64), TOLERANCE, "prefill")


@pytest.mark.parametrize("off_by", [-1, 1])
@pytest.mark.parametrize("window", [1, 2, 31, 32, 33, 128])
def test_a_window_that_is_off_by_one_would_show(window: int, off_by: int) -> None:
    """Keys at the window's edges have values that stand out."""
    case = make_case(
        num_heads=8, num_kv_heads=1, num_rows=3, first_position=200, window=window, spare_slots=1
    )
    if off_by == 1:  # the key before the window exists
        before = (case.visible(0).start - 1) % case.capacity
        case.keys[before] = case.keys[200 % case.capacity]
    for row in range(case.num_rows):
        edge = case.visible(row).start + (off_by == -1) - 1
        case.values[edge % case.capacity] = 100 * (1 + row)
    got = run_prefill(case).output
    assert_close(got, expected_attention(case), TOLERANCE, "attention")
    if window + off_by > 0:
        other = expected_attention(replace(case, window=window + off_by))
        assert np.abs(got - other).max() > 10 * TOLERANCE * np.abs(other).max()


@pytest.mark.parametrize("sink", [-3e38, -1e4, 0.0, 1e4, 3e38])
def test_extreme_scores_and_sinks(sink: float) -> None:
    """Scores of +-1e4 and more: no NaN, and the right key wins."""
    case = make_case(num_heads=8, num_kv_heads=1, num_rows=9, first_position=90)
    rng = np.random.default_rng(4)
    case.keys[...] = rng.integers(-14, 15, case.keys.shape)
    extreme = replace(
        case,
        queries=rng.integers(-14, 15, case.queries.shape).astype(np.float32),
        sinks=np.full(8, bf16_from_float32(np.array(sink, np.float32))),
    )
    got = run_prefill(extreme).output
    assert_close(got, expected_attention(extreme), TOLERANCE, "attention")


def test_a_sink_far_above_takes_all_the_weight() -> None:
    case = make_case(num_heads=8, num_kv_heads=1, num_rows=9, first_position=50)
    flooded = replace(case, sinks=np.full(8, bf16_from_float32(np.array(200, np.float32))))
    assert np.abs(run_prefill(flooded).output).max() == 0


def test_long_positions() -> None:
    case = make_case(
        num_heads=8,
        num_kv_heads=1,
        num_rows=20,
        first_position=131_052,
        window=100,
        spare_slots=27,
    )
    got = run_prefill(case).output
    assert_close(got, expected_attention(case), TOLERANCE, "attention")


@pytest.mark.parametrize("window", [0, 128])
def test_only_tiles_within_the_window_are_visited(window: int) -> None:
    """Each threadgroup reads the keys that its queries see, each once, and no other."""
    case = make_case(num_heads=16, num_kv_heads=2, num_rows=24, first_position=300, window=window)
    run = run_prefill(case, mode="trace")
    rows_per_tile = geometry("kAttentionPrefillVectors") // case.heads_per_group
    seen = sum(
        case.visible(min(row + rows_per_tile, case.num_rows) - 1).stop - case.visible(row).start
        for row in range(0, case.num_rows, rows_per_tile)
    )
    for buffer in (2, 3):
        assert run.launch.traffic[buffer].simdgroup_bytes_read == seen * case.num_kv_heads * 128
    assert window == 0 or seen == 3 * (window - 1 + rows_per_tile)


def test_every_barrier_is_needed() -> None:
    """Two tiles of keys for the queries of all four simdgroups."""
    with recorded_launches() as launches:
        run_prefill(make_case(num_heads=8, num_kv_heads=1, num_rows=8, first_position=40))
    assert_every_barrier_is_needed("attention_prefill.metal", launches, ["attention_tile.h"])
