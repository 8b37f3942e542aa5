"""Numbers of bytes for people."""

from __future__ import annotations


def format_bytes(num_bytes: float) -> str:
    """Return "13.76 GB", "1.97 MB" or "512 bytes": decimal units, as disks are sold."""
    if num_bytes >= 1e9:
        return f"{num_bytes / 1e9:.2f} GB"
    if num_bytes >= 1e6:
        return f"{num_bytes / 1e6:.2f} MB"
    return f"{num_bytes:.0f} bytes"
