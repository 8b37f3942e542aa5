"""Exact greedy answers per skill on held-out conversations, by the weights as they ship."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from gptoss.tokenizer import Tokenizer

from demo_model.conversations import EFFORTS, SKILL_WEIGHTS, ConversationGenerator, text_of
from demo_model.mxfp4 import round_to_mxfp4
from demo_model.network import Network
from demo_model.packing import Batch, exact_answers, pack

_PER_PROMPT = 8  # exchanges evaluated per prompt


@dataclass(frozen=True)
class Score:
    """Exact answers of a skill."""

    exact: int
    total: int

    def __str__(self) -> str:
        return f"{self.exact}/{self.total} = {100 * self.exact / self.total:5.1f} %"


@torch.no_grad()
def rounded(network: Network) -> Network:
    """Copy the network as it ships: the experts' matrices in MXFP4, all else in bfloat16."""
    shipped = copy.deepcopy(network)
    shipped.quantisation_aware = False
    for name, parameter in shipped.named_parameters():
        is_expert = name.endswith(("mlp1_weight", "mlp2_weight"))
        parameter.copy_(
            round_to_mxfp4(parameter) if is_expert else parameter.to(torch.bfloat16).float()
        )
    return shipped


@torch.no_grad()
def evaluate(
    network: Network,
    tokenizer: Tokenizer,
    num_answers: int,
    seed: int,
    is_later_turn: bool,
    num_failures: int = 0,
) -> tuple[dict[str, Score], list[str]]:
    """Score every skill, and describe up to `num_failures` wrong answers of each.

    Requests and dates are held out, and so are the earlier exchanges in the prompt: one, or two in
    every fourth prompt.
    """
    shipped = rounded(network)
    generator = ConversationGenerator(tokenizer, seed, held_out=True)
    scores: dict[str, Score] = {}
    failures: list[str] = []
    for skill in SKILL_WEIGHTS:
        exact = total = shown = 0
        for index in range(max(1, num_answers // _PER_PROMPT)):
            has_tool = {"weather": True, "unknown city": True, "weather without tool": False}.get(
                skill, generator.random.random() < 0.4
            )
            num_earlier = (2 if index % 4 == 3 else 1) if is_later_turn else 0
            effort = EFFORTS[index % len(EFFORTS)]
            prompt = generator.prompt(effort, has_tool, num_earlier)
            exchanges = [generator.exchange(effort, has_tool, skill) for _ in range(_PER_PROMPT)]
            batch = pack([(prompt, exchanges)], network.config.sliding_window, num_buckets=1)
            logits, _ = shipped(batch)
            right = exact_answers(logits, batch)
            exact += int(right.sum())
            total += _PER_PROMPT
            for answer in (right == 0).nonzero().flatten().tolist():
                if shown < num_failures:
                    shown += 1
                    failures.append(_describe(tokenizer, batch, logits.argmax(-1), answer, effort))
        scores[skill] = Score(exact, total)
    return scores, failures


def _describe(
    tokenizer: Tokenizer, batch: Batch, predicted: torch.Tensor, answer: int, effort: str
) -> str:
    """Show the request, and where the answer first goes wrong."""
    exchange = batch.sources[answer]
    wrong = ((predicted != batch.targets) & (batch.owners == answer)).nonzero().flatten()
    first = int(wrong[0])
    context = tokenizer.decode(batch.targets[max(0, first - 6) : first + 1].tolist())
    got = tokenizer.decode([int(predicted[first])])
    request = text_of(exchange.messages[0])
    return f"{exchange.skill} ({effort}): {request!r} expected ...{context!r}, got {got!r}"


def table(first_turn: dict[str, Score], later_turn: dict[str, Score]) -> str:
    """Format both as a Markdown table."""
    lines = ["| skill | first turn | later turns |", "|---|---|---|"]
    lines += [f"| {skill} | {score} | {later_turn[skill]} |" for skill, score in first_turn.items()]
    return "\n".join(lines)
