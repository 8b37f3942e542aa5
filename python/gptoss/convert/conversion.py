"""From a checkpoint directory to a model.bin."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from gptoss.convert.checkpoint import Checkpoint, open_checkpoint
from gptoss.convert.checkpoint_config import CheckpointConfig, parse_config
from gptoss.convert.checkpoint_weights import ModelWeights, find_weights
from gptoss.convert.file_header import file_header, unpadded_header
from gptoss.convert.file_items import PIECE_BYTES, Workspace
from gptoss.convert.file_layout import PlacedItem, lay_out_file, lay_out_q8_file
from gptoss.convert.file_writer import (
    Progress,
    weights_offset,
    write_items,
    write_items_with_table,
)
from gptoss.convert.model_tensors import ModelShape, place_tensors, q8_model_tensors
from gptoss.convert.mxfp4 import MAX_SCALE
from gptoss.convert.output_file import check_destination
from gptoss.convert.problems import conversion_error
from gptoss.convert.tensor_table import TableEntry
from gptoss.convert.tokenizer_source import Vocabulary, load_vocabulary
from gptoss.errors import ConversionError

# How attention projections, embedding and unembedding are written.
DenseFormat = Literal["bf16", "q8"]


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did."""

    source: Path  # the directory that held the tensors
    layout: str
    vocabulary: str  # where it came from
    destination: Path
    num_bytes: int
    seconds: float
    num_quantized_tensors: int  # unquantised expert weights that became MXFP4
    quantization_error: float  # root mean square, relative to that of the weights; 0 if none
    num_rounded_tensors: int  # dense fp16 and fp32 tensors that became bf16
    warnings: tuple[str, ...]


def convert(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str] | None = None,
    *,
    vocabulary: str | os.PathLike[str] | None = None,
    dense: DenseFormat = "bf16",
    force: bool = False,
    progress: Progress | None = None,
) -> ConversionReport:
    """Convert a gpt-oss checkpoint to a model.bin.

    `source` is a directory with config.json and .safetensors files, in OpenAI's original layout or
    Hugging Face's, or one whose folder `original/` has them. `destination` is the file to write, by
    default `model.bin` in `source`; `force` lets it replace a file. `vocabulary` is a .tiktoken or
    tokenizer.json file; by default the tokenizer.json beside the checkpoint is used and, if there
    is none, o200k_base. `progress(phase, bytes_done, bytes_total)` is called every few megabytes.

    Everything is checked before the first byte is written: a ConversionError lists all problems.
    The file appears under its name only when it is complete and synced; after an error or an
    interrupt there is nothing, or what was there before.
    """
    begin = time.monotonic()
    source = Path(source)
    destination = source / "model.bin" if destination is None else Path(destination)
    report_progress = progress or (lambda phase, done, total: None)
    warnings: list[str] = []

    checkpoint = open_checkpoint(source)
    try:
        problems: list[str] = []
        tokenizer = _load_vocabulary(vocabulary, checkpoint, problems, warnings)
        config = parse_config(checkpoint.config, checkpoint.layout, problems, warnings)
        if config is None or tokenizer is None:
            raise conversion_error(source, problems)
        if tokenizer.num_tokens > config.vocabulary_rows:
            problems.append(
                f"The vocabulary ({tokenizer.source}) has {len(tokenizer.text_tokens)} text tokens "
                f"and {len(tokenizer.special_uuids)} special ones, but the checkpoint has only "
                f"{config.vocabulary_rows} rows: give the right one with --vocabulary."
            )
        weights = find_weights(checkpoint, config, tokenizer.num_tokens, problems, warnings)
        if problems:
            raise conversion_error(source, problems)
        planned = plan_output(dense, config, tokenizer, weights)
        problems += check_destination(destination, planned.items[-1].end, force)
        if any(_is_same_file(destination, file.path) for file in checkpoint.files):
            problems.append(f"{destination} is a part of the checkpoint: write to another file.")
        problems += _oversized_scales(weights, report_progress)
        if problems:
            raise conversion_error(source, problems)
        workspace = Workspace()
        planned.write(destination, force, workspace, report_progress)
    finally:
        checkpoint.close()

    return ConversionReport(
        source=checkpoint.directory,
        layout=checkpoint.layout,
        vocabulary=tokenizer.source,
        destination=destination,
        num_bytes=planned.items[-1].end,
        seconds=time.monotonic() - begin,
        num_quantized_tensors=len(weights.float_experts),
        quantization_error=workspace.relative_error,
        num_rounded_tensors=len(weights.wider_than_bfloat16),
        warnings=tuple(warnings),
    )


@dataclass(frozen=True)
class PlannedFile:
    """What stands where in a file; with the header and the entries of a table if it has one."""

    items: list[PlacedItem]
    header: bytes = b""
    entries: tuple[TableEntry, ...] = ()

    def write(
        self, destination: Path, force: bool, workspace: Workspace, progress: Progress
    ) -> None:
        """Write it; it appears under its name when it is complete, or else not at all."""
        if self.entries:
            write_items_with_table(
                self.header, self.entries, self.items, destination, force, workspace, progress
            )
        else:
            write_items(self.items, destination, force, workspace, progress)


def plan_output(
    dense: DenseFormat, config: CheckpointConfig, tokenizer: Vocabulary, weights: ModelWeights
) -> PlannedFile:
    """Lay out a file with these weights, in the layout that its dense weights need."""
    if dense == "bf16":
        return PlannedFile(lay_out_file(file_header(config, tokenizer), config, weights))
    header = unpadded_header(config, tokenizer)
    shape = ModelShape(
        vocabulary_size=tokenizer.num_tokens,
        num_blocks=config.num_blocks,
        num_experts=config.num_experts,
        embedding_dim=config.embedding_dim,
        mlp_dim=config.mlp_dim,
        num_heads=config.num_heads,
        num_kv_heads=config.num_kv_heads,
    )
    tensors = list(q8_model_tensors(shape))
    start = weights_offset(header, len(tensors))
    entries = tuple(place_tensors(tensors, start))
    return PlannedFile(lay_out_q8_file(start, config, weights), header, entries)


def _is_same_file(destination: Path, path: Path) -> bool:
    return destination.exists() and destination.samefile(path)


def _load_vocabulary(
    file: str | os.PathLike[str] | None,
    checkpoint: Checkpoint,
    problems: list[str],
    warnings: list[str],
) -> Vocabulary | None:
    try:
        path = None if file is None else Path(file)
        return load_vocabulary(path, checkpoint.directory, warnings)
    except ConversionError as error:
        problems.append(str(error))
        return None


def _oversized_scales(weights: ModelWeights, progress: Progress) -> list[str]:
    """Read all scale bytes and return a sentence for each tensor that has one above 241."""
    problems = []
    buffer = np.empty(PIECE_BYTES, np.uint8)
    scales = weights.mxfp4_scales
    total = sum(tensor.num_bytes for tensor in scales)
    done = 0
    for tensor in scales:
        count, largest = 0, 0
        for first in range(0, tensor.num_bytes, PIECE_BYTES):
            piece = buffer[: min(PIECE_BYTES, tensor.num_bytes - first)]
            tensor.read_into(first, piece)
            largest = max(largest, int(piece.max()))
            if largest > MAX_SCALE:
                count += int(np.count_nonzero(piece > MAX_SCALE))
            done += len(piece)
            progress("checking scales", done, total)
        if count:
            problems.append(
                f"The tensor {tensor.name} in {tensor.file.path.name} has {count} scale bytes "
                f"above {MAX_SCALE}, the largest being {largest}: model.bin holds each plus 14, "
                "which would wrap. The checkpoint is damaged, or its experts are absurdly large."
            )
    return problems
