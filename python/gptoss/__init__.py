"""gptoss: run OpenAI's gpt-oss-20b and gpt-oss-120b on the machine in front of you.

    model = gptoss.Model("model.bin")           # without a path: the built-in demo model
    context = gptoss.Context(model)
    context.append("The capital of France is")
    tokens = context.sample(max_output_tokens=8, temperature=0.0)
    print(model.tokenizer.decode(tokens))

Names are loaded when they are first used, so that `import gptoss` and the command line's `--help`
cost milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gptoss.errors import (
    AbortedError,
    BackendError,
    ContextOverflowError,
    ConversionError,
    GptossError,
    InvalidStateError,
    ModelFormatError,
)

if TYPE_CHECKING:
    from gptoss.context import Context, process_batch
    from gptoss.device import DeviceInfo, device_info
    from gptoss.model import MemoryEstimate, MemoryUse, Model, ModelConfig, TensorInfo
    from gptoss.tokenizer import Tokenizer

    __version__: str

__all__ = [
    "AbortedError",
    "BackendError",
    "Context",
    "ContextOverflowError",
    "ConversionError",
    "DeviceInfo",
    "GptossError",
    "InvalidStateError",
    "MemoryEstimate",
    "MemoryUse",
    "Model",
    "ModelConfig",
    "ModelFormatError",
    "TensorInfo",
    "Tokenizer",
    "__version__",
    "device_info",
    "process_batch",
]

_MODULES = {
    "Context": "gptoss.context",
    "process_batch": "gptoss.context",
    "DeviceInfo": "gptoss.device",
    "device_info": "gptoss.device",
    "MemoryEstimate": "gptoss.model",
    "MemoryUse": "gptoss.model",
    "Model": "gptoss.model",
    "ModelConfig": "gptoss.model",
    "TensorInfo": "gptoss.model",
    "Tokenizer": "gptoss.tokenizer",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from gptoss import _native

        value: Any = _native.version()
    elif name in _MODULES:
        value = getattr(importlib.import_module(_MODULES[name]), name)
    else:
        raise AttributeError(f"module 'gptoss' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
