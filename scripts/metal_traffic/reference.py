"""The kernels of openai/gpt-oss (gpt_oss/metal), run unmodified beside ours for comparison.

Nothing of them is in this repository: measure-metal-traffic.py takes the path of a checkout.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from metal_host import Library, Result, read_structs


class Reference:
    """A checkout of the reference."""

    def __init__(self, checkout: Path) -> None:
        self.source = checkout / "gpt_oss" / "metal" / "source"
        include = self.source / "include"
        if not (include / "internal" / "kernel-args.h").is_file():
            raise SystemExit(
                f"{checkout} has no gpt_oss/metal/source/include/internal/kernel-args.h: give the "
                "folder of a checkout of https://github.com/openai/gpt-oss"
            )
        # They include their headers in angle brackets: the compiler has to find them.
        os.environ["CPLUS_INCLUDE_PATH"] = str(include.resolve())
        self._structs = read_structs(include / "internal" / "kernel-args.h")
        # Every kernel of theirs takes a buffer that can stop it.
        self.control = np.zeros(1, np.uint32)

    def arguments(self, struct: str, **fields: float) -> ctypes.Structure:
        """A struct of internal/kernel-args.h."""
        return self._structs[struct](**fields)

    def launch(
        self,
        file: str,
        kernel: str,
        *,
        threads_per_threadgroup: tuple[int, int, int],
        threadgroups: tuple[int, int, int],
        buffers: Mapping[int, Any],
        threadgroup_memory: Mapping[int, int] | None = None,
    ) -> Result:
        """Runs a kernel of gpt_oss/metal/source/<file> in trace mode."""
        return _library(self.source / file).run(
            kernel,
            threadgroups=threadgroups,
            threads_per_threadgroup=threads_per_threadgroup,
            buffers=buffers,
            threadgroup_memory=threadgroup_memory,
        )


@cache
def _library(path: Path) -> Library:
    return Library(path, mode="trace")
