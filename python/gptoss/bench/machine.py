"""What a benchmark's report says of this process: how much memory it took at most."""

from __future__ import annotations

import resource
import sys

# Linux counts in KiB, macOS in bytes.
_UNIT = 1 if sys.platform == "darwin" else 1024


def peak_resident_bytes() -> int:
    """The most memory that the process has had so far, mapped files included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
