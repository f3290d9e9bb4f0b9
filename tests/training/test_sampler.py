import math
import random
import tracemalloc
from collections import deque
from itertools import islice

import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from datasets import Dataset, DatasetDict
from drawing import independence, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.utils.data import BatchSampler, DataLoader

from hf_curriculum.training.config import CurriculumConfig
from hf_curriculum.training.sampler import CurriculumSampler
from hf_curriculum.training.schedule import curriculum_weights, effective_fraction, planned_fraction, solve_temperature

ALPHA = 1e-4  # all seeds are fixed: a test that passes once passes always
BLOCK = 20_000  # more rows than the sampler draws at once

FAMILIES = {
    "spread": lambda rng, n: rng.random(n),
    "ties": lambda rng, n: rng.integers(0, 5, n) / 4,
    "two_valued": lambda rng, n: np.where(np.arange(n) < n // 5, 0.0, 1.0),
    "pareto": lambda rng, n: rng.pareto(0.7, n),
    "lognormal": lambda rng, n: rng.lognormal(0, 4, n),
    "negative": lambda rng, n: rng.normal(-1000, 3, n),
}
ORDER = pytest.mark.parametrize("order", ["easy_first", "hard_first"])


def make(family, n, seed=0):
    return FAMILIES[family](np.random.default_rng(seed), n)


def sampler_of(n=100, batch=8, warmup=20, family="spread", total_steps=None, seed=0, **settings):
    config = CurriculumConfig(warmup_steps=warmup, **settings)
    return CurriculumSampler(make(family, n), config, total_batch_size=batch, total_steps=total_steps, seed=seed)


def stream(sampler, epochs):
    rows = []
    for epoch in epochs:
        sampler.set_epoch(epoch)
        rows += sampler
    return np.array(rows)


def fit(rows, weights, least=5.0):
    """P-value of the draws under the weights; rows are merged, rarest first, until a cell expects ``least`` draws."""
    observed, expected = np.bincount(rows, minlength=weights.size), weights * rows.size
    cells, seen, due = [], 0, 0.0
    for row in np.argsort(weights, kind="stable"):
        seen, due = seen + observed[row], due + expected[row]
        if due >= least:
            cells.append([seen, due])
            seen, due = 0, 0.0
    cells[-1][0] += seen
    cells[-1][1] += due
    counts, means = np.array(cells).T
    assert counts.size > 1
    return stats.chisquare(counts, means).pvalue


# --- a pure function of (seed, step) ------------------------------------------------------------------------------

SHAPES = pytest.mark.parametrize(
    "n, batch, warmup",
    [
        (100, 8, 20),
        (97, 10, 33),
        (30, 64, 5),  # a batch larger than the dataset
        (1000, BLOCK, 3),  # a batch larger than a block
        (40_000, 3000, 7),
        (70_001, 9000, 4),
    ],
)


@SHAPES
def test_a_step_is_the_same_from_a_fresh_sampler_in_any_order(n, batch, warmup):
    sampler = sampler_of(n, batch, warmup)
    steps = [0, warmup - 1, warmup, warmup + 1, 1, 5000, 2, 0, 5000, warmup, 12]
    for step in steps:
        fresh = sampler_of(n, batch, warmup).indices(step)
        assert fresh.shape == (batch,) and fresh.dtype == np.int64
        assert fresh.min() >= 0 and fresh.max() < n
        np.testing.assert_array_equal(sampler.indices(step), fresh)


@pytest.mark.costly
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    n=st.integers(2, 300),
    batch=st.integers(1, 500),
    warmup=st.integers(1, 400),
    seed=st.integers(0, 2**64 - 1),
    family=st.sampled_from(["spread", "pareto", "lognormal", "negative"]),
    steps=st.lists(st.integers(0, 3000), min_size=1, max_size=8),
)
def test_any_step_of_any_sampler_is_the_same_whatever_was_asked_before(n, batch, warmup, seed, family, steps):
    sampler, other = (sampler_of(n, batch, warmup, family, seed=seed) for _ in range(2))
    asked = [sampler.indices(step) for step in steps]
    for step, rows in zip(reversed(steps), reversed(asked), strict=True):  # the other is asked its first step afresh
        np.testing.assert_array_equal(other.indices(step), rows)


@SHAPES
def test_epochs_in_a_row_are_the_steps_in_a_row(n, batch, warmup):
    sampler = sampler_of(n, batch, warmup)
    assert sampler.steps_per_epoch == math.ceil(n / batch)
    assert len(sampler) == sampler.steps_per_epoch * batch
    rows = stream(sampler, range(4))
    assert rows.size == 4 * len(sampler)
    expected = rows_of(sampler_of(n, batch, warmup), range(4 * sampler.steps_per_epoch))
    np.testing.assert_array_equal(rows, expected)


def test_an_epoch_has_the_steps_it_is_given():
    config = CurriculumConfig(warmup_steps=20)
    sampler = CurriculumSampler(make("spread", 100), config, total_batch_size=8, steps_per_epoch=5)
    assert len(sampler) == 40
    np.testing.assert_array_equal(stream(sampler, [0, 1, 7])[80:], rows_of(sampler_of(), range(35, 40)))


def test_iterating_twice_yields_the_same_rows_and_set_epoch_others():
    sampler = sampler_of()
    first = list(sampler)
    assert first == list(sampler)
    assert all(type(row) is int for row in first)
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_an_iteration_after_a_run_does_not_know_where_it_stood():
    sampler = sampler_of()
    first = list(sampler)
    for chosen in (lambda: sampler.set_epoch(3), lambda: sampler.set_step(17), lambda: sampler.set_step(39)):
        chosen()
        rows = iter(sampler)
        next(rows)  # a run may end at any row
        assert len(sampler) == len(first)
        assert list(sampler) == first
    sampler.set_step(2 * sampler.steps_per_epoch)
    list(sampler)
    sampler.set_epoch(2)  # once the iteration is over, this is about the next
    assert list(sampler) == rows_of(sampler, range(2 * sampler.steps_per_epoch, 3 * sampler.steps_per_epoch)).tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_that_share_a_sampler_begin_where_they_are_told(workers):
    sampler = sampler_of(100, 8, 20)
    loaders = [DataLoader(range(100), batch_size=8, sampler=sampler, num_workers=workers) for _ in range(2)]
    sampler.set_epoch(2)
    running = iter(loaders[0])
    begun = [next(running)]
    other = torch.cat(list(loaders[1]))
    rest = torch.cat([*begun, *running])
    assert other.tolist() == rows_of(sampler, range(13)).tolist()
    assert rest.tolist() == rows_of(sampler, range(26, 39)).tolist()


@pytest.mark.parametrize("warmup", [10, 2_000_000])
def test_a_far_step_needs_no_steps_before_it(warmup):
    rows = sampler_of(1000, 8, warmup).indices(1_000_000)
    sampler = sampler_of(1000, 8, warmup)
    assert sampler.steps_per_epoch == 125
    np.testing.assert_array_equal(stream(sampler, [8000])[:8], rows)
    np.testing.assert_array_equal(sampler.indices(1_000_000), rows)


def test_changing_the_answer_changes_no_later_answer():
    sampler = sampler_of()
    before = sampler.indices(3).copy()
    rows = sampler.indices(3)
    try:
        rows[:] = 0
    except ValueError:  # a read-only answer is as good as a copy
        pass
    np.testing.assert_array_equal(sampler.indices(3), before)


def test_global_random_state_neither_matters_nor_moves():
    expected = rows_of(sampler_of(), range(40))
    for state in (1, 2):
        random.seed(state)
        np.random.seed(state)  # noqa: NPY002 - the global generator is what must not matter
        torch.manual_seed(state)
        sampler = sampler_of()
        np.testing.assert_array_equal(rows_of(sampler, range(40)), expected)
        np.testing.assert_array_equal(stream(sampler, [0]), expected[: len(sampler)])
        after = random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002
        random.seed(state)
        np.random.seed(state)  # noqa: NPY002
        torch.manual_seed(state)
        assert after == (random.random(), np.random.random(), torch.rand(1).item())  # noqa: NPY002


@pytest.mark.costly
@pytest.mark.parametrize("epoch", [0, 1])
def test_no_list_of_an_epoch_is_made(epoch):
    n = 4_000_000
    sampler = sampler_of(n, 8, n // 8)  # epoch 0 is drawn, epoch 1 walked
    sampler.set_epoch(epoch)
    tracemalloc.start()
    try:
        rows = iter(sampler)
        assert 0 <= next(rows) < n
        deque(islice(rows, 300_000), maxlen=0)  # some 20 blocks
        _, peak = tracemalloc.get_traced_memory()
        assert peak < n  # bytes; an array of all rows takes 8 for each, a list 36
    finally:
        tracemalloc.stop()


# --- seeds --------------------------------------------------------------------------------------------------------

WARM_AND_UNIFORM = pytest.mark.parametrize("step", [0, 10, 19, 20, 500])


@WARM_AND_UNIFORM
@pytest.mark.parametrize("config_seed", [0, 5])
def test_seed_of_the_config_wins(step, config_seed):
    rows = sampler_of(1000, 50, seed=9).indices(step)
    config = CurriculumConfig(warmup_steps=20, seed=config_seed)
    won, plain = (
        CurriculumSampler(make("spread", 1000), c, total_batch_size=50, seed=seed).indices(step)
        for c, seed in ((config, 9), (CurriculumConfig(warmup_steps=20), config_seed))
    )
    np.testing.assert_array_equal(won, plain)
    assert np.any(won != rows)


@WARM_AND_UNIFORM
def test_other_seeds_give_other_rows(step):
    seeds = [0, 1, 2, 42, 2**32, 2**63, 2**64 - 1]
    drawn = {tuple(sampler_of(1000, 50, seed=seed).indices(step).tolist()) for seed in seeds}
    assert len(drawn) == len(seeds)


def test_steps_of_one_run_are_unrelated():
    rows = np.stack([sampler_of(100_000, 1000).indices(step) for step in (0, 1, 16, 17, 20, 21, 120)])
    for i, left in enumerate(rows):
        for right in rows[:i]:
            assert np.sum(left == right) < 15  # at most 1000 / (0.3 * 100_000) on average


# --- the distribution during the warm-up --------------------------------------------------------------------------


@pytest.mark.costly
@ORDER
@pytest.mark.parametrize("warmup", [2, 3, 20, 500])
@pytest.mark.parametrize("family", FAMILIES)
def test_draws_follow_the_weights(family, warmup, order):
    difficulty = make(family, 40)
    config = CurriculumConfig(initial_fraction=0.1, warmup_steps=warmup, order=order)
    samplers = [CurriculumSampler(difficulty, config, total_batch_size=1000, seed=seed) for seed in range(8)]
    for step in (0, warmup // 2, warmup - 1):
        rows = np.concatenate([sampler.indices(step) for sampler in samplers])
        weights = curriculum_weights(difficulty, step, config)
        if weights.max() > 0.999:
            assert np.mean(rows == weights.argmax()) > 0.99
        else:
            assert fit(rows, weights) > ALPHA


@pytest.mark.parametrize("schedule", ["cosine", "linear", "root", "step"])
def test_draws_follow_the_weights_of_every_schedule(schedule):
    difficulty = make("spread", 60)
    config = CurriculumConfig(initial_fraction=0.2, final_fraction=0.5, warmup_steps=4, schedule=schedule)
    sampler = CurriculumSampler(difficulty, config, total_batch_size=5000)
    for step in range(4):
        assert fit(sampler.indices(step), curriculum_weights(difficulty, step, config)) > ALPHA


@pytest.mark.costly
def test_draws_follow_the_weights_where_the_temperature_changes_from_row_to_row():
    difficulty, seeds = make("spread", 120), range(300)  # fewer are walked often in the rest of the block
    config = CurriculumConfig(initial_fraction=0.1, warmup_steps=6)
    drawn = [
        CurriculumSampler(difficulty, config, total_batch_size=4, seed=seed)._draw_block(0)[:24] for seed in seeds
    ]
    for step, rows in enumerate(np.array(drawn).reshape(len(seeds), 6, 4).swapaxes(0, 1)):
        weights = curriculum_weights(difficulty, step, config)
        assert fit(rows.ravel(), weights, least=100) > ALPHA  # 12 buckets of difficulty


@pytest.mark.costly
@ORDER
@pytest.mark.parametrize("family", ["spread", "ties", "two_valued", "pareto", "lognormal"])
def test_draws_from_many_rows_follow_the_weights(family, order):
    n, draws = 200_000, 60_000
    difficulty = make(family, n)
    config = CurriculumConfig(initial_fraction=0.2, warmup_steps=30, order=order)
    sampler = CurriculumSampler(difficulty, config, total_batch_size=draws, seed=1)
    for step in (0, 15, 29):
        weights = curriculum_weights(difficulty, step, config)
        rows = sampler.indices(step)
        assert fit(rows, weights, least=draws / 60) > ALPHA  # about 60 buckets of difficulty
        if family in ("ties", "two_valued"):  # rows that tie are equally likely
            level = difficulty[rows[0]]
            tied = rows[difficulty[rows] == level]
            assert stats.kstest(tied, np.flatnonzero(difficulty == level)).pvalue > ALPHA


@pytest.mark.slow
def test_draws_from_more_rows_than_float32_can_count_follow_the_weights():
    n, draws = 2**24 + 1, 200_000
    difficulty = np.random.default_rng(0).random(n, np.float32)
    config = CurriculumConfig(initial_fraction=0.2, warmup_steps=10)
    sampler = CurriculumSampler(difficulty, config, total_batch_size=draws)
    groups = np.arange(n) * 8 // n * 4 + sum((difficulty > edge).astype(np.int8) for edge in (0.1, 0.2, 0.4))
    for step in (0, 5, 10):
        weights = np.exp(-difficulty.astype(float) / sampler.temperature(step))
        weights /= weights.sum()
        assert -np.expm1(n * np.log1p(-weights)).mean() == pytest.approx(sampler.effective_fraction(step), abs=1e-5)
        assert fit(groups[sampler.indices(step)], np.bincount(groups, weights)) > ALPHA


@pytest.mark.parametrize("n", [6, 50_000])
def test_rows_of_a_step_and_of_its_neighbour_are_independent(n):
    difficulty = np.linspace(0, 1, n)
    config = CurriculumConfig(warmup_steps=1000, schedule="step")
    sampler = CurriculumSampler(difficulty, config, total_batch_size=1000)
    rows = np.stack([sampler.indices(step) for step in range(40)]) * 6 // n
    assert independence(rows[:, 0::2].ravel(), rows[:, 1::2].ravel()) > ALPHA
    assert independence(rows[0::2].ravel(), rows[1::2].ravel()) > ALPHA
    assert independence(rows[:16].ravel(), rows[16:32].ravel()) > ALPHA  # one block and the next


@pytest.mark.parametrize("family", ["spread", "ties", "pareto", "lognormal"])
@pytest.mark.parametrize("n, batch, passes", [(500, 50, 200), (20_000, 200, 12), (40_000, 40_000, 6)])
def test_n_draws_visit_the_effective_fraction_of_the_rows(family, n, batch, passes):
    difficulty = make(family, n)
    config = CurriculumConfig(initial_fraction=0.35, warmup_steps=passes * n // batch, schedule="step")
    sampler = CurriculumSampler(difficulty, config, total_batch_size=batch, seed=3)
    rows = rows_of(sampler, range(config.warmup_steps)).reshape(passes, n)
    shares = [np.unique(drawn).size / n for drawn in rows]
    visited = 1 - (1 - curriculum_weights(difficulty, 0, config)) ** n
    # Draws of different rows exclude each other, so the variance is at most that of independent rows.
    error = math.sqrt(np.sum(visited * (1 - visited)) / passes) / n
    expected = effective_fraction(difficulty, sampler.temperature(0))
    assert expected == pytest.approx(0.35, abs=2e-6)
    assert np.mean(shares) == pytest.approx(expected, abs=4 * error)


@ORDER
def test_an_initial_fraction_below_that_of_the_ties_draws_only_the_ties(order):
    ends = (0.0, 1.0) if order == "easy_first" else (1.0, 0.0)
    difficulty = np.repeat(ends, [800, 200])
    config = CurriculumConfig(initial_fraction=0.1, warmup_steps=10, order=order)
    sampler = CurriculumSampler(difficulty, config, total_batch_size=20_000)
    rows = sampler.indices(0)
    assert rows.max() < 800
    assert stats.chisquare(np.bincount(rows, minlength=800)).pvalue > ALPHA
    assert sampler.temperature(0) > 0


def test_the_easiest_row_alone_where_fewer_are_asked_for():
    difficulty = np.r_[0.5, 0.1, 0.9, 0.2]  # one row of four is 0.25
    config = CurriculumConfig(initial_fraction=0.05, warmup_steps=10)
    assert set(CurriculumSampler(difficulty, config, total_batch_size=100).indices(0).tolist()) == {1}


@ORDER
@pytest.mark.parametrize("n", [1, 2, 30, 1000])
def test_equal_difficulties_are_drawn_uniformly_from_the_first_step(n, order):
    config = CurriculumConfig(warmup_steps=5, order=order)
    sampler = CurriculumSampler(np.full(n, 0.25), config, total_batch_size=10_000)
    for step in (0, 4):
        assert sampler.temperature(step) > 0
        rows = sampler.indices(step)
        assert rows.shape == (10_000,)
        assert np.ptp(rows) == n - 1
        assert stats.chisquare(np.bincount(rows, minlength=n)).pvalue > ALPHA if n > 1 else not rows.any()
    assert np.ptp(rows_of(sampler, [5, 6])) == n - 1


def test_a_single_row_is_drawn_at_every_step():
    sampler = CurriculumSampler([3.5], CurriculumConfig(warmup_steps=5), total_batch_size=4)
    assert sampler.temperature(0) > 0
    assert stream(sampler, range(10)).tolist() == [0] * 40


@pytest.mark.parametrize("order", ["easy_first", "hard_first"])
def test_number_types_make_no_difference(order):
    numbers = np.random.default_rng(0).permutation(200)
    config = CurriculumConfig(warmup_steps=20, order=order)
    types = (np.float32, np.float64, np.int64, np.int32, np.uint8, list)
    samplers = [
        CurriculumSampler(numbers.tolist() if t is list else numbers.astype(t), config, total_batch_size=16)
        for t in types
    ]
    expected = rows_of(samplers[0], range(40))
    for sampler in samplers[1:]:
        np.testing.assert_array_equal(rows_of(sampler, range(40)), expected)


def test_difficulty_is_left_as_it_is():
    difficulty = make("spread", 100)
    before = difficulty.copy()
    sampler = CurriculumSampler(difficulty, CurriculumConfig(warmup_steps=5), total_batch_size=10)
    expected = sampler.indices(0).copy()
    np.testing.assert_array_equal(difficulty, before)
    difficulty[:] = 0  # and a later change by the caller is not seen
    np.testing.assert_array_equal(sampler.indices(7), sampler_of(100, 10, 5).indices(7))
    np.testing.assert_array_equal(sampler.indices(0), expected)


# --- temperature --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["easy_first", "hard_first"])
@pytest.mark.parametrize("family", ["spread", "ties", "pareto", "lognormal"])
def test_temperature_is_that_of_the_planned_fraction(family, order, dtype):
    difficulty = make(family, 3000).astype(dtype)
    config = CurriculumConfig(warmup_steps=20, order=order, schedule="linear", initial_fraction=0.35)
    sampler = CurriculumSampler(difficulty, config, total_batch_size=8)
    scores = difficulty.astype(np.float64) * (1 if order == "easy_first" else -1)
    for step in (0, 1, 10, 19):
        planned = 0.35 + (config.final_fraction - 0.35) * step / 20
        temperature = sampler.temperature(step)
        p = np.exp(-(scores - scores.min()) / temperature)
        p /= p.sum()
        fraction = np.mean(1 - (1 - p) ** p.size)
        lowest = np.mean(scores == scores.min())  # a reversed heavy tail reaches any fraction, five levels do not
        if planned > lowest:
            assert fraction == pytest.approx(planned, abs=1e-6)
        solved = effective_fraction(scores, solve_temperature(scores, float(planned_fraction(step, config, 20))))
        assert effective_fraction(scores, temperature) == pytest.approx(solved, abs=1e-6)
        assert sampler.effective_fraction(step) == pytest.approx(fraction, abs=1e-6)


@pytest.mark.parametrize("warmup, total_steps, end", [(20, None, 20), (0.25, 80, 20), (1, None, 1), (1.0, 50, 50)])
def test_temperature_is_infinite_from_the_end_of_the_warmup(warmup, total_steps, end):
    sampler = sampler_of(500, 8, warmup, total_steps=total_steps)
    assert sampler.warmup_steps == end
    assert math.isfinite(sampler.temperature(end - 1))
    for step in (end, end + 1, 10**9):
        assert sampler.temperature(step) == math.inf
        assert sampler.effective_fraction(step) == pytest.approx(1 - (1 - 1 / 500) ** 500, abs=1e-12)


def test_temperature_rises():
    sampler = sampler_of(500, 8, 50)
    temperatures = [sampler.temperature(step) for step in range(51)]
    assert np.all(np.diff(temperatures[:50]) > 0)


# --- after the warm-up --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "n, batch, warmup",
    [
        (100, 10, 20),
        (103, 10, 20),
        (1003, 64, 10),
        (1003, 64, 256),  # the warm-up ends with a block
        (1003, 64, 300),
        (10, 64, 3),  # several passes a batch
        (7, BLOCK + 1, 2),
        (70_001, 5000, 4),
        (70_001, 90_000, 1),
        (2, 1, 1),
    ],
)
def test_each_n_draws_after_the_warmup_are_a_permutation(n, batch, warmup):
    sampler = sampler_of(n, batch, warmup)
    passes = 6
    rows = rows_of(sampler, range(warmup, warmup + math.ceil(passes * n / batch)))[: passes * n].reshape(passes, n)
    np.testing.assert_array_equal(np.sort(rows), np.tile(np.arange(n), (passes, 1)))
    assert len({tuple(order) for order in rows.tolist()}) > 1


def test_passes_and_seeds_have_orders_of_their_own():
    orders = [
        rows_of(sampler_of(200, 20, 5, seed=seed), range(5 + 10 * p, 15 + 10 * p)) for seed in (0, 1) for p in (0, 1)
    ]
    for i, left in enumerate(orders):
        for right in orders[:i]:
            assert np.sum(left == right) < 12  # Poisson with mean 1


def test_the_last_step_of_the_warmup_is_drawn_and_the_next_one_walked():
    sampler = sampler_of(1000, 1000, 3, schedule="step")
    assert [np.unique(sampler.indices(step)).size == 1000 for step in range(5)] == [False, False, False, True, True]


# --- in loaders ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [0, 1, 2])  # warm-up, its end, uniform
def test_workers_make_no_difference_to_the_batches(epoch):
    batches = []
    for workers in (0, 2):
        sampler = sampler_of(100, 8, 20)
        sampler.set_epoch(epoch)
        loader = DataLoader(range(100), batch_size=8, sampler=sampler, num_workers=workers)
        assert len(loader) == 13
        batches.append([batch.tolist() for batch in loader])
    assert batches[0] == batches[1]
    assert batches[0] == [sampler_of(100, 8, 20).indices(13 * epoch + step).tolist() for step in range(13)]


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("split_batches", [False, True])
@pytest.mark.parametrize("epoch", [0, 3])
def test_processes_share_the_rows_of_each_step(processes, accumulation, split_batches, epoch):
    per_device, total = 2, 2 * processes * accumulation
    shards = []
    for process in range(processes):
        sampler = sampler_of(100, total, 5)
        sampler.set_epoch(epoch)
        batches = BatchSampler(sampler, per_device * (processes if split_batches else 1), drop_last=False)
        shards.append(list(BatchSamplerShard(batches, processes, process, split_batches=split_batches)))
    reference = sampler_of(100, total, 5)
    steps = reference.steps_per_epoch
    assert [len(shard) for shard in shards] == [steps * accumulation] * processes
    for step in range(steps):
        micro_batches = range(step * accumulation, (step + 1) * accumulation)
        seen = [row for i in micro_batches for shard in shards for row in shard[i]]  # each slot of the step once
        assert seen == reference.indices(epoch * steps + step).tolist()


# --- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("difficulty", "config", "message"),
    [
        (Dataset.from_dict({"difficulty": [0.1, 0.2]}), None, r'got Dataset\..*dataset\["difficulty"\]\[:\]'),
        (DatasetDict(train=Dataset.from_dict({"difficulty": [0.1]})), None, r'got DatasetDict\..*\["difficulty"\]'),
        ({"difficulty": [0.1, 0.2]}, None, "one number a row, got dict"),
        ("difficulty", None, "one number a row, got 'difficulty'"),
        (["easy", "hard"], None, "difficulty holds <U4, not real numbers"),
        ([1j, 2], None, "difficulty holds complex128, not real numbers"),
        (np.array(["2020-01-01"], "datetime64[D]"), None, r"difficulty holds datetime64\[D\], not real numbers"),
        (
            [0.1, 0.2],
            {"warmup_steps": 3},
            r"config must be a CurriculumConfig, got \{.*Config\(\*\*settings\)",
        ),
        ([0.1, 0.2], CurriculumConfig, r"config must be a CurriculumConfig, got <class.*CurriculumConfig\(\.\.\.\)"),
    ],
)
def test_what_is_no_difficulty_or_no_config_is_named(difficulty, config, message):
    with pytest.raises(TypeError, match=message):
        CurriculumSampler(difficulty, config, total_batch_size=4, total_steps=10)


@pytest.mark.parametrize(
    "difficulty, options, message",
    [
        ([], {}, r"difficulty is empty.*dataset\.filter"),
        ([0.1, math.nan], {}, r"row 1 is nan \(1 such rows\); it must be finite"),
        ([math.inf, 0.1], {}, r"row 0 is inf \(1 such rows\); it must be finite"),
        ([[0.1, 0.2]], {}, r"one number a row, shape \(N,\), got shape \(1, 2\)"),
        ([0.1, 0.2], {"total_batch_size": 0}, "total_batch_size must be at least 1, got 0"),
        ([0.1, 0.2], {"total_batch_size": -4}, "total_batch_size must be at least 1, got -4"),
        ([0.1, 0.2], {"steps_per_epoch": 0}, "steps_per_epoch must be at least 1, got 0"),
        ([0.1, 0.2], {"total_steps": None}, r"warmup_steps=0\.5 is a share .*pass total_steps"),
    ],
)
def test_bad_arguments_are_named(difficulty, options, message):
    with pytest.raises(ValueError, match=message):
        CurriculumSampler(difficulty, **({"total_batch_size": 4, "total_steps": 10} | options))
