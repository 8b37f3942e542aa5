"""The shapes of models that can be measured without a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

# Of OpenAI's config.json, what gpt-oss-20b and gpt-oss-120b have in common.
_GPT_OSS: dict[str, Any] = {
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


@dataclass(frozen=True)
class Shape:
    """A model without its weights."""

    name: str
    config: dict[str, Any]
    """As a checkpoint's config.json has it, in OpenAI's original layout."""

    @property
    def num_blocks(self) -> int:
        """Layers."""
        return int(self.config["num_hidden_layers"])

    def with_blocks(self, num_blocks: int) -> Shape:
        """The same with another number of layers."""
        if not 1 <= num_blocks <= 1024:
            raise ValueError(f"The number of blocks must be from 1 to 1024, not {num_blocks}.")
        return replace(self, config=self.config | {"num_hidden_layers": num_blocks})


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("20b", _GPT_OSS | {"num_hidden_layers": 24, "num_experts": 32}),
        Shape("120b", _GPT_OSS | {"num_hidden_layers": 36, "num_experts": 128}),
        # As wide as the demo model, but with the vocabulary of the real ones: for trying out.
        Shape(
            "demo",
            _GPT_OSS
            | {
                "num_hidden_layers": 4,
                "num_experts": 8,
                "experts_per_token": 2,
                "hidden_size": 128,
                "intermediate_size": 128,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
            },
        ),
    )
}
