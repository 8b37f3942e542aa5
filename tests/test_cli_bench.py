"""`gptoss bench` as a user runs it, on small models."""

import json
import sys
from pathlib import Path

import pytest
from gptoss.bench import runner, synthetic_file
from gptoss.bench.cache_folder import cache_folder
from gptoss.bench.trials import Trial
from gptoss.cli.main import main
from synthetic_models import small_plan, small_shape, small_vocabulary, write_small_model


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Lets --shape make small files, in a cache folder of their own, which is returned."""
    planned = synthetic_file.plan_file
    monkeypatch.setattr(
        synthetic_file,
        "plan_file",
        lambda shape, dense: planned(small_shape(shape.num_blocks), dense, small_vocabulary()),
    )
    folder = tmp_path / "cache" / "gptoss"
    monkeypatch.setattr(synthetic_file, "cache_folder", lambda: folder)
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["bench", *arguments])
    output = capsys.readouterr()
    return code, output.out, output.err


SHORT = ("-p", "8", "-n", "2", "-r", "2", "--backend", "cpu")


def test_the_demo_model_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *SHORT, "-t", "2")
    assert code == 0
    assert "(the built-in demo model)" in out
    assert "backend    cpu, " in out
    rows = [line.split("|")[1].strip() for line in out.splitlines() if line.startswith("| ")]
    assert [rows[0], *rows[2:]] == ["test", "pp8", "tg2"]
    assert "median of 2 repetitions" in out
    assert err == ""


def test_json_of_every_combination(capsys: pytest.CaptureFixture[str]) -> None:
    lists = ("-p", "8,0", "-n", "2", "-d", "0,20", "-s", "1,3", "-t", "1,2", "-b", "4", "-r", "1")
    code, out, _ = run(capsys, *lists, "--backend", "cpu", "--json")
    document = json.loads(out)
    assert code == 0
    names = ["pp8", "tg2", "tg2 x 3", "pp8 @ d20", "tg2 @ d20", "tg2 x 3 @ d20"]
    assert [result["test"] for result in document["results"]] == 2 * names
    assert [result["threads"] for result in document["results"]] == [1] * 6 + [2] * 6
    assert all(len(result["seconds"]) == 1 for result in document["results"])
    assert document["model"]["description"] == "the built-in demo model"
    assert document["peak_resident_bytes"] > 0
    assert not document["interrupted"]


def test_roofline(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # The fewest passes: a test is not to wait.
    monkeypatch.setattr("gptoss.bench.roofline.SECONDS", 0.0)
    code, out, _ = run(capsys, *SHORT, "--roofline", "--json")
    document = json.loads(out)
    assert code == 0
    (roofline,) = document["rooflines"]
    assert roofline["read_bytes_per_second"] > 1e8
    assert roofline["fp32_operations_per_second"] > 1e8
    assert roofline["mapped_read_bytes_per_second"] is None  # the demo model is small
    assert all(result["shares"]["read"] > 0 for result in document["results"])


def test_random_weights_are_written_once_and_used_again(
    capsys: pytest.CaptureFixture[str], small_files: Path
) -> None:
    path = small_files / "random-demo-2-blocks-bf16.bin"
    arguments = ("--shape", "demo", "--blocks", "2", *SHORT)
    code, out, err = run(capsys, *arguments)
    assert code == 0
    assert f"(random weights, demo, 2 blocks, bf16), {path.stat().st_size / 1e6:.2f} MB" in out
    assert f"writing {path}" in err
    assert f"to be removed with: rm {path}" in err
    written = path.stat().st_mtime_ns

    code, _, err = run(capsys, *arguments)
    assert code == 0
    assert f"{path}, {path.stat().st_size / 1e6:.2f} MB, from an earlier run" in err
    assert path.stat().st_mtime_ns == written


def test_dense_weights_in_8_bits(capsys: pytest.CaptureFixture[str], small_files: Path) -> None:
    code, out, _ = run(capsys, "--shape", "demo", "--dense", "q8", *SHORT)
    assert code == 0
    assert "(random weights, demo, 4 blocks, q8)" in out
    size = (small_files / "random-demo-4-blocks-q8.bin").stat().st_size
    assert size == small_plan(dense="q8").num_bytes


def test_a_damaged_file_in_the_cache_folder_is_written_again(
    capsys: pytest.CaptureFixture[str], small_files: Path
) -> None:
    path = small_files / "random-demo-4-blocks-bf16.bin"
    small_files.mkdir(parents=True)
    path.write_bytes(b"nothing")
    code, _, err = run(capsys, "--shape", "demo", *SHORT)
    assert code == 0
    assert "writing" in err
    assert path.stat().st_size == small_plan().num_bytes


def test_a_file_of_the_user_is_used_if_it_is_the_right_one(
    capsys: pytest.CaptureFixture[str], small_files: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mine.bin"
    write_small_model(path)
    code, _, err = run(capsys, "--shape", "demo", "--synthetic-file", str(path), *SHORT)
    assert code == 0
    assert "from an earlier run" in err
    assert not small_files.exists()


def test_a_file_of_the_user_is_never_replaced(
    capsys: pytest.CaptureFixture[str], small_files: Path, tmp_path: Path
) -> None:
    path = tmp_path / "precious.bin"
    path.write_bytes(b"precious")
    code, _, err = run(capsys, "--shape", "demo", "--synthetic-file", str(path), *SHORT)
    assert code == 1
    assert f"{path} is not the file of random weights that it should be: it has 8 bytes" in err
    assert path.read_bytes() == b"precious"


def test_a_missing_folder_is_an_error(
    capsys: pytest.CaptureFixture[str], small_files: Path, tmp_path: Path
) -> None:
    path = tmp_path / "none" / "model.bin"
    code, _, err = run(capsys, "--shape", "demo", "--synthetic-file", str(path), *SHORT)
    assert code == 1
    assert f"The folder {path.parent} does not exist." in err


def test_an_interruption_prints_what_was_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: runner.Runner, trial: Trial) -> float:
        if trial.kind == "decode":
            raise KeyboardInterrupt
        return 0.5

    monkeypatch.setattr(runner.Runner, "repetition", interrupted)
    code, out, err = run(capsys, *SHORT)
    assert code == 130
    assert "| pp8 " in out
    assert "tg2" not in out
    assert "interrupted after 1 of 2 tests" in err

    code, out, _ = run(capsys, *SHORT, "--json")
    assert code == 130
    assert json.loads(out)["interrupted"]


def test_an_interruption_before_any_result_prints_no_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: runner.Runner, trial: Trial) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner.Runner, "repetition", interrupted)
    code, out, _ = run(capsys, *SHORT)
    assert code == 130
    assert "| test" not in out


def test_a_depth_beyond_the_model_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, *SHORT, "-d", "1000000")
    assert code == 1
    assert "pp8 @ d1000000 needs 1000008 tokens in a context, more than the" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-p", "0", "-n", "0"), "leave nothing to measure"),
        (("-p", "1,x"), "must be an integer, not 'x'"),
        (("-s", "0"), "must be from 1"),
        (("--blocks", "2"), "--blocks needs --shape"),
        (("--synthetic-file", "x"), "--synthetic-file needs --shape"),
        (("model.bin", "--shape", "20b"), "give either MODEL or --shape"),
        (("--shape", "21b"), "invalid choice: '21b'"),
    ],
)
def test_wrong_usage(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["bench", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_cache_folder_of_each_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == tmp_path / "Library" / "Caches" / "gptoss"
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "gptoss"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / ".cache" / "gptoss"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere" / "gptoss"
