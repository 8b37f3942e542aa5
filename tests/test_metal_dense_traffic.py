"""What the dense Metal kernels ask of memory at the width of 20b, counted in trace mode.

docs/performance.md has the figures of whole matrices (scripts/measure-metal-traffic.py); here a few
threadgroups of each kernel are held to their bounds.
"""

from collections.abc import Callable

import numpy as np
import pytest
import test_metal_projection_few_rows as few_rows
import test_metal_projection_matmul as matmul
import test_metal_projection_matvec as matvec
import test_metal_projection_qkv as qkv
import test_metal_router as router
import test_metal_unembed as unembed
from metal_dense import FORMATS, Format, random_weights
from metal_host import Result
from metal_kernels import library, random_bf16, recorded_launches
from metal_traffic.frame import count

HIDDEN = 2880
RNG = np.random.default_rng(0)


def counted(launches: Callable[[], object]) -> Result:
    """The launch once more, in trace mode."""
    with recorded_launches() as recorded:
        launches()
    [(file, launch)] = recorded
    result, _ = launch.run(library(file, "trace"))
    assert isinstance(result, Result)
    return result


def launch_matvec(weight_format: Format) -> None:
    weights = random_weights(RNG, weight_format, 320, HIDDEN)
    matvec.run(weight_format, weights, random_bf16(RNG, 320), np.ones(HIDDEN, np.float32))


def launch_qkv(weight_format: Format) -> None:
    qkv.run(weight_format, qkv.random_case(weight_format, 3, 1, HIDDEN))


def launch_unembed(weight_format: Format) -> None:
    weights = random_weights(RNG, weight_format, 320, HIDDEN)
    unembed.run_one_row(
        weight_format, weights, np.ones(HIDDEN, np.float32), random_bf16(RNG, HIDDEN)
    )


@pytest.mark.parametrize("weight_format", FORMATS)
@pytest.mark.parametrize("launch", [launch_matvec, launch_qkv, launch_unembed])
def test_one_row_asks_for_little_more_than_the_weights(
    launch: Callable[[Format], None], weight_format: Format
) -> None:
    result = counted(lambda: launch(weight_format))
    weights = result.traffic[1]
    assert weights.simdgroup_bytes_read == weights.distinct_bytes_read
    assert count(result).ratio <= 1.3
    # 32 lanes with 16 bytes each are 4 lines at best; rows of 2,880 codes begin amid a line.
    assert weights.lines_per_access <= (4 if weight_format == "bf16" else 4.5)


def test_the_router_asks_for_little_more_than_the_weights() -> None:
    result = counted(lambda: router.run("router", router.random_case(1, HIDDEN, 32, 4)))
    assert count(result).ratio <= 1.3


def test_rows_of_a_tiled_router_share_its_weights() -> None:
    result = counted(lambda: router.run("router_tiled", router.random_case(8, HIDDEN, 32, 4)))
    assert result.traffic[1].simdgroup_bytes_read == result.traffic[1].distinct_bytes_read


@pytest.mark.parametrize("weight_format", FORMATS)
@pytest.mark.parametrize("num_rows", [2, 31], ids="{} rows".format)
def test_few_rows_read_the_weights_once(weight_format: Format, num_rows: int) -> None:
    weights = random_weights(RNG, weight_format, 128, HIDDEN)
    x = np.ones((num_rows, HIDDEN), np.float32)
    result = counted(lambda: few_rows.run(weight_format, weights, random_bf16(RNG, 128), x))
    assert result.traffic[1].simdgroup_bytes_read == result.traffic[1].distinct_bytes_read


@pytest.mark.parametrize("weight_format", FORMATS)
def test_what_a_gemm_multiplies_for_a_byte_of_threadgroup_memory(weight_format: Format) -> None:
    """A core multiplies 128 times and moves 64 bytes of it in a clock: 2 times would do.

    8-bit weights are staged as float: as half, they would cost logits 2e-3.
    """
    weights = random_weights(RNG, weight_format, 64, 1440)
    x, residual = np.ones((64, 1440), np.float32), np.zeros((64, 64), np.float32)
    result = counted(
        lambda: matmul.run(weight_format, "float", weights, random_bf16(RNG, 64), x, residual)
    )
    assert 64 * 64 * 1440 / count(result).threadgroup_memory >= (
        3.4 if weight_format == "bf16" else 2.6
    )
