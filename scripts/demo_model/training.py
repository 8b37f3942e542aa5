"""The training loop: everything depends on the step alone, so a seed gives the same model again."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from gptoss.tokenizer import Tokenizer
from torch import Tensor
from torch.nn import functional

from demo_model.checkpoint import load_state, save_state
from demo_model.conversations import (
    DRILLS,
    SKILL_WEIGHTS,
    SMALL_SUM_SHARE,
    TOOL_SHARE,
    ConversationGenerator,
)
from demo_model.evaluation import evaluate
from demo_model.initialisation import initialise
from demo_model.network import Config, Network
from demo_model.optimiser import Optimiser
from demo_model.packing import Batch, exact_answers, pack

_PROMPTS_PER_BATCH = 2
_EXCHANGES_PER_PROMPT = 12
_BALANCE_WEIGHT = 0.01
_WARM_UP_STEPS = 30

# The schedule, in steps of a run of FULL_STEPS; another number of steps stretches it. Copying and
# adding are learned on one-line prompts, which cost half as much; the real prompts follow. Most
# answers become exact while the rate falls. The rounding of the weights joins late: the model first
# needs something to round. Telling known words and cities from unknown ones takes longest: first
# come more prompts with the tool, then two short falls of the rate with more of what is confused,
# the last one with unknown words and cities put together from known ones. The last fall refuses
# better and says known words worse than the one before; the mean of both ends is right in both.
FULL_STEPS = 3460
_SHORT_PROMPTS_UNTIL = 1012
_FULL_RATE_UNTIL = 1242
_DRILLS_UNTIL = 1380
_QUANTISATION_FROM = 1564
_MORE_TOOLS_FROM = 1800
_SECOND_FALL_FROM = 2700
_RATE_AT_MORE_TOOLS = 0.4726
_RATE_OF_SECOND_FALL = 0.25
_THIRD_FALL_FROM = 3300
_RATE_OF_THIRD_FALL = 0.2
_THIRD_FALL_BLENDS = 0.4
_DRILL_SHARE_SHORT = 0.25
_DRILL_SHARE_REAL = 0.05
_MORE_TOOLS_SHARE = 0.6
_SECOND_FALL_BOOSTS = {
    "weather without tool": 4.0,
    "say": 3.0,
    "unknown city": 4.0,
    "large number": 2.0,
    "unknown word": 3.0,
}
_THIRD_FALL_BOOSTS = {
    "weather": 1.5,
    "weather without tool": 2.0,
    "say": 3.0,
    "unknown city": 3.0,
    "large number": 3.0,
    "unknown word": 4.0,
    "other": 2.0,
}

_REPORT_EVERY = 50
_SAVE_EVERY = 100
_EVALUATE_EVERY = 300


@dataclass(frozen=True)
class Schedule:
    """What a step does; `step` counts from 0."""

    num_steps: int

    def _full_step(self, step: int) -> float:
        return step * FULL_STEPS / self.num_steps

    def has_short_prompts(self, step: int) -> bool:
        """Tell whether one-line prompts stand in for the real ones."""
        return self._full_step(step) < _SHORT_PROMPTS_UNTIL

    def is_quantisation_aware(self, step: int) -> bool:
        """Tell whether the experts' weights are rounded in the forward pass."""
        return self._full_step(step) >= _QUANTISATION_FROM

    def drill_share(self, step: int) -> float:
        """Return the share of exchanges that are drills."""
        if self.has_short_prompts(step):
            return _DRILL_SHARE_SHORT
        return _DRILL_SHARE_REAL if self._full_step(step) < _DRILLS_UNTIL else 0.0

    def tool_share(self, step: int) -> float:
        """Return the share of prompts with the tool."""
        return TOOL_SHARE if self._full_step(step) < _MORE_TOOLS_FROM else _MORE_TOOLS_SHARE

    def boost(self, step: int, skill: str) -> float:
        """Return the factor on a skill's weight."""
        if self._full_step(step) >= _THIRD_FALL_FROM:
            return _THIRD_FALL_BOOSTS.get(skill, 1.0)
        if self._full_step(step) >= _SECOND_FALL_FROM:
            return _SECOND_FALL_BOOSTS.get(skill, 1.0)
        return 1.0

    def blend_share(self, step: int) -> float:
        """Return the share of unknown words and cities that are put together from known ones."""
        return _THIRD_FALL_BLENDS if self._full_step(step) >= _THIRD_FALL_FROM else 0.0

    def is_end_of_second_fall(self, step: int) -> bool:
        """Tell whether the third fall starts with this step."""
        return self._full_step(step - 1) < _THIRD_FALL_FROM <= self._full_step(step)

    def rate(self, step: int) -> float:
        """Return the factor on the learning rates: full, then falling three times."""
        at = self._full_step(step)
        knots = (
            (_FULL_RATE_UNTIL, 1.0),
            (_MORE_TOOLS_FROM, _RATE_AT_MORE_TOOLS),
            (_SECOND_FALL_FROM, 0.0),
            (_SECOND_FALL_FROM, _RATE_OF_SECOND_FALL),
            (_THIRD_FALL_FROM, 0.0),
            (_THIRD_FALL_FROM, _RATE_OF_THIRD_FALL),
            (FULL_STEPS, 0.0),
        )
        rate = 1.0
        for (start, high), (stop, low) in itertools.pairwise(knots):
            if start <= at < stop:
                rate = high + (low - high) * (at - start) / (stop - start)
        return min(1.0, (step + 1) / _WARM_UP_STEPS) * max(0.01, rate)


class Trainer:
    """The network, its optimiser, the source of conversations, and how far they are."""

    def __init__(self, tokenizer: Tokenizer, seed: int, num_steps: int) -> None:
        torch.manual_seed(seed)
        torch.set_flush_denormal(True)
        self.tokenizer = tokenizer
        self.schedule = Schedule(num_steps)
        self.seed = seed
        self.network = Network(Config())
        initialise(self.network)
        self.optimiser = Optimiser(self.network)
        self.second_fall: dict[str, Tensor] = {}  # the parameters at the end of the second fall
        self.generator = ConversationGenerator(tokenizer, seed + 100, held_out=False)
        self.step = 0
        self.num_tokens = 0
        self.num_exchanges = 0
        self.seconds = 0.0
        self.loss = 0.0  # smoothed
        self.exactness = dict.fromkeys(
            (*SKILL_WEIGHTS, *DRILLS), 0.0
        )  # smoothed share of exact answers in training

    def train(self, state_path: Path) -> None:
        """Run all steps that are left, and keep the state in a file."""
        started = time.monotonic() - self.seconds
        first_step = self.step
        resumed = time.monotonic()
        while self.step < self.schedule.num_steps:
            self._train_step()
            self.seconds = time.monotonic() - started
            if self.step % _REPORT_EVERY == 0 or self.step <= 2:
                per_step = (time.monotonic() - resumed) / (self.step - first_step)
                self._report(per_step)
            if self.step % _SAVE_EVERY == 0:
                save_state(state_path, self._state())
            if self.step % _EVALUATE_EVERY == 0:
                self._quick_evaluation()
        save_state(state_path, self._state())

    def finished_network(self) -> Network:
        """Return the mean of the networks at the ends of the last two falls."""
        network = Network(self.network.config)
        parameters = self.network.state_dict()
        mean = {name: (self.second_fall[name] + parameters[name]) / 2 for name in parameters}
        network.load_state_dict(mean)
        return network

    def _train_step(self) -> None:
        if self.schedule.is_end_of_second_fall(self.step):
            parameters = self.network.state_dict()
            self.second_fall = {name: values.clone() for name, values in parameters.items()}
        self.network.quantisation_aware = self.schedule.is_quantisation_aware(self.step)
        # More of what fails: a skill without errors is still drawn, at a quarter of its weight.
        for skill, weight in SKILL_WEIGHTS.items():
            share = weight * (0.25 + 1.5 * (1 - self.exactness[skill]))
            self.generator.skill_weights[skill] = share * self.schedule.boost(self.step, skill)
        batch = self._batch()
        logits, balance = self.network(batch)
        loss = functional.cross_entropy(logits, batch.targets)
        torch.autograd.backward(loss + _BALANCE_WEIGHT * balance)
        self.optimiser.step(self.schedule.rate(self.step))
        for exchange, right in zip(
            batch.sources, exact_answers(logits.detach(), batch).tolist(), strict=True
        ):
            self.exactness[exchange.skill] += 0.01 * (right - self.exactness[exchange.skill])
        self.loss = loss.item() if self.step == 0 else 0.95 * self.loss + 0.05 * loss.item()
        self.step += 1
        self.num_tokens += batch.tokens.numel()
        self.num_exchanges += len(batch.sources)

    def _batch(self) -> Batch:
        generator = self.generator
        short = self.schedule.has_short_prompts(self.step)
        # Practice is on all numbers alike, conversations are as people lead them.
        generator.small_sum_share = 0.0 if short else SMALL_SUM_SHARE
        generator.tool_share = self.schedule.tool_share(self.step)
        generator.blend_share = self.schedule.blend_share(self.step)
        drill_share = self.schedule.drill_share(self.step)
        groups = []
        for _ in range(_PROMPTS_PER_BATCH):
            prompt = generator.short_prompt() if short else generator.prompt()
            exchanges = []
            for _ in range(_EXCHANGES_PER_PROMPT):
                skill = (
                    generator.random.choice(DRILLS)
                    if generator.random.random() < drill_share
                    else None
                )
                exchanges.append(generator.exchange(prompt.effort, prompt.has_tool, skill))
            groups.append((prompt, exchanges))
        return pack(groups, self.network.config.sliding_window)

    def _report(self, seconds_per_step: float) -> None:
        left = (self.schedule.num_steps - self.step) * seconds_per_step / 60
        rate = self.num_tokens / max(self.seconds, 1e-9)
        skills = ", ".join(f"{skill} {share:.2f}" for skill, share in self.exactness.items())
        print(
            f"step {self.step}/{self.schedule.num_steps}  {seconds_per_step:.2f} s/step  "
            f"{rate:.0f} tokens/s  {left:.0f} min left  loss {self.loss:.4f}  exact: {skills}",
            flush=True,
        )

    def _quick_evaluation(self) -> None:
        scores, failures = evaluate(
            self.network, self.tokenizer, 24, self.step, False, num_failures=2
        )
        print(
            "held out: " + ", ".join(f"{skill} {s.exact}/{s.total}" for skill, s in scores.items()),
            flush=True,
        )
        if self.schedule.is_quantisation_aware(self.step):
            print("\n".join("  " + failure for failure in failures), flush=True)

    def _state(self) -> dict[str, object]:
        return {
            "seed": self.seed,
            "num_steps": self.schedule.num_steps,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "second_fall": self.second_fall,
            "random": self.generator.random.getstate(),
            "step": self.step,
            "num_tokens": self.num_tokens,
            "num_exchanges": self.num_exchanges,
            "seconds": self.seconds,
            "loss": self.loss,
            "exactness": self.exactness,
        }

    def resume(self, state_path: Path) -> None:
        """Continue from a saved state of the same seed and number of steps."""
        state = load_state(state_path)
        if (state["seed"], state["num_steps"]) != (self.seed, self.schedule.num_steps):
            raise ValueError(
                f"{state_path} was made with seed {state['seed']} and {state['num_steps']} steps, "
                f"not with seed {self.seed} and {self.schedule.num_steps} steps: give the same "
                "values, or start anew."
            )
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.second_fall = state["second_fall"]
        self.generator.random.setstate(state["random"])
        self.step = state["step"]
        self.num_tokens = state["num_tokens"]
        self.num_exchanges = state["num_exchanges"]
        self.seconds = state["seconds"]
        self.loss = state["loss"]
        self.exactness = state["exactness"]
