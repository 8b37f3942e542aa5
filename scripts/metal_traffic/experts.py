"""The experts: matrix-vector products, few rows, GEMMs, and how full the GEMMs' tiles are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from metal_expert_launches import (
    FEW_ROWS_MAX_ROWS,
    MATMUL_ROWS,
    run_down_few_rows,
    run_down_matmul,
    run_down_matvec,
    run_gate_up_few_rows,
    run_gate_up_matmul,
    run_gate_up_matvec,
    run_sort,
)
from metal_experts import (
    SWIGLU_LIMIT,
    Experts,
    Routing,
    Sorted,
    random_routing,
    routing_to,
    sort_pairs,
)
from metal_kernels import ceil_divide
from reference import Array

from metal_traffic.frame import Counts, Table, count, megabytes
from metal_traffic.reference import Reference

HIDDEN = 2880  # and the experts' width as well
ACTIVE = 4
# Of several rows' products a part of the outputs: every threadgroup does the same for its own.
PART = 640
OPTIONS: Mapping[str, Any] = {"mode": "trace", "orders": 1, "specialised": True}
# The reference processes so many rows of a prompt at a time.
THEIR_BATCH = 128


def measure(reference: Reference | None) -> list[Table]:
    return [
        _matrix_vector(reference),
        _few_rows(reference),
        _matmul(reference),
        _occupancy(reference),
    ]


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _zeros(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


def _weights(result: Any) -> Any:
    """The traffic of the experts' bytes: by far the buffer of which most is needed."""
    return max(result.traffic.values(), key=lambda traffic: traffic.distinct_bytes_read)


# ---- One row ------------------------------------------------------------------------------------


def _matrix_vector(reference: Reference | None) -> Table:
    experts = Experts(_rng(), ACTIVE, HIDDEN, HIDDEN)
    routing = random_routing(_rng(), 1, ACTIVE, ACTIVE)
    x, hidden = _zeros(1, HIDDEN), _zeros(1, ACTIVE, HIDDEN)
    runs: list[tuple[str, Any, Callable[[Reference, Experts, Routing], Any]]] = [
        (
            f"gate-up with SwiGLU, {ACTIVE} experts of {2 * HIDDEN} x {HIDDEN}",
            run_gate_up_matvec(experts, routing, x, **OPTIONS)[0],
            _their_gate_up,
        ),
        (
            f"down with weighted sum and residual, {ACTIVE} experts of {HIDDEN} x {HIDDEN}",
            run_down_matvec(experts, routing, hidden, x, **OPTIONS)[0],
            _their_down,
        ),
    ]
    rows = []
    for name, result, their_run in runs:
        counts = count(result)
        theirs = ("", "", "")
        if reference is not None:
            their_result = their_run(reference, experts, routing)
            their_counts = count(their_result)
            theirs = (
                f"{their_counts.ratio:.2f}",
                f"{their_counts.per_threadgroup / their_counts.minimum:.2f}",
                f"{_weights(their_result).lines_per_access:.2f}",
            )
        rows.append(
            [
                name,
                megabytes(counts.requested),
                megabytes(counts.minimum),
                f"{counts.ratio:.3f}",
                theirs[0],
                f"{counts.per_threadgroup / counts.minimum:.3f}",
                theirs[1],
                f"{_weights(result).lines_per_access:.2f}",
                theirs[2],
            ]
        )
    return Table(
        "Experts, one row",
        [
            "kernel",
            "requested",
            "minimum",
            "ratio",
            "reference",
            "per threadgroup",
            "reference",
            "lines per load",
            "reference",
        ],
        rows,
        "Per threadgroup: what remains of the ratio if a threadgroup's cache holds all that it "
        "reads. Lines of 128 bytes are counted over all loads of weights: half of these are of 32 "
        "blocks (512 bytes: 4 lines at best), half of their 32 scale bytes (1 at best). The "
        "reference adds up the experts in one more launch, which its figures leave out.",
    )


def _predictions(routing: Routing) -> Array:
    """As the reference has them: pairs of an expert's index and its weight."""
    return np.stack([routing.ids, routing.weights.view(np.uint32)], axis=-1)


def _their_gate_up(reference: Reference, experts: Experts, routing: Routing) -> Any:
    threads = 192  # as its model.c sets
    num_rows, matrix = routing.num_rows, experts.gate_up
    blocks, scales, bias = matrix.offsets
    return reference.launch(
        "moematmul.metal",
        "gptoss_f32_mf4w_moe_matmul_swiglu",
        threadgroups=(matrix.num_outputs // (threads // 32), num_rows, ACTIVE),
        threads_per_threadgroup=(threads, 1, 1),
        buffers={
            0: reference.arguments(
                "gptoss_moe_matmul_swiglu_args",
                num_column_vecs=matrix.num_inputs // 32,
                num_rows=matrix.num_outputs // 2,
                num_active_experts=ACTIVE,
                weight_expert_stride=experts.stride,
                output_expert_stride=num_rows * matrix.num_outputs // 2,
                swiglu_min=-SWIGLU_LIMIT,
                swiglu_max=SWIGLU_LIMIT,
            ),
            1: _zeros(num_rows, matrix.num_inputs),
            2: _predictions(routing),
            3: experts.bytes[blocks:],
            4: experts.bytes[scales:],
            5: experts.bytes[bias:],
            6: _zeros(ACTIVE, num_rows, matrix.num_outputs // 2),
            7: reference.control,
        },
    )


def _their_down(reference: Reference, experts: Experts, routing: Routing) -> Any:
    threads = 192
    num_rows, matrix = routing.num_rows, experts.down
    blocks, scales, bias = matrix.offsets
    return reference.launch(
        "moematmul.metal",
        "gptoss_f32_mf4w_moe_matmul",
        threadgroups=(matrix.num_outputs // (threads // 32), num_rows, ACTIVE),
        threads_per_threadgroup=(threads, 1, 1),
        buffers={
            0: reference.arguments(
                "gptoss_moe_matmul_args",
                num_column_vecs=matrix.num_inputs // 32,
                num_rows=matrix.num_outputs,
                num_active_experts=ACTIVE,
                input_expert_stride=num_rows * matrix.num_inputs // 32,
                weight_expert_stride=experts.stride,
                output_expert_stride=num_rows * matrix.num_outputs,
            ),
            1: _zeros(ACTIVE, num_rows, matrix.num_inputs),
            2: _predictions(routing),
            3: experts.bytes[blocks:],
            4: experts.bytes[scales:],
            5: experts.bytes[bias:],
            6: _zeros(ACTIVE, num_rows, matrix.num_outputs),
            7: reference.control,
        },
    )


# ---- Few rows -----------------------------------------------------------------------------------


def _few_rows(reference: Reference | None) -> Table:
    rng = _rng()
    # 576 outputs of each matrix, which both ours and theirs divide into whole threadgroups.
    part = 576
    gate_up = Experts(rng, 32, HIDDEN, part // 2)
    down = Experts(rng, 32, part, HIDDEN)
    cases = [(f"{n} rows", random_routing(rng, n, 32, ACTIVE)) for n in (2, 8, 31)]
    cases.append(
        (
            "31 rows to the same 4",
            routing_to(rng, np.tile(np.arange(ACTIVE, dtype=np.uint32), (31, 1))),
        )
    )
    rows = []
    for name, routing in cases:
        order = sort_pairs(routing.ids, 32, FEW_ROWS_MAX_ROWS)
        used = np.count_nonzero(order.tiles[:, 2])
        x, hidden = _zeros(routing.num_rows, HIDDEN), _zeros(routing.ids.size, HIDDEN)
        for kernel, experts, result, their_run in (
            (
                "gate-up",
                gate_up,
                run_gate_up_few_rows(gate_up, routing, order, x, **OPTIONS)[0],
                _their_gate_up,
            ),
            (
                "down",
                down,
                run_down_few_rows(down, routing, order, hidden, **OPTIONS)[0],
                _their_down,
            ),
        ):
            theirs = ("", "")
            if reference is not None:
                their_result = their_run(reference, experts, routing)
                theirs = (f"{count(their_result).ratio:.2f}", _weights_ratio(their_result))
            counts = count(result)
            rows.append(
                [
                    f"{kernel}, {name}: {used} experts",
                    megabytes(counts.requested),
                    megabytes(counts.minimum),
                    f"{counts.ratio:.2f}",
                    theirs[0],
                    _weights_ratio(result),
                    theirs[1],
                    f"{_weights(result).lines_per_access:.2f}",
                ]
            )
    return Table(
        "Experts, 2 to 31 rows",
        [
            "kernel",
            "requested",
            "minimum",
            "ratio",
            "reference",
            "weights' ratio",
            "reference",
            "lines per load",
        ],
        rows,
        f"4 of 32 experts a row, each as likely as the others; {part} outputs of each matrix. The "
        "weights' ratio is 1 where an expert's weights are read once for all rows that chose it. "
        "The reference has no form for few rows: these are its matrix-vector kernels.",
    )


def _weights_ratio(result: Any) -> str:
    weights = _weights(result)
    return f"{weights.simdgroup_bytes_read / weights.distinct_bytes_read:.2f}"


# ---- Many rows ----------------------------------------------------------------------------------


def _matmul(reference: Reference | None) -> Table:
    rng = _rng()
    rows = []

    def add(name: str, result: Any, routing: Routing, num_outputs: int) -> None:
        counts: Counts = count(result)
        multiply_adds = routing.ids.size * HIDDEN * num_outputs
        rows.append(
            [
                name,
                f"{multiply_adds / counts.threadgroup_memory:.2f}",
                f"{multiply_adds / counts.requested:.1f}",
                _weights_ratio(result),
                f"{_weights(result).lines_per_access:.1f}",
            ]
        )

    # Two experts with one full tile each: what the tile itself does.
    full = routing_to(rng, np.repeat(np.arange(2, dtype=np.uint32), MATMUL_ROWS)[:, None])
    order = sort_pairs(full.ids, 2, MATMUL_ROWS)
    gate_up, down = Experts(rng, 2, HIDDEN, PART // 2), Experts(rng, 2, PART, HIDDEN)
    zeros = np.zeros((full.num_rows, HIDDEN), np.float32)
    result = run_gate_up_matmul(gate_up, full, order, zeros, **OPTIONS)[0]
    add("gate-up, full tiles", result, full, PART)
    result = run_down_matmul(down, full, order, zeros, **OPTIONS)[0]
    add("down, full tiles", result, full, PART)
    if reference is not None:
        add("reference: gate-up, full tiles", _their_gemm(reference, gate_up, order), full, PART)

    # A chunk of a prompt, for two tiles' outputs.
    outputs = 256
    chunk = random_routing(rng, 512, 32, ACTIVE)
    order = sort_pairs(chunk.ids, 32, MATMUL_ROWS)
    part = Experts(rng, 32, HIDDEN, outputs // 2)
    zeros = np.zeros((chunk.num_rows, HIDDEN), np.float32)
    result = run_gate_up_matmul(part, chunk, order, zeros, **OPTIONS)[0]
    add("gate-up, 512 rows, 4 of 32 experts", result, chunk, outputs)
    if reference is not None:
        batch = random_routing(rng, THEIR_BATCH, 32, ACTIVE)
        order = sort_pairs(batch.ids, 32, MATMUL_ROWS)
        result = _their_gemm(reference, part, order)
        add(f"reference: gate-up, {THEIR_BATCH} rows, 4 of 32 experts", result, batch, outputs)
    return Table(
        "Experts, many rows (GEMM)",
        [
            "kernel",
            "multiply-adds a byte of threadgroup memory",
            "multiply-adds a byte requested of device memory",
            "weights' ratio",
            "lines per load",
        ],
        rows,
        f"{HIDDEN} inputs; {PART} outputs, or {outputs} of the chunk's. Bytes of threadgroup "
        "memory are those written while staging and those read as operands: ours of floats "
        "times halves, the reference's of floats. The weights' ratio: how often they are asked "
        "for, once for each tile "
        "of 32 rows; tiles of an expert follow each other in the grid. The reference is measured "
        "with the rows that it processes at a time.",
    )


def _their_gemm(reference: Reference, experts: Experts, order: Sorted) -> Any:
    """The tile is 32 rows by 64 outputs by 4 simdgroups; the grid knows no counts."""
    matrix = experts.gate_up
    num_pairs = order.permutation.size
    blocks, scales, bias = matrix.offsets
    most = int(np.diff(order.offsets).max())
    return reference.launch(
        "moematmul.metal",
        "gptoss_f32_mf4w_moe_dense_matmul_swiglu",
        threadgroups=(matrix.num_outputs // 64, ceil_divide(most, 32), experts.num_experts),
        threads_per_threadgroup=(128, 1, 1),
        buffers={
            0: reference.arguments(
                "gptoss_moe_dense_matmul_swiglu_args",
                k=matrix.num_inputs,
                n=matrix.num_outputs,
                weight_blocks_expert_stride_bytes=experts.stride,
                weight_scales_expert_stride_bytes=experts.stride,
                bias_expert_stride_bytes=experts.stride,
                swiglu_min=-SWIGLU_LIMIT,
                swiglu_max=SWIGLU_LIMIT,
            ),
            1: order.offsets,
            2: _zeros(num_pairs, matrix.num_inputs),
            3: experts.bytes[blocks:],
            4: experts.bytes[scales:],
            5: experts.bytes[bias:],
            6: _zeros(num_pairs, matrix.num_outputs // 2),
        },
    )


# ---- Tile occupancy -----------------------------------------------------------------------------


def _occupancy(reference: Reference | None) -> Table:
    rows = []
    for num_experts in (32, 128):
        for name, popularity in (
            ("every expert as likely", np.ones(num_experts)),
            ("likely as 1 / rank", 1 / np.arange(1, num_experts + 1)),
            ("likely as 1 / rank^2", 1 / np.arange(1, num_experts + 1) ** 2),
            ("all rows to the same 4", np.where(np.arange(num_experts) < ACTIVE, 1, 1e-300)),
        ):
            ids = _choose(_rng(), 512, popularity)
            tiles = run_sort(ids, num_experts, MATMUL_ROWS, mode="plain", orders=1)[1].tiles[:, 2]
            used = tiles[tiles > 0]
            theirs = [
                sort_pairs(batch, num_experts, 32).tiles[:, 2]
                for batch in np.split(ids, 512 // THEIR_BATCH)
            ]
            rows.append(
                [
                    f"{num_experts} experts, {name}",
                    f"{len(used)} of {len(tiles)}",
                    _percent(used.sum(), MATMUL_ROWS * len(used)),
                    _percent(used.sum(), (8 * -(-used // 8)).sum()),
                    ""
                    if reference is None
                    else _percent(ids.size, 32 * sum(np.count_nonzero(t) for t in theirs)),
                ]
            )
    return Table(
        "Experts: how full the GEMM's tiles are (512 rows, 4 experts each)",
        [
            "routing",
            "tiles with rows, of those dispatched",
            "rows of tiles in use",
            "rows multiplied in use",
            "reference",
        ],
        rows,
        "Tiles have 32 rows; groups of 8 without any are skipped, which the third figure counts. "
        f"The reference has the same 32 rows, in batches of {THEIR_BATCH}, and skips none.",
    )


def _choose(rng: np.random.Generator, num_rows: int, popularity: Array) -> Any:
    """Distinct experts for each row: without replacement, as likely as given."""
    noisy = np.log(popularity) + rng.gumbel(size=(num_rows, len(popularity)))
    return np.argsort(-noisy, axis=1)[:, :ACTIVE].astype(np.uint32)


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %"
