import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn.preprocessing import minmax_scale

from hf_curriculum.scoring import difficulty as module
from hf_curriculum.scoring.difficulty import count_outside, counts_of, difficulty_of, fit_normalizer, rows_by_group

NORMALIZE = pytest.mark.parametrize("normalize", ["minmax", "rank", None])
KNOT = 1e-3  # ranks are read from 1001 quantiles


def difficulty(distance, cluster, normalize, n_clusters=None):
    distance, cluster = np.asarray(distance, np.float32), np.asarray(cluster)
    quantiles = fit_normalizer(distance, cluster, n_clusters or cluster.max() + 1, normalize)
    return difficulty_of(distance, cluster, quantiles)


def make(n, k, seed, spread=1.0):
    rng = np.random.default_rng(seed)
    return (spread * (1 + rng.gamma(2, size=n))).astype(np.float32), rng.integers(0, k, n)


def by_cluster(function, distance, cluster):
    expected = np.zeros(len(distance))
    for c in np.unique(cluster):
        own = distance[cluster == c].astype(np.float64)
        expected[cluster == c] = function(own) if own.size > 1 else 1
    return expected


def rank(distance):
    """Share of the other rows of the cluster that are nearer."""
    return (rankdata(distance, method="min") - 1) / max(1, distance.size - 1)


@pytest.mark.parametrize(
    "normalize, expected",
    [
        ("minmax", [0, 0.25, 1, 0.5, 0, 1, 1]),  # a row by itself is no prototype of others
        ("rank", [0, 1 / 3, 1, 2 / 3, 0, 1, 1]),
        (None, [1, 2, 5, 3, 10, 20, 7]),
    ],
)
def test_difficulties_are_those_worked_out_by_hand(normalize, expected):
    result = difficulty([1, 2, 5, 3, 10, 20, 7], [0, 0, 0, 0, 1, 1, 2], normalize)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=KNOT if normalize == "rank" else 1e-6)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(n=st.integers(1, 500), k=st.integers(1, 20), seed=st.integers(0, 2**32 - 1))
def test_minmax_is_that_of_scikit_learn_in_each_cluster(n, k, seed):
    distance, cluster = make(n, k, seed)
    expected = by_cluster(minmax_scale, distance, cluster)
    np.testing.assert_allclose(difficulty(distance, cluster, "minmax", k), expected, atol=1e-4)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(n=st.integers(1, 3000), k=st.integers(1, 6), ties=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_rank_is_the_share_of_nearer_rows_in_each_cluster(n, k, ties, seed):
    distance, cluster = make(n, k, seed)
    distance = np.round(2 * distance) if ties else distance
    expected = by_cluster(rank, distance, cluster)
    np.testing.assert_allclose(difficulty(distance, cluster, "rank", k), expected, atol=1.01 * KNOT)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(n=st.integers(1, 300), k=st.integers(1, 10), scale=st.floats(1e-3, 1e3), seed=st.integers(0, 2**32 - 1))
def test_difficulties_are_in_the_unit_interval_without_a_unit_and_rise_with_the_distance(n, k, scale, seed):
    distance, cluster = make(n, k, seed)
    for normalize in ("minmax", "rank"):
        result = difficulty(distance, cluster, normalize, k)
        assert result.min() >= 0
        assert result.max() <= 1
        np.testing.assert_allclose(difficulty(scale * distance, cluster, normalize, k), result, atol=2 * KNOT)
        for c in np.unique(cluster):
            nearest_first = np.argsort(distance[cluster == c], kind="stable")
            own = result[cluster == c][nearest_first]
            assert own[0] == (0 if own.size > 1 else 1)  # the prototype
            assert own[-1] == 1
            assert (np.diff(own) >= 0).all()


@NORMALIZE
def test_clusters_do_not_see_each_other(normalize):
    distance, cluster = make(200, 4, seed=0)
    together = difficulty(distance, cluster, normalize)
    for c in range(4):
        alone = difficulty(distance[cluster == c], np.zeros((cluster == c).sum(), int), normalize)
        np.testing.assert_array_equal(together[cluster == c], alone)


@NORMALIZE
def test_row_order_does_not_matter(normalize):
    distance, cluster = make(200, 4, seed=0)
    order = np.random.default_rng(1).permutation(200)
    expected = difficulty(distance, cluster, normalize)[order]
    np.testing.assert_array_equal(difficulty(distance[order], cluster[order], normalize), expected)


def test_one_outlier_moves_minmax_but_hardly_rank():
    distance = np.r_[np.linspace(1, 2, 999), 1000].astype(np.float32)
    cluster = np.zeros(1000, int)
    assert difficulty(distance, cluster, "minmax")[:-1].max() < 0.002
    assert difficulty(distance, cluster, "rank")[499] == pytest.approx(0.5, abs=2 * KNOT)


@pytest.mark.parametrize("normalize", ["minmax", "rank"])
@pytest.mark.parametrize(
    "distance",
    [[3, 3], [0, 0, 0], [1, np.nextafter(np.float32(1), 2)], [1.2000001, 1.2, 1.1999999]],
    ids=["two rows", "all on the prototype", "one bit apart", "rounding"],
)
def test_clusters_of_one_distance_hold_only_prototypes(distance, normalize):
    assert difficulty(distance, [0] * len(distance), normalize).tolist() == [0] * len(distance)


@pytest.mark.parametrize("normalize", ["minmax", "rank"])
def test_what_is_farther_than_a_cluster_of_one_distance_is_hard(normalize):
    for fitted in ([0, 0, 0], [2, 2, 2.00001]):
        quantiles = fit_normalizer(np.array(fitted, np.float32), np.zeros(3, int), 1, normalize)
        distance = np.array([0, fitted[0], 2.1], np.float32)
        assert difficulty_of(distance, np.zeros(3, int), quantiles).tolist() == [0, 0, 1]


@pytest.mark.parametrize("normalize, expected", [("minmax", 4), ("rank", 4), (None, 0)])
def test_rows_outside_the_range_of_their_cluster_are_counted(normalize, expected):
    quantiles = fit_normalizer(np.array([1, 2, 3, 5, 6], np.float32), np.array([0, 0, 0, 1, 1]), 3, normalize)
    distance = np.array([1, 3, 3.00001, 0.5, 4, 5.5, 4.9, 7], np.float32)
    cluster = np.array([0, 0, 0, 0, 0, 1, 1, 2])  # the third has no rows, and so no range
    assert count_outside(distance, cluster, quantiles) == expected


def test_a_small_spread_that_is_no_rounding_counts():
    np.testing.assert_allclose(difficulty([1, 1.0005, 1.001], [0, 0, 0], "minmax"), [0, 0.5, 1], atol=1e-3)


@pytest.mark.parametrize("normalize", ["minmax", "rank"])
def test_rows_outside_the_fitted_range_are_clipped(normalize):
    quantiles = fit_normalizer(np.array([1, 3, 3], np.float32), np.zeros(3, int), 1, normalize)
    result = difficulty_of(np.array([0, 1, 3, 3.01, 9], np.float32), np.zeros(5, int), quantiles)
    hardest = 1 if normalize == "minmax" else 0.5  # both rows at 3 have one of two others before them
    np.testing.assert_allclose(result, [0, 0, hardest, 1, 1], atol=KNOT)


def test_other_rows_are_read_from_the_fitted_quantiles():
    fitted = np.linspace(2, 4, 101, dtype=np.float32)
    for normalize in ("minmax", "rank"):
        quantiles = fit_normalizer(fitted, np.zeros(101, int), 1, normalize)
        result = difficulty_of(np.array([2.5, 3.13], np.float32), np.zeros(2, int), quantiles)
        np.testing.assert_allclose(result, [0.25, 0.565], atol=1e-5)


@pytest.mark.parametrize("normalize, knots", [("minmax", 2), ("rank", 1001), (None, 0)])
def test_quantiles_are_one_row_a_cluster_and_below_all_distances_without_rows(normalize, knots):
    distance, cluster = make(100, 3, seed=0)
    cluster[cluster == 1] = 2
    quantiles = fit_normalizer(distance, cluster, 4, normalize)
    assert (quantiles.dtype, quantiles.shape) == (np.float32, (4, knots))
    assert (quantiles[[1, 3]] == -1).all()
    if knots:
        own = distance[cluster == 2]
        np.testing.assert_allclose(quantiles[2, [0, -1]], [own.min(), own.max()])
        assert (np.diff(quantiles, axis=1) >= 0).all()


def test_distances_come_back_as_a_copy_without_normalisation():
    distance, cluster = make(10, 2, seed=0)
    result = difficulty(distance, cluster, None)
    result[:] = -1
    assert distance.min() > 0


@pytest.mark.parametrize("at_once", [1, 7, 1000, 1 << 18])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_rows_of_groups_are_those_of_a_stable_sort(monkeypatch, at_once, dtype):
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    groups = np.random.default_rng(0).integers(1, 9, size=1000).astype(dtype)  # 0 and 9 have no rows
    expected = np.argsort(groups, kind="stable")
    found = rows_by_group(groups, 10)
    assert (
        [rows.size for rows in found] == counts_of(groups, 10).tolist() == np.bincount(groups, minlength=10).tolist()
    )
    np.testing.assert_array_equal(np.concatenate(found), expected)
    assert found[1].dtype == np.int32
