#!/usr/bin/env python3
"""Prints what approximations of single products would cost the demo model, as a Markdown table.

numpy in fp64, but for what a row names: inputs of products rounded to bf16 or to int8 planes (per
row and block of 32 inputs, scale = largest magnitude / 127; a second plane holds what the first one
leaves, in steps 254 times finer), weights rounded to 8 bits with an fp16 scale for 32, or keys and
values rounded to fp16. The conversations are held out; the figures are over all of their tokens.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import reference
from checkpoints import bf16_from_float32
from demo_checkpoint import demo_checkpoint, demo_config, demo_conversations
from gptoss.perplexity.scores import Comparison

Array = NDArray[Any]
Rounding = Callable[[Array], Array]

# The products that a file's dense weights and an expert's weights take part in.
DENSE = ("qkv", "output", "unembedding")
EXPERTS = ("gate and up", "down")


def planes(count: int) -> Rounding:
    """Rounds to `count` planes of int8."""

    def rounded(x: Array) -> Array:
        blocks = x.reshape(-1, 32)
        scale = np.abs(blocks).max(axis=-1, keepdims=True) / 127
        scale[scale == 0] = 1
        high = np.rint(blocks / scale)
        low = np.rint((blocks / scale - high) * 254) / 254 if count == 2 else 0
        result: Array = ((high + low) * scale).reshape(x.shape)
        return result

    return rounded


def q8(weight: Array) -> Array:
    """Rounds a matrix to int8 with an fp16 scale for every 32 numbers."""
    blocks = weight.reshape(-1, 32)
    scale = (np.abs(blocks).max(axis=-1, keepdims=True) / 127).astype(np.float16)
    wide = np.where(scale == 0, 1, scale).astype(np.float64)
    result: Array = (np.clip(np.rint(blocks / wide), -127, 127) * scale).reshape(weight.shape)
    return result


def bf16(x: Array) -> Array:
    return reference.bf16_to_float(bf16_from_float32(x)).astype(np.float64)


def fp16(x: Array) -> Array:
    return x.astype(np.float16).astype(np.float64)


def logits_of(
    tokens: Sequence[int], inputs: Mapping[str, Rounding], weights: Mapping[str, Rounding]
) -> Array:
    """reference.forward, with the inputs and weights of the named products rounded."""
    checkpoint, config = demo_checkpoint(), demo_config()

    def read(name: str) -> Array:
        return reference.bf16_to_float(checkpoint[name]).astype(np.float64)

    def rounded(product: str, x: Array) -> Array:
        return inputs[product](x) if product in inputs else x

    def matrix(product: str, name: str) -> Array:
        return weights[product](read(name)) if product in weights else read(name)

    num_heads, num_kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    cos, sin = reference.rotation(np.arange(len(tokens)), config, np.float64)
    x = reference.embed(matrix("embedding", "embedding.weight"), tokens)
    for block in range(config["num_hidden_layers"]):
        attn, mlp = f"block.{block}.attn.", f"block.{block}.mlp."
        t = rounded("qkv", reference.rms_norm(x, read(attn + "norm.scale")))
        qkv = reference.linear(t, matrix("qkv", attn + "qkv.weight"), read(attn + "qkv.bias"))
        q, k, v = reference.split_heads(qkv, num_heads, num_kv_heads)
        q, k = reference.rotate(q, cos, sin), reference.rotate(k, cos, sin)
        k, v = rounded("cache", k), rounded("cache", v)
        window = config["sliding_window"] if reference.slides(block) else None
        t = rounded("output", reference.attention(q, k, v, read(attn + "sinks"), window))
        x = x + reference.linear(t, matrix("output", attn + "out.weight"), read(attn + "out.bias"))

        t = reference.rms_norm(x, read(mlp + "norm.scale"))
        router_logits = reference.linear(t, read(mlp + "gate.weight"), read(mlp + "gate.bias"))
        chosen, shares, _ = reference.route(router_logits, config["experts_per_token"])
        t = rounded("gate and up", t)
        y = np.zeros_like(x)
        for expert in np.unique(chosen):
            row, slot = np.nonzero(chosen == expert)
            w1, w2 = (
                reference.mxfp4_to_float(
                    checkpoint[f"{mlp}{name}.blocks"][expert],
                    checkpoint[f"{mlp}{name}.scales"][expert],
                )
                for name in ("mlp1_weight", "mlp2_weight")
            )
            h = reference.linear(t[row], w1, read(mlp + "mlp1_bias")[expert])
            h = rounded("down", reference.swiglu(h, config["swiglu_limit"]))
            bias = read(mlp + "mlp2_bias")[expert]
            y[row] += reference.weigh_expert(h, w2, bias, shares[row, slot])
        x = x + y
    x = rounded("unembedding", reference.rms_norm(x, read("norm.scale")))
    return reference.linear(x, matrix("unembedding", "unembedding.weight"))


def rows() -> Iterator[tuple[str, dict[str, Rounding], dict[str, Rounding]]]:
    """Name, roundings of inputs by product, roundings of weights by product."""
    everything = (*EXPERTS, *DENSE)
    for count, name in ((1, "one plane"), (2, "two planes")):
        for product in everything:
            yield f"{name}: {product}", {product: planes(count)}, {}
        yield f"{name}: all of these", dict.fromkeys(everything, planes(count)), {}
    yield "one plane: the experts' two, fast precision", dict.fromkeys(EXPERTS, planes(1)), {}
    for product in ("embedding", *DENSE):
        yield f"8-bit weights: {product}", {}, {product: q8}
    yield "8-bit weights: all of these", {}, dict.fromkeys(("embedding", *DENSE), q8)
    yield "bf16 inputs of all products", dict.fromkeys(everything, bf16), {}
    yield "fp16 keys and values", {"cache": fp16}, {}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--conversations", type=int, default=6, help="how many (6)")
    conversations = demo_conversations(parser.parse_args().conversations)
    exact = [logits_of(tokens, {}, {}) for tokens in conversations]
    print("| approximated | mean KL | median | 99 % | max | same likeliest token |")
    print("|---|---|---|---|---|---|")
    for name, inputs, weights in rows():
        cost = Comparison()
        for tokens, expected in zip(conversations, exact, strict=True):
            cost.add(expected, logits_of(tokens, inputs, weights))
        mean = cost.divergence
        print(
            f"| {name} | {mean.mean:.1e} +- {mean.standard_error:.0e} "
            f"| {cost.divergence_quantile(0.5):.1e} | {cost.divergence_quantile(0.99):.1e} "
            f"| {cost.divergence_quantile(1):.1e} | {100 * cost.same_likeliest.mean:.2f} % |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
