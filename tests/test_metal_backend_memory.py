"""The GPU's memory: what does not fit is refused before it is allocated, with what helps.

The limit is the host device's to set: GPTOSS_METAL_HOST_FAULTS=memory:BYTES.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable

import gptoss
import pytest
from gptoss.cli.main import main

pytestmark = pytest.mark.usefixtures("host_device")

SetLimit = Callable[[int], None]
LEAST_USEFUL_CONTEXT = 4096


@pytest.fixture
def set_limit(monkeypatch: pytest.MonkeyPatch) -> SetLimit:
    """Sets the bytes that the device recommends to everything that opens it from now on."""

    def set_to(num_bytes: int) -> None:
        monkeypatch.setenv("GPTOSS_METAL_HOST_FAULTS", f"memory:{num_bytes}")

    return set_to


@pytest.fixture(scope="module")
def on_cpu() -> gptoss.Model:
    """The demo model where nothing limits it: it knows what it would need on the GPU."""
    return gptoss.Model(backend="cpu", threads=1)


@pytest.fixture
def needed(on_cpu: gptoss.Model) -> Callable[[int], int]:
    def total(context_length: int) -> int:
        return on_cpu.memory_needed(context_length, backend="metal").total

    return total


Needed = Callable[[int], int]


def refusal_of(context: gptoss.Context) -> str:
    """What processing it fails with for want of memory; empty if it does not."""
    try:
        context.process()
    except gptoss.BackendError as error:
        return str(error)
    return ""


class TestModels:
    def test_are_loaded_where_4096_tokens_fit(self, needed: Needed, set_limit: SetLimit) -> None:
        set_limit(needed(LEAST_USEFUL_CONTEXT))
        model = gptoss.Model(backend="metal")
        assert gptoss.Context(model).max_tokens == LEAST_USEFUL_CONTEXT

    def test_are_refused_where_they_do_not(self, needed: Needed, set_limit: SetLimit) -> None:
        set_limit(needed(LEAST_USEFUL_CONTEXT) - 1)
        with pytest.raises(
            gptoss.BackendError, match=r"context of no more than 4096 tokens needs .* MiB"
        ):
            gptoss.Model(backend="metal")

    def test_memory_is_that_of_the_device(self, set_limit: SetLimit) -> None:
        set_limit(123456789)
        assert gptoss.device_info("metal").recommended_bytes == 123456789


class TestContexts:
    def test_are_as_long_as_fits_by_default(
        self, needed: Needed, set_limit: SetLimit, on_cpu: gptoss.Model
    ) -> None:
        set_limit(needed(10000) + 1)
        context = gptoss.Context(gptoss.Model(backend="metal"))
        assert context.max_tokens == 10000
        assert on_cpu.memory_needed(backend="metal").context_length == 10000

    def test_are_never_longer_than_the_model_allows(
        self, needed: Needed, set_limit: SetLimit, on_cpu: gptoss.Model
    ) -> None:
        set_limit(2 * needed(on_cpu.max_context_length))
        context = gptoss.Context(gptoss.Model(backend="metal"))
        assert context.max_tokens == on_cpu.max_context_length

    def test_that_do_not_fit_are_refused_with_the_longest_that_does(
        self, needed: Needed, set_limit: SetLimit
    ) -> None:
        set_limit(needed(10000))
        model = gptoss.Model(backend="metal")
        assert gptoss.Context(model, 10000).max_tokens == 10000
        with pytest.raises(gptoss.BackendError, match="A context of 10001 tokens needs") as refusal:
            gptoss.Context(model, 10001)
        assert "a context_length of at most 10000" in str(refusal.value)
        assert "the backend 'cpu'" in str(refusal.value)
        assert "sysctl" not in str(refusal.value)  # this is no Mac

    def test_smaller_batches_leave_room_for_a_longer_context(
        self, needed: Needed, set_limit: SetLimit
    ) -> None:
        set_limit(needed(10000))
        model = gptoss.Model(backend="metal")
        assert gptoss.Context(model, max_batch_tokens=32).max_tokens > 10000

    def test_share_the_memory(self, needed: Needed, set_limit: SetLimit) -> None:
        """A context counts with what it holds, until it is gone."""
        set_limit(needed(10000))
        model = gptoss.Model(backend="metal")
        first = gptoss.Context(model)
        second = gptoss.Context(model)
        assert second.max_tokens == 10000  # nothing is allocated yet
        first.append([5] * 40)
        first.process()
        shorter = gptoss.Context(model).max_tokens
        assert shorter < 10000
        with pytest.raises(
            gptoss.BackendError, match=r"that other contexts hold.*, fewer contexts"
        ):
            gptoss.Context(model, shorter + 1)
        del first
        assert gptoss.Context(model).max_tokens == 10000

    def test_that_do_not_fit_together_do_not_grow_together(
        self, needed: Needed, set_limit: SetLimit
    ) -> None:
        """The one that comes too late is told, and goes on when there is room."""
        set_limit(needed(LEAST_USEFUL_CONTEXT))
        model = gptoss.Model(backend="metal")
        contexts = [gptoss.Context(model, 256) for _ in range(40)]  # empty, so each fits
        for late in contexts:
            late.append([5] * 3)
            if refusal := refusal_of(late):
                break
        assert refusal.startswith("The keys and values of a context need ")
        assert late is not contexts[0]
        assert (late.tokens, late.num_cached_tokens) == ([5] * 3, 0)
        expected = contexts[0].logits()
        contexts[0].append([6])
        contexts[0].process()  # it has its memory
        del contexts[1]
        assert (late.logits() == expected).all()

    def test_can_be_copied_whatever_their_length(self, needed: Needed, set_limit: SetLimit) -> None:
        """A copy needs what the context holds; how far both will grow is not known."""
        set_limit(needed(10000))
        context = gptoss.Context(gptoss.Model(backend="metal"))
        context.append([5] * 40)
        context.process()
        twin = copy.copy(context)
        assert (twin.max_tokens, twin.tokens) == (10000, context.tokens)


class TestInspect:
    def test_says_what_fits_and_what_helps(
        self, needed: Needed, set_limit: SetLimit, capsys: pytest.CaptureFixture[str]
    ) -> None:
        set_limit(needed(10000))
        assert main(["inspect", "--backend", "metal"]) == 0
        memory = capsys.readouterr().out.split("\nmemory on metal, ")[1]
        size = r" +[\d.]+ \w+"
        assert re.search(rf"\n  4096{size}{size}{size} +yes\n", memory)
        assert re.search(rf"\n  32768{size}{size}{size} +no\n", memory)
        assert re.search(rf"\n  131072{size}{size}{size} +no\n", memory)
        assert "\n  the longest context that fits: 10000\n" in memory
        assert "\n  A context of 32768 tokens needs " in memory
        assert "a context_length of at most 10000" in memory

    def test_as_json(
        self,
        needed: Needed,
        set_limit: SetLimit,
        on_cpu: gptoss.Model,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        limit = needed(10000)
        set_limit(limit)
        lengths = ["10000", "10001"]
        arguments = ["inspect", "--json", "--backend", "metal", "--context-length", *lengths]
        assert main(arguments) == 0
        memory = json.loads(capsys.readouterr().out)["memory"]
        assert memory["device"]["backend"] == "metal"
        assert memory["device"]["recommended_bytes"] == memory["limit_bytes"] == limit
        assert memory["longest_context_length"] == 10000
        fits, too_long = memory["contexts"]
        assert (fits["total_bytes"], fits["fits"], fits["advice"]) == (limit, True, "")
        assert too_long["fits"] is False
        assert too_long["advice"] == on_cpu.memory_needed(10001, backend="metal").advice

    def test_shows_models_that_the_gpu_has_no_room_for(
        self, needed: Needed, set_limit: SetLimit, capsys: pytest.CaptureFixture[str]
    ) -> None:
        set_limit(needed(LEAST_USEFUL_CONTEXT) - 1)
        assert main(["inspect", "--backend", "metal"]) == 0
        output = capsys.readouterr().out
        assert "yes" not in output.split("memory on metal")[1]
        assert "The model with a context of no more than 4096 tokens needs" in output
        assert "the longest context that fits" not in output

    def test_of_the_cpu_has_no_limit(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["inspect", "--backend", "cpu", "--json"]) == 0
        memory = json.loads(capsys.readouterr().out)["memory"]
        assert memory["limit_bytes"] is None
        assert all(context["fits"] for context in memory["contexts"])


class TestGenerate:
    def test_tells_in_one_sentence_that_the_model_does_not_fit(
        self, needed: Needed, set_limit: SetLimit, capsys: pytest.CaptureFixture[str]
    ) -> None:
        set_limit(needed(LEAST_USEFUL_CONTEXT) - 1)
        assert main(["generate", "--backend", "metal", "-p", "Hi"]) == 1
        error = capsys.readouterr().err
        assert error.startswith("gptoss: The model with a context of no more than 4096 tokens")
        assert error.count("\n") == 1
