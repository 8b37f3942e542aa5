"""The table and the JSON object of a benchmark."""

import json
from pathlib import Path

from gptoss.bench.report import (
    MeasuredModel,
    Report,
    Result,
    as_json,
    describe_end,
    describe_results,
    describe_roofline,
    describe_setup,
)
from gptoss.bench.roofline import Roofline
from gptoss.bench.trials import Trial
from gptoss.bench.work import Work
from gptoss.selftest.machine import Machine

ROOFLINE = Roofline(2, 20e9, 18e9, 270e9, 1036e9)
PREFILL = Trial("prefill", 512, 0, 1, 256, None)
DECODE = Trial("decode", 64, 4096, 4, 512, 2)


def report(roofline: Roofline | None) -> Report:
    return Report(
        machine=Machine(
            backend="cpu",
            device="A Processor @ 2.50GHz",
            gpu_cores=None,
            chip=None,
            operating_system="Linux 6.1",
            physical_bytes=24 * 10**9,
            recommended_bytes=None,
            power_mode="not known on this system",
            processors=2,
            version="0.1.0",
            python="3.11.2",
        ),
        commit="0123456789ab",
        compiler="GCC 12.2.0",
        instruction_set="x86-64-v4-vnni",
        precision="default",
        model=MeasuredModel(
            Path("model.bin"),
            "random weights, 20b, 24 blocks",
            13_750_886_400,
            {"num_blocks": 24},
            0.25,
        ),
        repetitions=3,
        rooflines=[] if roofline is None else [roofline],
        results=[
            Result(PREFILL, 2, (16.0, 8.0, 4.0), Work(512e8, 512e9), roofline),
            Result(DECODE, 2, (64.0, 32.0, 64.0), Work(256e9, 256e9), roofline),
        ],
        peak_resident_bytes=14 * 10**9,
    )


def test_setup_says_what_ran_where() -> None:
    assert describe_setup(report(None)).splitlines() == [
        "gptoss     0.1.0 (commit 0123456789ab, GCC 12.2.0)",
        "model      model.bin (random weights, 20b, 24 blocks), 13.75 GB, loaded in 0.250 s",
        "backend    cpu, x86-64-v4-vnni, precision default",
        "machine    A Processor @ 2.50GHz, 2 processors, 24.00 GB, Linux 6.1",
    ]


def test_what_is_not_known_is_left_out() -> None:
    unknown = report(None)
    unknown.commit = unknown.instruction_set = ""
    lines = describe_setup(unknown).splitlines()
    assert lines[0] == "gptoss     0.1.0 (GCC 12.2.0)"
    assert lines[2] == "backend    cpu, precision default"


def test_table() -> None:
    table = describe_results(report(None).results).splitlines()
    assert len({len(line) for line in table}) == 1
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert cells[0] == ["test", "threads", "batch", "tokens/s", "min", "max"]
    assert cells[2] == ["pp512", "2", "256", "64.00", "32.00", "128.0"]
    assert cells[3] == ["tg64 x 4 @ d4096", "2", "4", "4.00", "4.00", "8.00"]


def test_table_with_shares_of_the_limits() -> None:
    table = describe_results(report(ROOFLINE).results).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert cells[0][6:] == ["of read", "of fp32", "of int8", "MB/token", "Mop/token"]
    # 512e8 bytes and 512e9 operations in 8 s, 256e9 of each in 64 s.
    assert cells[2][6:] == ["32 %", "24 %", "6 %", "100", "1000"]
    assert cells[3][6:] == ["20 %", "1 %", "0 %", "1000", "1000"]


def test_limits() -> None:
    assert describe_roofline(ROOFLINE) == (
        "limits     reads 20.00 GB/s (18.00 GB/s of the mapped file), 270 GFLOPS in fp32, "
        "1036 GOPS in int8; 2 threads"
    )
    small = Roofline(1, 20e9, None, 270e9, None)
    assert describe_roofline(small) == ("limits     reads 20.00 GB/s, 270 GFLOPS in fp32; 1 thread")


def test_end() -> None:
    assert describe_end(report(None)) == (
        "median of 3 repetitions; peak resident memory 14.00 GB, the mapped file included"
    )


def test_json_has_the_documented_fields() -> None:
    document = json.loads(json.dumps(as_json(report(ROOFLINE))))
    assert list(document) == [
        "format",
        "gptoss",
        "machine",
        "backend",
        "instruction_set",
        "precision",
        "model",
        "repetitions",
        "rooflines",
        "results",
        "peak_resident_bytes",
        "interrupted",
    ]
    assert document["model"] == {
        "path": "model.bin",
        "description": "random weights, 20b, 24 blocks",
        "num_bytes": 13_750_886_400,
        "config": {"num_blocks": 24},
        "load_seconds": 0.25,
    }
    assert document["rooflines"] == [
        {
            "threads": 2,
            "read_bytes_per_second": 20e9,
            "mapped_read_bytes_per_second": 18e9,
            "fp32_operations_per_second": 270e9,
            "int8_operations_per_second": 1036e9,
        }
    ]
    prefill, decode = document["results"]
    assert prefill["tokens_per_second"]["median"] == 64
    assert prefill["shares"]["read"] == 0.32
    assert decode == {
        "test": "tg64 x 4 @ d4096",
        "kind": "decode",
        "tokens": 64,
        "sequences": 4,
        "depth": 4096,
        "batch_tokens": 512,
        "threads": 2,
        "tokens_per_second": decode["tokens_per_second"],
        "seconds": [64.0, 32.0, 64.0],
        "bytes_per_token": 1e9,
        "operations_per_token": 1e9,
        "shares": {"read": 0.2, "fp32": decode["shares"]["fp32"], "int8": decode["shares"]["int8"]},
    }


def test_json_without_limits() -> None:
    document = as_json(report(None))
    assert document["rooflines"] == []
    assert [result["shares"] for result in document["results"]] == [None, None]
