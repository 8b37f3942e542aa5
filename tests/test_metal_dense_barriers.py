"""The dense Metal kernels hold no barrier that could go: without it, a race or another result."""

from collections.abc import Callable

import numpy as np
import pytest
import test_metal_norm as norm
import test_metal_projection_few_rows as few_rows
import test_metal_projection_matmul as matmul
import test_metal_projection_matvec as matvec
import test_metal_projection_qkv as qkv
import test_metal_router as router
import test_metal_unembed as unembed
from metal_dense import random_weights
from metal_kernels import assert_every_barrier_is_needed, random_bf16, recorded_launches

RNG = np.random.default_rng(0)
# More than the tile of activations holds, so that it is used a second time.
TWO_TILES = 4128


def launch_norm() -> None:
    norm.run(np.ones((1, 1056), np.float32), random_bf16(RNG, 1056))


def launch_matvec() -> None:
    weights = random_weights(RNG, "int8", 8, TWO_TILES)
    matvec.run("int8", weights, random_bf16(RNG, 8), np.ones(TWO_TILES, np.float32))


def launch_qkv() -> None:
    qkv.run("bf16", qkv.random_case("bf16", 1, 1, TWO_TILES))


def launch_few_rows() -> None:
    weights = random_weights(RNG, "bf16", 64, 64)
    few_rows.run("bf16", weights, random_bf16(RNG, 64), np.ones((20, 64), np.float32))


def launch_matmul() -> None:
    weights = random_weights(RNG, "bf16", 64, 64)
    x, residual = np.ones((64, 64), np.float32), np.zeros((64, 64), np.float32)
    matmul.run("bf16", "float", weights, random_bf16(RNG, 64), x, residual)


def launch_router() -> None:
    router.run("router", router.random_case(1, TWO_TILES, 20, 2))


def launch_unembed() -> None:
    gain = random_bf16(RNG, TWO_TILES)
    weights = random_weights(RNG, "bf16", 8, TWO_TILES)
    unembed.run_one_row("bf16", weights, np.ones(TWO_TILES, np.float32), gain)
    unembed.run_few_rows("bf16", random_weights(RNG, "bf16", 64, 64), np.ones((20, 64), np.float32))


@pytest.mark.parametrize(
    ("file", "launches", "headers"),
    [
        ("norm.metal", launch_norm, ()),
        ("projection_matvec.metal", launch_matvec, ("matvec.h",)),
        ("projection_qkv.metal", launch_qkv, ("matvec.h",)),
        ("projection_few_rows.metal", launch_few_rows, ("matmul_tile.h",)),
        ("projection_matmul.metal", launch_matmul, ("matmul_tile.h",)),
        ("router.metal", launch_router, ()),
        ("unembed.metal", launch_unembed, ("matvec.h", "matmul_tile.h")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_barrier_is_needed(
    file: str, launches: Callable[[], None], headers: tuple[str, ...]
) -> None:
    with recorded_launches() as recorded:
        launches()
    assert_every_barrier_is_needed(file, recorded, headers)
