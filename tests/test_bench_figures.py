"""What a benchmark counts: combinations of its options, statistics, bytes and operations."""

import gptoss
import numpy as np
import pytest
from gptoss.bench.roofline import Roofline, shares
from gptoss.bench.samples import Samples
from gptoss.bench.trials import Trial, plan_trials
from gptoss.bench.work import (
    WeightBytes,
    Work,
    cache_bytes,
    experts_touched,
    key_value_operations,
    keys_seen,
    other_operations,
    work_of,
)

# The header of gpt-oss-20b.
CONFIG_20B = gptoss.ModelConfig(
    context_length=131072,
    num_blocks=24,
    num_experts=32,
    num_active_experts=4,
    embedding_dim=2880,
    mlp_dim=2880,
    swiglu_limit=7.0,
    head_dim=64,
    num_heads=64,
    num_kv_heads=8,
    attention_window=128,
    rope_theta=150000.0,
    interpolation_scale=1 / 32,
    yarn_offset=0.0,
    yarn_scale=0.0,
    yarn_multiplier=1.3466,
    rmsnorm_epsilon=1e-5,
    vocabulary_size=200014,
)
EMBEDDING_BYTES = 2 * 200014 * 2880
WEIGHTS_20B = WeightBytes(
    dense=24 * 2 * (2 * 2880 + 5120 * 2881 + 64 + 4096 * 2880 + 2880 + 32 * 2881),
    experts=24 * 32 * ((5760 * 2880 + 2880 * 2880) * 17 // 32 + 2 * (5760 + 2880)),
    unembedding=EMBEDDING_BYTES + 2 * 2880,
    embedding_row=2 * 2880,
)


def decode(num_tokens: int, depth: int = 0, sequences: int = 1) -> Trial:
    return Trial("decode", num_tokens, depth, sequences, 512, None)


def prefill(num_tokens: int, depth: int = 0, batch: int = 512) -> Trial:
    return Trial("prefill", num_tokens, depth, 1, batch, None)


# Combinations.


def test_every_combination_is_a_trial_and_those_of_one_model_are_together() -> None:
    trials = plan_trials(
        prompts=[128, 512],
        generated=[64],
        depths=[0, 4096],
        sequences=[1, 4],
        batches=[512],
        threads=[1, 2],
    )
    names = ["pp128", "pp512", "tg64", "tg64 x 4"]
    deep = [f"{name} @ d4096" for name in names]
    assert [trial.name for trial in trials] == 2 * (names + deep)
    assert [trial.threads for trial in trials] == [1] * 8 + [2] * 8


def test_batches_are_for_prefill_and_sequences_for_decoding() -> None:
    trials = plan_trials(
        prompts=[512], generated=[64], depths=[0], sequences=[2], batches=[64, 512], threads=[None]
    )
    assert [(trial.name, trial.batch_tokens) for trial in trials] == [
        ("pp512", 64),
        ("pp512", 512),
        ("tg64 x 2", 64),
    ]


def test_zero_tokens_and_repeated_values_are_no_trials() -> None:
    trials = plan_trials(
        prompts=[0], generated=[8, 8, 0], depths=[0], sequences=[1], batches=[512], threads=[None]
    )
    assert [trial.name for trial in trials] == ["tg8"]


# Statistics.


def test_statistics() -> None:
    speeds = Samples.speeds(100, (1.0, 2.0, 10.0))
    assert list(speeds.values) == [100, 50, 10]
    assert speeds.median == 50
    assert list(speeds.spread) == [10, 100]
    assert speeds.mean == pytest.approx(160 / 3)
    assert speeds.standard_deviation == pytest.approx(float(np.std([100, 50, 10], ddof=1)))


def test_one_repetition_has_no_deviation() -> None:
    assert Samples((3.0,)).as_json() == {
        "median": 3.0,
        "min": 3.0,
        "max": 3.0,
        "mean": 3.0,
        "standard_deviation": 0.0,
    }


# Bytes and operations.


def block_operations() -> int:
    return key_value_operations(CONFIG_20B) + other_operations(CONFIG_20B)


def test_keys_seen_are_those_of_a_direct_count() -> None:
    for position, num_tokens in ((0, 1), (0, 300), (100, 60), (127, 2), (128, 1), (4096, 64)):
        seen = [p + 1 for p in range(position, position + num_tokens)]
        assert keys_seen(1, position, num_tokens, CONFIG_20B) == sum(seen)
        in_window = sum(min(count, 128) for count in seen)
        assert keys_seen(0, position, num_tokens, CONFIG_20B) == in_window


def test_cache_bytes_are_those_of_the_positions_that_any_token_sees() -> None:
    per_position = 2 * 2 * 8 * 64  # keys and values, fp16
    assert cache_bytes(0, 0, 1, CONFIG_20B) == per_position
    assert cache_bytes(1, 0, 1, CONFIG_20B) == per_position
    assert cache_bytes(0, 4096, 1, CONFIG_20B) == 128 * per_position
    assert cache_bytes(1, 4096, 1, CONFIG_20B) == 4097 * per_position
    # The first of 10 tokens sees 128 keys, and the other nine one more each.
    assert cache_bytes(0, 4096, 10, CONFIG_20B) == 137 * per_position
    assert cache_bytes(1, 4096, 10, CONFIG_20B) == 4106 * per_position
    assert cache_bytes(1, 4096, 0, CONFIG_20B) == 0


def test_experts_touched() -> None:
    assert experts_touched(1, CONFIG_20B) == pytest.approx(4)
    # Drawn: distinct experts of four tokens that choose four of 32 each.
    generator = np.random.default_rng(0)
    drawn = [
        len({int(e) for _ in range(4) for e in generator.choice(32, 4, replace=False)})
        for _ in range(4000)
    ]
    assert experts_touched(4, CONFIG_20B) == pytest.approx(float(np.mean(drawn)), rel=0.01)


def test_work_of_decoding_one_token_of_gpt_oss_20b() -> None:
    work = work_of(decode(1), CONFIG_20B, WEIGHTS_20B)
    # Experts 1271 MB (with their biases), attention 1279 MB, unembedding 1152 MB.
    assert work.num_bytes / 1e6 == pytest.approx(1270.7 + 1279.1 + 1152.1, abs=0.2)
    assert 24 * block_operations() / 1e9 == pytest.approx(6.06, abs=0.01)
    unembedding = 2 * 200014 * 2880
    attention = 24 * 4 * 64 * 64
    assert work.operations == 24 * block_operations() + unembedding + attention


def test_depth_adds_the_cache_and_its_attention_and_nothing_else() -> None:
    shallow, deep = (work_of(decode(1, depth), CONFIG_20B, WEIGHTS_20B) for depth in (0, 4096))
    cache = 12 * (4097 + 128 - 2) * 2 * 2 * 8 * 64
    assert cache / 1e6 == pytest.approx(103.8, abs=0.1)
    assert deep.num_bytes - shallow.num_bytes == pytest.approx(cache)
    keys = 12 * (4097 + 128 - 2)
    assert deep.operations - shallow.operations == pytest.approx(keys * 4 * 64 * 64)


def test_four_sequences_share_the_dense_weights_and_some_experts() -> None:
    one, four = (work_of(decode(8, 0, count), CONFIG_20B, WEIGHTS_20B) for count in (1, 4))
    assert four.operations == pytest.approx(4 * one.operations)
    # What the bytes allow: 2.24 times as many tokens a second.
    assert 4 * one.num_bytes / four.num_bytes == pytest.approx(2.24, abs=0.02)


def test_prefill_reads_weights_once_for_a_piece_and_computes_logits_once() -> None:
    whole = work_of(prefill(512), CONFIG_20B, WEIGHTS_20B)
    halves = work_of(prefill(512, batch=256), CONFIG_20B, WEIGHTS_20B)
    assert whole.operations == halves.operations
    # The first half reads all but the last block's experts and cache.
    per_position = 2 * 2 * 8 * 64
    cache = 12 * 256 + 11 * 256  # of blocks that slide and of others; the second half sees the rest
    cache += 12 * (127 + 256 - 512)
    assert halves.num_bytes - whole.num_bytes == pytest.approx(
        WEIGHTS_20B.dense + WEIGHTS_20B.experts * 23 / 24 + cache * per_position, rel=1e-6
    )


def test_last_block_makes_keys_and_values_of_all_tokens_and_the_rest_of_the_last() -> None:
    work = work_of(prefill(512), CONFIG_20B, WEIGHTS_20B)
    keys_and_values = 2 * 2880 * 2 * 8 * 64
    assert key_value_operations(CONFIG_20B) == keys_and_values
    products = 512 * (23 * block_operations() + keys_and_values)
    products += block_operations() - keys_and_values + 2 * 200014 * 2880
    scores = 12 * keys_seen(0, 0, 512, CONFIG_20B) + 11 * keys_seen(1, 0, 512, CONFIG_20B) + 512
    assert work.operations == products + scores * 4 * 64 * 64
    # All but one token of 512 are in no expert of the last block.
    weights = WEIGHTS_20B.dense + WEIGHTS_20B.unembedding + 512 * WEIGHTS_20B.embedding_row
    experts = WEIGHTS_20B.experts * (23 + 4 / 32) / 24
    cache = (12 * 512 + 12 * 512) * 2 * 2 * 8 * 64
    assert work.num_bytes == pytest.approx(weights + experts + cache, rel=1e-6)


def test_weights_are_counted_from_the_tensors_of_the_file() -> None:
    model = gptoss.Model(None, "cpu")
    weights = WeightBytes.of(model.tensors, model.config)
    embedding = weights.embedding_row * model.config.vocabulary_size
    counted = weights.dense + weights.experts + weights.unembedding + embedding
    assert counted == sum(tensor.num_bytes for tensor in model.tensors)
    assert weights.embedding_row == 2 * model.config.embedding_dim
    assert weights.experts > 0


def test_shares_are_of_the_better_way_to_read_and_of_both_kinds_of_arithmetic() -> None:
    roofline = Roofline(2, 10e9, 8e9, 100e9, 400e9)
    reached = shares(Work(num_bytes=20e9, operations=100e9), 4.0, roofline)
    assert reached.read == pytest.approx(0.5)
    assert reached.fp32 == pytest.approx(0.25)
    assert reached.int8 == pytest.approx(0.0625)
    assert shares(Work(1, 1), 1.0, Roofline(2, 10e9, None, 1e9, None)).int8 is None
