"""What stands before the weights in a model.bin, version 1.0."""

from __future__ import annotations

import math
import struct
from uuid import UUID

from gptoss.convert.checkpoint_config import HEAD_DIM, CheckpointConfig
from gptoss.convert.tokenizer_source import Vocabulary

MAGIC = b"GPT-OSS v1.0\0\0\0\0"
MODEL_UUID = UUID("df52dc86-1789-4ed0-a295-66f10508145b").bytes
APPLE_GPU_LAYOUT_UUID = UUID("229177a8-5775-4268-bfd8-d588b351c56d").bytes
TIKTOKEN_UUID = UUID("7401aded-2a95-40cb-b782-9ccebaafe72b").bytes
SECTION_ALIGNMENT = 16384


def file_header(config: CheckpointConfig, vocabulary: Vocabulary) -> bytes:
    """Return everything that stands before the weights."""
    header = unpadded_header(config, vocabulary)
    return header + bytes(-len(header) % SECTION_ALIGNMENT)


def unpadded_header(config: CheckpointConfig, vocabulary: Vocabulary) -> bytes:
    """Return it up to the end of the vocabulary."""
    return MAGIC + _model_section(config) + APPLE_GPU_LAYOUT_UUID + _tokenizer_section(vocabulary)


def _model_section(config: CheckpointConfig) -> bytes:
    yarn_low, yarn_high = config.yarn_low, config.yarn_high
    return MODEL_UUID + struct.pack(
        "<6If4I6f",
        config.context_length,
        config.num_blocks,
        config.num_experts,
        config.num_active_experts,
        config.embedding_dim,
        config.mlp_dim,
        config.swiglu_limit,
        HEAD_DIM,
        config.num_heads,
        config.num_kv_heads,
        config.attention_window,
        config.rope_theta,
        1.0 / config.rope_scaling_factor,
        -yarn_low / (yarn_high - yarn_low),
        1.0 / (yarn_high - yarn_low),
        0.1 * math.log(config.rope_scaling_factor) + 1.0,
        config.rmsnorm_epsilon,
    )


def _tokenizer_section(vocabulary: Vocabulary) -> bytes:
    regex = vocabulary.regex.encode() + b"\0"
    tokens = b"".join(struct.pack("<H", len(token)) + token for token in vocabulary.text_tokens)
    counts = struct.pack(
        "<4I",
        len(vocabulary.special_uuids),
        len(vocabulary.text_tokens),
        len(regex),
        len(tokens),
    )
    return TIKTOKEN_UUID + counts + b"".join(vocabulary.special_uuids) + regex + tokens
