import numpy as np
import pytest

from hf_curriculum.training.bins import difficulty_bins, ordered, rank_bins, rank_rows

FLOATS = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@FLOATS
@pytest.mark.parametrize("n", [1, 2, 1000, 70_001])
@pytest.mark.parametrize("levels", [2, 17, 10**6])
def test_rows_are_ranked_as_by_a_stable_sort(dtype, n, levels):
    scores = (np.random.default_rng(n).integers(0, levels, n) / levels).astype(dtype)
    ranked, order = rank_rows(scores)
    expected = np.argsort(scores, kind="stable")
    np.testing.assert_array_equal(order, expected)
    np.testing.assert_array_equal(ranked, scores[expected])
    assert ranked.dtype == dtype and order.dtype == np.uint32


@FLOATS
def test_floats_of_all_sizes_are_ranked(dtype):
    info = np.finfo(dtype)
    scores = np.array([info.max, 1.0, 0.0, info.tiny, info.smallest_subnormal, 1e-20, 0.0, 3.0], dtype)
    np.testing.assert_array_equal(rank_rows(scores)[1], [2, 6, 4, 3, 5, 1, 7, 0])


@pytest.mark.parametrize("order, expected", [("easy_first", [0, 2, 1]), ("hard_first", [2, 0, 1])])
def test_the_row_to_draw_first_has_zero(order, expected):
    np.testing.assert_array_equal(ordered(np.array([-1.0, 1.0, 0.0]), order), expected)


@pytest.mark.parametrize("levels", [2, 300, 1000])
def test_of_gaps_that_tie_the_first_are_cut_on_any_processor(levels):
    ranked = np.sort(np.round(np.random.default_rng(levels).lognormal(3, 1, 20_000) * levels / 100))
    gaps = np.diff(ranked)
    widest = sorted(range(gaps.size), key=lambda i: (-gaps[i], i))[:256]
    expected = sorted({*rank_bins(ranked.size).tolist(), *(i + 1 for i in widest)})
    assert difficulty_bins(ranked).tolist() == expected


def test_no_bin_bridges_a_wide_gap():
    ranked = np.sort(np.concatenate([np.arange(20) * 1000 + np.random.default_rng(i).random(20) for i in range(500)]))
    edges = difficulty_bins(ranked)
    assert np.all(ranked[edges[1:] - 1] - ranked[edges[:-1]] < 1)


@pytest.mark.parametrize("n", [*range(1, 301), 4096, 65_537, 1_281_167, 10**8, 2**33])
def test_bins_cover_all_ranks_in_order(n):
    edges = rank_bins(n)
    assert (edges[0], edges[-1]) == (0, n)
    assert np.all(np.diff(edges) > 0)
    assert edges.dtype == np.int64


@pytest.mark.parametrize("n", [100, 10_000, 1_281_167, 10**8])
def test_bins_are_narrow_beside_the_rows_on_both_sides(n):
    edges = rank_bins(n)
    rows_outside = np.minimum(edges[:-1], n - edges[1:])
    assert np.all(np.diff(edges) <= 2 + rows_outside / 32)
    assert edges.size < 2500
