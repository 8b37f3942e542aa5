"""A reader of .safetensors files that trusts nothing and holds no tensor in memory.

A file is a u64 length N, N bytes of JSON that name each tensor's type, shape and byte range, and
the tensors' bytes. Everything in the header is checked against the file's size before it is used.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from numpy.typing import NDArray

from gptoss.convert.source_file import SourceFile
from gptoss.errors import ConversionError

# gpt-oss-120b has 687 tensors, whose header takes less than 100 KB. A longer header than this is
# damage or an attack, and would cost memory to parse.
MAX_HEADER_BYTES = 16 * 2**20

BYTES_PER_ELEMENT = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a checkpoint: where its bytes are and what they mean."""

    name: str
    dtype: str  # as safetensors spells it: "BF16", "U8", ...
    shape: tuple[int, ...]
    file: SourceFile
    offset: int  # of the first byte, from the start of the file
    num_bytes: int

    @property
    def num_elements(self) -> int:
        """The product of the shape's dimensions."""
        return math.prod(self.shape)

    @property
    def bytes_per_element(self) -> int:
        """Bytes that one element takes in the file."""
        return BYTES_PER_ELEMENT[self.dtype]

    def read_into(self, first_byte: int, buffer: NDArray[Any]) -> None:
        """Fill a contiguous array with the bytes that start at `first_byte` of the tensor."""
        self.file.read_into(self.offset + first_byte, buffer)


@dataclass(frozen=True)
class TensorBytes:
    """Some bytes of a stored tensor."""

    tensor: StoredTensor
    first_byte: int
    num_bytes: int

    @property
    def offset(self) -> int:
        """Where they begin in the file."""
        return self.tensor.offset + self.first_byte


class SafetensorsFile(SourceFile):
    """An open .safetensors file, whose header has been checked.

    `tensors` has the tensors by name. Raises ConversionError, with the file's name and the
    offending numbers, when the file is truncated or its header is damaged.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self.tensors = dict(self._parse_header())
            self._check_byte_ranges()
        except BaseException:
            self.close()
            raise

    def _parse_header(self) -> Iterator[tuple[str, StoredTensor]]:
        if self.num_bytes < 8:
            raise ConversionError(
                f"{self.path} has {self.num_bytes} bytes, too few for a safetensors file: "
                "download it again."
            )
        header_bytes = int.from_bytes(self.read(0, 8), "little")
        if header_bytes > MAX_HEADER_BYTES:
            raise ConversionError(
                f"{self.path} claims a header of {header_bytes} bytes, more than the "
                f"{MAX_HEADER_BYTES} that are sensible: it is damaged or no safetensors file."
            )
        self._data_start = 8 + header_bytes
        if self._data_start > self.num_bytes:
            raise ConversionError(
                f"{self.path} is truncated: its header ends at byte {self._data_start}, "
                f"the file at byte {self.num_bytes}. Download it again."
            )
        for name, entry in self._parse_json(self.read(8, header_bytes)):
            if name != "__metadata__":
                yield name, self._parse_entry(name, entry)

    def _parse_json(self, text: bytes) -> list[tuple[str, Any]]:
        """Parse the header as a list of pairs, so that a name that is there twice is noticed."""

        class Pairs(list[tuple[str, Any]]):
            pass

        try:
            header = json.loads(text, object_pairs_hook=Pairs)
        except (ValueError, RecursionError) as error:
            raise ConversionError(f"The header of {self.path} is no JSON: {error}.") from error
        if not isinstance(header, Pairs):
            raise ConversionError(f"The header of {self.path} is no JSON object.")
        seen = set()
        for name, _ in header:
            if name in seen:
                raise ConversionError(f"{self.path} holds the tensor {name!r} twice.")
            seen.add(name)
        return header

    def _parse_entry(self, name: str, pairs: object) -> StoredTensor:
        entry = dict(pairs) if isinstance(pairs, list) else {}
        dtype, shape, range_ = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
        if (
            not isinstance(dtype, str)
            or not _is_list_of_sizes(shape)
            or not _is_list_of_sizes(range_)
            or len(range_) != 2
        ):
            raise ConversionError(
                f"{self.path} describes the tensor {name!r} without a valid dtype, shape and "
                "data_offsets."
            )
        begin, end = range_
        if begin > end:
            raise ConversionError(
                f"{self.path} places the tensor {name!r} at bytes {begin} to {end} of its data, "
                "which end before they begin."
            )
        tensor = StoredTensor(
            name, dtype, tuple(shape), self, self._data_start + begin, end - begin
        )
        if dtype in BYTES_PER_ELEMENT:
            expected = tensor.num_elements * tensor.bytes_per_element
            if tensor.num_bytes != expected:
                raise ConversionError(
                    f"{self.path} gives the tensor {name!r} {tensor.num_bytes} bytes, but shape "
                    f"{list(shape)} of {dtype} takes {expected}."
                )
        return tensor

    def _check_byte_ranges(self) -> None:
        tensors = sorted(self.tensors.values(), key=lambda tensor: tensor.offset)
        end = self._data_start
        previous = ""
        for tensor in tensors:
            if tensor.offset < end and tensor.num_bytes > 0:
                raise ConversionError(
                    f"In {self.path} the tensors {previous!r} and {tensor.name!r} overlap."
                )
            if tensor.num_bytes > 0:
                end, previous = tensor.offset + tensor.num_bytes, tensor.name
        if end > self.num_bytes:
            raise ConversionError(
                f"{self.path} is truncated: its tensors end at byte {end}, the file at byte "
                f"{self.num_bytes}. Download it again."
            )


def _is_list_of_sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)
