"""The reader of .safetensors files: what it accepts, and the sentence for what it does not."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import Tensor, write_safetensors
from gptoss.convert.safetensors_file import MAX_HEADER_BYTES, SafetensorsFile
from gptoss.errors import ConversionError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TWO_TENSORS = {
    "numbers": Tensor("F32", np.arange(6, dtype=np.float32).reshape(2, 3)),
    "bytes": Tensor("U8", np.arange(10, dtype=np.uint8)),
}


def write_header(path: Path, header: Any, num_data_bytes: int = 34) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(num_data_bytes))
    return path


def entry(begin: int, end: int, shape: Any = None, dtype: Any = "U8") -> dict[str, Any]:
    shape = [end - begin] if shape is None else shape
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def refusal(path: Path) -> str:
    with pytest.raises(ConversionError) as caught:
        SafetensorsFile(path)
    return str(caught.value)


def test_tensors_are_described_and_read(tmp_path: Path) -> None:
    path = tmp_path / "two.safetensors"
    write_safetensors(path, TWO_TENSORS)
    file = SafetensorsFile(path)
    numbers, bytes_ = file.tensors["numbers"], file.tensors["bytes"]
    assert (numbers.dtype, numbers.shape, numbers.num_bytes) == ("F32", (2, 3), 24)
    assert (numbers.num_elements, numbers.bytes_per_element) == (6, 4)
    read = np.empty(2, np.float32)
    numbers.read_into(12, read)
    assert read.tolist() == [3, 4]
    rest = np.empty((2, 2), np.uint8)
    bytes_.read_into(6, rest)
    assert rest.tolist() == [[6, 7], [8, 9]]
    file.close()


def test_a_file_of_the_safetensors_library_is_read(tmp_path: Path) -> None:
    numpy_format = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    path = tmp_path / "library.safetensors"
    numpy_format.save_file({"a": np.arange(3, dtype=np.int32)}, path, metadata={"by": "library"})
    file = SafetensorsFile(path)
    read = np.empty(3, np.int32)
    file.tensors["a"].read_into(0, read)
    assert list(file.tensors) == ["a"]
    assert read.tolist() == [0, 1, 2]
    file.close()


def test_a_file_may_have_no_tensors(tmp_path: Path) -> None:
    file = SafetensorsFile(write_header(tmp_path / "empty.safetensors", {}))
    assert file.tensors == {}
    file.close()


@pytest.mark.parametrize("num_bytes", [0, 7])
def test_too_short_for_a_length(tmp_path: Path, num_bytes: int) -> None:
    path = tmp_path / "short.safetensors"
    path.write_bytes(bytes(num_bytes))
    assert f"has {num_bytes} bytes, too few for a safetensors file" in refusal(path)


@pytest.mark.parametrize("length", [MAX_HEADER_BYTES + 1, 2**40, 2**64 - 1])
def test_a_hostile_header_length_allocates_nothing(tmp_path: Path, length: int) -> None:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b"{}")
    assert f"claims a header of {length} bytes" in refusal(path)


def test_truncated_within_the_header(tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    write_safetensors(path, TWO_TENSORS)
    path.write_bytes(path.read_bytes()[:50])
    assert re.search(
        r"is truncated: its header ends at byte \d+, the file at byte 50", refusal(path)
    )


def test_truncated_within_the_tensors(tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    write_safetensors(path, TWO_TENSORS)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    assert f"its tensors end at byte {size}, the file at byte {size - 1}" in refusal(path)


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        (b"", "is no JSON"),
        (b"{", "is no JSON"),
        (b"\xff\xfe\x00", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "is no JSON object"),
        (b"3", "is no JSON object"),
        (b'{"a": {}, "a": {}}', "holds the tensor 'a' twice"),
        ({"a": 1}, "describes the tensor 'a' without a valid dtype"),
        ({"a": {"dtype": "U8", "shape": [1]}}, "without a valid dtype, shape and data_offsets"),
        ({"a": entry(0, 1, dtype=8)}, "without a valid dtype"),
        ({"a": entry(0, 1, shape="1")}, "without a valid dtype"),
        ({"a": entry(0, 1, shape=[-1])}, "without a valid dtype"),
        ({"a": entry(0, 1, shape=[True])}, "without a valid dtype"),
        ({"a": entry(0, 1, shape=[1.0])}, "without a valid dtype"),
        ({"a": {**entry(0, 1), "data_offsets": [0, 1, 2]}}, "without a valid dtype"),
        ({"a": entry(5, 4, shape=[1])}, "at bytes 5 to 4 of its data, which end before they begin"),
        (
            {"a": entry(0, 3, shape=[2])},
            "gives the tensor 'a' 3 bytes, but shape [2] of U8 takes 2",
        ),
        ({"a": entry(0, 4, shape=[2**62, 2**62], dtype="F32")}, "gives the tensor 'a' 4 bytes"),
        ({"a": entry(0, 4), "b": entry(3, 7)}, "the tensors 'a' and 'b' overlap"),
        ({"a": entry(0, 4), "b": entry(0, 4)}, "the tensors 'a' and 'b' overlap"),
        ({"a": entry(10**18, 10**18 + 1)}, "is truncated"),
    ],
)
def test_damaged_headers(tmp_path: Path, header: Any, sentence: str) -> None:
    assert sentence in refusal(write_header(tmp_path / "damaged.safetensors", header))


def test_an_unknown_type_is_no_error_unless_the_tensor_is_needed(tmp_path: Path) -> None:
    path = write_header(tmp_path / "new.safetensors", {"a": entry(0, 5, dtype="F4")})
    file = SafetensorsFile(path)
    assert file.tensors["a"].dtype == "F4"
    file.close()


def test_unreadable_files(tmp_path: Path) -> None:
    assert "cannot be read: No such file or directory" in refusal(tmp_path / "absent.safetensors")
    assert "cannot be read: Is a directory" in refusal(tmp_path)


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "shrinking.safetensors"
    write_safetensors(path, TWO_TENSORS)
    file = SafetensorsFile(path)
    with path.open("r+b") as writer:
        writer.truncate(path.stat().st_size - 5)
    with pytest.raises(ConversionError, match=r"ended at byte \d+ while it was read"):
        file.tensors["bytes"].read_into(0, np.empty(10, np.uint8))
    file.close()


@pytest.mark.parametrize("first_read", [0, 1, 2])
def test_a_disk_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_read: int
) -> None:
    """The first reads are of the header's length, the header and a tensor."""
    path = tmp_path / "unreadable.safetensors"
    write_safetensors(path, TWO_TENSORS)
    num_reads = 0

    class FailingFile(FileIO):
        def readinto(self, buffer: Any) -> int:
            nonlocal num_reads
            num_reads += 1
            if num_reads > first_read:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().readinto(buffer)

    monkeypatch.setattr("gptoss.convert.source_file.FileIO", FailingFile)
    with (
        pytest.raises(ConversionError, match=r"cannot be read at byte \d+: Input/output error"),
        contextlib.closing(SafetensorsFile(path)) as file,
    ):
        file.tensors["bytes"].read_into(0, np.empty(10, np.uint8))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_leads_to_anything_but_a_sentence(tmp_path: Path, data: st.DataObject) -> None:
    """Flipped, inserted and lost bytes: either the file is refused, or every tensor lies in it."""
    path = tmp_path / "damaged.safetensors"
    write_safetensors(path, TWO_TENSORS)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(content) - 1))
        replaced = data.draw(st.integers(0, 3))
        content[position : position + replaced] = data.draw(st.binary(max_size=3))
    path.write_bytes(content)
    try:
        file = SafetensorsFile(path)
    except ConversionError:
        return
    for tensor in file.tensors.values():
        assert 0 <= tensor.offset <= tensor.offset + tensor.num_bytes <= len(content)
    file.close()
