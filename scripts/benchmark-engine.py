"""Measure load time, prefill and decode on random weights in the shape of a real model.

    python scripts/benchmark-engine.py --directory /a/disk/with/space --shape 20b

No checkpoint is needed: a synthetic model.bin (13.8 GB for the 20b) is written once, through the
converter's own code, and kept for the next run unless --remove is given. Speed does not depend on
what the weights are, apart from how evenly tokens spread over the experts.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any, cast

import gptoss
import numpy as np
from gptoss.convert.checkpoint import OPENAI_LAYOUT, Checkpoint
from gptoss.convert.checkpoint_config import parse_config
from gptoss.convert.checkpoint_weights import find_weights
from gptoss.convert.file_header import file_header
from gptoss.convert.file_items import Workspace
from gptoss.convert.file_layout import lay_out_file
from gptoss.convert.output_file import OutputFile
from gptoss.convert.safetensors_file import SafetensorsFile, StoredTensor, TensorBytes
from gptoss.convert.tokenizer_source import load_vocabulary
from numpy.typing import NDArray

SHAPES = {
    "20b": {"num_hidden_layers": 24, "num_experts": 32},
    "20b-4-blocks": {"num_hidden_layers": 4, "num_experts": 32},
    "120b": {"num_hidden_layers": 36, "num_experts": 128},
}
COMMON = {
    "experts_per_token": 4,
    "vocab_size": 201088,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "swiglu_limit": 7.0,
    "head_dim": 64,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "sliding_window": 128,
    "initial_context_length": 4096,
    "rope_theta": 150000,
    "rope_scaling_factor": 32.0,
    "rope_ntk_alpha": 1.0,
    "rope_ntk_beta": 32.0,
}
# Tensors are cut from a pattern of this many random bytes, over and over.
PATTERN_BYTES = 2**25
# A tensor's offset says in its high bits what its bytes are.
KIND_SHIFT = 60
WEIGHTS, CODES, SCALES = range(3)


class RandomFile:
    """Stands for a .safetensors file whose every byte is drawn at random."""

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        normal = generator.standard_normal(PATTERN_BYTES // 2, np.float32) * np.float32(0.02)
        self._weights = (normal.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
        self._codes = generator.integers(0, 256, PATTERN_BYTES, np.uint8)

    def read_into(self, offset: int, buffer: NDArray[Any]) -> None:
        """Fill the buffer; the tensor's kind is in the high bits of the offset (`tensors`)."""
        kind, start = offset >> KIND_SHIFT, offset % PATTERN_BYTES
        target = buffer.view(np.uint8).reshape(-1)
        if kind == SCALES:
            target[:] = 127 - 7  # 2^-7 times the codes: weights of about 0.02
            return
        pattern = self._weights if kind == WEIGHTS else self._codes
        while len(target) > 0:
            piece = pattern[start : start + len(target)]
            target[: len(piece)] = piece
            target, start = target[len(piece) :], 0

    def tensors(self, config: dict[str, Any]) -> dict[str, StoredTensor]:
        """Every tensor of a checkpoint of this shape, in OpenAI's layout."""
        size, width = config["hidden_size"], config["intermediate_size"]
        experts, rows = config["num_experts"], config["vocab_size"]
        heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
        qkv = 64 * (heads + 2 * kv_heads)
        tensors: dict[str, StoredTensor] = {}

        def add(name: str, *shape: int, kind: int = WEIGHTS) -> None:
            dtype = "BF16" if kind == WEIGHTS else "U8"
            num_bytes = int(np.prod(shape)) * (2 if kind == WEIGHTS else 1)
            file = cast(SafetensorsFile, self)
            tensors[name] = StoredTensor(name, dtype, shape, file, kind << KIND_SHIFT, num_bytes)

        add("embedding.weight", rows, size)
        add("unembedding.weight", rows, size)
        add("norm.scale", size)
        for block in range(config["num_hidden_layers"]):
            attention, mlp = f"block.{block}.attn", f"block.{block}.mlp"
            add(f"{attention}.norm.scale", size)
            add(f"{attention}.qkv.weight", qkv, size)
            add(f"{attention}.qkv.bias", qkv)
            add(f"{attention}.sinks", heads)
            add(f"{attention}.out.weight", size, 64 * heads)
            add(f"{attention}.out.bias", size)
            add(f"{mlp}.norm.scale", size)
            add(f"{mlp}.gate.weight", experts, size)
            add(f"{mlp}.gate.bias", experts)
            add(f"{mlp}.mlp1_weight.blocks", experts, 2 * width, size // 32, 16, kind=CODES)
            add(f"{mlp}.mlp1_weight.scales", experts, 2 * width, size // 32, kind=SCALES)
            add(f"{mlp}.mlp1_bias", experts, 2 * width)
            add(f"{mlp}.mlp2_weight.blocks", experts, size, width // 32, 16, kind=CODES)
            add(f"{mlp}.mlp2_weight.scales", experts, size, width // 32, kind=SCALES)
            add(f"{mlp}.mlp2_bias", experts, size)
        return tensors


def write_synthetic_model(path: Path, shape: str) -> None:
    """Write a model.bin with random weights."""
    config_file: dict[str, Any] = COMMON | SHAPES[shape]
    problems: list[str] = []
    warnings: list[str] = []
    tensors = RandomFile().tensors(config_file)
    checkpoint = Checkpoint(path.parent, OPENAI_LAYOUT, config_file, tensors, [])
    vocabulary = load_vocabulary(None, path.parent, warnings)
    config = parse_config(config_file, OPENAI_LAYOUT, problems, warnings)
    if config is None:
        sys.exit("\n".join(problems))
    weights = find_weights(checkpoint, config, vocabulary.num_tokens, problems, warnings)
    if problems:
        sys.exit("\n".join(problems))
    items = lay_out_file(file_header(config, vocabulary), config, weights)
    workspace = Workspace()
    print(f"writing {path}, {items[-1].end / 1e9:.1f} GB", file=sys.stderr)
    with OutputFile(path, force=False) as output:
        for placed in items:
            output.write(bytes(placed.offset - output.num_bytes))
            for piece in placed.item.pieces(workspace):
                output.write(workspace.read(piece) if isinstance(piece, TensorBytes) else piece)
        output.commit()


def seconds(function: Any, *arguments: Any) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--directory", type=Path, required=True, help="where the model.bin goes")
    parser.add_argument("--shape", choices=SHAPES, default="20b")
    parser.add_argument("--threads", type=int, help="default: one per processor")
    parser.add_argument("--prompt", type=int, default=128, help="tokens of prefill")
    parser.add_argument("--decode", type=int, default=16, help="tokens of decode")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--remove", action="store_true", help="remove the model.bin at the end")
    arguments = parser.parse_args()

    path: Path = arguments.directory / f"synthetic-{arguments.shape}.bin"
    if not path.exists():
        write_synthetic_model(path, arguments.shape)

    loads = [seconds(lambda: gptoss.Model(path, threads=arguments.threads)) for _ in range(5)]
    model = gptoss.Model(path, threads=arguments.threads)
    print(f"{path.name}: {path.stat().st_size / 1e9:.2f} GB, {model.threads} threads")
    print(f"load, warm          {statistics.median(loads) * 1e3:8.1f} ms")

    generator = np.random.default_rng(1)
    tokens = generator.integers(0, 199998, arguments.prompt).tolist()
    context = gptoss.Context(model)
    context.append(tokens[:1])
    print(f"first token, cold   {seconds(context.process):8.1f} s (reads the weights from disk)")
    prefill, decode = [], []
    for repetition in range(arguments.repetitions):
        context = gptoss.Context(model)
        context.append([repetition, *tokens[1:]])
        prefill.append(arguments.prompt / seconds(context.process))
        decode.append(arguments.decode / seconds(context.sample, arguments.decode + 1))
    for name, figures in (
        (f"prefill, {arguments.prompt} tokens", prefill),
        (f"decode, {arguments.decode} tokens", decode),
    ):
        print(
            f"{name:<19} {statistics.median(figures):8.2f} tokens/s"
            f" ({min(figures):.2f} to {max(figures):.2f})"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    print(f"peak resident       {peak * unit / 1e9:8.2f} GB, of which the mapped file is most")
    if arguments.remove:
        path.unlink()


if __name__ == "__main__":
    main()
