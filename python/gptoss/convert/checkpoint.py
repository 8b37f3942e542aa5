"""Finding a checkpoint's files: its config.json and the tensors of all its shards."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptoss.convert.problems import conversion_error
from gptoss.convert.safetensors_file import SafetensorsFile, StoredTensor
from gptoss.errors import ConversionError

INDEX_NAME = "model.safetensors.index.json"
OPENAI_LAYOUT = "OpenAI's original layout"
HUGGING_FACE_LAYOUT = "Hugging Face's layout"


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint."""

    directory: Path  # where the shards lie: SRC, or its folder original/
    layout: str  # OPENAI_LAYOUT or HUGGING_FACE_LAYOUT
    config: dict[str, Any]  # config.json, unchecked
    tensors: dict[str, StoredTensor]
    files: list[SafetensorsFile]

    def close(self) -> None:
        """Close the shards."""
        for file in self.files:
            file.close()


def open_checkpoint(source: Path) -> Checkpoint:
    """Open the checkpoint in a directory or, if there is none, in its folder `original/`.

    Raises ConversionError, with every unreadable, missing or truncated file, if it is incomplete.
    """
    directory = _checkpoint_directory(source)
    problems: list[str] = []
    config: dict[str, Any] = {}
    try:
        config = _read_json_object(directory / "config.json")
    except ConversionError as error:
        problems.append(str(error))
    files: list[SafetensorsFile] = []
    try:
        for path in _shard_paths(directory, problems):
            try:
                files.append(SafetensorsFile(path))
            except ConversionError as error:
                problems.append(str(error))
        tensors = _all_tensors(files, problems)
        if problems:
            raise conversion_error(source, problems)
        return Checkpoint(directory, _layout(directory, tensors), config, tensors, files)
    except BaseException:
        for file in files:
            file.close()
        raise


def _checkpoint_directory(source: Path) -> Path:
    if not source.exists():
        raise ConversionError(f"{source} does not exist.")
    if not source.is_dir():
        raise ConversionError(
            f"{source} is a file: give the directory that holds config.json and the "
            ".safetensors files."
        )
    try:
        for directory in (source, source / "original"):
            if directory.is_dir() and any(directory.glob("*.safetensors")):
                return directory
        if (source / INDEX_NAME).exists():
            return source
    except OSError as error:
        raise ConversionError(f"{source} cannot be read: {error.strerror}.") from error
    raise ConversionError(
        f"{source} has no .safetensors file, nor has a folder original/ in it: give the directory "
        "of a downloaded gpt-oss checkpoint."
    )


def _read_json_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ConversionError(f"{path} does not exist.") from None
    except OSError as error:
        raise ConversionError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"{path} is no JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ConversionError(f"{path} is no JSON object.")
    return content


def _shard_paths(directory: Path, problems: list[str]) -> list[Path]:
    """Return the files that the index names or, without an index, all .safetensors files."""
    index_path = directory / INDEX_NAME
    if not index_path.exists():
        return sorted(directory.glob("*.safetensors"))
    try:
        shard_of_tensor = _read_json_object(index_path).get("weight_map")
    except ConversionError as error:
        problems.append(str(error))
        return []
    if not isinstance(shard_of_tensor, dict) or not all(
        isinstance(name, str) and Path(name).name == name for name in shard_of_tensor.values()
    ):
        problems.append(f"{index_path} has no weight_map from tensor names to file names.")
        return []
    paths = []
    for name in sorted(set(shard_of_tensor.values())):
        path = directory / name
        if path.exists():
            paths.append(path)
        else:
            problems.append(f"The shard {path}, which {INDEX_NAME} names, does not exist.")
    return paths


def _all_tensors(files: list[SafetensorsFile], problems: list[str]) -> dict[str, StoredTensor]:
    tensors: dict[str, StoredTensor] = {}
    for file in files:
        for name, tensor in file.tensors.items():
            if name in tensors:
                problems.append(
                    f"The tensor {name!r} is in {tensors[name].file.path.name} and again in "
                    f"{file.path.name}: remove the file that does not belong to the checkpoint."
                )
            tensors[name] = tensor
    return tensors


def _layout(directory: Path, tensors: dict[str, StoredTensor]) -> str:
    if any(name.startswith("block.") for name in tensors):
        return OPENAI_LAYOUT
    if any(name.startswith("model.layers.") for name in tensors):
        return HUGGING_FACE_LAYOUT
    if any("lora_" in name for name in tensors):
        raise ConversionError(
            f"{directory} holds a LoRA adapter, not a whole model: merge it into its base model "
            "first, and convert the result."
        )
    shown = ", ".join(repr(name) for name in sorted(tensors)[:3]) or "none at all"
    raise ConversionError(
        f"The tensors in {directory} are not those of a gpt-oss checkpoint: there is neither "
        f"'block.0...' (OpenAI) nor 'model.layers.0...' (Hugging Face), but {shown}."
    )
