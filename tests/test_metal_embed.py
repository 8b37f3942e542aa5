"""metal/embed.metal: rows of the embedding, widened to fp32."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metal_kernels import Output, arguments, launch, random_bf16
from numpy.typing import NDArray
from reference import Array, bf16_to_float, embed


def run(
    tokens: NDArray[np.uint32], embedding: NDArray[np.uint16], orders: int | None = None
) -> Array:
    num_rows, num_columns = len(tokens), embedding.shape[1]
    residual = Output((num_rows, num_columns), np.float32)
    launch(
        "embed.metal",
        "embed",
        threads=(num_columns // 8, num_rows, 1),
        threads_per_threadgroup=(64, 1, 1),
        buffers={
            0: arguments(
                "EmbedArguments",
                num_columns=num_columns,
                num_rows=num_rows,
                vocabulary_size=len(embedding),
            ),
            1: tokens,
            2: embedding,
            3: residual.buffer,
        },
        orders=orders,
    )
    return residual.values("the residual")


@settings(max_examples=15, deadline=None)
@given(
    num_rows=st.integers(1, 9),
    num_columns=st.sampled_from([32, 64, 96, 544]),
    vocabulary_size=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_rows_of_the_table_are_looked_up(
    num_rows: int, num_columns: int, vocabulary_size: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    embedding = random_bf16(rng, vocabulary_size, num_columns)
    tokens = rng.integers(0, vocabulary_size, num_rows, dtype=np.uint32)
    np.testing.assert_array_equal(
        run(tokens, embedding), embed(bf16_to_float(embedding), tokens.tolist())
    )


def test_rows_of_20b_are_looked_up_in_any_order() -> None:
    rng = np.random.default_rng(0)
    embedding = random_bf16(rng, 12, 2880)
    tokens = np.array([11, 0, 5, 5], np.uint32)
    np.testing.assert_array_equal(
        run(tokens, embedding, orders=5), embed(bf16_to_float(embedding), tokens.tolist())
    )


@pytest.mark.parametrize("token", [12, 0xFFFFFFFF])
def test_a_token_beyond_the_vocabulary_reads_the_last_row(token: int) -> None:
    embedding = random_bf16(np.random.default_rng(0), 12, 32)
    output = run(np.array([token], np.uint32), embedding)
    np.testing.assert_array_equal(output, bf16_to_float(embedding[-1:]))
