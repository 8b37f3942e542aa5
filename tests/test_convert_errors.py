"""What the converter refuses, with which sentence, and that it leaves nothing behind."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import (
    TINY,
    Checkpoint,
    Shape,
    Tensor,
    hugging_face_config,
    hugging_face_tensors,
    openai_config,
    random_checkpoint,
    write_hugging_face_checkpoint,
    write_openai_checkpoint,
    write_safetensors,
    write_vocabulary,
)
from gptoss.convert import ConversionError, ConversionReport, convert

INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return random_checkpoint(TINY, seed=1)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint"


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    folder = tmp_path / "output"
    folder.mkdir()
    return folder / "model.bin"


@pytest.fixture
def attempt(source: Path, destination: Path, tmp_path: Path) -> Callable[..., ConversionReport]:
    vocabulary = write_vocabulary(tmp_path / "words.tiktoken", TINY.num_text_tokens)

    def attempt_(**arguments: Any) -> ConversionReport:
        return convert(source, destination, **{"vocabulary": vocabulary, **arguments})

    return attempt_


@pytest.fixture
def refusal(attempt: Callable[..., ConversionReport], destination: Path) -> Callable[..., str]:
    """Converts, expects a ConversionError that leaves the output folder empty, returns its text."""

    def refusal_(**arguments: Any) -> str:
        with pytest.raises(ConversionError) as caught:
            attempt(**arguments)
        assert list(destination.parent.iterdir()) == []
        return str(caught.value)

    return refusal_


# The source


def test_source_does_not_exist(refusal: Callable[..., str], source: Path) -> None:
    assert refusal() == f"{source} does not exist."


def test_source_is_a_file(refusal: Callable[..., str], source: Path) -> None:
    source.write_text("")
    assert "is a file: give the directory that holds config.json" in refusal()


def test_source_has_no_safetensors(refusal: Callable[..., str], source: Path) -> None:
    source.mkdir()
    assert "has no .safetensors file, nor has a folder original/ in it" in refusal()


def test_only_the_index_was_downloaded(
    refusal: Callable[..., str], source: Path, checkpoint: Checkpoint
) -> None:
    write_hugging_face_checkpoint(source, TINY, checkpoint, shards=2)
    for shard in source.glob("*.safetensors"):
        shard.unlink()
    assert refusal().count(", which model.safetensors.index.json names, does not exist.") == 2


def test_original_folder_is_found(
    attempt: Callable[..., ConversionReport], source: Path, checkpoint: Checkpoint
) -> None:
    write_openai_checkpoint(source / "original", TINY, checkpoint)
    report = attempt()
    assert report.source == source / "original"
    assert report.layout == "OpenAI's original layout"


def test_hugging_face_files_are_preferred_to_the_original_folder(
    attempt: Callable[..., ConversionReport], source: Path, checkpoint: Checkpoint
) -> None:
    write_openai_checkpoint(source / "original", TINY, checkpoint)
    write_hugging_face_checkpoint(source, TINY, checkpoint)
    assert attempt().layout == "Hugging Face's layout"


def test_no_config(refusal: Callable[..., str], source: Path, checkpoint: Checkpoint) -> None:
    write_openai_checkpoint(source, TINY, checkpoint)
    (source / "config.json").unlink()
    assert refusal() == f"{source / 'config.json'} does not exist."


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("{", "is no JSON"), ("[1]", "is no JSON object"), ("[" * 100_000, "is no JSON")],
)
def test_config_is_no_object(
    refusal: Callable[..., str],
    source: Path,
    checkpoint: Checkpoint,
    content: str,
    sentence: str,
) -> None:
    write_openai_checkpoint(source, TINY, checkpoint)
    (source / "config.json").write_text(content)
    assert sentence in refusal()


def test_every_missing_and_truncated_shard_is_named(
    refusal: Callable[..., str], source: Path, checkpoint: Checkpoint
) -> None:
    write_hugging_face_checkpoint(source, TINY, checkpoint, shards=4)
    (source / "model-00002-of-00004.safetensors").unlink()
    cut = source / "model-00003-of-00004.safetensors"
    cut.write_bytes(cut.read_bytes()[:-10])
    text = refusal()
    assert text.startswith(f"{source} cannot be converted, for 2 reasons:\n- ")
    assert "model-00002-of-00004.safetensors, which model.safetensors.index.json names" in text
    assert "model-00003-of-00004.safetensors is truncated" in text


@pytest.mark.parametrize(
    "index",
    [
        "[]",
        "{",
        "{}",
        '{"weight_map": 3}',
        '{"weight_map": {"a": 3}}',
        '{"weight_map": {"a": "../b"}}',
    ],
)
def test_damaged_index(
    refusal: Callable[..., str], source: Path, checkpoint: Checkpoint, index: str
) -> None:
    write_hugging_face_checkpoint(source, TINY, checkpoint)
    (source / INDEX).write_text(index)
    assert str(source / INDEX) in refusal()


def test_files_that_the_index_does_not_name_are_ignored(
    attempt: Callable[..., ConversionReport], source: Path, checkpoint: Checkpoint
) -> None:
    write_hugging_face_checkpoint(source, TINY, checkpoint)
    (source / "unrelated.safetensors").write_text("not even safetensors")
    attempt()


def test_a_tensor_in_two_files(
    refusal: Callable[..., str], source: Path, checkpoint: Checkpoint
) -> None:
    write_openai_checkpoint(source, TINY, checkpoint)
    write_safetensors(source / "second.safetensors", {"norm.scale": checkpoint["norm.scale"]})
    assert "The tensor 'norm.scale' is in model.safetensors and again in second" in refusal()


def test_tensors_of_another_model(
    refusal: Callable[..., str], source: Path, checkpoint: Checkpoint
) -> None:
    write_openai_checkpoint(source, TINY, checkpoint)
    write_safetensors(source / "model.safetensors", {"h.0.attn": checkpoint["norm.scale"]})
    assert "neither 'block.0...' (OpenAI) nor 'model.layers.0...'" in refusal()


def test_a_lora_adapter(refusal: Callable[..., str], source: Path, checkpoint: Checkpoint) -> None:
    write_openai_checkpoint(source, TINY, checkpoint)
    (source / "model.safetensors").unlink()
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    write_safetensors(source / "adapter_model.safetensors", {name: checkpoint["norm.scale"]})
    assert "holds a LoRA adapter, not a whole model: merge it" in refusal()


# The tensors


def test_all_missing_and_wrong_tensors_are_listed_at_once(
    refusal: Callable[..., str], source: Path, checkpoint: Checkpoint
) -> None:
    changed = dict(checkpoint)
    del changed["norm.scale"], changed["block.1.attn.sinks"]
    changed["block.0.attn.out.bias"] = Tensor("BF16", np.zeros(65, np.uint16))
    changed["block.1.mlp.mlp2_weight.blocks"] = Tensor("BF16", np.zeros((4, 64, 2, 16), np.uint16))
    changed["unembedding.weight"] = Tensor("U8", np.zeros((464, 64), np.uint8))
    write_openai_checkpoint(source, TINY, changed)
    assert refusal().splitlines() == [
        f"{source} cannot be converted, for 5 reasons:",
        "- The tensor block.0.attn.out.bias in model.safetensors has the shape [65], but "
        "config.json makes it [64].",
        "- The tensor block.1.attn.sinks is missing.",
        "- The tensor block.1.mlp.mlp2_weight.blocks in model.safetensors has the type BF16, "
        "expected U8.",
        "- The tensor norm.scale is missing.",
        "- The tensor unembedding.weight in model.safetensors has the type U8, expected BF16 or "
        "F16 or F32.",
    ]


def test_a_config_of_a_larger_model_names_every_missing_tensor(
    refusal: Callable[..., str], source: Path, checkpoint: Checkpoint
) -> None:
    write_hugging_face_checkpoint(source, replace(TINY, num_blocks=2), checkpoint)
    config = hugging_face_config(replace(TINY, num_blocks=3))
    (source / "config.json").write_text(json.dumps(config))
    lines = refusal().splitlines()[1:]
    of_third = [name for name in hugging_face_tensors(TINY, checkpoint) if ".layers.1." in name]
    expected = {f"- The tensor {name.replace('.1.', '.2.')} is missing." for name in of_third}
    assert set(lines) == expected


def test_superfluous_tensors_are_a_warning(
    attempt: Callable[..., ConversionReport], source: Path, checkpoint: Checkpoint
) -> None:
    extra = {f"extra.{n}": checkpoint["norm.scale"] for n in range(7)}
    write_openai_checkpoint(source, TINY, checkpoint | extra)
    assert attempt().warnings == (
        "7 tensors of the checkpoint have no place in a gpt-oss model and were left out: extra.0, "
        "extra.1, extra.2, extra.3, extra.4, ....",
    )


def test_all_tensors_with_wrapping_scales_are_named(
    refusal: Callable[..., str], source: Path, checkpoint: Checkpoint
) -> None:
    changed = dict(checkpoint)
    for name, value, count in (
        ("block.0.mlp.mlp1_weight.scales", 242, 3),
        ("block.1.mlp.mlp2_weight.scales", 255, 1),
        ("block.1.mlp.mlp1_weight.scales", 241, 5),  # the largest that fits
    ):
        scales = changed[name].data.copy()
        scales.reshape(-1)[-count:] = value
        changed[name] = Tensor("U8", scales)
    write_openai_checkpoint(source, TINY, changed)
    first, second = refusal().splitlines()[1:]
    assert (
        "block.0.mlp.mlp1_weight.scales in model.safetensors has 3 scale bytes above 241" in first
    )
    assert "the largest being 242" in first
    assert "block.1.mlp.mlp2_weight.scales in model.safetensors has 1 scale bytes above" in second
    assert "the largest being 255" in second


@pytest.mark.parametrize("value", [0x7F80, 0xFF80, 0x7FC0, 0x7A00])
def test_expert_weights_that_mxfp4_cannot_hold(
    refusal: Callable[..., str], source: Path, checkpoint: Checkpoint, value: int
) -> None:
    """Infinities, a NaN and 2^117."""
    write_hugging_face_checkpoint(source, TINY, checkpoint, experts="bf16", shards=1)
    tensors = hugging_face_tensors(TINY, checkpoint, "bf16")
    tensors["model.layers.1.mlp.experts.down_proj"].data[2, 63, 0] = value
    write_safetensors(source / "model.safetensors", tensors)
    text = refusal()
    assert "model.layers.1.mlp.experts.down_proj in model.safetensors cannot be quantised" in text
    assert "in expert 2, it holds" in text


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3.4e38])
def test_dense_weights_that_bf16_cannot_hold(
    refusal: Callable[..., str], source: Path, checkpoint: Checkpoint, value: float
) -> None:
    values = np.ones(64, np.float32)
    values[5] = value
    write_openai_checkpoint(source, TINY, checkpoint | {"norm.scale": Tensor("F32", values)})
    assert "The tensor norm.scale in model.safetensors holds an infinity, a NaN or" in refusal()


# config.json


def with_config(source: Path, checkpoint: Checkpoint, layout: str, changes: dict[str, Any]) -> None:
    """A checkpoint whose config.json has these changes; None removes a field."""
    if layout == "openai":
        config = openai_config(TINY)
        write_openai_checkpoint(source, TINY, checkpoint)
    else:
        config = hugging_face_config(TINY)
        write_hugging_face_checkpoint(source, TINY, checkpoint)
    for name, value in changes.items():
        if value is None:
            del config[name]
        else:
            config[name] = value
    (source / "config.json").write_text(json.dumps(config))


ROPE = hugging_face_config(TINY)["rope_scaling"]


@pytest.mark.parametrize(
    ("layout", "changes", "sentence"),
    [
        ("openai", {"hidden_size": None}, "config.json lacks hidden_size."),
        ("openai", {"rope_theta": None}, "config.json lacks rope_theta."),
        (
            "openai",
            {"hidden_size": "64"},
            "config.json has hidden_size = '64': expected an integer from 1 to 16777216.",
        ),
        (
            "openai",
            {"num_hidden_layers": 10**9},
            "config.json has num_hidden_layers = 1000000000: expected an integer from 1 to 1024.",
        ),
        (
            "openai",
            {"num_experts": 0},
            "config.json has num_experts = 0: expected an integer from 1 to 4096.",
        ),
        (
            "openai",
            {"sliding_window": True},
            "config.json has sliding_window = True: expected an integer from 1 to 16777216.",
        ),
        (
            "openai",
            {"rope_theta": [1] * 100},
            "config.json has rope_theta = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,"
            "...: expected a positive number.",
        ),
        (
            "openai",
            {"swiglu_limit": float("inf")},
            "config.json has swiglu_limit = inf: expected a positive number.",
        ),
        (
            "openai",
            {"rope_scaling_factor": float("nan")},
            "config.json has rope_scaling_factor = nan: expected a positive number.",
        ),
        (
            "openai",
            {"head_dim": 128},
            "config.json has head_dim = 128: model.bin can only express 64.",
        ),
        (
            "openai",
            {"num_key_value_heads": 3},
            "config.json has 4 attention heads, which 3 key/value heads do not divide.",
        ),
        (
            "openai",
            {"experts_per_token": 5},
            "config.json activates 5 experts for each token, but there are only 4.",
        ),
        (
            "openai",
            {"hidden_size": 72},
            "config.json has hidden_size = 72, which is no multiple of 32, the length of an MXFP4 "
            "block.",
        ),
        (
            "openai",
            {"intermediate_size": 33},
            "config.json has intermediate_size = 33, which is no multiple of 32, the length of an "
            "MXFP4 block.",
        ),
        ("openai", {"rope_theta": 1}, "config.json has rope_theta = 1.0: it must exceed 1."),
        (
            "openai",
            {"rope_ntk_alpha": 32},
            "config.json has YaRN limits of 32.0 (rope_ntk_alpha, beta_slow) and 32.0 "
            "(rope_ntk_beta, beta_fast): the second must be larger.",
        ),
        (
            "openai",
            {"rope_scaling_factor": 1e20},
            "config.json gives a context of 409600000000000000000000 tokens (4096 times 1e+20): "
            "model.bin can express 1 to 4294967295.",
        ),
        (
            "hugging_face",
            {"model_type": "llama"},
            "config.json has model_type = 'llama': expected 'gpt_oss'.",
        ),
        (
            "hugging_face",
            {"rope_scaling": None},
            "config.json lacks an object rope_scaling or rope_parameters.",
        ),
        (
            "hugging_face",
            {"rope_scaling": {**ROPE, "rope_type": "llama3"}},
            "rope_scaling of config.json has rope_type = 'llama3': model.bin can only express "
            "'yarn'.",
        ),
        (
            "hugging_face",
            {"rope_scaling": {**ROPE, "truncate": True}},
            "rope_scaling of config.json has truncate = true: gpt-oss does not round YaRN's "
            "limits, and no gpt-oss engine expects it.",
        ),
        (
            "hugging_face",
            {"rope_scaling": {**ROPE, "factor": "many"}},
            "rope_scaling of config.json has factor = 'many': expected a positive number.",
        ),
        (
            "hugging_face",
            {"layer_types": ["full_attention", "full_attention"]},
            "config.json has layer_types = ['full_attention', 'full_attention']: model.bin can "
            "only express 2 layers that alternate between 'sliding_attention' (first) and "
            "'full_attention'.",
        ),
        (
            "hugging_face",
            {"quantization_config": {"quant_method": "bitsandbytes"}},
            "The checkpoint is quantised with 'bitsandbytes': only 'mxfp4' and unquantised weights "
            "can be converted.",
        ),
        (
            "hugging_face",
            {"swiglu_alpha": 1.5},
            "config.json has swiglu_alpha = 1.5: gpt-oss engines compute with 1.702.",
        ),
    ],
)
def test_config_that_no_model_bin_can_express(
    refusal: Callable[..., str],
    source: Path,
    checkpoint: Checkpoint,
    layout: str,
    changes: dict[str, Any],
    sentence: str,
) -> None:
    with_config(source, checkpoint, layout, changes)
    assert refusal() == sentence


def test_all_config_problems_are_listed_at_once(
    refusal: Callable[..., str], source: Path, checkpoint: Checkpoint
) -> None:
    with_config(
        source, checkpoint, "openai", {"hidden_size": None, "head_dim": 32, "rope_theta": -1}
    )
    assert sorted(refusal().splitlines()[1:]) == [
        "- config.json has head_dim = 32: model.bin can only express 64.",
        "- config.json has rope_theta = -1: expected a positive number.",
        "- config.json lacks hidden_size.",
    ]


@pytest.mark.parametrize(
    ("layout", "changes"),
    [
        ("openai", {"swiglu_limit": None}),
        ("openai", {"hidden_size": 64.0}),
        ("hugging_face", {"layer_types": None}),
        ("hugging_face", {"swiglu_limit": None}),
        ("hugging_face", {"experts_per_token": None}),
        ("hugging_face", {"num_experts_per_tok": None}),
        ("hugging_face", {"initial_context_length": None}),
        ("hugging_face", {"rope_scaling": {"type": "yarn", "factor": 32.0}}),
        (
            "hugging_face",
            {
                "rope_scaling": None,
                "rope_theta": None,
                "rope_parameters": {**ROPE, "rope_theta": 150000.0},
            },
        ),
    ],
)
def test_configs_that_say_the_same_in_other_words(
    attempt: Callable[..., ConversionReport],
    source: Path,
    destination: Path,
    checkpoint: Checkpoint,
    layout: str,
    changes: dict[str, Any],
) -> None:
    with_config(source, checkpoint, layout, {})
    attempt()
    expected = destination.read_bytes()
    shutil.rmtree(source)
    with_config(source, checkpoint, layout, changes)
    assert attempt(force=True).warnings == ()
    assert destination.read_bytes() == expected


def test_unknown_number_of_active_experts_is_taken_from_gpt_oss_with_a_warning(
    attempt: Callable[..., ConversionReport], source: Path, destination: Path
) -> None:
    shape = Shape(num_experts=5, num_active_experts=4)
    config = openai_config(shape)
    del config["experts_per_token"]
    write_openai_checkpoint(source, shape, random_checkpoint(shape, seed=2))
    (source / "config.json").write_text(json.dumps(config))
    (warning,) = attempt().warnings
    assert "does not say how many experts are active for a token: taken to be 4" in warning
    assert int.from_bytes(destination.read_bytes()[44:48], "little") == 4


# The vocabulary and the destination


def test_vocabulary_larger_than_the_checkpoint(
    refusal: Callable[..., str], source: Path, checkpoint: Checkpoint
) -> None:
    write_openai_checkpoint(source, TINY, checkpoint)
    assert refusal(vocabulary=None) == (
        "The vocabulary (o200k_base, which comes with gptoss) has 199998 text tokens and 16 "
        "special ones, but the checkpoint has only 464 rows: give the right one with --vocabulary."
    )


def test_problems_of_config_and_vocabulary_are_listed_together(
    refusal: Callable[..., str], source: Path, checkpoint: Checkpoint
) -> None:
    with_config(source, checkpoint, "openai", {"head_dim": 32})
    text = refusal(vocabulary=source / "absent.tiktoken")
    assert "absent.tiktoken cannot be read: No such file or directory." in text
    assert "head_dim = 32" in text


def test_destination_exists(
    attempt: Callable[..., ConversionReport],
    source: Path,
    destination: Path,
    checkpoint: Checkpoint,
) -> None:
    write_openai_checkpoint(source, TINY, checkpoint)
    destination.write_text("precious")
    with pytest.raises(ConversionError, match="exists: use --force to replace it"):
        attempt()
    assert destination.read_text() == "precious"
    attempt(force=True)
    assert destination.read_bytes().startswith(b"GPT-OSS v1.0")
    assert list(destination.parent.iterdir()) == [destination]


def test_destination_is_a_directory(
    source: Path, destination: Path, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    write_openai_checkpoint(source, TINY, checkpoint)
    vocabulary = write_vocabulary(tmp_path, TINY.num_text_tokens)
    with pytest.raises(ConversionError, match="is a directory: give the name of the file"):
        convert(source, destination.parent, vocabulary=vocabulary, force=True)


def test_folder_of_the_destination_does_not_exist(
    source: Path, destination: Path, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    write_openai_checkpoint(source, TINY, checkpoint)
    vocabulary = write_vocabulary(tmp_path, TINY.num_text_tokens)
    with pytest.raises(ConversionError, match="absent does not exist"):
        convert(source, destination.parent / "absent" / "model.bin", vocabulary=vocabulary)


def test_destination_is_a_part_of_the_checkpoint(
    source: Path, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    write_openai_checkpoint(source, TINY, checkpoint)
    vocabulary = write_vocabulary(tmp_path, TINY.num_text_tokens)
    destination = source / "model.safetensors"
    before = destination.read_bytes()
    with pytest.raises(ConversionError, match="is a part of the checkpoint"):
        convert(source, destination, vocabulary=vocabulary, force=True)
    assert destination.read_bytes() == before


def test_no_permission_to_write(
    refusal: Callable[..., str],
    source: Path,
    destination: Path,
    checkpoint: Checkpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The permission is denied by a fake, because tests may run as root, who may do everything."""
    write_openai_checkpoint(source, TINY, checkpoint)
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != destination.parent)
    assert refusal() == f"There is no permission to write into {destination.parent}."


def test_disk_with_too_little_space(
    refusal: Callable[..., str],
    source: Path,
    destination: Path,
    checkpoint: Checkpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_openai_checkpoint(source, TINY, checkpoint)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**12, 10**12 - 404479, 404479))
    assert refusal() == (
        f"{destination} takes 404480 bytes, but only 404479 bytes are free in {destination.parent}."
    )


def test_destination_scales_and_space_are_checked_together(
    refusal: Callable[..., str],
    source: Path,
    checkpoint: Checkpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "block.0.mlp.mlp1_weight.scales"
    scales = np.full_like(checkpoint[name].data, 250)
    write_openai_checkpoint(source, TINY, checkpoint | {name: Tensor("U8", scales)})
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(1, 1, 0))
    assert len(refusal().splitlines()) == 3
