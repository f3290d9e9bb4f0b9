import numpy as np
import pytest
from drawing import rows_of

from hf_curriculum.training.config import CurriculumConfig
from hf_curriculum.training.lengths import group_by_length
from hf_curriculum.training.sampler import WINDOW_STEPS, CurriculumSampler

ROWS = 1000
RNG = np.random.default_rng(0)
DIFFICULTY, LENGTHS = RNG.random(ROWS), RNG.geometric(0.02, ROWS)


def pair(batch=16, micro=8, total_steps=None, warmup=50):
    """The same curriculum without and with grouping."""
    options = {"total_batch_size": batch, "total_steps": total_steps, "seed": 3}
    config = CurriculumConfig(warmup_steps=warmup)
    return (
        CurriculumSampler(DIFFICULTY, config, **options),
        CurriculumSampler(DIFFICULTY, config, lengths=LENGTHS, micro_batch_size=micro, **options),
    )


def padding(rows, batch):
    lengths = LENGTHS[rows].reshape(-1, batch)
    return 1 - lengths.sum() / (lengths.max(axis=1) * batch).sum()


@pytest.mark.parametrize("micro", [4, 8, 16])
def test_a_window_holds_the_rows_that_the_curriculum_drew(micro):
    plain, grouped = pair(micro=micro)
    for window in (0, 1, 2, 7):  # warm-up, its end, walk
        steps = range(window * WINDOW_STEPS, (window + 1) * WINDOW_STEPS)
        assert sorted(rows_of(grouped, steps)) == sorted(rows_of(plain, steps))
        assert np.any(rows_of(grouped, steps) != rows_of(plain, steps))


def test_the_rows_of_a_training_that_ends_inside_a_window_are_those_drawn():
    plain, grouped = pair(total_steps=75)
    assert sorted(rows_of(grouped, range(64, 75))) == sorted(rows_of(plain, range(64, 75)))


def test_little_is_padded():
    plain, grouped = pair()
    steps = range(256)
    assert padding(rows_of(grouped, steps), 8) < padding(rows_of(plain, steps), 8) / 4


def test_any_step_is_the_same_from_a_fresh_sampler():
    _, sampler = pair()
    for step in (200, 0, 31, 32, 63, 5, 1_000_000):
        np.testing.assert_array_equal(pair()[1].indices(step), sampler.indices(step))


def test_the_longest_batch_comes_first():
    for seed in range(5):
        sampler = CurriculumSampler(
            DIFFICULTY, CurriculumConfig(warmup_steps=9), total_batch_size=16, lengths=LENGTHS, seed=seed
        )
        assert LENGTHS[sampler.indices(0)].max() == LENGTHS[rows_of(sampler, range(WINDOW_STEPS))].max()


def test_the_order_of_the_batches_is_random():
    _, grouped = pair()
    means = [LENGTHS[grouped.indices(step)].mean() for step in range(32, 320)]
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.25


def test_groups_by_hand():
    lengths = np.array([5, 1, 4, 2, 6, 3], np.int32)
    rows = np.array([1, 0, 5, 4, 2, 3])
    batches = group_by_length(rows, lengths, 2, np.random.default_rng(0)).reshape(3, 2).tolist()
    assert sorted(batches) == [[2, 5], [3, 1], [4, 0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lengths": LENGTHS[:-1]}, r"lengths must be one number a row, shape \(1000,\), got shape \(999,\)"),
        ({"lengths": LENGTHS, "micro_batch_size": 5}, "micro_batch_size=5 must divide total_batch_size=16"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        CurriculumSampler(DIFFICULTY, total_batch_size=16, total_steps=10, **options)
