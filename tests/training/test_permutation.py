from itertools import permutations

import numpy as np
import pytest
from drawing import independence
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hf_curriculum.training.permutation import shuffled, walk

ARRAY_SIZES = [*range(1, 51), 65535, 65536]
CIPHER_SIZES = [65537, 100003, 1 << 17, (1 << 17) + 1]
ALPHA = 1e-4


def whole_pass(n, seed=0, epoch=0):
    return shuffled(np.arange(n), n, seed, epoch)


@pytest.mark.parametrize("n", ARRAY_SIZES + CIPHER_SIZES)
@pytest.mark.parametrize("seed, epoch", [(0, 0), (2**64 - 1, 12345)])
def test_a_pass_visits_every_row_once(n, seed, epoch):
    rows = whole_pass(n, seed, epoch)
    assert rows.dtype == np.int64
    np.testing.assert_array_equal(np.sort(rows), np.arange(n))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(n=st.integers(1, 300_000), seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 2**40))
def test_a_pass_visits_every_row_once_for_any_size_seed_and_epoch(n, seed, epoch):
    assert np.bincount(whole_pass(n, seed, epoch), minlength=n).tolist() == [1] * n


@pytest.mark.parametrize("n", [1, 2, 7, 50, 65536, *CIPHER_SIZES])
def test_random_access_reads_the_whole_pass(n):
    rows = whole_pass(n, seed=3, epoch=5)
    positions = np.random.default_rng(n).integers(0, n, size=200)  # unordered, with repeats
    np.testing.assert_array_equal(shuffled(positions, n, 3, 5), rows[positions])
    for position in (0, n // 2, n - 1):
        assert shuffled(np.array([position]), n, 3, 5) == rows[position]
    assert shuffled(np.array([], np.int64), n, 3, 5).size == 0


@pytest.mark.parametrize("n", [1000, 65536, *CIPHER_SIZES])
@pytest.mark.parametrize("other", [(4, 9), (5, 8), (9, 4), (4, 2**33 + 8), (2**63 + 4, 8)])
def test_other_seed_or_epoch_gives_an_unrelated_order(n, other):
    same_place = whole_pass(n, 4, 8) == whole_pass(n, *other)
    assert same_place.sum() < 12  # Poisson with mean 1: P(12 or more) < 1e-9


@pytest.mark.parametrize("n", [50, 65537])
def test_a_pass_can_be_repeated(n):
    first = whole_pass(n, 1, 2)
    for epoch in range(10):  # other passes in between
        whole_pass(n, 1, epoch)
    np.testing.assert_array_equal(whole_pass(n, 1, 2), first)


def test_changing_the_answer_changes_no_later_answer():
    first = whole_pass(50)
    first[:] = 0
    assert set(whole_pass(50)) == set(range(50))


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("vary", ["epoch", "seed"])
def test_all_orders_of_few_rows_are_equally_likely(n, vary):
    orders = list(permutations(range(n)))
    counts = dict.fromkeys(orders, 0)
    for i in range(250 * len(orders)):
        counts[tuple(whole_pass(n, **{vary: i}).tolist())] += 1
    assert len(counts) == len(orders)
    assert stats.chisquare(list(counts.values())).pvalue > ALPHA


@pytest.mark.parametrize("n", [65537, 100003, 1 << 17])
@pytest.mark.parametrize("vary", ["epoch", "seed"])
def test_row_at_a_position_is_uniform_over_passes(n, vary):
    positions = np.array([0, 1, 2, 255, 256, 257, n // 2, n - 1])
    at_epoch = {"seed": 11, "epoch": 11}
    rows = np.array([shuffled(positions, n, **(at_epoch | {vary: i})) for i in range(2000)])
    for column in rows.T:
        assert stats.chisquare(np.bincount(column * 20 // n, minlength=20)).pvalue > ALPHA
        assert stats.chisquare(np.bincount(column % 20, minlength=20)).pvalue > ALPHA
    for left, right in [(0, 1), (1, 2), (3, 4), (0, 4), (6, 7)]:  # and rows at two positions are independent
        assert independence(rows[:, left] * 5 // n, rows[:, right] * 5 // n) > ALPHA


@pytest.mark.costly
def test_position_of_a_row_is_uniform_over_passes():
    n, passes = 65537, 1000
    positions = [np.flatnonzero(np.isin(whole_pass(n, epoch=epoch), [0, 40000, n - 1])) for epoch in range(passes)]
    counts = np.bincount(np.concatenate(positions) * 20 // n, minlength=20)
    assert counts.sum() == 3 * passes
    assert stats.chisquare(counts).pvalue > ALPHA


@pytest.mark.parametrize("n", [65536, *CIPHER_SIZES])
@pytest.mark.parametrize("lag", [1, 2, 256, 512, 1000])
def test_rows_at_a_distance_inside_a_pass_are_independent(n, lag):
    rows = whole_pass(n, seed=21, epoch=1)
    first = np.arange(n - lag)
    first = first[first // lag % 2 == 0]  # no row in two pairs
    for bucket in (rows * 12 // n, rows % 12):
        assert independence(bucket[first], bucket[first + lag]) > ALPHA


@pytest.mark.parametrize("n", [65536, *CIPHER_SIZES])
def test_rows_are_independent_of_their_positions(n):
    rows, positions = whole_pass(n, seed=22, epoch=1), np.arange(n)
    for row_bucket in (rows * 12 // n, rows % 12):
        for position_bucket in (positions * 12 // n, positions % 12):
            assert independence(row_bucket, position_bucket) > ALPHA


@pytest.mark.parametrize("n", [65536, *CIPHER_SIZES])
@pytest.mark.parametrize("other", [(22, 2), (23, 1)])
def test_passes_are_independent_of_each_other(n, other):
    rows, others = whole_pass(n, 22, 1), whole_pass(n, *other)
    assert independence(rows * 12 // n, others * 12 // n) > ALPHA


@pytest.mark.parametrize("n", [1, 7, 50, 65537])
def test_a_walk_goes_from_pass_to_pass_and_any_part_of_it_can_be_had(n):
    passes = np.concatenate([whole_pass(n, seed=3, epoch=epoch) for epoch in range(4)])
    for start, size in [(0, 4 * n), (0, 0), (n, 0), (n - 1, 2), (n // 2, 2 * n), (3 * n, n), (2 * n - 1, 1)]:
        rows = walk(start, size, n, 3)
        assert rows.dtype == np.int64
        np.testing.assert_array_equal(rows, passes[start : start + size])
