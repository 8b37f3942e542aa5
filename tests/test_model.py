"""What a loaded model says about itself."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import math
import os
import struct
from pathlib import Path

import gptoss
import numpy as np
import pytest
from checkpoints import TINY, float32_from_bf16, openai_config
from engine_cases import ENGINE_SHAPES, checkpoint_of, model, model_path, processed_context
from reference import inverse_frequencies


@pytest.mark.parametrize("shape_name", ENGINE_SHAPES)
def test_config_is_that_of_the_checkpoint(shape_name: str) -> None:
    shape = ENGINE_SHAPES[shape_name]
    config = model(shape_name).config
    assert config.num_blocks == shape.num_blocks
    assert config.num_experts == shape.num_experts
    assert config.num_active_experts == shape.num_active_experts
    assert config.embedding_dim == shape.hidden_size
    assert config.mlp_dim == shape.intermediate_size
    assert config.swiglu_limit == shape.swiglu_limit
    assert config.head_dim == shape.head_dim
    assert config.num_heads == shape.num_heads
    assert config.num_kv_heads == shape.num_kv_heads
    assert config.attention_window == shape.sliding_window
    assert config.vocabulary_size == shape.vocabulary_size
    assert config.rope_theta == shape.rope_theta
    assert config.context_length == 131072
    assert config.rmsnorm_epsilon == np.float32(1e-5)


def test_yarn_fields_of_the_config_describe_the_frequencies() -> None:
    config = model().config
    j = np.arange(32)
    ramp = np.clip(config.yarn_offset + config.yarn_scale * j, 0, 1)
    extrapolated = config.rope_theta ** (-j / 32)
    frequencies = extrapolated * (1 - ramp) + extrapolated * config.interpolation_scale * ramp
    expected = inverse_frequencies(openai_config(TINY))
    np.testing.assert_allclose(frequencies, expected, rtol=1e-5)
    assert config.yarn_multiplier == pytest.approx(0.1 * math.log(32) + 1)


def test_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        model().config.num_blocks = 3  # type: ignore[misc]


def test_model_says_where_it_is_from_and_where_it_runs() -> None:
    loaded = gptoss.Model(model_path(), backend="auto", threads=2)
    assert loaded.path == model_path()
    assert not loaded.is_demo
    assert loaded.backend == "cpu"
    assert loaded.threads == 2
    assert loaded.max_context_length == loaded.config.context_length
    assert str(model_path()) in repr(loaded)


def test_model_without_a_path_is_the_demo_model_of_the_package() -> None:
    demo = gptoss.Model()
    assert demo.is_demo
    assert demo.path.name == "demo-model.bin"
    assert demo.memory.weights < 3e6
    assert demo.config.vocabulary_size == 464


def test_path_may_be_text() -> None:
    assert gptoss.Model(str(model_path())).path == model_path()


def test_threads_default_to_the_processors_that_are_available() -> None:
    if hasattr(os, "sched_getaffinity"):
        available = len(os.sched_getaffinity(0))
    else:
        available = os.cpu_count() or 1
    assert gptoss.Model(model_path()).threads == available


@pytest.mark.parametrize("threads", [0, -1, 1025])
def test_number_of_threads_out_of_range_is_refused(threads: int) -> None:
    with pytest.raises(ValueError, match="threads"):
        gptoss.Model(model_path(), threads=threads)


@pytest.mark.parametrize("precision", ["default", "exact", "fast"])
def test_precision_of_the_cpu_backend_is_the_one_asked_for(precision: str) -> None:
    assert gptoss.Model(model_path(), backend="cpu", precision=precision).precision == precision


def test_precision_is_the_default_unless_asked_for() -> None:
    assert gptoss.Model(model_path(), backend="cpu").precision == "default"


def test_unknown_precision_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"default, exact, fast, not 'fp8'"):
        gptoss.Model(model_path(), precision="fp8")


def test_unknown_backend_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"auto.*cpu.*metal.*'cuda'"):
        gptoss.Model(model_path(), backend="cuda")


def test_backend_that_is_not_in_this_build_is_refused() -> None:
    with contextlib.suppress(gptoss.BackendError):
        gptoss.device_info("metal")
        pytest.skip("this build has the Metal backend")
    with pytest.raises(gptoss.BackendError, match=r"(?i)metal"):
        gptoss.Model(model_path(), backend="metal")


def test_weights_are_mapped_and_workspace_is_counted() -> None:
    loaded = gptoss.Model(model_path(), threads=1)
    before = loaded.memory
    assert before.weights == model_path().stat().st_size
    processed_context(loaded, list(range(300)))
    after = loaded.memory
    assert after.weights == before.weights
    # 300 rows of at least the residual stream, in fp32.
    assert after.workspace - before.workspace > 300 * TINY.hidden_size * 4


def test_loading_reads_and_allocates_nothing_of_the_size_of_the_file(tmp_path: Path) -> None:
    """A sparse file with the sizes of the 120b, 60 GB, in memory that need not hold it."""
    path = tmp_path / "120b.bin"
    header = bytearray(model_path().read_bytes()[:16384])
    struct.pack_into("<5I", header, 36, 36, 128, 4, 2880, 2880)
    struct.pack_into("<2I", header, 64, 64, 8)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(size_of_model_file(36, 128, 2880, 64, 8, TINY.vocabulary_size))

    loaded = gptoss.Model(path, threads=1)

    assert loaded.memory.weights == path.stat().st_size > 60e9
    assert path.stat().st_blocks * 512 < 1e6
    assert loaded.tensors[-1].name == "block.35.mlp.experts.127.mlp2_bias"


def size_of_model_file(
    blocks: int, experts: int, width: int, heads: int, kv_heads: int, vocabulary: int
) -> int:
    """Of a model whose experts are as wide as its residual stream (docs/model-format.md)."""
    end = 16384

    def place(num_bytes: int, alignment: int = 16) -> None:
        nonlocal end
        end = -(-end // alignment) * alignment + num_bytes

    def place_linear(rows: int, columns: int) -> None:
        place(2 * rows * columns + 2 * rows)  # the bias follows its weight

    place(2 * vocabulary * width)
    for _ in range(blocks):
        place(2 * width)
        place_linear(64 * (heads + 2 * kv_heads), width)
        place(2 * heads)
        place_linear(width, 64 * heads)
        place(2 * width)
        place_linear(experts, width)
    place(2 * width)
    place(2 * vocabulary * width)
    for _ in range(blocks):
        place(0, 16384)
        for _ in range(experts):
            for rows in (2 * width, width):
                place(rows * width // 2)
                place(rows * width // 32)
                place(2 * rows)
    return end


def test_tensors_fill_the_file_without_overlap() -> None:
    tensors = model("three_active_experts").tensors
    size = model_path("three_active_experts").stat().st_size
    end = 16384
    for tensor in sorted(tensors, key=lambda tensor: tensor.offset):
        assert tensor.offset >= end
        assert tensor.offset - end < 16384
        end = tensor.offset + tensor.num_bytes
    assert end == size


def test_tensors_have_the_names_and_shapes_of_the_checkpoint() -> None:
    checkpoint = checkpoint_of("three_active_experts")
    shapes = {tensor.name: tensor.shape for tensor in model("three_active_experts").tensors}
    expected = {}
    for name, tensor in checkpoint.items():
        if ".mlp1_" in name or ".mlp2_" in name:
            prefix, _, rest = name.partition(".mlp.")
            for expert in range(tensor.shape[0]):
                expected[f"{prefix}.mlp.experts.{expert}.{rest}"] = tensor.shape[1:]
        else:
            expected[name] = tensor.shape
    assert shapes == expected


def test_offsets_of_tensors_are_where_the_weights_are() -> None:
    tensors = {tensor.name: tensor for tensor in model().tensors}
    place = tensors["embedding.weight"]
    assert place.dtype == "bf16"
    data = model_path().read_bytes()[place.offset : place.offset + place.num_bytes]
    stored = float32_from_bf16(np.frombuffer(data, np.uint16)).reshape(place.shape)
    np.testing.assert_array_equal(stored, checkpoint_of("tiny")["embedding.weight"].float32())


def test_missing_file_is_a_file_not_found_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.bin") as caught:
        gptoss.Model(tmp_path / "absent.bin")
    assert caught.value.errno == errno.ENOENT
    assert caught.value.filename == str(tmp_path / "absent.bin")


def test_missing_file_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"absent-\xff.bin")
    with pytest.raises(FileNotFoundError) as caught:
        gptoss.Model(path)
    assert caught.value.filename == str(path)
    path.write_bytes(b"damaged")
    with pytest.raises(gptoss.ModelFormatError, match="absent-\udcff"):
        gptoss.Model(path)


def test_file_without_permission_is_an_os_error(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every file")
    path = tmp_path / "secret.bin"
    path.write_bytes(b"")
    path.chmod(0)
    with pytest.raises(OSError, match=r"secret\.bin.*[Pp]ermission"):
        gptoss.Model(path)


def test_path_with_a_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        gptoss.Model("model\0.bin")


def test_path_that_is_not_utf_8_works(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"model-\xff.bin")
    path.symlink_to(model_path())
    assert gptoss.Model(path).config == model().config


def test_two_models_of_one_file_are_independent() -> None:
    first, second = gptoss.Model(model_path()), gptoss.Model(model_path())
    tokens = list(range(40))
    np.testing.assert_array_equal(
        processed_context(first, tokens).logits(), processed_context(second, tokens).logits()
    )
    with pytest.raises(ValueError, match="another model"):
        gptoss.process_batch([processed_context(first, tokens), processed_context(second, tokens)])
