"""Compare the speed of `gptoss convert` with that of `cp`, and measure its peak memory.

    python scripts/benchmark-conversion.py --directory /a/disk/with/space --gigabytes 5

A synthetic checkpoint in the shape of gpt-oss-20b, with as many blocks as the size allows, is
copied and converted in turn. Both end with a sync to disk; before each, the checkpoint is dropped
from the page cache, unless --cached asks for the opposite. Printed are seconds, MB/s, the ratio of
the medians and the peak resident memory of the converting process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

EMBEDDING_ROWS = 201088
HIDDEN_SIZE = 2880
NUM_EXPERTS = 32
NUM_HEADS = 64
NUM_KV_HEADS = 8
HEAD_DIM = 64
PIECE_BYTES = 64 * 2**20


def block_shapes(block: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Names, types and shapes of one block of gpt-oss-20b in OpenAI's layout."""
    size, experts = HIDDEN_SIZE, NUM_EXPERTS
    num_qkv_rows = HEAD_DIM * (NUM_HEADS + 2 * NUM_KV_HEADS)
    attention, mlp = f"block.{block}.attn", f"block.{block}.mlp"
    return {
        f"{attention}.norm.scale": ("BF16", (size,)),
        f"{attention}.qkv.weight": ("BF16", (num_qkv_rows, size)),
        f"{attention}.qkv.bias": ("BF16", (num_qkv_rows,)),
        f"{attention}.sinks": ("BF16", (NUM_HEADS,)),
        f"{attention}.out.weight": ("BF16", (size, HEAD_DIM * NUM_HEADS)),
        f"{attention}.out.bias": ("BF16", (size,)),
        f"{mlp}.norm.scale": ("BF16", (size,)),
        f"{mlp}.gate.weight": ("BF16", (experts, size)),
        f"{mlp}.gate.bias": ("BF16", (experts,)),
        f"{mlp}.mlp1_weight.blocks": ("U8", (experts, 2 * size, size // 32, 16)),
        f"{mlp}.mlp1_weight.scales": ("U8", (experts, 2 * size, size // 32)),
        f"{mlp}.mlp1_bias": ("BF16", (experts, 2 * size)),
        f"{mlp}.mlp2_weight.blocks": ("U8", (experts, size, size // 32, 16)),
        f"{mlp}.mlp2_weight.scales": ("U8", (experts, size, size // 32)),
        f"{mlp}.mlp2_bias": ("BF16", (experts, size)),
    }


def num_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    return int(np.prod(shape)) * (2 if dtype == "BF16" else 1)


def write_checkpoint(directory: Path, gigabytes: float) -> Path:
    """Write config.json and a model.safetensors of about this size; return the latter's path."""
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "embedding.weight": ("BF16", (EMBEDDING_ROWS, HIDDEN_SIZE)),
        "unembedding.weight": ("BF16", (EMBEDDING_ROWS, HIDDEN_SIZE)),
        "norm.scale": ("BF16", (HIDDEN_SIZE,)),
    }
    outside = sum(num_bytes(*entry) for entry in shapes.values())
    block_bytes = sum(num_bytes(*entry) for entry in block_shapes(0).values())
    num_blocks = max(1, round((gigabytes * 1e9 - outside) / block_bytes))
    for block in range(num_blocks):
        shapes |= block_shapes(block)
    config = {
        "num_hidden_layers": num_blocks,
        "num_experts": NUM_EXPERTS,
        "experts_per_token": 4,
        "vocab_size": EMBEDDING_ROWS,
        "hidden_size": HIDDEN_SIZE,
        "intermediate_size": HIDDEN_SIZE,
        "swiglu_limit": 7.0,
        "head_dim": HEAD_DIM,
        "num_attention_heads": NUM_HEADS,
        "num_key_value_heads": NUM_KV_HEADS,
        "sliding_window": 128,
        "initial_context_length": 4096,
        "rope_theta": 150000,
        "rope_scaling_factor": 32.0,
        "rope_ntk_alpha": 1,
        "rope_ntk_beta": 32,
    }
    (directory / "config.json").write_text(json.dumps(config))
    header, offset = {}, 0
    for name, (dtype, shape) in shapes.items():
        end = offset + num_bytes(dtype, shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    # Random bytes below 128 are sane scale bytes, and no file system can compress them away.
    piece = np.random.default_rng(0).integers(0, 128, PIECE_BYTES, dtype=np.uint8)
    path = directory / "model.safetensors"
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for first in range(0, offset, PIECE_BYTES):
            file.write(piece[: offset - first].data)
        file.flush()
        os.fsync(file.fileno())
    return path


def prepare_cache(path: Path, cached: bool) -> None:
    """Read a file into the page cache or, where the system can, drop it from there."""
    with path.open("rb") as file:
        if cached:
            while file.read(PIECE_BYTES):
                pass
        elif hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def time_copy(source: Path, destination: Path) -> float:
    """Seconds that cp and a sync of the copy take."""
    # Sharing the blocks of the original would be no copy.
    options = ["--reflink=never"] if sys.platform == "linux" else []
    begin = time.perf_counter()
    subprocess.run(["cp", *options, source, destination], check=True)
    with destination.open("rb") as file:
        os.fsync(file.fileno())
    return time.perf_counter() - begin


def time_conversion(directory: Path, destination: Path) -> tuple[float, float]:
    """Seconds and peak resident MB of a whole process that converts."""
    command = [sys.executable, "-c", CONVERT, str(directory), str(destination)]
    begin = time.perf_counter()
    process = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    return seconds, float(process.stdout)


CONVERT = """
import re, resource, sys
from pathlib import Path
from gptoss.convert import convert
convert(sys.argv[1], sys.argv[2])
if sys.platform == "linux":
    # Unlike ru_maxrss, this does not include the memory of the process that started this one.
    status = Path("/proc/self/status").read_text()
    print(int(re.search(r"VmHWM:\\s*(\\d+) kB", status)[1]) * 1024 / 1e6)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--directory", type=Path, help="where to work (default: temporary files)")
    parser.add_argument("--gigabytes", type=float, default=5.0, help="size (default: 5)")
    parser.add_argument("--repeats", type=int, default=3, help="how often (default: 3)")
    parser.add_argument("--cached", action="store_true", help="have the checkpoint in memory")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        directory = Path(name)
        needed, free = 2 * arguments.gigabytes * 1e9, shutil.disk_usage(directory).free
        if free < needed:
            print(f"{directory} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} are needed.")
            return 1
        source, destination = write_checkpoint(directory, arguments.gigabytes), directory / "copy"
        size = source.stat().st_size
        copies, conversions, peak = [], [], 0.0
        for _ in range(arguments.repeats):
            prepare_cache(source, arguments.cached)
            copies.append(time_copy(source, destination))
            destination.unlink()
            prepare_cache(source, arguments.cached)
            seconds, megabytes = time_conversion(directory, destination)
            conversions.append(seconds)
            peak = max(peak, megabytes)
            destination.unlink()
            print(f"cp {copies[-1]:6.1f} s   convert {seconds:6.1f} s   peak {megabytes:.0f} MB")
    copy, conversion = statistics.median(copies), statistics.median(conversions)
    print(
        f"{size / 1e9:.2f} GB: cp {size / 1e6 / copy:.0f} MB/s, convert "
        f"{size / 1e6 / conversion:.0f} MB/s, {copy / conversion:.0%} of the speed of cp, "
        f"peak memory {peak:.0f} MB"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
