"""Write a GGUF file with random weights in the shape of gpt-oss, for benchmarks of llama.cpp.

    pip install gguf
    python scripts/write-synthetic-gguf.py 20b-q8.gguf --dense q8

Experts are MXFP4, as in every published file; the attention projections, the embedding and the
unembedding are bf16 or 8-bit (Q8_0); the router, norms and biases are fp32. There is no
tokenizer: llama-bench feeds random tokens. Speed does not depend on what the weights are, apart
from how evenly tokens spread over the experts, and a router drawn at random spreads them evenly.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType
from numpy.typing import NDArray

VOCABULARY = 201_088
WIDTH = 2880  # of the residual and of an expert's hidden layer
HEADS, KV_HEADS, HEAD_SIZE = 64, 8, 64
EXPERTS_PER_TOKEN = 4
NUM_BLOCKS = {"20b": 24, "120b": 36}
NUM_EXPERTS = {"20b": 32, "120b": 128}

F32 = GGMLQuantizationType.F32
MXFP4 = GGMLQuantizationType.MXFP4
DENSE = {"bf16": GGMLQuantizationType.BF16, "q8": GGMLQuantizationType.Q8_0}
# Bytes of 32 values.
BYTES_OF_32 = {F32: 128, MXFP4: 17, DENSE["bf16"]: 64, DENSE["q8"]: 34}

# A tensor's bytes are a pattern of about this size, over and over.
PATTERN_VALUES = 2**23
WEIGHT_DEVIATION = 0.02


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file; the shape has the rows first, as numpy has it."""

    name: str
    shape: tuple[int, ...]
    type: GGMLQuantizationType = F32

    @property
    def num_bytes(self) -> int:
        """Bytes in the file."""
        return int(np.prod(self.shape)) // 32 * BYTES_OF_32[self.type]


def tensors(shape: str, num_blocks: int, dense: GGMLQuantizationType) -> Iterator[Tensor]:
    """Every tensor of a file of this shape."""
    experts = NUM_EXPERTS[shape]
    yield Tensor("token_embd.weight", (VOCABULARY, WIDTH), dense)
    for index in range(num_blocks):
        block = f"blk.{index}"
        yield Tensor(f"{block}.attn_norm.weight", (WIDTH,))
        for name, heads in (("attn_q", HEADS), ("attn_k", KV_HEADS), ("attn_v", KV_HEADS)):
            yield Tensor(f"{block}.{name}.weight", (heads * HEAD_SIZE, WIDTH), dense)
            yield Tensor(f"{block}.{name}.bias", (heads * HEAD_SIZE,))
        yield Tensor(f"{block}.attn_sinks.weight", (HEADS,))
        yield Tensor(f"{block}.attn_output.weight", (WIDTH, HEADS * HEAD_SIZE), dense)
        yield Tensor(f"{block}.attn_output.bias", (WIDTH,))
        yield Tensor(f"{block}.post_attention_norm.weight", (WIDTH,))
        yield Tensor(f"{block}.ffn_gate_inp.weight", (experts, WIDTH))
        yield Tensor(f"{block}.ffn_gate_inp.bias", (experts,))
        for name in ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"):
            yield Tensor(f"{block}.{name}.weight", (experts, WIDTH, WIDTH), MXFP4)
            yield Tensor(f"{block}.{name}.bias", (experts, WIDTH))
    yield Tensor("output_norm.weight", (WIDTH,))
    yield Tensor("output.weight", (VOCABULARY, WIDTH), dense)


def random_patterns() -> dict[GGMLQuantizationType, NDArray[np.uint8]]:
    """For each type the bytes of PATTERN_VALUES random weights of the usual size."""
    generator = np.random.default_rng(0)
    weights = generator.standard_normal(PATTERN_VALUES, np.float32) * np.float32(WEIGHT_DEVIATION)
    num_groups = PATTERN_VALUES // 32

    mxfp4 = generator.integers(0, 256, (num_groups, 17), np.uint8)
    mxfp4[:, 0] = 127 - 7  # the scale, 2^-7

    q8 = np.empty((num_groups, 34), np.uint8)
    groups = weights.reshape(num_groups, 32)
    scales = np.abs(groups).max(axis=1, keepdims=True) / np.float32(127)
    q8[:, :2] = scales.astype(np.float16).view(np.uint8)
    q8[:, 2:] = np.rint(groups / scales).astype(np.int8).view(np.uint8)

    return {
        F32: weights.view(np.uint8),
        DENSE["bf16"]: (weights.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8),
        DENSE["q8"]: q8.reshape(-1),
        MXFP4: mxfp4.reshape(-1),
    }


def add_metadata(writer: GGUFWriter, shape: str, num_blocks: int, dense: str) -> None:
    writer.add_name(f"gpt-oss-{shape}, {num_blocks} blocks, {dense} dense weights, synthetic")
    bf16 = dense == "bf16"
    writer.add_file_type(LlamaFileType.MOSTLY_BF16 if bf16 else LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(2)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("no_vocab")
    writer.add_block_count(num_blocks)
    writer.add_context_length(131_072)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(WIDTH)
    writer.add_expert_feed_forward_length(WIDTH)
    writer.add_expert_count(NUM_EXPERTS[shape])
    writer.add_expert_used_count(EXPERTS_PER_TOKEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD_SIZE)
    writer.add_value_length(HEAD_SIZE)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_sliding_window(128)
    writer.add_rope_freq_base(150_000.0)
    writer.add_uint32("gpt-oss.rope.scaling.original_context_length", 4096)
    writer.add_string("gpt-oss.rope.scaling.type", "yarn")
    writer.add_float32("gpt-oss.rope.scaling.factor", 32.0)


def write_file(path: Path, shape: str, num_blocks: int, dense: str) -> None:
    unfinished = path.with_name(path.name + ".unfinished")
    # Typed as what the package declares but for the constants of its key names.
    writer: Any = GGUFWriter(unfinished, "gpt-oss")
    add_metadata(writer, shape, num_blocks, dense)
    listed = list(tensors(shape, num_blocks, DENSE[dense]))
    for tensor in listed:
        writer.add_tensor_info(
            tensor.name, tensor.shape, np.dtype(np.float32), tensor.num_bytes, tensor.type
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    patterns = random_patterns()
    for index, tensor in enumerate(listed):
        # Another start for each tensor, a whole group of 32 values each time.
        start = index * 997 * BYTES_OF_32[tensor.type]
        pattern = np.roll(patterns[tensor.type], -start)
        if tensor.name.endswith("norm.weight"):
            data = np.ones(tensor.shape, np.float32).view(np.uint8)
        else:
            data = np.resize(pattern, tensor.num_bytes)
        writer.write_tensor_data(data)
    writer.close()
    unfinished.rename(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", type=Path, help="the file to write; one that is there is replaced")
    parser.add_argument("--shape", choices=NUM_BLOCKS, default="20b")
    parser.add_argument("--blocks", type=int, help="write fewer or more than the model has")
    parser.add_argument("--dense", choices=DENSE, default="bf16", help="dense weights (bf16)")
    arguments = parser.parse_args()
    num_blocks = arguments.blocks or NUM_BLOCKS[arguments.shape]
    total = sum(t.num_bytes for t in tensors(arguments.shape, num_blocks, DENSE[arguments.dense]))
    print(f"writing {arguments.path}, {total / 1e9:.1f} GB", file=sys.stderr)
    write_file(arguments.path, arguments.shape, num_blocks, arguments.dense)


if __name__ == "__main__":
    main()
