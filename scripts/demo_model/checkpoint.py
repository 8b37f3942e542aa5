"""The training state, to go on after an interruption, and the finished model in OpenAI's layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from gptoss.tokenizer import Tokenizer
from gptoss.vocabulary import format_tiktoken
from safetensors.torch import save_file
from torch import Tensor

from demo_model.mxfp4 import pack
from demo_model.network import Network
from demo_model.vocabulary import NUM_TEXT_TOKENS

# Our name of a layer's parameter -> OpenAI's. The experts' matrices become `.blocks` and `.scales`.
_LAYER_NAMES = {
    "attention_norm": "attn.norm.scale",
    "qkv_weight": "attn.qkv.weight",
    "qkv_bias": "attn.qkv.bias",
    "sinks": "attn.sinks",
    "out_weight": "attn.out.weight",
    "out_bias": "attn.out.bias",
    "mlp_norm": "mlp.norm.scale",
    "router_weight": "mlp.gate.weight",
    "router_bias": "mlp.gate.bias",
    "mlp1_bias": "mlp.mlp1_bias",
    "mlp2_bias": "mlp.mlp2_bias",
}
_EXPERT_NAMES = {"mlp1_weight": "mlp.mlp1_weight", "mlp2_weight": "mlp.mlp2_weight"}


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write beside and rename, so that an interruption leaves the earlier state whole."""
    partial = path.with_name(path.name + ".partial")
    torch.save(state, partial)
    partial.replace(path)


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote; only for files of one's own, since it unpickles."""
    state: dict[str, Any] = torch.load(path, weights_only=False)
    return state


def save_model(directory: Path, network: Network, tokenizer: Tokenizer) -> dict[str, int]:
    """Write config.json, model.safetensors and vocabulary.tiktoken; return their sizes in bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}

    def add(name: str, values: Tensor) -> None:
        tensors[name] = values.detach().to(torch.bfloat16).contiguous()

    add("embedding.weight", network.embedding)
    add("unembedding.weight", network.unembedding)
    add("norm.scale", network.norm)
    for index, layer in enumerate(network.blocks):
        for ours, theirs in _LAYER_NAMES.items():
            add(f"block.{index}.{theirs}", getattr(layer, ours))
        for ours, theirs in _EXPERT_NAMES.items():
            blocks, scales = pack(getattr(layer, ours))
            tensors[f"block.{index}.{theirs}.blocks"] = blocks
            tensors[f"block.{index}.{theirs}.scales"] = scales
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    config = json.dumps(network.config.as_json(), indent=2)
    (directory / "config.json").write_text(config + "\n", encoding="utf-8")
    text_tokens = [tokenizer.token_bytes(token) for token in range(NUM_TEXT_TOKENS)]
    (directory / "vocabulary.tiktoken").write_bytes(format_tiktoken(text_tokens))
    names = ("config.json", "model.safetensors", "vocabulary.tiktoken")
    return {name: (directory / name).stat().st_size for name in names}
