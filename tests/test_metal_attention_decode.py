"""attention_decode.metal: few rows over a cache that is divided into splits, and their merge."""

from dataclasses import replace

import numpy as np
import pytest
from checkpoints import bf16_from_float32
from hypothesis import given, settings
from hypothesis import strategies as st
from metal_attention import (
    DECODE_FORMS,
    AttentionCase,
    attention_cases,
    expected_attention,
    make_case,
    run_decode,
)
from metal_kernels import assert_close, assert_every_barrier_is_needed, recorded_launches

TOLERANCE = 1e-5


@settings(max_examples=60)
@given(
    case=attention_cases(max_rows=10),
    num_splits=st.integers(1, 9),
    form=st.sampled_from(DECODE_FORMS),
)
def test_any_shape(case: AttentionCase, num_splits: int, form: int) -> None:
    """Odd groups, ragged blocks, windows, rings that wrap, more splits than tiles of keys."""
    got = run_decode(case, num_splits=num_splits, form=form).output
    assert_close(got, expected_attention(case), TOLERANCE, "attention")


@pytest.mark.parametrize(("num_splits", "form"), [(1, 8), (5, 8), (4, 64)])
def test_the_20b_shape_in_any_order(num_splits: int, form: int) -> None:
    case = make_case(num_heads=64, num_kv_heads=8, num_rows=1, first_position=299, window=128)
    got = run_decode(case, num_splits=num_splits, form=form, orders=5).output
    assert_close(got, expected_attention(case), TOLERANCE, "attention")


def test_31_rows_of_the_20b_shape() -> None:
    case = make_case(num_heads=64, num_kv_heads=8, num_rows=31, first_position=100, window=128)
    got = run_decode(case, num_splits=2, form=64).output
    assert_close(got, expected_attention(case), TOLERANCE, "attention")


def test_a_row_gives_the_same_alone_and_among_others() -> None:
    """What a context's rows are verified with agrees with what decodes them one by one."""
    case = make_case(num_heads=16, num_kv_heads=2, num_rows=5, first_position=70, window=40)
    together = run_decode(case, num_splits=3, form=64).output
    for row in range(case.num_rows):
        alone = replace(
            case,
            num_rows=1,
            first_position=case.first_position + row,
            queries=np.ascontiguousarray(case.queries[row : row + 1]),
        )
        got = run_decode(alone, num_splits=2).output
        assert_close(got[0], together[row].astype(np.float64), TOLERANCE, f"row {row}")


@pytest.mark.parametrize("num_splits", [1, 2, 7, 32, 40])
def test_the_number_of_splits_does_not_matter(num_splits: int) -> None:
    case = make_case(num_heads=8, num_kv_heads=1, num_rows=1, first_position=1023)
    got = run_decode(case, num_splits=num_splits).output
    assert_close(got, expected_attention(case), TOLERANCE, f"attention of {num_splits} splits")


@pytest.mark.parametrize("off_by", [-1, 1])
@pytest.mark.parametrize("window", [1, 2, 31, 32, 33, 128])
def test_a_window_that_is_off_by_one_would_show(window: int, off_by: int) -> None:
    """The kernel agrees with its own window, and with neither neighbour."""
    case = make_case(
        num_heads=8, num_kv_heads=1, num_rows=2, first_position=200, window=window, spare_slots=1
    )
    if off_by == 1:  # the key before the window exists
        before = (case.visible(0).start - 1) % case.capacity
        rng = np.random.default_rng(1)
        for cache in (case.keys, case.values):
            cache[before] = rng.standard_normal(cache[before].shape)
    got = run_decode(case, num_splits=2).output
    assert_close(got, expected_attention(case), TOLERANCE, "attention")
    if window + off_by > 0:
        other = expected_attention(replace(case, window=window + off_by))
        assert np.abs(got - other).max() > 100 * TOLERANCE


def exact_case(seed: int, top: int) -> AttentionCase:
    """Whole numbers, so that scores of up to 64 * top^2 are exact in fp32."""
    case = make_case(num_heads=8, num_kv_heads=1, num_rows=2, first_position=99)
    rng = np.random.default_rng(seed)
    case.keys[...] = rng.integers(-top, top + 1, case.keys.shape)
    return replace(
        case,
        queries=rng.integers(-top, top + 1, case.queries.shape).astype(np.float32),
    )


@pytest.mark.parametrize("sink", [-3e38, -1e4, 0.0, 1e4, 3e38])
@pytest.mark.parametrize("sign", [-1, 1])
def test_extreme_scores_and_sinks(sink: float, sign: int) -> None:
    """Scores of +-1e4 and more, all of one sign, or of both: no NaN, and the right key wins."""
    case = exact_case(3, 14)
    for queries in (case.queries, sign * np.abs(case.queries)):
        keys = case.keys if queries is case.queries else np.abs(case.keys)
        extreme = replace(
            case,
            queries=queries,
            keys=keys,
            sinks=np.full(8, bf16_from_float32(np.array(sink, np.float32))),
        )
        got = run_decode(extreme, num_splits=3).output
        assert_close(got, expected_attention(extreme), TOLERANCE, "attention")


def test_a_sink_far_above_takes_all_the_weight() -> None:
    case = make_case(num_heads=8, num_kv_heads=1, num_rows=1, first_position=50)
    flooded = replace(case, sinks=np.full(8, bf16_from_float32(np.array(200, np.float32))))
    assert np.abs(run_decode(flooded, num_splits=2).output).max() < 1e-30


def test_the_first_token_of_a_context_sees_itself_and_the_sink() -> None:
    case = make_case(num_heads=8, num_kv_heads=1, num_rows=1, first_position=0, window=128)
    got = run_decode(case, num_splits=4).output
    assert_close(got, expected_attention(case), TOLERANCE, "attention")


def test_long_positions() -> None:
    """A ring at the far end of a context: only differences of positions matter."""
    case = make_case(
        num_heads=8, num_kv_heads=1, num_rows=3, first_position=131_069, window=100, spare_slots=27
    )
    got = run_decode(case, num_splits=2, form=32).output
    assert_close(got, expected_attention(case), TOLERANCE, "attention")


def test_the_cache_is_read_once() -> None:
    """At the 20b's width, all splits together: at most 15 % more than keys and values."""
    case = make_case(num_heads=64, num_kv_heads=8, num_rows=1, first_position=8191)
    run = run_decode(case, num_splits=32, mode="trace")
    assert run.split.traffic[2].simdgroup_bytes_read == case.keys.nbytes
    assert run.split.traffic[3].simdgroup_bytes_read == case.values.nbytes
    assert run.split.traffic[2].lines_per_access == 4, "512 bytes at once are four lines"
    requested = sum(
        t.simdgroup_bytes_read + t.simdgroup_bytes_written
        for launch in (run.split, run.combine)
        for t in launch.traffic.values()
    )
    assert requested <= 1.15 * (case.keys.nbytes + case.values.nbytes)


def test_rows_of_a_threadgroup_share_the_cache() -> None:
    """Verifying 8 rows reads the cache once in the form for 64 vectors."""
    case = make_case(num_heads=64, num_kv_heads=8, num_rows=8, first_position=248)
    run = run_decode(case, num_splits=2, form=64, mode="trace")
    assert run.split.traffic[2].simdgroup_bytes_read == case.keys.nbytes
    assert_close(run.output, expected_attention(case), TOLERANCE, "attention")


def test_every_barrier_is_needed() -> None:
    """Two tiles of keys for one simdgroup, and for four of them."""
    case = make_case(num_heads=8, num_kv_heads=1, num_rows=3, first_position=40)
    with recorded_launches() as launches:
        for form in (8, 32):
            run_decode(case, num_splits=1, form=form)
    assert_every_barrier_is_needed("attention_decode.metal", launches, ["attention_tile.h"])
