"""order="random": a pool that grows without difficulties."""

import json

import numpy as np
import pytest
from datasets import Dataset
from scipy.stats import chisquare, poisson
from test_trainer import stream, train
from worker_training import end, logged
from worker_training import stream as rows_by_step
from worker_training import train as train_on_stream

from hf_curriculum import CurriculumConfig, CurriculumSampler, curriculum_stream, curriculum_weights
from hf_curriculum.training.permutation import random_difficulty, walk

RANDOM = CurriculumConfig(order="random", initial_fraction=0.2, warmup_steps=1.0, schedule="step")


@pytest.mark.parametrize("n", [1, 2, 999, 70_001])
def test_random_difficulties_are_a_permutation_that_the_seed_decides(n):
    one = random_difficulty(n, 5)
    assert one.dtype == np.float32
    np.testing.assert_array_equal(np.sort(one), (np.arange(n) / n).astype(np.float32))
    np.testing.assert_array_equal(one, random_difficulty(n, 5))
    if n > 2:
        assert abs(np.corrcoef(one, random_difficulty(n, 6))[0, 1]) < 0.1
        assert abs(np.corrcoef(one, np.arange(n))[0, 1]) < 0.1  # which rows come first says nothing of the order
        assert abs(np.corrcoef(one, walk(0, n, n, 5))[0, 1]) < 0.1  # nor of the walk after the warm-up


def test_rows_are_drawn_from_the_softmax_over_random_ranks():
    """The temperature makes the effective fraction 0.2: of p = softmax(-rank / N / tau), by its definition."""
    sampler = CurriculumSampler(None, RANDOM, rows=200, total_batch_size=1000, total_steps=200, seed=3)
    ranks = random_difficulty(200, 3).astype(np.float64)
    p = np.exp(-ranks / sampler.temperature(0))
    p /= p.sum()
    assert np.mean(1 - (1 - p) ** 200) == pytest.approx(0.2, abs=1e-5)
    drawn = np.concatenate([sampler.indices(step) for step in range(200)])
    order = np.argsort(ranks)
    expected = drawn.size * p[order]
    observed = np.bincount(drawn, minlength=200)[order]
    rare = expected < 20
    observed, expected = ([*counts[~rare], counts[rare].sum()] for counts in (observed, expected))
    assert chisquare(observed, expected).pvalue > 1e-4
    np.testing.assert_allclose(
        curriculum_weights(np.zeros(200), 0, CurriculumConfig(**{**RANDOM.to_dict(), "seed": 3}), 9), p
    )


@pytest.mark.slow
def test_seeds_draw_different_pools_and_all_rows_have_the_same_chance():
    counts = np.zeros(50)
    for seed in range(2000):
        counts += np.bincount(
            CurriculumSampler(None, RANDOM, rows=50, total_batch_size=1, total_steps=9, seed=seed).indices(0),
            minlength=50,
        )
    assert chisquare(counts).pvalue > 1e-4


def test_the_pool_grows_by_the_same_schedule_and_then_all_rows_come():
    options = {"total_batch_size": 10, "total_steps": 400}
    config = CurriculumConfig(order="random")
    random = CurriculumSampler(None, config, rows=1000, **options)
    easy = CurriculumSampler(np.linspace(0, 1, 1000), CurriculumConfig(), **options)
    steps = range(0, 400, 50)
    assert [random.effective_fraction(s) for s in steps] == pytest.approx(
        [easy.effective_fraction(s) for s in steps], abs=1e-4
    )
    passed = np.concatenate([random.indices(step) for step in range(200, 300)])
    assert sorted(passed.tolist()) == list(range(1000))


def test_a_trainer_needs_no_difficulty_column_and_resumes_exactly(tmp_path):
    dataset = Dataset.from_dict({"row": range(64), "length": [1] * 64})
    config = CurriculumConfig(order="random")
    options = {"dataset": dataset, "curriculum": config, "logging_steps": 4}
    whole = train(tmp_path / "whole", max_steps=24, save_steps=9, save_strategy="steps", **options)
    names = {name for log in whole.state.log_history for name in log if name.startswith("curriculum/")}
    assert "curriculum/mean_difficulty" not in names
    assert {"curriculum/effective_fraction", "curriculum/temperature", "curriculum/distinct_fraction"} <= names
    resumed = train(tmp_path / "more", max_steps=24, resume=str(tmp_path / "whole/checkpoint-9"), **options)
    assert stream(resumed) == stream(whole)[9 * 8 :]
    state = json.loads((tmp_path / "whole/checkpoint-9/trainer_state.json").read_text())
    assert state["stateful_callbacks"]["curriculum"]["settings"]["difficulties"] is None
    with pytest.raises(ValueError, match="order was 'random' and is 'easy_first'"):
        easy = dataset.add_column("difficulty", np.arange(64) / 64)
        train(tmp_path / "easy", easy, max_steps=24, resume=str(tmp_path / "whole/checkpoint-9"))


def test_a_column_that_is_given_is_refused():
    with pytest.raises(ValueError, match="leave difficulty_column='difficulty' out"):
        CurriculumConfig(order="random", difficulty_column="difficulty")
    assert CurriculumConfig().difficulty_column == "difficulty"
    assert CurriculumConfig.from_json(CurriculumConfig(order="random").to_json()) == CurriculumConfig(order="random")
    for order in ("easy_first", "random"):
        assert CurriculumConfig.from_json(CurriculumConfig(order=order).to_json()).order == order


@pytest.mark.parametrize(
    "difficulty, order, rows, message",
    [
        (np.ones(5), "random", None, "order='random' looks at no difficulty"),
        (np.ones(5), "random", 5, "order='random' looks at no difficulty"),
        (None, "random", None, "order='random' looks at no difficulty"),
        (None, "random", 0, "rows must be at least 1, got 0"),
        (None, "easy_first", None, "order='easy_first' draws by difficulty"),
        (np.ones(5), "hard_first", 5, "order='hard_first' draws by difficulty"),
    ],
)
def test_a_sampler_gets_what_its_order_needs(difficulty, order, rows, message):
    with pytest.raises(ValueError, match=message):
        CurriculumSampler(difficulty, CurriculumConfig(order=order), rows=rows, total_batch_size=1, total_steps=9)


def passing(n=12_000, shards=4):
    return Dataset.from_dict({"row": range(n)}).to_iterable_dataset(shards)


def test_rows_of_a_stream_come_as_often_as_their_place_says():
    """Without a difficulty column: copies are Poisson of mean w / E[w] with w = exp(-u / tau), u uniform in [0, 1]."""
    n, fraction = 12_000, 0.3
    config = CurriculumConfig(
        order="random", initial_fraction=fraction, final_fraction=fraction, warmup_steps=1.0, schedule="step"
    )
    drawn = curriculum_stream(passing(n), config, total_batch_size=16, total_steps=n // 16, seed=4)
    copies = np.bincount([row["row"] for row in drawn], minlength=n)
    assert abs(np.mean(copies > 0) - fraction) < 0.02
    assert abs(copies.mean() - 1) < 0.05
    grid = (np.arange(4000) + 0.5) / 4000
    low, high = 1e-3, 10.0
    for _ in range(60):  # tau, by the definition of the effective fraction
        tau = (low + high) / 2
        weights = np.exp(-grid / tau)
        rates = weights / weights.mean()
        low, high = (tau, high) if np.mean(1 - np.exp(-rates)) < fraction else (low, tau)
    expected = n * np.array([poisson.pmf(k, rates).mean() for k in range(6)])
    observed = np.bincount(np.minimum(copies, 6), minlength=7)[:6]
    error = np.sqrt(expected * (1 - expected / n))
    assert (np.abs(observed - expected) < 5 * error + 0.01 * n * (expected > 0.1 * n)).all()
    halves = np.array([copies[::2].mean(), copies[1::2].mean(), copies[: n // 2].mean(), copies[n // 2 :].mean()])
    assert np.abs(halves - 1).max() < 0.1  # no place in the stream is favoured


def test_a_random_stream_is_that_of_its_seed_and_resumes_exactly():
    config = CurriculumConfig(order="random", warmup_steps=0.5)

    def drawn(seed=4):
        return curriculum_stream(passing(2000), config, total_batch_size=8, total_steps=250, seed=seed)

    whole = [row["row"] for row in drawn()]
    assert whole == [row["row"] for row in drawn()] != [row["row"] for row in drawn(5)]
    for stop in (1, 317, 1400):
        part = drawn()
        begun = [row["row"] for _, row in zip(range(stop), part, strict=False)]
        rest = drawn()
        rest.load_state_dict(part.state_dict())
        assert begun + [row["row"] for row in rest] == whole
    assert sorted(set(whole[1400:])) == sorted(whole[1400:])  # after the warm-up each row once


def test_a_trainer_takes_a_stream_without_a_difficulty(tmp_path):
    stream = passing(400).map(lambda row: row)
    options = {"dataset": stream, "max_steps": 60, "curriculum": {"order": "random"}}
    train_on_stream(tmp_path / "whole", **options)
    train_on_stream(tmp_path / "cut", stop=23, **options)
    train_on_stream(tmp_path / "cut", resume=str(tmp_path / "cut/checkpoint-23"), **options)
    assert rows_by_step(tmp_path / "cut") == rows_by_step(tmp_path / "whole")
    logs = logged(end(tmp_path / "whole")["logs"])
    names = {name for log in logs.values() for name in log}
    assert "curriculum/mean_difficulty" not in names and "curriculum/rows_read" in names
