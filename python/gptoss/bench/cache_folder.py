"""Where files lie that can be made again."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """The user's folder for what gptoss keeps, which need not exist yet."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "gptoss"
    # The specification of XDG ignores paths that are not absolute.
    wanted = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (wanted if wanted.is_absolute() else Path.home() / ".cache") / "gptoss"
