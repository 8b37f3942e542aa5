"""What is predicted for Apple's chips, and that docs/performance.md says the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from gptoss.selftest.chips import CHIPS, CLOCKS, find_chip
from gptoss.selftest.prediction import (
    BANDWIDTH_EFFICIENCY,
    PREFILL_EFFICIENCY,
    SHAPES,
    decode_speed,
    fits,
    prefill_speed,
    table,
)

SMALL, LARGE = SHAPES  # 20b, 120b


def test_the_table_in_the_documentation_is_the_one_that_is_computed(repository: Path) -> None:
    text = (repository / "docs" / "performance.md").read_text(encoding="utf-8")
    assert table() in text, "run `gptoss selftest --predict`, and put what it prints there"


def test_the_sizes_are_those_of_the_published_models() -> None:
    """13.75 GB and 65 GB on disk; 3.6 and 5.1 billion weights work on a token."""
    assert SMALL.file_bytes == pytest.approx(13.75e9, rel=0.001)
    assert LARGE.file_bytes == pytest.approx(65.2e9, rel=0.001)
    # Without attention: at a prompt of no length worth speaking of.
    assert SMALL.multiply_adds(1) == pytest.approx(3.6e9, rel=0.01)
    assert LARGE.multiply_adds(1) == pytest.approx(5.1e9, rel=0.01)


def test_a_cache_of_the_whole_context_is_read_in_half_of_the_blocks() -> None:
    """20b at 131,072 tokens: 12 blocks of 2 x 8 x 64 halves a token, and 12 windows of 128."""
    assert SMALL.cache_bytes(131_072) == 12 * (131_072 + 128) * 2 * 8 * 64 * 2
    assert SMALL.cache_bytes(100) == 24 * 100 * 2 * 8 * 64 * 2


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: f"{chip.name} {chip.gpu_cores}")
def test_no_prediction_is_beyond_what_the_hardware_can_do(chip: object, shape: object) -> None:
    from gptoss.selftest.chips import Chip
    from gptoss.selftest.prediction import Shape

    assert isinstance(chip, Chip)
    assert isinstance(shape, Shape)
    decode = decode_speed(shape, chip, 1024)
    assert decode * shape.bytes_per_token(1024) < BANDWIDTH_EFFICIENCY * chip.bandwidth * 1e9
    assert decode > decode_speed(shape, chip, 32_768)
    prefill = prefill_speed(shape, chip, 2048)
    operations = 2 * shape.multiply_adds(2048) / 2048
    assert prefill * operations <= PREFILL_EFFICIENCY * chip.flops * 1.0001
    # Once for 512 tokens, everything is read.
    assert prefill / 512 * shape.weight_bytes(shape.num_experts) < chip.bandwidth * 1e9


@pytest.mark.parametrize(
    ("name", "cores", "teraflops"),
    [
        ("M1", 8, 2.6),
        ("M1 Pro", 16, 5.2),
        ("M1 Max", 32, 10.4),
        ("M1 Ultra", 64, 21),
        ("M2", 10, 3.6),
    ],
)
def test_arithmetic_is_what_apple_states_where_it_does(
    name: str, cores: int, teraflops: float
) -> None:
    chip = find_chip(f"Apple {name}", cores)
    assert chip is not None
    assert chip.flops / 1e12 == pytest.approx(teraflops, rel=0.03)


def test_chips_are_known_by_the_name_that_metal_gives_them() -> None:
    assert find_chip("Apple M2 Max") == find_chip("Apple M2 Max", 38)
    binned = find_chip("Apple M2 Max", 30)
    assert binned is not None
    assert (binned.gpu_cores, binned.bandwidth) == (30, 400)
    # Two configurations with other memory.
    assert [find_chip("Apple M4 Max", cores).bandwidth for cores in (32, 40)] == [410, 546]  # type: ignore[union-attr]
    assert find_chip("host device") is None
    assert find_chip("Apple M99") is None


def test_every_chip_says_where_its_figures_are_from() -> None:
    for chip in CHIPS:
        assert chip.family in CLOCKS
        assert "https://" in chip.source


def test_only_models_that_fit_are_predicted() -> None:
    chips = {(chip.name, chip.most_memory): chip for chip in CHIPS}
    assert fits(SMALL, chips["M1", 16])
    assert not fits(LARGE, chips["M1 Max", 64])
    assert fits(LARGE, chips["M2 Max", 96])
