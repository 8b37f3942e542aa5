"""The built-in demo model as the checkpoint that it was converted from, and conversations for it.

What the converter does to a checkpoint is undone here (docs/model-format.md, "What differs from a
checkpoint"), so that tests/reference.py can say what a trained model computes.
"""

from __future__ import annotations

import functools
from typing import Any

import gptoss
import numpy as np
import reference
from checkpoints import bf16_from_float32
from demo_model.conversations import SKILL_WEIGHTS, ConversationGenerator
from numpy.typing import NDArray

Array = NDArray[Any]

# Exact powers of two that the converter moves from the attention's scores into the weights.
QUERY_SCALE, KEY_SCALE = 0.5, 0.25
SCALE_OFFSET = 14


@functools.cache
def demo_checkpoint() -> dict[str, Array]:
    """By OpenAI's names, as the numbers stand in a checkpoint."""
    model = gptoss.Model(backend="cpu", threads=1)
    config = model.config
    content = np.frombuffer(model.path.read_bytes(), np.uint8)
    tensors: dict[str, Array] = {}
    for tensor in model.tensors:
        data = content[tensor.offset : tensor.offset + tensor.num_bytes]
        values = (data.view(np.uint16) if tensor.dtype == "bf16" else data).reshape(tensor.shape)
        if ".attn.qkv." in tensor.name:
            values = _without_attention_transforms(values, config)
        elif tensor.dtype == "mxfp4_scales":
            values = values - np.uint8(SCALE_OFFSET)
        tensors[tensor.name] = values
    for block in range(config.num_blocks):
        prefix = f"block.{block}.mlp."
        first_expert = f"{prefix}experts.0."
        for name in [key.removeprefix(first_expert) for key in tensors if first_expert in key]:
            tensors[prefix + name] = np.stack(
                [
                    tensors.pop(f"{prefix}experts.{expert}.{name}")
                    for expert in range(config.num_experts)
                ]
            )
    return tensors


def _without_attention_transforms(values: Array, config: gptoss.ModelConfig) -> Array:
    """Rows of qkv, or its biases: halves of a head that rotate together are apart again."""
    heads = reference.bf16_to_float(values).reshape(-1, 32, 2, values[0].size)
    heads = heads.swapaxes(1, 2).copy()  # row 2j + s was row 32s + j
    num_turned = config.num_heads + config.num_kv_heads
    heads[: config.num_heads] /= QUERY_SCALE
    heads[config.num_heads : num_turned] /= KEY_SCALE
    plain = reference.bf16_to_float(values).reshape(heads.shape)
    heads[num_turned:] = plain[num_turned:]  # values do not rotate
    return bf16_from_float32(heads.reshape(values.shape))


def demo_config() -> dict[str, Any]:
    """As its config.json has it."""
    config = gptoss.Model(backend="cpu", threads=1).config
    return {
        "num_hidden_layers": config.num_blocks,
        "num_experts": config.num_experts,
        "experts_per_token": config.num_active_experts,
        "vocab_size": config.vocabulary_size,
        "hidden_size": config.embedding_dim,
        "intermediate_size": config.mlp_dim,
        "swiglu_limit": config.swiglu_limit,
        "head_dim": config.head_dim,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "sliding_window": config.attention_window,
        "initial_context_length": 4096,
        "rope_theta": config.rope_theta,
        "rope_scaling_factor": 1 / config.interpolation_scale,
        "rope_ntk_alpha": 1.0,
        "rope_ntk_beta": 32.0,
    }


def demo_conversations(count: int, seed: int = 11) -> list[list[int]]:
    """Prompts with none, one or two earlier exchanges and an answer, none of them trained on."""
    generator = ConversationGenerator(gptoss.Model().tokenizer, seed, held_out=True)
    skills = list(SKILL_WEIGHTS)
    tools = {"weather": True, "unknown city": True, "weather without tool": False}
    conversations = []
    for index in range(count):
        skill = skills[index % len(skills)]
        has_tool = tools.get(skill, index % 2 == 0)
        prompt = generator.prompt(None, has_tool, index % 3)
        exchange = generator.exchange(prompt.effort, has_tool, skill)
        conversations.append([*prompt.tokens, *exchange.tokens])
    return conversations
