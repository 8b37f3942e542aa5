"""A loaded model: the weights where they are mapped, the vocabulary, and the backend."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, NoReturn

from gptoss import _native
from gptoss.device import native_backend
from gptoss.tokenizer import Tokenizer

_PRECISIONS = {
    "default": _native.Precision.default,
    "exact": _native.Precision.exact,
    "fast": _native.Precision.fast,
}


@dataclass(frozen=True)
class ModelConfig:
    """The header of a model file (docs/model-format.md)."""

    context_length: int
    """Tokens."""
    num_blocks: int
    """Layers: even ones slide over `attention_window` keys, odd ones see everything."""
    num_experts: int
    """Per block."""
    num_active_experts: int
    """Per token."""
    embedding_dim: int
    """Width of the residual stream."""
    mlp_dim: int
    """Width of an expert."""
    swiglu_limit: float
    head_dim: int
    num_heads: int
    num_kv_heads: int
    attention_window: int
    """Keys that a query of a sliding block sees, itself included."""
    rope_theta: float
    interpolation_scale: float
    """1 / YaRN factor."""
    yarn_offset: float
    yarn_scale: float
    yarn_multiplier: float
    rmsnorm_epsilon: float
    vocabulary_size: int
    """Text and special tokens: the number of logits."""


@dataclass(frozen=True)
class MemoryUse:
    """Bytes that a model uses; each context's key/value cache comes on top."""

    weights: int
    """Of the mapped file: shared with other processes that map it, and not allocated."""
    workspace: int
    """Activations that the backend has allocated so far."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a model with one context needs on a backend."""

    backend: str
    """"cpu" or "metal"."""
    context_length: int
    """Tokens that the context is full with."""
    weights: int
    """Of the mapped file."""
    workspace: int
    """Activations, and what sampling needs."""
    kv_cache: int
    """Of the context; any other context's comes on top."""
    total: int
    limit: int | None
    """What the device recommends not to exceed (`gptoss.device_info`); None: not known ("cpu")."""
    advice: str
    """What helps if the total is above the limit, with the numbers; otherwise empty."""

    @property
    def fits(self) -> bool:
        """Whether that is no more than the limit, where there is one."""
        return self.limit is None or self.total <= self.limit


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a model file."""

    name: str
    dtype: str
    """"bf16", "mxfp4_blocks" (32 codes in 16 bytes), "mxfp4_scales" (a byte for 32 codes),
    "q8_codes" (int8) or "q8_scales" (fp16, one for 32 codes)."""
    shape: tuple[int, ...]
    offset: int
    """Bytes from the start of the file."""
    num_bytes: int


class Model:
    """A model file, ready to run. Immutable, and safe to use from any number of threads.

    `path`: a model.bin; None for the demo model inside the package, a tiny gpt-oss.
    `backend`: "auto" (the fastest of this build and machine), "cpu" or "metal".
    `threads`: of the CPU backend, the caller's included; None for what the environment variable
    GPTOSS_THREADS says, or else one per processor that the process may use and has the time of
    (affinity, a container's limits).
    `precision`: "default", the fastest arithmetic whose probabilities stay within a KL divergence
    of 1e-3 on average, "exact", fp32 activations in every product, or "fast", activations of 8 bits
    in the experts' products (docs/accuracy.md). The Metal backend always computes in exact
    precision.

    Loading maps and validates the file and reads none of its weights.

    FileNotFoundError, OSError: the file cannot be opened. ModelFormatError: it is not a valid
    model file; the message names the offset, what was expected there and what was found.
    BackendError: the backend is not available, or the GPU's memory does not hold the weights and a
    context of 4,096 tokens. ValueError: an argument is out of range.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        backend: str = "auto",
        threads: int | None = None,
        precision: str = "default",
    ) -> None:
        native = native_backend(backend)
        if threads is not None and not 1 <= threads <= 1024:
            raise ValueError(f"threads must be from 1 to 1024, or None, not {threads}.")
        if precision not in _PRECISIONS:
            raise ValueError(
                f"precision must be one of {', '.join(_PRECISIONS)}, not {precision!r}."
            )
        chosen = (native, threads or 0, _PRECISIONS[precision])
        self.is_demo = path is None
        if path is None:
            # The mapping outlives the `with`: it keeps what it needs of an extracted file.
            with as_file(files("gptoss") / "data" / "demo-model.bin") as demo:
                self._load(demo, chosen)
        else:
            self._load(Path(path), chosen)

    def _load(self, path: Path, options: tuple[_native.Backend, int, _native.Precision]) -> None:
        self.path = path
        encoded = os.fsencode(path)
        if b"\0" in encoded:
            raise ValueError("path must not contain a NUL character.")
        try:
            self._native = _native.Model(encoded, *options)
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, str(error), str(path)) from None

    @cached_property
    def config(self) -> ModelConfig:
        """The hyperparameters."""
        values: dict[str, Any] = self._native.config()
        return ModelConfig(**values)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The vocabulary of the model's own file."""
        return Tokenizer.from_native(self._native)

    @property
    def max_context_length(self) -> int:
        """The longest context that the model was trained for, in tokens."""
        return self.config.context_length

    @property
    def backend(self) -> str:
        """The backend that runs the model: "cpu" or "metal"."""
        return self._native.backend()

    @property
    def threads(self) -> int:
        """Threads of the CPU backend, the caller's included."""
        return self._native.num_threads()

    @property
    def precision(self) -> str:
        """What it computes in: "default", "exact" or "fast"; "exact" on the Metal backend."""
        names = {native: name for name, native in _PRECISIONS.items()}
        return names[self._native.precision()]

    @property
    def instruction_set(self) -> str:
        """That the CPU backend chose for this processor, as "x86-64-v4-vnni"; "" elsewhere."""
        return self._native.instruction_set()

    @property
    def memory(self) -> MemoryUse:
        """Bytes in use now."""
        weights, workspace = self._native.memory_use()
        return MemoryUse(weights, workspace)

    def kv_cache_bytes(self, context_length: int) -> int:
        """Bytes of key/value cache of one context that holds `context_length` tokens."""
        if context_length < 0:
            raise ValueError(f"context_length must be at least 0, not {context_length}.")
        return self._native.kv_cache_size(context_length)

    def memory_needed(
        self, context_length: int = 0, max_batch_tokens: int = 0, backend: str | None = None
    ) -> MemoryEstimate:
        """What the model needs with one context of `context_length` tokens, when it is full.

        `context_length`: 0 for the longest that fits the device, at most the model's maximum, and
        for 4,096 on a device that would refuse the model.
        `max_batch_tokens`: as in `Context`. `backend`: as in `Model`; None for this model's own.

        ValueError: an argument is out of range. BackendError: the backend is not available.
        """
        for name, value in (
            ("context_length", context_length),
            ("max_batch_tokens", max_batch_tokens),
        ):
            if value < 0:
                raise ValueError(f"{name} must be at least 0, not {value}.")
        native = native_backend(self.backend if backend is None else backend)
        name, length, weights, workspace, kv_cache, total, limit, advice = (
            self._native.estimate_memory(native, context_length, max_batch_tokens)
        )
        return MemoryEstimate(
            name, length, weights, workspace, kv_cache, total, limit or None, advice
        )

    @property
    def tensors(self) -> list[TensorInfo]:
        """Every tensor of the file, in file order."""
        return [TensorInfo(*fields) for fields in self._native.tensors()]

    def __repr__(self) -> str:
        return f"Model({str(self.path)!r}, backend={self.backend!r}, threads={self.threads})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A Model cannot be pickled: it maps a file and owns threads. "
            "Load it again in the other process, from the same path."
        )
