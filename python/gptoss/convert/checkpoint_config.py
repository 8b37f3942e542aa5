"""What config.json says about a checkpoint, read and checked, in both layouts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gptoss.convert.checkpoint import HUGGING_FACE_LAYOUT

# model.bin folds 1 / sqrt(head_dim) into the query and key weights as 0.5 * 0.25, which is 1 /
# sqrt(64).
HEAD_DIM = 64
MXFP4_BLOCK = 32
# The values of gpt-oss, for fields that some published config.json files lack.
DEFAULT_NUM_ACTIVE_EXPERTS = 4
DEFAULT_SWIGLU_LIMIT = 7.0
DEFAULT_RMSNORM_EPSILON = 1e-5
SWIGLU_ALPHA = 1.702
# Far above any real model (120b has 36 blocks of 128 experts), far below what would exhaust memory.
MAX_BLOCKS = 1024
MAX_EXPERTS = 4096
MAX_DIMENSION = 2**24


@dataclass(frozen=True)
class CheckpointConfig:
    """The shape of a model, under the names of model.bin's header."""

    num_blocks: int
    num_experts: int
    num_active_experts: int
    embedding_dim: int
    mlp_dim: int
    vocabulary_rows: int  # rows of the embedding in the checkpoint
    num_heads: int
    num_kv_heads: int
    attention_window: int
    swiglu_limit: float
    rmsnorm_epsilon: float
    initial_context_length: int
    rope_theta: float
    rope_scaling_factor: float
    rope_ntk_alpha: float
    rope_ntk_beta: float

    @property
    def context_length(self) -> int:
        """Tokens that the model can attend to, with YaRN's stretching."""
        return int(self.initial_context_length * self.rope_scaling_factor)

    @property
    def num_query_rows(self) -> int:
        """Rows of the query projection."""
        return self.num_heads * HEAD_DIM

    @property
    def num_kv_rows(self) -> int:
        """Rows of the key projection, and of the value projection."""
        return self.num_kv_heads * HEAD_DIM

    @property
    def yarn_low(self) -> float:
        """The rotary dimension below which frequencies stay as they are; not rounded."""
        return self._rotary_dimension(self.rope_ntk_beta)

    @property
    def yarn_high(self) -> float:
        """The rotary dimension above which frequencies are divided by the factor; not rounded."""
        return self._rotary_dimension(self.rope_ntk_alpha)

    def _rotary_dimension(self, rotations: float) -> float:
        """Return the dimension whose angle turns this many times in the initial context."""
        # The order of operations decides the last bit of model.bin's yarn fields.
        return (
            HEAD_DIM
            / 2
            * math.log(self.initial_context_length / (rotations * 2 * math.pi))
            / math.log(self.rope_theta)
        )


def parse_config(
    config: dict[str, Any], layout: str, problems: list[str], warnings: list[str]
) -> CheckpointConfig | None:
    """Read config.json; None if that is impossible, after adding every reason to `problems`."""
    num_problems = len(problems)
    reader = _Reader(config, "config.json", problems)
    if layout == HUGGING_FACE_LAYOUT:
        parsed = _parse_hugging_face(config, reader, warnings)
    else:
        parsed = _parse_openai(reader, warnings)
    if len(problems) == num_problems:
        problems += _contradictions(parsed)
    return parsed if len(problems) == num_problems else None


class _Reader:
    """Reads numbers from a JSON object; a missing or absurd one becomes a problem, and 1."""

    def __init__(self, fields: dict[str, Any], where: str, problems: list[str]) -> None:
        self.fields = fields
        self.where = where
        self.problems = problems

    def has(self, name: str) -> bool:
        return self.fields.get(name) is not None

    def integer(self, *names: str, largest: int = MAX_DIMENSION) -> int:
        """Read a positive integer under the first of these names that is there."""
        value = self._value(names)
        if value is None:
            return 1
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int or not 1 <= value <= largest:
            self._complain(names, value, f"expected an integer from 1 to {largest}")
            return 1
        return value

    def number(self, *names: str, default: float | None = None) -> float:
        """Read a positive number under the first of these names that is there."""
        value = default if default is not None and not self._present(names) else self._value(names)
        if value is None:
            return 1.0
        if type(value) not in (int, float) or not 0 < value < 1e30:
            self._complain(names, value, "expected a positive number")
            return 1.0
        return float(value)

    def _present(self, names: tuple[str, ...]) -> list[str]:
        return [name for name in names if self.has(name)]

    def _value(self, names: tuple[str, ...]) -> Any:
        present = self._present(names)
        if not present:
            self.problems.append(f"{self.where} lacks {' or '.join(names)}.")
            return None
        return self.fields[present[0]]

    def _complain(self, names: tuple[str, ...], value: Any, expected: str) -> None:
        name = self._present(names)[0]
        self.problems.append(f"{self.where} has {name} = {_shown(value)}: {expected}.")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _parse_openai(reader: _Reader, warnings: list[str]) -> CheckpointConfig:
    return CheckpointConfig(
        num_experts=reader.integer("num_experts", largest=MAX_EXPERTS),
        initial_context_length=reader.integer("initial_context_length"),
        rope_theta=reader.number("rope_theta"),
        rope_scaling_factor=reader.number("rope_scaling_factor"),
        rope_ntk_alpha=reader.number("rope_ntk_alpha"),
        rope_ntk_beta=reader.number("rope_ntk_beta"),
        **_common_fields(reader, warnings),
    )


def _parse_hugging_face(
    config: dict[str, Any], reader: _Reader, warnings: list[str]
) -> CheckpointConfig:
    problems = reader.problems
    model_type = config.get("model_type")
    if model_type != "gpt_oss":
        problems.append(f"config.json has model_type = {_shown(model_type)}: expected 'gpt_oss'.")

    # transformers 4 keeps these numbers in rope_scaling, transformers 5 in rope_parameters.
    rope_name = "rope_parameters" if reader.has("rope_parameters") else "rope_scaling"
    rope_fields = config.get(rope_name)
    if not isinstance(rope_fields, dict):
        problems.append("config.json lacks an object rope_scaling or rope_parameters.")
        rope_fields = {}
        rope = _Reader({}, "config.json", [])
    else:
        rope = _Reader(rope_fields, f"{rope_name} of config.json", problems)
        rope_type = rope_fields.get("rope_type", rope_fields.get("type"))
        if rope_type != "yarn":
            problems.append(
                f"{rope_name} of config.json has rope_type = {_shown(rope_type)}: model.bin can "
                "only express 'yarn'."
            )
        if rope_fields.get("truncate"):
            problems.append(
                f"{rope_name} of config.json has truncate = true: gpt-oss does not round YaRN's "
                "limits, and no gpt-oss engine expects it."
            )
    if rope.has("original_max_position_embeddings"):
        initial_context_length = rope.integer("original_max_position_embeddings")
    else:
        initial_context_length = reader.integer("initial_context_length")
    rope_theta = rope if rope.has("rope_theta") else reader

    parsed = CheckpointConfig(
        num_experts=reader.integer("num_local_experts", "num_experts", largest=MAX_EXPERTS),
        initial_context_length=initial_context_length,
        rope_theta=rope_theta.number("rope_theta"),
        rope_scaling_factor=rope.number("factor"),
        rope_ntk_alpha=rope.number("beta_slow", default=1.0),
        rope_ntk_beta=rope.number("beta_fast", default=32.0),
        **_common_fields(reader, warnings),
    )
    problems += _unsupported_hugging_face_fields(config, parsed)
    return parsed


def _common_fields(reader: _Reader, warnings: list[str]) -> dict[str, Any]:
    """Read the fields that have the same names in both layouts."""
    head_dim = reader.integer("head_dim")
    if reader.has("head_dim") and head_dim != HEAD_DIM:
        reader.problems.append(
            f"config.json has head_dim = {head_dim}: model.bin can only express {HEAD_DIM}."
        )
    if reader.has("num_experts_per_tok") or reader.has("experts_per_token"):
        num_active_experts = reader.integer(
            "num_experts_per_tok", "experts_per_token", largest=MAX_EXPERTS
        )
    else:
        num_active_experts = DEFAULT_NUM_ACTIVE_EXPERTS
        warnings.append(
            "config.json does not say how many experts are active for a token: taken to be "
            f"{num_active_experts}, as in gpt-oss-20b and gpt-oss-120b."
        )
    return {
        "num_blocks": reader.integer("num_hidden_layers", largest=MAX_BLOCKS),
        "num_active_experts": num_active_experts,
        "embedding_dim": reader.integer("hidden_size"),
        "mlp_dim": reader.integer("intermediate_size"),
        "vocabulary_rows": reader.integer("vocab_size"),
        "num_heads": reader.integer("num_attention_heads", largest=MAX_EXPERTS),
        "num_kv_heads": reader.integer("num_key_value_heads", largest=MAX_EXPERTS),
        "attention_window": reader.integer("sliding_window"),
        "swiglu_limit": reader.number("swiglu_limit", default=DEFAULT_SWIGLU_LIMIT),
        "rmsnorm_epsilon": reader.number("rms_norm_eps", default=DEFAULT_RMSNORM_EPSILON),
    }


def _unsupported_hugging_face_fields(config: dict[str, Any], parsed: CheckpointConfig) -> list[str]:
    """Return what a config.json says that would make another model than model.bin can hold."""
    problems = []
    layer_types = config.get("layer_types")
    expected = [
        "full_attention" if block % 2 else "sliding_attention" for block in range(parsed.num_blocks)
    ]
    if layer_types is not None and layer_types != expected:
        problems.append(
            f"config.json has layer_types = {_shown(layer_types)}: model.bin can only express "
            f"{parsed.num_blocks} layers that alternate between 'sliding_attention' (first) and "
            "'full_attention'."
        )
    quantization = config.get("quantization_config")
    if quantization is not None:
        method = (
            quantization.get("quant_method") if isinstance(quantization, dict) else quantization
        )
        if method != "mxfp4":
            problems.append(
                f"The checkpoint is quantised with {_shown(method)}: only 'mxfp4' and unquantised "
                "weights can be converted."
            )
    alpha = config.get("swiglu_alpha", SWIGLU_ALPHA)
    if alpha != SWIGLU_ALPHA:
        problems.append(
            f"config.json has swiglu_alpha = {_shown(alpha)}: gpt-oss engines compute with "
            f"{SWIGLU_ALPHA}."
        )
    return problems


def _contradictions(config: CheckpointConfig) -> list[str]:
    """Return the statements of a config that cannot all be true."""
    problems = []
    if config.num_heads % config.num_kv_heads != 0:
        problems.append(
            f"config.json has {config.num_heads} attention heads, which {config.num_kv_heads} "
            "key/value heads do not divide."
        )
    if config.num_active_experts > config.num_experts:
        problems.append(
            f"config.json activates {config.num_active_experts} experts for each token, but there "
            f"are only {config.num_experts}."
        )
    for name, size in (
        ("hidden_size", config.embedding_dim),
        ("intermediate_size", config.mlp_dim),
    ):
        if size % MXFP4_BLOCK != 0:
            problems.append(
                f"config.json has {name} = {size}, which is no multiple of {MXFP4_BLOCK}, the "
                "length of an MXFP4 block."
            )
    if config.rope_theta <= 1:
        problems.append(f"config.json has rope_theta = {config.rope_theta}: it must exceed 1.")
    elif config.rope_ntk_beta <= config.rope_ntk_alpha:
        problems.append(
            f"config.json has YaRN limits of {config.rope_ntk_alpha} (rope_ntk_alpha, beta_slow) "
            f"and {config.rope_ntk_beta} (rope_ntk_beta, beta_fast): the second must be larger."
        )
    if not 1 <= config.context_length < 2**32:
        problems.append(
            f"config.json gives a context of {config.context_length} tokens "
            f"({config.initial_context_length} times {config.rope_scaling_factor}): model.bin "
            "can express 1 to 4294967295."
        )
    return problems
