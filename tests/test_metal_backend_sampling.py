"""A context that samples on the GPU: its tokens are the CPU backend's, whatever is queued ahead.

`Context.sample` keeps a stream of tokens on the GPU, whose next token is queued before this one is
read (source/context_stream.h). What it may and may not do is tested with a backend without
arithmetic in tests/native/context_stream_test.cpp. Here are the kernels, the queue and what fails.
"""

from __future__ import annotations

import copy
import itertools
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gptoss
import numpy as np
import pytest
from engine_cases import log_softmax, model_path, processed_context, random_tokens
from hypothesis import given, settings
from hypothesis import strategies as st
from metal_backend import (
    cpu_model,
    load_with_faults,
    logits_while_decoding,
    metal_model,
    start_report,
)
from metal_sampling import History, Options, Twin

pytestmark = pytest.mark.usefixtures("metal_backend")

PROMPT = random_tokens(20)
VOCABULARY_SIZE = 464

# Backends differ by up to 5e-3 in a logit, and so do probabilities, relatively. A draw may fall
# between the two.
DRAW_TOLERANCE = 1e-2


def assert_sampled_as_on_the_cpu(
    context: gptoss.Context, prompt: list[int], answer: list[int], options: dict[str, Any]
) -> None:
    """The CPU backend draws the same tokens, or where it does not, rounding has decided."""
    assert context.tokens == prompt + answer
    beside = processed_context(cpu_model(), prompt)
    rows = [beside.logits(), *logits_while_decoding(beside, answer[:-1])]
    kernel_options = {
        ("biases" if name == "logit_bias" else name): value
        for name, value in options.items()
        if name != "stop_tokens"
    }
    for i, (token, row) in enumerate(zip(answer, rows, strict=True)):
        history = History({*prompt, *answer[:i]}, Counter(answer[:i]), len(prompt) + i)
        twin = Twin(row, Options(**kernel_options), history)
        lead = twin.logits.max() - twin.logits[token]
        close = lead < DRAW_TOLERANCE and not options.get("temperature", 1.0)
        assert close or twin.allows(token, len(prompt) + i, DRAW_TOLERANCE), (
            f"token {i} of {answer}: the CPU backend draws {twin.token(len(prompt) + i)}"
        )
    expected = log_softmax(np.array(rows))[np.arange(len(answer)), answer]
    np.testing.assert_allclose(context.log_probabilities, expected, atol=DRAW_TOLERANCE)


def take(context: gptoss.Context, count: int, **options: Any) -> list[int]:
    """The first tokens of a stream that is then given up, with one more on its way."""
    return [token for _, token in zip(range(count), context.stream(**options), strict=False)]


# --- The same tokens ---

all_options = st.fixed_dictionaries(
    {"seed": st.integers(0, 2**64 - 1)},
    optional={
        "temperature": st.sampled_from([0.0, 0.3, 1.0, 2.5]),
        "top_p": st.floats(0.05, 1, exclude_min=True),
        "top_k": st.integers(0, 2 * VOCABULARY_SIZE),
        "min_p": st.floats(0, 0.5),
        "repetition_penalty": st.floats(0.5, 2),
        "presence_penalty": st.floats(-2, 2),
        "frequency_penalty": st.floats(-2, 2),
        "logit_bias": st.dictionaries(
            st.integers(0, VOCABULARY_SIZE - 1),
            st.one_of(st.floats(-5, 5), st.just(float("-inf"))),
            max_size=20,
        ),
    },
)


@settings(max_examples=20, deadline=None)
@given(options=all_options, count=st.integers(1, 12), piece=st.integers(1, 5))
def test_tokens_are_those_of_the_cpu_backend(
    options: dict[str, Any], count: int, piece: int
) -> None:
    context = processed_context(metal_model(), PROMPT)
    answer = context.sample(count, **options)
    assert_sampled_as_on_the_cpu(context, PROMPT, answer, options)

    streamed = processed_context(metal_model(), PROMPT)
    assert list(streamed.stream(count, **options)) == answer
    assert streamed.log_probabilities == context.log_probabilities
    cut = processed_context(metal_model(), PROMPT)
    while cut.num_tokens < len(PROMPT) + count:
        cut.sample(min(piece, len(PROMPT) + count - cut.num_tokens), **options)
    assert cut.tokens == context.tokens


def test_streaming_past_a_ring_that_is_no_longer_than_its_window() -> None:
    """A token that was drawn in vain has overwritten the oldest key of the ring."""
    options: dict[str, Any] = {"seed": 5, "frequency_penalty": 0.2}
    context = processed_context(metal_model("short_window"), PROMPT, max_batch_tokens=1)
    expected = processed_context(metal_model("short_window"), PROMPT).sample(60, **options)
    answer: list[int] = []
    while len(answer) < 60:
        answer += take(context, 7, **options)
        context.process()  # drops what was drawn ahead
    assert answer[:60] == expected


# --- What is queued ---


def test_each_token_is_one_command_buffer_and_none_is_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host_device: None
) -> None:
    report = start_report(tmp_path, monkeypatch)
    model = gptoss.Model(model_path("tiny"), backend="metal")
    context = processed_context(model, PROMPT)
    report.take()
    context.sample(6, seed=1)
    buffers = report.take()
    assert [buffer.label for buffer in buffers] == [
        "sampling of the token at position 20",
        *(f"the token at position {position}" for position in range(20, 25)),
    ]
    assert [buffer.kernels for buffer in buffers[:1]] == [["sample_survey", "sample_draw"]]
    assert all(buffer.kernels[-2:] == ["sample_survey", "sample_draw"] for buffer in buffers)
    assert not any(buffer.unneeded_barriers for buffer in buffers)

    # With filters, two more launches each.
    context.sample(3, seed=1, top_k=5)
    expected = ["sample_survey", "sample_cut", "sample_gather", "sample_draw"]
    buffers = report.take()
    assert [buffer.kernels[-4:] for buffer in buffers[1:]] == [expected] * 3
    assert not any(buffer.unneeded_barriers for buffer in buffers)


def test_stop_token_is_processed_by_what_was_queued_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host_device: None
) -> None:
    report = start_report(tmp_path, monkeypatch)
    model = gptoss.Model(model_path("tiny"), backend="metal")
    answer = processed_context(model, PROMPT).sample(12, seed=1)
    stop = answer[6]
    context = processed_context(model, PROMPT)
    report.take()
    stopped = context.sample(100, seed=1, stop_tokens=[stop])
    assert stopped == answer[: answer.index(stop) + 1]
    assert context.num_cached_tokens == context.num_tokens
    assert len(report.take()) == len(stopped) + 1
    after_stop = context.logits()
    assert report.take() == []  # nothing was left to process
    again = processed_context(model, PROMPT + stopped)
    np.testing.assert_allclose(after_stop, again.logits(), atol=5e-3)


def test_a_token_that_nobody_asked_for_yet_is_queued_while_streaming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host_device: None
) -> None:
    report = start_report(tmp_path, monkeypatch)
    context = processed_context(gptoss.Model(model_path("tiny"), backend="metal"), PROMPT)
    take(context, 3, seed=1)
    assert context.num_cached_tokens == len(PROMPT) + 2
    context.append([])  # waits for it, and keeps its keys and values
    assert context.num_cached_tokens == len(PROMPT) + 3
    assert report.take()[-1].label == "the token at position 22"

    # The last one has no successor.
    context.truncate(len(PROMPT))
    assert len(list(context.stream(3, seed=1))) == 3
    context.append([])
    assert context.num_cached_tokens == len(PROMPT) + 2


# --- Across calls ---


@pytest.mark.parametrize(
    "change",
    [
        lambda context: context.process(),
        lambda context: context.logits(),
        lambda context: copy.copy(context),
        lambda context: context.sample(0),
        lambda context: context.truncate(context.num_tokens),
        lambda context: gptoss.process_batch([context]),
    ],
    ids=["process", "logits", "copy", "sample nothing", "truncate nothing", "batch"],
)
def test_what_comes_between_two_calls_changes_no_token(
    change: Callable[[gptoss.Context], object],
) -> None:
    options: dict[str, Any] = {"seed": 8, "presence_penalty": 0.3}
    expected = processed_context(metal_model(), PROMPT).sample(12, **options)
    context = processed_context(metal_model(), PROMPT)
    answer = take(context, 4, **options)
    if change is not None:
        change(context)
    answer += take(context, 4, **options)
    change(context)
    assert answer + context.sample(4, **options) == expected


def test_penalties_forget_what_was_sampled_before_an_append() -> None:
    options: dict[str, Any] = {"temperature": 0.0, "frequency_penalty": 1.5}
    contexts = [processed_context(model, PROMPT) for model in (metal_model(), cpu_model())]
    for context in contexts:
        context.sample(6, **options)
        context.append([5, 6])
        context.sample(6, **options)
        context.truncate(context.num_tokens - 3)
        context.sample(6, **options)
    assert contexts[0].tokens == contexts[1].tokens


def test_contexts_in_threads_sample_as_if_alone() -> None:
    prompts = [random_tokens(10 + 5 * i, seed=i) for i in range(4)]
    expected = [processed_context(metal_model(), p).sample(15, seed=2) for p in prompts]
    answers: list[list[int]] = [[] for _ in prompts]

    def work(i: int) -> None:
        context = gptoss.Context(metal_model())
        context.append(prompts[i])
        answers[i] = list(context.stream(15, seed=2)) if i % 2 else context.sample(15, seed=2)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == expected


# --- Errors ---

UNUSABLE: dict[str, dict[str, Any]] = {
    "all forbidden": {"logit_bias": dict.fromkeys(range(VOCABULARY_SIZE), float("-inf"))},
    "infinite at once": {"repetition_penalty": 1e-38},
    "infinite at the second token": {"presence_penalty": -3e38, "frequency_penalty": -3e38},
}


@pytest.mark.parametrize("options", UNUSABLE.values(), ids=UNUSABLE)
def test_why_no_token_can_be_sampled_is_said_in_the_same_words(options: dict[str, Any]) -> None:
    outcomes = []
    for model in (metal_model(), cpu_model()):
        context = processed_context(model, PROMPT)
        with pytest.raises(ValueError, match=r"forbid every token|make a logit infinite") as caught:
            list(context.stream(5, **options))
        tokens_before = context.tokens
        context.sample(3, seed=4)
        outcomes.append((str(caught.value), tokens_before, context.tokens))
    assert outcomes[0] == outcomes[1]


def test_damaged_weights_are_an_error(tmp_path: Path) -> None:
    damaged = bytearray(model_path("tiny").read_bytes())
    tensors = {name: (offset, size) for name, _, _, offset, size in metal_model()._native.tensors()}
    name = next(name for name in tensors if "unembedding" in name)
    offset, size = tensors[name]
    damaged[offset : offset + size] = b"\xc0\x7f" * (size // 2)  # NaN in bf16
    path = tmp_path / "damaged.bin"
    path.write_bytes(damaged)
    context = processed_context(gptoss.Model(path, backend="metal"), PROMPT)
    with pytest.raises(gptoss.BackendError, match="not finite numbers"):
        context.sample(3)
    assert context.tokens == PROMPT


@pytest.mark.parametrize("number", range(1, 9))
def test_command_buffer_that_fails_costs_a_call_and_no_token(
    number: int, monkeypatch: pytest.MonkeyPatch, host_device: None
) -> None:
    """The first is the prompt's; then the first draw, and a pass for each token."""
    expected = processed_context(metal_model(), PROMPT).sample(12, seed=3)
    context = gptoss.Context(load_with_faults(f"failure:{number}", monkeypatch))
    context.append(PROMPT)
    errors = []
    while context.num_tokens < len(PROMPT) + 12:
        try:
            for _ in context.stream(len(PROMPT) + 12 - context.num_tokens, seed=3):
                pass
        except gptoss.BackendError as error:
            errors.append(str(error))
    assert len(errors) == 1
    assert "position" in errors[0]
    assert context.tokens == PROMPT + expected


def test_stream_for_which_there_is_no_memory_is_an_error(
    monkeypatch: pytest.MonkeyPatch, host_device: None
) -> None:
    """Each allocation fails in turn: those of the stream come last."""
    expected = processed_context(metal_model(), PROMPT).sample(5, seed=3)
    failures: list[str] = []
    for number in itertools.count(1):
        try:
            context = gptoss.Context(load_with_faults(f"allocation:{number}", monkeypatch))
        except gptoss.BackendError:
            continue  # the model's own
        context.append(PROMPT)
        try:
            context.sample(5, seed=3)
            break  # it has fewer
        except gptoss.BackendError as error:
            failures.append(str(error))
        context.sample(5, seed=3)
        assert context.tokens == PROMPT + expected
    assert "sampling" in failures[-2]
    assert "stop tokens" in failures[-1]


def test_kernel_that_cannot_be_compiled_is_an_error(
    monkeypatch: pytest.MonkeyPatch, host_device: None
) -> None:
    context = processed_context(load_with_faults("compile:sample_cut", monkeypatch), PROMPT)
    with pytest.raises(gptoss.BackendError, match="sample_cut"):
        context.sample(3, top_k=5)
    # What does not need it works.
    expected = processed_context(metal_model(), PROMPT).sample(3, seed=1)
    assert context.sample(3, seed=1) == expected


def test_gpu_that_stops_answering_ends_the_model_and_no_call_hangs(
    monkeypatch: pytest.MonkeyPatch, host_device: None
) -> None:
    monkeypatch.setenv("GPTOSS_METAL_TIMEOUT", "0.5")
    context = processed_context(load_with_faults("hang:5", monkeypatch), PROMPT)
    with pytest.raises(gptoss.BackendError, match="stopped answering"):
        context.sample(12, seed=3)
    num_sampled = context.num_tokens - len(PROMPT)
    assert (
        context.tokens
        == PROMPT + processed_context(metal_model(), PROMPT).sample(12, seed=3)[:num_sampled]
    )
    with pytest.raises(gptoss.BackendError, match="create the Model again"):
        context.sample(1, seed=3)


def test_abort_while_a_token_is_on_its_way() -> None:
    expected = processed_context(metal_model(), PROMPT).sample(8, seed=3)
    context = processed_context(metal_model(), PROMPT)
    answer = take(context, 3, seed=3)
    context.abort()
    with pytest.raises(gptoss.AbortedError, match="aborted"):
        context.sample(5, seed=3)
    assert context.num_cached_tokens == len(PROMPT) + 3
    assert answer + context.sample(5, seed=3) == expected
