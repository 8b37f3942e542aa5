"""What the tests of `gptoss generate` share: how to run it, and what they ask the demo model."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest
from gptoss.cli.main import main

COMMAND = [sys.executable, "-m", "gptoss", "generate"]
SUM = ("-p", "What is 47 + 38?")
DATED = ("--date", "2026-01-31")
SUMMARY = re.compile(
    r"\[prefill \d+ tokens at [\d.]+ tokens/s, decode \d+ tokens at [\d.]+ tokens/s; "
    r"ended: (\w+); (greedy|seed \d+)\]"
)


def generate_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["generate", "--json", *DATED, *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    assert isinstance(report, dict)
    return report
