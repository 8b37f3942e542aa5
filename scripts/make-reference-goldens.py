#!/usr/bin/env python3
"""Compares the numpy reference with Hugging Face transformers and stores what transformers gave.

Needs torch and transformers. Run it only when a case or the generator of checkpoints changes: the
stored logits let the tests hold the reference to transformers on machines that have neither.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import reference
from checkpoints import openai_config
from golden_cases import CASES, GOLDENS, hugging_face_logits, save_goldens


def main() -> int:
    logits = {}
    print(f"{'case':52} max |logit difference|")
    for case in CASES:
        checkpoint = {name: tensor.data for name, tensor in case.checkpoint.items()}
        ours = reference.forward(
            checkpoint, openai_config(case.shape), case.tokens, first_position=case.first_position
        ).logits[-case.num_compared :]
        logits[case.name] = hugging_face_logits(case)
        difference = float(np.abs(ours - logits[case.name]).max())
        print(f"{case.name:52} {difference:.1e}", flush=True)
        if difference > case.tolerance:
            print(
                f"error: more than {case.tolerance}: the reference is wrong; nothing stored",
                file=sys.stderr,
            )
            return 1
    save_goldens(logits)
    print(f"{GOLDENS.name}: {GOLDENS.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
