"""The checkpoints and prompts on which the numpy reference was compared with Hugging Face.

`hugging_face_logits` computes a case with transformers (torch needed); `load_golden` reads what it
gave when scripts/make-reference-goldens.py last ran, with the hash of the checkpoint it ran on.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from checkpoints import (
    SHAPES,
    Checkpoint,
    Shape,
    checkpoint_hash,
    random_checkpoint,
    write_hugging_face_checkpoint,
)
from numpy.typing import NDArray

GOLDENS = Path(__file__).parent / "goldens" / "hugging-face-logits.npz"


@dataclass(frozen=True)
class Case:
    """One checkpoint, one prompt. The logits of the last `num_compared` tokens are compared."""

    shape_name: str
    num_tokens: int = 150
    first_position: int = 0
    embedding_scale: float = 1.0
    # So many of the last tokens Hugging Face decodes one by one from its cache, as generation does.
    num_decoded: int = 0
    num_compared: int = 3
    seed: int = 1

    @property
    def tolerance(self) -> float:
        """How far an fp32 computation may be from fp64, in logits of magnitude 10.

        Far positions get more: the last bit of an angle of 100,000 rad is 0.008 in fp32, so two
        implementations whose inverse frequencies differ in the last bit rotate visibly differently.
        """
        return 5e-3 if self.first_position else 1e-4

    @property
    def name(self) -> str:
        parts = [self.shape_name, f"{self.num_tokens}_tokens"]
        if self.first_position:
            parts.append(f"from_{self.first_position}")
        if self.embedding_scale != 1:
            parts.append(f"embedding_times_{self.embedding_scale}")
        if self.num_decoded:
            parts.append(f"{self.num_decoded}_decoded")
        return "-".join(parts)

    @property
    def shape(self) -> Shape:
        return SHAPES[self.shape_name]

    @cached_property
    def checkpoint(self) -> Checkpoint:
        return random_checkpoint(self.shape, self.seed, self.embedding_scale)

    @property
    def tokens(self) -> list[int]:
        random = np.random.default_rng([self.seed, self.num_tokens])
        return [
            int(token) for token in random.integers(0, self.shape.vocabulary_size, self.num_tokens)
        ]


CASES = [
    *(Case(shape_name) for shape_name in SHAPES),
    Case("tiny", num_tokens=1),
    Case("tiny", num_tokens=300),
    Case("tiny", embedding_scale=0.02),
    Case("tiny", num_tokens=20, first_position=100_000),
    Case("tiny", num_tokens=140, num_decoded=4, num_compared=4),
    Case("tiny", num_tokens=4200, num_compared=2),
]


def hugging_face_logits(case: Case) -> NDArray[np.float32]:
    """What GptOssForCausalLM gives in fp32 with eager attention. [num_compared, vocabulary]"""
    import torch
    from transformers import GptOssForCausalLM

    with tempfile.TemporaryDirectory() as directory:
        write_hugging_face_checkpoint(
            Path(directory), case.shape, case.checkpoint, experts="bf16", shards=1
        )
        model: Any = GptOssForCausalLM.from_pretrained(
            directory,
            dtype=torch.float32,
            attn_implementation="eager",
        )
    model.eval()
    tokens = torch.tensor([case.tokens])
    positions = case.first_position + torch.arange(case.num_tokens)[None]
    num_prefilled = case.num_tokens - case.num_decoded
    with torch.no_grad():
        output = model(
            tokens[:, :num_prefilled], position_ids=positions[:, :num_prefilled], use_cache=True
        )
        logits = [output.logits[0]]
        for i in range(num_prefilled, case.num_tokens):
            output = model(
                tokens[:, i : i + 1],
                position_ids=positions[:, i : i + 1],
                past_key_values=output.past_key_values,
                use_cache=True,
            )
            logits.append(output.logits[0])
    compared: NDArray[np.float32] = torch.cat(logits)[-case.num_compared :].numpy()
    return compared


def save_goldens(logits: dict[str, NDArray[np.float32]]) -> None:
    arrays: dict[str, Any] = {}
    for case in CASES:
        arrays[case.name] = logits[case.name]
        arrays[case.name + ".checkpoint"] = np.array(checkpoint_hash(case.checkpoint))
    np.savez_compressed(GOLDENS, **arrays)


def load_golden(case: Case) -> tuple[NDArray[np.float32], str]:
    """The stored logits, [num_compared, vocabulary], and the hash of their checkpoint."""
    with np.load(GOLDENS) as stored:
        return stored[case.name], str(stored[case.name + ".checkpoint"])
