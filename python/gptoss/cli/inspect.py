"""`gptoss inspect`: what is in a model file, how much memory it needs, and whether it is sound."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gptoss.cli.arguments import BACKENDS, positive_integer

if TYPE_CHECKING:
    from gptoss import DeviceInfo, MemoryEstimate, Model, TensorInfo
    from gptoss.cli.verify import Verification

DESCRIPTION = """\
Shows the header of a model file, its tensors with shapes and offsets, its tokenizer, the memory
that it needs at given context lengths, and whether this machine's GPU has as much. Reads nothing
but the header unless asked to --verify.
"""

EPILOG = """\
examples:
  gptoss inspect                                      the built-in demo model
  gptoss inspect gpt-oss-20b.bin --context-length 8192 65536
  gptoss inspect gpt-oss-20b.bin --backend cpu        the memory that it needs without the GPU
  gptoss inspect gpt-oss-20b.bin --verify             read every byte; exit code 1 on a problem
  gptoss inspect gpt-oss-20b.bin --json | jq .memory

--verify looks for bytes that are not zero between tensors, for infinities and NaN, for codes and
scales that the format cannot hold and for equal tokens, compares the checksums of the tensors if
the file has them (those in 8 bits do), and prints the file's SHA-256.
"""

# Reading that takes longer than this shows its progress.
VERIFY_PROGRESS_DELAY = 0.5  # seconds
DEFAULT_CONTEXT_LENGTHS = (4096, 32768)  # and the model's maximum


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `inspect` to the command line."""
    parser = subparsers.add_parser(
        "inspect",
        help="show what is in a model file, and check it",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", nargs="?", metavar="MODEL", help="a model.bin; without it the demo model")
    add(
        "--context-length",
        metavar="N",
        type=positive_integer,
        nargs="+",
        help="context lengths to show the memory for, in tokens (4096, 32768 and the maximum)",
    )
    add(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="where it is to run, which the memory depends on (auto: the fastest here)",
    )
    add("--tensors", action="store_true", help="list every tensor, not one block for all")
    add("--verify", action="store_true", help="read every byte of the file and check it")
    add("--json", action="store_true", help="print one JSON object; tensors only with --tensors")


def run(arguments: argparse.Namespace) -> int:
    """Runs `gptoss inspect`; returns the exit code, 1 if --verify found a problem."""
    import json

    import gptoss

    # On the CPU, which takes any model: what it needs elsewhere is known without loading it there.
    model = gptoss.Model(arguments.model, "cpu")
    lengths = _context_lengths(model, arguments.context_length)
    memory = _Memory(
        gptoss.device_info(arguments.backend),
        [model.memory_needed(length, backend=arguments.backend) for length in lengths],
        model.memory_needed(backend=arguments.backend),
    )
    if not arguments.json:
        print(_describe(model, memory, arguments.tensors))
    start = time.perf_counter()
    verification = _verify(model) if arguments.verify else None
    if arguments.json:
        print(json.dumps(_as_json(model, memory, arguments.tensors, verification), indent=2))
    elif verification is not None:
        print(_describe_verification(verification, time.perf_counter() - start))
    return 1 if verification is not None and verification.num_problems else 0


def _context_lengths(model: Model, wanted: Sequence[int] | None) -> list[int]:
    limit = model.max_context_length
    if wanted is None:
        return [length for length in DEFAULT_CONTEXT_LENGTHS if length < limit] + [limit]
    for length in wanted:
        if length > limit:
            raise ValueError(
                f"A context length of {length} tokens is above this model's maximum of {limit}."
            )
    return list(wanted)


# Figures.


def _num_parameters(model: Model) -> tuple[int, int]:
    """Parameters in all, and those that work on a token: not its embedding, nor idle experts."""
    total = active = 0.0
    share = model.config.num_active_experts / model.config.num_experts
    for tensor in model.tensors:
        if tensor.dtype in ("mxfp4_scales", "q8_scales"):
            continue
        count = math.prod(tensor.shape) * (2 if tensor.dtype == "mxfp4_blocks" else 1)
        total += count
        if not tensor.name.startswith("embedding.weight"):
            active += count * share if ".experts." in tensor.name else count
    return round(total), round(active)


@dataclass(frozen=True)
class _Memory:
    device: DeviceInfo
    estimates: list[MemoryEstimate]
    """At the context lengths that are shown."""
    longest: MemoryEstimate
    """At the longest that fits; it does not fit itself if none does."""


def _named_special_tokens(model: Model) -> dict[str, int]:
    tokens = model.tokenizer.special_tokens.items()
    return {name: token for name, token in tokens if not name.startswith("<|reserved_")}


# As text.


def _describe(model: Model, memory: _Memory, all_tensors: bool) -> str:
    from gptoss.cli.terminal import format_bytes

    tokenizer = model.tokenizer
    size = model.path.stat().st_size
    total, active = _num_parameters(model)
    special = ", ".join(f"{name} {token}" for name, token in _named_special_tokens(model).items())
    lines = [
        f"{model.path}{' (the built-in demo model)' if model.is_demo else ''}",
        *_table(
            [
                ("size", f"{size} bytes ({format_bytes(size)})"),
                ("parameters", f"{_short(total)}, {_short(active)} of them active for a token"),
                *((name, _number(value)) for name, value in _config(model).items()),
            ]
        ),
        "",
        "tokenizer",
        *_table(
            [
                ("text tokens", str(tokenizer.num_text_tokens)),
                ("special tokens", f"{tokenizer.num_special_tokens}: {special}"),
                ("regex", tokenizer.regex),
            ]
        ),
        "",
        "tensors",
        *_table(_tensor_rows(model.tensors, all_tensors)),
        *_hidden_tensors(model.tensors, all_tensors),
        "",
        *_describe_memory(memory),
    ]
    return "\n".join(lines)


def _describe_memory(memory: _Memory) -> list[str]:
    from gptoss.cli.terminal import format_bytes

    device = memory.device
    limit = device.recommended_bytes
    rows = [["context length", "key/value cache", "activations", "in all"]]
    for estimate in memory.estimates:
        sizes = (estimate.kv_cache, estimate.workspace, estimate.total)
        rows.append([str(estimate.context_length), *map(format_bytes, sizes)])
    lines = []
    if limit is not None:
        rows[0].append("fits")
        for row, estimate in zip(rows[1:], memory.estimates, strict=True):
            row.append("yes" if estimate.fits else "no")
        if memory.longest.fits:
            lines.append(f"  the longest context that fits: {memory.longest.context_length}")
        # The least that is wanted and does not fit is the likeliest to be made to.
        shortages = [estimate for estimate in memory.estimates if not estimate.fits]
        if shortages:
            lines.append(f"  {min(shortages, key=lambda estimate: estimate.total).advice}")
    room = "" if limit is None else f", which recommends at most {format_bytes(limit)}"
    weights = format_bytes(memory.longest.weights)
    return [
        f"memory on {device.backend}, {device.name}{room}",
        f"  {weights} of weights, mapped from the file, and",
        *_table([tuple(row) for row in rows]),
        *lines,
    ]


def _tensor_rows(tensors: Sequence[TensorInfo], everything: bool) -> list[tuple[str, ...]]:
    """Name, type, shape, offset and size of each; or the first block and expert for all of them."""
    from gptoss.cli.terminal import format_bytes

    rows: list[tuple[str, ...]] = [("name", "type", "shape", "offset", "size")]
    for tensor in tensors:
        if everything or _stands_for_all(tensor.name):
            shape = " x ".join(map(str, tensor.shape))
            size = format_bytes(tensor.num_bytes)
            rows.append((tensor.name, tensor.dtype, shape, str(tensor.offset), size))
    return rows


def _hidden_tensors(tensors: Sequence[TensorInfo], everything: bool) -> list[str]:
    from gptoss.cli.terminal import format_bytes

    hidden = [tensor for tensor in tensors if not (everything or _stands_for_all(tensor.name))]
    if not hidden:
        return []
    size = format_bytes(sum(tensor.num_bytes for tensor in hidden))
    return [f"  and {len(hidden)} more like these in other blocks and experts, {size} (--tensors)"]


def _stands_for_all(name: str) -> bool:
    parts = name.split(".")
    if parts[0] != "block":
        return True
    return parts[1] == "0" and ("experts" not in parts or parts[parts.index("experts") + 1] == "0")


def _table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Rows with aligned columns, indented by two."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [("  " + "  ".join(map(str.ljust, row, widths))).rstrip() for row in rows]


def _describe_verification(verification: Verification, seconds: float) -> str:
    from gptoss.cli.terminal import format_bytes

    size = verification.num_bytes
    rate = format_bytes(size / seconds)
    lines = [
        "",
        "verification",
        f"  read {size} bytes, {rate}/s",
        f"  sha256 {verification.sha256}",
    ]
    lines += [f"  problem: {problem}" for problem in verification.problems]
    more = verification.num_problems - len(verification.problems)
    if more:
        lines.append(f"  and {more} more problems")
    if not verification.num_problems:
        if verification.num_checksums:
            lines.append(f"  {verification.num_checksums} checksums of tensors are right")
        lines.append("  no problem found")
    return "\n".join(lines)


def _config(model: Model) -> dict[str, int | float]:
    from dataclasses import asdict

    return asdict(model.config)


def _number(value: int | float) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def _short(count: int) -> str:
    """A large number as people say it: 20.9 B, 2.1 M."""
    unit, size = ("B", 10**9) if count >= 10**9 else ("M", 10**6)
    return f"{count / size:.1f} {unit}"


# As JSON.


def _as_json(
    model: Model, memory: _Memory, all_tensors: bool, verification: Verification | None
) -> dict[str, Any]:
    from dataclasses import asdict

    total, active = _num_parameters(model)
    tokenizer = model.tokenizer
    report: dict[str, Any] = {
        "path": str(model.path),
        "is_demo": model.is_demo,
        "num_bytes": model.path.stat().st_size,
        "num_parameters": total,
        "num_active_parameters": active,
        "config": _config(model),
        "tokenizer": {
            "num_text_tokens": tokenizer.num_text_tokens,
            "num_special_tokens": tokenizer.num_special_tokens,
            "special_tokens": _named_special_tokens(model),
            "regex": tokenizer.regex,
        },
        "memory": {
            "device": asdict(memory.device),
            "weights_bytes": memory.longest.weights,
            "limit_bytes": memory.longest.limit,
            "longest_context_length": (
                memory.longest.context_length if memory.longest.fits else None
            ),
            "contexts": [
                {
                    "context_length": estimate.context_length,
                    "kv_cache_bytes": estimate.kv_cache,
                    "workspace_bytes": estimate.workspace,
                    "total_bytes": estimate.total,
                    "fits": estimate.fits,
                    "advice": estimate.advice,
                }
                for estimate in memory.estimates
            ],
        },
    }
    if all_tensors:
        report["tensors"] = [asdict(tensor) for tensor in model.tensors]
    if verification is not None:
        report["verification"] = asdict(verification)
    return report


# Reading everything.


def _verify(model: Model) -> Verification:
    from gptoss.cli.terminal import ProgressLine, format_bytes, format_duration
    from gptoss.cli.verify import verify_file

    line = ProgressLine(sys.stderr, VERIFY_PROGRESS_DELAY)

    def show(done: int, total: int) -> None:
        if done and line.is_due:
            rate = done / line.elapsed
            left = format_duration((total - done) / rate)
            line.show(
                f"verifying: {format_bytes(done)} of {format_bytes(total)} "
                f"({100 * done // total} %), {format_bytes(rate)}/s, {left} left"
            )

    try:
        return verify_file(model.path, model.tensors, model.tokenizer, show)
    finally:
        line.clear()
