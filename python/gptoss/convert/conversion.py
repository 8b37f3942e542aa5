"""From a checkpoint directory to a model.bin."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gptoss.convert.checkpoint import Checkpoint, open_checkpoint
from gptoss.convert.checkpoint_config import parse_config
from gptoss.convert.checkpoint_weights import ModelWeights, find_weights
from gptoss.convert.file_header import file_header
from gptoss.convert.file_items import PIECE_BYTES, Workspace
from gptoss.convert.file_layout import PlacedItem, lay_out_file
from gptoss.convert.mxfp4 import MAX_SCALE
from gptoss.convert.output_file import OutputFile, check_destination
from gptoss.convert.problems import conversion_error
from gptoss.convert.safetensors_file import TensorBytes
from gptoss.convert.tokenizer_source import Vocabulary, load_vocabulary
from gptoss.errors import ConversionError

# Called with the name of the phase, the bytes done and the bytes in all.
Progress = Callable[[str, int, int], None]


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
        items = lay_out_file(file_header(config, tokenizer), config, weights)
        problems += check_destination(destination, items[-1].end, force)
        if any(_is_same_file(destination, file.path) for file in checkpoint.files):
            problems.append(f"{destination} is a part of the checkpoint: write to another file.")
        problems += _oversized_scales(weights, report_progress)
        if problems:
            raise conversion_error(source, problems)
        workspace = Workspace()
        _write(items, destination, force, workspace, report_progress)
    finally:
        checkpoint.close()

    return ConversionReport(
        source=checkpoint.directory,
        layout=checkpoint.layout,
        vocabulary=tokenizer.source,
        destination=destination,
        num_bytes=items[-1].end,
        seconds=time.monotonic() - begin,
        num_quantized_tensors=len(weights.float_experts),
        quantization_error=workspace.relative_error,
        num_rounded_tensors=len(weights.wider_than_bfloat16),
        warnings=tuple(warnings),
    )


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


def _copy(stored: TensorBytes, output: OutputFile, workspace: Workspace) -> None:
    """Copy bytes of the checkpoint within the system or, where it cannot, through memory."""
    file = stored.tensor.file
    # What lies behind is soon needed: the disk reads it while these bytes are written.
    file.prefetch(stored.offset + stored.num_bytes, PIECE_BYTES)
    num_copied = output.copy(file.fileno(), stored.offset, stored.num_bytes)
    if num_copied < stored.num_bytes:
        rest = TensorBytes(
            stored.tensor, stored.first_byte + num_copied, stored.num_bytes - num_copied
        )
        output.write(workspace.read(rest))


def _write(
    items: list[PlacedItem],
    destination: Path,
    force: bool,
    workspace: Workspace,
    progress: Progress,
) -> None:
    total = items[-1].end
    with OutputFile(destination, force) as output:
        for placed in items:
            output.write(bytes(placed.offset - output.num_bytes))
            for piece in placed.item.pieces(workspace):
                if isinstance(piece, TensorBytes):
                    _copy(piece, output, workspace)
                else:
                    output.write(piece)
                progress("writing", output.num_bytes, total)
            assert output.num_bytes == placed.end, placed
        output.commit()
