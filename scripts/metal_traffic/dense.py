"""Dense projections, router and unembedding."""

from __future__ import annotations

from typing import Any

import numpy as np
from metal_dense import FORMATS, Format, few_rows_form, random_weights
from metal_kernels import arguments, ceil_divide, geometry, launch, random_bf16

from metal_traffic.frame import Counts, Table, count, megabytes
from metal_traffic.reference import Reference

HIDDEN = 2880
QUERY_ROWS, KEY_VALUE_ROWS = 64 * 64, 8 * 64
QKV_ROWS = QUERY_ROWS + 2 * KEY_VALUE_ROWS
# The whole vocabulary is 201,088 rows; every threadgroup does the same, so a part of it will do.
VOCABULARY_PART = 8192
# Of the GEMM, a part as well: 128 rows are what the reference processes at a time.
MATMUL_ROWS, MATMUL_OUTPUTS = 128, 640


def measure(reference: Reference | None) -> list[Table]:
    return [_matrix_vector(reference), _several_rows(reference)]


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _zeros(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


# ---- One row ------------------------------------------------------------------------------------


def _matrix_vector(reference: Reference | None) -> Table:
    rows = []
    for name, run, their_run in (
        (f"qkv with norm, RoPE and cache write, {QKV_ROWS} x {HIDDEN}", _qkv, _their_qkv),
        (f"output projection and residual, {HIDDEN} x {QUERY_ROWS}", _output, _their_output),
        (f"unembedding with norm, {VOCABULARY_PART} x {HIDDEN}", _unembed, _their_unembed),
    ):
        theirs = "" if reference is None else f"{count(their_run(reference)).ratio:.2f}"
        for weight_format in FORMATS:
            result = run(weight_format)
            rows.append(
                [
                    f"{name}, {weight_format}",
                    *_cells(count(result), theirs if weight_format == "bf16" else ""),
                    f"{result.traffic[1].lines_per_access:.2f}",
                ]
            )
    result = _router()
    theirs = "" if reference is None else f"{count(_their_router(reference)).ratio:.2f}"
    rows.append(
        [
            f"router with norm and top-4, 32 x {HIDDEN}, bf16",
            *_cells(count(result), theirs),
            f"{result.traffic[1].lines_per_access:.2f}",
        ]
    )
    return Table(
        "Dense matrix-vector products (one row)",
        ["kernel", "requested", "minimum", "ratio", "reference", "lines per load"],
        rows,
        "Lines are of 128 bytes, per load of 32 times 16 bytes of weights: 4 at best (a row's last "
        "load is shorter). The reference has no 8-bit weights, and separate launches for the norm "
        "and the top-k, which its figures leave out.",
    )


def _cells(counts: Counts, theirs: str) -> list[str]:
    return [
        megabytes(counts.requested),
        megabytes(counts.minimum),
        f"{counts.ratio:.3f}",
        theirs,
    ]


def _qkv(weight_format: Format) -> Any:
    cache = np.zeros((1, KEY_VALUE_ROWS), np.float16)
    return launch(
        "projection_qkv.metal",
        f"projection_qkv_{weight_format}",
        threadgroups=(QKV_ROWS // geometry("kMatvecOutputs"), 1, 1),
        threads_per_threadgroup=(geometry("kMatvecThreads"), 1, 1),
        buffers={
            0: arguments(
                "QkvArguments",
                num_inputs=HIDDEN,
                num_query_rows=QUERY_ROWS,
                num_key_value_rows=KEY_VALUE_ROWS,
                position=0,
                cache_slot=0,
                epsilon=1e-5,
                concentration=1.0,
            ),
            **random_weights(_rng(), weight_format, QKV_ROWS, HIDDEN).buffers,
            3: random_bf16(_rng(), QKV_ROWS),
            4: _zeros(HIDDEN),
            5: random_bf16(_rng(), HIDDEN),
            6: _zeros(32),
            7: _zeros(QUERY_ROWS),
            8: cache,
            9: cache.copy(),
        },
        mode="trace",
        orders=1,
    )


def _output(weight_format: Format) -> Any:
    return launch(
        "projection_matvec.metal",
        f"projection_matvec_add_{weight_format}",
        threadgroups=(ceil_divide(HIDDEN, geometry("kMatvecOutputs")), 1, 1),
        threads_per_threadgroup=(geometry("kMatvecThreads"), 1, 1),
        buffers={
            0: arguments(
                "ProjectionArguments", num_inputs=QUERY_ROWS, num_outputs=HIDDEN, num_rows=1
            ),
            **random_weights(_rng(), weight_format, HIDDEN, QUERY_ROWS).buffers,
            3: random_bf16(_rng(), HIDDEN),
            4: _zeros(QUERY_ROWS),
            5: _zeros(HIDDEN),
        },
        mode="trace",
        orders=1,
    )


def _unembed(weight_format: Format) -> Any:
    return launch(
        "unembed.metal",
        f"unembed_{weight_format}",
        threadgroups=(VOCABULARY_PART // geometry("kMatvecOutputs"), 1, 1),
        threads_per_threadgroup=(geometry("kMatvecThreads"), 1, 1),
        buffers={
            0: arguments(
                "UnembedArguments",
                num_inputs=HIDDEN,
                vocabulary_size=VOCABULARY_PART,
                epsilon=1e-5,
            ),
            **random_weights(_rng(), weight_format, VOCABULARY_PART, HIDDEN).buffers,
            4: _zeros(HIDDEN),
            5: random_bf16(_rng(), HIDDEN),
            6: _zeros(VOCABULARY_PART),
        },
        mode="trace",
        orders=1,
    )


def _router() -> Any:
    return launch(
        "router.metal",
        "router",
        threadgroups=(1, 1, 1),
        threads_per_threadgroup=(geometry("kRouterThreads"), 1, 1),
        buffers={
            0: arguments(
                "RouterArguments",
                num_inputs=HIDDEN,
                num_rows=1,
                num_experts=32,
                num_active=4,
                epsilon=1e-5,
            ),
            1: random_bf16(_rng(), 32, HIDDEN),
            3: random_bf16(_rng(), 32),
            4: _zeros(HIDDEN),
            5: random_bf16(_rng(), HIDDEN),
            6: np.zeros(4, np.uint32),
            7: _zeros(4),
            8: _zeros(HIDDEN),
        },
        mode="trace",
        orders=1,
    )


# ---- The reference's one row: thread counts are those that its model.c sets ---------------------


def _their_qkv(reference: Reference) -> Any:
    threads = 1024
    return reference.launch(
        "matmul.metal",
        "gptoss_f32_bf16w_matmul_qkv",
        threadgroups=(QKV_ROWS // (threads // 32), 1, 1),
        threads_per_threadgroup=(threads, 1, 1),
        threadgroup_memory={0: threads // 32 * 4},
        buffers={
            0: reference.arguments(
                "gptoss_qkv_args",
                num_column_vecs=HIDDEN // 4,
                num_rows=QKV_ROWS,
                max_tokens=1,
                yarn_multiplier=1.0,
            ),
            1: _zeros(HIDDEN),
            2: random_bf16(_rng(), QKV_ROWS, HIDDEN),
            3: random_bf16(_rng(), QKV_ROWS),
            4: _zeros(QUERY_ROWS),
            5: _zeros(2 * KEY_VALUE_ROWS),
            6: reference.control,
        },
    )


def _their_matmul(
    reference: Reference, threads: int, num_rows: int, num_columns: int, add: int
) -> Any:
    return reference.launch(
        "matmul.metal",
        "gptoss_f32_bf16w_matmul",
        threadgroups=(num_rows // (threads // 32), 1, 1),
        threads_per_threadgroup=(threads, 1, 1),
        buffers={
            0: reference.arguments(
                "gptoss_matmul_args", num_column_vecs=num_columns // 4, num_rows=num_rows, add=add
            ),
            1: _zeros(num_columns),
            2: random_bf16(_rng(), num_rows, num_columns),
            3: random_bf16(_rng(), num_rows),
            4: _zeros(num_rows),
            5: reference.control,
        },
    )


def _their_output(reference: Reference) -> Any:
    return _their_matmul(reference, 768, HIDDEN, QUERY_ROWS, add=1)


def _their_router(reference: Reference) -> Any:
    return _their_matmul(reference, 256, 32, HIDDEN, add=0)


def _their_unembed(reference: Reference) -> Any:
    threadgroups = 32
    return reference.launch(
        "matmul.metal",
        "gptoss_f32_bf16w_unembedding",
        threadgroups=(threadgroups, 1, 1),
        threads_per_threadgroup=(416, 1, 1),
        buffers={
            0: reference.arguments(
                "gptoss_unembedding_args",
                num_column_vecs=HIDDEN // 4,
                num_rows_per_threadgroup=VOCABULARY_PART // threadgroups,
                num_rows=VOCABULARY_PART,
            ),
            1: _zeros(HIDDEN),
            2: random_bf16(_rng(), VOCABULARY_PART, HIDDEN),
            3: _zeros(VOCABULARY_PART),
            4: np.full(1, 2**64 - 1, np.uint64),
            5: reference.control,
        },
    )


# ---- Several rows -------------------------------------------------------------------------------


def _several_rows(reference: Reference | None) -> Table:
    rows = [
        _product_row(
            f"{num_rows} rows, {HIDDEN} x {QUERY_ROWS}, {weight_format}",
            _few_rows(weight_format, num_rows),
            num_rows * HIDDEN * QUERY_ROWS,
        )
        for num_rows in (2, 8, 31)
        for weight_format in FORMATS
        if num_rows == 8 or weight_format == "bf16"
    ]
    multiply_adds = MATMUL_ROWS * MATMUL_OUTPUTS * HIDDEN
    size = f"{MATMUL_ROWS} rows, {MATMUL_OUTPUTS} x {HIDDEN}"
    rows += [
        _product_row(f"GEMM, {size}, {weight_format}", _matmul(weight_format), multiply_adds)
        for weight_format in FORMATS
    ]
    if reference is not None:
        *cells, _, by_device = _product_row("", _their_gemm(reference), multiply_adds)
        rows.append([f"the reference's GEMM, {size}, bf16", *cells[1:], "", by_device])
    return Table(
        "Dense products of several rows",
        [
            "kernel",
            "requested",
            "minimum",
            "ratio",
            "weights' ratio",
            "multiply-adds a byte of threadgroup memory",
            "multiply-adds a byte requested of device memory",
        ],
        rows,
        "The weights' ratio is that of their buffer alone: 1 means that they are read once for all "
        "rows; the GEMMs read them once for 64. The reference has no form for few rows; its GEMM "
        "multiplies straight from device memory.",
    )


def _product_row(name: str, result: Any, multiply_adds: int) -> list[str]:
    counts = count(result)
    # The weights: buffer 1 of ours, 2 of the reference's.
    weights = max(result.traffic.values(), key=lambda traffic: traffic.distinct_bytes_read)
    return [
        name,
        megabytes(counts.requested),
        megabytes(counts.minimum),
        f"{counts.ratio:.2f}",
        f"{weights.simdgroup_bytes_read / weights.distinct_bytes_read:.2f}",
        f"{multiply_adds / counts.threadgroup_memory:.2f}",
        f"{multiply_adds / counts.requested:.2f}",
    ]


def _few_rows(weight_format: Format, num_rows: int) -> Any:
    return launch(
        "projection_few_rows.metal",
        f"projection_few_rows_{few_rows_form(num_rows, (8, 16, 32))}_{weight_format}",
        threadgroups=(ceil_divide(HIDDEN, geometry("kFewRowsOutputs")), 1, 1),
        threads_per_threadgroup=(geometry("kFewRowsThreads"), 1, 1),
        buffers={
            0: arguments(
                "ProjectionArguments",
                num_inputs=QUERY_ROWS,
                num_outputs=HIDDEN,
                num_rows=num_rows,
            ),
            **random_weights(_rng(), weight_format, HIDDEN, QUERY_ROWS).buffers,
            3: random_bf16(_rng(), HIDDEN),
            4: _zeros(num_rows, QUERY_ROWS),
            5: _zeros(num_rows, HIDDEN),
        },
        mode="trace",
        orders=1,
    )


def _matmul(weight_format: Format) -> Any:
    return launch(
        "projection_matmul.metal",
        f"projection_matmul_{weight_format}",
        threadgroups=(
            MATMUL_OUTPUTS // geometry("kMatmulOutputs"),
            MATMUL_ROWS // geometry("kMatmulRows"),
            1,
        ),
        threads_per_threadgroup=(geometry("kMatmulThreads"), 1, 1),
        buffers={
            0: arguments(
                "ProjectionArguments",
                num_inputs=HIDDEN,
                num_outputs=MATMUL_OUTPUTS,
                num_rows=MATMUL_ROWS,
            ),
            **random_weights(_rng(), weight_format, MATMUL_OUTPUTS, HIDDEN).buffers,
            3: random_bf16(_rng(), MATMUL_OUTPUTS),
            4: np.zeros((MATMUL_ROWS, HIDDEN), np.float32),
            5: _zeros(MATMUL_ROWS, MATMUL_OUTPUTS),
        },
        mode="trace",
        orders=1,
    )


def _their_gemm(reference: Reference) -> Any:
    """The tile of the projection after attention: 32 rows by 64 outputs by 4 simdgroups."""
    return reference.launch(
        "matmul.metal",
        "gptoss_f32_bf16w_dense_matmul_attn_output",
        threadgroups=(MATMUL_OUTPUTS // 64, MATMUL_ROWS // 32, 1),
        threads_per_threadgroup=(128, 1, 1),
        buffers={
            0: reference.arguments(
                "gptoss_dense_matmul_args", m=MATMUL_ROWS, n=MATMUL_OUTPUTS, k=HIDDEN
            ),
            1: _zeros(MATMUL_ROWS, HIDDEN),
            2: random_bf16(_rng(), MATMUL_OUTPUTS, HIDDEN),
            3: random_bf16(_rng(), MATMUL_OUTPUTS),
            4: _zeros(MATMUL_ROWS, MATMUL_OUTPUTS),
            5: reference.control,
        },
    )
