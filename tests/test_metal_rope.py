"""rope.metal: queries and keys rotate, keys and values go to their slots of the cache as fp16."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metal_kernels import Output, arguments, assert_close, ceil_divide, launch
from numpy.typing import NDArray
from reference import Array, concentration, inverse_frequencies, rotate, rotation

CONFIG = {
    "head_dim": 64,
    "rope_theta": 150000.0,
    "rope_scaling_factor": 32.0,
    "initial_context_length": 4096,
    "rope_ntk_alpha": 1.0,
    "rope_ntk_beta": 32.0,
}
CONCENTRATION = concentration(CONFIG["rope_scaling_factor"])
# In a model file, elements 2j and 2j + 1 of a head are what the checkpoint has as j and j + 32.
CHECKPOINT_ORDER = np.concatenate([np.arange(0, 64, 2), np.arange(1, 64, 2)])


@dataclass(frozen=True)
class Rotated:
    queries: Array  # float32 [rows, H, 64]
    keys: Array  # float16 [capacity, G, 64]; slots that were not written are all NaN, as are values
    values: Array  # float16 [capacity, G, 64]
    launch: Any


def run(
    qkv: NDArray[np.float32],  # [rows, H + 2 G, 64]
    num_kv_heads: int,
    *,
    first_position: int,
    capacity: int,
    **options: Any,
) -> Rotated:
    num_rows, num_all_heads, _ = qkv.shape
    num_heads = num_all_heads - 2 * num_kv_heads
    queries = Output((num_rows, num_heads, 64), np.float32)
    keys, values = (Output((capacity, num_kv_heads, 64), np.float16) for _ in range(2))
    result = launch(
        "rope.metal",
        "rope_and_cache",
        threadgroups=(ceil_divide(num_all_heads * 16, 256), num_rows, 1),
        threads_per_threadgroup=(256, 1, 1),
        buffers={
            0: arguments(
                "RopeArguments",
                num_heads=num_heads,
                num_kv_heads=num_kv_heads,
                num_rows=num_rows,
                first_position=first_position,
                capacity=capacity,
                concentration=CONCENTRATION,
            ),
            1: qkv,
            2: inverse_frequencies(CONFIG).astype(np.float32),
            3: queries.buffer,
            4: keys.buffer,
            5: values.buffer,
        },
        **options,
    )
    return Rotated(
        queries.values("queries"),
        keys.values("keys", partly=True),
        values.values("values", partly=True),
        result,
    )


def random_qkv(seed: int, num_rows: int, num_all_heads: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((num_rows, num_all_heads, 64), np.float32)


def expected_rotation(heads: Array, first_position: int) -> Array:
    """The reference's rotation, [rows, heads, 64] in the model file's order, in float64."""
    cos, sin = rotation(first_position + np.arange(len(heads)), CONFIG, np.float64)
    turned = np.empty(heads.shape)
    turned[..., CHECKPOINT_ORDER] = rotate(heads[..., CHECKPOINT_ORDER].astype(float), cos, sin)
    return turned


def assert_is_rounded(actual: Array, expected: Array, what: str) -> None:
    """fp16, rounded from what may be 1e-6 away from the exact value."""
    ulp = np.spacing(np.abs(expected).astype(np.float16)).astype(float)
    error = np.abs(actual.astype(float) - expected)
    allowed = 0.5 * ulp + 1e-6 * np.maximum(1, np.abs(expected))
    worst = np.unravel_index(int(np.argmax(error - allowed)), error.shape)
    assert error[worst] <= allowed[worst], (
        f"{what}: element {tuple(map(int, worst))} is {float(actual[worst])}, and "
        f"{float(expected[worst])} rounded to fp16 is {np.float16(expected[worst])}"
    )


@settings(max_examples=40)
@given(
    heads=st.sampled_from([(1, 1), (8, 1), (14, 2), (3, 3), (64, 8)]),
    num_rows=st.integers(1, 9),
    first_position=st.integers(0, 300),
    capacity=st.integers(1, 20),
    seed=st.integers(0, 2**32),
)
def test_rotates_and_caches_what_survives(
    heads: tuple[int, int],
    num_rows: int,
    first_position: int,
    capacity: int,
    seed: int,
) -> None:
    """The ring wraps, and of a span that is longer than it, the last rows remain."""
    num_heads, num_kv_heads = heads
    qkv = random_qkv(seed, num_rows, num_heads + 2 * num_kv_heads)

    got = run(
        qkv,
        num_kv_heads,
        first_position=first_position,
        capacity=capacity,
    )

    turned = expected_rotation(qkv[:, : num_heads + num_kv_heads], first_position)
    queries, keys = np.split(turned, [num_heads], axis=1)
    values = qkv[:, num_heads + num_kv_heads :]
    assert_close(got.queries, queries, 1e-6, "queries")
    survivors = range(max(0, num_rows - capacity), num_rows)
    slots = [(first_position + row) % capacity for row in survivors]
    for name, cache, expected in (("keys", got.keys, keys), ("values", got.values, values)):
        assert_is_rounded(cache[slots], expected[survivors.start :].astype(float), name)
        untouched = np.delete(cache, slots, axis=0)
        assert np.isnan(untouched).all(), f"{name}: a slot was written that no row belongs in"
    np.testing.assert_array_equal(got.values[slots], values[survivors.start :].astype(np.float16))


@pytest.mark.parametrize("first_position", [4096, 131_071, 1_000_000])
def test_long_positions_are_as_precise_as_short_ones(first_position: int) -> None:
    """The angle of the fastest pair is its position, in radians."""
    qkv = random_qkv(1, 3, 4)
    got = run(qkv, 1, first_position=first_position, capacity=8)
    assert_close(got.queries, expected_rotation(qkv[:, :2], first_position), 1e-6, "queries")


def test_every_position_of_a_context_turns_precisely() -> None:
    """A unit vector in each pair gives cosine and sine themselves, here of 2,048 positions."""
    first_position = 131_072 - 2048
    qkv = np.zeros((2048, 3, 64), np.float32)
    qkv[:, 0, 0::2] = 1
    got = run(qkv, 1, first_position=first_position, capacity=2048)
    error = np.abs(got.queries - expected_rotation(qkv[:, :1], first_position)).max()
    assert error <= 2e-7 * CONCENTRATION, f"cosine or sine is off by {error / CONCENTRATION:.3g}"


@pytest.mark.parametrize("magnitude", [65504.0, 65520.0, 1e6, 1e37])
def test_what_half_cannot_hold_saturates(magnitude: float) -> None:
    """One infinite key or value would turn every later output of its head into NaN."""
    qkv = np.zeros((2, 3, 64), np.float32)
    qkv[0], qkv[1] = magnitude, -magnitude
    got = run(qkv, 1, first_position=0, capacity=2)
    np.testing.assert_array_equal(got.values[:, 0, 0], [65504, -65504])
    for what in (got.queries, got.keys):
        assert np.isfinite(what).all(), "a rotated value became infinite"


def test_the_20b_shape_in_any_order() -> None:
    qkv = random_qkv(2, 5, 80)
    got = run(qkv, 8, first_position=126, capacity=130, orders=5)
    assert_close(got.queries, expected_rotation(qkv[:, :64], 126), 1e-6, "queries")


def test_every_byte_is_moved_once_in_whole_lines() -> None:
    qkv = random_qkv(3, 4, 80)
    got = run(qkv, 8, first_position=0, capacity=4, mode="trace")
    traffic = got.launch.traffic
    assert traffic[1].bytes_read == qkv.nbytes
    assert traffic[1].lines_per_access == 4, "a simdgroup reads 512 bytes at once"
    assert [traffic[i].bytes_written for i in (3, 4, 5)] == [
        got.queries.nbytes,
        got.keys.nbytes,
        got.values.nbytes,
    ]
    assert math.isclose(traffic[3].lines_per_access, 4)
