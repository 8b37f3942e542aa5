"""A model.bin with random weights: written once, recognised and used again."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gptoss.bench.cache_folder import cache_folder
from gptoss.bench.random_weights import random_checkpoint
from gptoss.bench.shapes import Shape
from gptoss.convert.byte_counts import format_bytes
from gptoss.convert.checkpoint import OPENAI_LAYOUT
from gptoss.convert.checkpoint_config import parse_config
from gptoss.convert.checkpoint_weights import find_weights
from gptoss.convert.conversion import DenseFormat, PlannedFile, plan_output
from gptoss.convert.file_items import Workspace
from gptoss.convert.file_layout import PlacedItem
from gptoss.convert.file_writer import Progress
from gptoss.convert.problems import conversion_error
from gptoss.convert.safetensors_file import TensorBytes
from gptoss.convert.tensor_table import with_table
from gptoss.convert.tokenizer_source import Vocabulary, load_vocabulary
from gptoss.errors import GptossError

SEED = 0
# Called with a sentence for the user.
Notice = Callable[[str], None]


class SyntheticFileError(GptossError):
    """A file of random weights cannot be written, or is not what it should be."""


@dataclass(frozen=True)
class SyntheticFile:
    """What a file of random weights holds, byte by byte."""

    shape: Shape
    dense: DenseFormat
    layout: PlannedFile

    @property
    def num_bytes(self) -> int:
        """The file's size."""
        return self.layout.items[-1].end

    @property
    def default_path(self) -> Path:
        """The place in the user's cache folder."""
        shape = self.shape
        return cache_folder() / f"random-{shape.name}-{shape.num_blocks}-blocks-{self.dense}.bin"


def plan_file(
    shape: Shape, dense: DenseFormat = "bf16", vocabulary: Vocabulary | None = None
) -> SyntheticFile:
    """Lay the file out; nothing is drawn or written. `vocabulary`: None for the real models' own.

    ConversionError: the shape cannot be expressed, with every reason.
    """
    problems: list[str] = []
    warnings: list[str] = []
    checkpoint = random_checkpoint(shape, SEED)
    if vocabulary is None:
        vocabulary = load_vocabulary(None, checkpoint.directory, warnings)
    config = parse_config(shape.config, OPENAI_LAYOUT, problems, warnings)
    if config is None:
        raise conversion_error(Path(shape.name), problems)
    weights = find_weights(checkpoint, config, vocabulary.num_tokens, problems, warnings)
    if problems:
        raise conversion_error(Path(shape.name), problems)
    return SyntheticFile(shape, dense, plan_output(dense, config, vocabulary, weights))


def write_file(plan: SyntheticFile, path: Path, progress: Progress, *, replace: bool) -> None:
    """Write the file; it appears under its name when it is complete, or else not at all.

    SyntheticFileError: the disk has too little space, which is found out before anything is
    written. ConversionError: writing failed.
    """
    check_space(path, plan.num_bytes)

    def show(phase: str, done: int, total: int) -> None:
        progress(f"{phase} random weights", done, total)

    plan.layout.write(path, replace, Workspace(), show)


def provide_file(
    plan: SyntheticFile, wanted: Path | None, progress: Progress, notice: Notice
) -> Path:
    """Return a file with the planned content, written if it is not there.

    `wanted`: None for a file in the user's cache folder, which is ours: if it is not as planned,
    it is written again. A file that the user names is never replaced: SyntheticFileError.
    `notice` is told where the file is, and how to be rid of it.
    """
    path = plan.default_path if wanted is None else wanted
    if path.exists():
        reason = difference(plan, path)
        if reason is None:
            notice(f"random weights: {path}, {format_bytes(plan.num_bytes)}, from an earlier run")
            return path
        if wanted is not None:
            raise SyntheticFileError(
                f"{path} is not the file of random weights that it should be: {reason}. Remove it, "
                "or give another file with --synthetic-file."
            )
    if wanted is None:
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not path.parent.is_dir():
        raise SyntheticFileError(f"The folder {path.parent} does not exist.")
    notice(
        f"random weights: writing {path}, {format_bytes(plan.num_bytes)}; kept for the next run, "
        f"to be removed with: rm {shlex.quote(str(path))}"
    )
    write_file(plan, path, progress, replace=wanted is None)
    return path


def check_space(path: Path, num_bytes: int) -> None:
    """SyntheticFileError unless a file of this size fits the disk of the folder."""
    free = shutil.disk_usage(path.parent).free
    if free < num_bytes:
        raise SyntheticFileError(
            f"The random weights take {format_bytes(num_bytes)}, but only {format_bytes(free)} are "
            f"free in {path.parent}: give a file on another disk with --synthetic-file, or fewer "
            "--blocks."
        )


def difference(plan: SyntheticFile, path: Path) -> str | None:
    """Why an existing file is not the planned one, as a clause; None if it is.

    Compares the size, the header, and the first bytes of the first and the last tensor: a file that
    was written under this name is complete, and no trained model begins with these numbers.
    """
    size = path.stat().st_size
    if size != plan.num_bytes:
        return f"it has {size} bytes instead of {plan.num_bytes}"
    items = plan.layout.items
    if plan.layout.entries:
        # Without the table, whose checksums are those of all tensors.
        header = with_table(plan.layout.header, (), size)[: len(plan.layout.header)]
    else:
        header, items = _first_bytes(items[0]), items[1:]
    with path.open("rb") as file:
        for what, offset, expected in (
            ("header", 0, header),
            ("first tensor", items[0].offset, _first_bytes(items[0])),
            ("last tensor", items[-1].offset, _first_bytes(items[-1])),
        ):
            file.seek(offset)
            if file.read(len(expected)) != expected:
                return f"its {what} is another"
    return None


def _first_bytes(placed: PlacedItem) -> bytes:
    workspace = Workspace()
    piece = next(placed.item.pieces(workspace))
    content = workspace.read(piece) if isinstance(piece, TensorBytes) else piece
    return np.ascontiguousarray(content).tobytes()
