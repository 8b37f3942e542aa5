"""A GPU that is absent, too old, out of memory, broken, or gone: a sentence, and then what is left.

The host device fails on demand. After a failure either the context goes on as if nothing had been,
or every further use says that the model is lost. Leaks and races on these ways are found by the
native test (tests/native/metal_failures_test.cpp), which runs with the sanitizers.
"""

from __future__ import annotations

import gc
import itertools
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gptoss
import pytest
from engine_cases import model_path, processed_context
from metal_backend import (
    assert_logits_agree,
    load_with_faults,
    metal_logits,
    metal_model,
    prompt,
    start_report,
)

pytestmark = pytest.mark.usefixtures("host_device")

MOST_ALLOCATIONS = 100  # of loading and using a model: more would be a defect by itself
NUM_TOKENS = 90


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Not even after a hang: the device's threads end with the last user of the model."""
    metal_model("tiny")  # which lives on, for other tests
    gc.collect()
    before = num_threads()
    yield
    gc.collect()
    assert num_threads() == before, "threads of the process, after the test's models are gone"


def num_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


# --- What a context goes through, in steps that can be repeated ---


def steps_of_a_conversation() -> list[Callable[[gptoss.Context], object]]:
    """Every kind of command buffer: many rows, few, one, sampling; and a cache that grows."""
    tokens = prompt("tiny").tokens

    def append_up_to(end: int) -> Callable[[gptoss.Context], object]:
        return lambda context: context.append(tokens[context.num_tokens : end])

    def sample_up_to(end: int, top_p: float) -> Callable[[gptoss.Context], object]:
        return lambda context: context.sample(end - context.num_tokens, top_p=top_p, seed=5)

    return [
        append_up_to(40),
        gptoss.Context.process,
        append_up_to(45),
        gptoss.Context.process,
        lambda context: context.sample(50 - context.num_tokens, temperature=0.0),
        lambda context: context.truncate(45),
        sample_up_to(48, 0.9),
        lambda context: context.truncate(45),
        append_up_to(NUM_TOKENS),
        gptoss.Context.process,
    ]


def go_through(
    model: gptoss.Model, expected_error: type[Exception]
) -> tuple[gptoss.Context, list[Exception]]:
    """Repeats a step that fails, once."""
    context = gptoss.Context(model, max_batch_tokens=40)
    errors: list[Exception] = []
    for step in steps_of_a_conversation():
        try:
            step(context)
        except expected_error as error:
            errors.append(error)
            step(context)
    return context, errors


def assert_undisturbed(context: gptoss.Context, what: str) -> None:
    tokens = prompt("tiny").tokens[:NUM_TOKENS]
    assert context.tokens == tokens, what
    assert context.num_cached_tokens == NUM_TOKENS, what
    assert_logits_agree(context.logits(), prompt("tiny").logits[NUM_TOKENS - 1], what)


def assert_is_sentence(error: Exception, with_numbers: bool = False) -> None:
    text = str(error)
    assert re.search(r"\d", text) or not with_numbers, f"no number in {text!r}"
    assert re.match(r"[A-Z]", text), f"not a sentence: {text!r}"
    assert re.search(r"[.)]$", text), f"not a sentence: {text!r}"


# --- At the start ---


@pytest.mark.parametrize(
    ("fault", "what"), [("no_device", r"GPU|device"), ("old_system", r"macOS 14")]
)
def test_machine_that_cannot_run_it(fault: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(gptoss.BackendError, match=what) as caught:
        load_with_faults(fault, monkeypatch)
    assert_is_sentence(caught.value)
    assert "'cpu'" in str(caught.value), "the remedy is another backend"


def test_small_buffers_split_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 2**21
    num_bytes = model_path("blocks_of_the_20b").stat().st_size
    assert num_bytes > 3 * limit, f"{num_bytes} bytes are not split into 4 buffers"
    model = load_with_faults(f"max_buffer:{limit}", monkeypatch, "blocks_of_the_20b")
    context = processed_context(model, [1, 2, 3])
    on_cpu = gptoss.Model(
        model_path("blocks_of_the_20b"), backend="cpu", threads=1, precision="exact"
    )
    expected = processed_context(on_cpu, [1, 2, 3]).logits()
    assert_logits_agree(context.logits(), expected, f"buffers of {limit} bytes")


def test_model_that_does_not_fit_is_refused_with_the_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(gptoss.BackendError) as caught:
        load_with_faults("memory:1000", monkeypatch)
    assert_is_sentence(caught.value, with_numbers=True)


# --- Memory ---


def test_allocation_that_is_refused_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    num_while_loading = num_later = 0
    for number in itertools.count(1):
        assert number <= MOST_ALLOCATIONS, "there is no end of allocations"
        what = f"allocation {number} was refused"
        try:
            model = load_with_faults(f"allocation:{number}", monkeypatch)
        except gptoss.BackendError as error:
            assert_is_sentence(error, with_numbers=True)
            num_while_loading += 1
            continue
        context, errors = go_through(model, gptoss.BackendError)
        assert_undisturbed(context, what)
        if not errors:
            break
        (refusal,) = errors
        assert_is_sentence(refusal, with_numbers=True)
        num_later += 1
    # Rotary frequencies at least; workspace, caches, and what sampling needs.
    assert num_while_loading >= 1
    assert num_later >= 4


# --- Kernels ---


@pytest.mark.slow
def test_kernel_that_does_not_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        report = start_report(tmp_path, patch)
        model = gptoss.Model(model_path("tiny"), backend="metal")
    assert go_through(model, gptoss.BackendError)[1] == []
    kernels = sorted({kernel for buffer in report.take() for kernel in buffer.kernels})
    assert len(kernels) > 10, kernels
    for kernel in kernels:
        with pytest.raises(gptoss.BackendError, match=kernel) as caught:
            go_through(load_with_faults(f"compile:{kernel}", monkeypatch), ZeroDivisionError)
        assert re.match(r"[A-Z].*'cpu'.*: ", str(caught.value)), f"no remedy: {caught.value}"
        assert "error: " in str(caught.value), f"not what the compiler says: {caught.value}"


# --- Command buffers ---


def test_command_buffer_that_fails_half_way(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in itertools.count(1):
        context, errors = go_through(
            load_with_faults(f"failure:{number}", monkeypatch), gptoss.BackendError
        )
        assert_undisturbed(context, f"command buffer {number} failed")
        if not errors:
            break
        (error,) = errors
        assert_is_sentence(error)
    assert number > 10, "prefill, and a command buffer for each token"


def test_failure_in_a_batch_leaves_all_contexts_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_with_faults("failure:2", monkeypatch)
    contexts = [gptoss.Context(model) for _ in range(3)]
    for index, context in enumerate(contexts):
        context.append(prompt("tiny").tokens[: 10 + index])
    gptoss.process_batch(contexts)
    for context in contexts:
        context.append(prompt("tiny").tokens[context.num_tokens : 30])
    with pytest.raises(gptoss.BackendError):
        gptoss.process_batch(contexts)
    gptoss.process_batch(contexts)
    for context in contexts:
        assert_logits_agree(context.logits(), prompt("tiny").logits[29], "after a failure")


@pytest.mark.parametrize("number", [1, 4])
def test_gpu_that_hangs_is_lost(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefill, a second piece, the tokens of a stream: at once from then on, and for this model."""
    monkeypatch.setenv("GPTOSS_METAL_TIMEOUT", "4")
    model = load_with_faults(f"hang:{number}", monkeypatch)
    other = gptoss.Context(model)
    other.append(prompt("tiny").tokens[:10])
    context = gptoss.Context(model, max_batch_tokens=40)
    context.append(prompt("tiny").tokens[:60])
    with pytest.raises(gptoss.BackendError, match=r"stopped answering.*create the Model again"):
        context.sample(20, temperature=0.0)

    start = time.monotonic()
    uses: list[Callable[[], object]] = [
        context.process,
        context.logits,
        context.sample,
        lambda: next(context.stream()),
        other.process,
        lambda: gptoss.process_batch([other]),
    ]
    for use in uses:
        context.append(1)
        with pytest.raises(gptoss.BackendError, match="stopped answering"):
            use()
    assert time.monotonic() - start < 1, "a lost GPU is waited for again"
    assert context.num_tokens >= 60

    again = gptoss.Model(model_path("tiny"), backend="metal")
    logits = processed_context(again, prompt("tiny").tokens[:10]).logits()
    assert_logits_agree(logits, prompt("tiny").logits[9], "the model that was created again")


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "1e9"])
def test_time_limit_that_is_none_is_refused(seconds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPTOSS_METAL_TIMEOUT", seconds)
    with pytest.raises(ValueError, match=f"GPTOSS_METAL_TIMEOUT.*'{seconds}'"):
        gptoss.Model(model_path("tiny"), backend="metal")


def test_failure_of_one_model_does_not_touch_another(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = gptoss.Context(load_with_faults("failure:1", monkeypatch))
    broken.append(prompt("tiny").tokens[:5])
    with pytest.raises(gptoss.BackendError):
        broken.process()
    assert_logits_agree(
        metal_logits("tiny", prompt("tiny").tokens[:5]), prompt("tiny").logits[4], "another model"
    )


# --- Threads ---


def test_models_come_and_go_without_leaving_threads() -> None:
    before = num_threads()
    for _ in range(3):
        model = gptoss.Model(model_path("tiny"), backend="metal")
        context = processed_context(model, prompt("tiny").tokens[:5])
        stream = context.stream()
        next(stream)
        del stream, context, model
        gc.collect()
        assert num_threads() == before
