"""The numpy reference agrees with Hugging Face transformers, and it notices every mistake."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import reference
from checkpoints import TINY, Shape, checkpoint_hash, openai_config, random_checkpoint
from golden_cases import CASES, Case, hugging_face_logits, load_golden
from numpy.typing import NDArray

Array = NDArray[Any]
Checkpoint = dict[str, Array]
Config = dict[str, Any]

MISSING = [package for package in ("torch", "transformers") if find_spec(package) is None]


def reference_logits(case: Case, dtype: type = np.float64) -> Array:
    checkpoint = {name: tensor.data for name, tensor in case.checkpoint.items()}
    output = reference.forward(
        checkpoint,
        openai_config(case.shape),
        case.tokens,
        dtype,
        first_position=case.first_position,
    )
    return output.logits[-case.num_compared :]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reference_agrees_with_the_stored_logits_of_hugging_face(case: Case) -> None:
    golden, hash_of_golden = load_golden(case)
    assert checkpoint_hash(case.checkpoint) == hash_of_golden, (
        "tests/checkpoints.py makes another checkpoint than the goldens were made from: "
        "run scripts/make-reference-goldens.py"
    )
    np.testing.assert_allclose(reference_logits(case), golden, rtol=0, atol=case.tolerance)


def test_reference_in_fp32_agrees_with_itself_in_fp64() -> None:
    case = Case("tiny", num_tokens=300)
    np.testing.assert_allclose(
        reference_logits(case, np.float32), reference_logits(case), rtol=0, atol=2e-4
    )
    assert reference_logits(case, np.float32).dtype == np.float32


@pytest.mark.skipif(
    bool(MISSING),
    reason=f"comparing anew needs {' and '.join(MISSING)} (pip install torch transformers)",
)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reference_agrees_with_hugging_face_computed_here(case: Case) -> None:
    np.testing.assert_allclose(
        reference_logits(case), hugging_face_logits(case), rtol=0, atol=case.tolerance
    )


# --- Each rule of the model, broken on purpose ---
#
# A comparison of logits proves a rule only if breaking the rule changes the logits by more than the
# comparison tolerates: here ten times what the engine's own comparison does (test_logits.py), so
# that none of the mistakes below can go unnoticed in the engine.

VISIBLE = 10 * reference.MAX_LOGIT_DIFFERENCE_PER_BLOCK * TINY.num_blocks

right_attention = reference.attention
right_concentration = reference.concentration
right_mxfp4_to_float = reference.mxfp4_to_float
right_rms_norm = reference.rms_norm
right_rotate = reference.rotate
right_route = reference.route
right_softmax_with_sink = reference.softmax_with_sink
right_swiglu = reference.swiglu


@dataclass(frozen=True)
class Mistake:
    """A replacement of one function of the reference, or a change of what it is given."""

    name: str
    function: str = ""
    wrong: Callable[..., Any] | None = None
    change: Callable[[Checkpoint, Config], None] | None = None
    shape: Shape = TINY
    embedding_scale: float = 1.0
    num_tokens: int = 150


def without(pattern: str) -> Callable[[Checkpoint, Config], None]:
    def change(checkpoint: Checkpoint, config: Config) -> None:
        names = [name for name in checkpoint if name.endswith(pattern)]
        assert names
        for name in names:
            checkpoint[name] = np.zeros_like(checkpoint[name])

    return change


def with_config(**values: Any) -> Callable[[Checkpoint, Config], None]:
    return lambda checkpoint, config: config.update(values)


def tie_unembedding(checkpoint: Checkpoint, config: Config) -> None:
    checkpoint["unembedding.weight"] = checkpoint["embedding.weight"]


def scale_byte_up(checkpoint: Checkpoint, config: Config) -> None:
    for name in checkpoint:
        if name.endswith("mlp2_weight.scales"):
            checkpoint[name] = checkpoint[name] + 1


def embed_scaled(table: Array, tokens: list[int]) -> Array:
    rows: Array = table[tokens] * math.sqrt(table.shape[1])
    return rows


def norm_with_epsilon(epsilon: float) -> Callable[[Array, Array], Array]:
    def rms_norm(x: Array, gain: Array) -> Array:
        result: Array = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon) * gain
        return result

    return rms_norm


def layer_norm(x: Array, gain: Array) -> Array:
    return norm_with_epsilon(1e-5)(x - x.mean(axis=-1, keepdims=True), gain)


def heads_by_group(qkv: Array, num_heads: int, num_kv_heads: int) -> tuple[Array, Array, Array]:
    """As if each key/value head's queries, key and value stood together."""
    groups = qkv.reshape(len(qkv), num_kv_heads, num_heads // num_kv_heads + 2, -1)
    q = groups[:, :, :-2].reshape(len(qkv), num_heads, -1)
    return q, groups[:, :, -2], groups[:, :, -1]


def rotate_neighbours(x: Array, cos: Array, sin: Array) -> Array:
    a, b = x[..., 0::2], x[..., 1::2]
    cos, sin = cos[:, None], sin[:, None]
    return np.stack([a * cos - b * sin, b * cos + a * sin], axis=-1).reshape(x.shape)


def rotate_backwards(x: Array, cos: Array, sin: Array) -> Array:
    return right_rotate(x, cos, -sin)


def yarn_with_rounded_range(config: Config) -> Array:
    num_pairs, base = config["head_dim"] // 2, config["rope_theta"]

    def pair_that_makes(rotations: float) -> float:
        wavelength = config["initial_context_length"] / rotations
        pair: float = num_pairs * math.log(wavelength / (2 * math.pi)) / math.log(base)
        return pair

    low, high = math.floor(pair_that_makes(32)), math.ceil(pair_that_makes(1))
    j = np.arange(num_pairs)
    ramp = np.clip((j - low) / (high - low), 0, 1)
    result: Array = base ** (-j / num_pairs) * (1 - ramp + ramp / config["rope_scaling_factor"])
    return result


def rope_without_yarn(config: Config) -> Array:
    result: Array = config["rope_theta"] ** (
        -2.0 * np.arange(config["head_dim"] // 2) / config["head_dim"]
    )
    return result


def coarse_rotation(positions: Array, config: Config, dtype: Any) -> tuple[Array, Array]:
    """The angle is only known to a thousandth of itself, as with fp16 frequencies."""
    coarse_frequencies = reference.inverse_frequencies(config).astype(np.float16)
    angle = positions[:, None] * coarse_frequencies.astype(np.float64)
    scale = reference.concentration(config["rope_scaling_factor"])
    return np.cos(angle) * scale, np.sin(angle) * scale


def heads_striped(q: Array, k: Array, v: Array, sinks: Array, window: int | None) -> Array:
    """As if query head h read key/value head h % G."""
    repeats = (1, q.shape[1] // k.shape[1], 1)
    return right_attention(q, np.tile(k, repeats), np.tile(v, repeats), sinks, window)


def scores_scaled(factor: float) -> Callable[..., Array]:
    return lambda q, k, v, sinks, window: right_attention(q * factor, k, v, sinks, window)


def softmax_with_scaled_sink(scores: Array, sink: Array) -> Array:
    return right_softmax_with_sink(scores, sink / 8)


def softmax_without_sink(scores: Array, sink: Array) -> Array:
    return right_softmax_with_sink(scores, np.array(-np.inf))


def window_wider_by(extra: int) -> Callable[..., Array]:
    return lambda q, k, v, sinks, window: right_attention(q, k, v, sinks, window and window + extra)


def route_softmax_over_all(logits: Array, active: int) -> tuple[Array, Array, Array]:
    chosen, _, margins = right_route(logits, active)
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares = exp / exp.sum(axis=-1, keepdims=True)
    return chosen, np.take_along_axis(shares, chosen, axis=-1), margins


def route_by_magnitude(logits: Array, active: int) -> tuple[Array, Array, Array]:
    chosen, _, margins = right_route(np.abs(logits), active)
    exp = np.exp(np.take_along_axis(logits, chosen, axis=-1))
    return chosen, exp / exp.sum(axis=-1, keepdims=True), margins


def route_equally(logits: Array, active: int) -> tuple[Array, Array, Array]:
    chosen, weights, margins = right_route(logits, active)
    return chosen, np.full_like(weights, 1 / active), margins


def halves(h: Array) -> Array:
    """Rows in the order in which a checkpoint with all gates before all ups would have them."""
    gate, up = np.split(h, 2, axis=-1)
    return np.stack([gate, up], axis=-1).reshape(h.shape)


def neighbours_swapped(h: Array) -> Array:
    return h.reshape(len(h), -1, 2)[:, :, ::-1].reshape(h.shape)


def swiglu_with(
    gate_clamp: tuple[float, float] = (-math.inf, 1),
    up_clamp: tuple[float, float] = (-1, 1),
    alpha: float = 1.702,
    offset: float = 1,
) -> Callable[[Array, float], Array]:
    """Clamps are in units of the limit."""

    def swiglu(h: Array, limit: float) -> Array:
        gate = np.clip(h[:, 0::2], gate_clamp[0] * limit, gate_clamp[1] * limit)
        up = np.clip(h[:, 1::2], up_clamp[0] * limit, up_clamp[1] * limit)
        result: Array = gate / (1 + np.exp(-alpha * gate)) * (up + offset)
        return result

    return swiglu


def bias_outside_expert(h: Array, weight: Array, bias: Array, share: Array) -> Array:
    return reference.linear(h, weight) * share[:, None] + bias


def high_nibble_first(blocks: Array, scales: Array) -> Array:
    return right_mxfp4_to_float((blocks >> 4) | (blocks << 4), scales)


def split_nibbles(blocks: Array, scales: Array) -> Array:
    """As if a block's 16 low nibbles came before its 16 high ones."""
    weights = right_mxfp4_to_float(blocks, scales)
    rows = weights.reshape(len(weights), -1, 16, 2)
    return np.swapaxes(rows, 2, 3).reshape(weights.shape)


SMALL_LIMIT = replace(TINY, swiglu_limit=1.0)

MISTAKES = [
    Mistake("embedding is scaled by sqrt(E)", "embed", embed_scaled, embedding_scale=0.02),
    Mistake("unembedding is tied to the embedding", change=tie_unembedding),
    Mistake("no epsilon", "rms_norm", norm_with_epsilon(0), embedding_scale=0.02),
    Mistake("epsilon of 1e-6", "rms_norm", norm_with_epsilon(1e-6), embedding_scale=0.02),
    Mistake("gain plus one", "rms_norm", lambda x, gain: right_rms_norm(x, gain + 1)),
    Mistake("layer norm", "rms_norm", layer_norm),
    Mistake("qkv rows grouped by key/value head", "split_heads", heads_by_group),
    Mistake("no qkv bias", change=without("qkv.bias")),
    Mistake("no output bias", change=without("out.bias")),
    Mistake("no router bias", change=without("gate.bias")),
    Mistake("query heads dealt out to key/value heads in turn", "attention", heads_striped),
    Mistake("RoPE of neighbouring pairs", "rotate", rotate_neighbours),
    Mistake("RoPE in the other direction", "rotate", rotate_backwards),
    Mistake("YaRN range rounded", "inverse_frequencies", yarn_with_rounded_range),
    Mistake("no YaRN below 4096 tokens", "inverse_frequencies", rope_without_yarn),
    Mistake("YaRN factor hard-coded", change=with_config(rope_scaling_factor=16.0)),
    Mistake("no concentration", "concentration", lambda factor: 1.0),
    Mistake(
        "concentration on queries only",
        "concentration",
        lambda factor: math.sqrt(right_concentration(factor)),
    ),
    Mistake("imprecise angle", "rotation", coarse_rotation),
    Mistake("scores not scaled", "attention", scores_scaled(8)),
    Mistake("scores scaled twice", "attention", scores_scaled(1 / 8)),
    Mistake("no sink", "softmax_with_sink", softmax_without_sink),
    Mistake("sink scaled as scores are", "softmax_with_sink", softmax_with_scaled_sink),
    Mistake("window one token wider", "attention", window_wider_by(1)),
    Mistake("window one token narrower", "attention", window_wider_by(-1)),
    Mistake("odd blocks slide", "slides", lambda block: block % 2 == 1),
    Mistake("all blocks slide", "slides", lambda block: True),
    Mistake("no block slides", "slides", lambda block: False),
    Mistake("router softmax over all experts", "route", route_softmax_over_all),
    Mistake("router chooses by magnitude", "route", route_by_magnitude),
    Mistake("experts weigh the same", "route", route_equally),
    Mistake("one expert fewer", change=with_config(experts_per_token=1)),
    Mistake("gates before ups", "swiglu", lambda h, limit: right_swiglu(halves(h), limit)),
    Mistake(
        "even rows up, odd rows gate",
        "swiglu",
        lambda h, limit: right_swiglu(neighbours_swapped(h), limit),
    ),
    Mistake("gate not clamped above", "swiglu", swiglu_with(gate_clamp=(-math.inf, math.inf))),
    Mistake("gate clamped below", "swiglu", swiglu_with(gate_clamp=(-1, 1)), shape=SMALL_LIMIT),
    Mistake("up not clamped above", "swiglu", swiglu_with(up_clamp=(-1, math.inf))),
    Mistake("up not clamped below", "swiglu", swiglu_with(up_clamp=(-math.inf, 1))),
    Mistake("SwiGLU limit hard-coded", change=with_config(swiglu_limit=7.0), shape=SMALL_LIMIT),
    Mistake("plain SiLU", "swiglu", swiglu_with(alpha=1)),
    Mistake("up without its one", "swiglu", swiglu_with(offset=0)),
    Mistake("no bias of mlp1", change=without("mlp1_bias")),
    Mistake("bias of mlp2 outside the routing weight", "weigh_expert", bias_outside_expert),
    Mistake("high nibble first", "mxfp4_to_float", high_nibble_first),
    Mistake("low nibbles first", "mxfp4_to_float", split_nibbles),
    Mistake("scale of 2^(byte - 126)", change=scale_byte_up),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name.replace(" ", "_"))
def test_a_mistake_is_visible_in_the_logits(
    mistake: Mistake, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(7)
    tokens = [
        int(token)
        for token in random.integers(0, mistake.shape.vocabulary_size, mistake.num_tokens)
    ]
    tensors = random_checkpoint(mistake.shape, seed=1, embedding_scale=mistake.embedding_scale)
    checkpoint = {name: tensor.data for name, tensor in tensors.items()}
    config = openai_config(mistake.shape)
    right = reference.forward(checkpoint, config, tokens)

    if mistake.change:
        mistake.change(checkpoint, config)
    if mistake.function:
        monkeypatch.setattr(reference, mistake.function, mistake.wrong)
    wrong = reference.forward(checkpoint, config, tokens)

    # Not counting tokens that any small change may send to another expert.
    decided = right.router_margins > 1e-3
    assert np.abs(wrong.logits - right.logits)[decided].max() > VISIBLE


def test_router_takes_the_lowest_index_on_a_tie() -> None:
    chosen, weights, margins = reference.route(np.array([[1.0, 3.0, 2.0, 3.0, 2.0, 2.0]]), 3)
    assert chosen.tolist() == [[1, 3, 2]]
    np.testing.assert_allclose(weights, np.exp([[3, 3, 2]]) / np.exp([3, 3, 2]).sum())
    assert margins.tolist() == [0.0]


def test_mxfp4_of_one_block_by_hand() -> None:
    blocks = np.array([[[0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE, *[0] * 8]]], np.uint8)
    first_half = reference.mxfp4_to_float(blocks, np.array([[128]], np.uint8))[0, :16]
    assert first_half.tolist() == [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]
