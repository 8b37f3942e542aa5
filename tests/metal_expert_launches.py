"""Launches of the experts' Metal kernels, as a backend makes them, for tests and measurements.

Each gives the result of the run (its traffic, in trace mode) and what the kernel wrote. With
`specialised` the function constants have the shape, and the arguments do not; other options are
those of metal_kernels.launch.
"""

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np
from metal_experts import (
    SWIGLU_LIMIT,
    Experts,
    Matrix,
    Routing,
    Sorted,
    num_tiles,
)
from metal_kernels import Output, arguments, ceil_divide, geometry, launch
from numpy.typing import NDArray
from reference import Array

MATVEC_OUTPUTS = geometry("kExpertMatvecOutputs")
INPUTS_PER_SIMDGROUP = geometry("kExpertMatvecInputsPerSimdgroup")
MATVEC_MAX_SIMDGROUPS = geometry("kExpertMatvecMaxSimdgroups")
FEW_ROWS_MAX_ROWS = geometry("kExpertFewRowsMaxRows")
FEW_ROWS_OUTPUTS = geometry("kExpertFewRowsOutputs")
FEW_ROWS_MAX_SIMDGROUPS = geometry("kExpertFewRowsMaxSimdgroups")
MATMUL_ROWS = geometry("kExpertMatmulRows")
MATMUL_OUTPUTS = geometry("kExpertMatmulOutputs")
MATMUL_THREADS = geometry("kExpertMatmulThreads")
SORT_THREADS = geometry("kExpertSortThreads")

# As in metal/function_constants.h.
CONSTANT_INPUTS, CONSTANT_OUTPUTS, CONSTANT_ACTIVE = 10, 11, 12


def run_gate_up_matvec(
    experts: Experts,
    routing: Routing,
    x: NDArray[np.float32],
    *,
    limit: float = SWIGLU_LIMIT,
    num_simdgroups: int | None = None,
    specialised: bool = False,
    **options: Any,
) -> tuple[Any, Array]:
    """x [rows, E] -> hidden [rows, active, I]"""
    matrix = experts.gate_up
    if num_simdgroups is None:
        num_simdgroups = min(
            MATVEC_MAX_SIMDGROUPS, ceil_divide(matrix.num_inputs, INPUTS_PER_SIMDGROUP)
        )
    hidden = Output((*routing.ids.shape, experts.mlp_dim), np.float32)
    result = launch(
        "expert_matvec.metal",
        "expert_gate_up_matvec",
        threadgroups=(matrix.num_outputs // MATVEC_OUTPUTS, routing.num_active, routing.num_rows),
        threads_per_threadgroup=(32 * num_simdgroups, 1, 1),
        buffers={
            0: _arguments(experts, routing, matrix, limit, specialised),
            1: experts.bytes,
            2: routing.ids,
            3: x,
            4: hidden.buffer,
        },
        constants=constants(matrix, routing) if specialised else None,
        **options,
    )
    return result, hidden.values("hidden")


def run_down_matvec(
    experts: Experts,
    routing: Routing,
    hidden: NDArray[np.float32],
    residual: NDArray[np.float32],
    *,
    num_simdgroups: int | None = None,
    specialised: bool = False,
    **options: Any,
) -> tuple[Any, Array]:
    """hidden [rows, active, I] -> residual [rows, E] with the weighted sum added"""
    matrix = experts.down
    if num_simdgroups is None:
        num_simdgroups = min(
            MATVEC_MAX_SIMDGROUPS,
            routing.num_active * ceil_divide(matrix.num_inputs, INPUTS_PER_SIMDGROUP),
        )
    updated = Output(residual.shape, np.float32, initial=residual)
    result = launch(
        "expert_matvec.metal",
        "expert_down_matvec",
        threadgroups=(matrix.num_outputs // MATVEC_OUTPUTS, routing.num_rows, 1),
        threads_per_threadgroup=(32 * num_simdgroups, 1, 1),
        buffers={
            0: _arguments(experts, routing, matrix, 0.0, specialised),
            1: experts.bytes,
            2: routing.ids,
            3: routing.weights,
            4: hidden,
            5: updated.buffer,
        },
        constants=constants(matrix, routing) if specialised else None,
        **options,
    )
    return result, updated.values("residual")


def few_rows_threadgroup(matrix: Matrix, num_rows: int) -> tuple[int, int]:
    """Simdgroups and bytes of threadgroup memory for `num_rows` rows."""
    num_simdgroups = min(
        FEW_ROWS_MAX_SIMDGROUPS, ceil_divide(matrix.num_inputs, INPUTS_PER_SIMDGROUP)
    )
    tokens = max(2, 1 << (num_rows - 1).bit_length())
    return num_simdgroups, 4 * num_simdgroups * FEW_ROWS_OUTPUTS * tokens


def run_gate_up_few_rows(
    experts: Experts,
    routing: Routing,
    order: Sorted,
    x: NDArray[np.float32],
    *,
    limit: float = SWIGLU_LIMIT,
    num_simdgroups: int | None = None,
    specialised: bool = False,
    **options: Any,
) -> tuple[Any, Array]:
    """x [rows, E] -> hidden [pairs, I] in sorted order"""
    matrix = experts.gate_up
    usual, num_bytes = few_rows_threadgroup(matrix, routing.num_rows)
    num_simdgroups = num_simdgroups or usual
    hidden = Output((routing.ids.size, experts.mlp_dim), np.float32)
    result = launch(
        "expert_few_rows.metal",
        "expert_gate_up_few_rows",
        threadgroups=(ceil_divide(matrix.num_outputs, FEW_ROWS_OUTPUTS), len(order.tiles), 1),
        threads_per_threadgroup=(32 * num_simdgroups, 1, 1),
        buffers={
            0: _arguments(experts, routing, matrix, limit, specialised),
            1: experts.bytes,
            2: order.tiles,
            3: order.permutation,
            4: x,
            5: hidden.buffer,
        },
        threadgroup_memory={0: num_bytes // usual * num_simdgroups},
        constants=constants(matrix, routing) if specialised else None,
        **options,
    )
    return result, hidden.values("hidden")


def run_down_few_rows(
    experts: Experts,
    routing: Routing,
    order: Sorted,
    hidden: NDArray[np.float32],
    *,
    num_simdgroups: int | None = None,
    specialised: bool = False,
    **options: Any,
) -> tuple[Any, Array]:
    """hidden [pairs, I] in sorted order -> outputs [rows, active, E], weighted"""
    matrix = experts.down
    usual, num_bytes = few_rows_threadgroup(matrix, routing.num_rows)
    num_simdgroups = num_simdgroups or usual
    outputs = Output((*routing.ids.shape, experts.embedding_dim), np.float32)
    result = launch(
        "expert_few_rows.metal",
        "expert_down_few_rows",
        threadgroups=(ceil_divide(matrix.num_outputs, FEW_ROWS_OUTPUTS), len(order.tiles), 1),
        threads_per_threadgroup=(32 * num_simdgroups, 1, 1),
        buffers={
            0: _arguments(experts, routing, matrix, 0.0, specialised),
            1: experts.bytes,
            2: order.tiles,
            3: order.permutation,
            4: routing.weights,
            5: hidden,
            6: outputs.buffer,
        },
        threadgroup_memory={0: num_bytes // usual * num_simdgroups},
        constants=constants(matrix, routing) if specialised else None,
        **options,
    )
    return result, outputs.values("outputs")


def run_gate_up_matmul(
    experts: Experts,
    routing: Routing,
    order: Sorted,
    x: NDArray[np.float32],
    *,
    limit: float = SWIGLU_LIMIT,
    specialised: bool = False,
    **options: Any,
) -> tuple[Any, Array]:
    """x [rows, E] -> hidden [pairs, I] in sorted order"""
    matrix = experts.gate_up
    hidden = Output((routing.ids.size, experts.mlp_dim), np.float32)
    result = launch(
        "expert_matmul.metal",
        "expert_gate_up_matmul",
        threadgroups=(len(order.tiles), ceil_divide(matrix.num_outputs, MATMUL_OUTPUTS), 1),
        threads_per_threadgroup=(MATMUL_THREADS, 1, 1),
        buffers={
            0: _arguments(experts, routing, matrix, limit, specialised),
            1: experts.bytes,
            2: order.tiles,
            3: order.permutation,
            4: x,
            5: hidden.buffer,
        },
        constants=constants(matrix, routing) if specialised else None,
        **options,
    )
    return result, hidden.values("hidden")


def run_down_matmul(
    experts: Experts,
    routing: Routing,
    order: Sorted,
    hidden: NDArray[np.float32],
    *,
    specialised: bool = False,
    **options: Any,
) -> tuple[Any, Array]:
    """hidden [pairs, I] in sorted order -> outputs [rows, active, E], weighted"""
    matrix = experts.down
    outputs = Output((*routing.ids.shape, experts.embedding_dim), np.float32)
    result = launch(
        "expert_matmul.metal",
        "expert_down_matmul",
        threadgroups=(len(order.tiles), ceil_divide(matrix.num_outputs, MATMUL_OUTPUTS), 1),
        threads_per_threadgroup=(MATMUL_THREADS, 1, 1),
        buffers={
            0: _arguments(experts, routing, matrix, 0.0, specialised),
            1: experts.bytes,
            2: order.tiles,
            3: order.permutation,
            4: routing.weights,
            5: hidden,
            6: outputs.buffer,
        },
        constants=constants(matrix, routing) if specialised else None,
        **options,
    )
    return result, outputs.values("outputs")


def run_sort(
    ids: NDArray[np.uint32], num_experts: int, tile_rows: int, **options: Any
) -> tuple[Any, Sorted]:
    tiles = num_tiles(ids.size, num_experts, tile_rows)
    outputs = [Output(shape, np.uint32) for shape in ((num_experts + 1,), (ids.size,), (tiles, 3))]
    result = launch(
        "expert_sort.metal",
        "expert_sort",
        threadgroups=(1, 1, 1),
        threads_per_threadgroup=(SORT_THREADS, 1, 1),
        buffers={
            0: arguments(
                "ExpertSortArguments",
                num_pairs=ids.size,
                num_experts=num_experts,
                tile_rows=tile_rows,
                num_tiles=tiles,
            ),
            1: ids,
            2: outputs[0].buffer,
            3: outputs[1].buffer,
            4: outputs[2].buffer,
        },
        **options,
    )
    return result, Sorted(
        outputs[0].values("offsets"), outputs[1].values("permutation"), outputs[2].values("tiles")
    )


def run_combine(
    outputs: NDArray[np.float32], residual: NDArray[np.float32], **options: Any
) -> tuple[Any, Array]:
    """outputs [rows, active, E], residual [rows, E] -> residual with the outputs added"""
    num_rows, num_active, num_columns = outputs.shape
    updated = Output(residual.shape, np.float32, initial=residual)
    result = launch(
        "expert_combine.metal",
        "expert_combine",
        threadgroups=(ceil_divide(num_columns // 4, 64), num_rows, 1),
        threads_per_threadgroup=(64, 1, 1),
        buffers={
            0: arguments("ExpertCombineArguments", num_columns=num_columns, num_active=num_active),
            1: outputs,
            2: updated.buffer,
        },
        **options,
    )
    return result, updated.values("residual")


def _arguments(
    experts: Experts, routing: Routing, matrix: Matrix, limit: float, specialised: bool
) -> ctypes.Structure:
    filled = experts.arguments(matrix, routing.num_active, limit)
    if specialised:
        filled.num_inputs = filled.num_outputs = filled.num_active = 0
    return filled


def constants(matrix: Matrix, routing: Routing) -> Mapping[int, int]:
    """What a pipeline for this shape alone is built with."""
    return {
        CONSTANT_INPUTS: matrix.num_inputs,
        CONSTANT_OUTPUTS: matrix.num_outputs,
        CONSTANT_ACTIVE: routing.num_active,
    }
