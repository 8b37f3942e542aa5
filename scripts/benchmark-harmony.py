"""Compare the speed of gptoss.harmony with that of openai-harmony.

    python scripts/benchmark-harmony.py                  # all rows, about two minutes
    python scripts/benchmark-harmony.py --only render stream --repeat 15
    python scripts/benchmark-harmony.py --json > figures.json

Both do the same work in turn (A B A B ...) on the same inputs, and what they return is compared.
Printed are the medians, and the ratio of the medians with the least and the greatest ratio of two
neighbouring runs. Times are the processor's, of all threads: on an idle machine that is what a user
waits, and on a busy one what others do counts little. Loading is measured in fresh processes. No
network is needed: openai-harmony is given the vocabulary that gptoss ships.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from gptoss.vocabulary import format_tiktoken, load_o200k_base
from harmony_benchmark.workloads import Row, render_rows, stream_rows, text_rows

MODULES = ("openai_harmony", "gptoss.harmony")
PACKAGES = ("gptoss", "openai-harmony", "tiktoken", "pydantic")
ENCODING = "HarmonyGptOss"
# A shorter run is repeated and divided, so that the clock and an interrupt do not count.
SHORTEST_RUN = 0.05  # seconds

FRESH_PROCESS = """
import importlib, json, re, resource, sys, time
from pathlib import Path
start = time.process_time()
harmony = importlib.import_module(sys.argv[1])
imported = time.process_time()
encoding = harmony.load_harmony_encoding("HarmonyGptOss")
loaded = time.process_time()
encoding.encode("Hello, world!")
encoded = time.process_time()
harmony.load_harmony_encoding("HarmonyGptOss")
loaded_again = time.process_time()
if sys.platform == "linux":
    # Unlike ru_maxrss, this does not include the memory of the process that started this one.
    status = Path("/proc/self/status").read_text()
    peak = int(re.search(r"VmHWM:\\s*(\\d+) kB", status)[1]) * 1024
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({
    "import": (imported - start) * 1e3,
    "load-first": (loaded - imported) * 1e3,
    "load-encode": (encoded - imported) * 1e3,
    "load-later": (loaded_again - encoded) * 1e3,
    "load-memory": peak / 1e6,
}))
"""
FRESH_PROCESS_ROWS = {
    "import": ("import of the module", "ms"),
    "load-first": ("first load of the encoding", "ms"),
    "load-encode": ("first load and first encode", "ms"),
    "load-later": ("later load in the same process", "ms"),
    "load-memory": ("peak memory of that process", "MB"),
}


@dataclass(frozen=True)
class Figures:
    """What a row gave: for each module its samples in the row's unit, neighbours measured in turn.

    `ratio`: the first module's median over the last one's; `least_ratio` and `greatest_ratio` are
    those of neighbouring samples. All None if there is one module.
    """

    key: str
    title: str
    unit: str
    samples: dict[str, list[float]]

    @property
    def medians(self) -> dict[str, float]:
        """The median of each module."""
        return {name: statistics.median(samples) for name, samples in self.samples.items()}

    @property
    def ratio(self) -> float | None:
        """How many times better the last module is than the first one."""
        medians = list(self.medians.values())
        return medians[0] / medians[-1] if len(medians) > 1 else None

    @property
    def ratio_range(self) -> tuple[float, float] | None:
        """The least and the greatest ratio of two runs in turn."""
        samples = list(self.samples.values())
        ratios = [first / last for first, last in zip(samples[0], samples[-1], strict=True)]
        return (min(ratios), max(ratios)) if len(samples) > 1 else None


# Measuring.


def measure(row: Row, modules: dict[str, tuple[Any, Any]], repeat: int) -> Figures:
    """Time a row on all modules in turn; an error if they do not return the same."""
    runs = {name: row.prepare(*module) for name, module in modules.items()}
    results, loops = [], {}
    for name, run in runs.items():
        start = time.process_time()
        results.append(comparable(run()))
        loops[name] = max(1, round(SHORTEST_RUN / (time.process_time() - start)))
    if any(result != results[0] for result in results):
        sys.exit(f"{row.key}: {' and '.join(runs)} do not give the same result.")
    scale = (1e3 if row.unit == "ms" else 1e6) / row.num_items
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeat):
        for name, run in runs.items():
            gc.collect()  # nobody pays for the other one's garbage
            start = time.process_time()
            for _ in range(loops[name]):
                run()
            samples[name].append((time.process_time() - start) / loops[name] * scale)
    return Figures(row.key, row.title, row.unit, samples)


def comparable(result: Any) -> Any:
    """A result as plain values that are equal if both modules did the same."""
    if hasattr(result, "messages"):
        return comparable(result.messages), result.current_content, result.current_channel
    if isinstance(result, list):
        return [item.to_dict() if hasattr(item, "to_dict") else item for item in result]
    return result


def measure_loading(modules: Sequence[str], keys: Sequence[str], repeat: int) -> list[Figures]:
    """The rows that need a process of their own for each run."""
    samples: dict[str, dict[str, list[float]]] = {key: {m: [] for m in modules} for key in keys}
    environment = dict(os.environ)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    for repetition in range(repeat + 1):
        for module in modules:
            command = [sys.executable, "-c", FRESH_PROCESS, module]
            output = subprocess.run(
                command, check=True, capture_output=True, text=True, env=environment
            ).stdout
            if repetition == 0:
                continue  # files come into the page cache, bytecode is compiled
            for key, value in json.loads(output).items():
                if key in samples:
                    samples[key][module].append(value)
    return [Figures(key, *FRESH_PROCESS_ROWS[key], samples[key]) for key in keys]


# Printing.


def machine() -> str:
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [
            line.partition(":")[2].strip()
            for line in information.read_text().splitlines()
            if line.startswith("model name")
        ]
        processor = names[0] if names else processor
    return f"{processor}, {os.cpu_count()} cores, {platform.system()}"


def versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "(not installed)"
    return found


def as_json(all_figures: Sequence[Figures], about: dict[str, Any]) -> str:
    rows = [
        {
            "key": figures.key,
            "title": figures.title,
            "unit": figures.unit,
            "medians": figures.medians,
            "ratio": figures.ratio,
            "ratio_range": figures.ratio_range,
            "samples": figures.samples,
        }
        for figures in all_figures
    ]
    return json.dumps({**about, "rows": rows}, indent=2, ensure_ascii=False)


def heading(modules: Sequence[str]) -> str:
    columns = "".join(f"{module:>18}" for module in modules)
    ratio = f"{'ratio':>10}" if len(modules) > 1 else ""
    return f"{'row':<16}{'what':<54}{columns}{ratio}"


def line(figures: Figures) -> str:
    columns = "".join(
        f"{f'{rounded(median)} {figures.unit}':>18}" for median in figures.medians.values()
    )
    text = f"{figures.key:<16}{figures.title:<54}{columns}"
    if figures.ratio is not None and figures.ratio_range is not None:
        least, greatest = map(rounded, figures.ratio_range)
        text += f"{rounded(figures.ratio):>9}x ({least} to {greatest})"
    return text


def rounded(value: float) -> str:
    """With two digits at least."""
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{decimals}f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print JSON with all samples")
    parser.add_argument("--repeat", type=int, default=7, help="runs of each row (default: 7)")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="rows whose names begin so")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the inputs (default: 1)")
    parser.add_argument(
        "--modules",
        nargs="+",
        default=MODULES,
        metavar="MODULE",
        help=f"what to measure; the ratio is first to last (default: {' '.join(MODULES)})",
    )
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        if "TIKTOKEN_ENCODINGS_BASE" not in os.environ:
            Path(name, "o200k_base.tiktoken").write_bytes(format_tiktoken(load_o200k_base()))
            os.environ["TIKTOKEN_ENCODINGS_BASE"] = name
        run(arguments)


def run(arguments: argparse.Namespace) -> None:
    modules = {}
    for name in arguments.modules:
        try:
            harmony = importlib.import_module(name)
        except ModuleNotFoundError as error:
            sys.exit(f"{error}. `pip install '.[test]'` installs what is compared here.")
        modules[name] = (harmony, harmony.load_harmony_encoding(ENCODING))

    def is_wanted(key: str) -> bool:
        return arguments.only is None or key.startswith(tuple(arguments.only))

    _, encoding = next(iter(modules.values()))

    def encode(text: str) -> list[int]:
        tokens: list[int] = encoding.encode(text, allowed_special="all")
        return tokens

    rows = [
        *render_rows(arguments.scale),
        *stream_rows(arguments.scale, encode, encoding.stop_tokens()),
        *text_rows(arguments.scale, encode),
    ]
    loading = [key for key in FRESH_PROCESS_ROWS if is_wanted(key)]
    rows = [row for row in rows if is_wanted(row.key)]
    if not loading and not rows:
        sys.exit(f"No row begins with {' or '.join(arguments.only)}.")
    about = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "versions": versions(),
        "repeat": arguments.repeat,
        "scale": arguments.scale,
    }
    if not arguments.json:
        print(f"{about['machine']}; {about['date']}; medians of {arguments.repeat}")
        print(", ".join(f"{name} {version}" for name, version in versions().items()))
        print(heading(list(modules)))
    all_figures = []
    if loading:
        all_figures += measure_loading(list(modules), loading, arguments.repeat)
        if not arguments.json:
            print("\n".join(map(line, all_figures)), flush=True)
    for row in rows:
        all_figures.append(measure(row, modules, arguments.repeat))
        if not arguments.json:
            print(line(all_figures[-1]), flush=True)
    if arguments.json:
        print(as_json(all_figures, about))


if __name__ == "__main__":
    main()
