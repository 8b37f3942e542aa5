"""Places in compiled kernels: of the calls that lead to one, the kernel's counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from metal_host import locations
from metal_host.locations import resolve_locations

SHIM = str(Path(locations.__file__).parent / "include" / "metal_host" / "vector.h")


@pytest.fixture(autouse=True)
def _frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """What addr2line would say of a library's addresses."""
    known = {
        "0x10": [("/k/scale.metal", 5)],
        "0x20": [(SHIM, 140)],
        "0x30": [(SHIM, 99), ("/k/scale.metal", 7)],  # inlined into line 7
        "0x40": [("??", 0)],
    }

    def read(library: str, addresses: list[str]) -> list[list[tuple[str, int]]]:
        assert library == "/cache folder/scale.so"
        return [known[address] for address in addresses]

    monkeypatch.setattr(locations, "_read_frames", read)


@pytest.mark.parametrize(
    ("addresses", "place"),
    [
        ("0x10", "scale.metal:5"),
        ("0x20", "vector.h:140"),
        ("0x30", "scale.metal:7"),
        ("0x20 0x10", "scale.metal:5"),
        ("0x20 0x30 0x10", "scale.metal:7"),
        ("0x40", "an unknown line"),
        ("0x40 0x10", "scale.metal:5"),
    ],
)
def test_the_innermost_line_of_a_kernel_is_named(addresses: str, place: str) -> None:
    text = f"read at <pc /cache folder/scale.so {addresses}>, then <pc /cache folder/scale.so 0x10>"
    assert resolve_locations(text) == f"read at {place}, then scale.metal:5"
