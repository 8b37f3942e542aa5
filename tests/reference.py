"""The whole model in plain numpy: the slow truth that everything fast is compared with.

`forward` reads from top to bottom as the model computes. It takes a checkpoint in OpenAI's
original layout, as numbers and names stand in the file (bf16 and MXFP4 as raw integers), so it
shares nothing with model.bin, its transforms or the engine. Arrays carry their shape: n tokens,
E hidden size, I expert width, H query heads, G key/value heads, D head size, V vocabulary.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]

MXFP4_VALUES = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
SWIGLU_ALPHA = 1.702
RMSNORM_EPSILON = 1e-5

# How far an engine with fp32 activations and an fp16 cache may be from `forward` in fp64 with the
# same cache. Not less, because fp32 and fp64 put about one key or value in 5,000 on different sides
# of an fp16 rounding, and every block amplifies that: this file in fp32 is as far from itself in
# fp64 as the engine is (at most 1.9e-3 with two blocks and 5.7e-3 with five, at 300 tokens).
MAX_LOGIT_DIFFERENCE_PER_BLOCK = 2e-3
MAX_MEAN_KL = 5e-7


@dataclass(frozen=True)
class Output:
    logits: Array  # [n, V]
    # The narrowest gap, over all blocks, between the last expert chosen and the first one left out.
    router_margins: Array  # [n]


def forward(
    checkpoint: Mapping[str, Array],
    config: Mapping[str, Any],
    tokens: Sequence[int],
    dtype: DTypeLike = np.float64,
    cache_dtype: DTypeLike | None = None,
    first_position: int = 0,
) -> Output:
    """Logits after every one of `tokens`.

    `config` is the checkpoint's config.json. All arithmetic is in `dtype`. `cache_dtype` rounds
    keys and values as an engine's cache of that type would. `first_position` is the position of
    the first token, with nothing before it.
    """

    def bf16(name: str) -> Array:
        stored = checkpoint[name]
        # Numbers that a test has rounded in another way come as they are.
        values = bf16_to_float(stored) if stored.dtype == np.uint16 else stored
        return values.astype(dtype)

    def cached(x: Array) -> Array:
        return x if cache_dtype is None else x.astype(cache_dtype).astype(dtype)

    num_heads, num_kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    cos, sin = rotation(first_position + np.arange(len(tokens)), config, dtype)  # [n, D/2]
    router_margins = np.full(len(tokens), np.inf)

    x = embed(bf16("embedding.weight"), tokens)  # [n, E]
    for block in range(config["num_hidden_layers"]):
        attn, mlp = f"block.{block}.attn.", f"block.{block}.mlp."

        t = rms_norm(x, bf16(attn + "norm.scale"))
        qkv = linear(t, bf16(attn + "qkv.weight"), bf16(attn + "qkv.bias"))  # [n, (H + G + G) D]
        q, k, v = split_heads(qkv, num_heads, num_kv_heads)  # [n, H, D], [n, G, D], [n, G, D]
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        window = config["sliding_window"] if slides(block) else None
        t = attention(q, cached(k), cached(v), bf16(attn + "sinks"), window)  # [n, H D]
        x = x + linear(t, bf16(attn + "out.weight"), bf16(attn + "out.bias"))

        t = rms_norm(x, bf16(mlp + "norm.scale"))
        router_logits = linear(
            t, bf16(mlp + "gate.weight"), bf16(mlp + "gate.bias")
        )  # [n, experts]
        chosen, weights, margins = route(
            router_logits, config["experts_per_token"]
        )  # [n, active], [n, active], [n]
        router_margins = np.minimum(router_margins, margins)
        y = np.zeros_like(x)
        for expert in np.unique(chosen):
            row, slot = np.nonzero(chosen == expert)
            w1, w2 = (
                mxfp4_to_float(
                    checkpoint[f"{mlp}{w}.blocks"][expert], checkpoint[f"{mlp}{w}.scales"][expert]
                )
                for w in ("mlp1_weight", "mlp2_weight")
            )  # [2I, E], [E, I]
            h = linear(t[row], w1.astype(dtype), bf16(mlp + "mlp1_bias")[expert])  # [rows, 2I]
            h = swiglu(h, config["swiglu_limit"])  # [rows, I]
            y[row] += weigh_expert(
                h, w2.astype(dtype), bf16(mlp + "mlp2_bias")[expert], weights[row, slot]
            )
        x = x + y

    x = rms_norm(x, bf16("norm.scale"))
    return Output(linear(x, bf16("unembedding.weight")), router_margins)


def embed(table: Array, tokens: Sequence[int]) -> Array:
    """Row lookup, no scaling. [V, E], [n] -> [n, E]"""
    rows: Array = table[np.asarray(tokens)]
    return rows


def rms_norm(x: Array, gain: Array) -> Array:
    y: Array = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + RMSNORM_EPSILON) * gain
    return y


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """[n, in], [out, in], [out] -> [n, out]"""
    y: Array = x @ weight.T
    return y if bias is None else y + bias


def split_heads(qkv: Array, num_heads: int, num_kv_heads: int) -> tuple[Array, Array, Array]:
    """The rows of qkv are all query heads, then all key heads, then all value heads."""
    heads = qkv.reshape(len(qkv), num_heads + 2 * num_kv_heads, -1)
    q, k, v = np.split(heads, [num_heads, num_heads + num_kv_heads], axis=1)
    return q, k, v


def inverse_frequencies(config: Mapping[str, Any]) -> Array:
    """YaRN: fast pairs rotate as trained, slow ones `factor` times slower, a ramp between. [D/2]"""
    num_pairs: int = config["head_dim"] // 2
    base: float = config["rope_theta"]
    factor: float = config["rope_scaling_factor"]

    def pair_that_makes(rotations: float) -> float:
        """The pair, not rounded, that turns so many times in the original context."""
        wavelength = config["initial_context_length"] / rotations
        return num_pairs * math.log(wavelength / (2 * math.pi)) / math.log(base)

    low, high = pair_that_makes(config["rope_ntk_beta"]), pair_that_makes(config["rope_ntk_alpha"])
    j = np.arange(num_pairs)
    extrapolated: Array = base ** (-j / num_pairs)
    ramp = np.clip((j - low) / (high - low), 0, 1)
    frequencies: Array = extrapolated * (1 - ramp) + extrapolated / factor * ramp
    return frequencies


def concentration(factor: float) -> float:
    """How much YaRN sharpens attention: it multiplies cos and sin, of queries and of keys."""
    return 0.1 * math.log(factor) + 1


def rotation(positions: Array, config: Mapping[str, Any], dtype: DTypeLike) -> tuple[Array, Array]:
    """cos and sin, [n, D/2] each. The model's angle is an fp32 product, so it is one here."""
    angle = positions.astype(np.float32)[:, None] * inverse_frequencies(config).astype(np.float32)
    scale = concentration(config["rope_scaling_factor"])
    wide = angle.astype(np.float64)
    return (np.cos(wide) * scale).astype(dtype), (np.sin(wide) * scale).astype(dtype)


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Rotates the pairs (j, j + D/2) of every head. [n, heads, D]"""
    a, b = np.split(x, 2, axis=-1)
    cos, sin = cos[:, None], sin[:, None]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def slides(block: int) -> bool:
    return block % 2 == 0


def attention(q: Array, k: Array, v: Array, sinks: Array, window: int | None) -> Array:
    """[n, H, D], [n, G, D], [n, G, D], [H] -> [n, H D].

    Queries go in pieces, which bounds the memory that a long context takes.
    """
    n, num_heads, head_dim = q.shape
    out = np.empty_like(q)
    for first in range(0, n, 256):
        i = np.arange(first, min(first + 256, n))[:, None]
        begin = 0 if window is None else max(0, first - window + 1)
        j = np.arange(begin, i[-1, 0] + 1)
        visible = j <= i if window is None else (j <= i) & (j > i - window)  # [piece, keys]
        for h in range(num_heads):
            g = h // (num_heads // k.shape[1])
            scores = q[i[:, 0], h] @ k[j, g].T / math.sqrt(head_dim)  # [piece, keys]
            out[i[:, 0], h] = (
                softmax_with_sink(np.where(visible, scores, -np.inf), sinks[h]) @ v[j, g]
            )
    return out.reshape(n, -1)


def softmax_with_sink(scores: Array, sink: Array) -> Array:
    """The sink takes its share of the probability and has no value to give. [queries, keys]"""
    top = np.maximum(scores.max(axis=-1, keepdims=True), sink)
    exp = np.exp(scores - top)
    shares: Array = exp / (exp.sum(axis=-1, keepdims=True) + np.exp(sink - top))
    return shares


def route(logits: Array, active: int) -> tuple[Array, Array, Array]:
    """The best experts (the lowest index on a tie), softmax over only these, and the margin.

    [n, experts] -> [n, active], [n, active], [n]
    """
    order = np.argsort(-logits, axis=-1, kind="stable")
    ranked = np.take_along_axis(logits, order, axis=-1)
    exp = np.exp(ranked[:, :active] - ranked[:, :1])
    everyone = ranked.shape[1] == active
    margins = (
        np.full(len(logits), np.inf) if everyone else ranked[:, active - 1] - ranked[:, active]
    )
    return order[:, :active], exp / exp.sum(axis=-1, keepdims=True), margins


def swiglu(h: Array, limit: float) -> Array:
    """Gate and up rows alternate. [n, 2I] -> [n, I]"""
    gate, up = np.minimum(h[:, 0::2], limit), np.clip(h[:, 1::2], -limit, limit)
    activated: Array = gate / (1 + np.exp(-SWIGLU_ALPHA * gate)) * (up + 1)
    return activated


def weigh_expert(h: Array, weight: Array, bias: Array, share: Array) -> Array:
    """The bias is the expert's own, so its routing share covers it too.

    [n, I], [E, I], [E], [n] -> [n, E]
    """
    return linear(h, weight, bias) * share[:, None]


def bf16_to_float(bits: Array) -> Array:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def mxfp4_to_float(blocks: Array, scales: Array) -> Array:
    """[rows, columns/32, 16], [rows, columns/32] -> [rows, columns]; low nibbles: even columns."""
    codes = np.stack([blocks & 15, blocks >> 4], axis=-1)  # [rows, columns/32, 16, 2]
    values = MXFP4_VALUES[codes].reshape(*blocks.shape[:-1], 32)
    weights: Array = np.ldexp(values, scales.astype(np.int32)[..., None] - 127)
    return weights.reshape(len(blocks), -1)
