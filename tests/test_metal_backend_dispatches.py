"""How the Metal backend talks to the GPU: as few dispatches, encoders and barriers as can be.

Counted in the host device's report of what every command buffer held. One command buffer has one
encoder. The deep model has the 20b's 24 blocks and 32 experts and is narrow otherwise: how often
kernels are launched for a token does not depend on widths.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gptoss
import pytest
from engine_cases import model_path, processed_context, random_tokens
from metal_backend import CommandBuffer, Report, start_report

pytestmark = pytest.mark.usefixtures("host_device")

MOST_DISPATCHES_OF_A_TOKEN = 175


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    return start_report(tmp_path, monkeypatch)


@pytest.fixture
def deep_model(report: Report) -> gptoss.Model:
    return gptoss.Model(model_path("blocks_of_the_20b"), backend="metal")


@pytest.fixture
def model(report: Report) -> gptoss.Model:
    return gptoss.Model(model_path("tiny"), backend="metal")


def assert_no_barrier_is_unneeded(buffers: list[CommandBuffer]) -> None:
    for buffer in buffers:
        assert not buffer.unneeded_barriers, f"{buffer.label}: {buffer.unneeded_barriers}"


GREEDY: dict[str, Any] = {"temperature": 0.0}
TOP_P: dict[str, Any] = {"temperature": 0.8, "top_p": 0.95, "seed": 3}
OPTIONS: dict[str, dict[str, Any]] = {
    "greedy": GREEDY,
    "temperature": {"temperature": 1.0},
    "top_k": {"top_k": 50},
    "top_p": TOP_P,
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_dispatches_of_a_decoded_token(
    deep_model: gptoss.Model, report: Report, options: dict[str, Any]
) -> None:
    context = processed_context(deep_model, random_tokens(3))
    report.take()
    num_tokens = 4
    context.sample(num_tokens, **options)
    buffers = report.take()
    # The first draws from the logits that are there; the last token's successor is not prepared.
    assert len(buffers) == num_tokens, [buffer.label for buffer in buffers]
    forward = buffers[1:]
    for buffer in forward:
        assert buffer.dispatches == len(buffer.kernels)
        assert buffer.dispatches <= MOST_DISPATCHES_OF_A_TOKEN, buffer.kernels
        assert buffer.barriers < buffer.dispatches
    assert len({buffer.dispatches for buffer in forward}) == 1
    assert buffers[0].dispatches <= 5, buffers[0].kernels
    assert_no_barrier_is_unneeded(buffers)


def test_length_of_the_context_does_not_matter(model: gptoss.Model, report: Report) -> None:
    """Attention is split over more threadgroups, not over more dispatches."""
    dispatches = set()
    for num_cached in (3, 140, 600):
        context = processed_context(model, random_tokens(num_cached))
        report.take()
        context.sample(3, **GREEDY)
        dispatches |= {buffer.dispatches for buffer in report.take()[1:]}
    assert len(dispatches) == 1, dispatches


def test_calls_that_follow_each_other_waste_nothing(model: gptoss.Model, report: Report) -> None:
    """Tokens that stream() reads one by one take as many command buffers as sample()'s."""
    context = processed_context(model, random_tokens(20))
    report.take()
    stream = context.stream(6, **GREEDY)
    tokens = list(stream)
    assert len(tokens) == 6
    assert len(report.take()) == 6


def test_stop_token_ends_the_queue(model: gptoss.Model, report: Report) -> None:
    """What was queued behind a stop token does nothing: at most one pass is for nothing."""
    tokens = random_tokens(20)
    answer = processed_context(model, tokens).sample(6, **GREEDY)
    expected = answer.index(answer[3]) + 1
    context = processed_context(model, tokens)
    report.take()
    assert len(context.sample(50, stop_tokens=[answer[3]], **GREEDY)) == expected
    assert len(report.take()) <= expected + 1


@pytest.mark.parametrize(
    ("num_tokens", "max_batch_tokens", "num_pieces"), [(130, 512, 1), (130, 40, 4), (5, 512, 1)]
)
def test_one_command_buffer_for_each_piece_of_a_prompt(
    model: gptoss.Model,
    report: Report,
    num_tokens: int,
    max_batch_tokens: int,
    num_pieces: int,
) -> None:
    processed_context(model, random_tokens(num_tokens), max_batch_tokens=max_batch_tokens)
    buffers = report.take()
    assert len(buffers) == num_pieces, [buffer.label for buffer in buffers]
    assert_no_barrier_is_unneeded(buffers)


def test_one_command_buffer_for_a_batch_of_contexts(model: gptoss.Model, report: Report) -> None:
    contexts = [gptoss.Context(model) for _ in range(5)]
    for index, context in enumerate(contexts):
        context.append(random_tokens(1 + 3 * index, seed=index))
    gptoss.process_batch(contexts)
    buffers = report.take()
    assert len(buffers) == 1, [buffer.label for buffer in buffers]
    assert_no_barrier_is_unneeded(buffers)


def test_logits_are_computed_for_wanted_rows_only(model: gptoss.Model, report: Report) -> None:
    """Of a prompt in pieces, the last one's command buffer alone has the unembedding."""
    processed_context(model, random_tokens(100), max_batch_tokens=40)
    unembeds = [any("unembed" in kernel for kernel in buffer.kernels) for buffer in report.take()]
    assert unembeds == [False, False, True]


def test_nothing_is_done_where_nothing_is_to_do(model: gptoss.Model, report: Report) -> None:
    context = processed_context(model, random_tokens(20))
    report.take()
    context.process()
    context.logits()
    assert report.take() == []
