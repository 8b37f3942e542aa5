"""Programs of the compilers, run without what was loaded into this process for the sanitizers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence


def run_tool(
    command: Sequence[str], *, text: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a program on a text; its outputs are kept, whatever its exit status is."""
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    return subprocess.run(
        command, input=text, env=environment, capture_output=True, text=True, check=False
    )
