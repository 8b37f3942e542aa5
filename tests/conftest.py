"""What all tests share: paths, the backend, and how hypothesis runs in continuous integration."""

import os
import re
import signal
import sys
from pathlib import Path

import gptoss
import hypothesis
import pytest
from gptoss import device as gptoss_device
from gptoss.vocabulary import format_tiktoken, load_o200k_base

# No time limit per example: the machines that run these tests are slow and shared. In continuous
# integration the examples are the same in every run.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if "CI" in os.environ else "default")

# The host device that runs Metal kernels is for Linux (docs/metal-on-linux.md). The Metal backend
# (test_metal_backend_*.py) is tested wherever there is one.
if sys.platform != "linux":
    collect_ignore_glob = ["test_metal_[!b]*.py", "metal_host/tests/*"]

# A shell starts what runs in the background with Ctrl-C ignored, and programs inherit that. The
# tests that interrupt a program need it to be heard.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        choices=["auto", "cpu", "metal"],
        default="auto",
        help="the backend of every model that is loaded without naming one; a test that needs this "
        "backend then fails where there is none, and is not skipped",
    )


def pytest_configure(config: pytest.Config) -> None:
    backend = config.getoption("--backend")
    gptoss_device._BACKENDS["auto"] = gptoss_device.native_backend(backend)


# The host device takes its time, above all on a busy machine.
os.environ.setdefault("GPTOSS_METAL_TIMEOUT", "600")


@pytest.fixture(scope="session")
def metal_backend(pytestconfig: pytest.Config) -> None:
    """For tests that need the Metal backend: skips them in a build or on a machine without it."""
    if pytestconfig.getoption("--backend") != "metal":
        try:
            gptoss.Model(backend="metal")
        except gptoss.BackendError as error:
            pytest.skip(str(error))


@pytest.fixture(scope="session")
def host_device(metal_backend: None) -> None:
    """For tests that need the device which stands for a GPU on Linux: it fails on demand."""
    if sys.platform != "linux":
        pytest.skip("faults and reports are the host device's, which is on Linux")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout that the tests are in."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def api_functions(repository: Path) -> set[str]:
    """The functions of the C library, as its header declares them."""
    header = (repository / "include" / "gptoss.h").read_text()
    return set(re.findall(r"^GPTOSS_ABI [^;(]*?\b(gptoss_\w+)\(", header, re.MULTILINE))


@pytest.fixture(scope="session")
def demo_model_path() -> Path:
    """The demo model of the installed package."""
    return Path(gptoss.__file__).parent / "data" / "demo-model.bin"


@pytest.fixture(scope="session", autouse=True)
def openai_harmony_without_network(tmp_path_factory: pytest.TempPathFactory) -> None:
    """openai-harmony would download the vocabulary that the package has: it gets it from here."""
    if "TIKTOKEN_ENCODINGS_BASE" not in os.environ:
        directory = tmp_path_factory.mktemp("encodings")
        (directory / "o200k_base.tiktoken").write_bytes(format_tiktoken(load_o200k_base()))
        os.environ["TIKTOKEN_ENCODINGS_BASE"] = str(directory)
