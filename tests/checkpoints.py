"""Random gpt-oss checkpoints of any shape, in the layouts in which checkpoints are published.

A checkpoint is a dictionary from OpenAI's tensor names to `Tensor`. Its weights are random but
sane: activations stay around 1, routing differs from token to token, and sinks, biases and norm
gains matter, so that an engine that forgets one of them gives visibly different logits. Everything
is plain numpy: bf16 is held as uint16.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from gptoss.vocabulary import format_tiktoken, load_o200k_base
from numpy.typing import NDArray

NUM_SPECIAL_TOKENS = 16

# The values of the 16 MXFP4 codes: bit 3 is the sign, bits 0 to 2 choose the magnitude.
MXFP4_VALUES = np.array(
    [sign * value for sign in (1.0, -1.0) for value in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)],
    np.float32,
)
MXFP4_ROOT_MEAN_SQUARE = float(np.sqrt(np.mean(MXFP4_VALUES**2)))


@dataclass(frozen=True)
class Shape:
    """Everything in a checkpoint's config.json; gpt-oss's values where tests can afford them."""

    num_blocks: int = 2
    num_experts: int = 4
    num_active_experts: int = 2
    hidden_size: int = 64
    intermediate_size: int = 64
    num_heads: int = 4
    num_kv_heads: int = 2
    head_dim: int = 64
    sliding_window: int = 128
    vocabulary_size: int = 464
    initial_context_length: int = 4096
    rope_theta: float = 150000
    rope_scaling_factor: float = 32
    rope_ntk_alpha: float = 1
    rope_ntk_beta: float = 32
    swiglu_limit: float = 7.0

    @property
    def num_qkv_rows(self) -> int:
        return self.head_dim * (self.num_heads + 2 * self.num_kv_heads)

    @property
    def num_text_tokens(self) -> int:
        return self.vocabulary_size - NUM_SPECIAL_TOKENS


TINY = Shape()
SHAPES = {
    "tiny": TINY,
    "one_expert": Shape(num_experts=1, num_active_experts=1),
    "three_active_experts": Shape(num_experts=8, num_active_experts=3),
    "all_experts_active": Shape(num_experts=4, num_active_experts=4),
    "five_blocks": Shape(num_blocks=5),
    "odd_hidden_size": Shape(hidden_size=32 * 5, intermediate_size=32 * 3),
    "one_head": Shape(num_heads=1, num_kv_heads=1),
    "sixteen_heads": Shape(num_heads=16, num_kv_heads=2),
    "window_of_one": Shape(sliding_window=1),
    "short_window": Shape(sliding_window=17, num_blocks=3),
}


@dataclass(frozen=True)
class Tensor:
    """A tensor as it is stored: BF16 as uint16, F16 and F32 as numpy's floats, U8 as uint8."""

    dtype: Literal["BF16", "F16", "F32", "U8"]
    data: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    def float32(self) -> NDArray[np.float32]:
        """The numbers that the tensor holds (a U8 tensor's bytes as numbers)."""
        return (
            float32_from_bf16(self.data) if self.dtype == "BF16" else self.data.astype(np.float32)
        )


Checkpoint = dict[str, Tensor]


def bf16_from_float32(values: NDArray[Any]) -> NDArray[np.uint16]:
    """Rounds finite numbers to bf16, to nearest, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def float32_from_bf16(values: NDArray[np.uint16]) -> NDArray[np.float32]:
    return (values.astype(np.uint32) << 16).view(np.float32)


def bf16(values: NDArray[Any]) -> Tensor:
    return Tensor("BF16", bf16_from_float32(values))


def dequantize_mxfp4(blocks: NDArray[np.uint8], scales: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Blocks [..., columns / 32, 16] and scales [..., columns / 32] as numbers [..., columns]."""
    codes = np.stack([blocks & 15, blocks >> 4], axis=-1).reshape(*scales.shape, 32)
    values = np.ldexp(MXFP4_VALUES[codes], scales[..., None].astype(np.int32) - 127)
    return values.reshape(*scales.shape[:-1], -1).astype(np.float32)


def random_checkpoint(shape: Shape, seed: int, embedding_scale: float = 1.0) -> Checkpoint:
    """A checkpoint with OpenAI's tensor names; the same arguments give the same bytes.

    An `embedding_scale` of 0.02 makes the first activations so small that the epsilon of RMSNorm
    matters.
    """
    random = np.random.default_rng(seed)

    def normal(*dimensions: int, deviation: float) -> Tensor:
        return bf16(random.standard_normal(dimensions, dtype=np.float32) * np.float32(deviation))

    def gain(size: int) -> Tensor:
        return bf16(1.0 + 0.25 * random.standard_normal(size, dtype=np.float32))

    def linear(rows: int, columns: int, magnitude: float) -> Tensor:
        """Weights whose outputs have about this magnitude for inputs of magnitude 1."""
        return normal(rows, columns, deviation=magnitude / math.sqrt(columns))

    def expert_weights(name: str, rows: int, columns: int, magnitude: float) -> Checkpoint:
        size = (shape.num_experts, rows, columns // 32)
        blocks = random.integers(0, 256, (*size, 16), dtype=np.uint8)
        # Every block's largest magnitude is 4 or 6: a quantiser finds exactly these scales and
        # codes.
        blocks[..., 0] = (blocks[..., 0] & 0xF8) | random.integers(6, 8, size, dtype=np.uint8)
        deviation = magnitude / math.sqrt(columns)
        exponent = round(math.log2(deviation / MXFP4_ROOT_MEAN_SQUARE))
        scales = (127 + exponent + random.integers(-1, 2, size)).astype(np.uint8)
        return {f"{name}.blocks": Tensor("U8", blocks), f"{name}.scales": Tensor("U8", scales)}

    hidden, intermediate, experts = shape.hidden_size, shape.intermediate_size, shape.num_experts
    checkpoint: Checkpoint = {
        "embedding.weight": normal(shape.vocabulary_size, hidden, deviation=embedding_scale)
    }
    for n in range(shape.num_blocks):
        attention, mlp = f"block.{n}.attn", f"block.{n}.mlp"
        checkpoint |= {
            f"{attention}.norm.scale": gain(hidden),
            f"{attention}.qkv.weight": linear(shape.num_qkv_rows, hidden, magnitude=1.25),
            f"{attention}.qkv.bias": normal(shape.num_qkv_rows, deviation=0.5),
            f"{attention}.sinks": normal(shape.num_heads, deviation=1.5),
            f"{attention}.out.weight": linear(
                hidden, shape.head_dim * shape.num_heads, magnitude=1.0
            ),
            f"{attention}.out.bias": normal(hidden, deviation=0.25),
            f"{mlp}.norm.scale": gain(hidden),
            f"{mlp}.gate.weight": linear(experts, hidden, magnitude=2.0),
            f"{mlp}.gate.bias": normal(experts, deviation=0.5),
            # Magnitude 3, so that some gates and ups exceed the SwiGLU limit of 7.
            **expert_weights(f"{mlp}.mlp1_weight", 2 * intermediate, hidden, magnitude=3.0),
            f"{mlp}.mlp1_bias": normal(experts, 2 * intermediate, deviation=0.5),
            **expert_weights(f"{mlp}.mlp2_weight", hidden, intermediate, magnitude=0.25),
            f"{mlp}.mlp2_bias": normal(experts, hidden, deviation=0.25),
        }
    checkpoint["norm.scale"] = gain(hidden)
    checkpoint["unembedding.weight"] = linear(shape.vocabulary_size, hidden, magnitude=3.0)
    return checkpoint


def checkpoint_hash(checkpoint: Mapping[str, Tensor]) -> str:
    """A sha256 over names, types, shapes and bytes: stored results name their checkpoint by it."""
    digest = hashlib.sha256()
    for name in sorted(checkpoint):
        tensor = checkpoint[name]
        digest.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
        digest.update(np.ascontiguousarray(tensor.data).tobytes())
    return digest.hexdigest()


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes a .safetensors file: the JSON header's length as u64, the header, the bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + tensor.data.nbytes
        header[name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor.data).tobytes())


def openai_config(shape: Shape) -> dict[str, Any]:
    return {
        "num_hidden_layers": shape.num_blocks,
        "num_experts": shape.num_experts,
        "experts_per_token": shape.num_active_experts,
        "vocab_size": shape.vocabulary_size,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "swiglu_limit": shape.swiglu_limit,
        "head_dim": shape.head_dim,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "sliding_window": shape.sliding_window,
        "initial_context_length": shape.initial_context_length,
        "rope_theta": shape.rope_theta,
        "rope_scaling_factor": shape.rope_scaling_factor,
        "rope_ntk_alpha": shape.rope_ntk_alpha,
        "rope_ntk_beta": shape.rope_ntk_beta,
    }


def write_openai_checkpoint(
    directory: Path, shape: Shape, checkpoint: Mapping[str, Tensor]
) -> None:
    """Writes the layout of the `original/` folder: config.json and one model.safetensors."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(openai_config(shape), indent=1))
    write_safetensors(directory / "model.safetensors", checkpoint)


def hugging_face_config(
    shape: Shape, experts: Literal["mxfp4", "bf16"] = "mxfp4"
) -> dict[str, Any]:
    config: dict[str, Any] = {
        "architectures": ["GptOssForCausalLM"],
        "attention_bias": True,
        "attention_dropout": 0.0,
        "eos_token_id": shape.num_text_tokens + 4,
        "experts_per_token": shape.num_active_experts,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "hidden_size": shape.hidden_size,
        "initial_context_length": shape.initial_context_length,
        "initializer_range": 0.02,
        "intermediate_size": shape.intermediate_size,
        "layer_types": [
            "full_attention" if n % 2 else "sliding_attention" for n in range(shape.num_blocks)
        ],
        "max_position_embeddings": int(shape.initial_context_length * shape.rope_scaling_factor),
        "model_type": "gpt_oss",
        "num_attention_heads": shape.num_heads,
        "num_experts_per_tok": shape.num_active_experts,
        "num_hidden_layers": shape.num_blocks,
        "num_key_value_heads": shape.num_kv_heads,
        "num_local_experts": shape.num_experts,
        "output_router_logits": False,
        "pad_token_id": shape.num_text_tokens + 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": {
            "beta_fast": shape.rope_ntk_beta,
            "beta_slow": shape.rope_ntk_alpha,
            "factor": shape.rope_scaling_factor,
            "original_max_position_embeddings": shape.initial_context_length,
            "rope_type": "yarn",
            "truncate": False,
        },
        "rope_theta": shape.rope_theta,
        "router_aux_loss_coef": 0.9,
        "sliding_window": shape.sliding_window,
        "swiglu_limit": shape.swiglu_limit,
        "tie_word_embeddings": False,
        "use_cache": True,
        "vocab_size": shape.vocabulary_size,
    }
    if experts == "mxfp4":
        config["quantization_config"] = {
            "modules_to_not_convert": [
                "model.layers.*.self_attn",
                "model.layers.*.mlp.router",
                "model.embed_tokens",
                "lm_head",
            ],
            "quant_method": "mxfp4",
        }
    else:
        config["torch_dtype"] = "bfloat16"
    return config


def hugging_face_tensors(
    shape: Shape, checkpoint: Mapping[str, Tensor], experts: Literal["mxfp4", "bf16"] = "mxfp4"
) -> Checkpoint:
    """The same numbers under Hugging Face's names: q, k and v apart.

    With `experts="bf16"` the experts are dequantised, which is exact, and transposed.
    """
    tensors: Checkpoint = {"model.embed_tokens.weight": checkpoint["embedding.weight"]}
    num_query_rows = shape.head_dim * shape.num_heads
    num_kv_rows = shape.head_dim * shape.num_kv_heads
    for n in range(shape.num_blocks):
        block, layer = f"block.{n}", f"model.layers.{n}"
        tensors[f"{layer}.input_layernorm.weight"] = checkpoint[f"{block}.attn.norm.scale"]
        for kind in ("weight", "bias"):
            query, key, value = np.split(
                checkpoint[f"{block}.attn.qkv.{kind}"].data,
                [num_query_rows, num_query_rows + num_kv_rows],
            )
            tensors[f"{layer}.self_attn.q_proj.{kind}"] = Tensor("BF16", query)
            tensors[f"{layer}.self_attn.k_proj.{kind}"] = Tensor("BF16", key)
            tensors[f"{layer}.self_attn.v_proj.{kind}"] = Tensor("BF16", value)
            tensors[f"{layer}.self_attn.o_proj.{kind}"] = checkpoint[f"{block}.attn.out.{kind}"]
            tensors[f"{layer}.mlp.router.{kind}"] = checkpoint[f"{block}.mlp.gate.{kind}"]
        tensors[f"{layer}.self_attn.sinks"] = checkpoint[f"{block}.attn.sinks"]
        tensors[f"{layer}.post_attention_layernorm.weight"] = checkpoint[f"{block}.mlp.norm.scale"]
        for ours, theirs in (("mlp1", "gate_up_proj"), ("mlp2", "down_proj")):
            name = f"{layer}.mlp.experts.{theirs}"
            blocks = checkpoint[f"{block}.mlp.{ours}_weight.blocks"]
            scales = checkpoint[f"{block}.mlp.{ours}_weight.scales"]
            if experts == "mxfp4":
                tensors[f"{name}_blocks"], tensors[f"{name}_scales"] = blocks, scales
            else:
                # [experts, rows, columns] becomes [experts, columns, rows].
                values = dequantize_mxfp4(blocks.data, scales.data)
                tensors[name] = bf16(np.swapaxes(values, 1, 2))
            tensors[f"{name}_bias"] = checkpoint[f"{block}.mlp.{ours}_bias"]
    tensors["model.norm.weight"] = checkpoint["norm.scale"]
    tensors["lm_head.weight"] = checkpoint["unembedding.weight"]
    return tensors


def write_hugging_face_checkpoint(
    directory: Path,
    shape: Shape,
    checkpoint: Mapping[str, Tensor],
    experts: Literal["mxfp4", "bf16"] = "mxfp4",
    shards: int = 2,
) -> None:
    """Writes config.json, the shards and, for more than one shard, model.safetensors.index.json."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(
        json.dumps(hugging_face_config(shape, experts), indent=1)
    )
    tensors = hugging_face_tensors(shape, checkpoint, experts)
    if shards == 1:
        write_safetensors(directory / "model.safetensors", tensors)
        return
    names = list(tensors)
    shard_of_tensor: dict[str, str] = {}
    for shard in range(shards):
        file_name = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        chosen = names[len(names) * shard // shards : len(names) * (shard + 1) // shards]
        write_safetensors(directory / file_name, {name: tensors[name] for name in chosen})
        shard_of_tensor |= dict.fromkeys(chosen, file_name)
    index = {
        "metadata": {"total_size": sum(tensor.data.nbytes for tensor in tensors.values())},
        "weight_map": shard_of_tensor,
    }
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))


def write_vocabulary(path: Path, num_text_tokens: int) -> Path:
    """Writes the first tokens of o200k_base as a .tiktoken file and returns its path.

    `path` is the file, or a directory, in which the file is `vocabulary.tiktoken`. A checkpoint of
    shape S goes with `S.num_text_tokens` tokens: the 16 special tokens follow them.
    """
    if path.is_dir():
        path = path / "vocabulary.tiktoken"
    path.write_bytes(format_tiktoken(load_o200k_base()[:num_text_tokens]))
    return path
