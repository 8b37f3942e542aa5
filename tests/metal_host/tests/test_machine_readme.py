"""README.md shows what works."""

from __future__ import annotations

import re
import shutil
import textwrap
from pathlib import Path

import numpy as np
import pytest
from metal_host.tests.machine_libraries import KERNELS

README = Path(__file__).parents[1] / "README.md"


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = re.search(r"\n\n((?:    .*\n|\n)+)", README.read_text())
    assert example is not None
    shutil.copy(KERNELS / "machine_readme.metal", tmp_path / "scale.metal")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(textwrap.dedent(example[1]), names)
    expected = np.arange(1000, dtype=np.float32) * np.float32(1 / 3)
    np.testing.assert_allclose(np.asarray(names["values"]), expected, rtol=1e-6)
