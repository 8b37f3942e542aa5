"""The exceptions that gptoss raises. Each message is a sentence."""

from __future__ import annotations


class GptossError(Exception):
    """The base of every exception that this package defines."""


class ModelFormatError(GptossError, ValueError):
    """A model.bin is truncated, damaged or not one: what is wrong, at which offset, and why."""


class ContextOverflowError(GptossError, ValueError):
    """Tokens do not fit into a context: how many there are, and which limit they exceed."""


class BackendError(GptossError, RuntimeError):
    """A backend is not available on this machine, or failed."""


class ConversionError(GptossError):
    """A checkpoint cannot be converted. The message is one sentence or a list of all problems."""


class AbortedError(GptossError):
    """Another thread called `Context.abort()` while this one was processing or sampling."""


class InvalidStateError(GptossError, RuntimeError):
    """A context was used from two threads at once, processed while empty, or used after a fork."""
