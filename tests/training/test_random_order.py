"""order="random": a pool that grows without difficulties."""

import json

import numpy as np
import pytest
from datasets import Dataset
from scipy.stats import chisquare
from test_trainer import stream, train

from hf_curriculum import CurriculumConfig, CurriculumSampler, curriculum_weights
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
