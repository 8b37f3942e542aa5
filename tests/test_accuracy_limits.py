"""What fast arithmetic may cost, on a trained model and real conversations (docs/accuracy.md)."""

from __future__ import annotations

from typing import Any

import gptoss
import numpy as np
import pytest
import reference
from demo_checkpoint import demo_checkpoint, demo_config, demo_conversations
from engine_cases import kl_divergence
from numpy.typing import NDArray

NUM_CONVERSATIONS = 9
MAX_MEAN_KL = {"default": 1e-3, "exact": 1e-8, "fast": 1e-2}


def divergences(precision: str, num_conversations: int) -> NDArray[Any]:
    """Of every prediction from the exact model with the same cache: only the arithmetic differs."""
    model = gptoss.Model(backend="cpu", precision=precision)
    parts = []
    for tokens in demo_conversations(num_conversations):
        context = gptoss.Context(model)
        context.append(tokens)
        expected = reference.forward(
            demo_checkpoint(), demo_config(), tokens, cache_dtype=np.float16
        )
        parts.append(kl_divergence(expected.logits, context.logits_from(0)))
    return np.concatenate(parts)


@pytest.mark.parametrize("precision", MAX_MEAN_KL)
def test_predictions_of_the_demo_model_stay_within_the_limit(precision: str) -> None:
    assert divergences(precision, NUM_CONVERSATIONS).mean() < MAX_MEAN_KL[precision]


def test_each_precision_has_arithmetic_of_its_own() -> None:
    """The median: a few tokens that tip over make the mean."""
    exact, default, fast = (
        np.median(divergences(precision, 2)) for precision in ("exact", "default", "fast")
    )
    assert 10 * exact < default
    assert 10 * default < fast
