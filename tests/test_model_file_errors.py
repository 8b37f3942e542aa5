"""A file that is not a valid model is refused with a sentence: never a crash, a hang or a guess.

The sentence names the file, the offset, what was expected there and what was found.
"""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path

import gptoss
import pytest
from engine_cases import model_path, random_tokens
from hypothesis import given, settings
from hypothesis import strategies as st

HEADER_SIZE = 16384


@pytest.fixture(scope="module")
def valid() -> bytes:
    return model_path().read_bytes()


def load(path: Path, content: bytes) -> gptoss.Model:
    path.write_bytes(content)
    return gptoss.Model(path, threads=1)


def refusal(tmp_path: Path, content: bytes) -> str:
    with pytest.raises(gptoss.ModelFormatError) as caught:
        load(tmp_path / "model.bin", content)
    message = str(caught.value)
    assert "model.bin" in message
    assert message.endswith(".")
    return message


def replaced(valid: bytes, offset: int, field: bytes) -> bytes:
    return valid[:offset] + field + valid[offset + len(field) :]


def test_model_format_errors_are_value_errors() -> None:
    assert issubclass(gptoss.ModelFormatError, ValueError)
    assert issubclass(gptoss.ModelFormatError, gptoss.GptossError)


def test_empty_file(tmp_path: Path) -> None:
    message = refusal(tmp_path, b"")
    assert "empty" in message
    assert "offset 0" in message


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(gptoss.ModelFormatError, match=r"directory.*gptoss convert"):
        gptoss.Model(tmp_path)


def test_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(gptoss.ModelFormatError, match="regular file"):
        gptoss.Model(tmp_path / "fifo")


def test_device_does_not_hang() -> None:
    with pytest.raises(gptoss.ModelFormatError, match="regular file"):
        gptoss.Model("/dev/zero")


@pytest.mark.parametrize("content", [b"{}", b"\x80" * 70000, b"GGUF" + bytes(70000), bytes(70000)])
def test_file_of_another_kind(tmp_path: Path, content: bytes) -> None:
    message = refusal(tmp_path, content)
    assert "offset 0" in message
    assert "expected" in message
    assert "found" in message


def test_wrong_version(tmp_path: Path, valid: bytes) -> None:
    message = refusal(tmp_path, replaced(valid, 9, b"2.0"))
    assert "offset 8" in message
    assert "v1.0" in message
    assert "v2.0" in message


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        (16, "df52dc86-1789-4ed0-a295-66f10508145b"),
        (100, "229177a8-5775-4268-bfd8-d588b351c56d"),
        (116, "7401aded-2a95-40cb-b782-9ccebaafe72b"),
    ],
    ids=["model", "layout", "tokenizer"],
)
def test_wrong_uuid(tmp_path: Path, valid: bytes, offset: int, expected: str) -> None:
    message = refusal(tmp_path, replaced(valid, offset, bytes(range(16))))
    assert f"offset {offset}" in message
    assert expected in message
    assert "00010203-0405-0607-0809-0a0b0c0d0e0f" in message


INTEGERS = {
    "context_length": (32, [0, 2**32 - 1]),
    "num_blocks": (36, [0, 1, 3, 2**16, 2**32 - 1]),
    "num_experts": (40, [0, 1, 5, 2**16, 2**32 - 1]),
    "num_active_experts": (44, [0, 5, 2**32 - 1]),
    "embedding_dim": (48, [0, 32, 65, 96, 2**31, 2**32 - 32]),
    "mlp_dim": (52, [0, 32, 65, 96, 2**31, 2**32 - 32]),
    "head_dim": (60, [0, 32, 128, 2**32 - 1]),
    "num_heads": (64, [0, 1, 2, 5, 2**26, 2**32 - 1]),
    "num_kv_heads": (68, [0, 1, 3, 4, 5, 2**32 - 1]),
    "attention_window": (72, [0, 2**32 - 1]),
    "num_special_tokens": (132, [0, 15, 17, 2**28, 2**32 - 1]),
    "num_text_tokens": (136, [0, 447, 449, 2**28, 2**32 - 1]),
    "regex_size": (140, [0, 1, 10, 2**16, 2**32 - 1]),
    "tokens_size": (144, [0, 1, 100, 2**32 - 1]),
}


@pytest.mark.parametrize(
    ("offset", "value"),
    [(offset, value) for offset, values in INTEGERS.values() for value in values],
    ids=[f"{name}-{value}" for name, (_, values) in INTEGERS.items() for value in values],
)
def test_size_that_is_hostile_or_does_not_match_the_file(
    tmp_path: Path, valid: bytes, offset: int, value: int
) -> None:
    message = refusal(tmp_path, replaced(valid, offset, struct.pack("<I", value)))
    assert "at offset " in message
    assert "expected" in message
    assert "found" in message


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        ("swiglu_limit", 56),
        ("rope_theta", 76),
        ("interpolation_scale", 80),
        ("yarn_offset", 84),
        ("yarn_scale", 88),
        ("yarn_multiplier", 92),
        ("rmsnorm_epsilon", 96),
    ],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), -1e38])
def test_number_that_is_none(
    tmp_path: Path, valid: bytes, name: str, offset: int, value: float
) -> None:
    message = refusal(tmp_path, replaced(valid, offset, struct.pack("<f", value)))
    assert f"offset {offset}" in message
    assert name in message


@settings(deadline=None, max_examples=150, derandomize=True)
@given(data=st.data())
def test_truncated_file(
    tmp_path_factory: pytest.TempPathFactory, valid: bytes, data: st.DataObject
) -> None:
    size = data.draw(st.one_of(st.integers(1, 200), st.integers(1, len(valid) - 1)))
    message = refusal(tmp_path_factory.mktemp("truncated"), valid[:size])
    assert "at offset " in message
    assert "end of the file" in message


@pytest.mark.parametrize("extra", [1, 16, 16384])
def test_bytes_behind_the_end(tmp_path: Path, valid: bytes, extra: int) -> None:
    message = refusal(tmp_path, valid + bytes(extra))
    assert f"at offset {len(valid)}" in message
    assert f"found {extra} more bytes" in message


def test_text_token_longer_than_its_table(tmp_path: Path, valid: bytes) -> None:
    num_special, _, regex_size, _ = struct.unpack_from("<4I", valid, 132)
    first_token = 148 + 16 * num_special + regex_size
    message = refusal(tmp_path, replaced(valid, first_token, struct.pack("<H", 0xFFFF)))
    assert f"offset {first_token}" in message
    message = refusal(tmp_path, replaced(valid, first_token, struct.pack("<H", 0)))
    assert f"offset {first_token}" in message


def test_special_token_that_comes_twice(tmp_path: Path, valid: bytes) -> None:
    start = bytes.fromhex("55a77c2f8a014c548ac2313bfc7e208d")
    assert start in valid
    num_special = struct.unpack_from("<I", valid, 132)[0]
    table = b"".join(start for _ in range(num_special))
    message = refusal(tmp_path, replaced(valid, 148, table))
    assert "offset 164" in message


def test_every_bit_of_the_header_flipped_is_refused_or_harmless(
    tmp_path: Path, valid: bytes
) -> None:
    """A flip that leaves a valid header (another limit, say) still gives a model that runs."""
    path = tmp_path / "model.bin"
    refused = 0
    for bit in range(148 * 8):
        flipped = bytearray(valid)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            loaded = load(path, bytes(flipped))
        except gptoss.ModelFormatError:
            refused += 1
        else:
            context = gptoss.Context(loaded, context_length=min(8, loaded.max_context_length))
            context.append(5)
            context.process()
    # Free to vary are context_length, attention_window and the numbers of the arithmetic.
    assert refused > 148 * 8 - 9 * 32


@settings(deadline=None, max_examples=100, derandomize=True)
@given(flips=st.lists(st.floats(0, 1), min_size=1, max_size=4), mask=st.integers(1, 255))
def test_flipped_bits_of_tables_and_weights_never_crash(
    tmp_path_factory: pytest.TempPathFactory, valid: bytes, flips: list[float], mask: int
) -> None:
    """The format has no checksum. Damage that cannot be seen gives other numbers or an error."""
    flipped = bytearray(valid)
    for place in flips:
        # Half of them in the header's tables, which are small.
        end = HEADER_SIZE if place < 0.5 else len(valid) - 1
        flipped[148 + int(place * 2 % 1 * (end - 148))] ^= mask
    with contextlib.suppress(gptoss.GptossError):
        loaded = load(tmp_path_factory.mktemp("flipped") / "model.bin", bytes(flipped))
        context = gptoss.Context(loaded)
        context.append(random_tokens(20))
        context.sample(3)
        loaded.tokenizer.decode(context.tokens)


def test_weights_that_are_not_numbers_are_an_error_when_sampling(
    tmp_path: Path, valid: bytes
) -> None:
    place = next(
        tensor for tensor in gptoss.Model(model_path()).tensors if tensor.name == "norm.scale"
    )
    damaged = load(tmp_path / "model.bin", replaced(valid, place.offset, b"\xc0\x7f" * 64))
    context = gptoss.Context(damaged)
    context.append(5)
    with pytest.raises(gptoss.BackendError, match="not finite"):
        context.sample()
