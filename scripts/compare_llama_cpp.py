r"""Compare the speed of the CPU backend with llama.cpp's, on the same machine and in turn.

    pip install gguf
    python scripts/write-synthetic-gguf.py 20b-bf16.gguf --dense bf16
    python scripts/write-synthetic-gguf.py 20b-q8.gguf --dense q8
    python scripts/compare_llama_cpp.py --llama-bench llama.cpp/build/bin/llama-bench \
        --bf16 20b-bf16.gguf 20b-bf16.bin --q8 20b-q8.gguf 20b-q8.bin

Builds and writes nothing: llama-bench and the four files are given, and `gptoss bench` measures
what is installed here. Each round of a row runs llama-bench and then `gptoss bench`; before either,
its file is read once, so that both find their weights in the page cache. What is printed are
medians over all samples of all rounds, least and greatest sample, and ratios: the median, least
and greatest of what the rounds gave. On a machine that others use, the ratios are the result.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

READ_BYTES = 2**24
DENSE = ("bf16", "q8")


@dataclass(frozen=True)
class Row:
    """One line of the table: what both engines are asked to do."""

    key: str
    title: str
    dense: str
    prompt: int = 0
    generate: int = 0
    depth: int = 0
    sequences: int = 1
    # What is aimed at, as a multiple of llama.cpp's speed.
    aim: float | None = None


ROWS = (
    Row("prefill", "prefill 512 tokens", "bf16", prompt=512, aim=12.0),
    Row("prefill-q8", "prefill 512 tokens", "q8", prompt=512, aim=12.0),
    Row("decode", "decode at depth 0", "bf16", generate=32, aim=1.7),
    Row("decode-q8", "decode at depth 0", "q8", generate=32, aim=1.9),
    Row("decode-4096", "decode at depth 4096", "q8", generate=16, depth=4096, aim=3.0),
    Row("four", "4 sequences at once, total", "bf16", generate=32, sequences=4),
    Row("four-q8", "4 sequences at once, total", "q8", generate=32, sequences=4),
)


@dataclass
class Samples:
    """What the rounds of a row gave: for each round the tokens per second of its repetitions."""

    row: Row
    llama: list[list[float]] = field(default_factory=list)
    gptoss: list[list[float]] = field(default_factory=list)

    def ratios(self) -> list[float]:
        """For each round, how many times as fast as llama.cpp gptoss was."""
        return [
            statistics.median(ours) / statistics.median(theirs)
            for theirs, ours in zip(self.llama, self.gptoss, strict=False)
        ]


@dataclass(frozen=True)
class Engines:
    """The two programs and the files that they read, by the kind of dense weights."""

    llama_bench: Path
    llama_batched_bench: Path | None
    llama_options: Sequence[str]
    gptoss: Sequence[str]
    fast: bool
    ggufs: dict[str, Path]
    models: dict[str, Path]
    threads: int
    repetitions: int


def run_program(command: Sequence[str]) -> str:
    """What a program prints; its failure ends the script with what it complained of."""
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}\nfailed with {process.returncode}:\n{process.stderr}")
    return process.stdout


def read_whole_file(path: Path) -> None:
    """Bring a file into the page cache."""
    buffer = bytearray(READ_BYTES)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def llama_samples(engines: Engines, row: Row, about: dict[str, Any]) -> list[float]:
    """Tokens per second of each repetition; none if there is no program that measures the row."""
    gguf = engines.ggufs[row.dense]
    shared = ["-m", str(gguf), "-t", str(engines.threads), *engines.llama_options]
    if row.sequences > 1:
        if engines.llama_batched_bench is None:
            return []
        read_whole_file(gguf)
        command = [str(engines.llama_batched_bench), *shared]
        command += ["-npp", "16", "-ntg", str(row.generate), "-npl", str(row.sequences)]
        output = run_program([*command, "-c", "2048", "--output-format", "jsonl"])
        lines = [line for line in output.splitlines() if line.startswith("{")]
        return [float(json.loads(line)["speed_tg"]) for line in lines]
    read_whole_file(gguf)
    command = [str(engines.llama_bench), *shared, "-r", str(engines.repetitions), "-o", "json"]
    command += ["-p", str(row.prompt), "-n", str(row.generate), "-d", str(row.depth)]
    (result,) = json.loads(run_program(command))
    for key in ("build_commit", "cpu_info", "flash_attn", "repack", "load_mode"):
        about[key] = result[key]
    return [float(sample) for sample in result["samples_ts"]]


def gptoss_samples(engines: Engines, row: Row, about: dict[str, Any]) -> list[float]:
    """Tokens per second of each repetition, of all sequences together."""
    model = engines.models[row.dense]
    read_whole_file(model)
    command = [*engines.gptoss, "bench", str(model), "--json", "--backend", "cpu"]
    command += ["-t", str(engines.threads), "-r", str(engines.repetitions)]
    command += ["-p", str(row.prompt), "-n", str(row.generate), "-d", str(row.depth)]
    command += ["--fast"] if engines.fast else []
    report = json.loads(run_program([*command, "-s", str(row.sequences)]))
    for key in ("gptoss", "instruction_set", "precision", "machine"):
        about[key] = report[key]
    (result,) = report["results"]
    num_tokens = result["tokens"] * result["sequences"]
    return [num_tokens / seconds for seconds in result["seconds"]]


def compare(engines: Engines, row: Row, rounds: int, about: dict[str, dict[str, Any]]) -> Samples:
    """Measure a row with both engines in turn."""
    samples = Samples(row)
    for _ in range(rounds):
        theirs = llama_samples(engines, row, about["llama.cpp"])
        if theirs:
            samples.llama.append(theirs)
        samples.gptoss.append(gptoss_samples(engines, row, about["gptoss"]))
    return samples


def describe_speed(rounds: list[list[float]]) -> str:
    """The median of all samples, the least and the greatest."""
    values = [value for samples in rounds for value in samples]
    if not values:
        return "-"
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def describe_ratio(samples: Samples) -> str:
    """The median of the rounds' ratios, the least and the greatest."""
    ratios = samples.ratios()
    if not ratios:
        return "-"
    return f"{statistics.median(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f})"


def table_line(samples: Samples) -> str:
    """The row in Markdown."""
    row = samples.row
    llama, ours = describe_speed(samples.llama), describe_speed(samples.gptoss)
    aim = f"{row.aim:g} x" if row.aim is not None else "-"
    cells = (row.title, row.dense, llama, ours, describe_ratio(samples), aim)
    return f"| {' | '.join(cells)} |"


def as_json(results: Sequence[Samples], about: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Every sample, for programs."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "llama.cpp": about["llama.cpp"],
        "gptoss": about["gptoss"],
        "rows": [
            {
                "row": samples.row.key,
                "title": samples.row.title,
                "dense": samples.row.dense,
                "tokens_per_second": {"llama.cpp": samples.llama, "gptoss": samples.gptoss},
                "ratios": samples.ratios(),
            }
            for samples in results
        ],
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--llama-bench", type=Path, required=True, help="the program")
    add("--llama-batched-bench", type=Path, help="the program, for several sequences at once")
    add("--llama-option", action="append", default=[], help="passed on, as --llama-option=-fa=on")
    add("--gptoss", default="gptoss", help="the program, and options of Python before it (gptoss)")
    add("--fast", action="store_true", help="fast precision: 8-bit activations, as llama.cpp's")
    for dense in DENSE:
        help_text = f"the files with {dense} dense weights"
        add(f"--{dense}", nargs=2, type=Path, metavar=("GGUF", "MODEL"), help=help_text)
    add("--rows", nargs="+", choices=[row.key for row in ROWS], help="some only")
    add("--rounds", type=int, default=3, help="times that both engines run in turn (3)")
    add("--repetitions", type=int, default=2, help="of each run (2)")
    add("--threads", type=int, default=2, help="of both engines (2)")
    add("--json", action="store_true", help="print one JSON object instead of the table")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    files = {dense: getattr(arguments, dense) for dense in DENSE}
    files = {dense: pair for dense, pair in files.items() if pair is not None}
    engines = Engines(
        arguments.llama_bench,
        arguments.llama_batched_bench,
        [part for option in arguments.llama_option for part in option.split("=")],
        arguments.gptoss.split(),
        arguments.fast,
        {dense: pair[0] for dense, pair in files.items()},
        {dense: pair[1] for dense, pair in files.items()},
        arguments.threads,
        arguments.repetitions,
    )
    wanted = arguments.rows or [row.key for row in ROWS]
    rows = [row for row in ROWS if row.key in wanted and row.dense in files]
    if not rows:
        sys.exit("No row to measure: give the files with --bf16 GGUF MODEL or --q8 GGUF MODEL.")
    about: dict[str, dict[str, Any]] = {"llama.cpp": {}, "gptoss": {}}
    if not arguments.json:
        print("| | dense | llama.cpp, tokens/s | gptoss, tokens/s | ratio | aim |")
        print("|---|---|---:|---:|---:|---:|")
    results = []
    for row in rows:
        results.append(compare(engines, row, arguments.rounds, about))
        if not arguments.json:
            print(table_line(results[-1]), flush=True)
    if arguments.json:
        print(json.dumps(as_json(results, about), indent=2))
        return
    llama, ours = about["llama.cpp"], about["gptoss"]
    version, machine = ours["gptoss"], ours["machine"]
    print(
        f"\n{datetime.now(timezone.utc):%Y-%m-%d}, {machine['device']},"
        f" {arguments.threads} threads. llama.cpp {llama.get('build_commit', '-')};"
        f" gptoss {version['version']} ({version['commit'] or 'no commit'}),"
        f" {ours['instruction_set']}, {ours['precision']}."
        f" {arguments.rounds} rounds in turn, {arguments.repetitions} repetitions each."
    )


if __name__ == "__main__":
    main()
