"""Contexts and threads: the GIL, aborts, Ctrl-C, and contexts that share a model.

Long work here is a prompt that takes the engine minutes, and which no test waits for: it is stopped
as soon as the test has seen what it came for.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gptoss
import pytest
from engine_cases import assert_same_logits, model, model_path, processed_context, random_tokens

LONG_PROMPT = random_tokens(60_000)
# Deep enough that no machine is done with the long prompt before a test stops it: a model of two
# blocks was, in 0.3 s.
DEEP = "blocks_of_the_20b"
PATIENCE = 60  # seconds after which a test that hangs fails


class LongRun:
    """A thread that processes LONG_PROMPT, seen by the test once the first piece is done."""

    def __init__(self) -> None:
        self.context = processed_context(model(DEEP), LONG_PROMPT[:100])
        self.context.append(LONG_PROMPT[100:])
        self.started = threading.Event()
        self.errors: list[BaseException] = []
        self.thread = threading.Thread(target=self.work)

    def report(self, processed: int, total: int) -> None:
        if processed:
            self.started.set()

    def work(self) -> None:
        try:
            self.context.process(progress=self.report)
        except BaseException as error:
            self.errors.append(error)

    def __enter__(self) -> LongRun:
        self.thread.start()
        assert self.started.wait(PATIENCE)
        return self

    def __exit__(self, *exception: object) -> None:
        self.context.abort()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


# --- Abort ---


def test_abort_from_another_thread_stops_the_running_call() -> None:
    with LongRun() as run:
        run.context.abort()
        run.thread.join(PATIENCE)
    (error,) = run.errors
    assert isinstance(error, gptoss.AbortedError)
    assert "abort" in str(error)


def test_context_is_usable_after_an_abort() -> None:
    with LongRun() as run:
        pass
    context = run.context
    assert context.num_tokens == len(LONG_PROMPT)
    assert 100 < context.num_cached_tokens < len(LONG_PROMPT)
    context.truncate(700)
    expected = processed_context(model(DEEP), LONG_PROMPT[:700]).logits()
    assert_same_logits(context.logits(), expected)


def test_processing_goes_on_where_an_abort_stopped_it() -> None:
    context = gptoss.Context(model(), max_batch_tokens=16)
    context.append(random_tokens(100))

    def stop(processed: int, total: int) -> None:
        if processed == 48:
            context.abort()

    with pytest.raises(gptoss.AbortedError, match=r"48 of 100"):
        context.process(progress=stop)
    assert context.num_cached_tokens == 48
    totals: set[int] = set()
    context.process(progress=lambda processed, total: totals.add(total))
    assert totals == {52}
    expected = processed_context(model(), random_tokens(100)).logits()
    assert_same_logits(context.logits(), expected)


def test_abort_of_an_idle_context_stops_the_next_work_once() -> None:
    context = gptoss.Context(model())
    context.append(random_tokens(10))
    context.abort()
    with pytest.raises(gptoss.AbortedError):
        context.process()
    context.process()
    assert context.num_cached_tokens == 10


@pytest.mark.parametrize(
    "change",
    [
        lambda context: context.append(5),
        lambda context: context.truncate(4),
        lambda context: (context.reset(), context.append(5)),
    ],
    ids=["append", "truncate", "reset"],
)
def test_change_of_the_context_clears_a_pending_abort(
    change: Callable[[gptoss.Context], object],
) -> None:
    context = gptoss.Context(model())
    context.append(random_tokens(10))
    context.abort()
    change(context)
    context.process()
    assert context.num_cached_tokens == context.num_tokens


def test_abort_while_sampling_keeps_the_tokens_that_were_sampled() -> None:
    context = processed_context(model(), random_tokens(20))
    expected = processed_context(model(), random_tokens(20))
    caught: list[BaseException] = []

    def work() -> None:
        try:
            context.sample(100_000, seed=2)
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    # Ends when the abort was seen, however often it came too early.
    while thread.is_alive():
        context.abort()
        thread.join(0.05)
    assert isinstance(caught[0], gptoss.AbortedError)
    num_sampled = context.num_tokens - 20
    assert context.tokens[20:] == expected.sample(num_sampled, seed=2)
    if num_sampled:
        assert context.num_cached_tokens >= context.num_tokens - 1
    assert context.sample(1, seed=2) == expected.sample(1, seed=2)


def test_abort_of_a_copy_does_not_stop_the_original() -> None:
    original = gptoss.Context(model())
    original.append(random_tokens(10))
    copy.copy(original).abort()
    original.process()
    assert original.num_cached_tokens == 10


# --- The GIL and other threads ---


def test_python_runs_while_the_engine_works() -> None:
    """With the GIL held, this thread would go on only when the whole prompt is processed."""
    with LongRun() as run:
        for _ in range(100):
            assert sum(range(1000)) == 499500
        assert run.thread.is_alive()
        assert not run.errors


@pytest.mark.parametrize(
    "use",
    [
        lambda context: context.process(),
        lambda context: context.logits(),
        lambda context: context.sample(),
        lambda context: next(context.stream()),
        lambda context: context.append(1),
        lambda context: context.truncate(1),
        lambda context: context.reset(),
        lambda context: context.__copy__(),
        lambda context: gptoss.process_batch([context]),
    ],
    ids=[
        "process",
        "logits",
        "sample",
        "stream",
        "append",
        "truncate",
        "reset",
        "copy",
        "process_batch",
    ],
)
def test_context_in_use_refuses_a_second_thread(use: Callable[[gptoss.Context], Any]) -> None:
    in_use = pytest.raises(gptoss.InvalidStateError, match="in use by another thread")
    with LongRun() as run, in_use:
        use(run.context)
    assert run.context.num_tokens == len(LONG_PROMPT)
    assert isinstance(run.errors[0], gptoss.AbortedError)


def test_invalid_state_errors_are_runtime_errors() -> None:
    assert issubclass(gptoss.InvalidStateError, RuntimeError)
    assert issubclass(gptoss.InvalidStateError, gptoss.GptossError)


def test_progress_callback_may_not_use_the_context() -> None:
    context = gptoss.Context(model())
    context.append(random_tokens(10))
    with pytest.raises(gptoss.InvalidStateError, match="in use"):
        context.process(progress=lambda processed, total: context.append(1))
    assert context.num_tokens == 10


def test_contexts_of_one_model_in_several_threads() -> None:
    """Each thread gets what it would get alone."""

    def answer(seed: int) -> tuple[list[int], list[float]]:
        context = gptoss.Context(model("short_window"), max_batch_tokens=32)
        context.append(random_tokens(50 + 10 * seed, seed=seed))
        return context.sample(60, seed=seed), context.logits().tolist()

    alone = [answer(seed) for seed in range(6)]
    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(answer, range(6)))
    assert together == alone


def test_two_models_in_two_threads() -> None:
    def answer(seed: int) -> list[int]:
        own = gptoss.Model(model_path(), threads=2)
        return processed_context(own, random_tokens(50, seed=seed)).sample(40, seed=seed)

    alone = [answer(seed) for seed in range(2)]
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(answer, range(2))) == alone


def test_abort_stops_only_its_own_context() -> None:
    with LongRun() as run:
        other = gptoss.Context(model())
        other.append(random_tokens(20))
        run.context.abort()
        run.thread.join(PATIENCE)
        expected = processed_context(model(), random_tokens(20)).logits()
        assert_same_logits(other.logits(), expected)


# --- Batches of contexts ---


def test_empty_batch_does_nothing() -> None:
    gptoss.process_batch([])


def test_context_may_appear_once_in_a_batch() -> None:
    context = processed_context(model(), [1, 2])
    with pytest.raises(ValueError, match="once"):
        gptoss.process_batch([context, context])


def test_empty_context_in_a_batch_is_refused_and_the_others_stay_usable() -> None:
    context = gptoss.Context(model())
    context.append(random_tokens(10))
    with pytest.raises(gptoss.InvalidStateError, match="empty"):
        gptoss.process_batch([context, gptoss.Context(model())])
    expected = processed_context(model(), random_tokens(10)).logits()
    assert_same_logits(context.logits(), expected)


def test_progress_of_a_batch_counts_all_contexts() -> None:
    contexts = [gptoss.Context(model(), max_batch_tokens=16) for _ in range(3)]
    for length, context in zip((10, 20, 30), contexts, strict=True):
        context.append(random_tokens(length))
    contexts[0].process()
    calls: list[tuple[int, int]] = []
    gptoss.process_batch(
        contexts, progress=lambda processed, total: calls.append((processed, total))
    )
    assert {total for _, total in calls} == {50}
    assert calls[-1] == (50, 50)


def test_abort_of_one_context_stops_its_batch_and_leaves_all_usable() -> None:
    contexts = [gptoss.Context(model(), max_batch_tokens=16) for _ in range(2)]
    for seed, context in enumerate(contexts):
        context.append(random_tokens(40, seed=seed))

    def stop(processed: int, total: int) -> None:
        if processed == 32:
            contexts[1].abort()

    with pytest.raises(gptoss.AbortedError):
        gptoss.process_batch(contexts, progress=stop)
    for seed, context in enumerate(contexts):
        expected = processed_context(model(), random_tokens(40, seed=seed)).logits()
        assert_same_logits(context.logits(), expected)


# --- Processes of their own: Ctrl-C and fork ---


def run_python(code: str) -> dict[str, Any]:
    """Runs code that has a context `context` with a long prompt, and prints a JSON object."""
    preamble = f"""
        import json, os, signal, sys, threading, time
        import numpy as np
        import gptoss

        # A shell that starts a process in the background makes it ignore Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)

        def fresh(tokens):
            context = gptoss.Context(model, max_batch_tokens=64)
            context.append(tokens)
            return context

        model = gptoss.Model({str(model_path(DEEP))!r}, threads=2)
        tokens = [int(t) for t in np.random.default_rng(5).integers(0, 464, 60_000)]
        context = fresh(tokens)
    """
    finished = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(preamble) + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    result: dict[str, Any] = json.loads(finished.stdout)
    return result


@pytest.mark.parametrize(
    "work",
    [
        "context.process()",
        "context.logits()",
        "context.sample(100_000)",
        "list(context.stream())",
        "gptoss.process_batch([context])",
    ],
)
def test_ctrl_c_interrupts_and_leaves_the_context_usable(work: str) -> None:
    result = run_python(
        f"""
        interrupted = None
        def interrupt():
            global interrupted
            interrupted = time.monotonic()
            os.kill(os.getpid(), signal.SIGINT)
        try:
            threading.Timer(0.5, interrupt).start()
            {work}
        except KeyboardInterrupt:
            delay = time.monotonic() - interrupted
        num_cached = context.num_cached_tokens
        context.truncate(300)
        same = bool((context.logits() == fresh(tokens[:300]).logits()).all())
        print(json.dumps(dict(delay=delay, num_cached=num_cached, same=same)))
        """
    )
    assert result["same"]
    assert 0 < result["num_cached"] < 60_000
    # One layer of one piece of 64 tokens takes milliseconds here; the rest is for a busy machine.
    assert result["delay"] < 5


def test_ctrl_c_while_sampling_keeps_the_tokens_that_were_sampled() -> None:
    result = run_python(
        """
        context = fresh(tokens[:50])
        try:
            threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
            context.sample(100_000, seed=3)
        except KeyboardInterrupt:
            pass
        count = context.num_tokens - 50
        again = fresh(tokens[:50]).sample(count, seed=3)
        print(json.dumps(dict(count=count, same=again == context.tokens[50:])))
        """
    )
    assert result["count"] > 0
    assert result["same"]


def test_every_ctrl_c_while_sampling_is_seen() -> None:
    """At once, at whatever point of a token it arrives: not when all tokens are there."""
    result = run_python(
        """
        context = fresh(tokens[:50])
        seen = 0
        for number in range(25):
            try:
                threading.Timer(0.03, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
                context.sample(3000)
            except KeyboardInterrupt:
                seen += context.num_tokens < 3050
            context.truncate(50)
        print(json.dumps(dict(seen=seen)))
        """
    )
    assert result["seen"] == 25


def test_handler_of_another_signal_may_raise() -> None:
    result = run_python(
        """
        class Alarm(Exception): pass
        def ring(number, frame): raise Alarm
        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        try:
            context.process()
        except Alarm:
            print(json.dumps(dict(num_cached=context.num_cached_tokens)))
        """
    )
    assert result["num_cached"] < 60_000


def test_model_of_before_a_fork_is_refused_after_it_with_a_reason() -> None:
    result = run_python(
        """
        import warnings
        warnings.simplefilter("ignore")
        read, write = os.pipe()
        if os.fork() == 0:
            try:
                fresh(tokens[:100]).process()
            except gptoss.InvalidStateError as error:
                os.write(write, str(error).encode())
            os._exit(0)
        os.close(write)
        message = os.read(read, 1000).decode()
        fresh(tokens[:100]).process()
        print(json.dumps(dict(message=message)))
        """
    )
    assert "fork" in result["message"]
