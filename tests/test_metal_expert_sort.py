"""The Metal kernel that sorts (row, slot) pairs by expert, against numpy's stable sort."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metal_expert_launches import run_sort
from metal_experts import random_routing, sort_pairs
from numpy.typing import NDArray


def check(ids: NDArray[np.uint32], num_experts: int, tile_rows: int, orders: int | None) -> None:
    expected = sort_pairs(ids, num_experts, tile_rows)
    _, actual = run_sort(ids, num_experts, tile_rows, orders=orders)
    assert np.array_equal(actual.offsets, expected.offsets)
    assert np.array_equal(actual.permutation, expected.permutation)
    assert np.array_equal(actual.tiles, expected.tiles)


@given(
    seed=st.integers(0, 2**32 - 1),
    num_experts=st.integers(1, 128) | st.sampled_from([1, 4, 32, 128]),
    num_active=st.integers(1, 128),
    num_rows=st.integers(1, 300),
    tile_rows=st.sampled_from([1, 8, 32, 64]),
)
@settings(max_examples=30)
def test_any_routing(
    seed: int, num_experts: int, num_active: int, num_rows: int, tile_rows: int
) -> None:
    rng = np.random.default_rng(seed)
    num_active = min(num_active, num_experts, 1 + 600 // num_rows)
    check(random_routing(rng, num_rows, num_experts, num_active).ids, num_experts, tile_rows, None)


@pytest.mark.parametrize("expert", [0, 31, 32, 127])
@pytest.mark.parametrize("num_rows", [1, 511, 512, 513])
def test_all_rows_to_one_expert(expert: int, num_rows: int) -> None:
    check(np.full((num_rows, 1), expert, np.uint32), 128, 32, None)


def test_one_row_to_each_expert() -> None:
    ids = np.random.default_rng(0).permutation(128).astype(np.uint32)[:, None]
    check(ids, 128, 32, None)


def test_a_chunk_of_thousands_of_rows() -> None:
    rng = np.random.default_rng(1)
    check(random_routing(rng, 2048, 32, 4).ids, 32, 32, None)


def test_the_order_of_threads_changes_no_bit() -> None:
    rng = np.random.default_rng(2)
    check(random_routing(rng, 100, 37, 5).ids, 37, 8, 5)


def test_the_longest_list_of_tiles_fits() -> None:
    """Each expert with one row more than whole tiles: as many tiles as the bound allows."""
    tile_rows, num_experts = 8, 16
    ids = np.repeat(np.arange(num_experts), tile_rows + 1).astype(np.uint32)[:, None]
    _, actual = run_sort(ids, num_experts, tile_rows)
    assert np.count_nonzero(actual.tiles[:, 2]) == 2 * num_experts
    assert len(actual.tiles) == len(ids) // tile_rows + num_experts == 34
