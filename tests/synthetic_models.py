"""Small models with random weights, for tests of what measures them."""

from dataclasses import replace
from pathlib import Path

from gptoss.bench.shapes import SHAPES, Shape
from gptoss.bench.synthetic_file import SyntheticFile, plan_file, write_file
from gptoss.convert.conversion import DenseFormat
from gptoss.convert.tokenizer_source import SPECIAL_TOKENS, Vocabulary
from gptoss.vocabulary import O200K_BASE_REGEX, load_o200k_base

NUM_TEXT_TOKENS = 400


def small_shape(num_blocks: int = 4) -> Shape:
    """The demo shape with fewer tokens."""
    demo = SHAPES["demo"].with_blocks(num_blocks)
    return replace(demo, config=demo.config | {"vocab_size": NUM_TEXT_TOKENS + len(SPECIAL_TOKENS)})


def small_vocabulary() -> Vocabulary:
    """The first tokens of the real one, and as many special ones."""
    tokens = load_o200k_base()[:NUM_TEXT_TOKENS]
    return Vocabulary("a test", O200K_BASE_REGEX, tokens, [bytes(16)] * len(SPECIAL_TOKENS))


def small_plan(num_blocks: int = 4, dense: DenseFormat = "bf16") -> SyntheticFile:
    return plan_file(small_shape(num_blocks), dense, small_vocabulary())


def write_small_model(
    path: Path, num_blocks: int = 4, dense: DenseFormat = "bf16"
) -> SyntheticFile:
    plan = small_plan(num_blocks, dense)
    write_file(plan, path, lambda phase, done, total: None, replace=False)
    return plan
