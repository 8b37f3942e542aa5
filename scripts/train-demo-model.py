"""Train the built-in demo model from scratch, and write a checkpoint in OpenAI's original layout.

Needs PyTorch, safetensors, tiktoken and the installed gptoss package, and about an hour on two CPU
cores. `gptoss convert` makes the model.bin inside the package of the result.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from demo_model.checkpoint import save_model
from demo_model.evaluation import evaluate, table
from demo_model.training import FULL_STEPS, Trainer
from demo_model.vocabulary import read_demo_tokenizer


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "output", type=Path, help="directory of the checkpoint and of the training state"
    )
    parser.add_argument(
        "--vocabulary", type=Path, required=True, help="the file o200k_base.tiktoken"
    )
    parser.add_argument(
        "--steps", type=int, default=FULL_STEPS, help="training steps; the schedule stretches"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the start values and the conversations"
    )
    parser.add_argument(
        "--threads", type=int, default=2, help="CPU threads; the result depends on their number"
    )
    parser.add_argument(
        "--answers",
        type=int,
        default=192,
        help="held-out answers per skill in the final evaluation",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue from the training state in the output directory",
    )
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    arguments.output.mkdir(parents=True, exist_ok=True)
    state_path = arguments.output / "training-state.pt"
    tokenizer = read_demo_tokenizer(arguments.vocabulary)
    trainer = Trainer(tokenizer, arguments.seed, arguments.steps)
    if arguments.resume:
        trainer.resume(state_path)
    elif state_path.exists():
        parser.error(f"{state_path} exists: continue it with --resume, or remove it to start anew.")
    trainer.train(state_path)
    print(
        f"{trainer.step} steps, {trainer.num_tokens} tokens, {trainer.num_exchanges} exchanges "
        f"in {trainer.seconds / 60:.1f} minutes"
    )
    network = trainer.finished_network()
    for name, size in save_model(arguments.output, network, tokenizer).items():
        print(f"{name}: {size} bytes")

    seed = arguments.seed + 9001
    first, failures = evaluate(network, tokenizer, arguments.answers, seed, False, num_failures=6)
    later, later_failures = evaluate(
        network, tokenizer, arguments.answers // 2, seed, True, num_failures=6
    )
    print("Exact greedy answers on held-out conversations, weights rounded as shipped:")
    print(table(first, later))
    for failure in failures + later_failures:
        print("wrong:", failure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
