"""Reading a whole model file: every byte is hashed, and what can be wrong in it is looked for."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from gptoss import TensorInfo, Tokenizer

CHUNK_BYTES = 8 << 20
MAX_PROBLEMS = 50
# The model file adds 14 to every scale of the checkpoint, so that no byte below it can occur.
SMALLEST_SCALE = 14
# Exponent bits of a bfloat16: all of them set is an infinity or a NaN.
BF16_EXPONENT = 0x7F80
# -128 as a byte: codes are symmetric.
UNUSED_CODE = 0x80
FP16_INFINITY = 0x7C00
# Where the header holds num_special_tokens, num_text_tokens, regex_size and tokens_size (u32 each),
# and where the special tokens' UUIDs of 16 bytes, the regex and the tokens follow.
TOKENIZER_SIZES_OFFSET = 132
TOKENIZER_OFFSET = 148


@dataclass
class Verification:
    """What reading every byte of a file showed; `problems` are sentences, the first of many."""

    num_bytes: int = 0
    sha256: str = ""
    num_checksums: int = 0
    num_problems: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, problem: str) -> None:
        """Notes one problem; of more than MAX_PROBLEMS only the number is kept."""
        self.num_problems += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)


def verify_file(
    path: Path,
    tensors: Sequence[TensorInfo],
    tokenizer: Tokenizer,
    progress: Callable[[int, int], None],
) -> Verification:
    """Reads the file once from start to end, calling `progress(bytes read, bytes in all)`.

    Looked for: bytes that are not zero between the tensors, NaN and infinity in bf16 tensors, MXFP4
    scales, 8-bit codes and their scales that the format cannot hold, tensors whose bytes are not
    those that the file's table has a checksum of, equal or empty text tokens. OSError: reading
    failed.
    """
    result = Verification()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size = file.seek(0, 2)
        header, checksums = _read_header(file)
        result.num_checksums = len(checksums)
        digest.update(header)
        result.num_bytes = len(header)
        for start, end, region in _regions(len(header), tensors, size):
            wrong: list[int] = []  # offsets of the first wrong value in each piece
            num_wrong = 0
            checksum = 0
            for offset in range(start, end, CHUNK_BYTES):
                data = file.read(min(CHUNK_BYTES, end - offset))
                digest.update(data)
                result.num_bytes += len(data)
                if region is not None and checksums:
                    checksum = zlib.crc32(data, checksum)
                found = _find_wrong(np.frombuffer(data, np.uint8), region)
                if found.size:
                    wrong.append(offset + int(found[0]))
                    num_wrong += found.size
                progress(result.num_bytes, size)
            if wrong:
                result.add(_describe_wrong(region, num_wrong, wrong[0]))
            if region is not None and checksums.get(region.name, checksum) != checksum:
                result.add(
                    f"{region.name} has the checksum {checksum:08x}, where the file's table says "
                    f"{checksums[region.name]:08x}: it is damaged."
                )
    if result.num_bytes != size:
        result.add(f"Only {result.num_bytes} of {size} bytes could be read.")
    result.sha256 = digest.hexdigest()
    for problem in _vocabulary_problems(tokenizer):
        result.add(problem)
    return result


def _read_header(file: BinaryIO) -> tuple[bytes, dict[str, int]]:
    """The header up to its last byte, and the checksums of the tensors, if it has a table of them.

    What it says was checked when the model was opened.
    """
    from gptoss.convert.tensor_table import (
        LAYOUT_UUID_OFFSET,
        TABLE_ALIGNMENT,
        TABLE_LAYOUT_UUID,
        read_table,
        table_bytes,
    )

    file.seek(TOKENIZER_SIZES_OFFSET)
    num_special, _, regex_size, tokens_size = struct.unpack("<4I", file.read(16))
    end = TOKENIZER_OFFSET + 16 * num_special + regex_size + tokens_size
    file.seek(0)
    header = file.read(end)
    layout = header[LAYOUT_UUID_OFFSET : LAYOUT_UUID_OFFSET + len(TABLE_LAYOUT_UUID)]
    if layout != TABLE_LAYOUT_UUID:
        return header, {}
    table = end + -end % TABLE_ALIGNMENT
    header += file.read(table + 4 - end)
    header += file.read(table_bytes(int.from_bytes(header[-4:], "little")) - 4)
    return header, {entry.name: entry.checksum for entry in read_table(header, table)}


def _regions(
    header_size: int, tensors: Sequence[TensorInfo], size: int
) -> Iterator[tuple[int, int, TensorInfo | None]]:
    """The file after its header in order: start, end, and the tensor there, or None for padding."""
    end = header_size
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        yield end, tensor.offset, None
        end = tensor.offset + tensor.num_bytes
        yield tensor.offset, end, tensor
    yield end, size, None


def _find_wrong(
    data: npt.NDArray[np.uint8], tensor: TensorInfo | None
) -> npt.NDArray[np.signedinteger[Any]]:
    """Where a piece of a tensor or of padding holds what cannot be right: offsets in bytes."""
    if tensor is None:
        return np.flatnonzero(data)
    if tensor.dtype == "bf16":
        values = data[: data.size // 2 * 2].view("<u2")
        return np.flatnonzero((values & BF16_EXPONENT) == BF16_EXPONENT) * 2
    if tensor.dtype == "mxfp4_scales":
        return np.flatnonzero(data < SMALLEST_SCALE)
    if tensor.dtype == "q8_codes":
        return np.flatnonzero(data == UNUSED_CODE)
    if tensor.dtype == "q8_scales":
        # Infinite, not a number or negative.
        return np.flatnonzero(data[: data.size // 2 * 2].view("<u2") >= FP16_INFINITY) * 2
    return np.flatnonzero(data[:0])  # any byte is a pair of MXFP4 codes


def _describe_wrong(tensor: TensorInfo | None, count: int, first: int) -> str:
    if tensor is None:
        return f"Padding that must be zero has {count} other bytes from offset {first} on."
    what = {
        "bf16": "infinite or not a number",
        "mxfp4_scales": f"below {SMALLEST_SCALE}",
        "q8_codes": "-128",
        "q8_scales": "infinite, negative or not a number",
    }[tensor.dtype]
    return f"{tensor.name} has {count} values that are {what}, the first at offset {first}."


def _vocabulary_problems(tokenizer: Tokenizer) -> Iterator[str]:
    counts = Counter(tokenizer.token_bytes(token) for token in range(tokenizer.num_text_tokens))
    if b"" in counts:
        yield f"{counts.pop(b'')} text tokens are empty."
    for data, count in counts.items():
        if count > 1:
            yield f"The bytes {data!r} are {count} text tokens."
    missing = sum(bytes([byte]) not in counts for byte in range(256))
    if missing:
        yield f"{missing} of the 256 single bytes are no text token: some text cannot be encoded."
