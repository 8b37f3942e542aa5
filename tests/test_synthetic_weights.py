"""Random weights: a file that loads, computes sensible numbers, and is recognised."""

import shutil
from pathlib import Path
from typing import Any

import gptoss
import numpy as np
import pytest
import reference
from gptoss.bench.random_weights import (
    STRETCH_BYTES,
    Codes,
    Normal,
    RandomFile,
    Scales,
    random_checkpoint,
)
from gptoss.bench.shapes import SHAPES
from gptoss.bench.synthetic_file import (
    SyntheticFileError,
    difference,
    plan_file,
    write_file,
)
from gptoss.convert.bfloat16 import float32_from_bfloat16
from numpy.typing import NDArray
from synthetic_models import small_plan, small_shape, write_small_model


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic") / "model.bin"
    write_small_model(path)
    return path


def checkpoint_arrays(num_blocks: int = 4) -> dict[str, NDArray[Any]]:
    """The tensors as the reference takes them."""
    arrays = {}
    for name, tensor in random_checkpoint(small_shape(num_blocks), 0).tensors.items():
        content = np.empty(tensor.num_bytes, np.uint8)
        tensor.read_into(0, content)
        stored = content.view("<u2") if tensor.dtype == "BF16" else content
        arrays[name] = stored.reshape(tensor.shape)
    return arrays


def test_real_shapes_have_the_sizes_of_the_real_files() -> None:
    # gpt-oss-20b's metal/model.bin, as OpenAI publishes it.
    assert plan_file(SHAPES["20b"]).num_bytes == 13_750_886_400
    assert 65.2e9 < plan_file(SHAPES["120b"]).num_bytes < 65.3e9
    assert 12.0e9 < plan_file(SHAPES["20b"], "q8").num_bytes < 12.1e9


def test_dense_weights_in_8_bits(tmp_path: Path) -> None:
    path = tmp_path / "q8.bin"
    plan = write_small_model(path, dense="q8")
    assert path.stat().st_size == plan.num_bytes < small_plan().num_bytes
    assert difference(plan, path) is None
    assert difference(small_plan(), path) is not None
    context = gptoss.Context(gptoss.Model(path, "cpu"))
    context.append(list(range(40)))
    assert np.isfinite(context.logits()).all()
    assert 0.5 < context.logits().std() < 2


def test_engine_computes_what_the_reference_computes_of_the_same_weights(model_path: Path) -> None:
    tokens = np.random.default_rng(0).integers(0, 400, 40).tolist()
    context = gptoss.Context(gptoss.Model(model_path, "cpu"))
    context.append(tokens)
    expected = reference.forward(checkpoint_arrays(), small_shape().config, tokens).logits[-1]
    np.testing.assert_allclose(context.logits(), expected, atol=0.05)


def test_activations_neither_explode_nor_vanish_and_experts_are_chosen_evenly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[float] = []
    counts: list[NDArray[Any]] = []
    scores: list[float] = []
    norm, route = reference.rms_norm, reference.route

    def watched_norm(x: NDArray[Any], gain: NDArray[Any]) -> NDArray[Any]:
        sizes.append(float(np.sqrt(np.mean(x * x))))
        return norm(x, gain)

    def watched_route(logits: NDArray[Any], num_active: int) -> Any:
        chosen = route(logits, num_active)
        counts.append(np.bincount(chosen[0].ravel(), minlength=logits.shape[1]))
        scores.append(float(logits.std()))
        return chosen

    monkeypatch.setattr(reference, "rms_norm", watched_norm)
    monkeypatch.setattr(reference, "route", watched_route)
    num_blocks = 24
    tokens = np.random.default_rng(0).integers(0, 400, 64).tolist()
    output = reference.forward(
        checkpoint_arrays(num_blocks), small_shape(num_blocks).config, tokens, np.float32
    )

    assert 3.5 < sizes[0] < 4.5
    assert 3.5 < sizes[-1] < 8
    assert all(0.5 < score < 2 for score in scores)
    # 2 of 8 experts for each of 64 tokens: 16 each, and chance.
    assert all(count.min() >= 1 and count.max() <= 48 for count in counts)
    assert np.isfinite(output.logits).all()
    assert 0.5 < output.logits.std() < 2


def test_the_same_bytes_come_out_whatever_the_pieces() -> None:
    file = RandomFile(7)
    tensor = file.tensor("codes", (3 * STRETCH_BYTES,), Codes())
    whole = np.empty(tensor.num_bytes, np.uint8)
    tensor.read_into(0, whole)
    assert len(np.unique(whole)) == 256
    for first, count in ((0, 1), (5, STRETCH_BYTES), (STRETCH_BYTES - 3, 2 * STRETCH_BYTES)):
        piece = np.empty(count, np.uint8)
        RandomFile(7).tensor("codes", tensor.shape, Codes()).read_into(first, piece)
        np.testing.assert_array_equal(piece, whole[first : first + count])


def test_tensors_differ_and_so_do_seeds() -> None:
    def drawn(seed: int, number: int) -> bytes:
        file = RandomFile(seed)
        tensors = [file.tensor(str(n), (64,), Codes()) for n in range(number + 1)]
        content = np.empty(64, np.uint8)
        tensors[number].read_into(0, content)
        return content.tobytes()

    assert len({drawn(0, 0), drawn(0, 1), drawn(1, 0), drawn(1, 1)}) == 4


def test_distributions() -> None:
    file = RandomFile(0)
    numbers = np.empty(2**20, np.uint16)
    file.tensor("normal", (2**20,), Normal(1.0, 0.5)).read_into(0, numbers)
    values = float32_from_bfloat16(numbers)
    assert abs(values.mean() - 1) < 0.01
    assert abs(values.std() - 0.5) < 0.01
    scales = np.empty(2**16, np.uint8)
    file.tensor("scales", (2**16,), Scales(119)).read_into(0, scales)
    assert set(np.unique(scales).tolist()) == {119, 120}


def test_a_written_file_is_recognised(model_path: Path) -> None:
    assert difference(small_plan(), model_path) is None
    reason = difference(small_plan(num_blocks=5), model_path)
    assert reason is not None
    assert "bytes instead of" in reason


@pytest.mark.parametrize(
    ("place", "what"), [(40, "header"), (1, "first tensor"), (-1, "last tensor")]
)
def test_a_file_with_other_content_is_not(
    model_path: Path, tmp_path: Path, place: int, what: str
) -> None:
    other = tmp_path / "other.bin"
    shutil.copy(model_path, other)
    plan = small_plan()
    offset = 40 if what == "header" else plan.layout.items[place].offset
    with other.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))
    assert difference(plan, other) == f"its {what} is another"


def test_too_little_space_is_found_out_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(SyntheticFileError, match=r"take \S+ MB, but only 1000 bytes are free in"):
        write_small_model(tmp_path / "model.bin")
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(phase: str, done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_file(small_plan(), tmp_path / "model.bin", interrupt, replace=False)
    assert list(tmp_path.iterdir()) == []


def test_number_of_blocks_is_checked() -> None:
    with pytest.raises(ValueError, match="from 1 to 1024, not 0"):
        SHAPES["20b"].with_blocks(0)
