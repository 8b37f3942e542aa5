"""The weights of a model under one set of names, whichever layout the checkpoint has.

Every tensor that a model needs is looked up here, and its shape and type are checked; nothing is
read.
"""

from __future__ import annotations

from dataclasses import dataclass

from gptoss.convert.checkpoint import HUGGING_FACE_LAYOUT, Checkpoint
from gptoss.convert.checkpoint_config import MXFP4_BLOCK, CheckpointConfig
from gptoss.convert.safetensors_file import StoredTensor

# What model.bin holds as bf16 may be stored so; the wider two are rounded.
FLOAT_DTYPES = ("BF16", "F16", "F32")


@dataclass(frozen=True)
class TensorRows:
    """Some rows of a stored tensor; a vector's rows have one element."""

    tensor: StoredTensor
    first_row: int
    num_rows: int
    row_length: int  # elements


@dataclass(frozen=True)
class Projection:
    """A linear layer's weight and bias."""

    weight: TensorRows
    bias: TensorRows


@dataclass(frozen=True)
class Mxfp4Experts:
    """One matrix of all experts, in MXFP4."""

    blocks: StoredTensor  # [experts, rows, columns / 32, 16]
    scales: StoredTensor  # [experts, rows, columns / 32]


@dataclass(frozen=True)
class FloatExperts:
    """One matrix of all experts, unquantised and transposed, as Hugging Face's layout has it."""

    weight: StoredTensor  # [experts, columns, rows]


ExpertMatrix = Mxfp4Experts | FloatExperts


@dataclass(frozen=True)
class BlockWeights:
    """The weights of one transformer block."""

    attention_norm: TensorRows
    query: Projection
    key: Projection
    value: Projection
    sinks: TensorRows
    attention_out: Projection
    mlp_norm: TensorRows
    router: Projection
    mlp1: ExpertMatrix
    mlp1_bias: StoredTensor  # [experts, 2 * mlp_dim]
    mlp2: ExpertMatrix
    mlp2_bias: StoredTensor  # [experts, embedding_dim]


@dataclass(frozen=True)
class ModelWeights:
    """All weights of a model."""

    embedding: TensorRows
    blocks: list[BlockWeights]
    final_norm: TensorRows
    unembedding: TensorRows
    tensors: tuple[StoredTensor, ...]  # each stored tensor that the others refer to, once

    @property
    def _expert_matrices(self) -> list[ExpertMatrix]:
        return [matrix for block in self.blocks for matrix in (block.mlp1, block.mlp2)]

    @property
    def mxfp4_scales(self) -> list[StoredTensor]:
        """The scales of all experts that are stored in MXFP4."""
        return [m.scales for m in self._expert_matrices if isinstance(m, Mxfp4Experts)]

    @property
    def float_experts(self) -> list[StoredTensor]:
        """All expert weights that are stored unquantised."""
        return [m.weight for m in self._expert_matrices if isinstance(m, FloatExperts)]

    @property
    def wider_than_bfloat16(self) -> list[StoredTensor]:
        """The tensors that are rounded to bf16; expert weights are quantised instead."""
        experts = {tensor.name for tensor in self.float_experts}
        wider = [tensor for tensor in self.tensors if tensor.dtype in ("F16", "F32")]
        return [tensor for tensor in wider if tensor.name not in experts]


def find_weights(
    checkpoint: Checkpoint,
    config: CheckpointConfig,
    num_tokens: int,
    problems: list[str],
    warnings: list[str],
) -> ModelWeights:
    """Look up every weight of the model; embeddings are cut to `num_tokens` rows.

    Adds a sentence to `problems` for each tensor that is missing or has another shape or type than
    config.json makes it, and one to `warnings` for the tensors that are left over. The result is of
    use only if `problems` stayed empty.
    """
    finder = _Finder(checkpoint, problems)
    names = _HuggingFaceNames if checkpoint.layout == HUGGING_FACE_LAYOUT else _OpenAINames
    weights = names(finder, config, num_tokens).weights()
    extra = sorted(set(checkpoint.tensors) - set(finder.found))
    if extra:
        shown = ", ".join(extra[:5]) + (", ..." if len(extra) > 5 else "")
        warnings.append(
            f"{len(extra)} tensors of the checkpoint have no place in a gpt-oss model and were "
            f"left out: {shown}."
        )
    return weights


class _Finder:
    """Looks up tensors and remembers which were used."""

    def __init__(self, checkpoint: Checkpoint, problems: list[str]) -> None:
        self.checkpoint = checkpoint
        self.problems = problems
        self.found: dict[str, StoredTensor] = {}

    def has(self, name: str) -> bool:
        return name in self.checkpoint.tensors

    def find(
        self, name: str, shape: tuple[int, ...], dtypes: tuple[str, ...] = FLOAT_DTYPES
    ) -> StoredTensor:
        """Return a tensor of this shape and one of these types.

        For a missing one it is a stand-in, so that the search for further problems goes on.
        """
        tensor = self.checkpoint.tensors.get(name)
        if tensor is None:
            self.problems.append(f"The tensor {name} is missing.")
            return StoredTensor(name, dtypes[0], shape, self.checkpoint.files[0], 0, 0)
        self.found[name] = tensor
        if tensor.shape != shape:
            self.problems.append(
                f"The tensor {name} in {tensor.file.path.name} has the shape {list(tensor.shape)}, "
                f"but config.json makes it {list(shape)}."
            )
        if tensor.dtype not in dtypes:
            self.problems.append(
                f"The tensor {name} in {tensor.file.path.name} has the type {tensor.dtype}, "
                f"expected {' or '.join(dtypes)}."
            )
        return tensor

    def rows(self, name: str, num_rows: int, row_length: int = 0) -> TensorRows:
        """Return a whole matrix or, without a row length, a whole vector."""
        shape = (num_rows, row_length) if row_length else (num_rows,)
        return TensorRows(self.find(name, shape), 0, num_rows, row_length or 1)

    def projection(self, name: str, num_rows: int, num_columns: int) -> Projection:
        return Projection(
            self.rows(f"{name}.weight", num_rows, num_columns), self.rows(f"{name}.bias", num_rows)
        )

    def mxfp4(
        self, name: str, separator: str, num_experts: int, rows: int, columns: int
    ) -> Mxfp4Experts:
        shape = (num_experts, rows, columns // MXFP4_BLOCK)
        return Mxfp4Experts(
            self.find(f"{name}{separator}blocks", (*shape, MXFP4_BLOCK // 2), ("U8",)),
            self.find(f"{name}{separator}scales", shape, ("U8",)),
        )


class _Names:
    """Finds a model's weights by the names of one layout."""

    def __init__(self, finder: _Finder, config: CheckpointConfig, num_tokens: int) -> None:
        self.finder = finder
        self.config = config
        self.num_tokens = num_tokens

    def weights(self) -> ModelWeights:
        raise NotImplementedError

    def token_rows(self, name: str) -> TensorRows:
        """Return the rows of an embedding that belong to the vocabulary's tokens."""
        rows = self.finder.rows(name, self.config.vocabulary_rows, self.config.embedding_dim)
        return TensorRows(rows.tensor, 0, self.num_tokens, rows.row_length)


class _OpenAINames(_Names):
    def weights(self) -> ModelWeights:
        return ModelWeights(
            embedding=self.token_rows("embedding.weight"),
            blocks=[self._block(f"block.{n}") for n in range(self.config.num_blocks)],
            final_norm=self.finder.rows("norm.scale", self.config.embedding_dim),
            unembedding=self.token_rows("unembedding.weight"),
            # Last: the lookups above fill it.
            tensors=tuple(self.finder.found.values()),
        )

    def _block(self, name: str) -> BlockWeights:
        config, find = self.config, self.finder
        experts, embedding, mlp = config.num_experts, config.embedding_dim, config.mlp_dim
        num_qkv_rows = config.num_query_rows + 2 * config.num_kv_rows
        qkv = find.projection(f"{name}.attn.qkv", num_qkv_rows, embedding)
        first_key = config.num_query_rows
        first_value = first_key + config.num_kv_rows
        return BlockWeights(
            attention_norm=find.rows(f"{name}.attn.norm.scale", embedding),
            query=_part(qkv, 0, config.num_query_rows),
            key=_part(qkv, first_key, config.num_kv_rows),
            value=_part(qkv, first_value, config.num_kv_rows),
            sinks=find.rows(f"{name}.attn.sinks", config.num_heads),
            attention_out=find.projection(f"{name}.attn.out", embedding, config.num_query_rows),
            mlp_norm=find.rows(f"{name}.mlp.norm.scale", embedding),
            router=find.projection(f"{name}.mlp.gate", experts, embedding),
            mlp1=find.mxfp4(f"{name}.mlp.mlp1_weight", ".", experts, 2 * mlp, embedding),
            mlp1_bias=find.find(f"{name}.mlp.mlp1_bias", (experts, 2 * mlp)),
            mlp2=find.mxfp4(f"{name}.mlp.mlp2_weight", ".", experts, embedding, mlp),
            mlp2_bias=find.find(f"{name}.mlp.mlp2_bias", (experts, embedding)),
        )


class _HuggingFaceNames(_Names):
    def weights(self) -> ModelWeights:
        return ModelWeights(
            embedding=self.token_rows("model.embed_tokens.weight"),
            blocks=[self._block(f"model.layers.{n}") for n in range(self.config.num_blocks)],
            final_norm=self.finder.rows("model.norm.weight", self.config.embedding_dim),
            unembedding=self.token_rows("lm_head.weight"),
            # Last: the lookups above fill it.
            tensors=tuple(self.finder.found.values()),
        )

    def _block(self, name: str) -> BlockWeights:
        config, find = self.config, self.finder
        experts, embedding, mlp = config.num_experts, config.embedding_dim, config.mlp_dim
        attention, expert_name = f"{name}.self_attn", f"{name}.mlp.experts"
        return BlockWeights(
            attention_norm=find.rows(f"{name}.input_layernorm.weight", embedding),
            query=find.projection(f"{attention}.q_proj", config.num_query_rows, embedding),
            key=find.projection(f"{attention}.k_proj", config.num_kv_rows, embedding),
            value=find.projection(f"{attention}.v_proj", config.num_kv_rows, embedding),
            sinks=find.rows(f"{attention}.sinks", config.num_heads),
            attention_out=find.projection(f"{attention}.o_proj", embedding, config.num_query_rows),
            mlp_norm=find.rows(f"{name}.post_attention_layernorm.weight", embedding),
            router=find.projection(f"{name}.mlp.router", experts, embedding),
            mlp1=self._experts(f"{expert_name}.gate_up_proj", 2 * mlp, embedding),
            mlp1_bias=find.find(f"{expert_name}.gate_up_proj_bias", (experts, 2 * mlp)),
            mlp2=self._experts(f"{expert_name}.down_proj", embedding, mlp),
            mlp2_bias=find.find(f"{expert_name}.down_proj_bias", (experts, embedding)),
        )

    def _experts(self, name: str, rows: int, columns: int) -> ExpertMatrix:
        if self.finder.has(name):
            return FloatExperts(self.finder.find(name, (self.config.num_experts, columns, rows)))
        return self.finder.mxfp4(name, "_", self.config.num_experts, rows, columns)


def _part(projection: Projection, first_row: int, num_rows: int) -> Projection:
    """Return some rows of a projection."""
    weight, bias = projection.weight, projection.bias
    return Projection(
        TensorRows(weight.tensor, first_row, num_rows, weight.row_length),
        TensorRows(bias.tensor, first_row, num_rows, bias.row_length),
    )
