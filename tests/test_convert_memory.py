"""The converter's memory does not grow with the tensors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from checkpoints import (
    Shape,
    hugging_face_config,
    hugging_face_tensors,
    openai_config,
    random_checkpoint,
    write_vocabulary,
)

# Experts in the size of gpt-oss, and an embedding of 300 MB: much larger than the limit.
LARGE = Shape(
    num_blocks=1,
    num_experts=1,
    num_active_experts=1,
    hidden_size=2880,
    intermediate_size=2880,
    vocabulary_size=464,
)
NUM_EMBEDDING_ROWS = 52_000
# The interpreter, numpy, a buffer of 8 MB; for bf16 experts one expert's matrix of 33 MB, and about
# 10 MB for each of up to eight threads that quantise.
LIMIT_MB = {"mxfp4": 120, "bf16": 240}

CONVERT = """
import resource, sys
from pathlib import Path
from gptoss.convert import convert
convert(sys.argv[1], sys.argv[2], vocabulary=sys.argv[3])
if sys.platform == "linux":
    # Unlike ru_maxrss, this does not include the memory of the process that started this one.
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    print(int(fields["VmHWM"].split()[0]) // 1000)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 10**6)
"""


def write_large_checkpoint(directory: Path, experts: Literal["mxfp4", "bf16"]) -> None:
    """A checkpoint with an embedding and an unembedding of 300 MB, which are holes in the file."""
    checkpoint = random_checkpoint(LARGE, seed=1)
    if experts == "mxfp4":
        tensors, config = checkpoint, openai_config(LARGE)
        large = ("embedding.weight", "unembedding.weight")
    else:
        tensors = hugging_face_tensors(LARGE, checkpoint, experts)
        config = hugging_face_config(LARGE, experts)
        large = ("model.embed_tokens.weight", "lm_head.weight")
    config["vocab_size"] = NUM_EMBEDDING_ROWS
    (directory / "config.json").write_text(json.dumps(config))
    offset = 0
    first_byte: dict[str, int] = {}
    header: dict[str, object] = {}
    for name, tensor in tensors.items():
        shape = (NUM_EMBEDDING_ROWS, LARGE.hidden_size) if name in large else tensor.shape
        end = offset + int(np.prod(shape)) * tensor.data.itemsize
        header[name] = {"dtype": tensor.dtype, "shape": shape, "data_offsets": [offset, end]}
        first_byte[name], offset = offset, end
    text = json.dumps(header).encode()
    with (directory / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, tensor in tensors.items():
            if name not in large:
                file.seek(8 + len(text) + first_byte[name])
                file.write(np.ascontiguousarray(tensor.data).data)
        file.truncate(8 + len(text) + offset)


def write_large_vocabulary(path: Path) -> Path:
    """As many tokens as the embedding has rows, but for the special ones."""
    return write_vocabulary(path, NUM_EMBEDDING_ROWS - 16)


@pytest.mark.slow
@pytest.mark.parametrize("experts", ["mxfp4", "bf16"])
def test_peak_memory_is_far_below_the_largest_tensor(
    tmp_path: Path, experts: Literal["mxfp4", "bf16"]
) -> None:
    write_large_checkpoint(tmp_path, experts)
    vocabulary = write_large_vocabulary(tmp_path)
    destination = tmp_path / "model.bin"
    process = subprocess.run(
        [sys.executable, "-c", CONVERT, str(tmp_path), str(destination), str(vocabulary)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert destination.stat().st_size > 2 * 290e6
    assert int(process.stdout) < LIMIT_MB[experts]
