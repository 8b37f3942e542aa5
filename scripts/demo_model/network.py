"""The gpt-oss architecture in the size of the demo model, for training.

A batch holds all its tokens in one row, without padding: first those of the prompts, then those of
the exchanges, each of which continues one prompt. Only attention needs the structure, which
packing.py explains.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from demo_model.mxfp4 import round_straight_through
from demo_model.packing import Batch, Bucket
from demo_model.vocabulary import NUM_TOKENS


@dataclass(frozen=True)
class Config:
    """OpenAI's config.json, name for name."""

    num_hidden_layers: int = 4
    num_experts: int = 8
    experts_per_token: int = 2
    vocab_size: int = NUM_TOKENS
    hidden_size: int = 128
    intermediate_size: int = 128
    swiglu_limit: float = 7.0
    head_dim: int = 64
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    sliding_window: int = 128
    initial_context_length: int = 4096
    rope_theta: int = 150000
    rope_scaling_factor: float = 32.0
    rope_ntk_alpha: float = 1.0
    rope_ntk_beta: float = 32.0

    def as_json(self) -> dict[str, int | float]:
        """Return the contents of config.json."""
        return asdict(self)


def rope_frequencies(config: Config) -> tuple[Tensor, float]:
    """Compute YaRN's angles per position, [head_dim / 2], and the factor on sines and cosines."""
    half = config.head_dim // 2
    base, factor = float(config.rope_theta), config.rope_scaling_factor
    index = torch.arange(half, dtype=torch.float64)
    unscaled = base ** (-index / half)

    def dimension(rotations: float) -> float:
        """Find the dimension that turns this often within the initial context."""
        return (
            half
            * math.log(config.initial_context_length / (2 * math.pi * rotations))
            / math.log(base)
        )

    low, high = dimension(config.rope_ntk_beta), dimension(config.rope_ntk_alpha)
    ramp = ((index - low) / (high - low)).clamp(0, 1)
    return (unscaled * (1 - ramp) + unscaled / factor * ramp).float(), 0.1 * math.log(factor) + 1


def rotate(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotate heads [tokens, heads, head_dim]; cosine and sine: [tokens, 1, head_dim / 2]."""
    first, second = heads.chunk(2, -1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)


def rms_norm(values: Tensor, scale: Tensor) -> Tensor:
    return functional.rms_norm(values, (values.shape[-1],), scale, 1e-5)


_flash_forward: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class _SinkAttention(torch.autograd.Function):
    """Attention with a sink logit per head, on the flash kernel.

    The sink only enlarges the denominator: the output is the kernel's, scaled by the ratio of both
    denominators, and the kernel's backward pass is right as it is when it gets the larger one.
    """

    @staticmethod
    def forward(
        context: Any, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, sinks: Tensor
    ) -> Tensor:
        """Attend; queries, keys and values are [sequences, heads, tokens, head_dim]."""
        unscaled, log_sum = _flash_forward(queries, keys, values, 0.0, False, attn_mask=mask)
        with_sink = torch.logaddexp(log_sum, sinks.view(1, -1, 1).expand_as(log_sum))
        output: Tensor = unscaled * torch.exp(log_sum - with_sink)[..., None]
        context.save_for_backward(queries, keys, values, mask, sinks, output, with_sink)
        return output

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Differentiate by all but the mask."""
        (gradient,) = gradients
        queries, keys, values, mask, sinks, output, with_sink = context.saved_tensors
        to_queries, to_keys, to_values = _flash_backward(
            gradient, queries, keys, values, output, with_sink, 0.0, False, attn_mask=mask
        )
        share = torch.exp(sinks.view(1, -1, 1) - with_sink)
        to_sinks = -(share * (gradient * output).sum(-1)).sum((0, 2))
        return to_queries, to_keys, to_values, None, to_sinks


def sink_attention(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, sinks: Tensor
) -> Tensor:
    """Attend over [sequences, heads, tokens, head_dim]; the mask is added, sinks are [heads]."""
    apply: Any = _SinkAttention.apply
    output: Tensor = apply(queries, keys, values, mask, sinks)
    return output


class Block(nn.Module):
    """The parameters of one layer, in OpenAI's orientation [out, in]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        hidden, inner, experts = config.hidden_size, config.intermediate_size, config.num_experts
        query_size = config.num_attention_heads * config.head_dim
        qkv_size = query_size + 2 * config.num_key_value_heads * config.head_dim

        def normal(*shape: int, gain: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape) * gain * shape[-1] ** -0.5)

        self.attention_norm = nn.Parameter(torch.ones(hidden))
        self.qkv_weight = normal(qkv_size, hidden, gain=0.7)
        self.qkv_bias = nn.Parameter(torch.zeros(qkv_size))
        self.sinks = nn.Parameter(torch.zeros(config.num_attention_heads))
        self.out_weight = normal(hidden, query_size, gain=0.3)
        self.out_bias = nn.Parameter(torch.zeros(hidden))
        self.mlp_norm = nn.Parameter(torch.ones(hidden))
        self.router_weight = normal(experts, hidden, gain=1.0)
        self.router_bias = nn.Parameter(torch.zeros(experts))
        self.mlp1_weight = normal(experts, 2 * inner, hidden, gain=0.8)
        self.mlp1_bias = nn.Parameter(torch.zeros(experts, 2 * inner))
        self.mlp2_weight = normal(experts, hidden, inner, gain=0.3)
        self.mlp2_bias = nn.Parameter(torch.zeros(experts, hidden))


class Network(nn.Module):
    """The model. Set `quantisation_aware` to train against the rounding of the experts' weights."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden_size
        self.embedding = nn.Parameter(torch.randn(config.vocab_size, hidden) * 0.5)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.Parameter(torch.ones(hidden))
        self.unembedding = nn.Parameter(torch.randn(config.vocab_size, hidden) * 0.5 * hidden**-0.5)
        self.frequencies, self.concentration = rope_frequencies(config)
        self.quantisation_aware = False

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Compute logits [trained tokens, vocabulary] and the routers' mean balance loss."""
        hidden = functional.embedding(batch.tokens, self.embedding)  # [tokens, hidden]
        angles = batch.positions.float()[:, None] * self.frequencies
        cosine = (angles.cos() * self.concentration)[:, None]
        sine = (angles.sin() * self.concentration)[:, None]
        balance = torch.zeros(())
        for index, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            hidden = hidden + self._attention(
                block, batch, hidden, cosine, sine, is_sliding=index % 2 == 0
            )
            hidden, layer_balance = self._experts(block, hidden)
            balance = balance + layer_balance / len(self.blocks)
        selected = rms_norm(hidden.index_select(0, batch.trained), self.norm)
        return selected @ self.unembedding.T, balance

    def _attention(
        self,
        block: Block,
        batch: Batch,
        hidden: Tensor,
        cosine: Tensor,
        sine: Tensor,
        is_sliding: bool,
    ) -> Tensor:
        config = self.config
        num_tokens, head_dim = hidden.shape[0], config.head_dim
        num_heads, num_kv_heads = config.num_attention_heads, config.num_key_value_heads
        qkv = rms_norm(hidden, block.attention_norm) @ block.qkv_weight.T + block.qkv_bias
        queries, keys, values = torch.split(
            qkv, [num_heads * head_dim, num_kv_heads * head_dim, num_kv_heads * head_dim], -1
        )
        queries = rotate(queries.view(num_tokens, num_heads, head_dim), cosine, sine)
        keys = rotate(keys.view(num_tokens, num_kv_heads, head_dim), cosine, sine)
        values = values.view(num_tokens, num_kv_heads, head_dim)

        def padded(rows: Tensor, part: Bucket) -> Tensor:
            """Pad a bucket's [rows, heads, head_dim] to [sequences, length, heads, head_dim]."""
            flat = torch.zeros(part.num_sequences * part.length, rows.shape[1], head_dim)
            flat = flat.index_copy_(0, part.places, rows[part.rows])
            return flat.view(part.num_sequences, part.length, rows.shape[1], head_dim)

        def per_query_head(rows: Tensor) -> Tensor:
            return rows.repeat_interleave(num_heads // num_kv_heads, 2).transpose(1, 2)

        def attend(part: Bucket, part_keys: Tensor, part_values: Tensor) -> Tensor:
            mask = part.sliding_mask if is_sliding else part.full_mask
            part_queries = padded(queries, part).transpose(1, 2)
            output = sink_attention(
                part_queries,
                per_query_head(part_keys),
                per_query_head(part_values),
                mask,
                block.sinks,
            )
            flat = output.transpose(1, 2).reshape(-1, num_heads * head_dim)
            return flat.index_select(0, part.places)

        prompt_keys, prompt_values = padded(keys, batch.prompts), padded(values, batch.prompts)
        outputs = [attend(batch.prompts, prompt_keys, prompt_values)]
        # A sliding layer's exchanges see only the end of their prompt.
        first = max(0, batch.prompts.length - config.sliding_window + 1) if is_sliding else 0
        for bucket in batch.exchanges:
            outputs.append(
                attend(
                    bucket,
                    torch.cat(
                        [
                            prompt_keys[:, first:].index_select(0, bucket.prompt),
                            padded(keys, bucket),
                        ],
                        1,
                    ),
                    torch.cat(
                        [
                            prompt_values[:, first:].index_select(0, bucket.prompt),
                            padded(values, bucket),
                        ],
                        1,
                    ),
                )
            )
        return torch.cat(outputs) @ block.out_weight.T + block.out_bias

    def _experts(self, block: Block, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Add the experts' output; also the balance loss, 1 when all experts are used alike."""
        config = self.config
        limit, num_experts, chosen = (
            config.swiglu_limit,
            config.num_experts,
            config.experts_per_token,
        )
        normed = rms_norm(hidden, block.mlp_norm)
        router_logits = normed @ block.router_weight.T + block.router_bias
        top_logits, top_experts = router_logits.topk(chosen, -1)
        weights = top_logits.softmax(-1)
        share = (
            functional.one_hot(top_experts, num_experts).float().sum((0, 1)) / top_experts.numel()
        )
        balance = num_experts * (share * router_logits.softmax(-1).mean(0)).sum()

        # (token, choice) pairs, grouped by expert
        order = top_experts.flatten().argsort(stable=True)
        counts = torch.bincount(top_experts.flatten(), minlength=num_experts).tolist()
        rows = order // chosen
        inputs = normed.index_select(0, rows)
        mlp1_weight: Tensor = block.mlp1_weight
        mlp2_weight: Tensor = block.mlp2_weight
        if self.quantisation_aware:
            mlp1_weight = round_straight_through(mlp1_weight)
            mlp2_weight = round_straight_through(mlp2_weight)
        outputs = []
        start = 0
        for expert, count in enumerate(counts):
            inner = inputs[start : start + count] @ mlp1_weight[expert].T + block.mlp1_bias[expert]
            gate = inner[:, ::2].clamp(max=limit)
            linear = inner[:, 1::2].clamp(-limit, limit)
            activated = gate * torch.sigmoid(1.702 * gate) * (linear + 1)
            outputs.append(activated @ mlp2_weight[expert].T + block.mlp2_bias[expert])
            start += count
        weighted = torch.cat(outputs) * weights.flatten()[order][:, None]
        return hidden.index_add(0, rows, weighted), balance
