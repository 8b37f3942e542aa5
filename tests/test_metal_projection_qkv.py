"""metal/projection_qkv.metal: norm, projections, rotary embedding and cache write of one row."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metal_dense import FORMATS, DenseWeights, Format, random_weights
from metal_kernels import Output, arguments, assert_close, geometry, launch, random_bf16
from numpy.typing import NDArray
from reference import RMSNORM_EPSILON, Array, bf16_to_float, linear, rms_norm

HEAD_SIZE = 64
CONCENTRATION = 1.34657
CAPACITY = 3


@dataclass(frozen=True)
class Case:
    num_heads: int
    num_kv_heads: int
    weights: DenseWeights
    bias: NDArray[np.uint16]
    gain: NDArray[np.uint16]
    residual: NDArray[np.float32]
    inverse_frequencies: NDArray[np.float32]
    position: int
    cache_slot: int


@dataclass(frozen=True)
class Qkv:
    queries: Array  # [num_heads, 64]
    keys: Array  # [num_kv_heads, 64]
    values: Array  # [num_kv_heads, 64]


def random_case(
    weight_format: Format,
    num_heads: int,
    num_kv_heads: int,
    num_inputs: int,
    *,
    magnitude: float = 1.0,
    position: int = 1000,
    cache_slot: int = 1,
    seed: int = 0,
) -> Case:
    rng = np.random.default_rng(seed)
    num_outputs = (num_heads + 2 * num_kv_heads) * HEAD_SIZE
    return Case(
        num_heads,
        num_kv_heads,
        random_weights(rng, weight_format, num_outputs, num_inputs),
        random_bf16(rng, num_outputs),
        random_bf16(rng, num_inputs),
        rng.standard_normal(num_inputs, np.float32) * np.float32(magnitude),
        np.float32(150000.0) ** (-np.arange(32, dtype=np.float32) / 32),
        position,
        cache_slot,
    )


def run(weight_format: Format, case: Case, *, orders: int | None = None) -> Qkv:
    num_outputs, num_inputs = case.weights.values.shape
    queries = Output((case.num_heads, HEAD_SIZE), np.float32)
    keys, values = (Output((CAPACITY, case.num_kv_heads, HEAD_SIZE), np.float16) for _ in range(2))
    launch(
        "projection_qkv.metal",
        f"projection_qkv_{weight_format}",
        threadgroups=(num_outputs // geometry("kMatvecOutputs"), 1, 1),
        threads_per_threadgroup=(geometry("kMatvecThreads"), 1, 1),
        buffers={
            0: arguments(
                "QkvArguments",
                num_inputs=num_inputs,
                num_query_rows=case.num_heads * HEAD_SIZE,
                num_key_value_rows=case.num_kv_heads * HEAD_SIZE,
                position=case.position,
                cache_slot=case.cache_slot,
                epsilon=RMSNORM_EPSILON,
                concentration=CONCENTRATION,
            ),
            **case.weights.buffers,
            3: case.bias,
            4: case.residual,
            5: case.gain,
            6: case.inverse_frequencies,
            7: queries.buffer,
            8: keys.buffer,
            9: values.buffer,
        },
        orders=orders,
    )

    def written(cache: Output, what: str) -> Array:
        """The slot of the position; no other may have been touched."""
        slots = cache.values(what, partly=True)
        untouched = np.delete(slots, case.cache_slot, axis=0).view(np.uint16) == 0xFFFF
        assert untouched.all(), f"{what}: slots besides {case.cache_slot} were written"
        slot: Array = slots[case.cache_slot]
        assert not np.isnan(slot).any(), f"{what}: slot {case.cache_slot} was not written whole"
        return slot

    return Qkv(queries.values("queries"), written(keys, "keys"), written(values, "values"))


def twin(case: Case) -> Qkv:
    x = rms_norm(case.residual.astype(np.float64), bf16_to_float(case.gain).astype(np.float64))
    qkv = linear(x[None], case.weights.values, bf16_to_float(case.bias))[0].reshape(-1, HEAD_SIZE)
    q, k, v = np.split(qkv, [case.num_heads, case.num_heads + case.num_kv_heads])
    # The model's angle is an fp32 product, its sine and cosine are exact.
    angles = (np.float32(case.position) * case.inverse_frequencies).astype(np.float64)
    turn = np.exp(1j * angles) * CONCENTRATION

    def rotated(heads: Array) -> Array:
        turned = (heads[:, 0::2] + 1j * heads[:, 1::2]) * turn
        return np.stack([turned.real, turned.imag], axis=-1).reshape(heads.shape)

    return Qkv(rotated(q), rotated(k), v)


def check(actual: Qkv, case: Case) -> None:
    expected = twin(case)
    assert_close(actual.queries, expected.queries, 1e-5, "queries")
    # The cache is half: 11 bits.
    assert_close(actual.keys, expected.keys, 2**-11, "keys")
    assert_close(actual.values, expected.values, 2**-11, "values")


@settings(max_examples=15, deadline=None)
@given(
    weight_format=st.sampled_from(FORMATS),
    num_kv_heads=st.integers(1, 2),
    heads_per_kv_head=st.integers(1, 3),
    num_inputs=st.sampled_from([32, 96, 544]),
    magnitude=st.sampled_from([1e-4, 0.02, 1.0, 1e4]),
    position=st.sampled_from([0, 1, 127, 131071]),
    cache_slot=st.integers(0, CAPACITY - 1),
    seed=st.integers(0, 99),
)
def test_a_row_becomes_queries_and_a_cache_slot(
    weight_format: Format,
    num_kv_heads: int,
    heads_per_kv_head: int,
    num_inputs: int,
    magnitude: float,
    position: int,
    cache_slot: int,
    seed: int,
) -> None:
    case = random_case(
        weight_format,
        num_kv_heads * heads_per_kv_head,
        num_kv_heads,
        num_inputs,
        magnitude=magnitude,
        position=position,
        cache_slot=cache_slot,
        seed=seed,
    )
    check(run(weight_format, case), case)


@pytest.mark.parametrize("weight_format", FORMATS)
@pytest.mark.parametrize("num_inputs", [2880, 4128], ids="{} inputs".format)
def test_the_width_of_20b_in_any_order(weight_format: Format, num_inputs: int) -> None:
    """4,128 inputs need the tile of activations twice."""
    case = random_case(weight_format, 2, 1, num_inputs)
    check(run(weight_format, case, orders=5), case)


def test_keys_and_values_saturate_instead_of_becoming_infinite() -> None:
    case = random_case("bf16", 1, 1, 32, position=0)
    case.bias[64:] = 0x4880  # 262144 as bf16
    output = run("bf16", case)
    assert np.abs(output.keys).max() == 65504
    np.testing.assert_array_equal(output.values[0], np.full(HEAD_SIZE, 65504, np.float16))
