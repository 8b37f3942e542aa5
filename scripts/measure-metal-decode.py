"""Count what one decoded token asks of a GPU, in the shapes of gpt-oss-20b and 120b.

    GPTOSS_BUILD_METAL=host pip install .
    python scripts/measure-metal-decode.py

Dispatches, encoders and barriers are those of the whole backend on the host device, for a model
with the true number of blocks, experts and heads that is narrow otherwise: how often kernels are
launched does not depend on widths. Bytes are the weights that the token's experts and layers have,
and the keys and values that it sees, each once. That the kernels are given just these is measured
with two blocks of the true widths, all of whose experts are active. Printed is Markdown for
docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]

import gptoss  # noqa: E402
from checkpoints import Shape, random_checkpoint  # noqa: E402
from engine_cases import convert_checkpoint, processed_context, random_tokens  # noqa: E402
from metal_backend import CommandBuffer, Report  # noqa: E402

TRUE_20B = Shape(
    num_blocks=24,
    num_experts=32,
    num_active_experts=4,
    hidden_size=2880,
    intermediate_size=2880,
    num_heads=64,
    num_kv_heads=8,
    vocabulary_size=201_088,
)
TRUE_120B = replace(TRUE_20B, num_blocks=36, num_experts=128)
NARROW = {"hidden_size": 32, "intermediate_size": 32, "vocabulary_size": 464}
CONTEXTS = (1_024, 8_192, 131_072)  # tokens
LONGEST = 131_072
# As published in its sources (gpt_oss/metal): one encoder for each dispatch, and fp32 keys and
# values of the full context on every layer.
REFERENCE_DISPATCHES = 246
GREEDY: dict[str, Any] = {"temperature": 0.0}
TOP_P: dict[str, Any] = {"temperature": 1.0, "top_p": 0.95}


def mxfp4_bytes(rows: int, columns: int) -> int:
    """Codes, scales, and a bias in bf16."""
    return rows * columns // 2 + rows * columns // 32 + 2 * rows


def expert_bytes(shape: Shape) -> int:
    hidden, width = shape.hidden_size, shape.intermediate_size
    return mxfp4_bytes(2 * width, hidden) + mxfp4_bytes(hidden, width)


def weight_bytes_of_a_token(shape: Shape) -> int:
    """Everything that is read of the model file for one token."""
    hidden = shape.hidden_size

    def linear(rows: int, columns: int) -> int:  # bf16, with a bias
        return 2 * rows * (columns + 1)

    attention = (
        2 * hidden
        + linear(shape.num_qkv_rows, hidden)
        + 2 * shape.num_heads
        + linear(hidden, 64 * shape.num_heads)
    )
    router = 2 * hidden + linear(shape.num_experts, hidden)
    blocks = shape.num_blocks * (
        attention + router + shape.num_active_experts * expert_bytes(shape)
    )
    ends = 2 * hidden + 2 * hidden + 2 * shape.vocabulary_size * hidden
    return blocks + ends


def cache_bytes_of_a_token(shape: Shape, num_tokens: int) -> int:
    """Keys and values, fp16, that the last of num_tokens sees. Even blocks slide."""
    sliding = (shape.num_blocks + 1) // 2
    keys = sliding * min(num_tokens, shape.sliding_window)
    keys += (shape.num_blocks - sliding) * num_tokens
    return keys * shape.num_kv_heads * 64 * 2 * 2


def load(shape: Shape, name: str, report_path: Path) -> tuple[gptoss.Model, Report]:
    path = convert_checkpoint(name, shape, random_checkpoint(shape, seed=1))
    os.environ["GPTOSS_METAL_HOST_REPORT"] = str(report_path)
    return gptoss.Model(path, backend="metal"), Report(report_path)


def decoded_tokens(
    model: gptoss.Model, report: Report, num_cached: int, options: dict[str, Any]
) -> list[CommandBuffer]:
    """Of each token that is computed and drawn, what the GPU was given."""
    context = processed_context(model, random_tokens(num_cached))
    report.take()
    num_tokens = 2
    context.sample(num_tokens, **options)
    buffers = report.take()
    if len(buffers) != num_tokens:
        sys.exit(f"{num_tokens} tokens took {len(buffers)} encoders, not one each.")
    return buffers[1:]  # the first is drawn from the prompt's logits


def check_bytes_at_true_widths(report_path: Path) -> None:
    """What the kernels are given is the counted weights and cache, and activations of under 2 %."""
    shape = replace(TRUE_20B, num_blocks=2, num_experts=4, vocabulary_size=464)
    model, report = load(shape, "true-widths", report_path)
    num_cached = 1
    (token, *_) = decoded_tokens(model, report, num_cached, GREEDY)
    counted = weight_bytes_of_a_token(shape) + cache_bytes_of_a_token(shape, num_cached + 1)
    # The embedding is bound whole, and a token reads one of its rows. An expert's two matrices lie
    # side by side, so that both of its kernels are bound to both, and each reads its own.
    counted += 2 * (shape.vocabulary_size - 1) * shape.hidden_size
    counted += shape.num_blocks * shape.num_experts * expert_bytes(shape)
    if not counted <= token.bytes_read <= 1.02 * counted:
        sys.exit(
            f"The kernels are given {token.bytes_read} bytes to read for a token of {shape}; "
            f"{counted} are counted."
        )
    print(
        f"checked: two blocks of the true widths are given {token.bytes_read / 1e6:.2f} MB for "
        f"a token, {token.bytes_read / counted - 1:.2%} more than is counted of weights and keys",
        file=sys.stderr,
    )


def measure(name: str, shape: Shape, report_path: Path) -> list[list[str]]:
    narrow = replace(shape, **NARROW)
    model, report = load(narrow, name, report_path)
    greedy = decoded_tokens(model, report, 3, GREEDY)[-1]
    top_p = decoded_tokens(model, report, 3, TOP_P)[-1]
    unneeded = len(greedy.unneeded_barriers) + len(top_p.unneeded_barriers)
    rows = [
        ["dispatches, greedy", f"{greedy.dispatches}"],
        ["dispatches, top_p", f"{top_p.dispatches}"],
        ["encoders", "1"],
        ["barriers, greedy (unneeded ones)", f"{greedy.barriers} ({unneeded})"],
        ["weights read", f"{weight_bytes_of_a_token(shape) / 1e9:.3f} GB"],
    ]
    for num_tokens in CONTEXTS:
        num_bytes = cache_bytes_of_a_token(shape, num_tokens)
        rows.append(
            [f"keys and values read after {num_tokens:,} tokens", f"{num_bytes / 1e6:.0f} MB"]
        )
    cache = model.kv_cache_bytes(LONGEST) / 2**30
    rows.append([f"cache of {LONGEST:,} tokens", f"{cache:.2f} GiB"])
    return rows


def main() -> None:
    os.environ.setdefault("GPTOSS_METAL_TIMEOUT", "600")  # the host device is slow
    argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0]).parse_args()
    with tempfile.TemporaryDirectory() as directory:
        report_path = Path(directory) / "report.jsonl"
        try:
            check_bytes_at_true_widths(report_path)
            columns = [
                measure("narrow-20b", TRUE_20B, Path(directory) / "20b.jsonl"),
                measure("narrow-120b", TRUE_120B, Path(directory) / "120b.jsonl"),
            ]
        except gptoss.BackendError as error:
            sys.exit(f"{error} This script needs a build with GPTOSS_BUILD_METAL=host.")
    full_cache = TRUE_20B.num_blocks * LONGEST * TRUE_20B.num_kv_heads * 64 * 2 * 4
    reference = {
        "dispatches, greedy": f"{REFERENCE_DISPATCHES}",
        "encoders": f"{REFERENCE_DISPATCHES}",
        f"cache of {LONGEST:,} tokens": f"{full_cache / 2**30:.0f} GiB",
    }
    print("| a decoded token | 20b | 120b | the reference, 20b |\n|---|---:|---:|---:|")
    for (label, first), (_, second) in zip(*columns, strict=True):
        print(f"| {label} | {first} | {second} | {reference.get(label, '')} |")


if __name__ == "__main__":
    main()
