"""What fast arithmetic may cost, on a trained model and real conversations (docs/accuracy.md)."""

from __future__ import annotations

import gptoss
import numpy as np
import pytest
import reference
from demo_checkpoint import demo_checkpoint, demo_config, demo_conversations
from engine_cases import kl_divergence

NUM_CONVERSATIONS = 9
MAX_MEAN_KL = {"default": 1e-3, "exact": 1e-8, "fast": 1e-2}


@pytest.mark.parametrize("precision", MAX_MEAN_KL)
def test_predictions_of_the_demo_model_stay_within_the_limit(precision: str) -> None:
    """Of the exact model with the same cache, so that only the arithmetic differs."""
    model = gptoss.Model(backend="cpu", precision=precision)
    divergences = []
    for tokens in demo_conversations(NUM_CONVERSATIONS):
        context = gptoss.Context(model)
        context.append(tokens)
        expected = reference.forward(
            demo_checkpoint(), demo_config(), tokens, cache_dtype=np.float16
        )
        divergences.append(kl_divergence(expected.logits, context.logits_from(0)))
    assert np.concatenate(divergences).mean() < MAX_MEAN_KL[precision]
