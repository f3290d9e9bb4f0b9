import json
import math

import numpy as np
import pytest
from drawing import rows_of

from hf_curriculum.training.config import CurriculumConfig
from hf_curriculum.training.coverage import Coverage
from hf_curriculum.training.sampler import CurriculumSampler


def sampler_of(n=500, batch=20, warmup=60, unscored=0, seed=0, **settings):
    difficulty = np.random.default_rng(1).beta(2, 3, n)
    masked = np.ma.masked_array(difficulty, np.arange(n) < unscored)
    config = CurriculumConfig(warmup_steps=warmup, **settings)
    return CurriculumSampler(masked, config, total_batch_size=batch, seed=seed)


def planned(sampler, difficulty, steps):
    """The sum over rows: 1 - product over draws of (1 - p), then the walk without replacement."""
    missed = np.ones(sampler.rows)
    for step in range(min(steps, sampler.warmup_steps)):
        weights = np.exp(-difficulty / sampler.temperature(step))
        missed[sampler.rows - weights.size :] *= (1 - weights / weights.sum()) ** sampler.total_batch_size
    walked = max(0, steps - sampler.warmup_steps) * sampler.total_batch_size
    return 1 - missed.mean() * max(0, 1 - walked / sampler.rows)


@pytest.mark.parametrize("unscored", [0, 120])
@pytest.mark.parametrize("steps", [1, 7, 59, 60, 61, 75, 85, 200])
def test_measured_is_the_share_of_rows_seen_and_planned_the_expected_one(steps, unscored):
    sampler = sampler_of(unscored=unscored)
    coverage = Coverage(sampler)
    coverage.advance(steps // 2)
    coverage.advance(steps)
    seen = np.unique(rows_of(sampler, range(steps)))
    assert coverage.measured == seen.size / 500
    difficulty = np.random.default_rng(1).beta(2, 3, 500)[unscored:]
    assert coverage.planned == pytest.approx(planned(sampler, difficulty, steps), abs=1e-5)


def test_planned_is_the_mean_of_measured_over_seeds():
    shares = []
    for seed in range(60):
        coverage = Coverage(sampler_of(seed=seed))
        coverage.advance(70)
        shares.append(coverage.measured)
    error = np.std(shares) / math.sqrt(len(shares))
    assert np.mean(shares) == pytest.approx(coverage.planned, abs=4 * error)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "root", "step"])
def test_some_steps_stand_for_many(schedule):
    sampler = sampler_of(n=3000, batch=3, warmup=2000, schedule=schedule)
    at_once, one_by_one = Coverage(sampler), Coverage(sampler)
    at_once.advance(1900)
    for steps in range(0, 1901, 10):
        one_by_one.advance(steps)
    assert at_once.planned == pytest.approx(one_by_one.planned, abs=1e-5)
    assert at_once.measured == one_by_one.measured


def test_advance_returns_the_rows_since_the_last_time():
    sampler = sampler_of()
    coverage = Coverage(sampler)
    coverage.advance(3)
    np.testing.assert_array_equal(coverage.advance(5), np.concatenate([sampler.indices(3), sampler.indices(4)]))
    assert coverage.advance(5).size == 0


@pytest.mark.parametrize("first_step", [0, 20, 65])
@pytest.mark.parametrize("steps", [66, 80])
def test_a_restored_coverage_goes_on_as_the_old_one(first_step, steps):
    sampler = sampler_of()
    old, new = Coverage(sampler, first_step), Coverage(sampler)
    old.advance(66)
    new.restore(json.loads(json.dumps(old.state())))
    for coverage in (old, new):
        coverage.advance(steps)
    assert new.measured == old.measured
    assert new.planned == pytest.approx(old.planned, abs=1e-9)
    assert new.steps == steps


def test_many_rows_are_measured_on_a_sample():
    sampler = sampler_of(n=300_000, batch=5000, warmup=100)
    coverage = Coverage(sampler)
    for steps in (10, 50, 110):
        coverage.advance(steps)
        seen = np.unique(rows_of(sampler, range(steps))).size / 300_000
        assert coverage.measured == pytest.approx(seen, abs=4 * 0.002)
    assert len(json.dumps(coverage.state())) < 12_000
